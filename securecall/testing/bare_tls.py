"""Ends of the inner TLS without our protections, for the attacker and for controls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from OpenSSL import SSL

from securecall.keys.inner_tls import CIPHER, device_certificate
from securecall.transport.suite import ORDINARY

TLS_1_2: Final = SSL.TLS1_2_VERSION


class BareTls:
    """An end with other settings, which looks at nothing.

    Attributes:
        done: The handshake is complete.
        error: What OpenSSL found wrong, None while nothing.
        connection: OpenSSL's end.
    """

    def __init__(
        self,
        *,
        client: bool,
        version: int = SSL.TLS1_3_VERSION,
        groups: str = ORDINARY.inner_group,
        ciphers: str = CIPHER,
        alpn: str = ORDINARY.protocol,
        key: ed25519.Ed25519PrivateKey | None = None,
        show: bool = True,
        certificate: x509.Certificate | None = None,
        chain: Iterable[x509.Certificate] = (),
    ) -> None:
        """Prepare an end; by default with the settings ours has, but for resumption.

        Args:
            client: It begins.
            version: The only one of TLS.
            groups: For the key exchange, by OpenSSL's names.
            ciphers: Likewise.
            alpn: The protocol named, "" for none.
            key: A new one where it is None.
            show: It has a certificate.
            certificate: In place of one as our devices have.
            chain: What is sent after it.
        """
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        context.set_tls13_ciphersuites(ciphers.encode())
        context.set_session_id(b"careless")
        _choose(context, groups)
        if show:
            key = key or ed25519.Ed25519PrivateKey.generate()
            context.use_certificate(certificate or device_certificate(key))  # type: ignore[arg-type]
            context.use_privatekey(key)  # type: ignore[arg-type]
            for other in chain:
                context.add_extra_chain_cert(other)  # type: ignore[arg-type]
        if alpn and client:
            context.set_alpn_protos([alpn.encode()])
        elif alpn:
            context.set_alpn_select_callback(lambda _c, _offered: alpn.encode())
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        self.connection = SSL.Connection(context)
        if client:
            self.connection.set_connect_state()
        else:
            self.connection.set_accept_state()
        self.error: SSL.Error | None = None
        self.done = False

    def receive(self, data: bytes) -> bytes:
        """Take bytes, possibly none; bytes for the peer."""
        if data:
            _ = self.connection.bio_write(data)
        try:
            self.connection.do_handshake()
            self.done = True
        except SSL.WantReadError:
            pass
        except SSL.Error as e:
            self.error = e
        try:
            return self.connection.bio_read(1 << 20)
        except SSL.WantReadError:
            return b""


def _choose(context: SSL.Context, groups: str) -> None:
    lib = SSL._lib  # type: ignore[attr-defined]  # noqa: SLF001 - as in transport.openssl
    raw = context._context  # noqa: SLF001 - likewise
    if lib.SSL_CTX_set1_curves_list(raw, groups.encode()) != 1:
        raise ValueError("OpenSSL knows no such group")
    if lib.SSL_CTX_set1_sigalgs_list(raw, b"ed25519") != 1:
        raise ValueError("OpenSSL knows no Ed25519")
