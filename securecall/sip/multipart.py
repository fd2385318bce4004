"""Bodies of several parts, cut at their boundaries in linear time (RFC 2046 5.1, RFC 5621)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from securecall.sip.grammar import SipError, parse_value
from securecall.sip.headers import Headers, parse_fields
from securecall.sip.limits import MOST_PARTS

# one to seventy of these, the last no space (RFC 2046 5.1.1)
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_AFTER: Final = re.compile(rb"(--)?[ \t]*+(?:\r\n|\Z)")


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its own fields, and what they describe.

    Attributes:
        headers: Of the part.
        body: As it stood.
    """

    headers: Headers
    body: bytes = field(repr=False)  # a description may carry keys


def split_parts(content_type: str, body: bytes) -> tuple[Part, ...]:
    """Cut a multipart body; what stands before the first and after the last boundary is skipped.

    Raises:
        SipError: there is no usable boundary, the body does not begin and end with it, there are
            more than 16 parts, or a part's fields are malformed.
    """
    _, params = parse_value(content_type, "Content-Type")
    boundary = params.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise _malformed("its boundary is missing or unusable")
    # the first delimiter may begin the body
    return tuple(_part(text) for text in _cut(b"\r\n" + body, b"\r\n--" + boundary.encode()))


def _cut(body: bytes, line: bytes) -> list[bytes]:
    texts: list[bytes] = []
    start = -1  # of the part that is open
    at = body.find(line)
    while at >= 0:
        after = _AFTER.match(body, at + len(line))
        if after is None:
            # other text behind it makes a longer line, such as the boundary of a nested body
            at = body.find(line, at + len(line))
            continue
        if start >= 0:
            if len(texts) == MOST_PARTS:
                raise SipError(f"a body of more than {MOST_PARTS} parts", status=413)
            texts.append(body[start:at])
        if after[1]:
            if not texts:
                raise _malformed("it has no parts")
            return texts
        start = after.end()
        # two delimiters that share a line break leave no room for a part: found, then refused
        at = body.find(line, start - 2)
    raise _malformed("it does not end with its boundary")


def _part(text: bytes) -> Part:
    """Cut the fields from the body; a part may have no fields at all."""
    head, blank, body = (b"\r\n" + text).partition(b"\r\n\r\n")
    if not blank:
        raise _malformed("a part has no empty line after its fields")
    try:
        lines = head.decode()[2:].split("\r\n")
    except UnicodeDecodeError:
        raise _malformed("a part's fields are not UTF-8") from None
    if any("\r" in line or "\n" in line for line in lines):
        raise _malformed("a line of a part ends without CRLF")
    return Part(parse_fields([line for line in lines if line]), body)


def _malformed(why: str) -> SipError:
    return SipError(f"the multipart body is malformed: {why}", rule="RFC 2046 5.1")
