"""Opus through our door: sizes, rates, redundancy, refusals."""

from __future__ import annotations

import math
import struct

import pytest

from securecall.errors import ProtocolError, Unsupported, UsageError
from securecall.media import opus
from securecall.media.frames import rms_dbfs


def tone(frames, hertz=300.0, rate=48000, amplitude=8000):
    """A voice-like sound that grows and fades, so that a lost packet can be told from silence."""
    step = rate // 50
    out = []
    for f in range(frames):
        wave = []
        for i in range(step):
            t = (f * step + i) / rate
            loud = amplitude * (0.6 + 0.4 * math.sin(2 * math.pi * 1.7 * t))
            wave.append(
                int(loud * sum(math.sin(2 * math.pi * hertz * k * t) / k for k in (1, 2, 3)) / 2)
            )
        out.append(struct.pack(f"<{step}h", *wave))
    return out


SOUND = tone(60)


def test_libopus_is_found():
    assert opus.is_available()


@pytest.mark.parametrize(("bitrate", "size"), [(16000, 40), (24000, 60), (28000, 70), (64000, 160)])
@pytest.mark.parametrize("loss", [0.0, 0.03, 0.5])
def test_every_packet_has_the_size_of_the_bit_rate(bitrate, size, loss):
    encoder = opus.OpusEncoder(bitrate=bitrate)
    encoder.expect_loss(loss)
    sounds = [*SOUND, bytes(1920), bytes(1920), *SOUND[:5]]
    assert {len(encoder.encode(pcm)) for pcm in sounds} == {size}
    assert encoder.size == size


@pytest.mark.parametrize("rate", [8000, 12000, 16000, 24000, 48000])
def test_the_decoder_gives_20_ms_at_the_rate_asked_for(rate):
    encoder, decoder = opus.OpusEncoder(), opus.OpusDecoder(rate=rate)
    heard = [decoder.decode(encoder.encode(pcm)) for pcm in SOUND]
    assert {len(pcm) for pcm in heard} == {rate // 50 * 2}
    sent, got = rms_dbfs(b"".join(SOUND)), rms_dbfs(b"".join(heard))
    assert got == pytest.approx(sent, abs=1.5)


def test_more_effort_is_made_only_while_packets_are_lost():
    calm, lossy, thorough = (opus.OpusEncoder(complexity=c) for c in (1, 5, 5))
    encoder = opus.OpusEncoder()
    assert [encoder.encode(p) for p in SOUND] == [calm.encode(p) for p in SOUND]
    for each in (encoder, lossy):
        each.expect_loss(0.05)
    thorough.expect_loss(0.0)
    sizes = {len(e.encode(p)) for e in (encoder, lossy, thorough) for p in SOUND}
    assert sizes == {encoder.size}
    assert lossy.encode(SOUND[0]) != thorough.encode(SOUND[0])


def difference(a, b):
    x, y = (struct.unpack(f"<{len(p) // 2}h", p) for p in (a, b))
    return sum((p - q) ** 2 for p, q in zip(x, y, strict=True))


def test_a_lost_packet_is_recovered_better_than_guessed():
    encoder = opus.OpusEncoder()
    encoder.expect_loss(0.1)
    packets = [encoder.encode(pcm) for pcm in SOUND]
    whole = opus.OpusDecoder(rate=16000)
    truth = [whole.decode(p) for p in packets]
    errors = {"guess": 0, "recover": 0}
    for how in errors:
        decoder = opus.OpusDecoder(rate=16000)
        for i, packet in enumerate(packets[:-1]):
            if i % 5 != 4:
                decoder.decode(packet)
                continue
            pcm = decoder.conceal() if how == "guess" else decoder.recover(packets[i + 1])
            assert len(pcm) == len(truth[i])
            errors[how] += difference(pcm, truth[i])
    assert errors["recover"] < errors["guess"] * 0.7


@pytest.mark.parametrize(
    "payload", [b"", b"\xff\xff\xff", b"\x03", b"\x03\x00", b"\x03\x3f" + bytes(9)]
)
def test_what_is_no_opus_packet_is_refused(payload):
    for act in (opus.OpusDecoder().decode, opus.OpusDecoder().recover):
        with pytest.raises(ProtocolError):
            act(payload)


@pytest.mark.parametrize(
    "arguments",
    [{"bitrate": 5999}, {"bitrate": 128001}, {"complexity": -1}, {"complexity": 11}],
)
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(UsageError):
        opus.OpusEncoder(**arguments)


def test_a_rate_opus_does_not_know_is_refused():
    with pytest.raises(UsageError):
        opus.OpusDecoder(rate=44100)


def test_a_frame_of_another_length_is_refused():
    with pytest.raises(UsageError):
        opus.OpusEncoder().encode(bytes(1918))


def test_without_libopus_the_error_names_the_package(monkeypatch):
    monkeypatch.setattr(opus, "_candidates", list)
    opus._library.cache_clear()
    try:
        assert not opus.is_available()
        with pytest.raises(Unsupported, match="opuslib-next-bundled"):
            opus.OpusEncoder()
    finally:
        opus._library.cache_clear()
