"""Which packets of a shared path a session of pictures takes for its own."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("av", reason="the extra video")

from securecall.calls.video_lines import VIDEO_CODECS
from securecall.media.description import Direction, Gate
from securecall.media.video.line import VideoTerms
from securecall.media.video.session import VideoSession
from securecall.rtp.packet import rtp_header
from tests.pairs.media.two_sessions import StepClock, srtp

VP8 = VIDEO_CODECS["vp8"]


def terms(named):
    return VideoTerms(
        name="", mid="1", codec=VP8, rtx=97, receive={96: VP8}, receive_rtx={97: 96},
        ssrc=1, rtx_ssrc=2, peer_ssrcs=frozenset(named), nack=True, pli=True, fir=True,
    )  # fmt: skip


def sharing():
    return VideoSession(
        StepClock(),
        [].append,
        srtp("a", "b"),
        cname="x",
        seal=lambda name: None,
        opener=None,
        failed=[].append,
    )


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
        session = sharing()
        session.agree({"1": (terms(named), Direction.SENDRECV)})
        assert session.takes(rtp_header(number, 1, 2, ssrc) + b"payload") is taken
        assert not session.takes(rtp_header(number, 1, 2, ssrc)[:11])
        session.close()

    asyncio.run(main())


class Stream:
    """Stands in for the receiver of a line."""

    def __init__(self):
        self.came = []

    def push(self, codec, sequence, timestamp, payload, **_):
        self.came.append(sequence)

    def flush(self):
        self.came.append("anew")

    def poll(self, now):
        pass

    def close(self):
        pass


@pytest.mark.parametrize("named", [{7, 8}, set()])
def test_a_source_that_is_named_anew_or_comes_by_itself_begins_a_stream_of_its_own(named):
    async def main():
        session, peer = sharing(), srtp("b", "a")
        session.gate = Gate.OPEN
        session.agree({"1": (terms(named), Direction.SENDRECV)})
        line, stream = session._lines["1"], Stream()
        line.receiver = stream
        for ssrc, sequence in ((7, 1), (7, 2), (9, 1)):
            if ssrc == 9 and named:
                assert not session.takes(rtp_header(96, sequence, 2, ssrc) + b"x")
                session.agree({"1": (terms({9, 10}), Direction.SENDRECV)})
                assert not session.takes(rtp_header(96, 3, 2, 7) + b"x")
            packet = rtp_header(96, sequence, 2, ssrc) + b"payload"
            assert session.takes(packet)
            session.receive(peer.protect(packet))
        assert stream.came == [1, 2, "anew", 1]
        assert line.peer_ssrc == 9
        session.close()

    asyncio.run(main())


@pytest.mark.parametrize("direction", [Direction.INACTIVE, Direction.SENDONLY])
def test_what_came_before_pictures_are_no_longer_shown_is_forgotten(direction):
    async def main():
        session, peer = sharing(), srtp("b", "a")
        session.gate = Gate.OPEN
        session.agree({"1": (terms({7}), Direction.SENDRECV)})
        line, stream = session._lines["1"], Stream()
        line.receiver = stream
        for sequence, ways in (
            (1, Direction.SENDRECV), (2, direction), (3, direction), (4, Direction.RECVONLY)
        ):  # fmt: skip
            session.agree({"1": (terms({7}), ways)})
            session.receive(peer.protect(rtp_header(96, sequence, 2, 7) + b"payload"))
        assert stream.came == [1, "anew", 4]
        session.close()

    asyncio.run(main())
