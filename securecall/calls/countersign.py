"""Both ends sign the same account of a call before it ends, over the outer DTLS channel.

The account (`CallRecord`) holds only what both ends know; the two times travel with the proposal. A
record is one DTLS application-data record, which the identity handshake's `bind` ties to both
identities:

    0x5D | kind u8 | body
    kind 1 PROPOSE  u64 began (Unix seconds) | u32 lasted (tenths of a second) | signature 64
    kind 2 AGREE    signature 64
    kind 3 REFUSE   empty

A signature is Ed25519 by the device key over L("report") || H(canonical record). Missing or refused
signatures end nothing: the report states them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from securecall.errors import ProtocolError
from securecall.keys.encoding import label, sha512

MARK: Final = 0x5D
_PROPOSE, _AGREE, _REFUSE = 1, 2, 3
_TIMES = struct.Struct("!QI")
RESEND_SECONDS: Final = 0.25
PATIENCE_SECONDS: Final = 1.5
CLOCK_TOLERANCE: Final = 600  # seconds; whoever signs "yesterday" lends a name to an alibi
LENGTH_TOLERANCE: Final = 50  # tenths of a second: hang-up travels, and starts are not simultaneous


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """One end, as the identity handshake proved it."""

    address: str
    root_fp: bytes
    device_id: str
    device_public: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """What both ends know alike about one call.

    Attributes:
        caller, callee: The two ends.
        bind: Hash of the outer association, 64 bytes.
        srtp_profile, group: As negotiated.
        began: Unix seconds, by the clock of whoever proposed the record.
        lasted: Tenths of a second, likewise.
    """

    caller: Party
    callee: Party
    bind: bytes
    srtp_profile: str
    group: str
    began: int = 0
    lasted: int = 0

    def canonical(self) -> bytes:
        """The bytes that are hashed and signed: sorted keys, no white space, ASCII."""
        document = {
            "v": 1,
            "type": "securecall-call",
            "caller": _party(self.caller),
            "callee": _party(self.callee),
            "bind": self.bind.hex(),
            "srtp": self.srtp_profile,
            "sframe": 5,
            "group": self.group,
            "began": self.began,
            "lasted_ds": self.lasted,
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")


def _party(party: Party) -> dict[str, str]:
    return {
        "address": party.address,
        "root": party.root_fp.hex(),
        "device": party.device_id,
        "key": party.device_public.hex(),
    }


def signed_bytes(record: CallRecord) -> bytes:
    """What a device key signs for a record."""
    return label("report") + sha512(record.canonical())


def require_signature(record: CallRecord, public: bytes, signature: bytes) -> None:
    """Verify one end's signature under a record.

    Raises:
        ProtocolError: it is not that device's signature of this record.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, signed_bytes(record))
    except (InvalidSignature, ValueError) as e:
        raise ProtocolError("the call record's signature does not fit", rule="countersign") from e


@dataclass(frozen=True, slots=True, kw_only=True)
class Countersigned:
    """The outcome: the record and whose signatures it bears.

    Attributes:
        record: With the times it was signed over.
        ours: Our signature, 64 bytes.
        theirs: The peer's, None where it gave none.
        why: Why the peer's is missing, "" if it is there.
    """

    record: CallRecord
    ours: bytes
    theirs: bytes | None
    why: str = ""


class Countersigner:
    """Proposes at our hang-up, or agrees at theirs.

    Attributes:
        deadline: When `expire` wants to be called; None while nothing is pending.
        outcome: Set when it is settled.
    """

    def __init__(
        self, record: CallRecord, *, we_call: bool, sign: Callable[[bytes], bytes]
    ) -> None:
        """Prepare with the record as far as both know it (its times are filled later)."""
        self.deadline: float | None = None
        self.outcome: Countersigned | None = None
        self._record = record
        self._peer = record.callee if we_call else record.caller
        self._sign = sign
        self._proposal: tuple[CallRecord, bytes, bytes] | None = None
        self._agreed: tuple[bytes, bytes] | None = None
        self._give_up = 0.0

    def propose(self, *, began: int, lasted: int, now: float) -> tuple[bytes, ...]:
        """Sign the record with these times; returns the records to send."""
        record = _timed(self._record, began, lasted)
        signature = self._sign(signed_bytes(record))
        wire = bytes((MARK, _PROPOSE)) + _TIMES.pack(began, lasted) + signature
        self._proposal = (record, signature, wire)
        self._give_up = now + PATIENCE_SECONDS
        self.deadline = now + RESEND_SECONDS
        return (wire,)

    def expire(self, *, now: float) -> tuple[bytes, ...]:
        """Send again, or stop waiting and state that the peer did not sign."""
        if self._proposal is None or self.deadline is None or now < self.deadline:
            return ()
        record, signature, wire = self._proposal
        if now >= self._give_up:
            self._settle(record, signature, None, "the other end did not answer in time")
            return ()
        self.deadline = now + RESEND_SECONDS
        return (wire,)

    def receive(self, data: bytes, *, began: int, lasted: int) -> tuple[bytes, ...]:
        """Take one record beginning with 0x5D; returns the records to send.

        Args:
            data: The whole record.
            began: When the call began by our clock, to judge a proposal by.
            lasted: Tenths of a second it lasted by our clock, likewise.

        Raises:
            ProtocolError: the record is malformed or its signature is wrong.
        """
        if len(data) < 2 or data[0] != MARK:
            raise ProtocolError("not a countersigning record", rule="countersign")
        kind, body = data[1], data[2:]
        if kind == _PROPOSE and len(body) == _TIMES.size + 64:
            return self._proposed(body, began=began, lasted=lasted)
        if kind == _AGREE and len(body) == 64:
            if self._proposal is not None and self.outcome is None:
                record, signature, _ = self._proposal
                require_signature(record, self._peer.device_public, body)
                self._settle(record, signature, body, "")
            return ()
        if kind == _REFUSE and not body:
            if self._proposal is not None and self.outcome is None:
                record, signature, _ = self._proposal
                self._settle(record, signature, None, "the other end disagreed about the call")
            return ()
        raise ProtocolError("a countersigning record of unknown form", rule="countersign")

    def _proposed(self, body: bytes, *, began: int, lasted: int) -> tuple[bytes, ...]:
        if self._agreed is not None:  # a repeat of what was agreed to: the answer got lost
            asked, answer = self._agreed
            return (answer,) if asked == body else ()
        their_began, their_lasted = _TIMES.unpack_from(body)
        record = _timed(self._record, their_began, their_lasted)
        require_signature(record, self._peer.device_public, body[_TIMES.size :])
        if (
            abs(their_began - began) > CLOCK_TOLERANCE
            or abs(their_lasted - lasted) > LENGTH_TOLERANCE
        ):
            answer = bytes((MARK, _REFUSE))
            self._agreed = (body, answer)
            return (answer,)
        signature = self._sign(signed_bytes(record))
        answer = bytes((MARK, _AGREE)) + signature
        self._agreed = (body, answer)
        if self.outcome is None or self.outcome.theirs is None:
            self._settle(record, signature, body[_TIMES.size :], "")
        return (answer,)

    def _settle(self, record: CallRecord, ours: bytes, theirs: bytes | None, why: str) -> None:
        self.outcome = Countersigned(record=record, ours=ours, theirs=theirs, why=why)
        self.deadline = None


def _timed(record: CallRecord, began: int, lasted: int) -> CallRecord:
    return CallRecord(
        caller=record.caller,
        callee=record.callee,
        bind=record.bind,
        srtp_profile=record.srtp_profile,
        group=record.group,
        began=began,
        lasted=lasted,
    )
