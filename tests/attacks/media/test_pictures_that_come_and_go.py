"""Whoever holds the signalling turns pictures off and on, so that they cannot be sent any more.

They go under the same source and key as before: a number that lies behind is refused by SRTP, and
one that comes twice would be a nonce that does.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

pytest.importorskip("av", reason="the extra video")

from securecall.errors import UsageError
from securecall.media.description import Direction, Gate
from securecall.media.video import line as lines
from securecall.media.video.sending import CutFrame
from securecall.media.video.session import VideoSession
from securecall.rtp.feedback import GenericNack
from tests.pairs.media.test_video_session import terms
from tests.pairs.media.two_sessions import StepClock, srtp

TIMES = 4


def shown_off_and_on(*, forgets=False):
    """Pictures come and go; returns how many packets the other end could open."""

    async def main():
        sent, peer, clock = [], srtp("b", "a"), StepClock()
        session = VideoSession(
            clock, sent.append, srtp("a", "b"), cname="x", seal=lambda _: None, opener=None,
            failed=[].append,
        )  # fmt: skip
        session.gate = Gate.OPEN
        for time in range(TIMES):
            session.agree({str(time): (replace(terms(()), mid=str(time)), Direction.SENDRECV)})
            shown = session._lines[str(time)]
            shown._cut(CutFrame(payloads=(b"picture",), timestamp=0, captured=0.0, keyframe=True))
            clock.step(5)
            number = shown.numbers[0] - 1 & 0xFFFF
            session.hear((GenericNack(sender_ssrc=9, media_ssrc=1, sequences=(number,)),))
            clock.step(5)
            session.agree({})
            if forgets:
                session._after.clear()
        session.close()
        media = [datagram for datagram in sent if not 192 <= datagram[1] <= 223]
        return len([peer.unprotect(datagram) for datagram in media])

    return asyncio.run(main())


@pytest.fixture
def descending(monkeypatch):
    """Numbers that begin lower each time, as half of all do by chance."""
    starts = iter(range(30_000, 0, -2_000))
    monkeypatch.setattr(lines.secrets, "randbelow", lambda _: next(starts))


@pytest.mark.usefixtures("descending")
def test_pictures_that_come_again_are_sent_and_sent_again():
    assert shown_off_and_on() == 2 * TIMES


@pytest.mark.usefixtures("descending")
def test_control_where_numbers_begin_anew_nothing_is_sent():
    with pytest.raises(UsageError, match="too old"):
        shown_off_and_on(forgets=True)
