"""R1, R2: a relay that replays, reorders, alters and invents media; S1: one that only listens."""

from __future__ import annotations

import asyncio
import base64

import pytest

from securecall.media import g711
from securecall.media.endpoints import ToneSource
from securecall.policy import Policy
from securecall.rtp.packet import rtp_header
from securecall.secret import Secret
from securecall.testing.classify import Kind, classify
from securecall.testing.mallory import Mode
from tests.attacks.calls.cast import ALICE_HERTZ, PLAIN, loudness, stage

SILENCE = b"\xff" * 160
BYE = bytes.fromhex("81cb0001") + bytes(4)  # RTCP BYE without any protection
WINDOW = 16


def replay(datagram):
    return (datagram, datagram, datagram)


def flip(datagram):
    flipped = bytes((*datagram[:-20], datagram[-20] ^ 1, *datagram[-19:]))
    return (flipped, datagram)


def invent(datagram):
    """Plaintext RTP with the right source and the next number, and a BYE."""
    sequence = int.from_bytes(datagram[2:4]) + 1 & 0xFFFF
    ssrc = int.from_bytes(datagram[8:12])
    return (datagram, rtp_header(0, sequence, 0, ssrc) + SILENCE, BYE[:4] + datagram[8:12])


def shift_header(datagram):
    """The same sealed frame under another number and payload type."""
    moved = bytearray(datagram)
    moved[3] ^= 0x40
    return (bytes(moved), datagram)


@pytest.mark.parametrize(
    ("edit", "counter"),
    [(replay, "replayed"), (flip, "forged"), (invent, "forged"), (shift_header, "forged")],
)
def test_what_the_relay_adds_is_dropped_and_counted_and_the_sound_goes_on(tmp_path, edit, counter):
    async def run():
        async with stage(tmp_path, mode=Mode.TAP) as s:
            s.bob.recording = tmp_path / "bob.wav"

            async def meddle(call):
                s.mallory.last_media.edit = lambda datagram, from_caller: (
                    edit(datagram)
                    if from_caller and classify(datagram) is Kind.RTP
                    else (datagram,)
                )
                await s.hear_more(s.bob.calls[0], 0.5)

            await s.dial(during=meddle)
            assert s.error is None
            assert s.bob.errors == []
            statistics = s.bob.calls[0].statistics()
            assert getattr(statistics, counter) > 5
            assert statistics.unknown == 0
            assert loudness(s.bob.recording, 0, ALICE_HERTZ) > 0.5
            s.assert_nothing_was_heard()

    asyncio.run(run())


def test_reordered_packets_are_put_in_order(tmp_path):
    async def run():
        async with stage(tmp_path, mode=Mode.TAP) as s:
            s.bob.recording = tmp_path / "bob.wav"
            held = []

            def swap_pairs(datagram, from_caller):
                if not from_caller or classify(datagram) is not Kind.RTP:
                    return (datagram,)
                held.append(datagram)
                if len(held) < 2:
                    return ()
                pair = held[::-1]
                held.clear()
                return pair

            async def meddle(call):
                s.mallory.last_media.edit = swap_pairs
                await s.hear_more(s.bob.calls[0], 0.5)

            await s.dial(during=meddle)
            assert s.error is None
            assert s.bob.calls[0].statistics().forged == 0
            assert loudness(s.bob.recording, 0, ALICE_HERTZ) > 0.5

    asyncio.run(run())


def test_an_old_call_played_back_into_a_new_one_is_not_heard(tmp_path):
    async def run():
        async with stage(tmp_path, mode=Mode.TAP) as s:
            await s.dial(seconds=0.2)
            old = [c.datagram for c in s.mallory.last_media.captured if c.side == 0]
            old = [d for d in old if classify(d) is Kind.RTP]
            assert len(old) > 5

            async def play_back(call):
                for datagram in old:
                    s.mallory.last_media.send(1, datagram)
                await s.hear_more(s.bob.calls[-1])

            await s.dial(during=play_back)
            assert s.error is None
            assert s.bob.calls[-1].statistics().forged >= len(old)

    asyncio.run(run())


@pytest.fixture
def secrets_made(monkeypatch):
    """Every secret made while the test runs."""
    made, init = [], Secret.__init__

    def remember(secret, data):
        init(secret, data)
        made.append(data.encode() if isinstance(data, str) else bytes(data))

    monkeypatch.setattr(Secret, "__init__", remember)
    return made


def windows(data):
    return {data[i : i + WINDOW] for i in range(len(data) - WINDOW + 1)}


def spoken_plaintext():
    """What Alice's tone is as PCMU, all of it that a call of these tests can carry."""
    tone = ToneSource(ALICE_HERTZ)
    return windows(g711.compressor("PCMU")(tone.read(8000, 8000))) | windows(SILENCE)


def test_s1_nothing_on_the_wire_is_a_key_or_sound(tmp_path, secrets_made):
    async def run():
        policy = Policy(prefer_codecs=("PCMU",))
        async with stage(tmp_path, policy=policy, mode=Mode.TAP) as s:
            await s.dial()
            assert s.error is None
            captured = s.mallory.last_media.captured
            datagrams = [c.datagram for c in captured]
            told = b"".join(data for _, data in s.mallory.proxy.transcript)
        plain = spoken_plaintext()
        sound = [d for d in datagrams if classify(d) is Kind.RTP]
        assert len(sound) > 20
        for datagram in datagrams:
            assert not windows(datagram) & plain
        for side in (0, 1):  # sizes tell nothing but SFrame's counter, either (RFC 6562)
            sizes = [len(c.datagram) for c in captured if c.side == side and c.datagram in sound]
            assert sizes == sorted(sizes)
            assert len(set(sizes)) <= 2
        wire = b"\0".join((told, *datagrams))
        keys = {key for key in secrets_made if len(key) >= 16 and len(set(key)) > 8}
        assert len(keys) > 10
        for key in keys:
            for spelling in (key, key.hex().encode(), base64.b64encode(key)[: len(key) // 3 * 4]):
                assert spelling not in wire
        assert b"a=crypto" not in told
        assert b"inline:" not in told

    asyncio.run(run())


def test_control_the_same_search_finds_the_sound_where_she_has_the_keys(tmp_path):
    async def run():
        policy = Policy(prefer_codecs=("PCMU",), danger_plain_dtls=True)
        async with stage(tmp_path, policy=policy, acquainted=False, mode=Mode.SWAP) as s:
            await s.dial()
            heard = [sound for side, sound in s.mallory.last_media.heard if side == 0]
        found = sum(bool(windows(sound) & spoken_plaintext()) for sound in heard)
        assert found > len(heard) // 2

    asyncio.run(run())


def test_control_whoever_holds_the_keys_puts_words_into_a_mouth(tmp_path):
    hertz = 2000.0

    async def run():
        async with stage(tmp_path, policy=PLAIN, acquainted=False, mode=Mode.SWAP) as s:
            s.bob.recording = tmp_path / "bob.wav"

            async def speak(call):
                s.mallory.last_media.voice = ToneSource(hertz)
                await s.hear_more(s.bob.calls[0], 0.6)

            await s.dial(during=speak)
            assert s.error is None
        assert loudness(s.bob.recording, 0, hertz, at=0.4) > 0.5
        assert loudness(s.bob.recording, 0, ALICE_HERTZ, at=0.4) < 0.1

    asyncio.run(run())
