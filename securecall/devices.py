"""The OMEMO devices of the people we write to: what each is to us, and what our user decides."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from securecall.address import Address, parse_address
from securecall.clock import unix_now
from securecall.contacts import Contacts
from securecall.errors import IdentityMismatch, UsageError
from securecall.keys.omemo_fingerprint import (
    build_code,
    curve25519_form,
    fingerprint,
    parse_code,
    parse_fingerprint,
)
from securecall.keys.omemo_trust import (
    BoundRoot,
    DeviceAct,
    DeviceAudit,
    DeviceEvent,
    DeviceHow,
    DeviceRecord,
    PersonDevices,
    Sighting,
    first_write,
    judge_device,
    mark_written,
    note_statement,
    promises,
    sight,
    transition_device,
)
from securecall.keys.omemo_values import OMEMO, WRITABLE, Device, DeviceTrust
from securecall.keys.trust import How, TrustState

_MAX_KEPT: Final = 1024  # people
_BY_HAND: Final = (DeviceHow.USER, DeviceHow.DIGITS, DeviceHow.QR)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDevice:
    """One OMEMO device of somebody, as a person wants to see it.

    Attributes:
        address: Whose.
        fingerprint: To compare: eight groups of eight hex digits.
        trust: What it is to us now.
        vouched: The identity of its owner vouches for it.
        how: What our user did about it: "wrote", "digits", "qr", "user", "" for nothing.
        seen: Unix seconds when it was first on the list.
        ids: Its OMEMO device ids.
    """

    address: Address
    fingerprint: str
    trust: DeviceTrust
    vouched: bool
    how: str
    seen: int
    ids: tuple[int, ...]


class Devices:
    """What OMEMO devices are to us; every decision is written, and audited, as it is made."""

    def __init__(self, contacts: Contacts) -> None:
        """Judge by what these contacts' store holds."""
        self._contacts = contacts
        self._store = contacts.store
        # asked for each device of each message: rows and signatures are not checked again each time
        self._kept: dict[Address, tuple[tuple[int, int], PersonDevices, BoundRoot | None]] = {}

    def trust_of(self, device: Device) -> DeviceTrust:
        """Say what a device is to us now: what `Omemo.open` asks for."""
        return self.device_trust(_address(device.jid), device.identity_key)

    def device_trust(self, address: Address, identity_key: bytes) -> DeviceTrust:
        """Say what a device is to us now.

        Args:
            address: Whose, an `xmpp:` one; ours for our own other devices.
            identity_key: Its identity key, 32 bytes, Ed25519 form.

        Raises:
            ProtocolError: the key is none.
        """
        key = curve25519_form(identity_key)
        _, person, bound = self._read(address)
        return judge_device(person, key, bound, unix=unix_now())

    def is_chosen(self, device: Device) -> bool:
        """Whether our user decided for this very key, and it still may read what we write."""
        address, key = _address(device.jid), curve25519_form(device.identity_key)
        record = self._person(address).devices.get(key)
        return (
            record is not None
            and record.how in _BY_HAND
            and self.device_trust(address, device.identity_key) in WRITABLE
        )

    def is_promised(self, device: Device) -> bool:
        """Say whether its owner's identity gives this device OMEMO 2, whatever a server shows."""
        bound = self._bound(_address(device.jid))
        return bound is not None and promises(bound, OMEMO, curve25519_form(device.identity_key))

    def notice(
        self, address: Address, namespace: str, number: int, identity_key: bytes
    ) -> Sighting:
        """Note that a device is on somebody's list; KEY_CHANGED is worth a warning.

        Args:
            address: Whose list.
            namespace: Which OMEMO.
            number: Its device id.
            identity_key: Its identity key, 32 bytes, Ed25519 form.

        Raises:
            ProtocolError: the key is none.
        """
        return self.notice_all(address, namespace, {number: identity_key})[number]

    def notice_all(
        self, address: Address, namespace: str, identity_keys: Mapping[int, bytes]
    ) -> Mapping[int, Sighting]:
        """Note a whole list, device id -> identity key, and write it once.

        Raises:
            ProtocolError: a key is none; nothing was noted.
        """
        unix = unix_now()
        before = after = self._person(address)
        sightings: dict[int, Sighting] = {}
        for number, identity_key in identity_keys.items():
            key = curve25519_form(identity_key)
            after, sightings[number] = sight(after, namespace, number, key, unix=unix)
        self._save(before, after)
        return sightings

    def first_use(self, address: Address, identity_keys: Iterable[bytes]) -> tuple[bytes, ...]:
        """Our user writes to somebody: where it is the first time, trust the devices there are.

        To be called before a message of our own goes out, never for one that came in.

        Returns:
            The identity keys that became trusted by this.
        """
        unix = unix_now()
        person = self._person(address)
        keys = {curve25519_form(key): key for key in identity_keys}
        bound = self._bound(address)
        events = first_write(person, keys, bound, unix=unix)
        if not keys:
            return ()
        self._apply(person, events, written=unix)
        return tuple(keys[event.key] for event in events)

    def has_written_to(self, address: Address) -> bool:
        """Our user wrote to somebody before; else whoever is there at the first time is trusted."""
        return self._store.devices_of(address).written > 0

    def wrote_to(self, address: Address) -> None:
        """Our user wrote to somebody: from now on nobody is trusted for being there first."""
        person = self._store.devices_of(address)
        _ = self._save(person, mark_written(person, unix=unix_now()))

    def verify_device(
        self, address: Address, compared: str | bytes, how: DeviceHow = DeviceHow.DIGITS
    ) -> KnownDevice:
        """Our user compared a device's fingerprint with the person.

        Args:
            address: Whose.
            compared: The fingerprint as the other side showed it, or the identity key.
            how: DIGITS or QR.

        Raises:
            UsageError: no such device of theirs is known.
            SecurityError: it is marked as not to be trusted.
        """
        return self._decide(address, compared, DeviceAct.VERIFY, how)

    def verify_code(self, text: str) -> tuple[KnownDevice, ...]:
        """Our user scanned the QR code of somebody's devices (`xmpp:jid?omemo-sid-N=fp;...`).

        Raises:
            ProtocolError: it is no such code.
            UsageError: it names no device.
            IdentityMismatch: a device has another key on the server than in the code; nothing was
                written.
        """
        address, scanned = parse_code(text)
        if not scanned:
            raise UsageError("the code names no device")
        person = self._person(address)
        for number, key in scanned.items():
            holders = {d.key for d in person.devices.values() for n in d.names if n[1] == number}
            if holders and key not in holders:
                raise IdentityMismatch(
                    f"device {number} of {address.short} has another key on the server than in "
                    "the code"
                )
        unix = unix_now()
        events = [
            DeviceEvent(act=DeviceAct.VERIFY, address=address, key=key, how=DeviceHow.QR, unix=unix)
            for key in dict.fromkeys(scanned.values())
        ]
        person = self._apply(person, events)
        return tuple(self._show(person, person.devices[event.key]) for event in events)

    def trust_device(self, address: Address, compared: str | bytes) -> KnownDevice:
        """Our user lets a device read along without having compared it."""
        return self._decide(address, compared, DeviceAct.TRUST, DeviceHow.USER)

    def distrust_device(self, address: Address, compared: str | bytes) -> KnownDevice:
        """Our user bars a device; it receives nothing, whoever vouches for it."""
        return self._decide(address, compared, DeviceAct.DISTRUST, DeviceHow.USER)

    def restore_device(self, address: Address, compared: str | bytes) -> KnownDevice:
        """Our user takes a decision back: the device is undecided again."""
        return self._decide(address, compared, DeviceAct.RESTORE, DeviceHow.USER)

    def listing(self, address: Address) -> tuple[KnownDevice, ...]:
        """Every device of somebody that was ever seen, the first seen first."""
        person = self._person(address)
        return tuple(self._show(person, record) for record in person.devices.values())

    def undecided(self, address: Address) -> tuple[KnownDevice, ...]:
        """The devices of somebody that wait for our user's word."""
        return tuple(d for d in self.listing(address) if d.trust is DeviceTrust.UNDECIDED)

    def own_code(self, address: Address) -> str:
        """Return the text of the QR code by which others verify this device."""
        keys = {key.id: curve25519_form(key.identity_key) for key in self._contacts.omemo}
        return build_code(address, keys)

    def _decide(
        self, address: Address, compared: str | bytes, act: DeviceAct, how: DeviceHow
    ) -> KnownDevice:
        if isinstance(compared, str):
            key = parse_fingerprint(compared)
        else:
            key = curve25519_form(compared)
        person = self._person(address)
        if key not in person.devices:
            raise UsageError(f"{address.short} has no such device, as far as we know")
        event = DeviceEvent(act=act, address=address, key=key, how=how, unix=unix_now())
        person = self._apply(person, [event])
        return self._show(person, person.devices[key])

    def _apply(
        self, before: PersonDevices, events: Iterable[DeviceEvent], *, written: int = 0
    ) -> PersonDevices:
        person = before
        audits: list[DeviceAudit] = []
        for event in events:
            person, audit = transition_device(person, event)
            audits.append(audit)
        if written:
            person = mark_written(person, unix=written)
        return self._save(before, person, audits)

    def _save(
        self, before: PersonDevices, after: PersonDevices, audits: Iterable[DeviceAudit] = ()
    ) -> PersonDevices:
        after = note_statement(after, self._bound(after.address))
        if after != before:
            self._store.save_devices(after, tuple(audits))
        return after

    def _judge(self, person: PersonDevices, key: bytes) -> DeviceTrust:
        bound = self._bound(person.address)
        return judge_device(person, key, bound, unix=unix_now())

    def _person(self, address: Address) -> PersonDevices:
        return self._read(address)[1]

    def _bound(self, address: Address) -> BoundRoot | None:
        return self._read(address)[2]

    def _read(self, address: Address) -> tuple[tuple[int, int], PersonDevices, BoundRoot | None]:
        as_of = (self._store.generation, unix_now() // 60)
        kept = self._kept.get(address)
        if kept is None or kept[0] != as_of:
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            person = self._store.devices_of(address)
            kept = (as_of, person, self._read_bound(address, person.written))
            self._kept[address] = kept
        return kept

    def _read_bound(self, address: Address, written: int) -> BoundRoot | None:
        contacts, unix = self._contacts, unix_now()
        if address in contacts.addresses:
            own = contacts.identity.known
            if own is None:  # this device is not enrolled yet
                return None
            return BoundRoot(state=TrustState.VERIFIED, statement=replace(own, checked_at=unix))
        binding = contacts.book.lookup(address)
        if binding is None or (
            binding.how is How.ORGANISATION
            and not contacts.organisations.holds(address, binding.root_fp)
        ):
            return None
        state = contacts.book.state(address, binding.root_fp)
        return BoundRoot(
            state=state,
            statement=self._store.known_statement(binding.root_fp, unix=unix),
            # a server that shows an identity only later must not undo what was trusted before
            late=state is TrustState.PINNED
            and binding.how is How.DIRECTORY
            and 0 < written < binding.since,
        )

    def _show(self, person: PersonDevices, record: DeviceRecord) -> KnownDevice:
        undecided = PersonDevices(address=person.address)
        vouched = judge_device(undecided, record.key, self._bound(person.address), unix=unix_now())
        return KnownDevice(
            address=person.address,
            fingerprint=fingerprint(record.key),
            trust=self._judge(person, record.key),
            vouched=vouched in (DeviceTrust.TRUSTED, DeviceTrust.VERIFIED),
            how=record.how.value if record.how is not None else "",
            seen=record.seen,
            ids=tuple(sorted({number for _, number in record.names})),
        )


@functools.lru_cache(maxsize=1024)
def _address(jid: str) -> Address:
    return parse_address(f"xmpp:{jid}")
