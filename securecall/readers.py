"""Whose devices what we write is encrypted for, and whom of them our user let be written to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

from securecall.address import Address
from securecall.chat.conversation import Recipient
from securecall.chat.history import Parcel
from securecall.chat.message import DeviceTrust
from securecall.devices import Devices
from securecall.errors import NoDevices, UntrustedDevices
from securecall.keys.omemo import Omemo
from securecall.keys.omemo_trust import Sighting
from securecall.keys.omemo_values import WRITABLE, Device, Recipients
from securecall.xmpp.jid import jid_of
from securecall.xmpp.outbox import withhold


class Membership(Protocol):
    """The port to our rooms: who belongs to them, and whether they take what we say."""

    def members(self, address: Address) -> tuple[Address, ...] | None:
        """To whom a message to this room is encrypted; None where it is no room of ours."""
        ...

    def known(self, address: Address) -> tuple[Address, ...] | None:
        """Likewise, whom our user knows there, also while we are outside."""
        ...

    def is_outside(self, address: Address) -> bool:
        """Whether this is a room that we are not in, or not yet: it would not take what we say."""
        ...

    def closed(self, address: Address) -> str:
        """Why this is a room that takes nothing of ours any more, "" where it may."""
        ...


class Readers:
    """Who can read what one account writes."""

    def __init__(
        self,
        own: Address,
        omemo: Omemo,
        devices: Devices,
        rooms: Membership,
        *,
        first_used: Callable[[Address, tuple[Recipient, ...]], None],
        new_device: Callable[[Recipient], None],
    ) -> None:
        """Prepare.

        Args:
            own: Our address.
            omemo: Knows everybody's devices.
            devices: What they are to us.
            rooms: Who belongs to ours.
            first_used: Told whose devices became trusted because we wrote to them first.
            new_device: Told of a device that gets nothing before a person decided.
        """
        self._own = own
        self._omemo = omemo
        self._devices = devices
        self._rooms = rooms
        self._first_used = first_used
        self._new_device = new_device
        self._noticed: dict[Address, tuple[Device, ...]] = {}
        self._written: set[Address] = set()  # of whom it is kept that our user wrote to them

    async def recipients(self, to: Address) -> tuple[Recipient, ...]:
        """The devices of the other side, as their server lists them now.

        One that shows another key than before is there twice: by each.
        """
        everybody = self._everybody(to)
        with contextlib.suppress(UntrustedDevices):  # which those are is what was asked
            _ = await self._omemo.prepare([jid_of(each).bare for each in everybody])
        fresh = self._notice(everybody)  # whoever sees them may decide about them
        # those of somebody never written to will be trusted by that
        known = {self._own, *filter(self._devices.has_written_to, everybody)}
        self._tell_of([(each, device) for each, device in fresh if each in known])
        return tuple(
            self._recipient(each, device)
            for each in everybody
            for device in self._known(jid_of(each).bare)
        )

    async def prepare(self, to: Address) -> Recipients:
        """Whom a message of ours goes to; the first one to somebody trusts who is there.

        Later devices are told about and get nothing until a person decided.

        Raises:
            UntrustedDevices: nobody there can be written to before a person decided.
            NoDevices: they have no device that OMEMO reaches.
            NetworkError: their keys have to be fetched, and cannot be now.
        """
        everybody = tuple(each for each in self._everybody(to) if each != self._own)
        jids = [jid_of(each).bare for each in everybody]
        try:
            found = await self._omemo.prepare(jids)
        except UntrustedDevices:
            fresh = self._notice(everybody)
            used = self._use_first(everybody)
            self._tell_of(fresh)
            if not used:
                raise
            found = await self._omemo.prepare(jids)
        for each in everybody:
            if each not in self._written:
                self._devices.wrote_to(each)
                self._written.add(each)
        self._tell_of(self._notice(everybody))
        return found

    async def willing(self, to: Address) -> Recipients | None:
        """Whom to write to without our user having asked for it: nobody new is trusted by this.

        Nor is anything asked of the server of somebody with no trusted device: it would tell them
        that we are here, and have what they sent.
        """
        known = self._known(jid_of(to).bare)
        if not any(self._devices.trust_of(device) in WRITABLE for device in known):
            return None
        try:
            return await self._omemo.prepare([jid_of(to).bare])
        except (UntrustedDevices, NoDevices):
            return None

    def withheld(self, parcel: Parcel) -> tuple[bytes, bool]:
        """What waited without its keys for devices that lost our user's trust meanwhile.

        And whether anybody of the other side is left to read it.
        """
        own = jid_of(self._own).bare
        known = self._rooms.known(parcel.conversation)
        people = (parcel.conversation,) if known is None else known
        to_us = parcel.conversation == self._own
        everybody = dict.fromkeys((*(jid_of(each).bare for each in people), own))

        def barred(jid: str, number: int) -> bool | None:
            # a device is known in the best namespace it has by now, and has one key in both
            found = [
                device
                for each in ((jid,) if jid else everybody)
                if each in everybody  # else somebody who was taken out of a room
                for device in self._known(each)
                if device.id == number
            ]
            if not found or any(self._devices.trust_of(d) not in WRITABLE for d in found):
                return True
            ours = all(device.jid == own for device in found)
            return None if ours and not to_us else False

        return withhold(parcel.stanza, barred)

    def _known(self, jid: str) -> tuple[Device, ...]:
        return (*self._omemo.devices(jid), *self._omemo.changed(jid))

    def _everybody(self, to: Address) -> tuple[Address, ...]:
        """With whom a conversation is.

        A room is nobody: its service could publish devices under its address, and read along.
        """
        members = self._rooms.members(to)
        if members is None:
            return (to,)
        if not any(member != self._own for member in members):
            raise NoDevices(f"nobody whom you know of is a member of {to.short}")
        return members

    def _recipient(self, address: Address, device: Device) -> Recipient:
        return Recipient(
            address=address,
            id=device.id,
            identity_key=device.identity_key,
            trust=self._devices.device_trust(address, device.identity_key),
            fingerprint=device.fingerprint,
        )

    def _notice(self, everybody: tuple[Address, ...]) -> list[tuple[Address, Device]]:
        """Write down which devices there are; returns those that were not there before."""
        fresh = []
        for each in (*everybody, self._own):
            jid = jid_of(each).bare
            devices = self._known(jid)
            if self._noticed.get(each) == devices:
                continue
            for device in devices:
                sighting = self._devices.notice(
                    each, device.namespace, device.id, device.identity_key
                )
                if sighting is not Sighting.KNOWN:
                    fresh.append((each, device))
            self._noticed[each] = devices
        return fresh

    def _tell_of(self, fresh: list[tuple[Address, Device]]) -> None:
        for address, device in fresh:
            recipient = self._recipient(address, device)
            if recipient.trust is DeviceTrust.UNDECIDED:
                self._new_device(recipient)

    def _use_first(self, everybody: tuple[Address, ...]) -> bool:
        used = False
        for each in everybody:
            # not those who wrote to us without standing on the list: anybody's server can do that
            devices = self._omemo.listed(jid_of(each).bare)
            pinned = self._devices.first_use(each, [device.identity_key for device in devices])
            if pinned:
                used = True
                self._first_used(each, tuple(self._recipient(each, d) for d in devices))
        return used
