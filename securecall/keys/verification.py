"""What two people compare: the words of a call, their safety number, a QR code.

The words of a call (SAS) prove one association, once; the safety number and the code prove the two
root keys, in every call and on every network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from securecall.errors import IdentityMismatch, ProtocolError, UsageError
from securecall.keys.encoding import build_base64url, label, parse_pasted, sha512
from securecall.keys.identity import FINGERPRINT_SIZE
from securecall.keys.wordlist import words

SAS_SIZE: Final = 8
_CODE: Final = "securecall:verify:1:"
_GROUPS: Final = 12
_RULE: Final = "verification code"


@dataclass(frozen=True, slots=True)
class Sas:
    """The short authentication string of one call, in both spellings.

    Attributes:
        words: Three words of 11 bits each.
        digits: Ten digits; for people without a common language.
    """

    words: tuple[str, str, str]
    digits: str


@dataclass(frozen=True, slots=True)
class VerificationCode:
    """What a verification QR code says.

    Attributes:
        own: Root fingerprint of the person whose device shows the code.
        peer: Root fingerprint that person holds for the one who scans it.
    """

    own: bytes
    peer: bytes


def sas(secret: bytes) -> Sas:
    """Spell the 8 bytes both ends derived; never call it before both DONEs.

    Raises:
        UsageError: not 8 bytes.
    """
    if len(secret) != SAS_SIZE:
        raise UsageError("a short authentication string is made of 8 bytes")
    x = int.from_bytes(secret, "big")
    listed = words()
    return Sas(
        (listed[x >> 53 & 2047], listed[x >> 42 & 2047], listed[x >> 31 & 2047]),
        f"{x % 10**10:010d}",
    )


def safety_number(one: bytes, other: bytes) -> str:
    """Return the 60 digits, in groups of five, that two root fingerprints have in common.

    The order of the two does not matter: both people see the same number.

    Raises:
        UsageError: not two different fingerprints of 64 bytes.
    """
    _require_fingerprints(one, other)
    first, second = sorted((one, other))
    digest = sha512(label("safety-number 1") + first + second)
    chunks = (digest[5 * n : 5 * n + 5] for n in range(_GROUPS))
    return " ".join(f"{int.from_bytes(chunk, 'big') % 100_000:05d}" for chunk in chunks)


def build_verification_code(code: VerificationCode) -> str:
    """Return the text of the QR code: "securecall:verify:1:<own>:<peer>", both base64url.

    Raises:
        UsageError: not two different fingerprints of 64 bytes.
    """
    _require_fingerprints(code.own, code.peer)
    return f"{_CODE}{build_base64url(code.own)}:{build_base64url(code.peer)}"


def parse_verification_code(text: str) -> VerificationCode:
    """Read the text of such a QR code.

    Raises:
        ProtocolError: it is something else.
    """
    if len(text) > 256 or not text.startswith(_CODE):
        raise ProtocolError("not a verification code of securecall", rule=_RULE)
    own, _, peer = text.removeprefix(_CODE).partition(":")
    code = VerificationCode(
        *(parse_pasted(each, size=FINGERPRINT_SIZE, rule=_RULE) for each in (own, peer))
    )
    if code.own == code.peer:
        raise ProtocolError("it does not hold two fingerprints", rule=_RULE)
    return code


def require_verification_code(code: VerificationCode, *, own: bytes, peer: bytes) -> None:
    """Refuse a scanned code that does not show the peer's root and ours.

    Args:
        code: As scanned from the peer's screen.
        own: Our root fingerprint.
        peer: The root fingerprint we hold for the peer.

    Raises:
        IdentityMismatch: one of the two differs.
    """
    # Crosswise: what the peer calls its own must be what we hold for it, and the reverse.
    if code.own != peer or code.peer != own:
        raise IdentityMismatch("the code shows other keys: do not trust this key")


def _require_fingerprints(one: bytes, other: bytes) -> None:
    if len(one) != FINGERPRINT_SIZE or len(other) != FINGERPRINT_SIZE or one == other:
        raise UsageError("two different root fingerprints of 64 bytes are needed")
