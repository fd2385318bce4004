"""SIP messages that fill one WebSocket message each, so that nothing has to be cut (RFC 7118 5)."""

from __future__ import annotations

import re
from typing import Final

from securecall.sip.grammar import SipError
from securecall.sip.limits import MOST_BODY_BYTES
from securecall.sip.message import Request, Response, content_length, split_message

_LINE_ENDS: Final = re.compile(rb"(?:\r\n)*+")


class MessageFrames:
    """Reads messages out of frames; the same face as `MessageStream`.

    What it returns has the shape of a message; whoever acts on one calls `require_valid` first.

    Attributes:
        failure: Why nothing is read further, None while it is.
    """

    def __init__(self) -> None:
        """Begin."""
        self.failure: SipError | None = None

    def feed(self, data: bytes) -> list[Request | Response]:
        """Take one frame; return its message, or nothing for a keep-alive and at a failure.

        Raises:
            SipError: a frame before this one failed.
        """
        if self.failure is not None:
            raise self.failure
        # keep-alive line ends in a frame of their own, or before a message (RFC 3261 7.5)
        begin = _LINE_ENDS.match(data)
        rest = data[begin.end() :] if begin else data
        if not rest:
            return []
        try:
            return [_parse(rest)]
        except SipError as e:
            self.failure = e
            return []

    @property
    def idle(self) -> bool:
        """No part of a message is held: never is one."""
        return True


def _parse(data: bytes) -> Request | Response:
    message, body = split_message(data)
    length = content_length(message)
    # what a server on the way could take for a second message is not passed over
    if length is not None and length != len(body):
        raise SipError("the frame and Content-Length differ", rule="RFC 7118 5.1")
    if len(body) > MOST_BODY_BYTES:
        raise SipError(f"a body above {MOST_BODY_BYTES} bytes", status=513)
    message.body = body
    return message
