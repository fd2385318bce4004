"""The application's own ends: the newest picture wins, and what was dropped is counted."""

from __future__ import annotations

import asyncio

from securecall.media.video.endpoints import VideoInput, VideoOutput, VideoSink, VideoSource
from securecall.media.video.frames import VideoFrame
from securecall.media.video.pattern import TestPattern


def frame(number):
    return VideoFrame.black(4, 4, timestamp=float(number))


def test_an_input_gives_the_newest_picture_once():
    source = VideoInput()
    assert source.read(0.0) is None
    for n in range(3):
        source.write(frame(n))
    assert source.read(0.0) == frame(2) and source.read(0.0) is None
    assert source.dropped == 2 and source.live


def test_an_input_forgets_when_told_and_takes_nothing_after_close():
    source = VideoInput()
    source.write(frame(0))
    source.discard()
    assert source.read(0.0) is None
    source.write(frame(1))
    source.close()
    source.write(frame(2))
    source.close()
    assert source.read(0.0) is None


def test_an_output_keeps_the_newest_and_counts_the_rest():
    async def scenario():
        output = VideoOutput(capacity=2)
        output.write(frame(0))  # before anybody reads
        output.open()
        for n in range(1, 5):
            output.write(frame(n))
        output.close()
        assert [f.timestamp async for f in output] == [3.0, 4.0]
        assert output.dropped == 2

    asyncio.run(scenario())


def test_an_output_wakes_who_waits():
    async def scenario():
        output = VideoOutput()
        reader = asyncio.create_task(anext(aiter(output)))
        await asyncio.sleep(0)
        output.write(frame(7))
        assert (await reader).timestamp == 7.0

    asyncio.run(scenario())


def test_the_ports_fit():
    sources: list[VideoSource] = [VideoInput(), TestPattern(64, 32)]
    sinks: list[VideoSink] = [VideoOutput()]
    for end in (*sources, *sinks):
        end.close()
