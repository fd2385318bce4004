"""Encoder and decoder beside the loop: the newest wins, results come on the loop, none after."""

from __future__ import annotations

import asyncio
import functools
import threading

import pytest

from securecall.errors import DeviceError, ProtocolError, UsageError
from securecall.media.video.codecs import FrameEncoder
from securecall.media.video.coders import VideoDecoder, VideoEncoder
from securecall.media.video.frames import EncodedVideo
from securecall.media.video.pattern import TestPattern, read_frame_number
from securecall.media.video.threads import Worker

SMALL = TestPattern(96, 64)


def on_a_loop(test):
    """A test that is a coroutine."""

    @functools.wraps(test)
    def run(**given):
        asyncio.run(test(**given))

    return run


async def until(condition):
    while not condition():  # noqa: ASYNC110  (a thread fulfils it)
        await asyncio.sleep(0.001)


class Gate:
    """Holds up a coder's thread at its next job."""

    def __init__(self, coder, method):
        self._inner = getattr(coder, method)
        self.reached, self.open = threading.Semaphore(0), threading.Semaphore(0)
        setattr(coder, method, self)

    def __call__(self, *given, **named):
        self.reached.release()
        self.open.acquire()
        return self._inner(*given, **named)

    async def wait_reached(self):
        await asyncio.to_thread(self.reached.acquire)


def packets(numbers, keyframes=(0,), codec="VP8"):
    encoder = FrameEncoder(codec, bitrate=200_000)
    return [encoder.encode(SMALL.frame(n), keyframe=n in keyframes) for n in numbers]


@pytest.mark.parametrize("codec", ["VP8", "H264"])
@on_a_loop
async def test_pictures_go_through_both_in_order_on_the_loop(codec):
    shown, threads = [], set()

    def show(frame):
        shown.append(read_frame_number(frame))
        threads.add(threading.current_thread())

    decoder = VideoDecoder(codec, show)
    encoder = VideoEncoder(codec, decoder.submit, bitrate=200_000)
    for n in range(10):
        encoder.submit(SMALL.frame(n))
        await until(lambda n=n: len(shown) > n)
    assert shown == list(range(10)) and threads == {threading.current_thread()}
    assert (encoder.encoded, encoder.dropped, decoder.decoded, decoder.failed) == (10, 0, 10, 0)
    assert encoder.library in {"libvpx", "libx264", "libopenh264"}
    encoder.close()
    decoder.close()


@on_a_loop
async def test_the_newest_picture_takes_the_place_of_the_one_that_waits():
    out = []
    encoder = VideoEncoder("VP8", out.append, bitrate=200_000)
    gate = Gate(encoder._encoder, "encode")
    encoder.submit(SMALL.frame(0))
    await gate.wait_reached()
    for n in (1, 2, 3):
        encoder.submit(SMALL.frame(n))
    assert encoder.dropped == 2
    gate.open.release(5)
    await until(lambda: len(out) == 2)
    assert [e.timestamp for e in out] == [0.0, pytest.approx(0.1)]
    encoder.close()


@on_a_loop
async def test_keyframe_and_bit_rate_are_asked_for_at_any_time():
    out = []
    encoder = VideoEncoder("VP8", out.append, bitrate=200_000)
    for n in range(4):
        if n == 2:
            encoder.request_keyframe()
            encoder.set_bitrate(100_000)
        encoder.submit(SMALL.frame(n))
        await until(lambda n=n: len(out) > n)
    assert [e.keyframe for e in out] == [True, False, True, False]
    assert encoder.bitrate == encoder._encoder.bitrate == 100_000
    with pytest.raises(UsageError):
        encoder.set_bitrate(1)
    encoder.close()


@on_a_loop
async def test_a_keyframe_asked_for_meanwhile_or_left_out_still_comes():
    out = []
    encoder = VideoEncoder("VP8", out.append, bitrate=200_000)
    encode, left_out = encoder._encoder.encode, []

    def leave_one_out(frame, **given):
        encoded = encode(frame, **given)
        if frame.timestamp == 0.0:
            encoder.request_keyframe()  # while the first is being encoded
        if frame.timestamp == 1.0:
            left_out.append(given)
            return None
        return encoded

    encoder._encoder.encode = leave_one_out
    for n in range(4):
        encoder.submit(SMALL.frame(n, timestamp=float(n)))
        await until(lambda n=n: encoder.encoded + encoder.dropped > n)
    assert [(e.timestamp, e.keyframe) for e in out] == [(0, True), (2, True), (3, False)]
    assert left_out == [{"keyframe": True}] and encoder.dropped == 1
    encoder.close()


@on_a_loop
async def test_an_encoder_that_failed_says_so_at_the_next_picture():
    encoder = VideoEncoder("VP8", lambda _: None, bitrate=200_000)

    def fail(*_, **__):
        raise DeviceError("no")

    encoder._encoder.encode = fail
    encoder.submit(SMALL.frame(0))
    await until(lambda: encoder._worker.error)
    with pytest.raises(DeviceError, match="no"):
        encoder.submit(SMALL.frame(1))
    encoder.close()


@on_a_loop
async def test_after_close_nothing_is_called_back():
    out = []
    encoder = VideoEncoder("VP8", out.append, bitrate=200_000)
    gate = Gate(encoder._encoder, "encode")
    encoder.submit(SMALL.frame(0))
    await gate.wait_reached()
    encoder.close()
    encoder.close()
    gate.open.release(5)
    await asyncio.to_thread(encoder._worker.join)
    encoder.submit(SMALL.frame(1))
    await asyncio.sleep(0)
    assert out == []


@on_a_loop
async def test_a_broken_picture_is_told_once_and_the_next_keyframe_is_shown():
    shown, troubles = [], []
    decoder = VideoDecoder("VP8", lambda f: shown.append(read_frame_number(f)), troubles.append)
    good = packets(range(8), keyframes=(0, 5))
    decoder.submit(good[0])
    await until(lambda: shown)
    decoder.submit(EncodedVideo(data=b"\x01", keyframe=False, timestamp=0.0))
    await until(lambda: troubles)
    assert decoder.waits_for_keyframe and isinstance(troubles[0], ProtocolError)
    for encoded in good[2:]:
        decoder.submit(encoded)
    await until(lambda: len(shown) == 4)
    assert shown == [0, 5, 6, 7]
    assert (decoder.failed, decoder.dropped, len(troubles)) == (1, 3, 1)
    decoder.close()


@on_a_loop
async def test_trouble_that_a_keyframe_has_mended_already_is_counted_only():
    shown, troubles = [], []
    decoder = VideoDecoder("VP8", lambda f: shown.append(read_frame_number(f)), troubles.append)
    gate = Gate(decoder._decoder, "decode")
    good = packets(range(3), keyframes=(0, 1))
    decoder.submit(EncodedVideo(data=b"\x01", keyframe=True, timestamp=0.0))
    await gate.wait_reached()
    decoder.submit(good[1])
    decoder.submit(good[2])
    gate.open.release(9)
    await until(lambda: len(shown) == 2)
    assert (shown, troubles, decoder.failed) == ([1, 2], [], 1)
    decoder.close()


@on_a_loop
async def test_nothing_is_decoded_before_the_first_keyframe():
    shown = []
    decoder = VideoDecoder("VP8", shown.append)
    first, second = packets(range(2))
    decoder.submit(second)
    assert decoder.dropped == 1
    decoder.submit(first)
    await until(lambda: shown)
    decoder.close()


@on_a_loop
async def test_a_decoder_that_falls_behind_drops_and_asks_for_a_keyframe():
    shown, troubles = [], []
    decoder = VideoDecoder("VP8", lambda f: shown.append(read_frame_number(f)), troubles.append)
    gate = Gate(decoder._decoder, "decode")
    good = packets(range(14), keyframes=(0, 12))
    decoder.submit(good[0])
    await gate.wait_reached()
    for encoded in good[1:12]:
        decoder.submit(encoded)
    assert len(troubles) == 1 and "faster" in str(troubles[0])
    assert decoder.dropped == 11
    decoder.submit(good[12])
    decoder.submit(good[13])
    gate.open.release(20)
    await until(lambda: len(shown) == 3)
    assert shown == [0, 12, 13]
    decoder.close()


def test_where_the_loop_has_ended_nobody_is_called():
    out = []

    async def leave_running():
        encoder = VideoEncoder("VP8", out.append, bitrate=200_000)
        gate = Gate(encoder._encoder, "encode")
        encoder.submit(SMALL.frame(0))
        await gate.wait_reached()
        return encoder, gate

    encoder, gate = asyncio.run(leave_running())
    gate.open.release(2)
    encoder.close()
    encoder._worker.join()
    assert (out, encoder._worker.error) == ([], None)


# ------------------------------------------------------------------ the thread


def test_a_worker_does_its_jobs_in_order_and_then_finishes():
    done = []
    worker = Worker("test", done.append, finish=lambda: done.append("end"))
    for job in range(5):
        worker.put(job)
    worker.close(drain=True)
    worker.put(5)
    worker.join()
    assert done == [0, 1, 2, 3, 4, "end"]


def test_a_worker_without_jobs_has_no_thread():
    worker = Worker("test", print)
    worker.close()
    worker.join()
    assert worker._thread is None


def test_a_worker_stops_at_the_first_error_and_still_finishes():
    ended = []

    def fail(job):
        raise OSError(job)

    worker = Worker("test", fail, finish=lambda: ended.append(True))
    worker.put("first")
    worker.join()
    worker.put("second")
    assert str(worker.error) == "first" and ended == [True] and len(worker) == 0
