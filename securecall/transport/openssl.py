"""The door of OpenSSL: TLS and DTLS over memory, errors translated, what is missing refused.

pyOpenSSL drives the OpenSSL that the `cryptography` package bundles. Three things the transport
needs have no method in pyOpenSSL: choosing the key exchange groups, choosing the signature
algorithms, and asking whether the extended master secret (RFC 7627) is in use. They are reached
through the same binding pyOpenSSL itself uses; a build without them is refused at import, since
a transport that cannot ask must not start.

Bytes are moved through that binding, too: pyOpenSSL raises an exception whenever there is nothing
to read, which is every other time. What fails for another reason is left to pyOpenSSL to name.
"""

from __future__ import annotations

import contextlib
import enum
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

from cryptography import x509
from cryptography.hazmat.backends.openssl.backend import backend
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL, crypto

from securecall.errors import Reason, SecurityError, Unsupported, UsageError
from securecall.secret import Secret

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_DTLS_1_2 = 0xFEFD
_PIECE = 16384  # bytes; no record holds more
_lib = SSL._lib  # type: ignore[attr-defined]  # noqa: SLF001 - see the module's docstring
_ffi = SSL._ffi  # type: ignore[attr-defined]  # noqa: SLF001 - the same
_NEEDED = (
    "SSL_CTX_set1_curves_list",
    "SSL_CTX_set1_sigalgs_list",
    "SSL_get_extms_support",
    "ERR_clear_error",
)
_ABSENT = [name for name in _NEEDED if not hasattr(_lib, name)]
if _ABSENT:
    raise Unsupported(
        f"this build of cryptography does not reach {', '.join(_ABSENT)} of OpenSSL; "
        "install cryptography >= 49 with pyOpenSSL 26.4 from wheels"
    )


def fips_provider_active() -> bool:
    """Whether the OpenSSL behind cryptography reports that its FIPS provider answers by default."""
    return bool(getattr(backend, "_fips_enabled", False))


def has_group(name: str) -> bool:
    """Whether this build can run a key exchange, by OpenSSL's name."""
    raw = SSL.Context(SSL.TLS_METHOD)._context  # noqa: SLF001 - see the module's docstring
    known = bool(_lib.SSL_CTX_set1_curves_list(raw, name.encode()) == 1)
    if not known:
        _lib.ERR_clear_error()  # else the next channel would report it as its own
    return known


class Version(enum.Enum):
    """Which protocol a channel speaks; each is pinned to exactly one version."""

    DTLS_1_2 = enum.auto()
    TLS_1_3 = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """What a channel offers and accepts.

    Attributes:
        version: The one protocol version.
        ciphers: OpenSSL's colon-separated cipher names.
        groups: Key exchange groups, most wanted first.
        signature_algorithms: For CertificateVerify and the key exchange, in OpenSSL's names.
        alpn: Application protocols, most wanted first; empty for none.
        srtp_profiles: DTLS-SRTP profiles (RFC 5764 4.1.2), most wanted first; empty for none.
        record_limit: Largest datagram, bytes; 0 for a stream.
    """

    version: Version
    ciphers: str
    groups: str
    signature_algorithms: str
    alpn: tuple[str, ...] = ()
    srtp_profiles: tuple[str, ...] = ()
    record_limit: int = 0


class ChannelClosed(Exception):
    """The peer sent close_notify; a signal between modules, never seen by applications."""


class ReadyCertificate:
    """A certificate as OpenSSL holds it, for whoever shows the same one again."""

    __slots__ = ("x509",)

    def __init__(self, certificate: x509.Certificate) -> None:
        """Hand it to OpenSSL, which reads it anew."""
        self.x509 = crypto.X509.from_cryptography(certificate)


class Channel:
    """One TLS or DTLS association over memory; sans-IO, but OpenSSL draws its own entropy.

    Every failure of OpenSSL becomes a `SecurityError` with reason HANDSHAKE_FAILED; what OpenSSL
    wanted to tell the peer about it (an alert) is still to be fetched with `outgoing`.
    """

    def __init__(
        self,
        settings: ChannelSettings,
        *,
        client: bool,
        certificate: x509.Certificate | ReadyCertificate,
        key: PrivateKey | bytes,
        accept: Callable[[bytes, int], bool] | None,
    ) -> None:
        """Prepare a channel. Whatever is of this one alone is its own: certificate, key, judge.

        Args:
            settings: What to offer and accept.
            client: We begin.
            certificate: Ours; the peer must show one too.
            key: Its private key, or that as PKCS#8.
            accept: Judges each certificate of the peer, given (DER, depth), inside the handshake;
                called more than once for one certificate. None lets TLS go on to prove
                possession of whatever key is shown, for the caller to judge it afterwards.
        """
        self._judge = _Judge(accept)
        self._connection = connection = SSL.Connection(_context(settings, client=client))
        connection.set_app_data(self._judge)
        self._ssl = connection._ssl  # noqa: SLF001 - see the module's docstring
        self._show(certificate, key)
        if settings.record_limit:
            connection.set_ciphertext_mtu(settings.record_limit)
        if client:
            connection.set_connect_state()
        else:
            connection.set_accept_state()
        self._from_peer = connection._into_ssl  # noqa: SLF001 - see the module's docstring
        self._to_peer = connection._from_ssl  # noqa: SLF001 - the same
        self._piece = _ffi.new("char[]", _PIECE)

    def feed(self, data: bytes) -> None:
        """Take bytes from the peer; DTLS takes one datagram at a time."""
        # OpenSSL takes nothing for an error, and refuses something only for want of memory
        if data and _lib.BIO_write(self._from_peer, data, len(data)) != len(data):
            raise MemoryError

    def outgoing(self) -> bytes:
        """Return what is to be sent to the peer, possibly nothing."""
        said = b""
        while (size := _lib.BIO_read(self._to_peer, self._piece, _PIECE)) > 0:
            said += _ffi.buffer(self._piece, size)[:]
            if size < _PIECE:
                break
        return said

    def handshake(self) -> bool:
        """Go on with the handshake; True once it is complete."""
        result = _lib.SSL_do_handshake(self._ssl)
        if result == 1:
            return True
        self._require_waiting(result)
        return False

    def read(self) -> bytes:
        """Return the next piece of application data, or nothing.

        Raises:
            ChannelClosed: the peer ended the association.
            SecurityError: the association is broken.
        """
        size = _lib.SSL_read(self._ssl, self._piece, _PIECE)
        if size > 0:
            piece: bytes = _ffi.buffer(self._piece, size)[:]
            return piece
        self._require_waiting(size)
        return b""

    def write(self, data: bytes) -> None:
        """Encrypt application data; it leaves through `outgoing`."""
        while data:  # OpenSSL takes 16 KiB of more
            size = _lib.SSL_write(self._ssl, data, len(data))
            if size <= 0:
                self._raise(size)
            data = data[size:]

    def close(self) -> None:
        """Put a close_notify into `outgoing` where the association still allows one."""
        with contextlib.suppress(SSL.Error):  # before or after its life nobody is to be told
            self._connection.shutdown()

    def timer(self) -> float | None:
        """Return the seconds until DTLS wants `expire`, by OpenSSL's own clock."""
        return self._connection.DTLSv1_get_timeout()

    def expire(self) -> None:
        """Let OpenSSL resend its flight if its own timer ran out."""
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error as e:
            raise self._refused(e) from None

    def export(self, label: str, length: int, context: bytes | None = None) -> bytes:
        """Return keying material (RFC 5705, RFC 8446 7.5); no context is not an empty one.

        After a refused certificate OpenSSL still answers here: callers export only once
        `handshake` has returned True.
        """
        name, key = label.encode(), _ffi.new("unsigned char[]", length)
        given = (b"", 0, 0) if context is None else (context, len(context), 1)
        if _lib.SSL_export_keying_material(self._ssl, key, length, name, len(name), *given) != 1:
            raise self._refused(SSL.Error())
        exported: bytes = _ffi.buffer(key, length)[:]
        return exported

    def export_secrets(self, label: str, length: int, contexts: Iterable[bytes]) -> list[Secret]:
        """Return the keying material of each context, as `export` does, and leave no copy of it."""
        name, key = label.encode(), _ffi.new("unsigned char[]", length)
        ssl, size, export = self._ssl, len(name), _lib.SSL_export_keying_material
        view, found = _ffi.buffer(key, length), []
        for context in contexts:
            if export(ssl, key, length, name, size, context, len(context), 1) != 1:
                raise self._refused(SSL.Error())
            found.append(Secret(bytearray(view)))
        view[:] = bytes(length)
        return found

    @property
    def peer_certificate(self) -> bytes:
        """The certificate whose key the peer proved to hold, DER, empty if none."""
        certificate = self._connection.get_peer_certificate()
        return b"" if certificate is None else _der(certificate)

    @property
    def peer_public_key(self) -> bytes:
        """That certificate's SubjectPublicKeyInfo, DER, empty if none."""
        certificate = self._connection.get_peer_certificate()
        if certificate is None:
            return b""
        return crypto.dump_publickey(crypto.FILETYPE_ASN1, certificate.get_pubkey())

    @property
    def peer_chain(self) -> tuple[bytes, ...]:
        """All certificates the peer sent, DER; OpenSSL leaves the leaf out on the server."""
        return tuple(map(_der, self._connection.get_peer_cert_chain() or ()))

    @property
    def alpn(self) -> str:
        """The negotiated application protocol, empty if none."""
        return self._connection.get_alpn_proto_negotiated().decode("latin-1")

    @property
    def srtp_profile(self) -> str:
        """The negotiated DTLS-SRTP profile, empty if none."""
        return self._connection.get_selected_srtp_profile().decode("latin-1")

    @property
    def group(self) -> str:
        """The key exchange group, in OpenSSL's spelling."""
        return self._connection.get_group_name() or ""

    @property
    def cipher(self) -> str:
        """The cipher suite, in OpenSSL's spelling."""
        return self._connection.get_cipher_name() or ""

    @property
    def protocol(self) -> str:
        """The protocol version: "DTLSv1.2" or "TLSv1.3"."""
        return self._connection.get_protocol_version_name()

    @property
    def extended_master_secret(self) -> bool:
        """The master secret covers the whole handshake (RFC 7627)."""
        # Asked of OpenSSL, never parsed from records: a decoy ServerHello fools a parser.
        return bool(_lib.SSL_get_extms_support(self._ssl) == 1)

    def _show(
        self, certificate: x509.Certificate | ReadyCertificate, key: PrivateKey | bytes
    ) -> None:
        if isinstance(certificate, x509.Certificate):
            certificate = ReadyCertificate(certificate)
        if not isinstance(key, bytes):
            key = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        ready = crypto.load_privatekey(crypto.FILETYPE_ASN1, key)
        raw = certificate.x509._x509  # type: ignore[attr-defined]  # noqa: SLF001 - see the docstring
        if (
            _lib.SSL_use_certificate(self._ssl, raw) != 1
            or _lib.SSL_use_PrivateKey(self._ssl, ready._pkey) != 1  # type: ignore[attr-defined]  # noqa: SLF001 - the same
        ):
            _lib.ERR_clear_error()
            raise UsageError("the certificate is not of this key")

    def _require_waiting(self, result: int) -> None:
        """Let a call pass that failed for want of bytes from the peer alone."""
        if _lib.SSL_get_error(self._ssl, result) != _lib.SSL_ERROR_WANT_READ:
            self._raise(result)

    def _raise(self, result: int) -> NoReturn:
        """Raise what pyOpenSSL makes of a call that failed."""
        try:
            self._connection._raise_ssl_error(self._ssl, result)  # noqa: SLF001 - see the module's docstring
        except SSL.ZeroReturnError:
            raise ChannelClosed from None
        except SSL.Error as e:
            raise self._refused(e) from None
        raise self._refused(SSL.Error())

    def _refused(self, error: SSL.Error) -> SecurityError:
        if self._judge.error is not None:
            cause = self._judge.error
            if isinstance(cause, SecurityError):
                return cause
            raise cause  # a bug of ours, not to be mistaken for the peer's
        causes = error.args[0] if error.args and isinstance(error.args[0], list) else []
        words = "; ".join(str(entry[-1]) for entry in causes) or "the association is closed"
        return SecurityError(f"the secure channel failed: {words}", reason=Reason.HANDSHAKE_FAILED)


class _Judge:
    """Asks the judge of one channel from inside OpenSSL, and holds nothing of the channel."""

    __slots__ = ("accept", "error")

    def __init__(self, accept: Callable[[bytes, int], bool] | None) -> None:
        self.accept = accept
        self.error: Exception | None = None

    def judge(self, certificate: crypto.X509, depth: int) -> bool:
        try:
            return self.accept is None or self.accept(_der(certificate), depth)
        except Exception as e:  # noqa: BLE001 - raised again where the caller stands
            self.error = e
            return False


def _verify(
    connection: SSL.Connection, peer: crypto.X509, _error: int, depth: int, _ok: int
) -> bool:
    judge = connection.get_app_data()
    return isinstance(judge, _Judge) and judge.judge(peer, depth)


def _der(certificate: crypto.X509) -> bytes:
    # Not through cryptography: its parser is stricter than OpenSSL's, and what it refuses must
    # still be compared, not escape as a foreign error.
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)


@functools.lru_cache(maxsize=16)
def _context(settings: ChannelSettings, *, client: bool) -> SSL.Context:
    """What channels of these settings share: 0.15 ms to make, and nothing that one leaves the next.

    It has no certificate or key, asks each connection for its judge, keeps no session and gives no
    ticket, so nobody resumes; and pyOpenSSL refuses to change it once it was used.
    """
    if settings.version is Version.DTLS_1_2:
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_min_proto_version(_DTLS_1_2)
        context.set_max_proto_version(_DTLS_1_2)
        context.set_cipher_list(settings.ciphers.encode())
    else:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.set_max_proto_version(SSL.TLS1_3_VERSION)
        context.set_tls13_ciphersuites(settings.ciphers.encode())
    context.set_options(
        SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_QUERY_MTU | SSL.OP_NO_COMPRESSION  # type: ignore[attr-defined]
    )
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify)
    raw = context._context  # noqa: SLF001 - see the module's docstring
    if _lib.SSL_CTX_set1_curves_list(raw, settings.groups.encode()) != 1:
        raise Unsupported(f"this build of OpenSSL lacks a key exchange of {settings.groups}")
    if _lib.SSL_CTX_set1_sigalgs_list(raw, settings.signature_algorithms.encode()) != 1:
        raise Unsupported(
            f"this build of OpenSSL lacks a signature of {settings.signature_algorithms}"
        )
    if settings.srtp_profiles:
        context.set_tlsext_use_srtp(":".join(settings.srtp_profiles).encode())
    if settings.alpn:
        wanted = [protocol.encode() for protocol in settings.alpn]
        if client:
            context.set_alpn_protos(wanted)
        else:

            def select(_c: object, offered: list[bytes]) -> bytes | SSL._NoOverlappingProtocols:  # type: ignore[name-defined]
                common = next((protocol for protocol in wanted if protocol in offered), None)
                return SSL.NO_OVERLAPPING_PROTOCOLS if common is None else common

            context.set_alpn_select_callback(select)
    return context
