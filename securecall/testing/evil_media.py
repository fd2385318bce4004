"""The media half of the attacker: a UDP relay that listens, alters, or ends DTLS on both legs.

She may use everything of ours, because so may a real attacker: the only thing she lacks is the
victims' keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from securecall.clock import loop_now
from securecall.errors import SecurecallError
from securecall.media import codecs
from securecall.media.codecs import Decoder, Encoder
from securecall.media.description import Codec, Description
from securecall.media.endpoints import AudioSource
from securecall.media.files import Recorder
from securecall.media.frames import AudioFrame
from securecall.rtp.packet import split_rtp
from securecall.rtp.sframe import SframeReceiver, SframeSender, rtp_metadata
from securecall.rtp.srtp import SrtpProfile, SrtpSession
from securecall.secret import Secret
from securecall.testing.classify import Kind, classify
from securecall.testing.evil_link import (
    EvilLink,
    Keys,
    Relayed,
    Spoke,
)
from securecall.transport.dtls import DtlsCertificate
from securecall.transport.udp import UdpPath

MOST_CAPTURED: Final = 50_000
CALLER, CALLEE = 0, 1  # the side of the relay that faces this victim

DatagramEdit = Callable[[bytes, bool], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Captured:
    """One datagram that went through the relay, as it came in.

    Attributes:
        side: Which victim sent it: CALLER or CALLEE.
        datagram: The bytes.
    """

    side: int
    datagram: bytes = field(repr=False)


@dataclass(slots=True)
class _Leg:
    path: UdpPath
    link: EvilLink | None = None
    keys: Keys | None = None
    srtp: SrtpSession | None = None
    sframe_in: SframeReceiver | None = None
    sframe_out: SframeSender | None = None
    timer: asyncio.TimerHandle | None = None
    decoders: dict[int, Decoder] = field(default_factory=dict)


class EvilMedia:
    """One call's relay.

    Attributes:
        captured: Everything that came in, at most 50,000 datagrams.
        heard: The codec payloads she could open and decode, as (side, payload), as many.
        bytes_decrypted: Octets of these so far, without that limit.
        certificate: The one she shows on both legs, if she ends DTLS.
        edit: In a tap: what to send on in place of a datagram; (datagram, from_caller).
        voice: Where she ends DTLS: said to the callee in place of what the caller says.
    """

    def __init__(
        self,
        paths: tuple[UdpPath, UdpPath],
        *,
        recording: Path | None,
        tell: Callable[[str, int], None],
    ) -> None:
        """Use `open`."""
        self._legs = (_Leg(paths[0]), _Leg(paths[1]))
        self._tell = tell
        self._held: list[Keys] = []
        self._codecs: dict[int, Codec] = {}
        self._mid = ""
        self.certificate = DtlsCertificate.generate()
        self.captured: list[Captured] = []
        self.heard: list[tuple[int, bytes]] = []
        self.bytes_decrypted = 0
        self.edit: DatagramEdit = lambda datagram, from_caller: (datagram,)  # noqa: ARG005
        self.voice: AudioSource | None = None
        self._encoder: Encoder | None = None
        self.recorder = Recorder(recording, both=True) if recording is not None else None

    @classmethod
    async def open(
        cls, host: str, *, recording: Path | None, tell: Callable[[str, int], None]
    ) -> EvilMedia:
        """Take two ports; nothing moves before `tap` or `terminate`."""
        return cls(
            (await UdpPath.open(host), await UdpPath.open(host)), recording=recording, tell=tell
        )

    @property
    def ports(self) -> tuple[int, int]:
        """Where the relay listens: facing the caller, facing the callee."""
        return self._legs[CALLER].path.local[1], self._legs[CALLEE].path.local[1]

    @property
    def host(self) -> str:
        """The address of both ports."""
        return self._legs[CALLER].path.local[0]

    def tap(self, offer: Description, answer: Description) -> None:
        """Pass datagrams on, whatever `edit` makes of them."""
        self._connect(offer, answer, self._tapped)

    def terminate(
        self, offer: Description, answer: Description, links: tuple[EvilLink, EvilLink]
    ) -> None:
        """End DTLS on both legs, open SRTP, listen, close it again for the other side."""
        self._legs[CALLER].link, self._legs[CALLEE].link = links
        self._connect(offer, answer, self._ended)
        for side in (CALLER, CALLEE):
            self._perform(side, links[side].start(now=loop_now()))

    def send(self, side: int, datagram: bytes) -> None:
        """Throw any bytes at a victim, from the address it takes for its peer's."""
        self._legs[side].path.send(datagram)

    def finish_recording(self) -> None:
        """Make the recording complete: the call is over."""
        if self.recorder is not None:
            self.recorder.close()

    async def close(self) -> None:
        """Hang up in DTLS, close ports and recording."""
        for side, leg in enumerate(self._legs):
            if leg.timer is not None:
                leg.timer.cancel()
            if leg.link is not None:
                for output in leg.link.close(now=loop_now()):
                    if isinstance(output, bytes):
                        self._legs[side].path.send(output)
            await leg.path.close()
        self.finish_recording()

    def hold(self, keys: Keys) -> None:
        """Give her keys she did not negotiate: stolen from a victim's memory, or broken later."""
        self._held.append(keys)

    def decryptable(self) -> int:
        """Try every key she ever held on everything captured, afresh; return octets of sound."""
        return sum(map(len, self.openable()))

    def openable(self) -> list[bytes]:
        """The payloads behind `decryptable`, each as often as a key opens it."""
        return [
            payload
            for keys in self._held
            for send, receive in ((keys.send, keys.receive), (keys.receive, keys.send))
            for payload in self._try_all(keys, send, receive)
        ]

    def _try_all(self, keys: Keys, send: Secret, receive: Secret) -> list[bytes]:
        srtp = SrtpSession(SrtpProfile[keys.profile], send, receive)
        frames = _receiver(keys)
        opened = []
        for captured in self.captured:
            if classify(captured.datagram) is not Kind.RTP:
                continue
            with contextlib.suppress(SecurecallError):
                second, _, _, _, payload = split_rtp(srtp.unprotect(captured.datagram))
                opened.append(self._opened(keys, frames, second & 0x7F, payload))
        return [payload for payload in opened if payload]

    def _opened(
        self, keys: Keys, frames: SframeReceiver | None, payload_type: int, payload: bytes
    ) -> bytes:
        """The codec's bytes, or nothing where a seal she cannot open is around them."""
        if frames is not None:
            return frames.open_rtp(payload, rtp_metadata(payload_type, self._mid))
        return b"" if keys.sealed else payload

    # -- the inside -------------------------------------------------------------------------------

    def _connect(
        self, offer: Description, answer: Description, take: Callable[[int, bytes], None]
    ) -> None:
        for side, description in ((CALLER, offer), (CALLEE, answer)):
            audio = description.audio
            if audio is None:
                return
            self._mid = audio.mid
            self._codecs |= {codec.payload_type: codec for codec in audio.codecs}
            path = self._legs[side].path
            path.connect_plain(audio.host, audio.port)

            def taken(datagram: bytes, side: int = side) -> None:
                if len(self.captured) < MOST_CAPTURED:
                    self.captured.append(Captured(side, datagram))
                take(side, datagram)

            path.listen(dtls=taken, media=taken)

    def _tapped(self, side: int, datagram: bytes) -> None:
        for edited in self.edit(datagram, side == CALLER):
            self._legs[1 - side].path.send(edited)

    def _ended(self, side: int, datagram: bytes) -> None:
        leg = self._legs[side]
        kind = classify(datagram)
        if kind is Kind.DTLS and leg.link is not None:
            self._perform(side, leg.link.receive(datagram, now=loop_now()))
        elif leg.srtp is not None and leg.keys is not None:
            with contextlib.suppress(SecurecallError):
                if kind is Kind.RTP:
                    self._heard(side, leg, leg.keys, leg.srtp.unprotect(datagram))
                elif kind is Kind.RTCP:
                    self._pass_rtcp(side, leg.srtp.unprotect_rtcp(datagram))

    def _heard(self, side: int, leg: _Leg, keys: Keys, packet: bytes) -> None:
        second, _, _, _, payload = split_rtp(packet)
        header, payload_type = packet[: len(packet) - len(payload)], second & 0x7F
        sound = self._opened(keys, leg.sframe_in, payload_type, payload)
        if sound:
            payload = self._spoken(side, payload_type) or sound
            self._record(side, leg, payload_type, sound)
        other = self._legs[1 - side]
        if other.srtp is None:
            return
        if other.sframe_out is not None:
            payload = other.sframe_out.seal_rtp(payload, rtp_metadata(payload_type, self._mid))
        other.path.send(other.srtp.protect(header + payload))

    def _spoken(self, side: int, payload_type: int) -> bytes:
        """Her own words in the caller's place."""
        codec = self._codecs.get(payload_type)
        if self.voice is None or side != CALLER or codec is None:
            return b""
        if self._encoder is None:
            self._encoder = codecs.encoder(codec)
        samples, rate = self._encoder.samples, self._encoder.rate
        return self._encoder.encode(self.voice.read(samples, rate) or bytes(2 * samples))

    def _pass_rtcp(self, side: int, packet: bytes) -> None:
        other = self._legs[1 - side]
        if other.srtp is not None:
            other.path.send(other.srtp.protect_rtcp(packet))

    def _record(self, side: int, leg: _Leg, payload_type: int, sound: bytes) -> None:
        codec = self._codecs.get(payload_type)
        if codec is None:
            return
        decoder = leg.decoders.get(payload_type)
        if decoder is None:
            decoder = leg.decoders[payload_type] = codecs.decoder(codec)
        pcm = decoder.decode(sound)
        self.bytes_decrypted += len(sound)
        if len(self.heard) < MOST_CAPTURED:
            self.heard.append((side, sound))
        if self.recorder is not None:
            frame = AudioFrame(samples=pcm, sample_rate=decoder.rate)
            self.recorder.write_channel(side, frame)

    def _perform(self, side: int, outputs: tuple[Spoke, ...]) -> None:
        leg, other = self._legs[side], self._legs[1 - side]
        for output in outputs:
            match output:
                case bytes():
                    leg.path.send(output)
                case Relayed(data=data):
                    if other.link is not None:
                        self._perform(1 - side, other.link.relay(data, now=loop_now()))
                case Keys():
                    self._keyed(leg, output)
                    self._tell("keys", side)
                case str():
                    self._tell(output, side)
        self._arm(side)

    def _keyed(self, leg: _Leg, keys: Keys) -> None:
        self._held.append(keys)
        leg.keys = keys
        leg.srtp = SrtpSession(SrtpProfile[keys.profile], keys.send, keys.receive)
        leg.sframe_in = _receiver(keys)
        if keys.frames_out is not None:
            leg.sframe_out = SframeSender(keys.frames_out, 0)

    def _arm(self, side: int) -> None:
        leg = self._legs[side]
        if leg.timer is not None:
            leg.timer.cancel()
            leg.timer = None
        deadline = leg.link.deadline if leg.link is not None else None
        if deadline is not None:
            loop = asyncio.get_running_loop()
            leg.timer = loop.call_at(deadline, self._expire, side)

    def _expire(self, side: int) -> None:
        link = self._legs[side].link
        if link is not None:
            self._perform(side, link.expire(now=loop_now()))


def _receiver(keys: Keys) -> SframeReceiver | None:
    if not keys.frames_in:
        return None
    receiver = SframeReceiver()
    for kid, key in enumerate(keys.frames_in):
        receiver.add_key(kid, key)
    return receiver


def fresh_nonce() -> bytes:
    """32 random bytes."""
    return secrets.token_bytes(32)
