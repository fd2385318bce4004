"""Both ends sign the same account of a call before it ends, over the outer DTLS channel.

The account (`CallRecord`) holds what both ends know, and what each says of itself (`Said`). A
message is one DTLS application-data record, which the identity handshake's `bind` ties to both
identities:

    0x5D | kind u8 | body
    kind 1 PROPOSE  u64 began (Unix seconds) | u32 lasted (tenths of a second)
                    | said 4 (proposer) | said 4 (the other, as the proposer heard) | signature 64
    kind 2 AGREE    signature 64
    kind 3 REFUSE   empty
    kind 4 SAID     said 4

    said            u8 level | u8 flags (1 compared the words, 2 recorded) | u16 changes refused

SAID goes out whenever something in it changes, and may get lost: whoever is proposed an account
that quotes it wrongly answers SAID, and the proposal comes again with that. A signature is Ed25519
by the device key over L("report") || H(canonical record). Missing or refused signatures end
nothing: the report states them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from securecall.errors import ProtocolError
from securecall.keys.encoding import label, sha512
from securecall.policy import SecurityLevel

MARK: Final = 0x5D
_PROPOSE, _AGREE, _REFUSE, _SAID = 1, 2, 3, 4
_TIMES = struct.Struct("!QI")
_CLAIMS = struct.Struct("!BBH")
_PROPOSAL_SIZE: Final = _TIMES.size + 2 * _CLAIMS.size + 64
_COMPARED, _RECORDED = 1, 2
MOST_REFUSED: Final = 0xFFFF
MOST_CORRECTIONS: Final = 8  # how often a proposal follows what the other end says of itself
RESEND_SECONDS: Final = 0.25
PATIENCE_SECONDS: Final = 1.5
CLOCK_TOLERANCE: Final = 600  # seconds; whoever signs "yesterday" lends a name to an alibi
LENGTH_TOLERANCE: Final = 50  # tenths of a second: hang-up travels, and starts are not simultaneous


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one end says of itself; the other end cannot check it, and signs that it was said.

    Attributes:
        level: What the call is worth by that end's own evidence.
        compared: Its user confirmed the words of this call.
        recorded: It recorded the other end, at least in part.
        refused: Changes of the call it refused, at most 65535.
    """

    level: SecurityLevel = SecurityLevel.NONE
    compared: bool = False
    recorded: bool = False
    refused: int = 0

    def packed(self) -> bytes:
        """The four bytes on the wire."""
        flags = _COMPARED * self.compared | _RECORDED * self.recorded
        return _CLAIMS.pack(self.level, flags, min(self.refused, MOST_REFUSED))


def parse_said(data: bytes) -> Said:
    """Read the four bytes of `Said.packed`.

    Raises:
        ProtocolError: a level or a flag that is not known.
    """
    level, flags, refused = _CLAIMS.unpack(data)
    if level > max(SecurityLevel) or flags > _COMPARED | _RECORDED:
        raise ProtocolError("an unknown level or flag", rule="countersign")
    return Said(
        level=SecurityLevel(level),
        compared=bool(flags & _COMPARED),
        recorded=bool(flags & _RECORDED),
        refused=refused,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """One end, as the identity handshake proved it.

    Attributes:
        address: Its address in this call.
        root_fp, device_id, device_public: Its root, and the device that took part.
        statement: H of the identity statement it showed.
        fingerprints: H of the fingerprint lines of its SDP (`fp_sent` of the handshake).
        said: What it says of itself.
    """

    address: str
    root_fp: bytes
    device_id: str
    device_public: bytes
    statement: bytes = b""
    fingerprints: bytes = b""
    said: Said = Said()


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """What both ends know alike about one call.

    Attributes:
        caller, callee: The two ends.
        bind: Hash of the outer association, 64 bytes.
        srtp_profile, group: As negotiated.
        media: What was talked in.
        began: Unix seconds, by the clock of whoever proposed the record.
        lasted: Tenths of a second, likewise.
    """

    caller: Party
    callee: Party
    bind: bytes
    srtp_profile: str
    group: str
    media: tuple[str, ...] = ("audio",)
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
            "media": list(self.media),
            "keying": "dtls-srtp",
            "srtp": self.srtp_profile,
            "sframe": 5,
            "group": self.group,
            "began": self.began,
            "lasted_ds": self.lasted,
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")


def _party(party: Party) -> dict[str, object]:
    return {
        "address": party.address,
        "root": party.root_fp.hex(),
        "device": party.device_id,
        "key": party.device_public.hex(),
        "statement": party.statement.hex(),
        "fingerprints": party.fingerprints.hex(),
        "said": {
            "level": party.said.level.name,
            "compared": party.said.compared,
            "recorded": party.said.recorded,
            "refused": min(party.said.refused, MOST_REFUSED),
        },
    }


def record_bytes(canonical: bytes) -> bytes:
    """What a device key signs for a record in canonical form."""
    return label("report") + sha512(canonical)


def signed_bytes(record: CallRecord) -> bytes:
    """What a device key signs for a record."""
    return record_bytes(record.canonical())


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
        said: What we say of ourselves.
        heard: What the peer says of itself.
    """

    def __init__(
        self, record: CallRecord, *, we_call: bool, sign: Callable[[bytes], bytes]
    ) -> None:
        """Prepare with the record as far as both know it (its times are filled later)."""
        self.deadline: float | None = None
        self.outcome: Countersigned | None = None
        self.said = Said()
        self.heard = Said()
        self._record = record
        self._we_call = we_call
        self._peer = record.callee if we_call else record.caller
        self._sign = sign
        self._proposal: tuple[CallRecord, bytes, bytes] | None = None
        self._agreed: tuple[bytes, bytes] | None = None
        self._give_up = 0.0
        self._corrections = 0

    def say(self, said: Said) -> tuple[bytes, ...]:
        """Note what we say of ourselves from now on; returns the records to send."""
        if said == self.said:
            return ()
        self.said = said
        return (self._our_word(),)

    def _our_word(self) -> bytes:
        return bytes((MARK, _SAID)) + self.said.packed()

    def propose(self, *, began: int, lasted: int, now: float) -> tuple[bytes, ...]:
        """Sign the record with these times; returns the records to send."""
        self._give_up = now + PATIENCE_SECONDS
        self.deadline = now + RESEND_SECONDS
        return (self._propose(began, lasted),)

    def _propose(self, began: int, lasted: int) -> bytes:
        record = self._completed(began, lasted)
        signature = self._sign(signed_bytes(record))
        body = _TIMES.pack(began, lasted) + self.said.packed() + self.heard.packed() + signature
        wire = bytes((MARK, _PROPOSE)) + body
        self._proposal = (record, signature, wire)
        return wire

    def _completed(self, began: int, lasted: int) -> CallRecord:
        ours, theirs = self.said, self.heard
        if not self._we_call:
            ours, theirs = theirs, ours
        return replace(
            self._record,
            caller=replace(self._record.caller, said=ours),
            callee=replace(self._record.callee, said=theirs),
            began=began,
            lasted=lasted,
        )

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
        if kind == _PROPOSE and len(body) == _PROPOSAL_SIZE:
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
        if kind == _SAID and len(body) == _CLAIMS.size:
            return self._told(parse_said(body))
        raise ProtocolError("a countersigning record of unknown form", rule="countersign")

    def _told(self, said: Said) -> tuple[bytes, ...]:
        """The peer says something of itself; a proposal under way has to quote it."""
        changed, self.heard = said != self.heard, said
        waiting = self._proposal is not None and self.outcome is None
        if not changed or not waiting or self._proposal is None:
            return ()
        if self._corrections >= MOST_CORRECTIONS:
            return ()
        self._corrections += 1
        record = self._proposal[0]
        return (self._propose(record.began, record.lasted),)

    def _proposed(self, body: bytes, *, began: int, lasted: int) -> tuple[bytes, ...]:
        if self._agreed is not None:  # a repeat of what was agreed to: the answer got lost
            asked, answer = self._agreed
            return (answer,) if asked == body else ()
        their_began, their_lasted = _TIMES.unpack_from(body)
        theirs, ours = body[_TIMES.size :][: _CLAIMS.size], body[_TIMES.size + _CLAIMS.size : -64]
        heard = parse_said(theirs)
        if ours != self.said.packed():
            return (self._our_word(),)
        self.heard = heard
        record = self._completed(their_began, their_lasted)
        require_signature(record, self._peer.device_public, body[-64:])
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
            self._settle(record, signature, body[-64:], "")
        return (answer,)

    def _settle(self, record: CallRecord, ours: bytes, theirs: bytes | None, why: str) -> None:
        self.outcome = Countersigned(record=record, ours=ours, theirs=theirs, why=why)
        self.deadline = None
