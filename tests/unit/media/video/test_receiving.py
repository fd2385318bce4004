"""What a receiver asks for when its decoder fails: a keyframe, until one comes."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("av", reason="the extra video")

from securecall.errors import ProtocolError
from securecall.media.description import Codec
from securecall.media.video.receiving import VideoReceiver

VP8 = Codec(96, "VP8", 90_000)
KEYFRAME = b"\x90\x80\x80\x01" + bytes.fromhex("5004009d012a10001000") + bytes(20)


def test_a_keyframe_is_asked_for_again_where_the_first_request_was_lost():
    async def main():
        asked, now = [], 1.0
        receiver = VideoReceiver(
            nack=True,
            resend=lambda _: None,
            need_keyframe=lambda: asked.append(now),
            failed=lambda e: pytest.fail(repr(e)),
        )
        receiver.push(VP8, 1, 0, KEYFRAME, marker=True, now=1.0, round_trip=0.05)
        assert receiver.counters.keyframes == 1
        now = 1.5
        receiver.poll(now)
        assert asked == []  # the control: nothing is wrong
        receiver._trouble(ProtocolError("garbage"))
        for tenth in range(16, 60):
            now = tenth / 10
            receiver.poll(now)
        assert asked[0] == 1.5
        assert len(asked) >= 3
        count = len(asked)
        receiver.push(VP8, 2, 3000, KEYFRAME, marker=True, now=6.0, round_trip=0.05)
        receiver.poll(30.0)
        assert len(asked) == count  # it came

    asyncio.run(main())
