"""An organisation's word for a key of its staff: a countersignature, built, read and weighed.

A JWS in the General JSON Serialisation, under the organisation's root key, whose payload is

    {"v":1, "org":domain, "org_root":b64u, "root":b64u(root_fp), "addr":text, "seq":ms, "iat":s,
     "exp":s[, "withdrawn":true]}

It says that the root speaks for this one address, whose host is the organisation's domain. A word
with a higher `seq` about the same address replaces it. What was withdrawn stays withdrawn: a person
who comes back comes back with a new identity.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from securecall.address import Address, parse_address
from securecall.errors import (
    AddressNotOwned,
    IdentityChanged,
    IdentityMismatch,
    ProtocolError,
    Reason,
    Revoked,
    SecurityError,
    StatementInvalid,
    UsageError,
)
from securecall.keys.encoding import build_base64url, parse_pasted
from securecall.keys.identity import (
    FINGERPRINT_SIZE,
    RootKey,
    require_ed25519_public,
    root_fingerprint,
)
from securecall.keys.signed_json import (
    build_jws,
    exact_bytes,
    integer,
    open_jws,
    refused,
    require_dates,
    require_members,
    signatures_of,
    text,
)
from securecall.keys.signing import require_ed25519_signature
from securecall.keys.statement_content import MAX_LIFETIME

PROTECTED: Final = b'{"alg":"Ed25519","typ":"securecall-org+jws"}'
MAX_SIZE: Final = 4096  # bytes
_MAX_WITHDRAWN: Final = 256  # roots of one address
_CODE: Final = "securecall:org:1:"
_MEMBERS: Final = ("v", "org", "org_root", "root", "addr", "seq", "iat", "exp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Countersignature:
    """One word of an organisation, its signature checked; whose word counts is for the trust book.

    Attributes:
        domain: The organisation's.
        organisation_fp: Fingerprint of the organisation's root, which signed.
        root_fp: Fingerprint of the person's root.
        address: For which address that root speaks.
        seq: Version, in milliseconds of Unix time.
        iat: Unix seconds of issue.
        exp: Unix seconds of expiry.
        withdrawn: It takes the organisation's word back, for ever.
        raw: The whole JWS.
    """

    domain: str
    organisation_fp: bytes = field(repr=False)
    root_fp: bytes = field(repr=False)
    address: Address
    seq: int
    iat: int
    exp: int
    withdrawn: bool
    raw: bytes = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastWord:
    """What an organisation said of one address so far.

    Attributes:
        latest: The word with the highest `seq`.
        withdrawn: Fingerprints of every root whose vouching was ever taken back there.
    """

    latest: Countersignature
    withdrawn: frozenset[bytes] = field(default=frozenset(), repr=False)

    def require_not_withdrawn(self, root_fp: bytes) -> None:
        """Refuse a root whose vouching was taken back.

        Raises:
            Revoked: it was.
        """
        if root_fp in self.withdrawn:
            latest = self.latest
            raise Revoked(
                f"{latest.domain} does not vouch for this key of {latest.address.short} any more"
            )

    def vouches_for(self, root_fp: bytes, *, unix: int) -> bool:
        """Whether the organisation's word holds for this root now."""
        latest = self.latest
        return (
            latest.root_fp == root_fp
            and root_fp not in self.withdrawn
            and not latest.withdrawn
            and unix <= latest.exp
        )


@dataclass(frozen=True, slots=True)
class OrganisationCode:
    """What an organisation hands out so that people can trust it: its domain and root key."""

    domain: str
    public: bytes

    @property
    def fingerprint(self) -> bytes:
        """Of the root key, 64 bytes."""
        return root_fingerprint(self.public)


def build_countersignature(
    root: RootKey,
    *,
    domain: str,
    root_fp: bytes,
    address: Address,
    seq: int,
    iat: int,
    exp: int,
    withdrawn: bool = False,
) -> bytes:
    """Sign a word about one person of the organisation.

    Args:
        root: The organisation's.
        domain: The organisation's.
        root_fp: Fingerprint of the person's root.
        address: The person's, at this domain.
        seq: From `statement.next_seq`.
        iat: Unix seconds of issue.
        exp: Unix seconds of expiry, at most 14 days after `iat`.
        withdrawn: Take the organisation's word back.

    Raises:
        UsageError: every receiver would refuse it.
    """
    if not domain or address.host != domain:
        raise UsageError(f"{domain} can only vouch for addresses at {domain}")
    if len(root_fp) != FINGERPRINT_SIZE or root_fp == root.fingerprint:
        raise UsageError("an organisation vouches for the root fingerprint of a person")
    if not 0 < exp - iat <= MAX_LIFETIME:
        raise UsageError("an organisation's word holds for more than 0 and at most 14 days")
    payload: dict[str, object] = {
        "v": 1,
        "org": domain,
        "org_root": build_base64url(root.public),
        "root": build_base64url(root_fp),
        "addr": str(address),
        "seq": seq,
        "iat": iat,
        "exp": exp,
    }
    if withdrawn:
        payload["withdrawn"] = True
    return build_jws(payload, PROTECTED, root)


def parse_countersignature(data: bytes, *, unix: int) -> Countersignature:
    """Read a countersignature and check all of it but whose root signed; an expired one is read.

    Args:
        data: The JWS, from anywhere.
        unix: Unix seconds now.

    Raises:
        StatementInvalid: a rule is broken or the signature does not hold.
    """
    try:
        return _parse(data, unix)
    except ProtocolError as e:
        raise StatementInvalid(f"the organisation's word is not valid: {e}") from e


def _parse(data: bytes, unix: int) -> Countersignature:
    body, _, members, signatures = open_jws(data, max_size=MAX_SIZE, max_depth=4)
    require_members(members, _MEMBERS, optional=("withdrawn",))
    public = exact_bytes(members["org_root"], 32)
    ((raw, signed),) = signatures_of(signatures, body, (PROTECTED,))
    require_ed25519_public(public)
    require_ed25519_signature(public, raw, signed)
    if members.get("withdrawn", True) is not True:
        raise refused("withdrawn is true or not there")
    seq, iat, exp = (integer(members[name]) for name in ("seq", "iat", "exp"))
    require_dates(seq=seq, iat=iat, exp=exp, unix=unix)
    domain, named = text(members["org"]), text(members["addr"])
    address = parse_address(named)
    if str(address) != named:
        raise refused("an address that is not in canonical form")
    if not domain or address.host != domain:
        raise refused("an address at another domain")
    return Countersignature(
        domain=domain,
        organisation_fp=root_fingerprint(public),
        root_fp=exact_bytes(members["root"], FINGERPRINT_SIZE),
        address=address,
        seq=seq,
        iat=iat,
        exp=exp,
        withdrawn="withdrawn" in members,
        raw=bytes(data),
    )


def require_word(
    word: Countersignature,
    *,
    domain: str,
    organisation_fp: bytes,
    address: Address,
    root_fp: bytes = b"",
) -> None:
    """Refuse a word that is not this organisation's, or is about somebody else.

    Args:
        word: As it came.
        domain: The organisation we trust for the address.
        organisation_fp: Its root's fingerprint, as pinned.
        address: Of the person.
        root_fp: The root the person proved, b"" where nobody proved one.

    Raises:
        IdentityChanged: the organisation has another root than the one pinned.
        AddressNotOwned: it is about another address.
        IdentityMismatch: it is about another root.
    """
    if word.domain != domain or word.address != address:
        raise AddressNotOwned(f"the organisation's word is not about {address.short}")
    if word.organisation_fp != organisation_fp:
        raise IdentityChanged(
            f"{domain} signs with another key than the one you know; ask the organisation before "
            "you trust that"
        )
    if root_fp and word.root_fp != root_fp:
        raise IdentityMismatch("the organisation's word is about somebody else's key")


def weigh(known: LastWord | None, seen: Countersignature) -> LastWord:
    """Weigh a word against what the same organisation said of the same address before.

    An older word for the root that is vouched for changes nothing: another device of that person
    may not have the newest one yet.

    Raises:
        Revoked: it vouches for a root whose vouching was taken back.
        SecurityError: ROLLBACK, it is older than a word that vouches for another root, or another
            one under the same number.
        UsageError: the two are of different organisations, or about different addresses.
    """
    if known is None:
        gone = frozenset({seen.root_fp}) if seen.withdrawn else frozenset[bytes]()
        return LastWord(latest=seen, withdrawn=gone)
    latest = known.latest
    if (latest.organisation_fp, latest.address) != (seen.organisation_fp, seen.address):
        raise UsageError("words of different organisations, or about different people")
    if not seen.withdrawn:
        known.require_not_withdrawn(seen.root_fp)
    if seen.withdrawn:
        gone = known.withdrawn | {seen.root_fp}
        if len(gone) > _MAX_WITHDRAWN:
            raise StatementInvalid("the organisation withdrew more keys than anybody has")
        return LastWord(latest=max(latest, seen, key=lambda word: word.seq), withdrawn=gone)
    if seen.seq < latest.seq and seen.root_fp == latest.root_fp:
        return known
    if seen.seq < latest.seq or (seen.seq == latest.seq and seen != latest):
        raise SecurityError(
            f"an older word of {seen.domain} about {seen.address.short} than the one known",
            reason=Reason.ROLLBACK,
        )
    return LastWord(latest=seen, withdrawn=known.withdrawn)


def build_organisation_code(code: OrganisationCode) -> str:
    """Return the text by which people come to trust an organisation, also as a QR code.

    Raises:
        UsageError: the domain is none.
    """
    if not _is_domain(code.domain):
        raise UsageError(f"not a domain: {code.domain[:60]!r}")
    return f"{_CODE}{code.domain}:{build_base64url(code.public)}"


def parse_organisation_code(data: str) -> OrganisationCode:
    """Read such a text.

    Raises:
        ProtocolError: it is something else.
    """
    if len(data) > 512 or not data.startswith(_CODE):
        raise ProtocolError("not the code of an organisation", rule="organisation code")
    domain, _, key = data.removeprefix(_CODE).partition(":")
    public = parse_pasted(key, size=32, rule="organisation code")
    require_ed25519_public(public)
    if not _is_domain(domain):
        raise ProtocolError("not the domain of an organisation", rule="organisation code")
    return OrganisationCode(domain, public)


def _is_domain(domain: str) -> bool:
    try:
        return parse_address(f"sip:x@{domain}").host == domain
    except ProtocolError:
        return False
