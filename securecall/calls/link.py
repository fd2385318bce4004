"""DTLS, the identity handshake and the countersignature over one media path, without I/O.

Composition only: every rule lives in `transport.dtls`, `keys.handshake` and `calls.countersign`. A
link yields keys exactly once: `Secured` comes after both DONEs of the identity handshake, or, where
the peer's DTLS did not choose it, after plain DTLS; what that is worth is for policy to say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from securecall.calls.countersign import MARK, CallRecord, Countersigner, Party, Said
from securecall.calls.negotiation import Agreement
from securecall.errors import (
    ProtocolError,
    SecurecallError,
    SecurityError,
    UsageError,
)
from securecall.keys import handshake
from securecall.keys.device import DeviceKey
from securecall.keys.encoding import sha512
from securecall.keys.handshake import (
    CallRole,
    Complete,
    HandshakeFailed,
    HandshakeResult,
    IdentityHandshake,
    PeerClaim,
    SendRecord,
    fingerprint_hash,
)
from securecall.secret import Secret
from securecall.transport import dtls
from securecall.transport.dtls import (
    COMPAT,
    STRICT,
    WEBRTC_PROTOCOL,
    ApplicationData,
    CertificateDigest,
    Closed,
    DtlsCertificate,
    DtlsEndpoint,
    DtlsRole,
    Established,
    Failed,
    SendDatagram,
)
from securecall.transport.suite import ORDINARY, Suite


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkIdentity:
    """Who we are in this call, and how the peer's claim is judged.

    Attributes:
        statement: Our identity statement.
        device: Our device key.
        root_fp: Our root's fingerprint.
        own_address: The address we claim, as signalled.
        expected_peer: The address dialled, "" towards an anonymous caller.
        judge: Raises a SecurityError to refuse the peer's claim.
        ticket_secret: Of the ticket we call with.
        countersignature: What our organisation says of us at this address, b"" for nothing.
        suite: The algorithms of both handshakes.
    """

    statement: bytes
    device: DeviceKey
    root_fp: bytes
    own_address: str
    expected_peer: str
    judge: Callable[[PeerClaim], None]
    ticket_secret: Secret | None = None
    countersignature: bytes = b""
    suite: Suite = ORDINARY


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaKeys:
    """Keys for one call's SRTP, ours to send with and the peer's."""

    profile: str
    send: Secret = field(repr=False)
    receive: Secret = field(repr=False)

    def wipe(self) -> None:
        """Overwrite both, once SRTP has derived its own from them."""
        self.send.wipe()
        self.receive.wipe()


@dataclass(frozen=True, slots=True)
class Transmit:
    """Send this datagram to the peer."""

    datagram: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Secured:
    """Keys are there.

    Attributes:
        keys: For SRTP.
        identity: What the identity handshake proved, None for plain DTLS-SRTP.
    """

    keys: MediaKeys
    identity: HandshakeResult | None


@dataclass(frozen=True, slots=True)
class LinkFailed:
    """The link is dead.

    Attributes:
        error: Why.
        guess_burned: It failed after the nonces: an attacker may have used a guess at the words.
    """

    error: SecurecallError
    guess_burned: bool = False


@dataclass(frozen=True, slots=True)
class PeerClosed:
    """The peer closed DTLS after the handshake: the call is ending."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The countersignature is settled, one way or the other."""


@dataclass(frozen=True, slots=True)
class PeerSaid:
    """The peer says something new of itself."""

    said: Said


LinkOutput = Transmit | Secured | LinkFailed | PeerClosed | Settled | PeerSaid


class SecureLink:
    """One DTLS association and what runs inside it.

    Attributes:
        deadline: When `expire` wants to be called, monotonic seconds.
    """

    def __init__(
        self,
        agreement: Agreement,
        certificate: DtlsCertificate,
        identity: LinkIdentity | None,
        *,
        outgoing: bool,
        nonce: bytes,
        unix: int,
        strict: bool,
    ) -> None:
        """Prepare; `start` begins.

        Args:
            agreement: Of offer and answer.
            certificate: The one whose fingerprint went into our description.
            identity: None offers plain DTLS-SRTP only (a danger mode).
            outgoing: We placed the call.
            nonce: 32 random bytes.
            unix: Wall time for the statement's dates.
            strict: Only AES-256-GCM and ECDSA, as where identity evidence is mandatory.
        """
        self._agreement = agreement
        self._identity = identity
        self._outgoing = outgoing
        self._nonce = nonce
        self._unix = unix
        self._strict = strict
        self._client = agreement.dtls_client
        self._dtls = DtlsEndpoint(
            role=DtlsRole.CLIENT if self._client else DtlsRole.SERVER,
            certificate=certificate,
            remote_digests=tuple(
                CertificateDigest(f.algorithm, f.value) for f in agreement.remote_fingerprints
            ),
            alpn=(identity.suite.protocol, WEBRTC_PROTOCOL) if identity else (WEBRTC_PROTOCOL,),
            srtp_profiles=STRICT if strict else COMPAT,
            suite=identity.suite if identity else ORDINARY,
        )
        self._handshake: IdentityHandshake | None = None
        self._countersigner: Countersigner | None = None
        self._times: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self._keys: MediaKeys | None = None
        self._secured = False
        self._over = False

    @property
    def deadline(self) -> float | None:
        """When to call `expire`, None for never."""
        if self._over:
            return None
        soonest = self._dtls.deadline
        for part in (self._handshake, self._countersigner):
            deadline = None if part is None else part.deadline
            if deadline is not None and (soonest is None or deadline < soonest):
                soonest = deadline
        return soonest

    def start(self, *, now: float) -> tuple[LinkOutput, ...]:
        """Begin: the DTLS client speaks first, the server waits for the peer's first datagram."""
        return self._after_dtls(self._dtls.start(now), now)

    def receive(self, datagram: bytes, *, now: float) -> tuple[LinkOutput, ...]:
        """Take one DTLS datagram from the validated path."""
        if self._over:
            return ()
        return self._after_dtls(self._dtls.receive(datagram, now), now)

    def expire(self, *, now: float) -> tuple[LinkOutput, ...]:
        """Run every timer that is due."""
        if self._over:
            return ()
        outputs: list[LinkOutput] = []
        if self._dtls.deadline is not None and now >= self._dtls.deadline:
            outputs += self._after_dtls(self._dtls.timeout(now), now)
        inner = self._handshake
        if inner is not None and inner.deadline is not None and now >= inner.deadline:
            outputs += self._after_handshake(inner.timeout(now), now)
        countersigner = self._countersigner
        if countersigner is not None and countersigner.deadline is not None:
            outputs += self._after_countersigning(countersigner.expire(now=now), now)
        return tuple(outputs)

    def countersign_with(
        self, countersigner: Countersigner, times: Callable[[], tuple[int, int]]
    ) -> None:
        """Arm the countersignature; `times` gives our view of (began, lasted)."""
        self._countersigner = countersigner
        self._times = times

    def say(self, said: Said, *, now: float) -> tuple[LinkOutput, ...]:
        """Tell the peer what we say of ourselves in the account."""
        if self._countersigner is None or self._over:
            return ()
        return self._after_countersigning(self._countersigner.say(said), now)

    def propose_record(self, *, now: float) -> tuple[LinkOutput, ...]:
        """Ask the peer to sign the account of the call."""
        if self._countersigner is None or self._over:
            return (Settled(),)
        began, lasted = self._times()
        records = self._countersigner.propose(began=began, lasted=lasted, now=now)
        return self._after_countersigning(records, now)

    def close(self, *, now: float) -> tuple[LinkOutput, ...]:
        """Say goodbye in DTLS."""
        if self._over:
            return ()
        self._over = True
        return tuple(Transmit(o.data) for o in self._dtls.close() if isinstance(o, SendDatagram))

    # -- the inside ---------------------------------------------------------------------------

    def _after_dtls(self, outputs: tuple[dtls.Output, ...], now: float) -> tuple[LinkOutput, ...]:
        done: list[LinkOutput] = []
        for output in outputs:
            if self._over:
                break
            match output:
                case SendDatagram(data=data):
                    done.append(Transmit(data))
                case Established():
                    done += self._established(output, now)
                case ApplicationData(data=data):
                    done += self._application_data(data, now)
                case Failed(error=error):
                    done += self._fail(self._explained(error), now)
                case Closed():
                    done += self._closed(now)
        return tuple(done)

    def _established(self, established: Established, now: float) -> tuple[LinkOutput, ...]:
        self._keys = MediaKeys(
            profile=established.srtp_profile,
            send=established.send_key,
            receive=established.receive_key,
        )
        identity = self._identity
        if identity is None or established.alpn != identity.suite.protocol:
            self._secured = True
            return (Secured(keys=self._keys, identity=None),)
        self._handshake = IdentityHandshake(
            tls_client=self._client,
            call_role=CallRole.CALLER if self._outgoing else CallRole.CALLEE,
            statement=identity.statement,
            device=identity.device,
            own_address=identity.own_address,
            expected_peer=identity.expected_peer,
            fp_sent=fingerprint_hash(self._agreement.sent),
            fp_received=fingerprint_hash(self._agreement.received),
            outer_exporter=established.outer_exporter,
            ticket_secret=identity.ticket_secret,
            countersignature=identity.countersignature,
            judge=identity.judge,
            nonce=self._nonce,
            unix=self._unix,
            begun=self._dtls.begun,
            foreign=(MARK,),
            suite=identity.suite,
        )
        return self._after_handshake(self._handshake.start(now), now)

    def _application_data(self, data: bytes, now: float) -> tuple[LinkOutput, ...]:
        if data[:1] == bytes((MARK,)) and self._secured and self._countersigner is not None:
            began, lasted = self._times()
            before = self._countersigner.heard
            try:
                records = self._countersigner.receive(data, began=began, lasted=lasted)
            except ProtocolError:
                return ()  # a bad signature changes nothing; the report will say it is missing
            heard = self._countersigner.heard
            news = (PeerSaid(heard),) if heard != before else ()
            return (*news, *self._after_countersigning(records, now))
        if self._handshake is None:
            return ()  # plain DTLS-SRTP: data channels are not ours
        return self._after_handshake(self._handshake.receive(data, now), now)

    def _after_handshake(
        self, outputs: tuple[handshake.Output, ...], now: float
    ) -> tuple[LinkOutput, ...]:
        records = [output.data for output in outputs if isinstance(output, SendRecord)]
        done: list[LinkOutput] = []
        if records and not self._over:
            done += self._after_dtls(self._dtls.send(*records), now)
        for output in outputs:
            if self._over:
                break
            match output:
                case SendRecord():
                    pass  # sent with the others, before what they led to
                case Complete(result=result):
                    done.append(self._complete(result))
                case HandshakeFailed(error=error, guess_burned=burned):
                    done += self._fail(error, now, guess_burned=burned)
        return tuple(done)

    def _complete(self, result: HandshakeResult) -> Secured:
        if self._keys is None:  # invariant: the handshake begins after DTLS gave them
            raise UsageError("an identity without keys")
        self._secured = True
        return Secured(keys=self._keys, identity=result)

    def _after_countersigning(
        self, records: tuple[bytes, ...], now: float
    ) -> tuple[LinkOutput, ...]:
        done: list[LinkOutput] = []
        if records:
            done += self._after_dtls(self._dtls.send(*records), now)
        if self._countersigner is not None and self._countersigner.outcome is not None:
            done.append(Settled())
        return tuple(done)

    def _closed(self, now: float) -> tuple[LinkOutput, ...]:
        if self._handshake is not None and not self._secured:
            return self._after_handshake(self._handshake.peer_closed(now), now)
        self._over = True
        return (PeerClosed(),)

    def _explained(self, error: SecurecallError) -> SecurecallError:
        """Tell an ordinary phone, which no policy of ours fits, from an attack on one of ours."""
        if not self._strict or self._agreement.hint or not isinstance(error, SecurityError):
            return error
        return SecurityError(
            f"the other end does not announce that it can prove who it is, and {error}; phones "
            "without such proof are reached only under a policy that does without "
            "(danger_plain_dtls)",
            reason=error.reason,
        )

    def _fail(
        self, error: SecurecallError, now: float, *, guess_burned: bool = False
    ) -> tuple[LinkOutput, ...]:
        if self._over:
            return ()
        goodbye = self.close(now=now)
        return (*goodbye, LinkFailed(error, guess_burned))


def record_of(
    identity: LinkIdentity,
    result: HandshakeResult,
    agreement: Agreement,
    *,
    outgoing: bool,
    profile: str,
) -> CallRecord:
    """What both ends know alike about a call, and will sign; `outgoing` where we placed it."""
    us = Party(
        address=identity.own_address,
        root_fp=identity.root_fp,
        device_id=identity.device.id,
        device_public=identity.device.public,
        statement=sha512(identity.statement),
        fingerprints=fingerprint_hash(agreement.sent),
    )
    peer = result.peer
    them = Party(
        address=peer.own_address,
        root_fp=peer.root_fp,
        device_id=peer.device.id,
        device_public=peer.device.public,
        statement=sha512(peer.statement.raw),
        fingerprints=fingerprint_hash(agreement.received),
    )
    caller, callee = (us, them) if outgoing else (them, us)
    return CallRecord(
        caller=caller,
        callee=callee,
        bind=result.bind,
        srtp_profile=profile,
        group=result.group,
    )
