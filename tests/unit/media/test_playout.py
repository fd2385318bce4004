"""The receiving half: packets of any length become frames of 20 ms."""

from __future__ import annotations

import itertools
import struct

import pytest

from securecall.media import codecs, g711, opus
from securecall.media.codecs import OPUS, PCMA, PCMU
from securecall.media.concealment import Concealer
from securecall.media.frames import rms_dbfs
from securecall.media.playout import Playout
from securecall.rtp.red import Block, RedPayload


def loud(samples, value=0x10):
    return bytes((value,)) * samples


@pytest.mark.parametrize("packet_ms", [10, 20, 30, 40, 60])
def test_packets_of_any_length_come_out_as_20_ms(packet_ms):
    playout = Playout({0: PCMU})
    sent = heard = 0
    for tick in range(300):
        now = tick * 0.02
        while sent * packet_ms / 1000 <= now:
            playout.push(
                1, sent, sent * packet_ms * 8, 0, loud(packet_ms * 8), sent * packet_ms / 1000
            )
            sent += 1
        pcm = playout.pull(now + 0.01)
        if pcm is not None:
            assert len(pcm) == 320
            heard += pcm.count(g711.expander("PCMU")(b"\x10")) * 2 // 2
    assert heard > 280 * 150
    assert playout.jitter_counters().lost == 0


@pytest.mark.parametrize("packet_ms", [10, 20, 30, 40, 60])
@pytest.mark.parametrize("lost", [(), (20, 21, 50)])
def test_the_position_is_that_of_the_first_sample_of_what_is_played(packet_ms, lost):
    """Each packet has a value of its own, by which its samples are known again."""
    playout, size, start = Playout({0: PCMU}), packet_ms * 8, 2**32 - 4000
    expand, sent, checked, exact = g711.expander("PCMU"), 0, 0, 0
    assert playout.position is None
    for tick in range(200):
        now = tick * 0.02
        while sent * packet_ms / 1000 <= now:
            stamp, at = start + sent * size & 0xFFFFFFFF, sent * packet_ms / 1000
            if sent not in lost:
                playout.push(1, sent, stamp, 0, loud(size, 1 + sent % 100), at)
            sent += 1
        pcm = playout.pull(now + 0.01)
        if pcm is None or playout.position is None:
            continue
        packet = (playout.position - start & 0xFFFFFFFF) // size
        if not any(abs(packet - gone) < 8 for gone in lost):  # guessed, or faded into
            checked += 1
            exact += pcm[:2] == expand(bytes([1 + packet % 100]))
    assert checked > 90
    assert exact >= checked - 2  # the first frames may begin with a guess
    playout.flush()
    assert playout.position is None


def test_several_codecs_may_alternate():
    playout = Playout({0: PCMU, 8: PCMA})
    for n in range(20):
        law, number = ("PCMU", 0) if n % 2 else ("PCMA", 8)
        tone = g711.compressor(law)(struct.pack("<160h", *([4000, -4000] * 80)))
        playout.push(1, n, n * 160, number, tone, n * 0.02)
        pcm = playout.pull(n * 0.02 + 0.01)
        assert rms_dbfs(pcm) > -25
    assert playout.counters.concealed == 0


def test_a_codec_of_another_clock_begins_a_new_buffer_and_rate():
    playout = Playout({0: PCMU, 111: OPUS})
    assert playout.rate == 8000
    playout.push(1, 0, 0, 0, loud(160), 0.0)
    playout.pull(0.01)
    encoder = codecs.encoder(OPUS)
    for n in range(1, 4):
        playout.push(1, n, n * 960, 111, encoder.encode(bytes(1920)), n * 0.02)
        assert len(playout.pull(n * 0.02 + 0.01)) == 1920
    assert playout.rate == 48000
    assert playout.counters.restarts == 1


def test_another_ssrc_begins_a_new_buffer():
    playout = Playout({0: PCMU})
    for ssrc, base in ((1, 100), (2, 40000)):
        for n in range(5):
            playout.push(ssrc, base + n, n * 160, 0, loud(160), n * 0.02)
            assert playout.pull(n * 0.02 + 0.01) == g711.expander("PCMU")(loud(160)) or n == 0
    assert playout.counters.restarts == 1
    assert playout.jitter_counters().played == 10


def test_a_malformed_payload_is_concealed_and_counted():
    playout = Playout({111: OPUS})
    playout.push(1, 0, 0, 111, b"\xff\xff\xff", 0.0)
    assert len(playout.pull(0.01)) == 1920
    assert playout.counters.malformed == 1


def test_a_silent_peer_is_covered_for_a_second_and_then_not_at_all():
    playout = Playout({0: PCMU})
    playout.push(1, 0, 0, 0, loud(160), 0.0)
    heard = [playout.pull(0.01 + n * 0.02) for n in range(200)]
    covered = [pcm for pcm in heard if pcm is not None]
    assert 45 <= len(covered) <= 55
    assert covered[-1] == bytes(320)


def test_flushing_forgets():
    playout = Playout({0: PCMU})
    for n in range(3):
        playout.push(1, n, n * 160, 0, loud(160), 0.0)
    playout.flush()
    assert playout.pull(0.05) is None
    assert playout.jitter_counters().received == 3


def test_concealment_repeats_the_pitch_and_fades_to_silence():
    concealer = Concealer(8000)
    wave = [int(8000 * (1 if i % 80 < 8 else -0.1)) for i in range(320)]  # 100 Hz pulses
    concealer.played(struct.pack("<160h", *wave[:160]))
    concealer.played(struct.pack("<160h", *wave[160:]))
    first = struct.unpack("<160h", concealer.conceal(160))
    assert max(first[:80]) > 6000
    later = b"".join(concealer.conceal(160) for _ in range(4))
    assert later[-320:] == bytes(320)
    after = struct.unpack("<160h", concealer.played(struct.pack("<160h", *([5000] * 160))))
    assert after[0] < 500  # no click: it grows out of the silence
    assert after[-1] == 5000


def test_concealment_of_nothing_is_silence():
    assert Concealer(8000).conceal(160) == bytes(320)


def frame(tick, samples=160):
    """A frame of s16le: loud for a second, quiet for half a second."""
    level = 12000 if tick % 75 < 50 else 100
    return struct.pack(f"<{samples}h", *(([level] * 20 + [-level] * 20) * (samples // 40)))


def test_what_is_too_late_is_caught_up_with_in_pauses():
    playout, positions = Playout({8: PCMA}), []
    for tick in range(300):
        now = tick * 0.02
        playout.push(1, tick, tick * 160, 8, g711.compressor("PCMA")(frame(tick)), now)
        if not 75 <= tick < 80:  # nobody listens for a tenth of a second, and what comes waits
            assert len(playout.pull(now + 0.01)) == 320
            positions.append(playout.position)
    skipped = [b // 160 for a, b in itertools.pairwise(positions) if b - a != 160]
    assert len(skipped) >= 3
    assert all(tick % 75 >= 50 for tick in skipped)
    assert playout.jitter_counters().hurried == len(skipped)
    assert playout.jitter_counters().skipped == playout.counters.concealed == 0


@pytest.mark.skipif(not opus.is_available(), reason="no libopus here")
def test_room_for_copies_is_made_in_pauses():
    encoder, playout = codecs.encoder(OPUS), Playout({111: OPUS})
    sent, positions = [], []
    for tick in range(150):
        now = tick * 0.02
        sent.append(encoder.encode(frame(tick, 960)))
        if tick not in (20, 90):  # within a word; the second one finds room that was made
            near = [n for n in (10, 5) if tick >= n]
            copies = tuple(Block(111, 960 * n, sent[tick - n]) for n in near)
            packet = RedPayload(111, sent[tick], copies)
            playout.push_red(1, tick, tick * 960, packet, now)
        assert len(playout.pull(now + 0.01)) == 1920
        positions.append(playout.position)
    stood = [n for n in range(1, 150) if positions[n] == positions[n - 1]]
    assert len([n for n in stood if n < 50]) < 10
    assert len([n for n in stood if 50 <= n < 80]) >= 3
    assert not [n for n in stood if n >= 80]
