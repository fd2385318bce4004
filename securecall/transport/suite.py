"""Which algorithms the handshakes of a call use: each ALPN name means one, never a list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """The algorithms of both handshakes of a call, named by what ALPN carries.

    Two ends with different suites find no protocol in common, and no DTLS group either.

    Attributes:
        protocol: ALPN of the outer and of the inner handshake.
        curve: Of the throw-away DTLS certificate, which is signed with the hash of its strength.
        ciphers: Of DTLS, in OpenSSL's names.
        groups: Of DTLS, in OpenSSL's names, most wanted first.
        group_names: What OpenSSL may call them afterwards, lower case.
        signatures: Of DTLS, in OpenSSL's names.
        inner_group: The one key exchange of the inner TLS.
        approved: NIST approves each of them (SP 800-52, SP 800-56A, FIPS 186-5, FIPS 203).
    """

    protocol: str
    curve: str
    ciphers: str
    groups: str
    group_names: frozenset[str]
    signatures: str
    inner_group: str
    approved: bool = False


ORDINARY: Final = Suite(
    protocol="securecall-id/1",
    curve="P-256",
    ciphers=(
        "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256"
    ),
    groups="X25519:P-256",
    group_names=frozenset({"x25519", "secp256r1", "prime256v1", "p-256"}),
    signatures="ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:ed25519",
    inner_group="X25519MLKEM768",
)


def _approved(protocol: str, inner_group: str) -> Suite:
    return Suite(
        protocol=protocol,
        curve="P-384",
        ciphers="ECDHE-ECDSA-AES256-GCM-SHA384",
        groups="P-384",
        group_names=frozenset({"secp384r1", "p-384"}),
        signatures="ECDSA+SHA384",
        inner_group=inner_group,
        approved=True,
    )


FIPS: Final = _approved("securecall-id/1-fips", "SecP384r1MLKEM1024")
FIPS_CLASSICAL: Final = _approved("securecall-id/1-fips-classical", "secp384r1")
"""For builds of OpenSSL without ML-KEM: not safe against a later quantum computer."""
