"""The media half of a call: socket, link and audio session, performed as the call orders."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

from securecall.calls import link as linking
from securecall.calls.call_text import STREAM, CallText
from securecall.calls.countersign import Countersigned, Countersigner, Said
from securecall.calls.link import LinkIdentity, SecureLink, record_of
from securecall.calls.negotiation import Agreement, LocalMedia
from securecall.calls.pictures import STREAM_OF, PictureKeys, Pictures
from securecall.calls.sdes import SdesKeys
from securecall.calls.signaling import Leg
from securecall.calls.sound import Sound
from securecall.calls.way import Way
from securecall.clock import loop_now, unix_now
from securecall.errors import (
    PeerVanished,
    Reason,
    SecurecallError,
    SecurityError,
    UsageError,
)
from securecall.keys.handshake import STREAMS, CallRole, HandshakeResult
from securecall.media.carried import CarriedSession
from securecall.media.codecs import usable
from securecall.media.description import Direction, Fingerprint, LocalIce
from securecall.media.engine import AudioSession, AudioStatistics, Clock
from securecall.media.quality import Quality
from securecall.media.sdes import SUITES, CryptoLine
from securecall.policy import Gate, Policy
from securecall.rtp.sframe import IntegrityAlarm, SframeReceiver, SframeSender
from securecall.rtp.srtp import FIRST_SEQUENCES, SrtpProfile, SrtpSession
from securecall.secret import Secret
from securecall.transport.dtls import DtlsCertificate
from securecall.transport.suite import ORDINARY
from securecall.transport.turn import IceHelpers, no_helpers

SILENCE_SECONDS: Final = 30.0
"""Without one authentic packet for so long, though the peer should be sending, it has vanished."""

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
        way: The way to the peer.
        sound: What is sent and heard.
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
        self._outgoing = outgoing
        self._sdes = sdes
        self._written: list[Secret] = []  # keys that stand in descriptions
        self._srtp: SrtpSession | None = None
        self._certificate = DtlsCertificate.generate(
            identity.suite.curve if identity is not None else ORDINARY.curve
        )
        self.way = Way(
            policy,
            towards=towards,
            outgoing=outgoing,
            acquainted=acquainted,
            helpers=helpers,
            heard=lambda: self.sound.packets_received,
            needed=events.way_needed,
            failed=events.failed,
            gathered=events.gathered,
        )
        self.sound = Sound(failed=events.sound_failed, digit=events.digit)
        self._agreement: Agreement | None = None
        self._link: SecureLink | None = None
        self._countersigner: Countersigner | None = None
        self._settled = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._ssrc = secrets.randbits(32)
        self._cname = secrets.token_hex(8)
        self.pictures = Pictures(
            clock,
            self.way.send,
            cname=self._cname,
            codecs=policy.prefer_video,
            failed=events.sound_failed,
            heard=self.sound.heard_at,
        )
        self.text = CallText(clock, self.way.send, failed=events.sound_failed)
        self._began_unix = unix_now()
        self._secured_at = 0.0
        self._heard = 0
        self._watch_at: float | None = None
        self._left = False

    def follow(self, leg: Leg) -> None:
        """Know the leg; ours carries signalling alone."""

    # -- the way ----------------------------------------------------------------------------------

    async def open(self, *, ice: bool, trickle: bool = False) -> LocalMedia:
        """Bind a socket, and say what goes into our description.

        Args:
            ice: As of `Way.open`.
            trickle: The same; `events.gathered` tells of the rest.

        Raises:
            CallFailed: it was closed meanwhile; nothing is left open.
            ConnectFailed: no socket of ours can be bound, or no relay that the policy asks for.
            Unsupported: no codec of the policy is installed here.
            UsageError: the policy names a codec that does not exist.
        """
        codecs = usable(self._policy.prefer_codecs)
        digest = self._certificate.digest
        (host, port), found = await self.way.open(
            ice=ice, trickle=trickle, dtls=self._on_dtls, media=self._on_media
        )
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

    async def connect(self, agreement: Agreement) -> None:
        """Reach the peer and run DTLS and the identity handshake; `events` tells how it went."""
        if self.way.path is None or self._closed:
            return
        self._agreement = agreement
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
            await self.way.connect(agreement)
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
        agreement, srtp = self._agreement, self._srtp
        if agreement is None or agreement.sdes is None:
            raise UsageError("only a gateway brings keys")
        before = agreement.sdes
        self._agreement = replace(agreement, sdes=keys)
        self._written.append(keys.theirs.key)
        if srtp is None or self._closed:
            return
        kept = before.ours.same_key(keys.ours)
        srtp.renew(
            SrtpProfile[keys.profile],
            send_key=None if kept else keys.ours.key,
            receive_key=keys.theirs.key,
            received_with=before.theirs.key,
        )
        self.sound.rekeyed()

    async def close(self) -> None:
        """Say BYE and close_notify, close the socket; safe to call again."""
        if self._closed:
            return
        self._closed = True
        self.way.give_up()
        if self._timer is not None:
            self._timer.cancel()
        self.pictures.close()
        self.text.close()
        self.sound.close()
        if self._link is not None:
            self._perform(self._link.close(now=loop_now()))
        self.sound.release()
        await self.way.close()
        for key in self._written:
            key.wipe()

    # -- as the call orders -----------------------------------------------------------------------

    @property
    def gate(self) -> Gate:
        """Whether media passes."""
        return self.sound.gate

    @gate.setter
    def gate(self, gate: Gate) -> None:
        gate = Gate.CLOSED if self._left else gate
        self.sound.gate = self.pictures.gate = self.text.gate = gate

    def hold(self, *, on: bool) -> None:
        """Send silence alone and play nothing, whatever was agreed, nor move pictures or text."""
        self.sound.hold(on=on)
        self.pictures.hold(on=on)
        self.text.hold(on=on)

    def statistics(self) -> AudioStatistics | None:
        """Counters of sound and pictures, None before media began."""
        counted = self.sound.statistics()
        return counted and replace(counted, pictures=self.pictures.statistics())

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
        identity, agreement, link = self._identity, self._agreement, self._link
        if identity is None or link is None or agreement is None:
            return
        record = record_of(identity, result, agreement, outgoing=self._outgoing, profile=profile)
        self._countersigner = Countersigner(
            record, we_call=self._outgoing, sign=identity.device.sign
        )
        link.countersign_with(self._countersigner, self._times)

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

    def _on_media(self, datagram: bytes) -> None:
        if self.pictures.takes(datagram):
            self.pictures.receive(datagram)
        elif self.text.takes(datagram):
            self.text.receive(datagram)
        else:
            self.sound.receive(datagram)

    def _perform(self, outputs: tuple[linking.LinkOutput, ...]) -> None:
        for output in outputs:
            match output:
                case linking.Transmit(datagram=datagram):
                    self.way.send(datagram)
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

    def leave(self) -> None:
        """Send and play nothing more, whatever is found or said from now on: we hang up."""
        self._left, self._watch_at = True, None
        self.gate = Gate.CLOSED

    def _peer_leaves(self) -> None:
        """Send and play nothing more: the account is signed, or the peer closed its channel.

        Both are said under the peer's own keys, so no server can hold them back with its BYE; and
        an account that was signed early cannot be talked past.
        """
        if self._left or self._closed or not self.sound.secured:
            return
        self._left = True
        self.gate = Gate.CLOSED
        self._watch_at = loop_now() + GOODBYE_SECONDS

    def _watch(self) -> None:
        """Judge a stretch of silence: a peer that ought to send and does not has vanished."""
        if not self.sound.secured:
            return
        if self._left:
            self._watch_at = None
            self._events.failed(PeerVanished("the other end left, and no hang-up came of it"))
            return
        heard, before = self.sound.packets_received, self._heard
        self._heard, self._watch_at = heard, loop_now() + SILENCE_SECONDS
        if heard == before and self.sound.receives:
            self._events.failed(
                PeerVanished(f"nothing was heard of the peer for {SILENCE_SECONDS:.0f} seconds")
            )

    def _secured(self, secured: linking.Secured) -> None:
        agreement, path, result = self._agreement, self.way.path, secured.identity
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
            on_digit=self.sound.digit,
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
        self.sound.secure(session, direction)
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
