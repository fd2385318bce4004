"""Header fields in order, with their typed readings made on first use (RFC 3261 7.3, 20)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from securecall.sip.grammar import SipError, require_token

_COMPACT: Final = {
    "a": "Accept-Contact", "b": "Referred-By", "c": "Content-Type", "e": "Content-Encoding",
    "f": "From", "i": "Call-ID", "k": "Supported", "l": "Content-Length", "m": "Contact",
    "o": "Event", "r": "Refer-To", "s": "Subject", "t": "To", "u": "Allow-Events", "v": "Via",
    "x": "Session-Expires",
}  # fmt: skip
_KNOWN: Final = (
    *_COMPACT.values(), "Accept", "Allow", "Authorization", "Content-Disposition", "CSeq", "Date",
    "Expires", "Max-Forwards", "MIME-Version", "Min-Expires", "P-Asserted-Identity",
    "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Require", "RAck", "Reason", "Record-Route",
    "Replaces", "Require", "Retry-After", "Route", "RSeq", "Server", "Unsupported", "User-Agent",
    "Warning", "WWW-Authenticate",
)  # fmt: skip
# every usual spelling -> (key, name); anything else goes the slow way
_NAMES: Final = {
    spelling: (name.lower(), name)
    for name in _KNOWN
    for spelling in (name, name.lower(), name.upper(), name.title())
} | {
    spelling: (name.lower(), name)
    for letter, name in _COMPACT.items()
    for spelling in (letter, letter.upper())
}
MOST_FIELDS: Final = 256


class Headers:
    """An ordered list of fields; names compare without case, compact forms are spelled out."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        """Take (name, value) pairs of our own making; peers' bytes go through `parse_fields`."""
        self._fields: list[tuple[str, str, str]] = []
        for name, value in fields:
            self.add(name, value)

    def add(self, name: str, value: str) -> None:
        """Append a field.

        Raises:
            SipError: the value holds a line break, which would begin a field of its own.
        """
        if "\r" in value or "\n" in value:
            raise SipError(f"{name} cannot hold a line break", rule="RFC 3261 7.3.1")
        key, canonical = _NAMES.get(name) or _slow_name(name)
        self._fields.append((key, canonical, value))

    def first(self, key: str) -> str | None:
        """The first value under a lower-case name, None if absent."""
        for found, _, value in self._fields:
            if found == key:
                return value
        return None

    def all(self, key: str) -> list[str]:
        """Every value under a lower-case name, in order."""
        return [value for found, _, value in self._fields if found == key]

    def remove(self, key: str) -> None:
        """Drop every field under a lower-case name."""
        self._fields = [field for field in self._fields if field[0] != key]

    def replace(self, name: str, value: str) -> None:
        """Put one field in place of the first of that name, or append it."""
        key = name.lower()
        for i, field in enumerate(self._fields):
            if field[0] == key:
                fresh = Headers(((name, value),))
                self._fields[i] = fresh._fields[0]
                return
        self.add(name, value)

    def insert(self, name: str, value: str) -> None:
        """Put a field before all others."""
        self._fields[:0] = Headers(((name, value),))._fields

    def keys(self) -> list[str]:
        """The lower-case name of each field, in order, with repetitions."""
        return [field[0] for field in self._fields]

    def items(self) -> list[tuple[str, str]]:
        """Each field as (name, value), in order."""
        return [(name, value) for _, name, value in self._fields]

    def copy(self) -> Headers:
        """An independent copy."""
        twin = Headers()
        twin._fields = self._fields.copy()
        return twin

    def build(self) -> str:
        """The fields as lines, each ended by CRLF."""
        return "".join([f"{name}: {value}\r\n" for _, name, value in self._fields])

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        # values may carry addresses and credentials
        return f"Headers({', '.join(name for _, name, _ in self._fields)})"


def parse_fields(lines: list[str]) -> Headers:
    """Read unfolded header lines.

    Raises:
        SipError: a line has no name, a name is no token, or there are more than 256.
    """
    if len(lines) > MOST_FIELDS:
        raise SipError(f"more than {MOST_FIELDS} header fields", status=513)
    headers = Headers()
    fields = headers._fields
    names = _NAMES
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise SipError(f"a header line has no colon: {line[:40]!r}", rule="RFC 3261 7.3.1")
        key, canonical = names.get(name) or _slow_name(name.rstrip(" \t"))
        fields.append((key, canonical, value.strip(" \t")))
    return headers


def _slow_name(name: str) -> tuple[str, str]:
    key = name.lower()
    known = _NAMES.get(key)
    if known is not None:
        return known
    require_token(name, "a header name", rule="RFC 3261 7.3.1")
    return key, name
