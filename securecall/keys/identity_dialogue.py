"""Who says what when inside the inner TLS, and every check on it (no TLS, no time, no I/O).

The callee identifies itself first, whichever TLS role a=setup gave it. The TLS client commits
to its nonce before it sees the server's, so neither side can steer the short authentication
string, whose only other input is an exporter fixed before the first nonce is shown.

`DIALOGUE` is the whole order: for each pair of roles, what is awaited and what answers it.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from securecall.errors import IdentityMismatch, ProtocolError, Reason, SecurityError
from securecall.keys import ticket
from securecall.keys.encoding import label, sha512
from securecall.keys.identity_messages import (
    CallRole,
    IdentityMessage,
    MessageType,
    build_frame,
    build_identity,
    parse_identity,
)
from securecall.keys.statement import DeviceEntry, Statement, parse_statement
from securecall.secret import Secret

_C, _I, _N, _R, _D = MessageType
_CALLER, _CALLEE = CallRole
_Step = tuple[MessageType | None, tuple[MessageType, ...]]
DIALOGUE: Final[dict[tuple[bool, CallRole], tuple[_Step, ...]]] = {
    # (TLS client, call role): (awaited, then sent)..; None is the beginning
    (True, _CALLEE): ((None, (_C, _I)), (_I, ()), (_N, (_R, _D)), (_D, ())),
    (False, _CALLER): ((None, ()), (_C, ()), (_I, (_I, _N)), (_R, ()), (_D, (_D,))),
    (True, _CALLER): ((None, (_C,)), (_I, ()), (_N, (_I, _R, _D)), (_D, ())),
    (False, _CALLEE): ((None, ()), (_C, (_I, _N)), (_I, ()), (_R, ()), (_D, (_D,))),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerClaim:
    """What the peer says of itself, structurally sound, its key proven; not yet trusted.

    Attributes:
        statement: Parsed and verified under its own root.
        root_fp: That root's fingerprint, 64 bytes.
        device: The entry of the device whose key the peer proved to hold.
        call_role: The peer's.
        own_address: What the peer claims in this call; equal to the address dialled or
            signalled. Whether the root may speak for it is for the judge.
        expected_address: Whom the peer believes to be talking to: our address, or "" where we
            call anonymously.
        countersignature: The organisation's JWS, unread, or empty.
        ticket_proof: The caller's, unchecked, or empty.
        bind: Names the DTLS association; part of the ticket proof.
    """

    statement: Statement
    root_fp: bytes
    device: DeviceEntry
    call_role: CallRole
    own_address: str
    expected_address: str
    countersignature: bytes = field(default=b"", repr=False)
    ticket_proof: bytes = field(default=b"", repr=False)
    bind: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """What we know of this call before the peer says anything.

    Attributes:
        tls_client: We are the DTLS client, hence the inner TLS client.
        call_role: Ours.
        statement: Our identity statement.
        own_root_fp: Its root's fingerprint.
        device_id, device_key: Our device and its Ed25519 public key.
        own_address: What we claim.
        expected_peer: The address dialled or signalled; "" towards an anonymous caller.
        fp_sent, fp_received: `fingerprint_hash` of the descriptions sent and received.
        bind: `binding` of the outer exporter.
        countersignature: The organisation's, or empty.
        ticket_secret: What a caller with a ticket proves to hold.
    """

    tls_client: bool
    call_role: CallRole
    statement: bytes
    own_root_fp: bytes
    device_id: str
    device_key: bytes
    own_address: str
    expected_peer: str
    fp_sent: bytes
    fp_received: bytes
    bind: bytes
    countersignature: bytes = b""
    ticket_secret: Secret | None = None


class Dialogue:
    """One side of the message exchange; feed it whole messages, send what it returns.

    Attributes:
        complete: Both DONEs are exchanged; only now is anything of it to be believed.
        guess_burned: The nonces are out: a failure from here on may have been a guess at the SAS.
        peer: The peer's claim, once it passed every check and the judge.
    """

    def __init__(
        self,
        facts: CallFacts,
        *,
        peer_key: bytes,
        nonce: bytes,
        unix: int,
        judge: Callable[[PeerClaim], None],
    ) -> None:
        """Prepare one side.

        Args:
            facts: Our side of the call.
            peer_key: The Ed25519 key the peer proved in the inner TLS.
            nonce: Our 32 random bytes.
            unix: Wall time, seconds, by which statements are judged.
            judge: Raises to refuse the peer's claim: trust, bindings, tickets.
        """
        self._facts = facts
        self._peer_key = peer_key
        self._unix = unix
        self._judge = judge
        self._steps = list(DIALOGUE[facts.tls_client, facts.call_role])
        self._own_nonce = nonce
        self._peer_nonce = b""
        self._commitment = b""
        self._own_identity = build_identity(self._identity())
        self._peer_identity = b""
        self._peer: PeerClaim | None = None
        self.complete = False
        self.guess_burned = False

    @property
    def peer(self) -> PeerClaim:
        """The peer's claim.

        Raises:
            IdentityMismatch: it has not passed yet.
        """
        if self._peer is None:
            raise IdentityMismatch("the peer has not identified itself")
        return self._peer

    @property
    def nonces(self) -> bytes:
        """The client's nonce || the server's."""
        if self._facts.tls_client:
            return self._own_nonce + self._peer_nonce
        return self._peer_nonce + self._own_nonce

    @property
    def identity_hashes(self) -> tuple[bytes, bytes]:
        """H of the bodies of the caller's and of the callee's IDENTITY."""
        own, peer = sha512(self._own_identity), sha512(self._peer_identity)
        return (own, peer) if self._facts.call_role is CallRole.CALLER else (peer, own)

    def begin(self) -> bytes:
        """Return the frames that open our side, possibly none."""
        return self._write(self._steps.pop(0)[1])

    def receive(self, kind: MessageType, body: bytes) -> bytes:
        """Take one message; return the frames that answer it, possibly none.

        Raises:
            ProtocolError: it is out of order or malformed.
            SecurityError: a check failed.
        """
        if not self._steps or self._steps[0][0] is not kind:
            raise ProtocolError(f"{kind.name} out of order", rule="securecall-id/1 dialogue")
        answers = self._steps.pop(0)[1]
        if kind is MessageType.COMMIT:
            self._commitment = body
        elif kind is MessageType.IDENTITY:
            self._peer = self._require_claim(body)
            self._judge(self._peer)
        elif kind is MessageType.NONCE:
            self._peer_nonce = body
            self.guess_burned = True
        elif kind is MessageType.REVEAL:
            self._require_reveal(body)
            self._peer_nonce = body
        frames = self._write(answers)
        self.complete = not self._steps
        return frames

    def _write(self, kinds: Iterable[MessageType]) -> bytes:
        return b"".join(build_frame(kind, self._body(kind)) for kind in kinds)

    def _body(self, kind: MessageType) -> bytes:
        if kind is MessageType.COMMIT:
            return commitment(self._own_nonce)
        if kind is MessageType.IDENTITY:
            return self._own_identity
        if kind is MessageType.NONCE:
            self.guess_burned = True
        return b"" if kind is MessageType.DONE else self._own_nonce

    def _identity(self) -> IdentityMessage:
        facts = self._facts
        proof = b""
        if facts.ticket_secret is not None:
            proof = ticket.proof(facts.ticket_secret, facts.bind, facts.call_role)
        return IdentityMessage(
            statement=facts.statement,
            device_id=facts.device_id,
            call_role=facts.call_role,
            own_address=facts.own_address,
            expected_address=facts.expected_peer,
            fp_sent=facts.fp_sent,
            fp_received=facts.fp_received,
            bind=facts.bind,
            countersignature=facts.countersignature,
            ticket_proof=proof,
        )

    def _require_reveal(self, nonce: bytes) -> None:
        if not hmac.compare_digest(commitment(nonce), self._commitment):
            raise SecurityError(
                "the peer revealed another nonce than it had committed to",
                reason=Reason.COMMIT_MISMATCH,
            )

    def _require_claim(self, body: bytes) -> PeerClaim:
        message = parse_identity(body)
        facts = self._facts
        # The association first: an attacker between two associations learns nothing finer.
        if not hmac.compare_digest(message.bind, facts.bind):
            raise SecurityError(
                "the peer sits at another DTLS association: someone is in between",
                reason=Reason.BINDING_MISMATCH,
            )
        if message.call_role is not facts.call_role.other:
            raise IdentityMismatch("both ends claim the same role in the call")
        crossed = (message.fp_received, message.fp_sent)
        if crossed != (facts.fp_sent, facts.fp_received):
            raise SecurityError(
                "the fingerprints in signalling were changed on the way",
                reason=Reason.FINGERPRINT_MISMATCH,
            )
        statement = parse_statement(message.statement, unix=self._unix)
        device = statement.device(message.device_id)
        if not hmac.compare_digest(device.public, self._peer_key):
            raise IdentityMismatch("the peer does not hold the key of the device it names")
        self._require_another(statement)
        self._require_addresses(message, statement)
        if message.ticket_proof and message.call_role is CallRole.CALLEE:
            raise IdentityMismatch("a callee proves no ticket")
        self._peer_identity = body
        return PeerClaim(
            statement=statement,
            root_fp=statement.root_fp,
            device=device,
            call_role=message.call_role,
            own_address=message.own_address,
            expected_address=message.expected_address,
            countersignature=message.countersignature,
            ticket_proof=message.ticket_proof,
            bind=message.bind,
        )

    def _require_another(self, statement: Statement) -> None:
        """Refuse ourselves: what we say led back to us, and also other devices of our own.

        Between those nobody would have compared anything, and a stolen one is one of them.
        """
        facts = self._facts
        if self._peer_key == facts.device_key:
            raise IdentityMismatch(
                "your own call came back to this device: a server led it here, or you called "
                "yourself",
                reason=Reason.SELF_IDENTITY,
            )
        if statement.root_fp == facts.own_root_fp:
            raise IdentityMismatch(
                "the other end is another device of yours, or says it is: calls between the "
                "devices of one person are not made",
                reason=Reason.SELF_IDENTITY,
            )

    def _require_addresses(self, message: IdentityMessage, statement: Statement) -> None:
        facts = self._facts
        keyed = f"key:{statement.root_fp.hex()}"
        if message.own_address.startswith("key:") and message.own_address != keyed:
            raise _not_owned("the peer claims a key address that is not its own root's")
        # Towards an anonymous caller nothing was signalled, so only its own key can be claimed.
        if message.own_address != (facts.expected_peer or keyed):
            raise _not_owned("the peer claims another address than the one called or signalled")
        anonymous = facts.call_role is CallRole.CALLER and facts.own_address.startswith("key:")
        if message.expected_address == facts.own_address:
            return
        if message.expected_address or not anonymous:
            raise _not_owned("the peer believes to be talking to someone else")


def commitment(nonce: bytes) -> bytes:
    """What COMMIT carries for a nonce."""
    return sha512(label("commit") + nonce)


def binding(outer_exporter: bytes) -> bytes:
    """Name a DTLS association by its exporter value; equal at both ends and nowhere else."""
    return sha512(label("bind") + outer_exporter)


def fingerprint_hash(lines: Iterable[str]) -> bytes:
    """Hash all certificate fingerprints of a description, in one canonical form.

    Args:
        lines: "algorithm AA:BB:..", of the whole description, any order, repeats allowed.
    """
    canonical = set()
    for line in lines:
        algorithm, _, value = line.strip().partition(" ")
        canonical.add(f"{algorithm.lower()} {value.strip().upper()}")
    return sha512("\n".join(sorted(canonical)).encode())


def _not_owned(message: str) -> IdentityMismatch:
    return IdentityMismatch(message, reason=Reason.ADDRESS_NOT_OWNED)
