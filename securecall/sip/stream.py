"""A stream of bytes cut into messages by Content-Length (RFC 3261 18.3)."""

from __future__ import annotations

from securecall.sip.grammar import SipError
from securecall.sip.message import (
    MOST_BODY_BYTES,
    MOST_HEADER_BYTES,
    Request,
    Response,
    content_length,
    parse_head,
)


class MessageStream:
    """Cuts a byte stream into messages by Content-Length (RFC 3261 18.3).

    What it returns has the shape of a message; whoever acts on one calls `require_valid` first.

    Attributes:
        failure: Why the stream cannot be read further, None while it can.
        line_ends: How many stood between messages so far: keep-alives (RFC 5626 4.4.1).
    """

    def __init__(self) -> None:
        """Begin with an empty buffer."""
        self.failure: SipError | None = None
        self.line_ends = 0
        self._buffer = bytearray()
        self._searched = 0
        self._waiting: Request | Response | None = None
        self._length = 0

    def feed(self, data: bytes) -> list[Request | Response]:
        """Take the next bytes; return the messages they complete.

        After a failure the messages before it are returned once, with `failure` set; the next
        call raises it.

        Raises:
            SipError: the stream broke before.
        """
        if self.failure is not None:
            raise self.failure
        self._buffer += data
        messages: list[Request | Response] = []
        try:
            while (message := self._cut()) is not None:
                messages.append(message)
        except SipError as e:
            self.failure = e
            self._buffer.clear()
        return messages

    @property
    def idle(self) -> bool:
        """No part of a message is held."""
        return self._waiting is None and not self._buffer

    def _cut(self) -> Request | Response | None:
        if self._waiting is None:
            self._waiting = self._head()
        if self._waiting is None or len(self._buffer) < self._length:
            return None
        message, self._waiting = self._waiting, None
        message.body = bytes(self._buffer[: self._length])
        del self._buffer[: self._length]
        return message

    def _head(self) -> Request | Response | None:
        buffer = self._buffer
        # keep-alive line ends between messages (RFC 5626 4.4.1)
        while buffer.startswith(b"\r\n"):
            del buffer[:2]
            self.line_ends += 1
        end = buffer.find(b"\r\n\r\n", self._searched, MOST_HEADER_BYTES + 4)
        if end < 0:
            if len(buffer) > MOST_HEADER_BYTES:
                raise SipError(f"a header above {MOST_HEADER_BYTES} bytes", status=513)
            self._searched = max(0, len(buffer) - 3)
            return None
        message = parse_head(bytes(buffer[:end]))
        length = content_length(message)
        if length is None:
            raise SipError("Content-Length is missing on a stream", rule="RFC 3261 18.3")
        if length > MOST_BODY_BYTES:
            raise SipError(f"a body above {MOST_BODY_BYTES} bytes", status=513)
        self._length = length
        self._searched = 0
        del buffer[: end + 4]
        return message
