"""What a server's certificate says: whose it is, who made it, and from when to when it holds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from securecall.errors import ProtocolError

END_POINT: Final = "tls-server-end-point"
# There are none, or they are such that nobody could say which: not even text, listed twice, of a
# kind that is not known.
_NO_NAMES: Final = (
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    ValueError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCertificate:
    """The facts of one certificate; claims, unless the connection it came by was verified.

    Attributes:
        names: The entries of subjectAltName: kind ("URI", "DNS", "IP Address") and value.
        subject: Whose it is, for people; "" if it does not say.
        issuer: Whose signature it carries, for people.
        since: Unix seconds.
        until: Unix seconds.
        sent: How many certificates the server sent, itself among them; 0 if not known.
    """

    names: tuple[tuple[str, str], ...]
    subject: str
    issuer: str
    since: float
    until: float
    sent: int = 0


def parse_certificate(der: bytes, *, sent: int = 0) -> ServerCertificate:
    """Read a certificate; nothing of it is verified.

    Args:
        der: As it was sent.
        sent: How many came with it.

    Raises:
        ProtocolError: it cannot be read.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        return ServerCertificate(
            names=_names(certificate),
            subject=_in_words(certificate.subject),
            issuer=_in_words(certificate.issuer),
            since=certificate.not_valid_before_utc.timestamp(),
            until=certificate.not_valid_after_utc.timestamp(),
            sent=sent,
        )
    except (ValueError, x509.InvalidVersion) as e:
        raise ProtocolError("the certificate cannot be read", rule="RFC 5280 4.1") from e


def _names(certificate: x509.Certificate) -> tuple[tuple[str, str], ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except _NO_NAMES:
        return ()
    return (
        *(("URI", uri) for uri in found.get_values_for_type(x509.UniformResourceIdentifier)),
        *(("DNS", name) for name in found.get_values_for_type(x509.DNSName)),
        *(("IP Address", str(ip)) for ip in found.get_values_for_type(x509.IPAddress)),
    )


def _in_words(name: x509.Name) -> str:
    oids = (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)
    parts = [str(a.value) for oid in oids for a in name.get_attributes_for_oid(oid)[:1]]
    return ", ".join(dict.fromkeys(parts)) or name.rfc4514_string()


def end_point(der: bytes) -> bytes:
    """The channel binding that the server's certificate makes (RFC 5929 4.1), b"" if none."""
    try:
        used = x509.load_der_x509_certificate(der).signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return b""
    if used is None:  # Ed25519 hashes within: nobody says which hash it would be
        return b""
    name = "sha256" if used.name in ("md5", "sha1") else used.name
    try:
        return hashlib.new(name, der).digest()
    except ValueError:
        return b""
