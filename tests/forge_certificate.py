"""Certificates that no honest authority makes; the pieces to build any chain of them."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
from OpenSSL import crypto

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
PEM = serialization.Encoding.PEM
SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Forged:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(PEM)


def key(bits: int = 0) -> Key:
    """A P-256 key, or an RSA key of so many bits."""
    if bits:
        return rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return ec.generate_private_key(ec.SECP256R1())


def alternative(name: str) -> x509.GeneralName:
    """A SAN entry: "sip:a" and "sips:a" are URIs, "dns:1.2.3.4" insists on a dNSName."""
    if name.startswith("dns:"):
        return x509.DNSName(name.removeprefix("dns:"))
    if name.startswith(("sip:", "sips:", "SIP:", "https:")):
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def raw_names(*names: bytes) -> x509.UnrecognizedExtension:
    """A SAN of dNSNames that hold any bytes."""
    body = b"".join(b"\x82" + bytes([len(n)]) + n for n in names)
    return x509.UnrecognizedExtension(
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"\x30" + bytes([len(body)]) + body
    )


def usage(*, certificates: bool, signatures: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        signatures, False, False, False, False, certificates, certificates, False, False
    )


def forge(
    by: Forged | None = None,
    *names: str,
    common_name: str = "x",
    authority: bool = False,
    path_length: int | None = None,
    uses: Sequence[x509.ObjectIdentifier] = SERVER,
    key_usage: x509.KeyUsage | None = None,
    since: datetime.timedelta = -DAY,
    until: datetime.timedelta = DAY,
    bits: int = 0,
    more: Sequence[tuple[x509.ExtensionType, bool]] = (),
    digest: str = "sha256",
) -> Forged:
    """A certificate as told, signed by another or by itself."""
    own = key(bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = x509.CertificateBuilder(
        by.certificate.subject if by else subject,
        subject,
        own.public_key(),
        x509.random_serial_number(),
        NOW + since,
        NOW + until,
    )
    builder = builder.add_extension(
        x509.BasicConstraints(authority, path_length if authority else None), critical=True
    )
    if authority:
        key_usage = key_usage or usage(certificates=True, signatures=False)
    else:
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    if key_usage:
        builder = builder.add_extension(key_usage, critical=True)
    if names:
        san = x509.SubjectAlternativeName([alternative(n) for n in names])
        builder = builder.add_extension(san, critical=False)
    for extension, critical in more:
        builder = builder.add_extension(extension, critical=critical)
    signer = by.key if by else own
    made = Forged(builder.sign(signer, hashes.SHA256()), own)
    if digest == "sha256":
        return made
    old = crypto.X509.from_cryptography(made.certificate)
    with warnings.catch_warnings():  # nothing else signs with what is long forbidden
        warnings.simplefilter("ignore", DeprecationWarning)
        old.sign(crypto.PKey.from_cryptography_key(signer), digest)
    return Forged(old.to_cryptography(), own)


def server_context(folder: Path, leaf: Forged, *chain: Forged) -> ssl.SSLContext:
    """Shows a chain; without any of our own demands on keys, versions and suites."""
    path = folder / f"{leaf.certificate.serial_number}.pem"
    secret = leaf.key.private_bytes(
        PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(leaf.pem + b"".join(c.pem for c in chain) + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(path)
    return context
