"""What a TLS handshake demands and shows: a proved name, or nothing on a direct connection."""

from __future__ import annotations

import secrets
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from cryptography.hazmat.primitives import serialization

from securecall.errors import CertificateError, LocalError, UsageError
from securecall.transport.dtls_certificate import DtlsCertificate
from securecall.transport.server_identity import require_name

# Forward secrecy and an AEAD, or no connection. TLS 1.3 has nothing else.
_SUITES: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
_APPROVED_SUITES: Final = "ECDHE+AESGCM"


@dataclass(frozen=True, slots=True, kw_only=True)
class PemPair:
    """A certificate chain and its key, as PEM files.

    Attributes:
        certificate: The chain, leaf first.
        key: The private key; None where the chain's file holds it, too.
    """

    certificate: Path
    key: Path | None = None


class NotProved(ssl.SSLCertVerificationError):
    """The chain holds, but for another name."""


class _NameProving(ssl.SSLObject):
    """Its handshake is not done before the name is proved: nothing can be sent earlier."""

    def do_handshake(self) -> None:
        super().do_handshake()
        try:
            certificate = self.getpeercert() or {}
            # The type of the values is that of the whole dictionary; these are pairs of text.
            names = [(str(n[0]), str(n[1])) for n in certificate.get("subjectAltName", ())]
            require_name(names, self.server_hostname or "")
        except CertificateError as e:
            raise NotProved(str(e)) from e
        except ValueError as e:  # a name that is not even text
            raise NotProved("it names something that cannot be read") from e


class NameProvingContext(ssl.SSLContext):
    """Verifies chain and SIP domain (RFC 5922 7) within the handshake; from `client_context`.

    OpenSSL's own look at the name stays off: it takes wildcards, and knows nothing of SIP's URIs.
    """

    sslobject_class: type[ssl.SSLObject] = _NameProving

    def wrap_socket(self, *_: object, **__: object) -> NoReturn:
        """Refused: a plain SSLSocket would not look at the name."""
        raise UsageError("connections that prove a name are made by connect()")


def client_context(
    authorities: Path | None = None, *, approved: bool = False
) -> NameProvingContext:
    """Verify the server's name, always.

    Args:
        authorities: A PEM file of trusted roots in place of the system's.
        approved: Only with algorithms that NIST approves.

    Raises:
        LocalError: the file cannot be read.
    """
    context = NameProvingContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context, approved=approved)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    _trust(context, authorities)
    return context


def _trust(context: ssl.SSLContext, authorities: Path | None) -> None:
    try:
        if authorities is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        else:
            context.load_verify_locations(cafile=authorities)
    except (OSError, ssl.SSLError) as e:
        raise LocalError(f"cannot read the trusted certificates in {authorities}") from e


def xmpp_context(authorities: Path | None = None, *, alpn: bool = False) -> ssl.SSLContext:
    """Verify an XMPP domain (RFC 6120 13.7.2, RFC 7590 3.4): by dNSName, wildcards among them.

    A wildcard stands for one whole label, the first; a common name does not count. What Python's
    `ssl` cannot show (SRV-ID, id-on-xmppAddr) proves nothing here.

    Args:
        authorities: A PEM file of trusted roots in place of the system's.
        alpn: Say that it is XMPP: TLS comes first, not STARTTLS (XEP-0368 3).

    Raises:
        LocalError: the file cannot be read.
    """
    context = web_context(authorities)
    if alpn:
        context.set_alpn_protocols(["xmpp-client"])
    return context


def direct_client_context(*, approved: bool = False) -> ssl.SSLContext:
    """Verify nothing: only for direct connections, where identity evidence is mandatory."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context, approved=approved)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def web_context(authorities: Path | None = None) -> ssl.SSLContext:
    """Verify a web server's name (RFC 9525): a DNS name, wildcards among them, or its IP address.

    Args:
        authorities: A PEM file of trusted roots in place of the system's.

    Raises:
        LocalError: the file cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    context.hostname_checks_common_name = False
    _trust(context, authorities)
    return context


def server_context(certificate: PemPair, *, approved: bool = False) -> ssl.SSLContext:
    """Show a certificate that proves our name.

    Raises:
        LocalError: the files cannot be read, or do not fit each other.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context, approved=approved)
    try:
        context.load_cert_chain(certificate.certificate, certificate.key)
    except (OSError, ssl.SSLError) as e:
        raise LocalError(
            f"cannot use the certificate {certificate.certificate}: {e.strerror}"
        ) from e
    return context


def direct_server_context(*, approved: bool = False) -> ssl.SSLContext:
    """Show a throw-away self-signed certificate, made now and kept nowhere."""
    made = DtlsCertificate.generate("P-384" if approved else "P-256")
    # ssl reads keys from files alone: what touches the disk is encrypted, and gone at once.
    password = secrets.token_bytes(32)
    pem = made.certificate.public_bytes(serialization.Encoding.PEM) + made.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context, approved=approved)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "direct.pem")
        _ = path.write_bytes(pem)
        context.load_cert_chain(path, password=password)
    return context


def _harden(context: ssl.SSLContext, *, approved: bool = False) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_APPROVED_SUITES if approved else _SUITES)
    if approved:  # of TLS 1.3 Python's ssl cannot choose the suites, and ChaCha20 is among them
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ecdh_curve("secp384r1")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
