"""What people sign, read strictly: JSON in a JWS (RFC 7515 7.2.1), one form for one meaning.

Every function raises `ProtocolError` for what is not as it has to be.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from securecall.errors import ProtocolError
from securecall.keys.encoding import build_base64url, build_json, parse_base64url, parse_json
from securecall.keys.identity import RootKey, root_fingerprint
from securecall.keys.signing import require_ed25519_signature, require_mldsa65_signature

MAX_LIFETIME: Final = 14 * 86400  # seconds
MAX_AHEAD: Final = 86400  # seconds a clock may run ahead
_MLDSA65_PUBLIC_SIZE: Final = 1952
_RULE: Final = "securecall signed JSON"


class RootKeys(NamedTuple):
    """The public keys of a root; `mldsa65` is b"" where it has none."""

    ed25519: bytes
    mldsa65: bytes

    @property
    def fingerprint(self) -> bytes:
        """The root's, 64 bytes."""
        return root_fingerprint(*self)


def build_jws(payload: dict[str, object], protected: bytes, root: RootKey) -> bytes:
    """Sign a payload under this protected header."""
    header, body = build_base64url(protected), build_base64url(build_json(payload))
    signature = build_base64url(root.sign(f"{header}.{body}".encode("ascii")))
    return build_json(
        {"payload": body, "signatures": [{"protected": header, "signature": signature}]}
    )


def open_jws(
    data: bytes, *, max_size: int, max_depth: int
) -> tuple[str, bytes, dict[str, object], object]:
    """Take a JWS apart; nothing is verified yet.

    Returns:
        The payload as signed, its bytes, its members, and the signatures.
    """
    outer = parse_json(data, max_size=max_size, max_depth=max_depth)
    require_members(outer, ("payload", "signatures"))
    body = text(outer["payload"])
    payload = parse_base64url(body)
    members = parse_json(payload, max_size=max_size, max_depth=max_depth)
    # The version first: what else stands in another version is not ours to judge.
    if integer(members.get("v")) != 1:
        raise refused("another version")
    return body, payload, members, outer["signatures"]


def signatures_of(
    value: object, body: str, headers: tuple[bytes, ...]
) -> tuple[tuple[bytes, bytes], ...]:
    """Return signature and signed bytes for each of these protected headers, in their order."""
    listed = items(value, len(headers))
    if len(listed) != len(headers):
        raise refused("it must have one signature per key")
    found = []
    for item, header in zip(listed, headers, strict=True):
        signature = mapping(item)
        require_members(signature, ("protected", "signature"))
        protected = text(signature["protected"])
        if parse_base64url(protected) != header:
            raise refused("another protected header")
        raw = parse_base64url(text(signature["signature"]))
        found.append((raw, f"{protected}.{body}".encode("ascii")))
    return tuple(found)


def root_keys(value: object) -> RootKeys:
    """Take the public keys of a root."""
    root = mapping(value)
    require_members(root, ("ed25519",), optional=("mldsa65",))
    mldsa65 = exact_bytes(root["mldsa65"], _MLDSA65_PUBLIC_SIZE) if "mldsa65" in root else b""
    return RootKeys(exact_bytes(root["ed25519"], 32), mldsa65)


def require_root_signatures(
    value: object, body: str, roots: Sequence[RootKeys], headers: tuple[bytes, bytes]
) -> None:
    """Refuse what not every key of these roots signed, once each and in their order.

    Args:
        value: The signatures.
        body: What is signed.
        roots: Whose.
        headers: The protected ones of Ed25519 and of ML-DSA-65.
    """
    verifiers = (require_ed25519_signature, require_mldsa65_signature)
    wanted = [
        each for root in roots for each in zip(headers, verifiers, root, strict=True) if each[2]
    ]
    found = signatures_of(value, body, tuple(header for header, _, _ in wanted))
    for (_, verify, key), (signature, signed) in zip(wanted, found, strict=True):
        verify(key, signature, signed)


def require_dates(*, seq: int, iat: int, exp: int, unix: int) -> None:
    """Refuse what was made too far ahead of our clock, or is good for more than 14 days."""
    if seq > (unix + MAX_AHEAD) * 1000:
        raise refused("seq lies more than a day ahead")
    if iat > unix + MAX_AHEAD:
        raise refused("iat lies more than a day ahead")
    if not iat < exp <= iat + MAX_LIFETIME:
        raise refused("exp does not lie within 14 days after iat")


def require_unique(values: Collection[object], what: str) -> None:
    """Refuse what stands twice."""
    if len(set(values)) != len(values):
        raise refused(f"{what} stands twice")


def require_members(
    value: dict[str, object], names: tuple[str, ...], *, optional: tuple[str, ...] = ()
) -> None:
    """Refuse an object that lacks one of these members, or has others."""
    if not set(names) <= value.keys() <= {*names, *optional}:
        raise refused("a member is missing or unknown")


def exact_bytes(value: object, size: int) -> bytes:
    """Take base64url of so many bytes."""
    data = parse_base64url(text(value))
    if len(data) != size:
        raise refused(f"a value of {len(data)} bytes instead of {size}")
    return data


def text(value: object) -> str:
    """Take a text."""
    if not isinstance(value, str):
        raise refused("text expected")
    return value


def integer(value: object) -> int:
    """Take an integer; True and 1.0 are none."""
    if type(value) is not int:
        raise refused("an integer expected")
    return value


def mapping(value: object) -> dict[str, object]:
    """Take an object."""
    if not isinstance(value, dict):
        raise refused("an object expected")
    return value


def items(value: object, limit: int) -> list[object]:
    """Take a list of at most so many items."""
    if not isinstance(value, list):
        raise refused("a list expected")
    if len(value) > limit:
        raise refused(f"more than {limit} items")
    return value


def refused(why: str) -> ProtocolError:
    """Return the error that says why."""
    return ProtocolError(why, rule=_RULE)
