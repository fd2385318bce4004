"""Header fields in order, with their typed readings made on first use (RFC 3261 7.3, 20)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from securecall.sip.grammar import SipError, require_token
from securecall.sip.limits import MOST_FIELDS

_COMPACT: Final = {
    "a": "Accept-Contact", "b": "Referred-By", "c": "Content-Type", "e": "Content-Encoding",
    "f": "From", "i": "Call-ID", "k": "Supported", "l": "Content-Length", "m": "Contact",
    "o": "Event", "r": "Refer-To", "s": "Subject", "t": "To", "u": "Allow-Events", "v": "Via",
    "x": "Session-Expires", "y": "Identity",
}  # fmt: skip
_KNOWN: Final = (
    *_COMPACT.values(), "Accept", "Allow", "Authorization", "Content-Disposition", "CSeq", "Date",
    "Expires", "Info-Package", "Max-Forwards", "MIME-Version", "Min-Expires", "Min-SE",
    "P-Asserted-Identity", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Require", "RAck",
    "Reason", "Record-Route", "Recv-Info", "Replaces", "Require", "Retry-After", "Route", "RSeq",
    "Server", "Unsupported", "User-Agent", "Warning", "WWW-Authenticate",
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
_KEYS: Final = {spelling: key for spelling, (key, _) in _NAMES.items()}


class Headers:
    """An ordered list of fields; names compare without case, compact forms are spelled out.

    Attributes:
        fault: Why lines of a peer were left out, None if none was.
        repeated: Second and later values by lower-case name, of those that stand more than once.
    """

    __slots__ = ("_first", "_listed", "_received", "fault", "repeated")

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        """Take (name, value) pairs of our own making; peers' bytes go through `parse_fields`."""
        self._listed: list[tuple[str, str, str]] | None = []
        self._first: dict[str, str] = {}
        self._received: list[str] | None = None  # lines, until something changes
        self.fault: SipError | None = None
        self.repeated: dict[str, list[str]] = {}
        for name, value in fields:
            self.add(name, value)

    def add(self, name: str, value: str) -> None:
        """Append a field.

        Raises:
            SipError: the value holds a line break, which would begin a field of its own.
        """
        self._append(_field(name, value))

    def first(self, key: str) -> str | None:
        """The first value under a lower-case name, None if absent."""
        return self._first.get(key)

    def all(self, key: str) -> list[str]:
        """Every value under a lower-case name, in order."""
        value = self._first.get(key)
        if value is None:
            return []
        return [value, *self.repeated.get(key, ())]

    def remove(self, key: str) -> None:
        """Drop every field under a lower-case name."""
        self._reset([field for field in self._fields if field[0] != key])

    def replace(self, name: str, value: str) -> None:
        """Put one field in place of the first of that name, or append it."""
        fresh = _field(name, value)
        fields = self._fields
        for i, field in enumerate(fields):
            if field[0] == fresh[0]:
                self._reset([*fields[:i], fresh, *fields[i + 1 :]])
                return
        self._append(fresh)

    def insert(self, name: str, value: str) -> None:
        """Put a field before all others."""
        self._reset([_field(name, value), *self._fields])

    def items(self) -> list[tuple[str, str]]:
        """Each field as (name, value), in order."""
        return [(name, value) for _, name, value in self._fields]

    def copy(self) -> Headers:
        """An independent copy."""
        twin = Headers()
        twin._reset(self._fields)
        return twin

    def build(self) -> str:
        """The fields as lines, each ended by CRLF; untouched ones as they were received."""
        if self._received is not None:
            return "\r\n".join([*self._received, ""])
        return "".join([f"{name}: {value}\r\n" for _, name, value in self._fields])

    def read(self, lines: list[str]) -> None:
        """Fill it with lines of a peer; raises `SipError` for one that is no field."""
        keys, first = _KEYS, self._first
        for line in lines:
            name, colon, value = line.partition(":")
            key = keys.get(name)
            if key is None or not colon:
                if line[:1] in (" ", "\t"):
                    # rare, so found here, where no usual line comes by
                    self._first, self.repeated = {}, {}
                    self.read(_unfolded(lines))
                    return
                key = _unusual(line)
            if key in first:
                self.repeated.setdefault(key, []).append(value.strip(" \t"))
            else:
                first[key] = value.strip(" \t")
        self._received = lines
        self._listed = None

    @property
    def _fields(self) -> list[tuple[str, str, str]]:
        """(key, name, value) of each; lines of a peer are cut only when all are asked for."""
        if self._listed is None:
            self._listed = []
            for line in self._received or ():
                name, _, value = line.partition(":")
                key, canonical = _NAMES.get(name) or _slow_name(name.rstrip(" \t"))
                self._listed.append((key, canonical, value.strip(" \t")))
        return self._listed

    def _append(self, field: tuple[str, str, str]) -> None:
        key, _, value = field
        self._fields.append(field)
        self._received = None
        if key in self._first:
            self.repeated.setdefault(key, []).append(value)
        else:
            self._first[key] = value

    def _reset(self, fields: list[tuple[str, str, str]]) -> None:
        self._listed, self._received, self._first, self.repeated = [], None, {}, {}
        for field in fields:
            self._append(field)

    def __contains__(self, key: str) -> bool:
        return key in self._first

    def __len__(self) -> int:
        return len(self._fields if self._received is None else self._received)

    def __repr__(self) -> str:
        # values may carry addresses and credentials
        return f"Headers({', '.join(name for _, name, _ in self._fields)})"


def parse_fields(lines: list[str]) -> Headers:
    """Read header lines.

    Only the shape is looked at: what stands where a value should is for others.

    Raises:
        SipError: a line has no name, a name is no token, the first line continues nothing, or
            there are more than 256.
    """
    headers = salvage_fields(lines)
    if headers.fault is not None:
        raise headers.fault
    return headers


def salvage_fields(lines: list[str]) -> Headers:
    """As `parse_fields`, but what breaks a rule is left out, and is the `fault` of the rest."""
    headers = Headers()
    if len(lines) > MOST_FIELDS:
        headers.read([line for line in lines[:MOST_FIELDS] if _is_field(line)])
        headers.fault = SipError(f"more than {MOST_FIELDS} header fields", status=513)
        return headers
    try:
        headers.read(lines)
    except SipError as e:
        headers = Headers()
        headers.read([line for line in lines if _is_field(line)])
        headers.fault = e
    return headers


def _is_field(line: str) -> bool:
    try:
        _ = _unusual(line)
    except SipError:
        return False
    return True


def _field(name: str, value: str) -> tuple[str, str, str]:
    if "\r" in value or "\n" in value:
        raise SipError(f"{name} cannot hold a line break", rule="RFC 3261 7.3.1")
    key, canonical = _NAMES.get(name) or _slow_name(name)
    return key, canonical, value


def _unfolded(lines: list[str]) -> list[str]:
    """Join each line that begins with white space to the one before (RFC 3261 7.3.1)."""
    joined: list[list[str]] = []
    for line in lines:
        if line[:1] not in (" ", "\t"):
            joined.append([line])
        elif joined:
            joined[-1].append(line.lstrip(" \t"))
        else:
            raise SipError("the first header line continues nothing", rule="RFC 3261 7.3.1")
    return [" ".join(parts) for parts in joined]


def _unusual(line: str) -> str:
    name, colon, _ = line.partition(":")
    if not colon:
        raise SipError("a header line has no colon", rule="RFC 3261 7.3.1")  # nor a key shown
    return _slow_name(name.rstrip(" \t"))[0]


def _slow_name(name: str) -> tuple[str, str]:
    key = name.lower()
    known = _NAMES.get(key)
    if known is not None:
        return known
    require_token(name, "a header name", rule="RFC 3261 7.3.1")
    return key, name
