"""The succession of roots: signed by the old root and the new, it says that one follows the other.

A JWS in the General JSON Serialisation whose payload is one JSON object:

    {"v":1, "old":{"ed25519":b64u[,"mldsa65":b64u]}, "new":{..}, "iat":s}

Each key of `old`, then each of `new`, signs, in this order. It has no expiry: somebody may come
back after a year and has to be able to follow. Devices carry it in their entries of the statement
of the new root, oldest first, so it arrives wherever that does; docs/spec/identity-lifecycle.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from securecall.errors import ProtocolError, StatementInvalid, UsageError
from securecall.keys.encoding import build_base64url, build_json
from securecall.keys.identity import RootKey
from securecall.keys.signed_json import (
    MAX_AHEAD,
    integer,
    open_jws,
    refused,
    require_members,
    require_root_signatures,
    root_keys,
)

MAX_SIZE: Final = 24 * 1024  # bytes, with two keys and signatures of ML-DSA-65 each
MAX_CHAIN: Final = 4  # successions that a statement carries
_DEPTH: Final = 4
_PROTECTED: Final = b'{"alg":"Ed25519","typ":"securecall-succession+jws"}'
_PROTECTED_MLDSA: Final = b'{"alg":"ML-DSA-65","typ":"securecall-succession+jws"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Succession:
    """One root that followed another; every signature was checked.

    Attributes:
        old: Fingerprint of the root that ended, 64 bytes.
        new: Fingerprint of the one that follows.
        iat: Unix seconds of issue.
        raw: The whole JWS.
    """

    old: bytes = field(repr=False)
    new: bytes = field(repr=False)
    iat: int
    raw: bytes = field(repr=False)


def build_succession(old: RootKey, new: RootKey, *, iat: int) -> bytes:
    """Sign that `new` follows `old`.

    Args:
        old: The root that contacts have pinned; barred for them from then on.
        new: The root to trust instead.
        iat: Unix seconds of issue.

    Raises:
        UsageError: the two are one.
        NotPrimary: one of them is not held here.
    """
    if old.public == new.public:
        raise UsageError("a root does not follow itself")
    payload = build_json(
        {
            "v": 1,
            "old": {"ed25519": build_base64url(old.public)},
            "new": {"ed25519": build_base64url(new.public)},
            "iat": iat,
        }
    )
    body, protected = build_base64url(payload), build_base64url(_PROTECTED)
    signed = f"{protected}.{body}".encode("ascii")
    return build_json(
        {
            "payload": body,
            "signatures": [
                {"protected": protected, "signature": build_base64url(root.sign(signed))}
                for root in (old, new)
            ],
        }
    )


def parse_succession(data: bytes, *, unix: int) -> Succession:
    """Read a succession and check all of it.

    Args:
        data: The JWS, from anywhere.
        unix: Unix seconds now.

    Raises:
        StatementInvalid: a rule is broken or a signature does not hold.
    """
    try:
        return _parse(data, unix)
    except ProtocolError as e:
        raise StatementInvalid(f"the succession of roots is not valid: {e}") from e


def parse_chain(items: Sequence[bytes], root_fp: bytes, *, unix: int) -> tuple[Succession, ...]:
    """Read the successions of one statement, oldest first: a chain that ends at its root.

    Raises:
        StatementInvalid: one does not hold, or they are no such chain.
    """
    if len(items) > MAX_CHAIN:
        raise StatementInvalid(f"more than {MAX_CHAIN} successions of roots")
    chain = tuple(parse_succession(item, unix=unix) for item in items)
    ends = [*(each.old for each in chain), root_fp]
    if len(set(ends)) != len(ends):
        raise StatementInvalid("a root follows itself, over others")
    if [each.new for each in chain] != ends[1:]:
        raise StatementInvalid("the successions do not lead to the root that shows them")
    return chain


def ancestors(chain: Sequence[Succession], root_fp: bytes) -> tuple[bytes, ...]:
    """The roots which a checked chain leads from to this one, the oldest first."""
    found: list[bytes] = []
    for each in reversed(chain):
        if each.new != (found[-1] if found else root_fp):
            break
        found.append(each.old)
    return tuple(reversed(found))


def _parse(data: bytes, unix: int) -> Succession:
    body, _, members, signatures = open_jws(data, max_size=MAX_SIZE, max_depth=_DEPTH)
    require_members(members, ("v", "old", "new", "iat"))
    old, new = root_keys(members["old"]), root_keys(members["new"])
    if old.ed25519 == new.ed25519 or (old.mldsa65 and old.mldsa65 == new.mldsa65):
        raise refused("the two roots share a key")
    iat = integer(members["iat"])
    if iat > unix + MAX_AHEAD:
        raise refused("iat lies more than a day ahead")
    require_root_signatures(signatures, body, (old, new), (_PROTECTED, _PROTECTED_MLDSA))
    return Succession(old=old.fingerprint, new=new.fingerprint, iat=iat, raw=bytes(data))
