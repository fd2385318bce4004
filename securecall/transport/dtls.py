"""DTLS-SRTP without I/O: datagrams and time in, datagrams and keys out (RFC 5764, RFC 8827).

The peer is known only by the certificate digests its signalling announced. They are checked in
the verify callback, so a stranger gets an alert and never a Finished, and again afterwards.
Nothing is exported before the handshake has returned and every check has passed.

OpenSSL's retransmission timer starts at one second, by its own clock, and has no setter. So the
last flight is kept here and sent again, byte for byte, after a quarter of a second: to the peer
that is an ordinary duplicate. OpenSSL's own timer still runs beneath, for what a duplicate does
not repair (a foreign server whose last flight was lost).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from securecall.errors import Reason, SecurecallError, SecurityError, UsageError
from securecall.secret import Secret
from securecall.transport.dtls_certificate import (
    CertificateDigest,
    DtlsCertificate,
    require_match,
    require_usable_digests,
)
from securecall.transport.openssl import (
    Channel,
    ChannelClosed,
    ChannelSettings,
    Version,
)
from securecall.transport.suite import ORDINARY, Suite

__all__ = [
    "COMPAT",
    "STRICT",
    "ApplicationData",
    "CertificateDigest",
    "Closed",
    "DtlsCertificate",
    "DtlsEndpoint",
    "DtlsRole",
    "Established",
    "Failed",
    "Output",
    "SendDatagram",
    "SrtpPolicy",
]

IDENTITY_PROTOCOL: Final = ORDINARY.protocol
WEBRTC_PROTOCOL: Final = "webrtc"  # RFC 8833: confidentiality is not asked for
OUTER_EXPORTER: Final = "EXPORTER-securecall-outer-1"
HANDSHAKE_LIMIT: Final = 15.0  # seconds from the first datagram on
LARGEST_DATAGRAM: Final = 1200
LARGEST_DATA: Final = 1100  # leaves room for header, nonce and tag
_LARGEST_RECEIVED: Final = 8192  # beyond this OpenSSL would read a datagram in two pieces
_RECORD_HEADER: Final = 13
_CHANGE_CIPHER_SPEC, _HANDSHAKE = 20, 22
_FIRST_RESEND, _SLOWEST_RESEND = 0.25, 2.0  # seconds
_MOST_ANSWERS: Final = 16
_EXTRACTOR: Final = "EXTRACTOR-dtls_srtp"  # RFC 5764 4.2
# Some deployed peers still carry RSA certificates; their suites differ only in the signature.
_RSA_CIPHERS: Final = (
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-CHACHA20-POLY1305:ECDHE-RSA-AES128-GCM-SHA256"
)
_RSA_SIGNATURES: Final = "RSA-PSS+SHA256:RSA-PSS+SHA384:RSA+SHA256:RSA+SHA384"
# key and salt length, bytes (RFC 5764 4.1.2, RFC 7714 14.2)
_KEY_LENGTHS: Final = {
    "SRTP_AEAD_AES_256_GCM": (32, 12),
    "SRTP_AEAD_AES_128_GCM": (16, 12),
    "SRTP_AES128_CM_SHA1_80": (16, 14),
}
_IDENTITY_PROFILE: Final = "SRTP_AEAD_AES_256_GCM"


class DtlsRole(enum.Enum):
    """Who begins: a=setup:active is the client."""

    CLIENT = enum.auto()
    SERVER = enum.auto()


class SrtpPolicy(enum.Enum):
    """Which SRTP profiles are offered and accepted."""

    STRICT = ("SRTP_AEAD_AES_256_GCM",)
    COMPAT = ("SRTP_AEAD_AES_256_GCM", "SRTP_AEAD_AES_128_GCM", "SRTP_AES128_CM_SHA1_80")


STRICT: Final = SrtpPolicy.STRICT
COMPAT: Final = SrtpPolicy.COMPAT


@dataclass(frozen=True, slots=True)
class SendDatagram:
    """Send this, at most 1200 bytes."""

    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Established:
    """The handshake is complete and the peer's certificate is the announced one.

    Attributes:
        alpn: The application protocol, None where the peer has none.
        srtp_profile: The DTLS-SRTP profile's name.
        send_key: SRTP master key || salt for what we send.
        receive_key: The same for what we receive.
        outer_exporter: 64 bytes that name this very association (security rule CB).
    """

    alpn: str | None
    srtp_profile: str
    send_key: Secret
    receive_key: Secret
    outer_exporter: Secret


@dataclass(frozen=True, slots=True)
class ApplicationData:
    """One record of application data, after `Established`."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """The association is over; the call has to end."""

    error: SecurecallError


@dataclass(frozen=True, slots=True)
class Closed:
    """The association ended in order: we or the peer sent close_notify."""


Output = SendDatagram | Established | ApplicationData | Failed | Closed


class _State(enum.Enum):
    IDLE = enum.auto()
    HANDSHAKE = enum.auto()
    ESTABLISHED = enum.auto()
    OVER = enum.auto()


class DtlsEndpoint:
    """One end of one DTLS association: DTLS 1.2, fresh certificate, never resumed or renegotiated.

    Feed it with `start`, `receive`, `timeout`, `send` and `close`; perform what they return, in
    order; call `timeout` when `deadline` passes. After `Failed` or `Closed` it returns nothing.
    """

    def __init__(
        self,
        *,
        role: DtlsRole,
        certificate: DtlsCertificate,
        remote_digests: tuple[CertificateDigest, ...],
        alpn: tuple[str, ...] = (IDENTITY_PROTOCOL, WEBRTC_PROTOCOL),
        srtp_profiles: SrtpPolicy = SrtpPolicy.STRICT,
        suite: Suite = ORDINARY,
    ) -> None:
        """Prepare one end; the peer's digests must be known already.

        Raises:
            SecurityError: no digest of the peer is usable.
        """
        self._digests = require_usable_digests(remote_digests)
        self._client = role is DtlsRole.CLIENT
        self._alpn = alpn
        self._suite = suite
        self._profiles = srtp_profiles.value
        compat = srtp_profiles is SrtpPolicy.COMPAT and not suite.approved
        settings = ChannelSettings(
            version=Version.DTLS_1_2,
            ciphers=f"{suite.ciphers}:{_RSA_CIPHERS}" if compat else suite.ciphers,
            groups=suite.groups,
            signature_algorithms=(
                f"{suite.signatures}:{_RSA_SIGNATURES}" if compat else suite.signatures
            ),
            alpn=alpn,
            srtp_profiles=self._profiles,
            record_limit=LARGEST_DATAGRAM,
        )
        self._channel = Channel(
            settings,
            client=self._client,
            certificate=certificate.certificate,
            key=certificate.key,
            accept=partial(_require_announced, self._digests),
        )
        self._state = _State.IDLE
        self._flight: tuple[SendDatagram, ...] = ()
        self._pause = _FIRST_RESEND
        self._resend_at: float | None = None
        self._openssl_at: float | None = None
        self._answers = 0
        self.begun: float | None = None
        """When the first datagram was sent (client) or received (server); None before."""

    @property
    def deadline(self) -> float | None:
        """When to call `timeout`, None for never."""
        if self._state is not _State.HANDSHAKE or self.begun is None:
            return None
        moments = (self._resend_at, self._openssl_at, self.begun + HANDSHAKE_LIMIT)
        return min(moment for moment in moments if moment is not None)

    def start(self, now: float) -> tuple[Output, ...]:
        """Begin: the client sends its first flight, the server waits."""
        if self._state is not _State.IDLE or not self._client:
            return ()
        self._begin(now)
        return self._advance(now)

    def receive(self, datagram: bytes, now: float) -> tuple[Output, ...]:
        """Take one datagram that came from the validated address."""
        fits = _RECORD_HEADER <= len(datagram) <= _LARGEST_RECEIVED
        if not fits or not 20 <= datagram[0] <= 63 or self._state is _State.OVER:  # RFC 7983 7
            return ()
        if self._state is _State.IDLE:
            if self._client:
                return ()  # nothing can be an answer yet
            self._begin(now)
        self._channel.feed(datagram)
        if self._state is _State.HANDSHAKE:
            return self._advance(now)
        return self._after_handshake(datagram[0], now)

    def timeout(self, now: float) -> tuple[Output, ...]:
        """Resend what seems lost, or give up 15 s after the first datagram."""
        if self._state is not _State.HANDSHAKE or self.begun is None:
            return ()
        if now >= self.begun + HANDSHAKE_LIMIT:
            error = SecurityError(
                "the DTLS handshake did not complete within 15 seconds",
                reason=Reason.HANDSHAKE_TIMEOUT,
            )
            return self._fail(error)
        try:
            self._channel.expire()
        except SecurityError as error:
            return self._fail(error)
        fresh = self._flush(now)
        if fresh:
            return fresh
        if self._resend_at is not None and now >= self._resend_at:
            self._pause = min(2 * self._pause, _SLOWEST_RESEND)
            self._resend_at = now + self._pause
            return self._flight
        return ()

    def send(self, *records: bytes) -> tuple[Output, ...]:
        """Send records of application data, those that fit in one datagram (RFC 6347 4.1.1).

        Once the association is over nothing is sent.

        Raises:
            UsageError: one is empty or longer than 1100 bytes, or nothing is established yet.
        """
        for data in records:
            if not 0 < len(data) <= LARGEST_DATA:
                raise UsageError(f"a record carries 1 to {LARGEST_DATA} bytes, not {len(data)}")
        if self._state is _State.OVER:
            return ()
        if self._state is not _State.ESTABLISHED:
            raise UsageError("application data goes only over an established association")
        try:
            for data in records:
                self._channel.write(data)
        except SecurityError as error:
            return self._fail(error)
        return self._datagrams()

    def close(self) -> tuple[Output, ...]:
        """End in order: the peer is told by close_notify."""
        if self._state is _State.OVER:
            return ()
        return (*self._farewell(), Closed())

    def _begin(self, now: float) -> None:
        self.begun = now
        self._state = _State.HANDSHAKE

    def _advance(self, now: float) -> tuple[Output, ...]:
        try:
            complete = self._channel.handshake()
            if not complete:
                return self._flush(now)
            established = self._require_established()
        except SecurityError as error:
            return self._fail(error)
        sent = self._flush(now)
        self._state = _State.ESTABLISHED
        self._resend_at = self._openssl_at = None
        return (*sent, established, *self._read())

    def _require_established(self) -> Established:
        channel = self._channel
        require_match(channel.peer_certificate, self._digests)
        if not channel.extended_master_secret:
            raise SecurityError(
                "the peer does not use the extended master secret (RFC 7627)",
                reason=Reason.WEAK_SUITE,
            )
        names = self._suite.group_names
        if channel.protocol != "DTLSv1.2" or channel.group.lower() not in names:
            raise SecurityError(
                f"negotiated {channel.protocol} with {channel.group}", reason=Reason.WEAK_SUITE
            )
        alpn = channel.alpn or None
        if alpn is not None and alpn not in self._alpn:
            raise SecurityError("the peer answered with an application protocol never offered")
        profile = channel.srtp_profile
        accepted = (_IDENTITY_PROFILE,) if alpn == self._suite.protocol else self._profiles
        if profile not in accepted:
            raise SecurityError(
                f"the peer's SRTP profile {profile or '(none)'} is not acceptable here",
                reason=Reason.WEAK_SUITE,
            )
        ours, theirs = self._srtp_keys(profile)
        return Established(
            alpn=alpn,
            srtp_profile=profile,
            send_key=ours,
            receive_key=theirs,
            outer_exporter=Secret(channel.export(OUTER_EXPORTER, 64)),
        )

    def _srtp_keys(self, profile: str) -> tuple[Secret, Secret]:
        # RFC 5764 4.2: client key, server key, client salt, server salt
        key, salt = _KEY_LENGTHS[profile]
        material = self._channel.export(_EXTRACTOR, 2 * (key + salt))
        salts = material[2 * key :]
        client = Secret(material[:key] + salts[:salt])
        server = Secret(material[key : 2 * key] + salts[salt:])
        return (client, server) if self._client else (server, client)

    def _after_handshake(self, record_type: int, now: float) -> tuple[Output, ...]:
        outputs = self._read()
        repeated = record_type in (_CHANGE_CIPHER_SPEC, _HANDSHAKE)
        if not repeated or outputs or self._state is not _State.ESTABLISHED:
            return outputs
        # The peer is still sending its last flight: ours was lost. A duplicate of bytes is
        # dropped inside OpenSSL as a replay, so it does not answer by itself.
        if self._answers >= _MOST_ANSWERS or (self._resend_at or now) > now:
            return ()
        self._answers += 1
        self._resend_at = now + _FIRST_RESEND
        return self._flight

    def _read(self) -> tuple[Output, ...]:
        outputs: list[Output] = []
        try:
            while data := self._channel.read():
                outputs.append(ApplicationData(data))
        except ChannelClosed:
            return (*outputs, *self._farewell(), Closed())
        except SecurityError as error:
            return (*outputs, *self._fail(error))
        return (*outputs, *self._datagrams())

    def _flush(self, now: float) -> tuple[Output, ...]:
        sent = self._datagrams()
        if sent:
            self._flight = sent
            self._pause = _FIRST_RESEND
            self._resend_at = now + self._pause
        remaining = self._channel.timer()
        # never "at once": OpenSSL's clock and ours may disagree by a hair
        self._openssl_at = None if remaining is None else now + max(remaining, 0.01)
        return sent

    def _fail(self, error: SecurityError) -> tuple[Output, ...]:
        return (*self._farewell(), Failed(error))

    def _farewell(self) -> tuple[Output, ...]:
        self._channel.close()  # behind the alert OpenSSL wrote, if any
        self._state = _State.OVER
        self._flight = ()
        return self._datagrams()

    def _datagrams(self) -> tuple[SendDatagram, ...]:
        """What OpenSSL has to say."""
        records = self._channel.outgoing()
        return tuple(map(SendDatagram, _datagrams(records))) if records else ()


def _require_announced(
    digests: tuple[CertificateDigest, ...], certificate: bytes, depth: int
) -> bool:
    # A chain above the leaf says nothing here: only the leaf's digest was announced. No method of
    # the endpoint: what OpenSSL holds of a call ends with it, without waiting for a collection.
    if depth == 0:
        require_match(certificate, digests)
    return True


def _datagrams(records: bytes) -> Iterator[bytes]:
    """Cut OpenSSL's output at record boundaries into datagrams of at most 1200 bytes."""
    if len(records) <= LARGEST_DATAGRAM:
        yield records
        return
    start = position = 0
    while position < len(records):
        length = int.from_bytes(records[position + 11 : position + 13], "big")
        after = position + _RECORD_HEADER + length
        if after - start > LARGEST_DATAGRAM and position > start:
            yield records[start:position]
            start = position
        position = after
    yield records[start:]
