"""Our own identity on this device: its statement, our other devices, and how both change.

A device that holds the root signs statements itself. One that does not asks for what it needs
(`request`) and takes what the other signed (`take`); it can do everything else by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from securecall.address import Address, Scheme, parse_address
from securecall.errors import (
    IdentityMismatch,
    ProtocolError,
    Reason,
    Revoked,
    SecurityError,
    StatementFull,
    StatementInvalid,
    UsageError,
)
from securecall.events import OwnChange, OwnKeysChanged
from securecall.keys.device import DeviceKey
from securecall.keys.enrolment import DeviceRequest, build_request, parse_request
from securecall.keys.household import Household, build_household, parse_household
from securecall.keys.identity import RootKey
from securecall.keys.passport import PassportKey
from securecall.keys.phrase import build_phrase, parse_phrase
from securecall.keys.statement import OmemoKey, Statement, build_statement, next_seq
from securecall.keys.statement import parse_statement as read_statement
from securecall.keys.statement_content import DEVICE_LIFETIME, MAX_AHEAD, DeviceEntry
from securecall.keys.succession import MAX_CHAIN, ancestors, build_succession
from securecall.secret import Secret
from securecall.store.sqlite import Store

STATEMENT_SECONDS: Final = 14 * 86_400
ROTATION_SECONDS: Final = 335 * 86_400  # a month before nobody accepts the key any more
REQUIRED: Final = "id1"
CAPS: Final = ("id1", "sframe5")
_ADDRESSES: Final = "own-addresses"
_OMEMO: Final = "own-omemo"
_PASSPORT: Final = "own-passport-key"
_NEXT_PASSPORT: Final = "own-next-passport-key"


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


class OwnIdentity:
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
        if current is None or self._own_entry(current) is None:
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

    # -- a device without the root ----------------------------------------------------------------

    @property
    def request_due(self) -> bool:
        """This device needs something signed that our statement does not say."""
        if self.holds_root or self.withdrawn:
            return False
        current, now = self._current, self._now()
        own = None if current is None else self._own_entry(current)
        if current is None or own is None or current.exp - now < STATEMENT_SECONDS // 4:
            return True
        missing = set(self._claimed) - set(current.addresses)
        unsaid = own.omemo != self.omemo or own.p256 != self._p256 or bool(missing)
        return unsaid or self._rotation_due()

    def request(self) -> bytes:
        """Return what to show to the device that holds the root; public.

        Raises:
            Revoked: this device was withdrawn.
            UsageError: this device holds the root itself.
        """
        self._require_ours()
        if self.holds_root:
            raise UsageError("this device holds the root key: it asks nobody")
        now, device, before, passport = self._now(), self.device, None, self._passport
        since = self._store.device_since or now
        enrolled = self._current is not None and self._own_entry(self._current) is not None
        if enrolled and self._rotation_due():
            before, device = device, self._store.next_device or DeviceKey.generate(device.id)
            since = now
            if passport is not None:
                passport = self._kept_passport(_NEXT_PASSPORT) or PassportKey.generate()
                self._store.save_setting(_NEXT_PASSPORT, passport.scalar.reveal())
            self._store.save_next_device(device)
        return build_request(
            self.root_fp,
            device,
            caps=CAPS,
            not_after=since + DEVICE_LIFETIME,
            omemo=self.omemo,
            addresses=self._claimed,
            iat=now,
            before=before,
            passport=passport,
        )

    def take(self, raw: bytes) -> bool:
        """Take a statement of ours that another device of ours signed.

        Of an older one only what it withdraws counts: it may have been kept from us, or be of
        after the backup that this device was made of.

        Args:
            raw: From a file, a QR code, or the node of our own account.

        Returns:
            Whether it was news.

        Raises:
            StatementInvalid: it is none, its signatures do not hold, or it lists keys of this
                device under another name; what that withdraws counts all the same.
            IdentityMismatch: it is another person's, or does not list this device.
            SecurityError: ROLLBACK, it is older than the one we have, and withdraws nothing new.
        """
        seen = read_statement(raw, unix=self._now())
        if seen.root_fp != self.root_fp:
            return self._follow(seen)
        current = self._current
        if current is not None and seen.payload_hash == current.payload_hash:
            return False
        if seen.seq < self._store.seq:
            if self._withdraw(seen):
                return True
            raise SecurityError(
                "this statement of ours is older than the one this device has",
                reason=Reason.ROLLBACK,
            )
        if seen.seq == self._store.seq:
            self._fork(seen)
        else:
            self._adopt(seen)
        return True

    def _adopt(self, seen: Statement) -> None:
        before = self._household
        household = before.adopt(seen, here=self.device.id, claimed=self._claimed)
        if self.device.id in household.withdrawn:
            self._keep(seen, household)
        elif not self.holds_root:
            self._take_signed(seen, household)
        elif self._is_said(seen, household):
            self._keep(seen, household)
        else:  # it was made without knowing what this device is now
            try:
                self._sign(household, after=seen.seq)
            except UsageError as e:
                _ = self._withdraw(seen)
                raise StatementInvalid(
                    f"a statement of ours leaves no room for this device: {e}"
                ) from e
        self._tell_withdrawn(before)
        for device in household.devices:  # by whoever else holds our root: our user has to know
            if before.device(device.id) is None:
                self._tell(OwnChange.ENROLLED, device.id)

    def _withdraw(self, seen: Statement) -> bool:
        """Withdraw what a statement of our root did, whatever its number; returns if it is news."""
        before = self._household
        if not set(seen.revoked) - set(before.withdrawn):
            return False
        self._settle(before.without(*seen.revoked))
        self._tell_withdrawn(before)
        return True

    def _settle(self, household: Household) -> None:
        """Keep another household, and sign it where that is possible."""
        if self.holds_root and self.device.id not in household.withdrawn:
            with suppress(StatementFull):  # then it counts here, and `statement` says what to do
                self._sign(household)
                return
        self._store.save_household(build_household(household))
        self._replaced(household, self._current)

    def _tell_withdrawn(self, before: Household) -> None:
        for gone in self._household.withdrawn:
            if gone not in before.withdrawn:
                here = gone == self.device.id
                change = OwnChange.WITHDRAWN if here else OwnChange.REVOKED
                self._tell(change, gone, before.omemo_of(gone))

    def _take_signed(self, seen: Statement, household: Household) -> None:
        own, pending = self._own_entry(seen), self._store.next_device
        if own is None:
            _ = self._withdraw(seen)
            self._tell(OwnChange.REQUEST_DUE, self.device.id)
            raise IdentityMismatch("this statement does not list this device; ask for it again")
        since = own.not_after - DEVICE_LIFETIME
        if own.public == self.device.public:
            self._keep(seen, household, since=since)
        elif pending is not None and own.public == pending.public:
            passport = self._kept_passport(_NEXT_PASSPORT)
            if passport is None or own.p256 != passport.public:
                passport = self._passport
            self._keep(seen, household, device=pending, since=since, passport=passport)
            self._tell(OwnChange.ROTATED, self.device.id)
        else:
            _ = self._withdraw(seen)
            raise IdentityMismatch("this statement lists another key under this device's name")
        self._tell(OwnChange.ENROLLED, self.device.id)

    def _follow(self, seen: Statement) -> bool:
        """Our root was replaced on the device that holds it: this one has to join the new one."""
        if self.root_fp not in ancestors(seen.successions, seen.root_fp):
            raise IdentityMismatch("this statement is somebody else's")
        if self.holds_root:
            raise IdentityMismatch(
                "another root claims to follow the one this device holds; if you did not do that, "
                "somebody else has your root key"
            )
        before = self._household
        household = before.followed().adopt(seen, here=self.device.id, claimed=self._claimed)
        root = RootKey.known(seen.root_public)
        self._store.save_statement(
            seen.raw,
            next_seq(self._store.seq, unix_ms=seen.seq),
            household=build_household(household),
            root=root,
        )
        self._replaced(household, seen)
        self._tell(OwnChange.SUCCEEDED)
        self._tell_withdrawn(before)
        if self.request_due:
            self._tell(OwnChange.REQUEST_DUE, self.device.id)
        return True

    # -- a device with the root -------------------------------------------------------------------

    def phrase(self) -> Secret:
        """Return the 24 words that are our root key; for paper, never for a file or a log.

        Raises:
            NotPrimary: the root is not on this device.
            UsageError: it lies in a token.
        """
        return build_phrase(self._store.root.seed)

    def hold_root(self, phrase: Secret) -> None:
        """Take our root key onto this device, too, from its 24 words.

        Raises:
            PhraseInvalid: the words are none, or those of another root.
            Revoked: this device was withdrawn.
        """
        self._require_ours()
        root = RootKey.from_seed(parse_phrase(phrase))
        if root.fingerprint != self.root_fp:
            raise IdentityMismatch("these words are the key of another identity")
        self._store.save_root(root)
        with suppress(StatementFull):
            self._renew()

    def read_request(self, data: bytes) -> DeviceRequest:
        """Look at the request of another device of ours, to compare its words; changes nothing.

        Raises:
            ProtocolError: it is none, or its signatures do not hold.
            IdentityMismatch: for another root, or under the name of a device with another key.
            Revoked: a device of that name was withdrawn.
            SecurityError: ROLLBACK, an older request than the one that was granted.
            NotPrimary: the root is not on this device.
        """
        _ = self._store.root.require_signer()
        request, now = parse_request(data), self._now()
        device = request.device
        if request.root_fp != self.root_fp:
            raise IdentityMismatch("this device asks to be enrolled under another root")
        if device.id in self._household.withdrawn:
            raise Revoked("a device of this name was withdrawn; join anew under another name")
        if device.id == self.device.id or device.public in (self.device.public, self.root_public):
            raise IdentityMismatch("this request uses the name or the key of this very device")
        listed = self._household.device(device.id)
        if listed is not None:
            request.require_renews(listed)
        if request.iat < self._household.granted.get(device.id, 0):
            raise SecurityError("a newer request was granted before", reason=Reason.ROLLBACK)
        if request.iat > now + MAX_AHEAD or not now < device.not_after <= now + _year_and_a_day():
            raise ProtocolError("this request is not of this time", rule="device request")
        return request

    def enrol(self, data: bytes) -> bytes:
        """Vouch for another device of ours; its words were compared before.

        Returns:
            The new statement, for the other device to take.

        Raises:
            UsageError: there are more devices or addresses than a statement holds.
            ProtocolError, SecurityError: as for `read_request`.
        """
        request = self.read_request(data)
        household = self._household.with_device(request.device, request.addresses, request.iat)
        self._sign(household)
        self._tell(OwnChange.ENROLLED, request.device.id)
        return self.statement

    def revoke(self, device_id: str) -> bytes:
        """Withdraw a device of ours, for ever; takes effect at each contact when it arrives there.

        Returns:
            The new statement.

        Raises:
            NotPrimary: the root is not on this device.
            UsageError: there is no such device, or it is this one.
            StatementFull: too many were withdrawn under this root; `succeed` withdraws it, too.
        """
        _ = self._store.root.require_signer()
        if device_id == self.device.id:
            raise UsageError("a device does not withdraw itself: do it on another one of yours")
        if self._household.device(device_id) is None:
            raise UsageError(f"there is no device of ours named {device_id[:64]!r}")
        before = self._household
        self._sign(before.without(device_id))
        self._tell(OwnChange.REVOKED, device_id, before.omemo_of(device_id))
        return self.statement

    def rotate(self) -> bytes:
        """Give this device a new key now; by itself that happens every eleven months.

        Raises:
            NotPrimary: the root is not on this device; it asks for that by a `request`.
        """
        _ = self._store.root.require_signer()
        self._require_ours()
        self._sign(rotate=True)
        return self.statement

    def succeed(self) -> bytes:
        """Replace our root by a new one, which the old one vouches for; its words are void then.

        Contacts move their pins to it and compare again. Our other devices have to join it.
        Outstanding tickets are void.

        Raises:
            NotPrimary: the root is not on this device.
        """
        self._require_ours()
        old, new, now = self._store.root, RootKey.generate(), self._now()
        _ = old.require_signer()
        step = build_succession(old, new, iat=now)
        successions = (*self._household.successions, step)[-MAX_CHAIN:]
        household = self._household.succeeded(successions)
        for ticket in self._store.tickets():
            self._store.delete_ticket(ticket.id)
        self._sign(household, root=new, rotate=True)
        old.wipe()
        self._tell(OwnChange.SUCCEEDED)
        return self.statement

    # -- inside -----------------------------------------------------------------------------------

    def _sign(
        self,
        household: Household | None = None,
        *,
        root: RootKey | None = None,
        rotate: bool = False,
        after: int = 0,
    ) -> None:
        now = self._now()
        household = (household or self._household).at(now)
        root_key, device = root or self._store.root, self.device
        since = self._store.device_since or now
        rotated = rotate or self._rotation_due()
        if rotated:
            device, since = DeviceKey.generate(device.id), now
        passport = self._passport
        if rotated and passport is not None:
            passport = PassportKey.generate()
        key = Address(Scheme.KEY, root_key.fingerprint.hex())
        seq = next_seq(max(self._store.seq, after), unix_ms=int(self._unix() * 1000))
        raw = build_statement(
            root_key,
            seq=seq,
            iat=now,
            exp=now + STATEMENT_SECONDS,
            addresses=tuple(dict.fromkeys((key, *self._claimed, *household.addresses))),
            devices=(device,),
            require=(REQUIRED,),
            revoked=household.revoked,
            caps=CAPS,
            not_after=since + DEVICE_LIFETIME,
            omemo={device.id: self.omemo},
            passports={device.id: passport} if passport else {},
            others=household.devices,
            successions=household.successions,
        )
        try:
            signed = read_statement(raw, unix=now)
        except StatementInvalid as e:  # two devices with one OMEMO key, for one
            raise UsageError(f"nobody would take this statement: {e}") from e
        self._store.save_statement(
            raw,
            seq,
            household=build_household(household),
            root=root,
            device=device if rotated else None,
            since=since,
            settings=_passport_rows(passport) if rotated else {},
        )
        self._passport = passport
        self._replaced(household, signed)
        if rotated and root is None:
            self._tell(OwnChange.ROTATED, device.id)

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

    def _fork(self, seen: Statement) -> None:
        """Two statements of ours under one number: what both list stays, with one of our own."""
        before = self._household
        self._settle(before.meet(seen))
        self._tell_withdrawn(before)
        self._tell(OwnChange.FORK)

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
        if current is None or current.exp - self._now() < STATEMENT_SECONDS // 2:
            return False
        since = self._store.device_since
        own = self._own_entry(current)
        if own is None or not since or self._rotation_due():
            return False
        addresses = {self.key_address, *self._claimed, *household.addresses}
        return (
            own.raw
            == self.device.entry(
                CAPS,
                since + DEVICE_LIFETIME,
                self.omemo,
                self._p256,
                successions=household.successions,
            )
            and set(current.addresses) == addresses
            and {d.raw for d in current.devices} == {own.raw, *(d.raw for d in household.devices)}
            and set(current.revoked) == set(household.revoked)
        )

    def _kept_passport(self, name: str) -> PassportKey | None:
        kept = self._store.setting(name)
        return PassportKey.from_scalar(Secret(kept)) if kept else None

    @property
    def _p256(self) -> bytes:
        return b"" if self._passport is None else self._passport.public

    def _own_entry(self, statement: Statement) -> DeviceEntry | None:
        return next((d for d in statement.devices if d.id == self.device.id), None)

    def _rotation_due(self) -> bool:
        since = self._store.device_since
        return bool(since) and self._now() - since > ROTATION_SECONDS

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
    return {**kept, _NEXT_PASSPORT: None}


def _year_and_a_day() -> int:
    return DEVICE_LIFETIME + MAX_AHEAD
