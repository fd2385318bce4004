"""The identity statement: which addresses and devices belong to a root key, signed by it.

Reading is `statement_grammar`, the value `statement_content`; here statements are built, and
weighed against what was seen of the same root before.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from securecall.address import ANONYMOUS, Address
from securecall.errors import (
    Reason,
    SecurityError,
    StatementFull,
    StatementInvalid,
    UsageError,
)
from securecall.keys.device import DeviceKey, device_proof_input
from securecall.keys.encoding import build_base64url
from securecall.keys.identity import RootKey
from securecall.keys.passport import PassportKey
from securecall.keys.signed_json import build_jws
from securecall.keys.statement_content import (
    DEVICE_LIFETIME,
    MAX_ITEMS,
    MAX_LIFETIME,
    MAX_REMEMBERED,
    MAX_REVOKED,
    MAX_SIZE,
    PROTECTED,
    DeviceEntry,
    OmemoKey,
    Statement,
)
from securecall.keys.statement_grammar import build_listed_device, parse_statement

__all__ = [
    "MAX_REMEMBERED",
    "DeviceEntry",
    "OmemoKey",
    "Statement",
    "StatementChange",
    "StatementVerdict",
    "build_statement",
    "merge",
    "next_seq",
    "parse_statement",
]


class StatementChange(enum.StrEnum):
    """How a statement relates to the last one seen of its root."""

    FIRST = "first"
    SAME = "same"
    NEWER = "newer"
    FORK = "fork"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementVerdict:
    """The statement to go by from now on.

    Attributes:
        change: How it came about; FORK deserves a warning to the user.
        statement: What holds, with everything withdrawn before still withdrawn.
    """

    change: StatementChange
    statement: Statement


def merge(known: Statement | None, seen: Statement) -> StatementVerdict:
    """Weigh a statement against what is known of the same root.

    Withdrawn devices stay withdrawn. Two statements under one number (FORK) leave only what both
    list: someone else may be signing with this root.

    Args:
        known: The result of the last merge, None if there was none.
        seen: As parsed just now.

    Raises:
        SecurityError: ROLLBACK, `seen` is older than what is known.
        StatementInvalid: over the years more devices were withdrawn than we care to remember.
        UsageError: the two have different roots.
    """
    if known is None:
        return StatementVerdict(change=StatementChange.FIRST, statement=seen)
    if known.root_fp != seen.root_fp:
        raise UsageError("statements of different roots cannot be merged")
    if seen.seq < known.seq:
        raise SecurityError(
            "the peer showed an identity statement older than one seen before",
            reason=Reason.ROLLBACK,
        )
    if len({*known.revoked, *seen.revoked}) > MAX_REMEMBERED:
        raise StatementInvalid("the peer withdrew more devices than anybody has")
    if seen.seq > known.seq:
        return StatementVerdict(
            change=StatementChange.NEWER,
            statement=seen.narrowed(revoked=known.revoked, devices=None),
        )
    # After a fork `known` is already narrowed: narrowing again by it keeps that.
    same = seen.payload_hash == known.payload_hash
    return StatementVerdict(
        change=StatementChange.SAME if same else StatementChange.FORK,
        statement=seen.narrowed(
            revoked=known.revoked, devices=frozenset(entry.raw for entry in known.devices)
        ),
    )


def next_seq(previous: int, *, unix_ms: int) -> int:
    """Return the sequence number for a new statement: max(previous + 1, Unix milliseconds)."""
    return max(previous + 1, unix_ms)


def build_statement(
    root: RootKey,
    *,
    seq: int,
    iat: int,
    exp: int,
    addresses: Sequence[Address],
    devices: Sequence[DeviceKey],
    require: Sequence[str] = (),
    revoked: Sequence[str] = (),
    caps: Sequence[str] = ("id1", "sframe5"),
    not_after: int | None = None,
    omemo: Mapping[str, Sequence[OmemoKey]] = MappingProxyType({}),
    others: Sequence[DeviceEntry] = (),
    successions: Sequence[bytes] = (),
    passports: Mapping[str, PassportKey] = MappingProxyType({}),
) -> bytes:
    """Sign a statement.

    Args:
        root: Whose it is.
        seq: From `next_seq`.
        iat: Unix seconds of issue.
        exp: Unix seconds of expiry, at most 14 days after `iat`.
        addresses: Claimed addresses.
        devices: Devices, which prove possession of their keys here.
        require: Protections every call must have.
        revoked: Ids withdrawn for ever.
        caps: What the devices can do, for diagnostics.
        not_after: Unix seconds after which the devices are not accepted; a year after `iat`.
        omemo: Device id -> the OMEMO identity keys of that device.
        others: Devices whose keys are not here, with their own proofs for this root.
        successions: How this root came to follow others, the oldest first; `devices` carry them.
        passports: Device id -> the PASSporT key of that device.

    Raises:
        NotPrimary: the root key is not here.
        UsageError: a limit is broken that every receiver would refuse.
        StatementFull: it is too many withdrawn devices, or too much in all.
    """
    if not 0 < exp - iat <= MAX_LIFETIME:
        raise UsageError("a statement lives for more than 0 and at most 14 days")
    listed_here = len(devices) + len(others)
    if len(addresses) > MAX_ITEMS or listed_here > MAX_ITEMS:
        raise UsageError(f"at most {MAX_ITEMS} addresses and {MAX_ITEMS} devices")
    if len(revoked) > MAX_REVOKED:
        raise StatementFull(
            f"a statement has room for {MAX_REVOKED} withdrawn devices, and a withdrawal is for "
            "ever: succeed to a new root, which begins with none"
        )
    if ANONYMOUS in addresses:
        raise UsageError("the anonymous address belongs to nobody")
    until = iat + DEVICE_LIFETIME if not_after is None else not_after
    listed: list[object] = []
    for device in devices:
        passport = passports.get(device.id)
        p256 = passport.public if passport is not None else b""
        keys = omemo.get(device.id, ())
        entry = device.entry(caps, until, keys, p256, successions=successions)
        proofs = {"ed25519": build_base64url(device.proof(root.fingerprint, entry))}
        if passport is not None:
            signed = passport.sign(device_proof_input(root.fingerprint, entry))
            proofs["p256"] = build_base64url(signed)
        listed.append({"entry": build_base64url(entry), "pop": proofs})
    listed += [build_listed_device(other) for other in others]
    payload: dict[str, object] = {
        "v": 1,
        "root": {"ed25519": build_base64url(root.public)},
        "seq": seq,
        "iat": iat,
        "exp": exp,
        "addrs": [str(address) for address in addresses],
        "devices": listed,
        "require": list(require),
        "revoked": list(revoked),
    }
    data = build_jws(payload, PROTECTED, root)
    if len(data) > MAX_SIZE:
        raise StatementFull(
            f"the statement takes {len(data)} bytes, more than {MAX_SIZE}: withdraw a device or, "
            "if it is the withdrawn ones that fill it, succeed to a new root"
        )
    return data
