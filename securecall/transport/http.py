"""One HTTP/1.1 exchange as bytes, without I/O (RFC 9112): our request, and the answer to it."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from securecall.errors import ProtocolError, UsageError
from securecall.transport.web_address import WebAddress

MOST_HEAD: Final = 32 * 1024
"""Bytes of an answer's status line and fields."""

_MOST_FIELDS: Final = 100
_MOST_INFORMED: Final = 8
_MOST_CHUNK_LINE: Final = 256
_MOST_TRAILER: Final = 8 * 1024
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n\x00]*)?")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\x00]*?)[ \t]*")
_VALUE: Final = re.compile(r"[\t -~]*")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[^\r\n\x00]*)?")


def build_request(
    method: str, where: WebAddress, fields: Mapping[str, str], *, length: int | None = None
) -> bytes:
    """Return a request's head. It names no program, and asks for the connection to be closed.

    Args:
        method: "GET" or "PUT".
        where: What of.
        fields: More fields.
        length: Bytes of the content that follows.

    Raises:
        UsageError: a field that would be two.
    """
    all_fields = {"Host": where.authority, "Connection": "close", "Accept-Encoding": "identity"}
    all_fields.update(fields)
    if length is not None:
        all_fields["Content-Length"] = str(length)
    if not all(_VALUE.fullmatch(name + value) for name, value in all_fields.items()):
        raise UsageError("a field of a request is one line of ASCII")
    lines = [f"{method} {where.target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in all_fields.items()]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of an answer.

    Attributes:
        status: E.g. 200.
        length: Bytes of content, None where only the end will tell.
        chunked: The content comes in chunks.
        location: Where else to look, "" if not said.
    """

    status: int
    length: int | None = None
    chunked: bool = False
    location: str = field(default="", repr=False)


def parse_head(data: bytes) -> Head:
    """Read status line and fields, without the empty line after them.

    Raises:
        ProtocolError: they break a rule that proxies and servers read differently.
    """
    line, *rest = data.split(b"\r\n")
    status = _STATUS.fullmatch(line)
    if status is None:
        raise ProtocolError("not the answer of a web server", rule="RFC 9112 4")
    if len(rest) > _MOST_FIELDS:
        raise ProtocolError("an answer of more than 100 fields", rule="RFC 9110 5.4")
    fields: dict[bytes, list[bytes]] = {}
    for entry in rest:
        found = _FIELD.fullmatch(entry)
        if found is None:
            raise ProtocolError("a field that is none", rule="RFC 9112 5")
        fields.setdefault(found[1].lower(), []).append(found[2])
    return _framed(int(status[1]), fields)


def _framed(status: int, fields: Mapping[bytes, list[bytes]]) -> Head:
    location = b"".join(fields.get(b"location", ())[:1]).decode("latin-1")
    coding = [value.lower() for value in fields.get(b"transfer-encoding", ())]
    lengths = set(fields.get(b"content-length", ()))
    if coding and (lengths or coding != [b"chunked"]):
        raise ProtocolError("an answer whose end is ambiguous", rule="RFC 9112 6.3")
    if coding:
        return Head(status, chunked=True, location=location)
    if not lengths:
        return Head(status, location=location)
    value = min(lengths)
    if len(lengths) > 1 or not _LENGTH.fullmatch(value):
        raise ProtocolError("an answer without a length one could trust", rule="RFC 9112 6.3")
    return Head(status, length=int(value), location=location)


class _At(enum.Enum):
    """Where in an answer we are."""

    HEAD = "head"
    CONTENT = "content"
    CHUNK_LINE = "chunk line"
    CHUNK = "chunk"
    CHUNK_END = "chunk end"
    TRAILER = "trailer"
    DONE = "done"


class Answer:
    """Reads an answer from the pieces it comes in.

    Attributes:
        head: Once it is there; answers of 1xx are passed over.
        done: The whole content was read.
    """

    def __init__(self) -> None:
        """Wait for the first byte."""
        self.head: Head | None = None
        self._at = _At.HEAD
        self._buffer = bytearray()
        self._left = 0
        self._counted = False
        self._informed = 0
        self._trailer = 0

    @property
    def done(self) -> bool:
        """The whole content was read."""
        return self._at is _At.DONE

    def receive(self, data: bytes) -> bytes:
        """Take what came and return the content in it.

        Raises:
            ProtocolError: the answer breaks a rule.
        """
        if self._at is _At.CONTENT:
            return self._content(data)
        self._buffer += data
        out = bytearray()
        while self._step(out):
            pass
        return bytes(out)

    def end(self) -> None:
        """The connection was closed, which ends a content of unsaid length (RFC 9112 6.3 8)."""
        if self._at is _At.CONTENT and not self._counted:
            self._at = _At.DONE

    def _step(self, out: bytearray) -> bool:
        """Read one thing; False where more has to come first."""
        match self._at:
            case _At.HEAD:
                return self._read_head()
            case _At.CONTENT:
                data = bytes(self._buffer)
                self._buffer.clear()
                out += self._content(data)
                return False
            case _At.CHUNK:
                return self._read_chunk(out)
            case _At.DONE:
                self._buffer.clear()  # what follows is no answer to anything
                return False
            case _At.CHUNK_LINE | _At.CHUNK_END | _At.TRAILER:
                line = self._line(
                    _MOST_CHUNK_LINE if self._at is not _At.TRAILER else _MOST_TRAILER
                )
                if line is None:
                    return False
                self._read_line(line)
                return True

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or end > MOST_HEAD:
            if len(self._buffer) > MOST_HEAD:
                raise ProtocolError("an answer whose head does not end", rule="RFC 9110 5.4")
            return False
        head = parse_head(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        if head.status < 200:
            self._informed += 1
            if self._informed > _MOST_INFORMED or head.status == 101:
                raise ProtocolError("an answer that does not come", rule="RFC 9110 15.2")
            return True
        self.head = head
        self._left, self._counted = head.length or 0, head.length is not None
        self._at = _At.CHUNK_LINE if head.chunked else _At.CONTENT
        if head.status in {204, 304} or head.length == 0:
            self._at = _At.DONE
        return True

    def _content(self, data: bytes) -> bytes:
        if not self._counted:
            return data
        part = data[: self._left]
        self._left -= len(part)
        if not self._left:
            self._at = _At.DONE
        return part

    def _read_chunk(self, out: bytearray) -> bool:
        part = self._buffer[: self._left]
        del self._buffer[: len(part)]
        out += part
        self._left -= len(part)
        if self._left:
            return False
        self._at = _At.CHUNK_END
        return True

    def _line(self, most: int) -> bytes | None:
        end = self._buffer.find(b"\r\n", 0, most)
        if end < 0:
            if len(self._buffer) >= most:
                raise ProtocolError("a chunk whose head does not end", rule="RFC 9112 7.1")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _read_line(self, line: bytes) -> None:
        if self._at is _At.CHUNK_LINE:
            found = _CHUNK.fullmatch(line)
            if found is None:
                raise ProtocolError("a chunk without a size", rule="RFC 9112 7.1")
            self._left = int(found[1], 16)
            self._at = _At.CHUNK if self._left else _At.TRAILER
        elif self._at is _At.CHUNK_END:
            if line:
                raise ProtocolError("a chunk longer than it says", rule="RFC 9112 7.1")
            self._at = _At.CHUNK_LINE
        else:
            self._trailer += len(line) + 2
            if self._trailer > _MOST_TRAILER:
                raise ProtocolError("a trailer that does not end", rule="RFC 9112 7.1.2")
            if not line:
                self._at = _At.DONE
