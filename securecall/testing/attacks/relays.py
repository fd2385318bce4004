"""R1, R2: a relay that replays, reorders, alters and invents media."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from securecall.calls.call import Call
from securecall.errors import ProtocolError
from securecall.media.endpoints import ToneSource
from securecall.rtp.packet import rtp_header
from securecall.rtp.sframe import SframeReceiver, SframeSender, rtp_metadata
from securecall.rtp.srtp import SrtpProfile, SrtpSession
from securecall.secret import Secret
from securecall.testing.attacks.careless import payload, speech
from securecall.testing.attacks.outcome import Attack, Outcome, control, named, ours
from securecall.testing.attacks.stage import ALICE_HERTZ, PLAIN, Stage, loudness, stage
from securecall.testing.classify import Kind, classify
from securecall.testing.evil_media import CALLEE, CALLER
from securecall.testing.evil_provider import Mode

Edit = Callable[[bytes], tuple[bytes, ...]]

_SILENCE: Final = b"\xff" * 160
_BYE: Final = bytes.fromhex("81cb0001")  # RTCP BYE of one source, without any protection
_HER_HERTZ: Final = 2000.0


def _replay(datagram: bytes) -> tuple[bytes, ...]:
    return (datagram, datagram, datagram)


def _flip(datagram: bytes) -> tuple[bytes, ...]:
    flipped = bytes((*datagram[:-20], datagram[-20] ^ 1, *datagram[-19:]))
    return (flipped, datagram)


def _invent(datagram: bytes) -> tuple[bytes, ...]:
    """Plaintext RTP with the right source and the next number, and a BYE."""
    sequence = int.from_bytes(datagram[2:4]) + 1 & 0xFFFF
    ssrc = int.from_bytes(datagram[8:12])
    return (datagram, rtp_header(0, sequence, 0, ssrc) + _SILENCE, _BYE + datagram[8:12])


def _shift_header(datagram: bytes) -> tuple[bytes, ...]:
    """The same sealed frame under another number."""
    moved = bytearray(datagram)
    moved[3] ^= 0x40
    return (bytes(moved), datagram)


def _other_type(datagram: bytes) -> tuple[bytes, ...]:
    """The same sealed frame under another payload type."""
    moved = bytearray(datagram)
    moved[1] ^= 0x01
    return (bytes(moved), datagram)


def _only_sound(edit: Edit) -> Callable[[bytes, bool], tuple[bytes, ...]]:
    def edited(datagram: bytes, from_caller: bool) -> tuple[bytes, ...]:  # noqa: FBT001
        sound = from_caller and classify(datagram) is Kind.RTP
        return edit(datagram) if sound else (datagram,)

    return edited


async def _meddled(folder: Path, edit: Edit, *, counter: str = "") -> Outcome:
    async with stage(folder, mode=Mode.TAP) as s:
        s.bob.recording = folder / "bob.wav"

        async def meddle(_call: Call) -> None:
            s.mallory.last_media.edit = _only_sound(edit)
            await s.hear_more(s.bob.calls[0], 0.5)

        _ = await s.dial(during=meddle)
        outcome = s.went_on()
        return _told(s, outcome, counter)


def _told(s: Stage, outcome: Outcome, counter: str) -> Outcome:
    """The sound went on; what was added to it is counted."""
    statistics = s.bob.calls[-1].statistics()
    if statistics is None:
        outcome.problems.append("there was no media")
        return outcome
    counts = {"replayed": statistics.replayed, "forged": statistics.forged}
    if counter:
        outcome.demand(counts[counter] > 5, f"not counted as {counter}: {counts}")
        outcome.got = f"{counts[counter]} datagrams dropped as {counter}, the sound went on"
    else:
        outcome.demand(not statistics.forged, f"taken for forged: {counts}")
        outcome.got = "put in order again, the sound went on"
    outcome.demand(statistics.unknown == 0, "packets of an unknown type came through")
    if s.bob.recording is not None:
        # a busy machine may have him wait, and hear guesses, at one place or another
        places = (0.1, 0.2, 0.3, 0.4, 0.5)
        heard = max(loudness(s.bob.recording, 0, ALICE_HERTZ, at=at) for at in places)
        outcome.demand(heard > 0.5, f"only {heard:.2f} of the sound is Alice's")
    return outcome


def _pairs_swapped() -> Edit:
    held: list[bytes] = []

    def swap(datagram: bytes) -> tuple[bytes, ...]:
        held.append(datagram)
        if len(held) < 2:
            return ()
        pair = tuple(reversed(held))
        held.clear()
        return pair

    return swap


async def _reordered(folder: Path) -> Outcome:
    return await _meddled(folder, _pairs_swapped())


async def _earlier_call(folder: Path) -> Outcome:
    async with stage(folder, mode=Mode.TAP) as s:
        _ = await s.dial(seconds=0.2)
        old = [c.datagram for c in s.mallory.last_media.captured if c.side == CALLER]
        old = [d for d in old if classify(d) is Kind.RTP]

        async def play_back(_call: Call) -> None:
            for datagram in old:
                s.mallory.last_media.send(CALLEE, datagram)
            await s.hear_more(s.bob.calls[-1])

        _ = await s.dial(during=play_back)
        outcome = s.went_on()
        outcome.demand(len(old) > 5, "there was nothing to play back")
        return _told(s, outcome, "forged")


async def _plain_replayed(folder: Path) -> Outcome:  # noqa: ARG001
    """A receiver of plain RTP has no way to tell a second coming."""
    heard = [payload(packet) for packet in speech() for _ in range(3)]
    outcome = Outcome(readable=sum(map(len, heard)))
    outcome.demand(len(heard) == 3 * len(speech()), "a replay was dropped")
    outcome.got = (
        f"plain RTP is taken as often as it comes: {len(heard)} packets of {len(speech())}"
    )
    return outcome


def _srtp_pair() -> tuple[SrtpSession, SrtpSession]:
    profile, out, back = SrtpProfile.SRTP_AEAD_AES_256_GCM, bytes(range(44)), bytes(44)
    return (
        SrtpSession(profile, Secret(out), Secret(back)),
        SrtpSession(profile, Secret(back), Secret(out)),
    )


async def _beyond_the_window(folder: Path) -> Outcome:  # noqa: ARG001
    """A packet held back by more than the window, a forged jump, and two sources of one number."""
    speaker, listener = _srtp_pair()
    outcome, refusals = Outcome(), list[str]()
    packets = [
        speaker.protect(rtp_header(0, n, 160 * n, 1) + _SILENCE) for n in range(100, 100 + 1100)
    ]
    late, rest = packets[0], packets[1:]
    for packet in rest:
        _ = listener.unprotect(packet)
    jump = bytearray(packets[-1])
    jump[2:4] = (60_000).to_bytes(2)
    for forged in (late, bytes(jump)):
        try:
            _ = listener.unprotect(forged)
            outcome.problems.append("a held-back or forged packet was taken")
        except ProtocolError as e:
            refusals.append(named(e))
    other = speaker.protect(rtp_header(0, 1200, 0, 2) + _SILENCE)  # another source, same number
    own = speaker.protect(rtp_header(0, 1200, 0, 1) + _SILENCE)
    for packet in (other, own):
        outcome.demand(payload(listener.unprotect(packet)) == _SILENCE, "an honest one was lost")
    outcome.refusals = tuple(dict.fromkeys(refusals))
    outcome.got = "both dropped; honest packets of two sources were taken"
    return outcome


async def _rollover(folder: Path) -> Outcome:  # noqa: ARG001
    """The sequence number runs over; packets of before cannot be had once more after it."""
    speaker, listener = _srtp_pair()
    outcome = Outcome(got="the counter rolled over with both ends; the old packet was dropped")
    numbers = [n & 0xFFFF for n in range(65_000, 65_536 + 700)]
    packets = [speaker.protect(rtp_header(0, n, 0, 1) + _SILENCE) for n in numbers]
    taken = [payload(listener.unprotect(packet)) for packet in packets]
    outcome.demand(taken == [_SILENCE] * len(packets), "the rollover lost packets")
    try:
        _ = listener.unprotect(packets[0])
        outcome.problems.append("a packet of before the rollover was taken again")
    except ProtocolError as e:
        outcome.refusals = (named(e),)
    return outcome


R1: Final[Attack] = (
    control("a receiver of plain RTP", _plain_replayed),
    ours("every packet three times", partial(_meddled, edit=_replay, counter="replayed")),
    ours("pairs swapped", _reordered),
    ours("an earlier call played back", _earlier_call),
    ours("held back beyond the window, a forged jump, two sources", _beyond_the_window),
    ours("rollover of the sequence number", _rollover),
)


async def _words_in_a_mouth(folder: Path) -> Outcome:
    """Whoever holds the keys of SRTP speaks in the caller's place."""
    async with stage(folder, policy=PLAIN, acquainted=False, mode=Mode.SWAP) as s:
        s.bob.recording = folder / "bob.wav"

        async def speak(_call: Call) -> None:
            s.mallory.last_media.voice = ToneSource(_HER_HERTZ)
            await s.hear_more(s.bob.calls[0], 0.6)

        _ = await s.dial(during=speak)
        outcome = s.ended()
        outcome.demand(s.error is None, f"the call did not connect: {s.error}")
        outcome.demand(loudness(s.bob.recording, 0, _HER_HERTZ, at=0.4) > 0.5, "he heard nothing")
        outcome.demand(
            loudness(s.bob.recording, 0, ALICE_HERTZ, at=0.4) < 0.1, "he still heard Alice"
        )
        outcome.got = f"Bob heard her tone ({_HER_HERTZ:.0f} Hz) as Alice's"
    return outcome


async def _sealed_elsewhere(folder: Path) -> Outcome:  # noqa: ARG001
    """With the keys of SRTP stolen: frames moved to another medium, direction and epoch."""
    caller, callee = Secret(b"r" * 32), Secret(b"e" * 32)
    audio, video = rtp_metadata(111, "0"), rtp_metadata(111, "1")
    sender, outcome, refusals = SframeSender(caller, 0), Outcome(), list[str]()
    here, back, later = SframeReceiver(), SframeReceiver(), SframeReceiver()
    here.add_key(0, caller)
    back.add_key(0, callee)
    later.add_key(1, caller)
    moves = {
        "audio to video": (here, video),
        "another payload type": (here, rtp_metadata(0, "0")),
        "the other direction": (back, audio),
        "another epoch": (later, audio),
    }
    for what, (receiver, metadata) in moves.items():
        try:
            _ = receiver.open_rtp(sender.seal_rtp(b"sound", audio), metadata)
            outcome.problems.append(f"{what}: it opened")
        except ProtocolError as e:
            refusals.append(named(e))
    sealed = sender.seal_rtp(b"sound", audio)
    outcome.demand(here.open_rtp(sealed, audio) == b"sound", "it does not open where it belongs")
    for what, frame in {"replayed": sealed, "plaintext in its place": _SILENCE}.items():
        try:
            _ = here.open_rtp(frame, audio)
            outcome.problems.append(f"{what}: it was taken")
        except ProtocolError as e:
            refusals.append(named(e))
    outcome.refusals = tuple(dict.fromkeys(refusals))
    outcome.got = f"{len(refusals)} of {len(moves) + 2} refused; in its place it opens"
    return outcome


R2: Final[Attack] = (
    control("a call whose SRTP keys she holds", _words_in_a_mouth),
    ours("bits flipped", partial(_meddled, edit=_flip, counter="forged")),
    ours("plaintext RTP and BYE injected", partial(_meddled, edit=_invent, counter="forged")),
    ours("renumbered", partial(_meddled, edit=_shift_header, counter="forged")),
    ours("another payload type", partial(_meddled, edit=_other_type, counter="forged")),
    ours("sealed frames moved, SRTP open", _sealed_elsewhere),
)
