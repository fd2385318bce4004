"""One call as an application sees it: the shell that performs what machine and link order.

Receive, hand to the core, perform its outputs, re-arm one timer; nothing else is decided here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from securecall.address import ANONYMOUS, Address, Scheme, parse_address
from securecall.calls import orders
from securecall.calls.asking import Changes, Transfer
from securecall.calls.call_video import CallVideo, records
from securecall.calls.carried import CarriedConnection, CarriedMachine
from securecall.calls.connection import ConnectionEvents, MediaConnection
from securecall.calls.context import CallContext
from securecall.calls.countersign import Said
from securecall.calls.keypad import Keypad
from securecall.calls.machine import CallMachine, State
from securecall.calls.moving import Moving
from securecall.calls.negotiation import LocalMedia
from securecall.calls.proof import Proof
from securecall.calls.report import Consent, ListenerReport
from securecall.calls.report_parties import way_of
from securecall.calls.signaling import (
    Answered,
    Ended,
    IncomingLeg,
    Leg,
    Offered,
    Signal,
    TransferProgress,
    TransferStep,
)
from securecall.calls.video_lines import LocalVideo
from securecall.calls.witness import Witness
from securecall.clock import loop_now, unix_now
from securecall.errors import (
    CallFailed,
    ChangeRefused,
    EndReason,
    SecurecallError,
    SecurityError,
    UsageError,
)
from securecall.keys.handshake import HandshakeResult
from securecall.keys.verification import Sas
from securecall.logs import logger
from securecall.media.description import Description, Kind
from securecall.media.endpoints import AudioSink, AudioSource, PcmInput, PcmOutput, Recorder
from securecall.media.engine import AudioStatistics
from securecall.media.frames import TICK, AudioFrame
from securecall.media.levels import INTERVAL, LevelMeter, Levels
from securecall.policy import (
    Gate,
    SecurityLevel,
    SecurityState,
)

if TYPE_CHECKING:  # PyAV is an extra
    from securecall.media.video.endpoints import VideoSource

log = logger("securecall.call")


class Call:
    """A call in progress; leaving its block hangs up.

    Attributes:
        peer: The peer's address for people.
        outgoing: We placed it.
        video: What is shown in it, both ways.
        text: What is typed in it, both ways.
    """

    def __init__(
        self,
        context: CallContext,
        begin: Callable[[Call], Awaitable[None]],
        *,
        outgoing: bool,
    ) -> None:
        """Begin with nothing to send; see `prepare`."""
        self.peer = context.peer
        self.outgoing = outgoing
        self._context = context
        self._begin = begin
        engine = context.engine
        self._machine = (
            CallMachine(context.policy, context.floor, outgoing=outgoing)
            if engine is None
            else CarriedMachine(context.policy, context.floor, outgoing=outgoing, engine=engine)
        )
        self._connection = (MediaConnection if engine is None else CarriedConnection)(
            ConnectionEvents(
                secured=self._secured,
                failed=self._media_failed,
                guess_burned=context.guess_burned,
                sound_failed=lambda error: context.sound_failed(self, error),
                digit=lambda digit: self._keypad.heard(digit),
                quality=lambda quality: context.quality(self, quality),
                peer_said=self._peer_said,
                way_needed=lambda: self._moving.look(unless_placed=False),
                gathered=lambda found: self._perform(self._machine.gathered(found)),
            ),
            policy=context.policy,
            identity=None if context.floor.gateway else context.identity,
            strict=context.floor.identity,
            clock=context.clock,
            towards=context.towards,
            outgoing=outgoing,
            helpers=context.helpers,
            acquainted=context.acquainted,
            sdes=context.sdes,
        )
        self._sound = self._connection.sound
        self.video = CallVideo(self._connection.pictures, self._machine, self._ask, self._recorder)
        self.text = self._connection.text
        self._changes = Changes(self._machine, self._perform)
        self._moving = Moving(
            self._machine, self._connection.way, self._changes.ask, self._perform, outgoing=outgoing
        )
        self._transfer = Transfer(self._perform)
        self._supersedes: Call | None = None
        self._over = asyncio.Event()
        self._keypad = Keypad(
            self._machine,
            self._sound,
            self._perform,
            lambda digit: context.pressed(self, digit),
            self._over,
        )
        self._on_hold, self._holds = False, 0
        self._output = PcmOutput()
        self._sound.add_sink(self._output)
        self._input: PcmInput | None = None
        self._leg: Leg | None = None
        self._offer: Description | None = None
        self._proof = Proof(context, outgoing=outgoing)
        self._witness = Witness()
        self._began_unix = unix_now()
        self._began = time.monotonic()
        self._lasted = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Future[None]] = set()
        self._entered = False
        self._finish: orders.Finish | None = None
        self._sealed: ListenerReport | None = None  # once all is over
        self._rings = asyncio.Event()
        self._ready = asyncio.Event()
        self._winding_up: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Call {'to' if self.outgoing else 'from'} {self.peer}, {self.state.value}>"

    # -- what an application asks ---------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where the call is in its life."""
        return self._machine.state

    @property
    def security(self) -> SecurityState:
        """The current snapshot of the call's protection."""
        return self._machine.security

    @property
    def gateway(self) -> bool:
        """Whether a telephone gateway takes part."""
        return self._machine.gateway

    @property
    def sas(self) -> Sas:
        """The words to read to each other.

        Raises:
            UsageError: the identity handshake is not complete, or did not run.
        """
        return self._proof.sas

    @property
    def report(self) -> ListenerReport:
        """Who could have listened, up to now or to the end."""
        if self._sealed is not None:
            return self._sealed
        finish, statistics, witness = self._finish, self.statistics(), self._witness
        identity, leg = self._context.identity, self._leg
        return ListenerReport(
            peer=self.peer,
            address=self._proof.address,
            outgoing=self.outgoing,
            began=self._began_unix,
            lasted=self._lasted or self._at(),
            media_seconds=(
                (statistics.sent_seconds, statistics.received_seconds) if statistics else (0.0, 0.0)
            ),
            ended=finish.reason if finish else None,
            error=str(finish.error) if finish and finish.error else "",
            intervals=witness.intervals,
            way=way_of(
                peer=self.peer,
                path=leg.path if leg is not None else None,
                own=leg.local if leg is not None else None,
                other=leg.remote if leg is not None else None,
                ticket=self._proof.ticket(witness.security),
                mixed_with=witness.mixed_with,
                relays=self._connection.way.relays,
                gateway=self.gateway,
            ),
            events=witness.events,
            refused=witness.refused,
            dropped=witness.dropped,
            record=self._connection.countersigned,
            statements=self._proof.statements,
            signer=identity.device if identity is not None else None,
        )

    def statistics(self) -> AudioStatistics | None:
        """Counters of sound and pictures, None before media began."""
        return self._connection.statistics()

    async def ringing(self) -> None:
        """Wait until the callee's device rings (or the call goes on or ends)."""
        await _first_of(self._rings, self._ready, self._over)

    async def connected(self) -> SecurityState:
        """Wait until media may flow, or until only the comparison of words is missing.

        Raises:
            CallFailed: busy, declined, no answer, unreachable, vanished.
            SecurityError: a protection refused.
            UsageError: the call's block was not entered, so nothing would ever happen.
        """
        if not self._entered and self.state is not State.ENDED:
            raise UsageError("a call begins when it is entered: async with client.call(…) as call")
        await _first_of(self._ready, self._over)
        if not self._ready.is_set():
            self._raise_end()
        return self.security

    async def ended(self) -> EndReason:
        """Wait for the end of the conversation.

        Raises:
            CallFailed, SecurityError: it did not end in order.
        """
        await self._over.wait()
        self._raise_end()
        return self._finish.reason if self._finish else EndReason.HUNG_UP

    async def confirm_sas(self) -> SecurityState:
        """Say that both people read the same words; raises the level and pins the key as verified.

        Raises:
            UsageError: there are no words to confirm.
            SecurityError, LocalError: the key lost its trust meanwhile, or what was learnt cannot
                be kept; the call is over.
        """
        result = self._proof.result
        outputs = self._machine.confirm_sas()
        try:
            self._perform(outputs)
            verified = result is not None and self.security.sas_confirmed
            if result is not None and verified:
                self._context.confirmed(result)
            self._witness.compared(same=True, verified=verified, at=self._at())
        except SecurecallError as e:
            self._media_failed(e)
            raise
        return self.security

    async def deny_sas(self) -> None:
        """Say that the words differ: the call ends at once and nobody signs an account of it.

        The report says so; the peer's key is trusted no more and no less than before the call.

        Raises:
            UsageError: there were no words to compare.
        """
        outputs = self._machine.deny_sas()
        self._witness.compared(same=False, at=self._at())
        self._perform(outputs)
        await self._wind_up()

    async def hang_up(self) -> None:
        """End the call in order; where identities were proven both ends sign the account first."""
        try:
            if self._machine.state in (State.ACTIVE, State.VERIFYING):
                self._connection.leave()
                await self._connection.countersign()
        finally:  # cancelled, too: nobody is left on the line
            self._perform(self._machine.hang_up())
        await self._wind_up()

    # -- sound ----------------------------------------------------------------------------------

    async def play(self, source: AudioSource) -> None:
        """Send a source's sound until it runs dry or the call ends."""
        self._require_not_over()
        self._sound.source = source
        done = getattr(source, "finished", None)
        if isinstance(done, asyncio.Event):
            await _first_of(done, self._over)

    @property
    def audio(self) -> AsyncIterator[AudioFrame]:
        """The peer's sound, frame by frame; the oldest is dropped (and counted) if nobody reads."""
        self._output.open()
        return self._output

    async def write(self, frame: AudioFrame) -> None:
        """Send one frame; waits while the bounded ring is full.

        Raises:
            CallFailed: the call is over.
        """
        self._require_not_over()
        if self._input is None:
            self._input = PcmInput()
            self._sound.source = self._input
        try:
            await self._input.write(frame)
        except UsageError:
            self._require_not_over()  # closed under a writer who waited
            raise

    @property
    def gate(self) -> Gate:
        """Whether media passes at this moment."""
        return self._connection.gate

    @property
    def source(self) -> AudioSource | None:
        """What is sent; None sends silence. Assigning takes effect at once, unlike `play`."""
        return self._sound.source

    @source.setter
    def source(self, source: AudioSource | None) -> None:
        if source is not None:
            self._require_not_over()
        self._sound.source = source

    def mixed_with(self, others: Iterable[object]) -> None:
        """Note for the report which other calls hear this one; a conference calls this."""
        names = (other.peer for other in others if isinstance(other, Call))
        self._witness.mixed(names, at=self._at())

    def record(self, path: str | Path) -> Recorder:
        """Record the peer's sound to a WAV file, from now on or from the moment media flows.

        The report says so, and the other end is told. Whether people agree is for the application
        to ask, and to write down with `note_consent`.
        """
        recorder = Recorder(path)
        self.add_sink(recorder)
        return recorder

    def note_consent(self, answer: Consent, *, by: str = "") -> None:
        """Write into the report what was asked or answered about recording, and by whom."""
        self._witness.consent(answer, by=by, at=self._at())

    def add_sink(self, sink: AudioSink) -> None:
        """Give the peer's sound to a sink as well."""
        self._sound.add_sink(sink)
        if records(sink):
            self._recorder(added=True)

    def remove_sink(self, sink: AudioSink) -> None:
        """Give it nothing more, and leave it open; nothing happens if it is not one."""
        removed = self._sound.remove_sink(sink)
        if removed and records(sink):
            self._recorder(added=False)

    def _recorder(self, *, added: bool) -> None:
        self._witness.recorder(added=added, at=self._at())
        self._connection.say(self._witness.said)

    @property
    def muted(self) -> bool:
        """Whether silence is sent instead of our source."""
        return self._sound.muted

    def mute(self, *, muted: bool = True) -> None:
        """Send silence of the same packet size instead of sound, and let go of the microphone."""
        self._sound.mute(muted=muted)

    async def levels(self) -> AsyncGenerator[Levels, None]:
        """Yield how loud the call is, both ways, ten times a second until it ends."""
        meter = LevelMeter()
        self._sound.watch(meter)
        try:
            while not self._over.is_set():
                yield meter.take()
                with suppress(TimeoutError):
                    _ = await asyncio.wait_for(self._over.wait(), INTERVAL)
        finally:
            self._sound.watch(meter, on=False)

    @property
    def is_written_to_us(self) -> bool:
        """Whether the peer's offer has text."""
        return self._offers(Kind.TEXT)

    @property
    def is_shown_to_us(self) -> bool:
        """Whether the peer's offer has a picture."""
        return self._offers(Kind.VIDEO)

    def _offers(self, kind: Kind) -> bool:
        lines = self._offer.media if self._offer is not None else ()
        return any(line.kind is kind and not line.refused for line in lines)

    # -- the keys of the telephone ----------------------------------------------------------------

    async def press(self, digits: str) -> None:
        """Send digits (RFC 4733), a quarter of a second each; returns when they are sent.

        Where the other end takes none in that way and the call is `HOP_BY_HOP`, they go by
        signalling (SIP INFO): then every server on the way reads them, as it can hear the call.

        Args:
            digits: Of 0 to 9, * and #, A to D.

        Raises:
            Unsupported: the other end takes none, or none that servers could not read.
            UsageError: the call is not in progress or on hold, now or before all were sent; or
                they are on no keypad.
        """
        await self._keypad.press(digits)

    def digits(self) -> AsyncIterator[str]:
        """Yield the digits that the other end presses from now on, until the call ends."""
        return self._keypad.digits()

    # -- hold -------------------------------------------------------------------------------------

    @property
    def on_hold(self) -> bool:
        """Whether we put the other end on hold."""
        return self._on_hold

    @property
    def held(self) -> bool:
        """Whether the other end put us on hold; `HoldChanged` tells when."""
        return self._machine.held

    async def hold(self) -> None:
        """Put the other end on hold: nothing of ours is sent but silence, nothing of theirs heard.

        That counts at once, and until `resume`: pictures and text stop both ways, and no offer of
        the other end or of a server in between takes it back. They are told as soon as no other
        change is under way, which they could keep so for ever.

        Raises:
            ChangeRefused: the other end does not take it; nothing moves nevertheless.
            UsageError: the call is not in progress.
        """
        self._require_not_over()
        self._machine.keep_held()
        self._on_hold = True
        self._holds += 1
        self._connection.hold(on=True)
        while self._machine.changing and not self._over.is_set():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(TICK)
        if self._on_hold:  # still
            await self._ask(hold=True)

    async def resume(self) -> None:
        """Take the other end back.

        Raises:
            ChangeRefused: the other end does not take it, or was put on hold again meanwhile.
            UsageError: the call is not in progress, or another change of it is under way.
        """
        holds = self._holds
        await self._ask(hold=False)
        if holds != self._holds:
            raise ChangeRefused("they were put on hold again")
        self._on_hold = False
        self._connection.hold(on=False)

    def _ask(
        self, *, hold: bool | None = None, add: LocalVideo | None = None, drop: str = ""
    ) -> asyncio.Future[None]:
        """Ask the peer for a change; what it says is to be awaited."""
        self._require_not_over()
        change = partial(self._machine.change, hold=hold, add=add, drop=drop)
        if self._moving.asks:
            later = self._moving.afterwards(lambda: self._changes.ask(change()))
            return asyncio.ensure_future(later)
        return self._changes.ask(change())

    def network_changed(self) -> None:
        """Addresses of this machine came or went: find another way to the peer where that matters.

        Sound goes on as it can meanwhile, under the same keys, and is sent nowhere else.
        """
        _ = self._moving.look(unless_placed=True)

    # -- transfer -------------------------------------------------------------------------------

    async def transfer(self, to: str | Address | Call) -> None:
        """Send the other end to somebody else; when its call there is answered, ours ends.

        It is asked, and its person decides (RFC 3515); meanwhile, and if it comes to nothing, our
        call goes on. How far they get is told by `TransferProgressed`, and is their claim.

        Args:
            to: Whom they are to call; or another call of ours, in whose place theirs is to step
                (an attended transfer, RFC 5589 7): then both of ours end.

        Raises:
            NotTransferred: they did not, or nobody was reached; its reason says more.
            ProtocolError: the text is no address.
            UsageError: one of the calls is not in progress, a transfer is under way already, or
                whom it leads to has no SIP address.
        """
        self._require_not_over()
        self._transfer.require_none()
        other = to if isinstance(to, Call) else None
        address, replaces = to.place(self) if isinstance(to, Call) else (_led_to(to), "")
        await self._transfer.ask(self._machine.transfer(address, replaces=replaces))
        await self.hang_up()
        if other is not None:
            await other.hang_up()

    def place(self, towards: Call) -> tuple[Address, str]:
        """Whom the other end of that call has to call to take our place here; `transfer` asks.

        Raises:
            UsageError: nobody can be sent here.
        """
        leg = self._leg
        if self is towards or leg is None or self.state is not State.ACTIVE:
            raise UsageError("people are sent to another call in progress")
        if leg.path.direct or not leg.replaces:
            raise UsageError("nobody can be sent into a call that has no server in between")
        return _led_to(leg.remote), leg.replaces

    def tell_transfer(self, progress: TransferProgress) -> None:
        """Tell the other end what comes of the transfer that it asked for."""
        self._perform(self._machine.tell_transfer(progress))

    def supersede(self, other: Call) -> None:
        """Hang that call up once this one may talk; `IncomingCall.accept` asks for it."""
        self._supersedes = other

    def goes_by(self, leg: Leg) -> bool:
        """Whether that is this call's leg."""
        return self._leg is leg

    # -- beginning and end ------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Begin the call.

        Raises:
            UsageError: it was begun before; nothing happens to it.
        """
        if self._entered:
            raise UsageError("this call was begun before; a call is entered once")
        self._entered = True
        try:
            await self._begin(self)
        except BaseException:
            # Cancelled, too: the peer is told, and whoever counts calls counts this one no more.
            self._perform(self._machine.hang_up())
            await self._wind_up()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hang up."""
        await self.hang_up()

    async def begin_outgoing(self, dial: Callable[[Description], Awaitable[Leg]]) -> None:
        """Gather, offer, and follow the leg; the client's half of placing a call."""
        self._machine.require_reachable()
        # Only our own kind completes a call in which identities are proved, and that trickles.
        # For others everything is gathered first: half trickle (RFC 8840 5.3).
        trickle = self._context.floor.identity
        local = await self._opened(ice=self._context.policy.ice, trickle=trickle)
        offer = self._machine.dial(local, now=loop_now())
        try:
            leg = await dial(offer)
        except SecurecallError as e:
            self._perform(self._machine.media_failed(e))
            raise
        if self._over.is_set():  # given up while it was being dialled
            leg.send(Ended(EndReason.CANCELLED))
            self._require_not_over()
        self._follow(leg)

    async def begin_incoming(self) -> None:
        """Accept: only now is anything of ours opened."""
        leg = self._leg
        if leg is None:
            raise UsageError("this call has no leg")
        self._require_not_over()
        offer = self._offer
        audio = offer.audio if offer is not None else None
        ice = self._context.policy.ice and audio is not None and bool(audio.ice_ufrag)
        trickle = ice and offer is not None and offer.trickle
        local = await self._opened(ice=ice, trickle=trickle)
        self._perform(self._machine.accept(local, now=loop_now()))

    async def _opened(self, *, ice: bool, trickle: bool) -> LocalMedia:
        """Open what the call needs; whoever gave it up meanwhile is why there is none."""
        try:
            return await self._connection.open(ice=ice, trickle=trickle)
        finally:
            self._require_not_over()

    def attach(self, leg: IncomingLeg) -> None:
        """Take an incoming leg: alerts the peer, or refuses at once."""
        self._leg = leg
        self._connection.follow(leg)
        self._offer = leg.offer
        try:
            self._proof.receive(leg.identity, leg.offer)
        except SecurecallError as e:
            self._media_failed(e)
            return
        self._perform(self._machine.invited(leg.offer, now=loop_now()))
        leg.listen(self._on_signal)

    def prepare(
        self,
        *,
        audio: AudioSource | None,
        video: VideoSource | bool | None,
        text: bool,
        require: SecurityLevel | None,
    ) -> None:
        """Set what a call will send and must reach, before it begins or is accepted."""
        if audio is not None:
            self._sound.source = audio
        self.video.begin(video=video)
        if text:
            self._machine.require_text()
            self.text.begin()
        if require is not None:
            self._machine.raise_minimum(require)

    def break_off(self, error: SecurityError) -> None:
        """End the call at once: what it rested on does not hold any more; the client's verb."""
        if not self._over.is_set():
            self._media_failed(error)

    async def refuse(self, reason: EndReason) -> None:
        """Refuse an incoming call."""
        self._perform(self._machine.hang_up(reason))
        await self._wind_up()

    def _peer_said(self, said: Said) -> None:
        if self._witness.heard(said, at=self._at()):
            self._context.peer_records(self)

    # -- the inside: performing -------------------------------------------------------------------

    def _at(self) -> float:
        """Seconds since the beginning, as the report counts them."""
        return time.monotonic() - self._began

    def _follow(self, leg: Leg) -> None:
        self._leg = leg
        self._connection.follow(leg)
        leg.listen(self._on_signal)
        self._arm()

    def _on_signal(self, signal: Signal) -> None:
        if isinstance(signal, Offered) and self._machine.wants_keys:
            self._machine.bring(self._connection.fresh_keys())
        if isinstance(signal, Answered) and signal.telephone:
            self._machine.through_gateway()
        first = self.state in (State.DIALLING, State.RINGING)
        if first and isinstance(signal, Answered) and signal.final:
            try:
                self._proof.receive(signal.identity, signal.description)
            except SecurecallError as e:
                self._media_failed(e)
                return
        self._perform(self._machine.receive(signal, now=loop_now()))

    def _perform(self, outputs: tuple[orders.Output, ...]) -> None:
        for output in outputs:
            self._perform_one(output)
            self._witness.performed(output, at=self._at())
            self._context.observe(self, output)
        self._changes.performed(outputs)
        self._connection.say(self._witness.said)
        self._arm()

    def _perform_one(self, output: orders.Output) -> None:  # noqa: C901 - a table of orders, one line each
        match output:
            case orders.Send(signal=signal):
                if self._leg is not None:
                    self._leg.send(self._proof.signed(signal))
            case orders.StartMedia() | orders.AwaitKeys():
                self._start(output)
            case orders.Regather():
                self._spawn(self._moving.answer())
            case orders.Reconnect(agreement=agreement):
                self._spawn(self._moving.reconnect(agreement))
            case orders.CheckAlso(ice=ice):
                self._connection.way.check_also(ice)
            case orders.SetGate(gate=gate):
                self._set_gate(gate)
            case orders.SetDirection(direction=direction):
                self._sound.set_direction(direction)
            case orders.SetCompanions(events=events, red=red):
                self._sound.set_companions(events=events, red=red)
            case orders.Rekey(keys=keys):
                self._connection.rekey(keys)
            case orders.SetVideo(video=video):
                self._connection.pictures.agree(video)
            case orders.SetText(text=text):
                self.text.agree(text)
            case orders.PeerRings():
                self._rings.set()
            case orders.TransferTold(progress=progress):
                self._transfer.told(progress)
            case orders.DigitHeard(digit=digit):
                self._keypad.heard(digit)
            case orders.DigitTold(taken=taken):
                self._keypad.told(taken=taken)
            case orders.Finish():
                self._finished(output)
            case orders.Secured() | orders.PeerHolds() | orders.PicturesAgreed():
                pass  # witness and observer are told
            case _:  # for whoever observes the call
                log.info("%r: %r", self, output)

    def _set_gate(self, gate: Gate) -> None:
        result = self._proof.result
        if gate is Gate.OPEN and result is not None:
            # First, since it may refuse: a key can lose its trust while words are compared.
            security = self._machine.security
            self._context.secured(result, security)
            self._witness.learnt(security.identity, outgoing=self.outgoing, at=self._at())
        self._connection.gate = gate
        if gate is not Gate.CLOSED:
            self._ready.set()
        superseded = self._supersedes
        if gate is Gate.OPEN and superseded is not None:
            self._supersedes = None
            self._spawn(superseded.hang_up())

    def _finished(self, finish: orders.Finish) -> None:
        self._finish = finish
        self._lasted = self._at()
        self._connection.give_up_countersigning()
        self._over.set()
        self._changes.settle("the call is over")
        self._moving.close()
        self._transfer.told(TransferProgress(TransferStep.FAILED, finish.reason))
        self._keypad.close()
        self._output.close()
        if self._input is not None:
            self._input.close()
        log.info("%r ended: %s", self, finish.reason.value)
        self._spawn(self._wind_up())

    def _arm(self) -> None:
        """Re-arm the one timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._machine.deadline
        if deadline is not None and self._winding_up is None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._perform(self._machine.expire(now=loop_now()))

    def _spawn(self, work: Awaitable[None]) -> None:
        task: asyncio.Future[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- the inside: media --------------------------------------------------------------------

    def _start(self, order: orders.StartMedia | orders.AwaitKeys) -> None:
        if isinstance(order, orders.StartMedia):
            self._proof.keying = order.agreement.keying
            self._spawn(self._connection.connect(order.agreement))
        elif isinstance(self._connection, CarriedConnection):
            self._spawn(self._connection.await_keys())

    def _media_failed(self, error: SecurecallError) -> None:
        self._perform(self._machine.media_failed(error))

    def _secured(self, result: HandshakeResult | None, srtp_profile: str) -> None:
        """The link has keys: judge what they are worth before anything passes."""
        facts = self._proof.facts(result, srtp_profile)
        self.peer = self._proof.peer
        self._perform(self._machine.secured(facts, now=loop_now()))

    # -- the inside: the end ------------------------------------------------------------------

    def _require_not_over(self) -> None:
        if self._over.is_set():
            self._raise_end()
            raise CallFailed("the call is over", reason=EndReason.HUNG_UP)

    def _raise_end(self) -> None:
        if self._finish is not None and self._finish.error is not None:
            raise self._finish.error

    async def _wind_up(self) -> None:
        """Close everything once, and wait for that whoever began it; safe to call again."""
        if self._winding_up is None:
            self._winding_up = asyncio.ensure_future(self._close())
        await asyncio.shield(self._winding_up)

    async def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._output.close()
        await self._connection.close()
        for line in self._offer.media if self._offer is not None else ():
            for crypto in line.crypto:  # those that were not taken, too
                crypto.key.wipe()
        if self._leg is not None:
            await self._leg.closed()
        self._over.set()
        self._sealed = self.report.sealed()


def _led_to(to: str | Address) -> Address:
    address = parse_address(to) if isinstance(to, str) else to
    if address.scheme is not Scheme.SIP or address == ANONYMOUS:
        raise UsageError(f"nobody can be sent to {address.short}: a SIP address is needed")
    return address


async def _first_of(*events: asyncio.Event) -> None:
    """Wait until any of the events is set."""
    if any(e.is_set() for e in events):
        return
    waits = [asyncio.ensure_future(e.wait()) for e in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
