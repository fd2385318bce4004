"""Byte helpers every key format is made of: labels, length prefixes, base64url, strict JSON.

All integers are big-endian. JSON here is the subset that has one reading only: no duplicate
member, no float, no negative or huge number, no lone surrogate, bounded size and depth.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import struct
from collections.abc import Callable
from typing import Final, NoReturn

from securecall.errors import ProtocolError

MAX_INTEGER: Final = 2**53 - 1  # what every JSON reader agrees on
_LABEL_PREFIX: Final = "securecall-id/1 "
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*")
_DIGITS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
# By the length modulo 4: the last digits that leave no bit beyond the last byte.
_LAST: Final = (_DIGITS, "", _DIGITS[::16], _DIGITS[::4])
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
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
    over = len(text) % 4
    if not _BASE64URL.fullmatch(text) or over == 1:
        raise ProtocolError("not base64url without padding", rule="RFC 7515 2")
    if text[-1:] not in _LAST[over]:
        raise ProtocolError("not the canonical base64url of these bytes", rule="RFC 4648 3.5")
    return binascii.a2b_base64(text.encode("ascii").translate(_STANDARD) + b"=" * (-over % 4))


def parse_pasted(text: str, *, size: int = 0, rule: str) -> bytes:
    """Decode what a person copied, scanned or typed; what is wrong with it is for them to mend.

    Args:
        text: base64url.
        size: Its bytes, 0 for any number.
        rule: Names what it should be.

    Raises:
        ProtocolError: a part of it is missing or altered.
    """
    try:
        data = parse_base64url(text)
    except ProtocolError:  # which character, says nothing to them
        data = None
    if data is None or size not in (0, len(data)):
        raise ProtocolError("it was cut off or altered on its way", rule=rule)
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
        # the bytes were UTF-8: a surrogate can only have been escaped
        value: object = (_ESCAPED if "\\u" in text else _PLAIN).decode(text)
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
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ProtocolError("a member stands twice", rule=_RULE)
    return members


def _unicode_members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    for name, value in pairs:
        _require_unicode(name)
        _require_unicode(value)
    return _unique_members(pairs)


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


def _decoder(members: Callable[[list[tuple[str, object]]], object]) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=members,
        parse_int=_parse_integer,
        parse_float=_refuse_number,
        parse_constant=_refuse_number,
    )


_PLAIN: Final = _decoder(_unique_members)
_ESCAPED: Final = _decoder(_unicode_members)
