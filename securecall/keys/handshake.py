"""The identity handshake securecall-id/1: TLS 1.3 inside DTLS, then who is who (no I/O).

Composition only: the carriage makes a stream of DTLS records, the inner TLS proves device keys
and agrees post-quantum, the dialogue says who says what and checks it. One deadline covers all,
15 seconds from the first DTLS datagram to the peer's DONE. Exporters of the inner TLS are used
only after both DONEs; then it is dropped, and acks and resends go on for 5 seconds, or while
the peer has not acknowledged our DONE.

Other protocols may share the outer association's application data under a first byte of their
own, after completion; the handshake looks away from the first bytes named in `foreign`, and any
other byte than its own 0x5C is fatal.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Final

from securecall.errors import ProtocolError, Reason, SecurityError, UsageError
from securecall.keys.carriage import Carriage
from securecall.keys.device import DeviceKey
from securecall.keys.encoding import label, parse_base64url, sha512
from securecall.keys.identity import root_fingerprint
from securecall.keys.identity_dialogue import (
    CallFacts,
    Dialogue,
    PeerClaim,
    binding,
    fingerprint_hash,
)
from securecall.keys.identity_messages import NONCE, CallRole, FrameReader
from securecall.keys.inner_tls import InnerTls
from securecall.secret import Secret
from securecall.transport.suite import ORDINARY, Suite

__all__ = [
    "CallRole",
    "Complete",
    "HandshakeFailed",
    "HandshakeResult",
    "IdentityHandshake",
    "Output",
    "PeerClaim",
    "SendRecord",
    "fingerprint_hash",
]

LIMIT: Final = 15.0  # seconds, from the first DTLS datagram on
LINGER: Final = 5.0
STREAMS: Final = 8  # SFrame KIDs t = 0..7 per direction
_SAS_EXPORTER: Final = "EXPORTER-securecall-sas-1"
_SFRAME_EXPORTER: Final = "EXPORTER-securecall-sframe-1"
_KEY_NAMES: Final = {
    bytes((role, stream)): (role, stream) for role in CallRole for stream in range(STREAMS)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeResult:
    """What both ends now share, and who the peer is; never created before both DONEs.

    Attributes:
        peer: The peer's claim, checked and judged.
        sas_secret: 8 bytes, from which the words and digits to compare are made.
        group: The inner key exchange.
        identity_hashes: H(IDENTITY) of the caller and of the callee.
        device_id, peer_device_id: The two devices.
        bind: Names the DTLS association all of this is tied to.
    """

    peer: PeerClaim
    sas_secret: Secret = field(repr=False)
    group: str
    identity_hashes: tuple[bytes, bytes]
    device_id: str
    peer_device_id: str
    bind: bytes
    _sframe_keys: dict[tuple[CallRole, int], Secret] = field(repr=False)

    def sframe_key(self, sender: CallRole, stream: int) -> Secret:
        """Return the SFrame base key, 32 bytes, of one sender's encoder instance.

        Args:
            sender: Who sends with it.
            stream: The KID, 0..7, one per encoder instance, never used twice in a call.

        Raises:
            UsageError: the stream is not 0..7.
        """
        key = self._sframe_keys.get((sender, stream))
        if key is None:
            raise UsageError(f"an SFrame stream is 0 to {STREAMS - 1}, not {stream}")
        return key

    def wipe(self) -> None:
        """Overwrite every secret, once it was put to use; who the peer is stays known."""
        self.sas_secret.wipe()
        for key in self._sframe_keys.values():
            key.wipe()


@dataclass(frozen=True, slots=True)
class SendRecord:
    """Send this as one record of DTLS application data."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Complete:
    """Both DONEs are exchanged; the level can be computed."""

    result: HandshakeResult


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeFailed:
    """The call has to end: DTLS close_notify and the signalling end.

    Attributes:
        error: Why; a `SecurityError` always.
        guess_burned: It failed after the nonces were out: to be shown and counted, since it may
            have been a guess at the words.
    """

    error: SecurityError
    guess_burned: bool


Output = SendRecord | Complete | HandshakeFailed


class IdentityHandshake:
    """One end of the identity handshake over one DTLS association.

    Feed it with `start`, `receive`, `timeout` and `peer_closed`; perform what they return, in
    order; call `timeout` when `deadline` passes. After `HandshakeFailed`, and once it has lingered
    for 5 seconds behind `Complete`, it ignores everything.
    """

    def __init__(
        self,
        *,
        tls_client: bool,
        call_role: CallRole,
        statement: bytes,
        device: DeviceKey,
        own_address: str,
        expected_peer: str,
        fp_sent: bytes,
        fp_received: bytes,
        outer_exporter: Secret,
        judge: Callable[[PeerClaim], None],
        nonce: bytes,
        unix: int,
        ticket_secret: Secret | None = None,
        countersignature: bytes = b"",
        begun: float | None = None,
        foreign: Collection[int] = (),
        suite: Suite = ORDINARY,
    ) -> None:
        """Prepare one end.

        Args:
            tls_client: We are the DTLS client.
            call_role: Fixed by the initial invitation.
            statement: Our identity statement.
            device: Our device key, which the statement lists.
            own_address: The address we claim: as dialled by the caller, or our own; a caller
                without an account claims `key:` and its root fingerprint.
            expected_peer: The address dialled (caller) or signalled (callee); "" only towards an
                anonymous caller.
            fp_sent: `fingerprint_hash` of the description we sent.
            fp_received: The same of the one we received.
            outer_exporter: As `transport.dtls.Established` gave it; wiped at completion.
            judge: Raises a `SecurityError` to refuse the peer: trust, bindings, tickets. Called
                once, before anything of ours that depends on it is sent.
            nonce: 32 random bytes, used for nothing else.
            unix: Wall time, seconds.
            ticket_secret: What a caller with a ticket proves to hold.
            countersignature: The organisation's over our identity, if any.
            begun: When the first DTLS datagram went; by default when `start` is called.
            foreign: First bytes of records that belong to someone else.
            suite: The one DTLS agreed on.

        Raises:
            UsageError: the arguments contradict each other, or `statement` is no statement.
        """
        if len(nonce) != NONCE:
            raise UsageError(f"the nonce has {NONCE} bytes")
        if call_role is CallRole.CALLER and not expected_peer:
            raise UsageError("a caller knows whom it calls")
        if call_role is CallRole.CALLEE and ticket_secret is not None:
            raise UsageError("only a caller proves a ticket")
        self._outer = outer_exporter
        self._facts = CallFacts(
            tls_client=tls_client,
            call_role=call_role,
            statement=statement,
            own_root_fp=_own_root(statement),
            device_id=device.id,
            device_key=device.public,
            own_address=own_address,
            expected_peer=expected_peer,
            fp_sent=fp_sent,
            fp_received=fp_received,
            bind=binding(outer_exporter.reveal()),
            countersignature=countersignature,
            ticket_secret=ticket_secret,
        )
        self._judge = judge
        self._nonce = nonce
        self._unix = unix
        self._foreign = frozenset(foreign)
        self._carriage = Carriage()
        self._frames = FrameReader()
        self._suite = suite
        self._tls: InnerTls | None = InnerTls(client=tls_client, device=device, suite=suite)
        self._dialogue: Dialogue | None = None
        self._begun = begun
        self._linger_until: float | None = None
        self._over = False

    @property
    def deadline(self) -> float | None:
        """When to call `timeout`, None for never."""
        if self._over or self._begun is None:
            return None
        resend, end = self._carriage.deadline, self._end(self._begun)
        return end if resend is None or end < resend else resend

    def start(self, now: float) -> tuple[Output, ...]:
        """Begin, once DTLS is established."""
        if self._begun is None:
            self._begun = now
        return self._guarded(self._open, now)

    def receive(self, data: bytes, now: float) -> tuple[Output, ...]:
        """Take one record of DTLS application data."""
        if self._over or (data[:1] and data[0] in self._foreign):
            return ()
        return self._guarded(partial(self._take, data), now)

    def timeout(self, now: float) -> tuple[Output, ...]:
        """Resend what seems lost; give up, or stop lingering, when the time has come."""
        if self._over or self._begun is None:
            return ()
        if now < self._end(self._begun):
            return tuple(map(SendRecord, self._carriage.timeout(now)))
        if self._linger_until is not None:
            self._over = True
            return ()
        error = SecurityError(
            "the identity handshake did not complete within 15 seconds",
            reason=Reason.HANDSHAKE_TIMEOUT,
        )
        return (self._fail(error),)

    def peer_closed(self, now: float) -> tuple[Output, ...]:
        """The outer association ended: before both DONEs that is a failure."""
        if self._over:
            return ()
        if self._linger_until is not None:
            self._over = True
            return ()
        return (self._fail(SecurityError("the peer broke the identity handshake off")),)

    def _end(self, begun: float) -> float:
        """When to stop: the limit; behind it, 5 seconds, or while the peer lacks our DONE."""
        if self._linger_until is None:
            return begun + LIMIT
        if self._carriage.idle:
            return self._linger_until
        return max(self._linger_until, begun + LIMIT)

    def _guarded(
        self, step: Callable[[float], tuple[Output, ...]], now: float
    ) -> tuple[Output, ...]:
        try:
            return step(now)
        except SecurityError as error:
            return (self._fail(error),)
        except ProtocolError as error:
            refusal = SecurityError(f"the peer broke the identity handshake's rules: {error}")
            refusal.__cause__ = error
            return (self._fail(refusal),)
        except BaseException:
            self._over = True  # a bug of ours or of the judge's must not leave a half-open door
            raise

    def _fail(self, error: SecurityError) -> HandshakeFailed:
        self._over = True
        self._tls = None
        burned = self._dialogue is not None and self._dialogue.guess_burned
        return HandshakeFailed(error=error, guess_burned=burned and self._linger_until is None)

    def _open(self, now: float) -> tuple[Output, ...]:
        return self._send(self._require_tls().start(), now)

    def _take(self, data: bytes, now: float) -> tuple[Output, ...]:
        arrival = self._carriage.receive(data, now)
        records = tuple(map(SendRecord, arrival.records))
        if not arrival.data:
            return records
        tls = self._require_tls()
        self._frames.feed(tls.receive(arrival.data))
        complete = tls.established and self._converse(tls)
        sent = self._send(tls.outgoing(), now)
        if not complete:
            return (*records, *sent)
        return (*records, *sent, Complete(self._finish(tls, now)))

    def _converse(self, tls: InnerTls) -> bool:
        """Handle every whole message; True once both DONEs are exchanged."""
        if self._dialogue is None:
            self._dialogue = Dialogue(
                self._facts,
                peer_key=tls.peer_key,
                nonce=self._nonce,
                unix=self._unix,
                judge=self._judge,
            )
            opening = self._dialogue.begin()
            if opening:
                tls.send(opening)
        while message := self._frames.next():
            answer = self._dialogue.receive(*message)
            if answer:
                tls.send(answer)
        if self._dialogue.complete and not self._frames.empty:
            raise ProtocolError("bytes after DONE", rule="securecall-id/1 messages")
        return self._dialogue.complete

    def _send(self, stream: bytes, now: float) -> tuple[Output, ...]:
        return tuple(map(SendRecord, self._carriage.send(stream, now))) if stream else ()

    def _require_tls(self) -> InnerTls:
        if self._tls is None:
            raise ProtocolError("inner data after DONE", rule="securecall-id/1 carriage")
        return self._tls

    def _finish(self, tls: InnerTls, now: float) -> HandshakeResult:
        if self._dialogue is None or not self._dialogue.complete:
            raise SecurityError("exporters asked for before both DONEs")
        dialogue, facts = self._dialogue, self._facts
        hashes = dialogue.identity_hashes
        shared = label("sframe") + self._outer.reveal() + dialogue.nonces + b"".join(hashes)
        keys = tls.export(_SFRAME_EXPORTER, 32, [sha512(shared + end) for end in _KEY_NAMES])
        (sas_secret,) = tls.export(_SAS_EXPORTER, 8, (dialogue.nonces,))
        result = HandshakeResult(
            peer=dialogue.peer,
            sas_secret=sas_secret,
            group=self._suite.inner_group,
            identity_hashes=hashes,
            device_id=facts.device_id,
            peer_device_id=dialogue.peer.device.id,
            bind=facts.bind,
            _sframe_keys=dict(zip(_KEY_NAMES.values(), keys, strict=True)),
        )
        self._tls = None
        self._outer.wipe()
        self._linger_until = now + LINGER
        return result


@lru_cache(maxsize=8)
def _own_root(statement: bytes) -> bytes:
    """Return the root fingerprint of our own statement, whose signatures are not ours to check."""
    try:
        payload = parse_base64url(json.loads(statement)["payload"])
        root = json.loads(payload)["root"]
        keys = parse_base64url(root["ed25519"]), parse_base64url(root.get("mldsa65", ""))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ProtocolError) as e:
        raise UsageError("the own identity statement is not one") from e
    return root_fingerprint(*keys)
