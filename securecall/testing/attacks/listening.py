"""S1, P1, Q1 to Q3: who only listens: at once, by sizes, and later, with stolen or broken keys."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from securecall.calls.call import Call
from securecall.errors import Reason
from securecall.media import codecs, g711
from securecall.media.codecs import Encoder
from securecall.media.description import Codec
from securecall.media.endpoints import AudioSource, SilenceSource, ToneSource
from securecall.media.opus import FRAME, RATE, OpusEncoder
from securecall.policy import Policy, SecurityLevel
from securecall.rtp.packet import rtp_header
from securecall.rtp.sframe import DESCRIPTOR, SframeSender, rtp_metadata
from securecall.rtp.srtp import SrtpProfile, SrtpSession
from securecall.secret import Secret
from securecall.testing.attacks import hybrid
from securecall.testing.attacks.fingerprints import swapped_unnoticed
from securecall.testing.attacks.outcome import Attack, Outcome, control, ours
from securecall.testing.attacks.stage import ALICE_HERTZ, Stage, stage
from securecall.testing.classify import Kind, classify
from securecall.testing.evil_link import Inner, Keys
from securecall.testing.evil_media import CALLER
from securecall.testing.evil_provider import Mode

_WINDOW: Final = 16
_SILENCE: Final = b"\xff" * 160  # as PCMU
_PCMU: Final = ("PCMU",)


def windows(data: bytes) -> set[bytes]:
    """Every run of 16 bytes in it."""
    return {data[i : i + _WINDOW] for i in range(len(data) - _WINDOW + 1)}


def spoken() -> set[bytes]:
    """What Alice's tone and silence are as PCMU, as runs of 16 bytes."""
    tone = ToneSource(ALICE_HERTZ).read(8000, 8000) or b""
    return windows(g711.compressor("PCMU")(tone)) | windows(_SILENCE)


@contextmanager
def secrets_made() -> Iterator[list[bytes]]:
    """Every secret that is made meanwhile, as the application's memory would show it."""
    made: list[bytes] = []
    init = Secret.__init__

    def remember(secret: Secret, data: bytes | bytearray | str) -> None:
        init(secret, data)
        made.append(data.encode() if isinstance(data, str) else bytes(data))

    Secret.__init__ = remember  # type: ignore[method-assign, assignment]
    try:
        yield made
    finally:
        Secret.__init__ = init  # type: ignore[method-assign]


@contextmanager
def srtp_keys_stolen() -> Iterator[list[Keys]]:
    """The keys of every SRTP session that is made meanwhile."""
    stolen: list[Keys] = []
    init = SrtpSession.__init__

    def steal(
        session: SrtpSession, profile: SrtpProfile, send_key: Secret, receive_key: Secret
    ) -> None:
        copies = Secret(send_key.reveal()), Secret(receive_key.reveal())  # ours get wiped
        init(session, profile, send_key, receive_key)
        stolen.append(Keys(profile=profile.name, send=copies[0], receive=copies[1]))

    SrtpSession.__init__ = steal  # type: ignore[method-assign, assignment]
    try:
        yield stolen
    finally:
        SrtpSession.__init__ = init  # type: ignore[method-assign]


async def _scan(folder: Path) -> Outcome:
    """Everything that left the two, over the wire of a whole call."""
    with secrets_made() as made:
        async with stage(folder, policy=Policy(prefer_codecs=_PCMU), mode=Mode.TAP) as s:
            _ = await s.dial()
            outcome = s.went_on()
            captured = s.mallory.last_media.captured
            datagrams = [c.datagram for c in captured]
            told = b"".join(data for _, data in s.mallory.proxy.transcript)
    sound = [d for d in datagrams if classify(d) is Kind.RTP]
    outcome.demand(len(sound) > 20, f"only {len(sound)} packets of sound")
    plain = spoken()
    outcome.demand(not any(windows(d) & plain for d in datagrams), "sound lies open")
    wire = b"\0".join((told, *datagrams))
    keys = {key for key in made if len(key) >= 16 and len(set(key)) > 8}
    outcome.demand(len(keys) > 10, f"only {len(keys)} keys were made")
    for key in keys:
        stable = base64.b64encode(key)[: len(key) // 3 * 4]
        outcome.demand(
            not any(spelling in wire for spelling in (key, key.hex().encode(), stable)),
            f"a secret of {len(key)} bytes is on the wire",
        )
    outcome.demand(b"a=crypto" not in told and b"inline:" not in told, "keys in signalling")
    outcome.got = f"{len(datagrams)} datagrams, {len(keys)} keys: none of it is in there"
    return outcome


async def _same_scan(folder: Path) -> Outcome:
    """The same search finds the sound where she has the keys."""
    policy = Policy(prefer_codecs=_PCMU, danger_plain_dtls=True)
    async with stage(folder, policy=policy, acquainted=False, mode=Mode.SWAP) as s:
        _ = await s.dial()
        outcome = s.heard()
        heard = [sound for side, sound in s.mallory.last_media.heard if side == CALLER]
    plain = spoken()
    found = sum(bool(windows(sound) & plain) for sound in heard)
    outcome.demand(found > len(heard) // 2, f"found in {found} of {len(heard)} packets")
    outcome.got = f"the same search finds the tone in {found} of {len(heard)} packets"
    return outcome


S1: Final[Attack] = (
    control("she has the keys", _same_scan),
    ours("all that left two phones in a whole call", _scan),
)


class _Leaky(OpusEncoder):
    """Opus as it is by default: what is easy to say takes fewer bytes."""

    def __init__(self) -> None:
        super().__init__()
        self._set(4006, 1)  # OPUS_SET_VBR

    def encode(self, pcm: bytes) -> bytes:
        got = self._encode(
            self._state, self._from_buffer("int16_t[]", pcm), FRAME, self._packet, len(self._view)
        )
        return bytes(got)


def _sizes(encoder: Encoder, source: AudioSource, frames: int = 30) -> set[int]:
    """Sizes of the packets this sound makes, sealed and encrypted."""
    profile, key = SrtpProfile.SRTP_AEAD_AES_256_GCM, bytes(range(44))
    seal, sizes = SframeSender(Secret(b"k" * 32), 0), set[int]()
    srtp = SrtpSession(profile, Secret(key), Secret(bytes(44)))
    metadata = rtp_metadata(0, "0")
    for number in range(frames):
        pcm = source.read(encoder.samples, encoder.rate) or bytes(2 * encoder.samples)
        frame = seal.seal_rtp(encoder.encode(pcm), metadata)
        if number >= 8:  # from here on SFrame's counter is of one size (RFC 9605 4.3)
            sizes.add(len(srtp.protect(rtp_header(0, number, 0, 1) + frame)))
    return sizes


async def _sizes_tell(folder: Path) -> Outcome:  # noqa: ARG001
    speech, silence = _sizes(_Leaky(), ToneSource(ALICE_HERTZ)), _sizes(_Leaky(), SilenceSource())
    outcome = Outcome(
        got=f"speech makes packets of {min(speech)} to {max(speech)} bytes, "
        f"silence of {min(silence)} to {max(silence)}"
    )
    outcome.demand(len(speech | silence) > 1, "sizes do not differ")
    outcome.demand(min(speech) > max(silence), "sizes do not tell speech from silence")
    return outcome


_CODECS: Final = {
    "Opus": Codec(payload_type=111, name="opus", clock_rate=RATE, channels=2),
    "PCMU": Codec(payload_type=0, name="PCMU", clock_rate=8000),
}


async def _one_size(codec: Codec, folder: Path) -> Outcome:  # noqa: ARG001
    sources: dict[str, AudioSource] = {
        "speech": ToneSource(ALICE_HERTZ),
        "silence": SilenceSource(),
    }
    sizes = {what: _sizes(codecs.encoder(codec), source) for what, source in sources.items()}
    found = set[int]().union(*sizes.values())
    outcome = Outcome(got=f"speech and silence: {', '.join(map(str, sorted(found)))} bytes")
    outcome.demand(len(found) == 1, f"sizes differ: {sizes}")
    return outcome


async def _one_size_in_a_call(folder: Path) -> Outcome:
    """One call: speech, silence, muted; sizes, and the rhythm they come in."""
    async with stage(folder, mode=Mode.TAP) as s:
        sizes: dict[str, set[int]] = {}

        async def speak(call: Call) -> None:
            await s.hear_more(s.bob.calls[0], 0.2)  # SFrame's counter takes its size
            sizes["speech"] = await _captured(s)
            call.source = SilenceSource()
            sizes["silence"] = await _captured(s)
            call.source = ToneSource(ALICE_HERTZ)
            call.mute()
            sizes["muted"] = await _captured(s)

        _ = await s.dial(seconds=0.0, during=speak)
        outcome = s.went_on()
    found = set[int]().union(*sizes.values())
    outcome.demand(all(sizes.values()), f"not all were heard: {sizes}")
    outcome.demand(len(found) == 1, f"sizes differ: {sizes}")
    outcome.got = f"speech, silence, muted: {', '.join(map(str, sorted(found)))} bytes"
    return outcome


async def _captured(s: Stage) -> set[int]:
    """Sizes of what the caller sends in the next 0.2 s."""
    before = len(s.mallory.last_media.captured)
    await s.hear_more(s.bob.calls[0], 0.2)
    return {
        len(c.datagram)
        for c in s.mallory.last_media.captured[before:]
        if c.side == CALLER and classify(c.datagram) is Kind.RTP
    }


P1: Final[Attack] = (
    control("Opus as it is by default", _sizes_tell),
    *(ours(name, partial(_one_size, codec)) for name, codec in _CODECS.items()),
    ours("a call: speech, silence, muted", _one_size_in_a_call),
)


async def _opened_later(folder: Path, *, policy: Policy, acquainted: bool) -> tuple[Outcome, int]:
    """She recorded a whole call, and gets the keys of SRTP afterwards; what she can read."""
    with srtp_keys_stolen() as stolen:
        async with stage(folder, policy=policy, acquainted=acquainted, mode=Mode.TAP) as s:
            _ = await s.dial()
            outcome = Outcome()
            outcome.demand(s.error is None, f"the call failed: {s.error}")
            media = s.mallory.last_media
            outcome.demand(media.openable() == [], "it was open before the theft")
            for keys in tuple(stolen):
                media.hold(keys)
            opened = media.openable()
    outcome.demand(len(opened) > 20, f"the theft opened only {len(opened)} packets")
    plain = spoken()
    outcome.readable = sum(len(p) for p in opened if windows(p) & plain)
    sealed = sum(payload[0] >= DESCRIPTOR for payload in opened)
    return outcome, sealed


async def _lies_open(folder: Path) -> Outcome:
    policy = Policy(prefer_codecs=_PCMU, danger_plain_dtls=True)
    outcome, _ = await _opened_later(folder, policy=policy, acquainted=False)
    outcome.demand(outcome.readable > 0, "nothing can be read")
    outcome.got = f"with the keys of DTLS she reads {outcome.readable:,} bytes of the recording"
    return outcome


async def _stays_sealed(folder: Path) -> Outcome:
    outcome, sealed = await _opened_later(
        folder, policy=Policy(prefer_codecs=_PCMU), acquainted=True
    )
    outcome.demand(sealed > 20, f"only {sealed} sealed frames")
    outcome.got = f"she opens DTLS and SRTP, and finds {sealed} sealed frames"
    return outcome


Q1: Final[Attack] = (
    control("only encrypted, DTLS broken later", _lies_open),
    control("both secrets of the inner handshake known", hybrid.both),
    ours("end to end, DTLS broken later", _stays_sealed),
    ours("X25519 broken inside, ML-KEM not", hybrid.only_classical),
)

Q2: Final[Attack] = (
    control("both secrets of the inner handshake known", hybrid.both),
    ours("ML-KEM broken inside, X25519 not", hybrid.only_lattice),
)

_PQ: Final = Policy(require_pq=True)


async def _no_handshake(folder: Path) -> Outcome:
    async with stage(folder, policy=_PQ, acquainted=False, mode=Mode.SWAP, inner=Inner.STRIP) as s:
        _ = await s.dial()
        return s.refused(Reason.IDENTITY_MISSING, Reason.BELOW_POLICY)


async def _with_handshake(folder: Path) -> Outcome:
    async with stage(folder, policy=_PQ, mode=Mode.TAP) as s:
        _ = await s.dial(seconds=0.2)
        outcome = s.went_on(SecurityLevel.E2EE)
        for end in s.ends:
            outcome.demand(end.security.pq, "no key of ML-KEM")
            group = end.security.identity.group if end.security.identity else ""
            outcome.demand(group == "X25519MLKEM768", f"the group is {group}")
        outcome.got = "X25519MLKEM768 on both ends"
    return outcome


Q3: Final[Attack] = (
    control("people who ask for nothing", swapped_unnoticed),
    ours("a peer without the handshake", _no_handshake),
    ours("a peer with it", _with_handshake),
)
