"""A stream of bytes cut into messages by Content-Length (RFC 3261 18.3)."""

from __future__ import annotations

from securecall.sip.grammar import SipError
from securecall.sip.limits import MOST_BODY_BYTES, MOST_HEADER_BYTES
from securecall.sip.message import Request, Response, content_length, parse_head


class MessageStream:
    """Cuts a byte stream into messages by Content-Length (RFC 3261 18.3).

    What it returns has the shape of a message; whoever acts on one calls `require_valid` first.
    One whose end cannot be known is returned with a `fault`, to be answered, and is the last.

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
                if self.failure is not None:
                    break
        except SipError as e:
            self.failure = self.failure or e
        if self.failure is not None:
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
            if len(buffer) >= MOST_HEADER_BYTES + 4:
                return self._too_long()
            self._searched = max(0, len(buffer) - 3)
            return None
        message = parse_head(bytes(buffer[:end]))
        self._searched = 0
        del buffer[: end + 4]
        try:
            self._length = _framed_length(message)
        except SipError as e:
            self._length = 0
            self.failure = e
            message.fault = message.fault or e
        return message

    def _too_long(self) -> Request | Response:
        """What stands within the limit, so that a request can be answered."""
        self.failure = SipError(f"a header above {MOST_HEADER_BYTES} bytes", status=513)
        head, _, _ = bytes(self._buffer[:MOST_HEADER_BYTES]).rpartition(b"\r\n")
        message = parse_head(head)
        message.fault = self.failure
        self._length = 0
        return message


def _framed_length(message: Request | Response) -> int:
    if message.headers.fault is not None:
        # what was left out may have been a length to somebody else
        raise message.headers.fault
    length = content_length(message)
    if length is None:
        raise SipError("Content-Length is missing on a stream", rule="RFC 3261 18.3")
    if length > MOST_BODY_BYTES:
        raise SipError(f"a body above {MOST_BODY_BYTES} bytes", status=513)
    return length
