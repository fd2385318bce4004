"""The inner TLS 1.3: mutual Ed25519 device keys, one hybrid group, over the carriage's stream.

Everything is pinned on the context and asked again afterwards. The certificates are envelopes:
fixed content around the device's public key, self-signed, believed for nothing but the key
whose possession TLS proves.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID

from securecall.errors import IdentityMismatch, Reason, SecurityError
from securecall.keys.device import DeviceKey
from securecall.secret import Secret
from securecall.transport.openssl import (
    Channel,
    ChannelClosed,
    ChannelSettings,
    ReadyCertificate,
    Version,
)
from securecall.transport.suite import ORDINARY, Suite

CIPHER: Final = "TLS_AES_256_GCM_SHA384"
_NAME: Final = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "securecall")])
_NOT_BEFORE: Final = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
_NOT_AFTER: Final = datetime.datetime(2049, 12, 31, tzinfo=datetime.UTC)
_ED25519: Final = bytes.fromhex("302a300506032b6570032100")  # SubjectPublicKeyInfo, RFC 8410 4
_SEED: Final = bytes.fromhex("302e020100300506032b657004220420")  # PKCS#8, RFC 8410 7


class InnerTls:
    """One end of the inner TLS: stream bytes in, stream bytes and messages out.

    After a `SecurityError` the association is dead; `outgoing` may still hold an alert.
    """

    def __init__(self, *, client: bool, device: DeviceKey, suite: Suite = ORDINARY) -> None:
        """Prepare a connection of its own around the device's Ed25519 key."""
        self._client = client
        self._suite = suite
        self._channel = Channel(
            ChannelSettings(
                version=Version.TLS_1_3,
                ciphers=CIPHER,
                groups=suite.inner_group,
                signature_algorithms="ed25519",
                alpn=(suite.protocol,),
            ),
            client=client,
            certificate=_ready_certificate(device),
            key=_SEED + device.seed.reveal(),
            accept=None,  # the key is judged against the statement, which comes later
        )
        self.established = False
        self.peer_key = b""
        """The peer's Ed25519 public key, 32 bytes, once `established`."""

    def start(self) -> bytes:
        """Begin; return what is to be sent."""
        if self._client:
            self._advance()
        return self._channel.outgoing()

    def receive(self, data: bytes) -> bytes:
        """Take bytes of the peer's stream; return application data that became readable.

        Raises:
            SecurityError: TLS refused, or what it negotiated is not what we require.
        """
        self._channel.feed(data)
        if not self.established:
            self._advance()
        if not self.established:
            return b""
        pieces = []
        try:
            while piece := self._channel.read():
                pieces.append(piece)
        except ChannelClosed:
            raise SecurityError("the peer ended the identity handshake") from None
        return b"".join(pieces)

    def send(self, data: bytes) -> None:
        """Encrypt a message; it leaves through `outgoing`."""
        self._channel.write(data)

    def outgoing(self) -> bytes:
        """Return stream bytes to be sent, possibly none."""
        return self._channel.outgoing()

    def export(self, label: str, length: int, contexts: Iterable[bytes]) -> list[Secret]:
        """Return keying material; only to be called after both DONEs (see `handshake`)."""
        return self._channel.export_secrets(label, length, contexts)

    def _advance(self) -> None:
        if not self._channel.handshake():
            return
        found = (self._channel.protocol, self._channel.group, self._channel.cipher)
        suite = self._suite
        if found != ("TLSv1.3", suite.inner_group, CIPHER) or self._channel.alpn != suite.protocol:
            raise SecurityError(
                f"the inner TLS negotiated {found} and {self._channel.alpn!r}",
                reason=Reason.WEAK_SUITE,
            )
        self.peer_key = self._require_peer_key()
        self.established = True

    def _require_peer_key(self) -> bytes:
        # A longer chain is a way to show one key to a callback and prove another.
        expected = (self._channel.peer_certificate,) if self._client else ()
        if self._channel.peer_chain != expected:
            raise IdentityMismatch("the peer sent more than its device certificate")
        public = self._channel.peer_public_key
        if len(public) != len(_ED25519) + 32 or not public.startswith(_ED25519):
            raise IdentityMismatch("the peer's device key is not an Ed25519 key")
        return public[len(_ED25519) :]


def device_certificate(key: ed25519.Ed25519PrivateKey) -> x509.Certificate:
    """Wrap a device key; the same key always gives the same bytes."""
    builder = x509.CertificateBuilder(
        issuer_name=_NAME,
        subject_name=_NAME,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=_NOT_BEFORE,
        not_valid_after=_NOT_AFTER,
    )
    return builder.sign(key, None)


def _ready_certificate(device: DeviceKey) -> ReadyCertificate:
    known = _made(device.public)
    if not known:
        key = ed25519.Ed25519PrivateKey.from_private_bytes(device.seed.reveal())
        known.append(ReadyCertificate(device_certificate(key)))
    return known[0]


@lru_cache(maxsize=64)
def _made(_public: bytes) -> list[ReadyCertificate]:
    """A place for the certificate of a device; private keys are not kept, nor looked up by."""
    return []
