"""The messages of the identity handshake: their bytes, both ways (no state, no keys).

A frame is `type u8 | length u24 big-endian | body`, the body at most 32 KiB; frames follow each
other without anything between in the inner TLS stream. `lp(x)` is a u32 length and x.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

from securecall.errors import ProtocolError

LARGEST_BODY: Final = 32768
DIGEST: Final = 64  # SHA-512
NONCE: Final = 32
_RULE: Final = "securecall-id/1 messages"
_DEVICE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LARGEST_ADDRESS: Final = 2048
_PROOF: Final = 64  # HMAC-SHA-512


class MessageType(enum.IntEnum):
    """The five messages."""

    COMMIT = 1
    IDENTITY = 2
    NONCE = 3
    REVEAL = 4
    DONE = 5


_TYPES: Final = {int(kind): kind for kind in MessageType}
_FIXED: Final = {
    MessageType.COMMIT: DIGEST,
    MessageType.NONCE: NONCE,
    MessageType.REVEAL: NONCE,
    MessageType.DONE: 0,
}


class CallRole(enum.IntEnum):
    """Who placed the call, fixed by the initial invitation; independent of the TLS roles."""

    CALLER = 1
    CALLEE = 2

    @property
    def other(self) -> CallRole:
        """The peer's role."""
        return CallRole.CALLEE if self is CallRole.CALLER else CallRole.CALLER


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityMessage:
    """What one side says of itself and of this call.

    Attributes:
        statement: The identity statement's bytes.
        device_id: Which of its devices speaks.
        call_role: The sender's.
        own_address: The address the sender claims in this call.
        expected_address: Whom the sender believes to be talking to; empty towards an anonymous
            caller.
        fp_sent, fp_received: `fingerprint_hash` of the descriptions it sent and received.
        bind: Names the DTLS association it speaks over.
        countersignature: The organisation's, or empty.
        ticket_proof: The caller's proof of holding a ticket, or empty.
    """

    statement: bytes
    device_id: str
    call_role: CallRole
    own_address: str
    expected_address: str
    fp_sent: bytes
    fp_received: bytes
    bind: bytes
    countersignature: bytes = b""
    ticket_proof: bytes = b""


def build_identity(message: IdentityMessage) -> bytes:
    """Write the body of an IDENTITY."""
    return b"".join(
        (
            _prefixed(message.statement),
            _prefixed(message.device_id.encode()),
            bytes((message.call_role,)),
            _prefixed(message.own_address.encode()),
            _prefixed(message.expected_address.encode()),
            message.fp_sent,
            message.fp_received,
            message.bind,
            _prefixed(message.countersignature),
            _prefixed(message.ticket_proof),
        )
    )


def parse_identity(body: bytes) -> IdentityMessage:
    """Read the body of an IDENTITY.

    Raises:
        ProtocolError: it is not one.
    """
    reader = _Reader(body)
    statement = reader.prefixed(LARGEST_BODY)
    device_id = reader.text(64)
    role = reader.take(1)[0]
    own_address = reader.text(_LARGEST_ADDRESS)
    expected_address = reader.text(_LARGEST_ADDRESS)
    fp_sent, fp_received, bind = reader.take(DIGEST), reader.take(DIGEST), reader.take(DIGEST)
    countersignature = reader.prefixed(LARGEST_BODY)
    ticket_proof = reader.prefixed(_PROOF)
    if not reader.at_end:
        raise ProtocolError("bytes after the end of IDENTITY", rule=_RULE)
    if not _DEVICE_ID.fullmatch(device_id):
        raise ProtocolError("a device id is 1 to 64 of A-Z a-z 0-9 _ -", rule=_RULE)
    if role not in (CallRole.CALLER, CallRole.CALLEE):
        raise ProtocolError(f"call role {role}", rule=_RULE)
    if not statement or not own_address:
        raise ProtocolError("IDENTITY without a statement or an own address", rule=_RULE)
    if len(ticket_proof) not in (0, _PROOF):
        raise ProtocolError("a ticket proof has 64 bytes", rule=_RULE)
    return IdentityMessage(
        statement=statement,
        device_id=device_id,
        call_role=CallRole(role),
        own_address=own_address,
        expected_address=expected_address,
        fp_sent=fp_sent,
        fp_received=fp_received,
        bind=bind,
        countersignature=countersignature,
        ticket_proof=ticket_proof,
    )


def build_frame(kind: MessageType, body: bytes) -> bytes:
    """Write one frame.

    Raises:
        ProtocolError: the body is longer than 32 KiB.
    """
    if len(body) > LARGEST_BODY:
        raise ProtocolError("a message body over 32 KiB", rule=_RULE)
    return bytes((kind,)) + len(body).to_bytes(3, "big") + body


class FrameReader:
    """Cuts the inner stream into messages; holds at most one frame that is not yet whole."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def empty(self) -> bool:
        """No byte of a further message has arrived."""
        return not self._buffer

    def feed(self, data: bytes) -> None:
        """Append bytes of the stream."""
        self._buffer += data

    def next(self) -> tuple[MessageType, bytes] | None:
        """Return the next whole message, None while there is none.

        Raises:
            ProtocolError: its type is unknown or its length impossible, which is said as soon as
                the four header bytes are there.
        """
        if len(self._buffer) < 4:
            return None
        number, length = self._buffer[0], int.from_bytes(self._buffer[1:4], "big")
        kind = _TYPES.get(number)
        if kind is None:
            raise ProtocolError(f"a message of unknown type {number}", rule=_RULE)
        if length > LARGEST_BODY or length != _FIXED.get(kind, length):
            raise ProtocolError(f"a message of type {number} with {length} bytes", rule=_RULE)
        if len(self._buffer) < 4 + length:
            return None
        body = bytes(self._buffer[4 : 4 + length])
        del self._buffer[: 4 + length]
        return kind, body


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def at_end(self) -> bool:
        return self._position == len(self._data)

    def take(self, length: int) -> bytes:
        end = self._position + length
        if end > len(self._data):
            raise ProtocolError("IDENTITY ends in the middle of a field", rule=_RULE)
        piece = self._data[self._position : end]
        self._position = end
        return piece

    def prefixed(self, limit: int) -> bytes:
        length = int.from_bytes(self.take(4), "big")
        if length > limit:
            raise ProtocolError(f"a field of {length} bytes", rule=_RULE)
        return self.take(length)

    def text(self, limit: int) -> str:
        try:
            return self.prefixed(limit).decode("utf-8")
        except UnicodeDecodeError:
            raise ProtocolError("a field that is not UTF-8", rule=_RULE) from None


def _prefixed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
