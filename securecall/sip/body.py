"""Finds the session description in a message, alone or among other parts (RFC 5621)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from securecall.media.description import Description
from securecall.sip.fragment import PACKAGE
from securecall.sip.grammar import SipError, parse_value
from securecall.sip.headers import Headers
from securecall.sip.limits import MOST_DEPTH, MOST_PARTS
from securecall.sip.message import Message, Response
from securecall.sip.multipart import Part, split_parts
from securecall.sip.sdp import parse_description

SDP: Final = "application/sdp"
_CONTAINERS: Final = ("multipart/mixed", "multipart/alternative")
ACCEPT: Final = ", ".join((SDP, *_CONTAINERS))
# all of them leave the bytes as they are; SIP has no need of others (RFC 3261 7.4.1)
_PLAIN: Final = ("7bit", "8bit", "binary", "identity")


def read_description(message: Message) -> Description | None:
    """Read the session description of a message, None if it carries none.

    Parts of a request that have to be understood and are not make it fail with 415; in a response,
    which nobody could refuse, they are passed over.

    Who takes candidates that are found later has to say so in SIP as well (RFC 8840 10): browsers
    write that into every description, whatever carries it.

    Raises:
        SipError: the body is malformed, cannot be understood, or describes two sessions.
    """
    data = find_description(message)
    if data is None:
        return None
    description = parse_description(data)
    listed = ",".join(message.headers.all("recv-info")).split(",")
    takes = PACKAGE in (name.partition(";")[0].strip().lower() for name in listed)
    return replace(description, trickle=description.trickle and takes)


def find_description(message: Message) -> bytes | None:
    """Find the session description of a message, unread; see `read_description`."""
    if not message.body:
        return None
    search = _Search(strict=not isinstance(message, Response))
    found = search.look(Part(message.headers, message.body), 0)
    if len(found) > 1:
        raise SipError("a body of two session descriptions", rule="RFC 5621 3.2")
    return found[0] if found else None


class _Search:
    """One walk over a body; counts parts at all depths."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._parts = 0

    def look(self, part: Part, depth: int, *, required: bool = True) -> list[bytes]:
        """The session descriptions in a part, at most two of which need be told apart."""
        kind, _ = parse_value(part.headers.first("content-type") or "-", "Content-Type")
        encoded = _encoded(part.headers)
        if kind == SDP and not encoded and _disposition(part.headers, "session") == "session":
            return [part.body]
        if kind in _CONTAINERS and not encoded:
            return self._inside(part, kind, depth)
        if self._strict and required and _required(part.headers):
            raise SipError(f"a body that is not understood: {kind[:40]!r}", status=415)
        return []

    def _inside(self, part: Part, kind: str, depth: int) -> list[bytes]:
        if depth == MOST_DEPTH:
            raise SipError(f"a body nested more than {MOST_DEPTH} deep", status=413)
        parts = split_parts(part.headers.first("content-type") or "", part.body)
        self._parts += len(parts)
        if self._parts > MOST_PARTS:
            raise SipError(f"a body of more than {MOST_PARTS} parts", status=413)
        choice = kind == "multipart/alternative"  # of these one has to be understood, not each
        found = [d for p in parts for d in self.look(p, depth + 1, required=not choice)]
        if choice and not found and self._strict and _required(part.headers):
            raise SipError("a body of no alternative that is understood", status=415)
        return found


def _encoded(headers: Headers) -> bool:
    encoding = (headers.first("content-encoding") or "identity").strip().lower()
    transfer = (headers.first("content-transfer-encoding") or "binary").strip().lower()
    return encoding != "identity" or transfer not in _PLAIN


def _disposition(headers: Headers, default: str) -> str:
    text = headers.first("content-disposition")
    return default if text is None else parse_value(text, "Content-Disposition")[0]


def _required(headers: Headers) -> bool:
    """Whether a part has to be understood: unless it says otherwise (RFC 3261 20.11)."""
    text = headers.first("content-disposition")
    if text is None:
        return True
    return parse_value(text, "Content-Disposition")[1].get("handling", "").lower() != "optional"
