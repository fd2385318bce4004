"""SIP messages in frames of their own: no Content-Length is needed, and no misfit accepted."""

from __future__ import annotations

import pytest

from securecall.errors import ProtocolError
from securecall.sip.frames import MessageFrames
from securecall.sip.limits import MOST_BODY_BYTES, MOST_HEADER_BYTES
from securecall.sip.message import Request, build_message

HEAD = (
    b"MESSAGE sip:bob@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/WSS df7jal23ls0d.invalid;branch=z9hG4bK1\r\n"
    b"From: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\n"
    b"Call-ID: 1\r\nCSeq: 1 MESSAGE\r\n"
)


def with_length(body: bytes, length: int) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % length + body


@pytest.mark.parametrize("body", [b"", b"abcd", b"\r\n\r\n", bytes(MOST_BODY_BYTES)])
@pytest.mark.parametrize("before", [b"", b"\r\n\r\n"])
def test_a_frame_is_one_message_with_or_without_content_length(body, before):
    frames = MessageFrames()
    for wire in (HEAD + b"\r\n" + body, with_length(body, len(body))):
        (message,) = frames.feed(before + wire)
        assert isinstance(message, Request)
        message.require_valid()
        assert message.body == body
        assert message.via.transport == "WSS"
        assert build_message(message) == with_length(body, len(body))
    assert frames.failure is None
    assert frames.idle


@pytest.mark.parametrize("keep_alive", [b"", b"\r\n", b"\r\n\r\n"])
def test_a_keep_alive_is_no_message(keep_alive):
    frames = MessageFrames()
    assert frames.feed(keep_alive) == []
    assert len(frames.feed(HEAD + b"\r\n")) == 1


BAD = {
    "a second message behind": with_length(b"", 0) + with_length(b"", 0),
    "a byte too many": with_length(b"x", 0),
    "a byte too few": with_length(b"x", 2),
    "two lengths": with_length(b"x", 1).replace(b"\r\n\r\n", b"\r\nl: 0\r\n\r\n"),
    "a length that is none": HEAD + b"Content-Length: x\r\n\r\n",
    "half a header": HEAD,
    "half a line end before it": b"\n" + HEAD + b"\r\n",
    "a header above the limit": HEAD + b"X: " + b"a" * MOST_HEADER_BYTES + b"\r\n\r\n",
    "a body above the limit": HEAD + b"\r\n" + bytes(MOST_BODY_BYTES + 1),
    "no SIP": b"hello\r\n\r\n",
}


def test_a_header_that_is_no_text_can_still_be_answered():
    (message,) = MessageFrames().feed(HEAD + b"Subject: \xff\r\n\r\n")
    assert message.fault is not None


@pytest.mark.parametrize("case", BAD)
def test_a_frame_that_is_not_one_message_is_a_failure_for_good(case):
    frames = MessageFrames()
    assert frames.feed(BAD[case]) == []
    assert frames.failure is not None
    with pytest.raises(ProtocolError):
        frames.feed(HEAD + b"\r\n")
