"""Ends of the inner TLS without our protections, for the attacker and for controls."""

from __future__ import annotations

from typing import Final

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
    ) -> None:
        """Prepare an end; by default with the settings ours has."""
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        context.set_tls13_ciphersuites(ciphers.encode())
        _choose(context, groups)
        if show:
            key = key or ed25519.Ed25519PrivateKey.generate()
            context.use_certificate(device_certificate(key))  # type: ignore[arg-type]
            context.use_privatekey(key)  # type: ignore[arg-type]
        if alpn and client:
            context.set_alpn_protos([alpn.encode()])
        elif alpn:
            context.set_alpn_select_callback(lambda _c, _offered: alpn.encode())
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        self._connection = SSL.Connection(context)
        if client:
            self._connection.set_connect_state()
        else:
            self._connection.set_accept_state()
        self.error: SSL.Error | None = None
        self.done = False

    def receive(self, data: bytes) -> bytes:
        """Take bytes, possibly none; bytes for the peer."""
        if data:
            _ = self._connection.bio_write(data)
        try:
            self._connection.do_handshake()
            self.done = True
        except SSL.WantReadError:
            pass
        except SSL.Error as e:
            self.error = e
        try:
            return self._connection.bio_read(1 << 20)
        except SSL.WantReadError:
            return b""


def _choose(context: SSL.Context, groups: str) -> None:
    lib = SSL._lib  # type: ignore[attr-defined]  # noqa: SLF001 - as in transport.openssl
    raw = context._context  # noqa: SLF001 - likewise
    if lib.SSL_CTX_set1_curves_list(raw, groups.encode()) != 1:
        raise ValueError("OpenSSL knows no such group")
    if lib.SSL_CTX_set1_sigalgs_list(raw, b"ed25519") != 1:
        raise ValueError("OpenSSL knows no Ed25519")
