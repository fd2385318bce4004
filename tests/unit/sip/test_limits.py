"""Each limit: what is just within it is taken, and what is beyond it gets the named answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from securecall.calls.signaling import Ended
from securecall.errors import EndReason
from securecall.sip.grammar import SipError
from securecall.sip.limits import (
    MOST_BODY_BYTES,
    MOST_CANDIDATES,
    MOST_FORKS,
    MOST_FORMATS,
    MOST_HOPS,
    MOST_LINES,
    MOST_MEDIA,
)
from securecall.sip.message import Response, build_message
from securecall.sip.sdp import parse_description
from securecall.sip.stream import MessageStream
from tests.unit.sip.test_agent import (
    BODY,
    agent,
    answer,
    calling,
    give,
    incoming,
    methods,
    sent,
    statuses,
)

# Those of bytes and fields of a message are in test_stream.py, those of what is open in
# tests/attacks/sip/test_floods.py.
HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n"
AUDIO = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"
DESCRIPTIONS: dict[str, tuple[int, Callable[[int], str]]] = {
    "lines": (MOST_LINES, lambda n: "a=x\r\n" * (n - 4)),
    "media": (MOST_MEDIA, lambda n: AUDIO * n),
    "formats": (MOST_FORMATS, lambda n: "m=audio 9 RTP/AVP" + " 0" * n + "\r\n"),
    "candidates": (
        MOST_CANDIDATES,
        lambda n: AUDIO + "a=candidate:1 1 udp 7 192.0.2.9 9 typ host\r\n" * n,
    ),
    "bytes": (MOST_BODY_BYTES, lambda n: "a=" + "x" * (n - len(HEAD) - 4) + "\r\n"),
}


@pytest.mark.parametrize("what", DESCRIPTIONS)
def test_a_description_beyond_a_limit_is_refused_with_513(what):
    most, write = DESCRIPTIONS[what]
    _ = parse_description((HEAD + write(most)).encode())
    with pytest.raises(SipError) as caught:
        parse_description((HEAD + write(most + 1)).encode())
    assert caught.value.status == 513


@pytest.mark.parametrize("one_line", [True, False])
@pytest.mark.parametrize(
    ("name", "value", "already"),
    [("Via", "SIP/2.0/TLS x;branch=z9hG4bK1", 1), ("Record-Route", "<sip:x;lr>", 0)],
)
def test_a_request_that_took_too_many_hops_is_refused_with_483(name, value, already, one_line):
    def status(count: int) -> list[int]:
        values = [", ".join([value] * count)] if one_line else [value] * count
        more = "".join(f"{name}: {v}\r\n" for v in values)
        data = build_message(incoming()).replace(b"Contact:", more.encode() + b"Contact:", 1)
        (message,) = MessageStream().feed(data)
        return statuses(give(agent(), message))

    assert status(MOST_HOPS - already) == [100]
    assert status(MOST_HOPS - already + 1) == [483]


def test_answers_of_more_forks_than_the_limit_are_dropped():
    a = agent()
    session, invite = calling(a)
    for n in range(MOST_FORKS):
        assert "ACK" in methods(give(a, answer(invite, 200, tag=f"t{n}", body=BODY)))
    assert give(a, answer(invite, 200, tag="more", body=BODY)) == ()
    (bye,) = sent(a.perform(session, Ended(EndReason.HUNG_UP), now=3.0))
    assert bye.to.tag == "t0"
    assert not isinstance(bye, Response)
