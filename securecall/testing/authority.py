"""A throw-away certificate authority: whoever trusts it trusts any name it likes to certify.

For a provider's proxy in tests and demonstrations, and for the attacker who runs one.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from securecall.transport.tls import PemPair

_NAME: Final = "securecall throw-away authority"
_VALID: Final = datetime.timedelta(days=2)
_BEFORE: Final = datetime.timedelta(days=3)


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority in a folder.

    Attributes:
        folder: Where its files are.
        pem: The certificate to trust, for `Client.sign_in(authorities=...)`.
    """

    folder: Path
    pem: Path
    _certificate: x509.Certificate = field(repr=False)
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def make(cls, folder: Path) -> Authority:
        """Write a new authority's certificate into a folder; its key stays in memory."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(_NAME, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(sign_certificates=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        folder.mkdir(parents=True, exist_ok=True)
        pem = folder / "authority.pem"
        _ = pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(folder, pem, certificate, key)

    def issue(
        self,
        name: str,
        *more: str,
        lasting: datetime.timedelta = _VALID,
        key: rsa.RSAPrivateKey | None = None,
    ) -> PemPair:
        """Certify a server for these host names, IP addresses and SIP domains ("sip:a.example").

        Args:
            name: The first of them.
            more: The others.
            lasting: From now; a certificate for the past, of up to three days, has expired.
            key: Of the server; by default a new one on P-256.

        Returns:
            Chain and key, written beside the authority's certificate; the key for its owner only.
        """
        own = key or ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(name, own.public_key(), lasting)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            .add_extension(
                x509.SubjectAlternativeName([_alternative(n) for n in (name, *more)]),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        stem = "".join(c if c.isalnum() or c in ".-" else "_" for c in name)
        chain, secret = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        pem = serialization.Encoding.PEM
        _ = chain.write_bytes(certificate.public_bytes(pem) + self._certificate.public_bytes(pem))
        secret.touch(mode=0o600)
        _ = secret.write_bytes(
            own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return PemPair(certificate=chain, key=secret)


def _builder(
    subject: str,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    lasting: datetime.timedelta = _VALID,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return x509.CertificateBuilder(
        issuer_name=_name(_NAME),
        subject_name=_name(subject),
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=now - _BEFORE,
        not_valid_after=now + lasting,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _alternative(name: str) -> x509.GeneralName:
    if name.startswith("sip:"):
        return x509.UniformResourceIdentifier(name)  # RFC 5922 6
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )
