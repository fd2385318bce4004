"""Our statement on this device: what it says, kept in the store, and renewed when it is due."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from securecall.address import Address, Scheme, parse_address
from securecall.errors import Revoked, SecurityError, StatementFull, UsageError
from securecall.events import OwnChange, OwnKeysChanged
from securecall.keys.device import DeviceKey
from securecall.keys.household import Household, build_household, parse_household
from securecall.keys.identity import RootKey
from securecall.keys.passport import PassportKey
from securecall.keys.statement import OmemoKey, Statement, next_seq
from securecall.keys.statement import parse_statement as read_statement
from securecall.keys.this_device import ThisDevice
from securecall.secret import Secret
from securecall.store.sqlite import Store

_ADDRESSES: Final = "own-addresses"
_OMEMO: Final = "own-omemo"
_PASSPORT: Final = "own-passport-key"
NEXT_PASSPORT: Final = "own-next-passport-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnDevice:
    """One device of ours, as our statement lists it.

    Attributes:
        id: Its name.
        here: It is this one.
        not_after: Unix seconds after which its key is not accepted.
        omemo: Its OMEMO device ids.
    """

    id: str
    here: bool
    not_after: int
    omemo: tuple[int, ...]


class OwnStatement:
    """Who we are, kept in the encrypted store; what changes is written before it is shown."""

    def __init__(self, store: Store, *, unix: Callable[[], float] = time.time) -> None:
        """Begin with what the store holds; a device that holds the root renews what is due.

        Args:
            store: Open.
            unix: The wall clock, in seconds.
        """
        self._store = store
        self._unix = unix
        self._watchers: list[Callable[[OwnKeysChanged], None]] = []
        self._readers: list[Callable[[], None]] = []
        names = store.setting(_ADDRESSES) or b""
        self._claimed = [parse_address(name) for name in names.decode().split()]
        self._passport = self._kept_passport(_PASSPORT)
        self._household = parse_household(store.household, self.root_fp)
        self._current = self._read_current()
        with suppress(StatementFull):  # `statement` says so, and `succeed` has to be possible
            self._renew()

    def watch(self, watcher: Callable[[OwnKeysChanged], None]) -> Callable[[], None]:
        """Call this with everything that happens to our keys; returns how to stop that."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def on_statement(self, reader: Callable[[], None]) -> Callable[[], None]:
        """Call this whenever we have another statement; returns how to stop that."""
        self._readers.append(reader)
        return lambda: self._readers.remove(reader)

    # -- who we are -------------------------------------------------------------------------------

    @property
    def root_fp(self) -> bytes:
        """Our root's fingerprint, 64 bytes."""
        return self._store.root.fingerprint

    @property
    def root_public(self) -> bytes:
        """Our root's Ed25519 key."""
        return self._store.root.public

    @property
    def key_address(self) -> Address:
        """The address that is our root key itself."""
        return Address(Scheme.KEY, self.root_fp.hex())

    @property
    def holds_root(self) -> bool:
        """This device can sign statements."""
        return self._store.root.held

    @property
    def device(self) -> DeviceKey:
        """The key this device takes part in calls with."""
        return self._store.device

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Our own addresses, the one that is our key first, those of our other devices last."""
        own = (self.key_address, *self._claimed, *self._household.addresses)
        return tuple(dict.fromkeys(own))

    @property
    def devices(self) -> tuple[OwnDevice, ...]:
        """Our devices, this one first where it is listed."""
        current = self._current
        listed = () if current is None else current.devices
        found = [
            OwnDevice(
                id=entry.id,
                here=entry.id == self.device.id,
                not_after=entry.not_after,
                omemo=tuple(sorted({key.id for key in entry.omemo})),
            )
            for entry in listed
            if entry.id == self.device.id or self._household.device(entry.id) is not None
        ]
        return tuple(sorted(found, key=lambda device: not device.here))

    @property
    def revoked(self) -> tuple[str, ...]:
        """Devices of ours that were withdrawn, for ever."""
        return self._household.withdrawn

    @property
    def successions(self) -> int:
        """How many roots came before this one, as far as contacts can follow."""
        return len(self._household.successions)

    @property
    def known(self) -> Statement | None:
        """Our last statement, less what was withdrawn since; None where there was none yet."""
        current, household = self._current, self._household
        if current is None:
            return None
        stay = {entry.raw for entry in household.devices}
        stay |= {entry.raw for entry in current.devices if entry.id == self.device.id}
        return current.narrowed(revoked=household.withdrawn, devices=frozenset(stay))

    @property
    def withdrawn(self) -> bool:
        """Our root does not speak for this device any more."""
        return self.device.id in self._household.withdrawn

    @property
    def statement(self) -> bytes:
        """Our identity statement, renewed when half of its life is over.

        Raises:
            Revoked: this device was withdrawn.
            StatementFull: more was withdrawn than a statement holds; `succeed` is due.
            UsageError: it was never enrolled under our root.
        """
        self._require_ours()
        self._renew()
        current = self._current
        if current is None or self._this_device.entry_in(current) is None:
            raise UsageError(
                "this device is not enrolled yet: take its request to the one that holds the root"
            )
        return current.raw

    @property
    def omemo(self) -> tuple[OmemoKey, ...]:
        """The OMEMO identity keys of this device."""
        kept = (self._store.setting(_OMEMO) or b"").decode().splitlines()
        return tuple(
            OmemoKey(namespace=namespace, id=int(number), identity_key=bytes.fromhex(key))
            for number, key, namespace in (line.split(" ", 2) for line in kept)
        )

    @property
    def request_due(self) -> bool:
        """This device needs something signed that our statement does not say."""
        if self.holds_root or self.withdrawn:
            return False
        current = self._current
        return current is None or self._this_device.is_missing_in(current, unix=self._now())

    # -- what belongs to this device --------------------------------------------------------------

    def own_address(self, address: Address) -> None:
        """Claim an address of an account of ours in the statement."""
        if address not in (self.key_address, *self._claimed):
            self._claimed.append(address)
            names = " ".join(str(own) for own in self._claimed)
            self._store.save_setting(_ADDRESSES, names.encode())
            self._changed()

    def own_omemo(self, keys: Sequence[OmemoKey]) -> None:
        """Vouch in the statement for the OMEMO identity keys of this device; one per namespace."""
        if tuple(keys) != self.omemo:
            lines = [f"{key.id} {key.identity_key.hex()} {key.namespace}" for key in keys]
            self._store.save_setting(_OMEMO, "\n".join(lines).encode())
            self._changed()

    def retire_omemo(self) -> None:
        """The OMEMO keys of this device are lost: it comes back with others, as another device.

        Our statement, if we can sign it, does not name them any more; the device comes off the
        lists of our accounts as its successor gets onto them.
        """
        self._store.retire_omemo(
            (own.short, key.id)
            for own in self._claimed
            if own.scheme is Scheme.XMPP
            for key in self.omemo
        )
        with suppress(StatementFull):  # as above: it need not keep anybody from beginning anew
            self.own_omemo(())

    def passport_key(self) -> PassportKey:
        """The key that signs our PASSporTs; made, kept and listed in the statement when needed."""
        self._renew()  # now, not in the middle of the call that it is for: it may be replaced then
        if self._passport is None:
            self._passport = PassportKey.generate()
            self._store.save_setting(_PASSPORT, self._passport.scalar.reveal())
            self._changed()
        return self._passport

    def _changed(self) -> None:
        if self.holds_root:
            if not self.withdrawn:
                self._sign()
        elif self.request_due:
            self._tell(OwnChange.REQUEST_DUE, self.device.id)

    # -- inside -----------------------------------------------------------------------------------

    def _sign(
        self,
        household: Household | None = None,
        *,
        root: RootKey | None = None,
        rotate: bool = False,
        after: int = 0,
    ) -> None:
        now, this = self._now(), self._this_device
        household = (household or self._household).at(now)
        rotated = rotate or this.rotation_due(unix=now)
        if rotated:
            this = this.rotated(unix=now)
        seq = next_seq(max(self._store.seq, after), unix_ms=int(self._unix() * 1000))
        signed = this.signed(root or self._store.root, household, seq=seq, unix=now)
        self._store.save_statement(
            signed.raw,
            seq,
            household=build_household(household),
            root=root,
            device=this.device if rotated else None,
            since=this.since or now,
            settings=_passport_rows(this.passport) if rotated else {},
        )
        self._passport = this.passport
        self._replaced(household, signed)
        if rotated and root is None:
            self._tell(OwnChange.ROTATED, this.device.id)

    def _keep(
        self,
        seen: Statement,
        household: Household,
        *,
        device: DeviceKey | None = None,
        since: int | None = None,
        passport: PassportKey | None = None,
    ) -> None:
        passport = passport or self._passport
        self._store.save_statement(
            seen.raw,
            seen.seq,
            household=build_household(household),
            device=device,
            since=since,
            settings=_passport_rows(passport) if device is not None else {},
        )
        self._passport = passport
        self._replaced(household, seen)

    def _replaced(self, household: Household, statement: Statement | None) -> None:
        self._household, self._current = household, statement
        for reader in tuple(self._readers):
            reader()

    def _read_current(self) -> Statement | None:
        raw = self._store.statement
        if not raw:
            return None
        try:
            found = read_statement(raw, unix=self._now())
        except SecurityError:  # a clock far from where it was: a new one is due
            return None
        return found if found.root_fp == self.root_fp else None

    def _renew(self) -> None:
        """Sign what is due, where that is for this device to do."""
        due = not self._is_said(self._current, self._household)
        if due and self.holds_root and not self.withdrawn:
            self._sign()

    def _is_said(self, current: Statement | None, household: Household) -> bool:
        """A statement says what is so, and will for a while."""
        return current is not None and self._this_device.is_said_in(
            current, household, unix=self._now()
        )

    def _kept_passport(self, name: str) -> PassportKey | None:
        kept = self._store.setting(name)
        return PassportKey.from_scalar(Secret(kept)) if kept else None

    @property
    def _this_device(self) -> ThisDevice:
        return ThisDevice(
            device=self.device,
            since=self._store.device_since,
            claimed=tuple(self._claimed),
            omemo=self.omemo,
            passport=self._passport,
        )

    def _require_ours(self) -> None:
        if self.withdrawn:
            raise Revoked(
                "this device was withdrawn by its owner: nothing works from here any more"
            )

    def _tell(self, change: OwnChange, device: str = "", omemo: tuple[int, ...] = ()) -> None:
        for watcher in tuple(self._watchers):
            watcher(OwnKeysChanged(change, device, omemo))

    def _now(self) -> int:
        return int(self._unix())


def _passport_rows(passport: PassportKey | None) -> dict[str, bytes | None]:
    """With a new key of this device: what signs its PASSporTs, and nothing that waits to."""
    kept = {} if passport is None else {_PASSPORT: passport.scalar.reveal()}
    return {**kept, NEXT_PASSPORT: None}
