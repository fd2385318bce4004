"""Byte helpers every key format is made of: labels, length prefixes, base64url, strict JSON.

All integers are big-endian. JSON here is the subset that has one reading only: no duplicate
member, no float, no negative or huge number, no lone surrogate, bounded size and depth.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
from typing import Final, NoReturn

from securecall.errors import ProtocolError

MAX_INTEGER: Final = 2**53 - 1  # what every JSON reader agrees on
_LABEL_PREFIX: Final = "securecall-id/1 "
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*")
_RULE: Final = "strict JSON"
# A whole string, or what is left of the text if it never ends; a bracket. Possessive: nothing is
# read twice.
_NESTING: Final = re.compile(r"""\"[^"\\]*+(?:\\.?[^"\\]*+)*+"?|[][{}]""", re.DOTALL)


def length_prefixed(data: bytes) -> bytes:
    """Return u32 length || data, written `lp(x)` in the specification."""
    return struct.pack(">I", len(data)) + data


def label(text: str) -> bytes:
    """Return the domain separation label `L(text)`: lp("securecall-id/1 " || text)."""
    return length_prefixed((_LABEL_PREFIX + text).encode())


def sha512(data: bytes) -> bytes:
    """Return SHA-512 of the data, 64 bytes, written `H(x)` in the specification."""
    return hashlib.sha512(data).digest()


def build_base64url(data: bytes) -> str:
    """Encode without padding (RFC 7515 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def parse_base64url(text: str) -> bytes:
    """Decode the one canonical spelling: own alphabet, no padding, no stray low bits.

    Raises:
        ProtocolError: any other spelling.
    """
    if not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        raise ProtocolError("not base64url without padding", rule="RFC 7515 2")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if build_base64url(data) != text:
        raise ProtocolError("not the canonical base64url of these bytes", rule="RFC 4648 3.5")
    return data


def parse_json(data: bytes, *, max_size: int, max_depth: int) -> dict[str, object]:
    """Read one JSON object under the strict rules of this module.

    Raises:
        ProtocolError: the bytes are anything else.
    """
    if len(data) > max_size:
        raise ProtocolError(f"more than {max_size} bytes", rule=_RULE)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise ProtocolError("not UTF-8", rule=_RULE) from e
    _require_depth(text, max_depth)
    try:
        value: object = json.loads(
            text,
            object_pairs_hook=_unique_members,
            parse_int=_parse_integer,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except (ValueError, RecursionError) as e:
        raise ProtocolError("not JSON", rule="RFC 8259") from e
    if not isinstance(value, dict):
        raise ProtocolError("not a JSON object", rule=_RULE)
    return value


def build_json(value: dict[str, object]) -> bytes:
    """Write an object without white space, members in their order."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def _require_depth(text: str, max_depth: int) -> None:
    # Before the parser recurses; brackets inside strings do not count.
    depth = 0
    for token in _NESTING.findall(text):
        if token in ("[", "{"):
            depth += 1
            if depth > max_depth:
                raise ProtocolError(f"nested deeper than {max_depth}", rule=_RULE)
        elif token in ("]", "}"):
            depth -= 1


def _unique_members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members: dict[str, object] = {}
    for name, value in pairs:
        if name in members:
            raise ProtocolError("a member stands twice", rule=_RULE)
        _require_unicode(name)
        _require_unicode(value)
        members[name] = value
    return members


def _require_unicode(value: object) -> None:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, str) and not item.isascii():
            try:
                item.encode("utf-8")
            except UnicodeEncodeError as e:
                raise ProtocolError("a lone surrogate", rule=_RULE) from e


def _parse_integer(digits: str) -> int:
    if len(digits) > 16 or digits.startswith("-") or int(digits) > MAX_INTEGER:
        raise ProtocolError("an integer outside 0..2^53-1", rule=_RULE)
    return int(digits)


def _refuse_number(_: str) -> NoReturn:
    raise ProtocolError("a number that is no integer", rule=_RULE)
