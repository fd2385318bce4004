"""The media half of a call: socket, link and audio session, performed as the call orders."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

from securecall.calls import link as linking
from securecall.calls.call_text import STREAM, CallText
from securecall.calls.countersign import CallRecord, Countersigned, Countersigner, Party, Said
from securecall.calls.link import LinkIdentity, SecureLink
from securecall.calls.negotiation import Agreement, LocalMedia
from securecall.calls.pictures import STREAM_OF, PictureKeys, Pictures
from securecall.calls.sdes import SdesKeys
from securecall.calls.signaling import Leg
from securecall.clock import loop_now, unix_now
from securecall.errors import (
    ConnectFailed,
    PeerVanished,
    Reason,
    SecurecallError,
    SecurityError,
    UsageError,
)
from securecall.keys.encoding import sha512
from securecall.keys.handshake import STREAMS, CallRole, HandshakeResult, fingerprint_hash
from securecall.media.carried import CarriedSession
from securecall.media.codecs import usable
from securecall.media.description import Candidate, Direction, Fingerprint, LocalIce, held
from securecall.media.endpoints import AudioSink, AudioSource
from securecall.media.engine import AudioSession, AudioStatistics, Clock
from securecall.media.levels import LevelMeter
from securecall.media.quality import Quality
from securecall.media.sdes import SUITES, CryptoLine
from securecall.media.synchrony import Heard
from securecall.policy import Gate, IpPrivacy, Policy
from securecall.rtp.sframe import IntegrityAlarm, SframeReceiver, SframeSender
from securecall.rtp.srtp import FIRST_SEQUENCES, SrtpProfile, SrtpSession
from securecall.secret import Secret
from securecall.transport.dtls import DtlsCertificate
from securecall.transport.ice import IcePath
from securecall.transport.route import is_loopback, own_hosts
from securecall.transport.suite import ORDINARY
from securecall.transport.turn import IceHelpers, no_helpers
from securecall.transport.udp import UdpPath

SILENCE_SECONDS: Final = 30.0
"""Without one authentic packet for so long, though the peer should be sending, it has vanished."""

RESTART_SECONDS: Final = 15.0
"""How long another way may be looked for once the one in use is gone for good."""

MOST_RELAYS: Final = 64
"""Relays that are named, after which no more of the peer's: a report has room for a hundred."""

_HELP_SECONDS: Final = 0.5  # for news of relays, when another way is looked for

GOODBYE_SECONDS: Final = 2.0
"""How long signalling may take to end a call after the peer itself said that it is leaving."""


class _Step(Protocol):
    """Something the link does at a time."""

    def __call__(self, *, now: float) -> tuple[linking.LinkOutput, ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionEvents:
    """Whom a connection tells.

    Attributes:
        secured: Keys are there; called with the handshake's result (None for plain DTLS-SRTP) and
            the SRTP profile. Raising refuses: the connection fails with that error.
        failed: It is over, and why.
        guess_burned: A handshake failed after its nonces.
        sound_failed: A source or sink raised and was taken out; the call goes on without it.
        peer_said: The peer says something new of itself.
        digit: The peer pressed a key of its telephone.
        way_needed: The way in use is gone, or seems to be; tells whether another is looked for.
        gathered: More of our candidates were found, or all there are.
        quality: The peer sounds better or worse than it did.
    """

    secured: Callable[[HandshakeResult | None, str], None]
    failed: Callable[[SecurecallError], None]
    guess_burned: Callable[[], None]
    sound_failed: Callable[[Exception], None]
    peer_said: Callable[[Said], None]
    digit: Callable[[str], None] = lambda _: None
    way_needed: Callable[[], bool] = lambda: False
    gathered: Callable[[LocalIce], None] = lambda _: None
    quality: Callable[[Quality], None] = lambda _: None


class MediaConnection:
    """One call's media, from an unbound socket to sealed frames.

    Attributes:
        countersigned: The account both ends signed, None before.
        pictures: What is shown beside the sound.
        text: What is typed beside it.
    """

    def __init__(
        self,
        events: ConnectionEvents,
        *,
        policy: Policy,
        identity: LinkIdentity | None,
        strict: bool,
        clock: Clock,
        towards: str,
        outgoing: bool,
        helpers: Callable[[], Awaitable[IceHelpers]] = no_helpers,
        acquainted: bool = False,
        sdes: bool = False,
    ) -> None:
        """Prepare; nothing is opened before `open`. An `acquainted` peer may know where we are.

        With `sdes` our description carries keys of ours, for a telephone gateway.
        """
        self._events = events
        self._policy = policy
        self._identity = identity
        self._strict = strict
        self._clock = clock
        self._towards = towards
        self._outgoing = outgoing
        self._helpers = helpers
        self._acquainted = acquainted
        self._sdes = sdes
        self._written: list[Secret] = []  # keys that stand in descriptions
        self._srtp: SrtpSession | None = None
        self._certificate = DtlsCertificate.generate(
            identity.suite.curve if identity is not None else ORDINARY.curve
        )
        self._path: UdpPath | IcePath | None = None
        self._hosts: tuple[str, ...] = ()  # ours that were gathered from last
        self._giving_up: asyncio.TimerHandle | None = None
        self._doubts = self._heard_at_doubt = 0
        self._agreement: Agreement | None = None
        self._link: SecureLink | None = None
        self._relays: tuple[str, ...] = ()
        self._countersigner: Countersigner | None = None
        self._settled = asyncio.Event()
        self._session: AudioSession | CarriedSession | None = None
        self._last_statistics: AudioStatistics | None = None
        self._gate = Gate.CLOSED
        self._source: AudioSource | None = None
        self._sinks: list[AudioSink] = []
        self._muted = self._held = False
        self._resting: AudioSource | None = None
        self._meters: tuple[LevelMeter, ...] = ()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._ssrc = secrets.randbits(32)
        self._cname = secrets.token_hex(8)
        self.pictures = Pictures(
            clock,
            self._send,
            cname=self._cname,
            codecs=policy.prefer_video,
            failed=events.sound_failed,
            heard=self._heard_at,
        )
        self.text = CallText(clock, self._send, failed=events.sound_failed)
        self._began_unix = unix_now()
        self._secured_at = 0.0
        self._heard = 0
        self._direction = Direction.SENDRECV
        self._receives = True
        self._watch_at: float | None = None
        self._left = False

    def follow(self, leg: Leg) -> None:
        """Know the leg; ours carries signalling alone."""

    # -- the way ----------------------------------------------------------------------------------

    async def open(self, *, ice: bool, trickle: bool = False) -> LocalMedia:
        """Bind a socket, and say what goes into our description.

        Args:
            ice: Gather candidates. Where our address is hidden, a relay is asked anyway: whoever
                leaves ICE out of an offer would learn it otherwise.
            trickle: Do not wait for all of them; `events.gathered` tells of the rest.

        Raises:
            ConnectFailed: no socket of ours can be bound, or no relay that the policy asks for.
            Unsupported: no codec of the policy is installed here.
            UsageError: the policy names a codec that does not exist.
        """
        codecs = usable(self._policy.prefer_codecs)
        digest = self._certificate.digest
        own = await own_hosts(self._towards)
        helpers = await self._helpers() if self._policy.ice else IceHelpers()
        hidden = self._hidden(helpers)
        if ice or hidden:  # a relay serves peers without ICE, too
            gathered = IcePath(
                controlling=self._outgoing,
                stun_server=helpers.stun,
                turn_servers=helpers.turn,
                relay_only=hidden,
                on_lost=self._on_lost,
                on_doubt=self._on_doubt,
                on_gathered=self._on_gathered,
            )
            self._path, self._hosts = gathered, own
            _ = await gathered.gather(own, trickle=trickle)
            self._relays = gathered.relays
            found = gathered.gathered
        else:
            self._path = await UdpPath.open(own[-1])
            found = LocalIce(ufrag="", pwd="", candidates=())
        self._path.listen(dtls=self._on_dtls, media=self._on_media)
        host, port = self._path.local
        return LocalMedia(
            fingerprint=Fingerprint(digest.algorithm, digest.value),
            host=host,
            port=port,
            codecs=codecs,
            ice_ufrag=found.ufrag,
            ice_pwd=found.pwd,
            candidates=found.candidates,
            complete=found.complete,
            cname=self._cname,
            ssrc=self._ssrc,
            video=tuple(self.pictures.bring(name) for name in self.pictures.offered),
            text=self.text.brought,
            crypto=self.fresh_keys() if self._sdes else (),
        )

    def fresh_keys(self) -> tuple[CryptoLine, ...]:
        """Make a key of each suite, to stand in a description."""
        lines = tuple(
            CryptoLine(tag, suite, Secret(secrets.token_bytes(suite.size)))
            for tag, suite in enumerate(SUITES.values(), 1)
        )
        self._written += [line.key for line in lines]
        return lines

    def _hidden(self, helpers: IceHelpers) -> bool:
        """Whether the peer may learn the address of a relay alone.

        Raises:
            ConnectFailed: the policy wants that, and there is no relay.
        """
        wish = self._policy.ip_privacy
        if wish is IpPrivacy.RELAY and not helpers.turn:
            raise ConnectFailed(
                "no relay is known, and the policy hides our address (ip_privacy): give one with "
                "Client.use_relay(), or sign in to an XMPP server that names one"
            )
        if wish is IpPrivacy.RELAY:
            return True
        return wish is IpPrivacy.STRANGERS and not self._acquainted and bool(helpers.turn)

    async def connect(self, agreement: Agreement) -> None:
        """Reach the peer and run DTLS and the identity handshake; `events` tells how it went."""
        path = self._path
        if path is None or self._closed:
            return
        self._agreement = agreement
        self._note_relays(agreement.candidates)
        if agreement.sdes is not None:
            self._written.append(agreement.sdes.theirs.key)
        else:
            self._link = SecureLink(
                agreement,
                self._certificate,
                self._identity,
                outgoing=self._outgoing,
                nonce=secrets.token_bytes(32),
                unix=unix_now(),
                strict=self._strict,
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
        except SecurecallError as e:
            self._events.failed(e)
            return
        if self._closed:
            return
        if self._link is not None:
            self._advance(self._link.start)
        elif self._agreement.sdes is not None:
            self._secured(linking.Secured(keys=_keys_of(self._agreement.sdes), identity=None))
            self._arm()

    def rekey(self, keys: SdesKeys) -> None:
        """Lock and open with what the descriptions say now; a key of ours that stays goes on."""
        agreement, session, srtp = self._agreement, self._session, self._srtp
        if agreement is None or agreement.sdes is None:
            raise UsageError("only a gateway brings keys")
        before = agreement.sdes
        self._agreement = replace(agreement, sdes=keys)
        self._written.append(keys.theirs.key)
        if not isinstance(session, AudioSession) or srtp is None:
            return
        kept = before.ours.same_key(keys.ours)
        srtp.renew(
            SrtpProfile[keys.profile],
            send_key=None if kept else keys.ours.key,
            receive_key=keys.theirs.key,
            received_with=before.theirs.key,
        )
        session.rekeyed()

    # -- another way ------------------------------------------------------------------------------

    async def displaced(self) -> bool:
        """Whether our addresses are others than those that were gathered from last.

        While no way leads anywhere they are not: there is nothing that could be offered.
        """
        own = await own_hosts(self._towards)
        return own != self._hosts and (is_loopback(self._towards) or not is_loopback(own[0]))

    def _on_gathered(self, found: LocalIce) -> None:
        """More of ours was found; the report names every relay that has a place for us."""
        self._note_relays()
        self._events.gathered(found)

    def check_also(self, theirs: LocalIce) -> None:
        """Check further addresses of the peer's."""
        if isinstance(self._path, IcePath) and not self._closed:
            self._path.trickled(theirs.ufrag, theirs.pwd, theirs.candidates)
            self._note_relays(theirs.candidates)

    async def regather(self, *, trickle: bool) -> LocalIce:
        """Gather candidates anew; what works goes on.

        Args:
            trickle: As of `open`.

        Raises:
            ConnectFailed: there are none.
            SecurityError: of a relay, as of `open`.
            UsageError: the way was not found by ICE.
        """
        path = self._path
        if not isinstance(path, IcePath) or self._closed:
            raise UsageError("there is no way that could be changed")
        own = await own_hosts(self._towards)
        try:  # passwords of relays run out; but who tells may be out of reach now
            async with asyncio.timeout(_HELP_SECONDS):
                helpers = await self._helpers()
        except TimeoutError:
            helpers = IceHelpers()
        gathered = await path.regather(own, turn_servers=helpers.turn or None, trickle=trickle)
        self._hosts = own
        return gathered

    async def reconnect(self, agreement: Agreement) -> None:
        """Find the way that offer and answer describe now, and use it.

        Raises:
            ConnectFailed: none works; what worked before still does.
            ProtocolError: the peer's credentials are malformed.
        """
        path = self._path
        if not isinstance(path, IcePath) or self._closed:
            return
        await path.reconnect(
            agreement.ice_ufrag,
            agreement.ice_pwd,
            agreement.candidates,
            remote_lite=agreement.ice_lite,
        )
        self._note_relays(agreement.candidates)
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def _on_lost(self, reason: str) -> None:
        if self._closed or self._giving_up is not None:
            return
        error = PeerVanished(f"the way to the peer is gone ({reason})")
        if self._events.way_needed():
            later = asyncio.get_running_loop().call_later
            self._giving_up = later(RESTART_SECONDS, self._events.failed, error)
        else:
            self._events.failed(error)

    def _on_doubt(self) -> None:
        """A check was not answered: where nothing else was heard either, do not wait for the end.

        The caller begins, so that both do not meet; a callee whose caller cannot comes later.
        """
        session = self._session
        heard = session.statistics().packets_received if session is not None else 0
        self._doubts = 1 if heard != self._heard_at_doubt else self._doubts + 1
        self._heard_at_doubt = heard
        if self._doubts == (2 if self._outgoing else 4):
            _ = self._events.way_needed()

    @property
    def relays(self) -> tuple[str, ...]:
        """Hosts of TURN servers that could have carried the media, ours and the peer's."""
        return self._relays

    def _note_relays(self, theirs: Iterable[Candidate] = ()) -> None:
        """Remember ours, and the peer's, who may name ever new ones, while there is room."""
        names = dict.fromkeys(self._relays)
        if isinstance(self._path, IcePath):
            names |= dict.fromkeys(self._path.relays)
        for candidate in theirs:
            if candidate.type == "relay" and len(names) < MOST_RELAYS:
                names[candidate.host] = None
        self._relays = tuple(names)

    async def close(self) -> None:
        """Say BYE and close_notify, close the socket; safe to call again."""
        if self._closed:
            return
        self._closed = True
        _cancel(self._timer, self._giving_up)
        self._last_statistics = self.statistics()
        self.pictures.close()
        self.text.close()
        if self._session is not None:
            self._session.close()
            self._session = None
        if self._link is not None:
            self._perform(self._link.close(now=loop_now()))
        for end in (self._source, *self._sinks):
            try:
                if end is not None:
                    end.close()
            except Exception as e:  # noqa: BLE001 - the application's code; the rest is closed
                self._events.sound_failed(e)
        if self._path is not None:
            await self._path.close()
        for key in self._written:
            key.wipe()

    # -- sound ------------------------------------------------------------------------------------

    @property
    def gate(self) -> Gate:
        """Whether media passes."""
        return self._gate

    @gate.setter
    def gate(self, gate: Gate) -> None:
        self._gate = gate = Gate.CLOSED if self._left else gate
        if self._session is not None:
            self._session.gate = gate
            self._session.source = self._releasable()
        self.pictures.gate = gate
        self.text.gate = gate

    @property
    def source(self) -> AudioSource | None:
        """What is sent."""
        return self._source

    @source.setter
    def source(self, source: AudioSource | None) -> None:
        self._source = source
        if self._session is not None:
            self._session.source = self._releasable()
        self._silence()

    def _releasable(self) -> AudioSource | None:
        """What may be sent now: while words are compared only what a person says (`live`)."""
        held = self._gate is Gate.VERIFYING and not getattr(self._source, "live", False)
        return None if held else self._source

    @property
    def muted(self) -> bool:
        """Whether silence is sent instead of sound."""
        return self._muted

    def mute(self, *, muted: bool) -> None:
        """Send silence of the same packet size instead of sound."""
        self._muted = muted
        self._silence()

    def hold(self, *, on: bool) -> None:
        """Send silence alone and play nothing, whatever was agreed, nor move pictures or text."""
        self._held = on
        self._silence()
        self.pictures.hold(on=on)
        self.text.hold(on=on)
        self.set_direction(self._direction)

    def _silence(self) -> None:
        silent = self._muted or self._held
        if self._session is not None:
            self._session.muted = silent
        source = self._source if silent else None
        if self._resting is not source:
            _listen(self._resting, on=True)
            _listen(source, on=False)  # a microphone is let go of meanwhile
            self._resting = source

    @property
    def takes_digits(self) -> bool | None:
        """Whether the peer takes digits within the sound; None before there is any."""
        return self._session.takes_digits if self._session is not None else None

    def press(self, digits: str) -> None:
        """Send digits of the telephone.

        Raises:
            Unsupported: the peer takes none.
            UsageError: there is no sound yet, or they are on no keypad.
        """
        if self._session is None or self._gate is not Gate.OPEN:
            raise UsageError("digits are sent in a call in progress")
        self._session.press(digits)

    def _digit(self, digit: str) -> None:
        """The peer pressed a key: that is heard once all is proven, and not before."""
        if self._gate is Gate.OPEN:
            self._events.digit(digit)

    @property
    def pressing(self) -> bool:
        """Whether digits are on their way."""
        return self._session is not None and self._session.pressing

    def add_sink(self, sink: AudioSink) -> None:
        """Give the peer's sound to a sink as well, now or from the moment media flows."""
        self._sinks.append(sink)
        if self._session is not None:
            self._session.add_sink(sink)

    def remove_sink(self, sink: AudioSink) -> bool:
        """Give the peer's sound to a sink no more; tells whether it was one."""
        before = len(self._sinks)
        self._sinks = [s for s in self._sinks if s is not sink]
        if self._session is not None:
            self._session.remove_sink(sink)
        return len(self._sinks) < before

    def watch(self, meter: LevelMeter, *, on: bool = True) -> None:
        """Let a meter see what is sent and played, from the moment media flows; or no more."""
        others = tuple(m for m in self._meters if m is not meter)
        self._meters = (*others, meter) if on else others
        if self._session is not None:
            self._session.meters = self._meters

    def _heard_at(self, wall: float, cname: str) -> Heard | None:
        session = self._session
        return session.heard(wall, cname) if isinstance(session, AudioSession) else None

    def set_direction(self, direction: Direction) -> None:
        """Obey a hold, or its end; of whom we hold nothing is heard, even if that was refused."""
        self._direction = direction
        self._receives = direction in (Direction.SENDRECV, Direction.RECVONLY)
        if self._session is not None:
            self._session.set_direction(held(direction) if self._held else direction)

    def set_companions(self, *, events: int | None, red: int | None) -> None:
        """Send digits and copies under these numbers of the peer's from now on, or none."""
        if isinstance(self._session, AudioSession):
            self._session.set_companions(events=events, red=red)

    def statistics(self) -> AudioStatistics | None:
        """Counters of sound and pictures, None before media began."""
        if self._session is None:
            return self._last_statistics
        return replace(self._session.statistics(), pictures=self.pictures.statistics())

    # -- the signed account -----------------------------------------------------------------------

    @property
    def countersigned(self) -> Countersigned | None:
        """The account both ends signed, or that only we signed and why."""
        return self._countersigner.outcome if self._countersigner is not None else None

    def say(self, said: Said) -> None:
        """Tell the peer what we say of ourselves in the account."""
        if self._link is not None and not self._closed:
            self._perform(self._link.say(said, now=loop_now()))

    async def countersign(self) -> None:
        """Ask the peer to sign the account of the call; returns when that is settled."""
        link, signer = self._link, self._countersigner
        if link is None or signer is None or signer.outcome is not None or self._closed:
            return
        self._perform(link.propose_record(now=loop_now()))
        await self._settled.wait()

    def give_up_countersigning(self) -> None:
        """The call is over: nobody waits for a signature any more."""
        self._settled.set()

    def _prepare_countersigning(self, result: HandshakeResult, profile: str) -> None:
        identity = self._identity
        agreement = self._agreement
        if identity is None or self._link is None or agreement is None:
            return
        us = Party(
            address=identity.own_address,
            root_fp=identity.root_fp,
            device_id=identity.device.id,
            device_public=identity.device.public,
            statement=sha512(identity.statement),
            fingerprints=fingerprint_hash(agreement.sent),
        )
        them = Party(
            address=result.peer.own_address,
            root_fp=result.peer.root_fp,
            device_id=result.peer.device.id,
            device_public=result.peer.device.public,
            statement=sha512(result.peer.statement.raw),
            fingerprints=fingerprint_hash(agreement.received),
        )
        caller, callee = (us, them) if self._outgoing else (them, us)
        record = CallRecord(
            caller=caller,
            callee=callee,
            bind=result.bind,
            srtp_profile=profile,
            group=result.group,
        )
        self._countersigner = Countersigner(
            record, we_call=self._outgoing, sign=identity.device.sign
        )
        self._link.countersign_with(self._countersigner, self._times)

    def _times(self) -> tuple[int, int]:
        return self._began_unix, round((time.monotonic() - self._secured_at) * 10)

    # -- the loop: receive, hand to the core, perform, re-arm one timer ---------------------------

    def _on_dtls(self, datagram: bytes) -> None:
        if self._link is not None:
            self._advance(partial(self._link.receive, datagram))

    def _advance(self, step: _Step) -> None:
        """Let the link go on; what breaks on our side (a full disk) ends the call by its name."""
        try:
            outputs = step(now=loop_now())
        except SecurecallError as e:
            self._events.failed(e)
            return
        self._perform(outputs)

    def _send(self, datagram: bytes) -> None:
        if self._path is not None:
            self._path.send(datagram)

    def _on_media(self, datagram: bytes) -> None:
        if self.pictures.takes(datagram):
            self.pictures.receive(datagram)
        elif self.text.takes(datagram):
            self.text.receive(datagram)
        elif isinstance(self._session, AudioSession):
            self._session.receive(datagram)

    def _perform(self, outputs: tuple[linking.LinkOutput, ...]) -> None:
        for output in outputs:
            match output:
                case linking.Transmit(datagram=datagram):
                    if self._path is not None:
                        self._path.send(datagram)
                case linking.Secured():
                    self._secured(output)
                case linking.LinkFailed(error=error, guess_burned=burned):
                    if burned:
                        self._events.guess_burned()
                    self._events.failed(error)
                case linking.PeerSaid(said=said):
                    self._events.peer_said(said)
                case linking.Settled() | linking.PeerClosed():
                    self._settled.set()
                    self._peer_leaves()
        self._arm()

    def _arm(self) -> None:
        deadline = self._link.deadline if self._link is not None else None
        if deadline is None or (self._watch_at is not None and self._watch_at < deadline):
            deadline = self._watch_at
        if self._timer is not None:
            # One that fires too early finds nothing due and arms the next. Nearly every datagram
            # moves the deadline further off; a new timer for each would cost more than it does.
            if deadline is not None and not self._closed and self._timer.when() <= deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None and not self._closed:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self._watch_at is not None and loop_now() >= self._watch_at:
            self._watch()
        if self._link is not None:
            self._advance(self._link.expire)
        else:
            self._arm()

    def _peer_leaves(self) -> None:
        """Send and play nothing more: the account is signed, or the peer closed its channel.

        Both are said under the peer's own keys, so no server can hold them back with its BYE; and
        an account that was signed early cannot be talked past.
        """
        if self._left or self._closed or self._session is None:
            return
        self._left = True
        self.gate = Gate.CLOSED
        self._watch_at = loop_now() + GOODBYE_SECONDS

    def _watch(self) -> None:
        """Judge a stretch of silence: a peer that ought to send and does not has vanished."""
        session = self._session
        if session is None:
            return
        if self._left:
            self._watch_at = None
            self._events.failed(PeerVanished("the other end left, and no hang-up came of it"))
            return
        heard, before = session.statistics().packets_received, self._heard
        self._heard, self._watch_at = heard, loop_now() + SILENCE_SECONDS
        if heard == before and self._receives:
            self._events.failed(
                PeerVanished(f"nothing was heard of the peer for {SILENCE_SECONDS:.0f} seconds")
            )

    def _secured(self, secured: linking.Secured) -> None:
        agreement, path, result = self._agreement, self._path, secured.identity
        if agreement is None or path is None or self._closed:
            return
        sealers, receive_frames = _frame_keys(result, outgoing=self._outgoing)
        keys = secured.keys
        self._srtp = srtp = SrtpSession(SrtpProfile[keys.profile], keys.send, keys.receive)
        session = AudioSession(
            self._clock,
            path.send,
            srtp,
            codec=agreement.codec,
            receive_codecs=agreement.receive,
            ssrc=self._ssrc,
            sequence=secrets.randbelow(FIRST_SEQUENCES),
            timestamp=secrets.randbits(31),
            cname=self._cname,
            mid=agreement.mid,
            mid_extension=agreement.mid_extension,
            rtcp=agreement.rtcp_mux,
            sframe_send=sealers.get(0),
            sframe_receive=receive_frames,
            on_alarm=self._on_alarm,
            on_failure=self._events.sound_failed,
            on_rtcp=self.pictures.hear,
            events=agreement.events,
            on_digit=self._digit,
            on_quality=self._events.quality,
            red=agreement.red,
            extended_reports=agreement.extended_reports,
            congested=lambda: self.pictures.congested,
            opus_bitrate=self._policy.opus_bitrate,
            opus_complexity=self._policy.opus_complexity,
        )
        secured.keys.wipe()
        seal = {shown: sealers[kid] for shown, kid in STREAM_OF.items() if kid in sealers}
        self.pictures.secure(
            PictureKeys(srtp=srtp, seal=seal, opener=receive_frames), agreement.video
        )
        self.text.secure(srtp, sealers.get(STREAM), receive_frames, agreement.text)
        if result is not None:
            self._prepare_countersigning(result, keys.profile)
        self._begin(session, result, keys.profile, agreement.direction)

    def _begin(
        self,
        session: AudioSession | CarriedSession,
        result: HandshakeResult | None,
        profile: str,
        direction: Direction,
    ) -> None:
        """Have the sound judged by what its keys are worth, the gate closed; then let it run."""
        self._session = session
        self.set_direction(direction)
        session.source = self._source
        session.meters = self._meters
        self._silence()
        for sink in self._sinks:
            session.add_sink(sink)
        self._secured_at = time.monotonic()
        try:
            self._events.secured(result, profile)
        except SecurecallError as e:
            self._events.failed(e)
            return
        if not self._closed:
            session.start()
            self._watch_at = loop_now() + SILENCE_SECONDS

    def _on_alarm(self, alarm: IntegrityAlarm) -> None:
        self._events.failed(
            SecurityError(
                "too much of the peer's sound failed its integrity check: somebody on the way is "
                "altering it",
                reason=Reason.INTEGRITY,
            )
        )


def _listen(source: AudioSource | None, *, on: bool) -> None:
    listen = getattr(source, "listen", None)
    if callable(listen):
        listen(on=on)


def _keys_of(sdes: SdesKeys) -> linking.MediaKeys:
    """Copies: the descriptions need their own as long as the call lasts."""
    send, receive = Secret(sdes.ours.key.reveal()), Secret(sdes.theirs.key.reveal())
    return linking.MediaKeys(profile=sdes.profile, send=send, receive=receive)


def _frame_keys(
    result: HandshakeResult | None, *, outgoing: bool
) -> tuple[dict[int, SframeSender], SframeReceiver | None]:
    """The end-to-end layer, both directions or none; ours by its KID."""
    if result is None:
        return {}, None
    ours, theirs = CallRole.CALLER, CallRole.CALLEE
    if not outgoing:
        ours, theirs = theirs, ours
    receiver = SframeReceiver()
    for kid in range(STREAMS):
        receiver.add_key(kid, result.sframe_key(theirs, kid))
    kids = (0, *STREAM_OF.values(), STREAM)
    return {kid: SframeSender(result.sframe_key(ours, kid), kid) for kid in kids}, receiver


def _cancel(*timers: asyncio.TimerHandle | None) -> None:
    for timer in timers:
        if timer is not None:
            timer.cancel()
