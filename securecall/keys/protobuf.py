"""The little of Protocol Buffers that OMEMO's keys are made of: strict both ways, bounded.

Fields are unsigned 32-bit integers and byte strings. Unknown fields are skipped, as the format
asks; a field of ours that stands twice, has another type or too many bytes is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from securecall.errors import ProtocolError

MAX_SIZE: Final = 4096  # of one message; the largest honest one is below 400
_MAX_FIELDS: Final = 32
_RULE: Final = "Protocol Buffers encoding"

Fields = Mapping[int, int | bytes]


def parse_protobuf(data: bytes, kinds: Mapping[int, type[int | bytes]]) -> dict[int, int | bytes]:
    """Read one message.

    Args:
        data: The message.
        kinds: Field number -> `int` for uint32, `bytes` for bytes and embedded messages.

    Raises:
        ProtocolError: the bytes are anything else.
    """
    if len(data) > MAX_SIZE:
        raise ProtocolError(f"more than {MAX_SIZE} bytes", rule=_RULE)
    found: dict[int, int | bytes] = {}
    position = count = 0
    while position < len(data):
        count += 1
        if count > _MAX_FIELDS:
            raise ProtocolError(f"more than {_MAX_FIELDS} fields", rule=_RULE)
        tag, position = _varint(data, position)
        value, position = _value(data, position, tag & 7)
        number = tag >> 3
        kind = kinds.get(number)
        if kind is None:
            if number == 0:
                raise ProtocolError("field number 0", rule=_RULE)
            continue
        if number in found or not isinstance(value, kind):
            raise ProtocolError(f"field {number} stands twice or is of another type", rule=_RULE)
        if isinstance(value, int) and value >= 2**32:
            raise ProtocolError(f"field {number} is no uint32", rule=_RULE)
        found[number] = value
    return found


def integer(fields: Fields, number: int) -> int:
    """Return an integer that has to be there.

    Raises:
        ProtocolError: it is not.
    """
    value = fields.get(number)
    if not isinstance(value, int):
        raise ProtocolError(f"field {number} is missing", rule=_RULE)
    return value


def octets(fields: Fields, number: int, size: int | None = None) -> bytes:
    """Return bytes that have to be there, `size` of them.

    Raises:
        ProtocolError: they are not, or there are more or less.
    """
    value = fields.get(number)
    if not isinstance(value, bytes):
        raise ProtocolError(f"field {number} is missing", rule=_RULE)
    if size is not None and len(value) != size:
        raise ProtocolError(f"field {number} has not {size} bytes", rule=_RULE)
    return value


def build_protobuf(fields: Fields) -> bytes:
    """Write one message, fields in their order."""
    written = bytearray()
    for number, value in fields.items():
        if isinstance(value, int):
            written += _build_varint(number << 3) + _build_varint(value)
        else:
            written += _build_varint(number << 3 | 2) + _build_varint(len(value)) + value
    return bytes(written)


def _value(data: bytes, position: int, wire: int) -> tuple[int | bytes | None, int]:
    if wire == 0:
        return _varint(data, position)
    if wire == 2:
        size, position = _varint(data, position)
    elif wire in (1, 5):
        size = 8 if wire == 1 else 4
    else:
        raise ProtocolError(f"wire type {wire}", rule=_RULE)
    end = position + size
    if end > len(data):
        raise ProtocolError("cut off", rule=_RULE)
    # Fixed-width numbers occur in unknown fields only; None fits no kind.
    return (data[position:end] if wire == 2 else None), end


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data):
            raise ProtocolError("cut off", rule=_RULE)
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ProtocolError("a number of more than ten bytes", rule=_RULE)


def _build_varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
