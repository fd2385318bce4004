"""PASSporT with `mky`: a device signs which certificates a call's media will show (RFC 8225).

    base64url(header) "." base64url(payload) "." base64url(r || s)
    header   {"alg":"ES256"[,"ppt":"rsp"],"typ":"passport","x5u":"urn:securecall:statement:1"}
    payload  {"dest":{"uri":["sip:.."]},"iat":seconds,"mky":[{"alg":"sha-256","dig":HEX},..],
              "orig":{"uri":"sip:.."}}

Members in lexical order, no white space (9): whatever is not spelled exactly so is refused. The
credential is self-asserted: the key is the P-256 key that an identity statement lists for a device,
and nothing is fetched from `x5u`, which only says so. A request is of the base type, a response of
type "rsp", with the `orig` and `dest` of its request and the callee as signer.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, NoReturn

from securecall.address import ANONYMOUS, Address, Scheme, parse_address
from securecall.errors import (
    AddressNotOwned,
    IdentityMismatch,
    ProtocolError,
    Reason,
    SecurityError,
    UsageError,
)
from securecall.keys.encoding import build_base64url, build_json, parse_base64url, parse_json
from securecall.keys.signed_json import integer, items, mapping, require_members, text
from securecall.keys.signing import (
    p256_generate,
    p256_public,
    p256_sign,
    require_p256_signature,
)
from securecall.secret import Secret

FRESH_SECONDS: Final = 60
REMEMBERED_SECONDS: Final = 180
MOST_REMEMBERED: Final = 4096  # of people we know: nobody else's are remembered
MAX_SIZE: Final = 8192  # characters of a token
MOST_DIGESTS: Final = 32
REQUEST: Final = ""
RESPONSE: Final = "rsp"
X5U: Final = "urn:securecall:statement:1"
# Types of the IANA registry that say something of telephone numbers, and nothing of media keys.
OF_OTHERS: Final = frozenset({"div", "div-o", "msg", "rcd", "rph", "shaken"})

Digest = tuple[str, bytes]
"""Lower-case hash name of RFC 8122, and the digest."""

_RULE: Final = "RFC 8225"
_SIZES: Final = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
_HEX: Final = re.compile(r"(?:[0-9A-F]{2})+")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PassportKey:
    """The P-256 key of this device.

    Attributes:
        scalar: The private key, 32 bytes.
        public: The uncompressed point, 65 bytes.
    """

    scalar: Secret = field(repr=False)
    public: bytes

    @classmethod
    def generate(cls) -> PassportKey:
        """Draw one."""
        return cls.from_scalar(p256_generate())

    @classmethod
    def from_scalar(cls, scalar: Secret) -> PassportKey:
        """Make the key of 32 bytes that were drawn before.

        Raises:
            UsageError: they are no P-256 key.
        """
        return cls(scalar=scalar, public=p256_public(scalar))

    def sign(self, data: bytes) -> bytes:
        """Return the ES256 signature of the data, r || s."""
        return p256_sign(self.scalar, data)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError("a PassportKey is never copied or serialised")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passport:
    """A token that was read; nothing of it is proved before `require_genuine`.

    Attributes:
        kind: REQUEST or RESPONSE.
        orig: Who calls.
        dest: Who is called.
        iat: Unix seconds of issue.
        mky: The digests as they stand, canonical JSON.
        signed: What the signature is over.
        signature: r || s.
    """

    kind: str
    orig: Address
    dest: tuple[Address, ...]
    iat: int
    mky: bytes
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    def require_about(
        self, *, kind: str, orig: Address, dest: Address, digests: Collection[Digest], unix: int
    ) -> None:
        """Refuse a token of another message than the one it came with.

        Args:
            kind: REQUEST in an INVITE, RESPONSE in its answer.
            orig: Who calls, as signalled.
            dest: Who is called.
            digests: Of every fingerprint in the description it came with.
            unix: When it came.

        Raises:
            AddressNotOwned: it is about others.
            SecurityError: it is of another kind or time.
            IdentityMismatch: the description has other fingerprints.
        """
        if self.kind != kind:
            raise IdentityMismatch("a PASSporT of another message stands in this one")
        if self.orig != orig or (
            dest not in self.dest if kind == REQUEST else self.dest != (dest,)
        ):
            raise AddressNotOwned("the PASSporT of this call is about other people")
        if abs(unix - self.iat) > FRESH_SECONDS:
            raise SecurityError(
                "the PASSporT of this call is not of this minute: it may be replayed, or one of "
                "the two clocks is wrong",
                reason=Reason.REPLAYED,
            )
        # Whole sets, in one comparison: neither may have what the other lacks.
        if not hmac.compare_digest(self.mky, _canonical(_mky(digests))):
            raise IdentityMismatch(
                "the certificates of this call are not those its PASSporT names; somebody in "
                "between put in others"
            )

    def require_genuine(self, keys: Iterable[bytes]) -> None:
        """Refuse a token that none of these keys signed.

        Args:
            keys: The P-256 keys of the devices that may speak for the signer's address.

        Raises:
            AddressNotOwned: none of them did.
        """
        for key in keys:
            try:
                require_p256_signature(key, self.signature, self.signed)
            except ProtocolError:
                continue
            return
        raise AddressNotOwned(
            "the PASSporT of this call was not signed by a device of the person it names"
        )


class Replays:
    """Remembers tokens that were found genuine, so that none counts twice.

    What was signed is remembered, not the signature: of an ECDSA signature anybody can make a
    second one (r, n - s).
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._seen: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def require_new(self, passport: Passport, *, unix: int) -> None:
        """Refuse what came before; what is new is remembered.

        Raises:
            SecurityError: it came before, or too many came at once.
        """
        name = hashlib.sha256(passport.signed).digest()
        self._seen = {n: end for n, end in self._seen.items() if end > unix}
        if name in self._seen:
            raise SecurityError(
                "the PASSporT of this call was used before: the invitation is replayed",
                reason=Reason.REPLAYED,
            )
        if len(self._seen) >= MOST_REMEMBERED:
            raise SecurityError("too many calls with PASSporTs at once", reason=Reason.REPLAYED)
        self._seen[name] = unix + REMEMBERED_SECONDS


def build_passport(
    key: PassportKey,
    *,
    kind: str,
    orig: Address,
    dest: Address,
    digests: Collection[Digest],
    unix: int,
) -> str:
    """Sign a token in full form.

    Raises:
        UsageError: an address is none of SIP, or there is no digest.
    """
    for address in (orig, dest):
        if address.scheme is not Scheme.SIP or address == ANONYMOUS:
            raise UsageError("a PASSporT is about two sip addresses")
    if not digests:
        raise UsageError("a PASSporT without fingerprints protects nothing")
    header = _canonical(
        {"alg": "ES256", "typ": "passport", "x5u": X5U} | ({"ppt": kind} if kind else {})
    )
    payload = _canonical(
        {
            "dest": {"uri": [str(dest)]},
            "iat": unix,
            "mky": _mky(digests),
            "orig": {"uri": str(orig)},
        }
    )
    signed = f"{build_base64url(header)}.{build_base64url(payload)}"
    return f"{signed}.{build_base64url(key.sign(signed.encode()))}"


def type_of(token: str) -> str:
    """The `ppt` of a token, REQUEST where it has none; all else of it stays unread.

    Others than `parse_passport` takes may spell their header in any order, with white space and
    escapes (RFC 7515 7.1); of one with a member twice nobody knows what it says (RFC 7515 4).

    Raises:
        ProtocolError: it is no token in full form.
    """
    return text(_object(_header(token)).get("ppt", REQUEST))


def parse_passport(token: str) -> Passport:
    """Read a token strictly; see the module's docstring for the one spelling that is taken.

    Raises:
        ProtocolError: anything else.
    """
    header = _canonical_object(_header(token))
    kind = text(header.get("ppt", REQUEST))
    if "ppt" in header and kind != RESPONSE:
        raise _refused(f"a type that is not known: {kind[:20]!r}")
    if header.get("alg") != "ES256":
        raise _refused("an algorithm other than ES256")
    require_members(header, ("alg", "typ", "x5u", "ppt") if kind else ("alg", "typ", "x5u"))
    if header["typ"] != "passport" or not text(header["x5u"]):
        raise _refused("another type of token")
    first, second, third = token.split(".")
    payload = _canonical_object(parse_base64url(second))
    require_members(payload, ("dest", "iat", "mky", "orig"))
    signature = parse_base64url(third)
    if len(signature) != 64:
        raise _refused("a signature of another length")
    return Passport(
        kind=kind,
        orig=_address(_only(payload["orig"], "uri")),
        dest=_addresses(_only(payload["dest"], "uri")),
        iat=integer(payload["iat"]),  # erratum 5985: not the text that 7.1 prints
        mky=_canonical(_require_mky(payload["mky"])),
        signed=f"{first}.{second}".encode(),
        signature=signature,
    )


def _header(token: str) -> bytes:
    if len(token) > MAX_SIZE:
        raise _refused(f"more than {MAX_SIZE} characters")
    if token.count(".") != 2 or token.startswith(".."):
        raise _refused("no token in full form")
    return parse_base64url(token.partition(".")[0])


def _object(data: bytes) -> dict[str, object]:
    return parse_json(data, max_size=MAX_SIZE, max_depth=4)


def _canonical_object(data: bytes) -> dict[str, object]:
    value = _object(data)
    if _canonical(value) != data:
        raise _refused("not in canonical form (9)")
    return value


def _canonical(value: object) -> bytes:
    return build_json({"": _ordered(value)})[4:-1]  # as it would stand within an object


def _ordered(value: object) -> object:
    if isinstance(value, dict):
        return {name: _ordered(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    return value


def _mky(digests: Collection[Digest]) -> list[object]:
    found = sorted({(name, value.hex().upper()) for name, value in digests})
    return [{"alg": name, "dig": value} for name, value in found]


def _require_mky(value: object) -> list[object]:
    digests = items(value, MOST_DIGESTS)
    found: list[tuple[str, str]] = []
    for item in digests:
        digest = mapping(item)
        require_members(digest, ("alg", "dig"))
        name, digits = text(digest["alg"]), text(digest["dig"])
        if len(digits) != 2 * _SIZES.get(name, 0) or not _HEX.fullmatch(digits):
            raise _refused("a fingerprint of another form")
        found.append((name, digits))
    if not found or found != sorted(set(found)):
        raise _refused("mky is empty, not sorted, or names something twice")
    return digests


def _only(value: object, name: str) -> object:
    found = mapping(value)
    require_members(found, (name,))
    return found[name]


def _addresses(value: object) -> tuple[Address, ...]:
    found = tuple(_address(item) for item in items(value, MOST_DIGESTS))
    if not found:
        raise _refused("dest names nobody")
    return found


def _address(value: object) -> Address:
    name = text(value)
    address = parse_address(name)
    if str(address) != name or address.scheme is not Scheme.SIP or address == ANONYMOUS:
        raise _refused("not a sip address in canonical form")
    return address


def _refused(why: str) -> ProtocolError:
    return ProtocolError(f"a PASSporT: {why}", rule=_RULE)
