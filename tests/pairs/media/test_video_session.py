"""Which packets of a shared path a session of pictures takes for its own."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("av", reason="the extra video")

from securecall.calls.video_lines import VIDEO_CODECS
from securecall.media.description import Direction
from securecall.media.video.line import VideoTerms
from securecall.media.video.session import VideoSession
from securecall.rtp.packet import rtp_header
from tests.pairs.media.two_sessions import StepClock, srtp

VP8 = VIDEO_CODECS["vp8"]


@pytest.mark.parametrize(
    ("named", "number", "ssrc", "taken"),
    [
        ({7, 8}, 96, 7, True),
        ({7, 8}, 97, 8, True),
        ({7, 8}, 96, 9, False),  # sound, in a format of the same number
        ({7, 8}, 111, 7, False),
        (set(), 96, 9, True),
        (set(), 111, 9, False),
    ],
)
def test_a_packet_is_of_a_picture_by_its_number_and_by_the_source_that_was_named(
    named, number, ssrc, taken
):
    async def main():
        terms = VideoTerms(
            name="", mid="1", codec=VP8, rtx=97, receive={96: VP8}, receive_rtx={97: 96},
            ssrc=1, rtx_ssrc=2, peer_ssrcs=frozenset(named), nack=True, pli=True, fir=True,
        )  # fmt: skip
        session = VideoSession(
            StepClock(),
            [].append,
            srtp("a", "b"),
            cname="x",
            seal=lambda name: None,
            opener=None,
            failed=[].append,
        )
        session.agree({"1": (terms, Direction.SENDRECV)})
        assert session.takes(rtp_header(number, 1, 2, ssrc) + b"payload") is taken
        assert not session.takes(rtp_header(number, 1, 2, ssrc)[:11])
        session.close()

    asyncio.run(main())
