"""One call as an application sees it: the shell that performs what machine and link order.

Receive, hand to the core, perform its outputs, re-arm one timer; nothing else is decided here.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from securecall.calls import link as linking
from securecall.calls import machine as ordering
from securecall.calls.countersign import CallRecord, Countersigned, Countersigner, Party
from securecall.calls.link import LinkIdentity, SecureLink
from securecall.calls.machine import CallMachine, State
from securecall.calls.negotiation import Agreement, LocalMedia
from securecall.calls.report import Interval, ListenerReport, parties_of
from securecall.calls.signaling import IncomingLeg, Leg, Signal
from securecall.errors import (
    CallFailed,
    EndReason,
    NetworkError,
    SecurecallError,
    UsageError,
)
from securecall.keys.handshake import CallRole, HandshakeResult
from securecall.keys.verification import Sas, sas
from securecall.media.description import Description, Fingerprint, Keying
from securecall.media.endpoints import AudioSink, AudioSource, PcmInput, PcmOutput, Recorder
from securecall.media.engine import AudioSession, AudioStatistics, Clock
from securecall.media.frames import AudioFrame
from securecall.policy import (
    Facts,
    Floor,
    Gate,
    IdentityEvidence,
    Policy,
    SecurityLevel,
    SecurityState,
)
from securecall.rtp.sframe import SframeReceiver, SframeSender
from securecall.rtp.srtp import SrtpProfile, SrtpSession
from securecall.transport.dtls import DtlsCertificate
from securecall.transport.ice import IcePath
from securecall.transport.udp import UdpPath

log = logging.getLogger("securecall.call")

_INTEGRITY_CHECK_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """What a call needs to know of the world; composed by the client.

    Attributes:
        policy, floor: What the call must reach.
        peer: The peer's address for people.
        identity: Ours, None in the danger mode without identity.
        evidence: Joins what the handshake proved with what we know of that key.
        observe: Told every order of the machine after it was performed.
        secured: Told once when evidence was accepted by policy and the gate opened.
        confirmed: Told when the user confirmed the words.
        guess_burned: Told when a handshake failed after its nonces.
        clock: The process's media clock.
        host: Our address towards the peer, as the routing table has it.
        ticket: How the ticket travelled, "" without one.
    """

    policy: Policy
    floor: Floor
    peer: str
    identity: LinkIdentity | None
    evidence: Callable[[HandshakeResult], IdentityEvidence]
    secured: Callable[[HandshakeResult, SecurityState], None]
    confirmed: Callable[[HandshakeResult], None]
    guess_burned: Callable[[], None]
    clock: Clock
    host: str
    ticket: str = ""
    observe: Callable[[Call, ordering.Output], None] = field(default=lambda call, output: None)


class Call:
    """A call in progress; leaving its block hangs up.

    Attributes:
        peer: The peer's address for people.
        outgoing: We placed it.
    """

    def __init__(
        self,
        context: CallContext,
        begin: Callable[[Call], Awaitable[None]],
        *,
        outgoing: bool,
        audio: AudioSource | None = None,
    ) -> None:
        """Prepare a call; entering its block begins it (see `Client.call`, `IncomingCall.accept`)."""
        self.peer = context.peer
        self.outgoing = outgoing
        self._context = context
        self._begin = begin
        self._machine = CallMachine(context.policy, context.floor, outgoing=outgoing)
        self._certificate = DtlsCertificate.generate()
        self._leg: Leg | None = None
        self._path: UdpPath | IcePath | None = None
        self._link: SecureLink | None = None
        self._session: AudioSession | None = None
        self._result: HandshakeResult | None = None
        self._sas: Sas | None = None
        self._source = audio
        self._sinks: list[AudioSink] = []
        self._output = PcmOutput()
        self._input: PcmInput | None = None
        self._gate = Gate.CLOSED
        self._intervals: list[Interval] = []
        self._began_unix = int(time.time())
        self._began = time.monotonic()
        self._secured_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._finish: ordering.Finish | None = None
        self._settled = asyncio.Event()
        self._ready = asyncio.Event()
        self._rings = asyncio.Event()
        self._over = asyncio.Event()
        self._closed = False
        self._ended_after = 0.0
        self._final_statistics: AudioStatistics | None = None
        self._countersigner: Countersigner | None = None
        self._agreement: Agreement | None = None
        self._offer: Description | None = None
        self._muted = False
        self._ssrc = secrets.randbits(32)
        self._cname = secrets.token_hex(8)

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
    def sas(self) -> Sas:
        """The words to read to each other.

        Raises:
            UsageError: the identity handshake is not complete, or did not run.
        """
        if self._sas is None:
            raise UsageError("this call has no words to compare (yet)")
        return self._sas

    @property
    def report(self) -> ListenerReport:
        """Who could have listened, up to now or to the end."""
        leg, path = self._leg, None
        if leg is not None:
            path = leg.path
        finish = self._finish
        statistics = self.statistics()
        intervals = tuple(self._intervals)
        return ListenerReport(
            peer=self.peer,
            outgoing=self.outgoing,
            began=self._began_unix,
            lasted=self._ended_after or time.monotonic() - self._began,
            media_seconds=(
                (statistics.sent_seconds, statistics.received_seconds) if statistics else (0.0, 0.0)
            ),
            ended=finish.reason if finish else EndReason.HUNG_UP,
            error=str(finish.error) if finish and finish.error else "",
            intervals=intervals,
            parties=parties_of(
                peer=self.peer,
                path=path,
                security=intervals[-1].security if intervals else None,
                ticket=self._context.ticket,
            ),
            record=self._countersigned(),
            statements=self._statements(),
        )

    def statistics(self) -> AudioStatistics | None:
        """Counters of the audio, None before media began."""
        if self._session is None:
            return self._final_statistics
        return self._session.statistics()

    async def ringing(self) -> None:
        """Wait until the callee's device rings (or the call goes on or ends)."""
        await _first_of(self._rings, self._ready, self._over)

    async def connected(self) -> SecurityState:
        """Wait until media may flow, or until only the comparison of words is missing.

        Raises:
            CallFailed: busy, declined, no answer, unreachable, vanished.
            SecurityError: a protection refused.
        """
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
        """
        result = self._result
        self._perform(self._machine.confirm_sas())
        if result is not None and self.security.sas_confirmed:
            self._context.confirmed(result)
        return self.security

    async def hang_up(self) -> None:
        """End the call in order; both ends sign the account of it first where identities were proven."""
        if self._machine.state in (State.ACTIVE, State.VERIFYING):
            self._set_gate(Gate.CLOSED)
            await self._countersign()
        self._perform(self._machine.hang_up())
        await self._wind_up()

    # -- sound ----------------------------------------------------------------------------------

    async def play(self, source: AudioSource) -> None:
        """Send a source's sound until it runs dry or the call ends."""
        if self._over.is_set():
            self._raise_end()
            raise CallFailed("the call is over", reason=EndReason.HUNG_UP)
        self._source = source
        if self._session is not None:
            self._session.source = source
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
        if self._over.is_set():
            raise CallFailed("the call is over", reason=EndReason.HUNG_UP)
        if self._input is None:
            self._input = PcmInput()
            self._source = self._input
            if self._session is not None:
                self._session.source = self._input
        await self._input.write(frame)

    def record(self, path: str | Path) -> Recorder:
        """Record the peer's sound to a WAV file, from now on or from the moment media flows."""
        recorder = Recorder(path)
        self.add_sink(recorder)
        return recorder

    def add_sink(self, sink: AudioSink) -> None:
        """Give the peer's sound to a sink as well."""
        self._sinks.append(sink)
        if self._session is not None:
            self._session.add_sink(sink)

    def mute(self, muted: bool = True) -> None:  # noqa: FBT001, FBT002 - reads as a sentence
        """Send silence of the same packet size instead of sound."""
        self._muted = muted
        if self._session is not None:
            self._session.muted = muted

    # -- beginning and end ------------------------------------------------------------------------

    async def __aenter__(self) -> Call:
        """Begin the call."""
        try:
            await self._begin(self)
        except BaseException:
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
        local = await self._open_path(ice=self._context.policy.ice)
        offer = self._machine.dial(local, now=self._now())
        try:
            leg = await dial(offer)
        except SecurecallError as e:
            self._perform(self._machine.media_failed(e))
            raise
        self._follow(leg)

    async def begin_incoming(self) -> None:
        """Accept: only now is anything of ours opened."""
        leg = self._leg
        if leg is None:
            raise UsageError("this call has no leg")
        if self._machine.state is State.ENDED:
            self._raise_end()
            raise CallFailed("the call is over", reason=EndReason.CANCELLED)
        offer = self._offer
        audio = offer.audio if offer is not None else None
        ice = self._context.policy.ice and audio is not None and bool(audio.ice_ufrag)
        local = await self._open_path(ice=ice)
        if self._machine.state is State.ENDED:  # the caller gave up meanwhile
            self._raise_end()
        self._perform(self._machine.accept(local, now=self._now()))

    def attach(self, leg: IncomingLeg) -> None:
        """Take an incoming leg: alerts the peer, or refuses at once."""
        self._leg = leg
        self._offer = leg.offer
        self._perform(self._machine.invited(leg.offer, now=self._now()))
        leg.listen(self._on_signal)

    def prepare(self, *, audio: AudioSource | None, require: SecurityLevel | None) -> None:
        """Set what an incoming call will send and must reach, before it is accepted."""
        if audio is not None:
            self._source = audio
        if require is not None:
            self._machine.raise_minimum(require)

    async def refuse(self, reason: EndReason) -> None:
        """Refuse an incoming call."""
        self._perform(self._machine.hang_up(reason))
        await self._wind_up()

    # -- the inside: performing -------------------------------------------------------------------

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _follow(self, leg: Leg) -> None:
        self._leg = leg
        leg.listen(self._on_signal)
        self._arm()

    def _on_signal(self, signal: Signal) -> None:
        self._perform(self._machine.receive(signal, now=self._now()))

    def _perform(self, outputs: tuple[ordering.Output, ...]) -> None:
        for output in outputs:
            match output:
                case ordering.Send(signal=signal):
                    if self._leg is not None:
                        self._leg.send(signal)
                case ordering.StartMedia(agreement=agreement):
                    self._spawn(self._connect_media(agreement))
                case ordering.SetGate(gate=gate):
                    self._set_gate(gate)
                case ordering.SetDirection(direction=direction):
                    if self._session is not None:
                        self._session.set_direction(direction)
                case ordering.Secured(state=state):
                    since = time.monotonic() - self._began
                    self._intervals.append(Interval(since=since, security=state))
                case ordering.PeerRings():
                    self._rings.set()
                case ordering.Finish():
                    self._finished(output)
                case ordering.Discard(why=why):
                    log.debug("%r discards: %s", self, why)
                case _:
                    pass
            self._context.observe(self, output)
        self._arm()

    def _set_gate(self, gate: Gate) -> None:
        self._gate = gate
        if self._session is not None:
            self._session.gate = gate
        if gate is Gate.CLOSED:
            return
        if not self._ready.is_set():
            self._ready.set()
        if gate is Gate.OPEN and self._result is not None:
            self._context.secured(self._result, self._machine.security)

    def _finished(self, finish: ordering.Finish) -> None:
        self._finish = finish
        self._ended_after = time.monotonic() - self._began
        self._settled.set()
        self._over.set()
        self._output.close()
        if self._input is not None:
            self._input.close()
        log.info("%r ended: %s", self, finish.reason.value)
        self._spawn(self._wind_up())

    def _arm(self) -> None:
        """Re-arm the one timer for machine and link."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadlines = [
            d
            for d in (self._machine.deadline, self._link.deadline if self._link else None)
            if d is not None
        ]
        if deadlines and not self._closed:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(min(deadlines), self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = self._now()
        if self._link is not None:
            self._perform_link(self._link.expire(now=now))
        self._perform(self._machine.expire(now=now))

    def _spawn(self, work: Awaitable[None]) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- the inside: media --------------------------------------------------------------------------

    async def _open_path(self, *, ice: bool) -> LocalMedia:
        policy, host = self._context.policy, self._context.host
        digest = self._certificate.digest
        fingerprint = Fingerprint(digest.algorithm, digest.value)
        path: UdpPath | IcePath
        if ice:
            path = IcePath(controlling=self.outgoing)
            candidates = await path.gather((host,))
            ufrag, pwd = path.ufrag, path.pwd
        else:
            path = await UdpPath.open(host)
            candidates, ufrag, pwd = (), "", ""
        self._path = path
        path.listen(dtls=self._on_dtls, media=self._on_media)
        return LocalMedia(
            fingerprint=fingerprint,
            host=path.local[0],
            port=path.local[1],
            codecs=policy.prefer_codecs,
            ice_ufrag=ufrag,
            ice_pwd=pwd,
            candidates=candidates,
            cname=self._cname,
            ssrc=self._ssrc,
        )

    async def _connect_media(self, agreement: Agreement) -> None:
        path = self._path
        if path is None:
            return
        self._agreement = agreement
        self._link = SecureLink(
            agreement,
            self._certificate,
            self._context.identity,
            outgoing=self.outgoing,
            nonce=secrets.token_bytes(32),
            unix=int(time.time()),
            strict=self._context.floor.identity,
        )
        try:
            if isinstance(path, IcePath) and agreement.ice:
                await path.connect(
                    agreement.ice_ufrag,
                    agreement.ice_pwd,
                    agreement.candidates,
                    remote_lite=agreement.ice_lite,
                )
            else:
                path.connect_plain(agreement.host, agreement.port)
        except (NetworkError, SecurecallError) as e:
            self._perform(self._machine.media_failed(e))
            return
        if not self._over.is_set() and self._link is not None:
            self._perform_link(self._link.start(now=self._now()))

    def _on_dtls(self, datagram: bytes) -> None:
        if self._link is not None:
            self._perform_link(self._link.receive(datagram, now=self._now()))

    def _on_media(self, datagram: bytes) -> None:
        if self._session is not None:
            self._session.receive(datagram)

    def _perform_link(self, outputs: tuple[linking.LinkOutput, ...]) -> None:
        for output in outputs:
            match output:
                case linking.Transmit(datagram=datagram):
                    if self._path is not None:
                        self._path.send(datagram)
                case linking.Secured():
                    self._link_secured(output)
                case linking.LinkFailed(error=error, guess_burned=burned):
                    if burned:
                        self._context.guess_burned()
                    self._perform(self._machine.media_failed(error))
                case linking.PeerClosed():
                    log.debug("%r: the peer closed DTLS", self)
                case linking.Settled():
                    self._settled.set()
        self._arm()

    def _link_secured(self, secured: linking.Secured) -> None:
        agreement = self._agreement
        if agreement is None or self._path is None:
            return
        result = self._result = secured.identity
        evidence = None
        send_frames: SframeSender | None = None
        receive_frames: SframeReceiver | None = None
        if result is not None:
            try:
                evidence = self._context.evidence(result)
            except SecurecallError as e:
                self._perform(self._machine.media_failed(e))
                return
            self._sas = sas(result.sas_secret.reveal())
            ours, theirs = CallRole.CALLER, CallRole.CALLEE
            if not self.outgoing:
                ours, theirs = theirs, ours
            send_frames = SframeSender(result.sframe_key(ours, 0), 0)
            receive_frames = SframeReceiver()
            for kid in range(8):
                receive_frames.add_key(kid, result.sframe_key(theirs, kid))
            self._prepare_countersigning(result, secured.keys.profile)
        self._session = AudioSession(
            clock=self._context.clock,
            send=self._path.send,
            srtp=SrtpSession(
                SrtpProfile[secured.keys.profile], secured.keys.send, secured.keys.receive
            ),
            sframe_send=send_frames,
            sframe_receive=receive_frames,
            mid=agreement.mid,
            codec=agreement.codec,
            receive_codecs=agreement.receive,
            ssrc=self._ssrc,
            sequence=secrets.randbits(15),
            timestamp=secrets.randbits(31),
            cname=self._cname,
            opus_bitrate=self._context.policy.opus_bitrate,
            opus_complexity=self._context.policy.opus_complexity,
        )
        self._session.source = self._source
        self._session.muted = self._muted
        self._session.add_sink(self._output)
        for sink in self._sinks:
            self._session.add_sink(sink)
        self._session.start()
        self._secured_at = time.monotonic()
        facts = Facts(
            keying=Keying.DTLS_SRTP,
            identity=evidence,
            srtp_profile=secured.keys.profile,
            sframe=send_frames is not None,
        )
        self._perform(self._machine.secured(facts, now=self._now()))

    # -- the inside: the end ----------------------------------------------------------------------

    def _prepare_countersigning(self, result: HandshakeResult, profile: str) -> None:
        identity = self._context.identity
        if identity is None or self._link is None:
            return
        us = Party(
            address=identity.own_address,
            root_fp=identity.root_fp,
            device_id=identity.device.id,
            device_public=identity.device.public,
        )
        them = Party(
            address=result.peer.own_address,
            root_fp=result.peer.root_fp,
            device_id=result.peer.device.id,
            device_public=result.peer.device.ed25519,
        )
        caller, callee = (us, them) if self.outgoing else (them, us)
        record = CallRecord(
            caller=caller,
            callee=callee,
            bind=result.peer.bind,
            srtp_profile=profile,
            group=result.group,
        )
        self._countersigner = Countersigner(
            record, we_call=self.outgoing, sign=identity.device.sign
        )
        self._link.countersign_with(self._countersigner, self._times)

    def _times(self) -> tuple[int, int]:
        began = self._secured_at or time.monotonic()
        return self._began_unix, round((time.monotonic() - began) * 10)

    async def _countersign(self) -> None:
        link = self._link
        if link is None or self._countersigner is None or self._countersigner.outcome is not None:
            return
        self._perform_link(link.propose_record(now=self._now()))
        await _first_of(self._settled, self._over)

    def _countersigned(self) -> Countersigned | None:
        return self._countersigner.outcome if self._countersigner is not None else None

    def _statements(self) -> tuple[bytes, ...]:
        identity, result = self._context.identity, self._result
        if identity is None or result is None:
            return ()
        return (identity.statement, result.peer.statement.raw)

    def _raise_end(self) -> None:
        if self._finish is not None and self._finish.error is not None:
            raise self._finish.error

    async def _wind_up(self) -> None:
        """Close everything once; safe to call again."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._session is not None:
            self._final_statistics = self._session.statistics()
            self._session.close()
            self._session = None
        if self._link is not None:
            self._perform_link(self._link.close(now=self._now()))
        for sink in self._sinks:
            sink.close()
        self._output.close()
        if self._path is not None:
            await self._path.close()
        if self._leg is not None:
            await self._leg.closed()
        if not self._over.is_set():
            self._over.set()


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
