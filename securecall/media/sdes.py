"""Keys that stand in the description itself (SDES): one a=crypto line, read strictly (RFC 4568 9).

Whoever carries the description has the key, so this is for telephone gateways alone. Three suites
are taken. Everything that would weaken them, or that we could not keep to, makes a line useless:
other suites (short tags, NULL, F8), lifetimes that a call could outlast, master key identifiers,
several keys, and session parameters of any kind (KDR, UNENCRYPTED_SRTP, …).
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Final

from securecall.errors import ProtocolError
from securecall.secret import Secret

_RULE: Final = "RFC 4568 9"


@dataclass(frozen=True, slots=True)
class Suite:
    """A crypto-suite.

    Attributes:
        name: As registered (RFC 4568 6.2, RFC 7714 14.3).
        profile: The SRTP protection profile it is.
        size: Bytes of master key and master salt.
    """

    name: str
    profile: str
    size: int


SUITES: Final = {
    suite.name: suite
    for suite in (
        Suite("AEAD_AES_256_GCM", "SRTP_AEAD_AES_256_GCM", 32 + 12),
        Suite("AEAD_AES_128_GCM", "SRTP_AEAD_AES_128_GCM", 16 + 12),
        Suite("AES_CM_128_HMAC_SHA1_80", "SRTP_AES128_CM_SHA1_80", 16 + 14),
    )
}
"""What is taken, best first."""

_LINE: Final = re.compile(r"([0-9]{1,9})[ \t]+([A-Za-z0-9_]{1,64})[ \t]+inline:([!-~]{1,512})")
_LIFETIMES: Final = frozenset(
    {str(2**n) for n in range(31, 49)} | {f"2^{n}" for n in range(31, 49)}
)
"""Packets a key lasts: as many as no call sends, at most what SRTP allows (RFC 3711 9.2)."""


@dataclass(frozen=True, slots=True)
class CryptoLine:
    """One a=crypto line of a suite we take.

    Attributes:
        tag: Names it within its m-line; the answer repeats it.
        suite: Which of `SUITES`.
        key: Master key || master salt, of what the describer sends.
    """

    tag: int
    suite: Suite
    key: Secret = field(repr=False, hash=False)

    def same_key(self, other: CryptoLine) -> bool:
        """Whether both stand for one key, whatever their tags."""
        return self.suite == other.suite and self.key == other.key


def parse_crypto(text: str) -> CryptoLine:
    """Read what follows "a=crypto:".

    Raises:
        ProtocolError: it is malformed, or nothing that is taken; no message quotes any of it.
    """
    found = _LINE.fullmatch(text)
    if found is None:
        raise _refused("it is malformed, or has parameters")
    tag, name, key = found.groups()
    suite = SUITES.get(name)
    if suite is None:
        raise _refused("its suite is not taken")
    key, bar, lifetime = key.partition("|")
    if bar and lifetime not in _LIFETIMES:
        raise _refused("its key has an identifier, or a lifetime that a call could outlast")
    return CryptoLine(int(tag), suite, _key(key, suite))


def build_crypto(line: CryptoLine) -> str:
    """Write what follows "a=crypto:"; the key stands in it."""
    key = base64.b64encode(line.key.reveal()).decode("ascii")
    return f"{line.tag} {line.suite.name} inline:{key}"


def _key(text: str, suite: Suite) -> Secret:
    padded = text + "=" * (-len(text) % 4)  # which some leave out
    try:
        key = base64.b64decode(padded, validate=True)
    except (binascii.Error, ValueError):
        raise _refused("its key is not base64") from None
    if len(key) != suite.size or base64.b64encode(key).decode("ascii") != padded:
        raise _refused("its key does not have the length of its suite")
    return Secret(key)


def _refused(why: str) -> ProtocolError:
    return ProtocolError(f"an a=crypto line that is not taken: {why}", rule=_RULE)
