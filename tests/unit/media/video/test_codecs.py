"""Encoder and decoder, without threads: rates, keyframes, sizes, and what is no video."""

from __future__ import annotations

import subprocess
import sys

import pytest

from securecall.errors import DeviceError, ProtocolError, UsageError
from securecall.media.video import codecs, i420, pyav
from securecall.media.video.codecs import FrameDecoder, FrameEncoder
from securecall.media.video.frames import EncodedVideo
from securecall.media.video.pattern import TestPattern
from tests.paths import PROJECT
from tests.video_quality import similarities

both = pytest.mark.parametrize("codec", ["VP8", "H264"])
SMALL = TestPattern(160, 90)


def film(encoder, numbers, pattern=SMALL, keyframes=()):
    return [encoder.encode(pattern.frame(n), keyframe=n in keyframes) for n in numbers]


def rate(encoded, fps=30):
    """bit/s; OpenH264 leaves pictures out where there is no room."""
    return sum(len(e.data) for e in encoded if e) * 8 * fps / len(encoded)


@both
def test_pictures_come_back_alike_in_order_and_at_once(codec):
    sent = {n: SMALL.frame(n) for n in range(30)}
    encoder, decoder = FrameEncoder(codec, bitrate=200_000), FrameDecoder(codec)
    received = [decoder.decode(encoder.encode(frame)) for frame in sent.values()]
    assert [r.timestamp for r in received] == [s.timestamp for s in sent.values()]
    likeness = similarities(sent, received)
    assert [number for number, _ in likeness] == list(sent)
    assert min(value for _, value in likeness[10:]) > 0.85


@both
@pytest.mark.parametrize("bitrate", [60_000, 120_000])
def test_five_seconds_are_as_large_as_was_asked(codec, bitrate):
    encoded = film(FrameEncoder(codec, bitrate=bitrate), range(150))
    assert rate(encoded) == pytest.approx(bitrate, rel=0.3)
    assert [n for n, e in enumerate(encoded) if e and e.keyframe] == [0]


@both
@pytest.mark.parametrize("change", [0.4, 1.9])
def test_a_new_bit_rate_is_followed_without_a_keyframe(codec, change):
    encoder = FrameEncoder(codec, bitrate=80_000)
    if encoder.library == "libopenh264":
        pytest.skip("it cannot: FFmpeg has no way to tell it")
    film(encoder, range(60))
    encoder.set_bitrate(int(80_000 * change))
    after = film(encoder, range(60, 180))
    assert not any(e.keyframe for e in after)
    assert rate(after[30:]) == pytest.approx(80_000 * change, rel=0.3)
    assert encoder.opened == 1


def test_without_the_quicker_clock_libvpx_would_not_follow(monkeypatch):
    encoder = FrameEncoder("VP8", bitrate=100_000)
    film(encoder, range(30))
    encoder._context.bit_rate = 40_000  # which FFmpeg takes, and libvpx never hears of
    assert rate(film(encoder, range(60, 150))) == pytest.approx(100_000, rel=0.2)


@both
def test_a_rate_far_away_opens_the_encoder_anew_at_a_keyframe(codec):
    encoder = FrameEncoder(codec, bitrate=400_000)
    film(encoder, range(3))
    encoder.set_bitrate(40_000)
    after = film(encoder, range(3, 120))
    assert [n for n, e in enumerate(after) if e and e.keyframe] == [0]
    assert encoder.opened == 2
    assert rate(after[30:]) == pytest.approx(40_000, rel=0.3)


@both
def test_a_keyframe_comes_when_asked_for_and_needs_none_before_it(codec):
    encoded = film(FrameEncoder(codec, bitrate=200_000), range(12), keyframes={7})
    assert [n for n, e in enumerate(encoded) if e.keyframe] == [0, 7]
    decoder = FrameDecoder(codec)
    received = [decoder.decode(e) for e in encoded[7:]]
    sent = {n: SMALL.frame(n) for n in range(12)}
    assert [number for number, _ in similarities(sent, received)] == [7, 8, 9, 10, 11]


@both
def test_a_new_size_begins_with_a_keyframe_and_is_decoded(codec):
    encoder, decoder = FrameEncoder(codec, bitrate=200_000), FrameDecoder(codec)
    sizes = []
    for pattern in (SMALL, TestPattern(96, 64), TestPattern(322, 182)):
        encoded = [e for e in film(encoder, range(3), pattern) if e]
        assert [n for n, e in enumerate(encoded) if e.keyframe] == [0]
        assert {(e.width, e.height) for e in encoded} == {pattern.frame(0).size}
        sizes += {decoder.decode(e).size for e in encoded}
    assert sizes == [(160, 90), (96, 64), (322, 182)]


@both
def test_time_that_jumps_stands_still_or_goes_back_is_no_trouble(codec):
    encoder, decoder = FrameEncoder(codec, bitrate=200_000), FrameDecoder(codec)
    for n, time in enumerate([0.0, 0.0, 5.0, 4.0, 4.0001, 1e9, -3.0]):
        encoded = encoder.encode(SMALL.frame(n, timestamp=time))
        assert decoder.decode(encoded).timestamp == time


def test_half_the_pictures_are_twice_as_large_each():
    encoder = FrameEncoder("VP8", bitrate=80_000)
    slow = [encoder.encode(SMALL.frame(n, timestamp=n / 15)) for n in range(90)]
    assert rate(slow[15:], fps=15) == pytest.approx(80_000, rel=0.3)


def test_h264_is_baseline_without_b_frames_in_one_byte_stream():
    encoded = film(FrameEncoder("H264", bitrate=200_000), range(5))
    units = [[part[0] & 31 for part in _units(e.data)] for e in encoded]
    assert {7, 8, 5} <= set(units[0])  # parameter sets with the keyframe, RFC 6184 5.2
    assert all(kinds == [1] for kinds in units[1:])
    parameters = next(part for part in _units(encoded[0].data) if part[0] & 31 == 7)
    assert parameters[1] == 66  # profile_idc


def _units(data):
    return [part.rstrip(b"\0") for part in data.split(b"\0\0\1") if part.rstrip(b"\0")]


@pytest.mark.parametrize("bitrate", [0, 29_999, 20_000_001])
def test_bit_rates_out_of_range_are_refused(bitrate):
    with pytest.raises(UsageError):
        FrameEncoder("VP8", bitrate=bitrate)
    encoder = FrameEncoder("VP8", bitrate=100_000)
    with pytest.raises(UsageError):
        encoder.set_bitrate(bitrate)
    assert encoder.bitrate == 100_000


@pytest.mark.parametrize("make", [lambda c: FrameEncoder(c, bitrate=99_000), FrameDecoder])
def test_other_codecs_are_refused(make):
    for codec in ("vp8", "VP9", "", "libx264"):
        with pytest.raises(UsageError):
            make(codec)
    with pytest.raises(UsageError):
        FrameEncoder("VP8", bitrate=99_000, fps=0)


def test_an_encoder_that_cannot_open_says_so(monkeypatch):
    monkeypatch.setitem(codecs._OPTIONS, "libvpx", lambda _: {"cpu-used": "nonsense"})
    with pytest.raises(DeviceError, match="libvpx"):
        FrameEncoder("VP8", bitrate=99_000).encode(SMALL.frame(0))


# ------------------------------------------------------------------ what a stranger may send


def packet(data, *, keyframe=False):
    return EncodedVideo(data=data, keyframe=keyframe, timestamp=0.0)


@both
@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"garbage" * 100, b"\xff" * 2000, bytes(codecs.MAX_ENCODED + 1)],
    ids=["nothing", "one byte", "text", "ones", "too much"],
)
def test_garbage_is_a_protocol_error_and_the_next_keyframe_is_decoded(codec, data):
    decoder = FrameDecoder(codec)
    try:
        shown = decoder.decode(packet(data))
    except ProtocolError:
        shown = None
    assert shown is None
    keyframe = FrameEncoder(codec, bitrate=200_000).encode(SMALL.frame(3))
    assert decoder.decode(keyframe).size == (160, 90)


@both
@pytest.mark.parametrize("data", [b"", bytes(codecs.MAX_ENCODED + 1)])
def test_nothing_and_too_much_never_reach_ffmpeg(codec, data):
    with pytest.raises(ProtocolError, match="bytes"):
        FrameDecoder(codec).decode(packet(data))


def test_a_vp8_header_that_claims_16383_pixels_is_refused_before_memory_is_taken():
    keyframe = bytearray(FrameEncoder("VP8", bitrate=200_000).encode(SMALL.frame(0)).data)
    assert keyframe[3:10] == b"\x9d\x01\x2a\xa0\x00\x5a\x00"  # RFC 6386 9.1: 160x90
    keyframe[6:10] = b"\xff\x3f\xff\x3f"
    with pytest.raises(ProtocolError, match="cannot be decoded"):
        FrameDecoder("VP8").decode(packet(bytes(keyframe)))


@both
def test_a_picture_with_too_many_pixels_is_refused_by_ffmpeg_itself(codec, monkeypatch):
    keyframe = FrameEncoder(codec, bitrate=200_000).encode(SMALL.frame(0))
    assert FrameDecoder(codec).decode(keyframe) is not None
    monkeypatch.setattr(codecs, "MAX_SIDE", 100)
    with pytest.raises(ProtocolError, match="cannot be decoded"):
        FrameDecoder(codec).decode(keyframe)


def test_a_picture_longer_than_4096_is_refused_though_it_has_few_pixels():
    keyframe = bytearray(FrameEncoder("VP8", bitrate=200_000).encode(SMALL.frame(0)).data)
    keyframe[6:10] = (4112).to_bytes(2, "little") + (16).to_bytes(2, "little")
    with pytest.raises(ProtocolError):
        FrameDecoder("VP8").decode(packet(bytes(keyframe) + bytes(4000)))


@both
def test_an_inter_picture_without_its_keyframe_is_not_shown(codec):
    encoded = film(FrameEncoder(codec, bitrate=200_000), range(2))
    decoder = FrameDecoder(codec)
    try:
        shown = decoder.decode(encoded[1])
    except ProtocolError:
        shown = None
    assert shown is None


def test_a_picture_that_cannot_be_converted_is_a_protocol_error(monkeypatch):
    def refuse(*_):
        raise pyav.FFmpegError(95, "Operation not supported")

    keyframe = FrameEncoder("VP8", bitrate=200_000).encode(SMALL.frame(0))
    monkeypatch.setattr(i420, "from_picture", refuse)
    with pytest.raises(ProtocolError, match="colours"):
        FrameDecoder("VP8").decode(keyframe)


FUZZ = """
import random, sys
from securecall.errors import ProtocolError
from securecall.media.video.codecs import FrameDecoder, FrameEncoder
from securecall.media.video.frames import EncodedVideo
from securecall.media.video.pattern import TestPattern

codec, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
chance = random.Random(seed)
encoder, decoder = FrameEncoder(codec, bitrate=100_000), FrameDecoder(codec)
pattern, shown, refused = TestPattern(96, 64), 0, 0
good = [encoder.encode(pattern.frame(n), keyframe=n % 8 == 0).data for n in range(64)]
for n in range(count):
    data = bytearray(good[n % len(good)])
    for _ in range(chance.choice((0, 1, 1, 3, 30))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    if chance.random() < 0.2:
        del data[chance.randrange(len(data)):]
    if chance.random() < 0.1:
        data[10:10] = chance.randbytes(chance.randrange(50))
    try:
        frame = decoder.decode(EncodedVideo(data=bytes(data), keyframe=False, timestamp=0.0))
        shown += frame is not None
    except ProtocolError:
        refused += 1
print(shown, refused)
"""


def fuzz(codec, count, seed):
    command = [sys.executable, "-c", FUZZ, codec, str(count), str(seed)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [int(n) for n in done.stdout.split()]


@both
def test_damaged_pictures_crash_nothing(codec):
    shown, refused = fuzz(codec, 400, seed=7)
    assert shown > 40 and refused > 40  # both ways were gone


@pytest.mark.soak
@both
@pytest.mark.parametrize("seed", range(4))
def test_very_many_damaged_pictures_crash_nothing(codec, seed):
    shown, refused = fuzz(codec, 100_000, seed=seed)
    assert shown + refused > 10_000
