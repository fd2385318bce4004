"""What a person's statement says beyond the device that signs it: their other devices, withdrawals.

Kept beside the statement, since it has to outlive one that has expired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from securecall.address import Address, Scheme, parse_address
from securecall.errors import ProtocolError, StatementInvalid, StoreCorrupt
from securecall.keys.encoding import build_base64url, build_json, parse_base64url, parse_json
from securecall.keys.statement_content import (
    MAX_REMEMBERED,
    MAX_REVOKED,
    DeviceEntry,
    Statement,
)
from securecall.keys.statement_grammar import build_listed_device, parse_listed_device

_MOST = 512 * 1024  # bytes; our own row is far smaller, unless a thief of the root fills it


@dataclass(frozen=True, slots=True, kw_only=True)
class Household:
    """One person's other devices; immutable.

    Attributes:
        devices: Their entries, with proofs for the root.
        addresses: Claimed for them.
        revoked: Ids withdrawn for ever under this root, which every statement of it says.
        former: Ids withdrawn under an earlier root. No entry of theirs has a proof for this one, so
            no statement has to say them; they are still never listed again.
        granted: Device id -> Unix seconds of the request that was granted last.
        successions: How the root came to follow others, the oldest first.
    """

    devices: tuple[DeviceEntry, ...] = ()
    addresses: tuple[Address, ...] = ()
    revoked: tuple[str, ...] = ()
    former: tuple[str, ...] = ()
    granted: Mapping[str, int] = field(default_factory=dict)
    successions: tuple[bytes, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        """Refuse what has no end.

        Raises:
            StatementInvalid: over the years more devices were withdrawn than we care to remember.
        """
        if len(self.withdrawn) > MAX_REMEMBERED:
            raise StatementInvalid("our root withdrew more devices than anybody has")

    @property
    def withdrawn(self) -> tuple[str, ...]:
        """Ids withdrawn for ever, under whichever root."""
        return tuple(dict.fromkeys((*self.former, *self.revoked)))

    def followed(self) -> Household:
        """What of it outlives the root where that was replaced elsewhere: withdrawals."""
        return Household(former=self.withdrawn)

    def succeeded(self, successions: Sequence[bytes]) -> Household:
        """The same where it is replaced here; they are said again if they leave room for more."""
        if len(self.revoked) > MAX_REVOKED // 2:
            return replace(self.followed(), successions=tuple(successions))
        return Household(revoked=self.revoked, former=self.former, successions=tuple(successions))

    def device(self, device_id: str) -> DeviceEntry | None:
        """The device of that name."""
        return next((device for device in self.devices if device.id == device_id), None)

    def omemo_of(self, device_id: str) -> tuple[int, ...]:
        """The OMEMO device ids of the device of that name."""
        device = self.device(device_id)
        return () if device is None else tuple(sorted({key.id for key in device.omemo}))

    def with_device(
        self, device: DeviceEntry, addresses: Sequence[Address], granted: int
    ) -> Household:
        """Add a device, or put a newer entry in the place of an older one."""
        kept = tuple(d for d in self.devices if d.id != device.id)
        return replace(
            self,
            devices=(*kept, device),
            addresses=tuple(dict.fromkeys((*self.addresses, *addresses))),
            granted={**self.granted, device.id: granted},
        )

    def without(self, *device_ids: str) -> Household:
        """Withdraw devices; their addresses stay ours."""
        return replace(
            self,
            devices=tuple(d for d in self.devices if d.id not in device_ids),
            revoked=tuple(dict.fromkeys((*self.revoked, *device_ids))),
        )

    def adopt(self, seen: Statement, *, here: str, claimed: Sequence[Address]) -> Household:
        """Take over a newer statement of the same root; what was withdrawn stays so.

        Args:
            seen: The newer one.
            here: Id of this device, which is not among its others.
            claimed: The addresses of this device, likewise.
        """
        revoked = tuple(dict.fromkeys((*self.revoked, *seen.revoked)))
        gone = {*self.former, *revoked}
        return replace(
            self,
            devices=tuple(d for d in seen.devices if d.id != here and d.id not in gone),
            addresses=tuple(
                a for a in seen.addresses if a.scheme is not Scheme.KEY and a not in claimed
            ),
            revoked=revoked,
            successions=tuple(each.raw for each in seen.successions) or self.successions,
        )

    def meet(self, seen: Statement) -> Household:
        """What is left where two statements stand under one number: what both list."""
        both = {device.raw for device in seen.devices}
        return replace(
            self,
            devices=tuple(device for device in self.devices if device.raw in both),
            revoked=tuple(dict.fromkeys((*self.revoked, *seen.revoked))),
        )

    def at(self, unix: int) -> Household:
        """Without the devices whose keys are out of date: nobody accepts them."""
        return replace(self, devices=tuple(d for d in self.devices if d.not_after >= unix))


def build_household(household: Household) -> bytes:
    """Write it as bytes."""
    return build_json(
        {
            "devices": [build_listed_device(device) for device in household.devices],
            "addresses": [str(address) for address in household.addresses],
            "revoked": list(household.revoked),
            "former": list(household.former),
            "granted": dict(household.granted),
            "successions": [build_base64url(each) for each in household.successions],
        }
    )


def parse_household(data: bytes, root_fp: bytes) -> Household:
    """Read what `build_household` wrote; nothing is an empty one.

    Raises:
        StoreCorrupt: it was something else.
    """
    if not data:
        return Household()
    try:
        members = parse_json(data, max_size=_MOST, max_depth=5)
        granted = members["granted"]
        if not isinstance(granted, dict):
            raise StoreCorrupt("what is kept of our devices cannot be read")
        return Household(
            devices=tuple(parse_listed_device(d, root_fp) for d in _items(members["devices"])),
            addresses=tuple(parse_address(str(a)) for a in _items(members["addresses"])),
            revoked=tuple(str(each) for each in _items(members["revoked"])),
            former=tuple(str(each) for each in _items(members.get("former", []))),
            granted={str(name): int(at) for name, at in granted.items()},
            successions=tuple(parse_base64url(str(e)) for e in _items(members["successions"])),
        )
    except (ProtocolError, StatementInvalid, KeyError, TypeError, ValueError) as e:
        raise StoreCorrupt("what is kept of our devices cannot be read") from e


def _items(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("list expected")
    return value
