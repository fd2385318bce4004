"""Finds somebody's devices and their keys: lists, bundles, and whose key is a new one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from securecall.errors import BundleInvalid, DeviceKeyChanged, NetworkError, ProtocolError
from securecall.keys.omemo_ports import Directory, Place
from securecall.keys.omemo_recipients import LookedUp
from securecall.keys.omemo_values import OMEMO, WRITABLE, Bundle, Device, DeviceTrust

if TYPE_CHECKING:
    from securecall.keys.omemo_devices import DeviceBook
    from securecall.keys.omemo_state import State

_FETCHES: Final = 8  # bundles asked for at a time
_READDED: Final = (3, 3600.0)  # how often, in how many seconds, we put ourselves back on the list
_MAX_ARRANGED: Final = 1000  # people
_MAX_CHANGED: Final = 200  # devices with another identity key, that we remember
_RULE: Final = "XEP-0384"


class Lookup:
    """What the server says of devices, checked and remembered."""

    def __init__(
        self,
        state: State,
        directory: Directory,
        *,
        trust: Callable[[Device], DeviceTrust],
        promised: Callable[[Device], bool],
        unix: Callable[[], float],
        label: str,
        retired: frozenset[int],
    ) -> None:
        """Begin with what is kept; see `Omemo.open` for the arguments."""
        self.changed: dict[tuple[str, int], Device] = {}
        self._state = state
        self._directory = directory
        self._trust = trust
        self._promised = promised
        self._unix = unix
        self._label = label
        self._retired = retired
        self._fetched: set[tuple[str, str]] = set()  # lists known to be current
        # by person and namespaces: as of which book, and the devices in it, None where unknown ones
        self._arranged: dict[
            tuple[str, tuple[str, ...]], tuple[bytes | None, tuple[Device, ...] | None]
        ] = {}
        self._readded: deque[float] = deque(maxlen=_READDED[0])

    def is_current(self, namespace: str, jid: str) -> bool:
        """Whether a list is known, and the server tells when it changes."""
        return (namespace, jid) in self._fetched

    def known(self, jids: Iterable[str], names: tuple[str, ...]) -> tuple[Device, ...] | None:
        """What `find` would return if it need not ask the server, else None; without waiting."""
        found: list[Device] = []
        for jid in jids:
            if not all((namespace, jid) in self._fetched for namespace in names):
                return None
            devices = self._devices(jid, names)
            if devices is None or not all(map(self._is_settled, devices)):
                return None
            if any(self._is_withheld(device, names) for device in devices):
                return None
            found += devices
        return tuple(found)

    def _devices(self, jid: str, names: tuple[str, ...]) -> tuple[Device, ...] | None:
        """Each listed device in the first namespace that lists it; None if a key is unknown."""
        version = self._state.book_version(jid)
        kept = self._arranged.get((jid, names))
        if kept is None or kept[0] != version:
            if len(self._arranged) >= _MAX_ARRANGED:
                self._arranged.clear()
            kept = version, self._arrange(jid, names)
            self._arranged[jid, names] = kept
        return kept[1]

    def _arrange(self, jid: str, names: tuple[str, ...]) -> tuple[Device, ...] | None:
        book, found = self._state.book(jid), []
        for number in self._listed(jid, names):
            first = next(name for name in names if number in book.active(name))
            device = book.device(first, number)
            if device is None or self._is_worse(book, first, number, names):
                return None
            found.append(device)
        return tuple(found)

    def _is_settled(self, device: Device) -> bool:
        """Whether no bundle is needed."""
        place = (device.namespace, device.jid, device.id)
        return self._state.has_session(place) or self._trust(device) not in WRITABLE

    def _is_worse(
        self, book: DeviceBook, namespace: str, number: int, names: tuple[str, ...]
    ) -> bool:
        return namespace != OMEMO and OMEMO in names and book.device(OMEMO, number) is not None

    def _is_withheld(self, device: Device, names: tuple[str, ...]) -> bool:
        """Whether it has better keys than the server shows: by its owner's word, or as we saw.

        Under whichever id: a server could else list a device that has both once more, in the worse
        namespace alone, with the very keys that its owner trusts it by.
        """
        if device.namespace == OMEMO or OMEMO not in names:
            return False
        book = self._state.book(device.jid)
        return book.is_known_by(OMEMO, device.identity_key) or self._promised(device)

    async def find(
        self, jids: Iterable[str], names: tuple[str, ...]
    ) -> list[tuple[str, int, LookedUp]]:
        """Look for all devices of these people but this one, in these namespaces.

        Raises:
            NetworkError: there is no answer, and none from earlier.
        """
        people = tuple(jids)
        for jid in people:
            for namespace in names:
                await self.require_list(namespace, jid)
        places = [(jid, number) for jid in people for number in self._listed(jid, names)]
        gate = asyncio.Semaphore(_FETCHES)
        found = await asyncio.gather(
            *(self._look_up(jid, number, names, gate) for jid, number in places)
        )
        return [(*place, outcome) for place, outcome in zip(places, found, strict=True)]

    def take_list(self, namespace: str, jid: str, devices: Mapping[int, str]) -> None:
        """Take over a device list."""
        with self._state.change() as change:
            change.book(jid).update(namespace, devices)
        self._fetched.add((namespace, jid))

    def follows(self, namespace: str, jid: str) -> bool:
        """Whether changes of this list concern us: it is ours, or of somebody we had to do with."""
        return jid == self._state.jid or (namespace, jid) in self._fetched or self._state.knows(jid)

    def missing(self, namespace: str, jid: str, devices: Mapping[int, str]) -> bool:
        """Whether this is our list, and we are not on it."""
        return (
            jid == self._state.jid
            and namespace in self._state.namespaces
            and self._state.device_id not in devices
        )

    async def announce(self, namespace: str, devices: Mapping[int, str]) -> None:
        """Put us on our list, beside the others, and take off it what we take the place of."""
        now = self._unix()
        count, seconds = _READDED
        if len(self._readded) == count and 0 <= now - self._readded[0] < seconds:
            return  # somebody keeps removing us; not a fight worth having
        self._readded.append(now)
        others = {number: devices[number] for number in devices if number not in self._retired}
        everyone = {**others, self._state.device_id: self._label}
        await self._directory.publish_devices(namespace, everyone)
        self.take_list(namespace, self._state.jid, everyone)

    async def require_list(self, namespace: str, jid: str) -> None:
        """Fetch a list unless it is known to be current; put us on it if it is ours.

        Raises:
            NetworkError: there is no answer, and none from earlier.
        """
        if (namespace, jid) in self._fetched:
            return
        try:
            devices = await self._directory.fetch_devices(namespace, jid)
        except NetworkError:
            if self._state.book(jid).active(namespace):
                return  # those known from earlier will do
            raise
        self.take_list(namespace, jid, devices)
        if self.missing(namespace, jid, devices):
            await self.announce(namespace, devices)

    def _listed(self, jid: str, names: tuple[str, ...]) -> dict[int, None]:
        book = self._state.book(jid)
        ours = self._state.device_id if jid == self._state.jid else 0
        return {n: None for name in names for n in book.active(name) if n != ours}

    async def _look_up(
        self, jid: str, number: int, names: tuple[str, ...], gate: asyncio.Semaphore
    ) -> LookedUp:
        book = self._state.book(jid)
        outcome = LookedUp(why="it is on no device list")
        for namespace in names:
            if number not in book.active(namespace):
                continue
            if self._is_worse(book, namespace, number, names):
                # A server that hides the better keys must not get the worse ones used.
                return LookedUp(why=f"its keys for {OMEMO} were there before, and are gone")
            outcome = await self._look_up_in(namespace, jid, number, gate)
            if outcome.device is not None and self._is_withheld(outcome.device, names):
                return LookedUp(why=f"its owner has keys for {OMEMO}, and they are not there")
            if outcome.device is not None or outcome.final:
                break
        return outcome

    async def _look_up_in(
        self, namespace: str, jid: str, number: int, gate: asyncio.Semaphore
    ) -> LookedUp:
        device = self._state.book(jid).device(namespace, number)
        if device is not None and self._is_settled(device):
            return LookedUp(device=device)
        try:
            async with gate:
                bundle = await self._directory.fetch_bundle(namespace, jid, number)
            shown = self.shown(bundle, (namespace, jid, number))
            bundle = self._state.narrowed(bundle)
        except BundleInvalid as e:
            return LookedUp(why=str(e), final=True)
        except (NetworkError, ProtocolError) as e:
            return LookedUp(why=str(e))
        try:
            device = self.learn(shown)
        except DeviceKeyChanged as e:
            self.note_changed(shown)
            return LookedUp(why=str(e), final=True, changed=shown)
        return LookedUp(device=device, bundle=bundle)

    def shown(self, bundle: Bundle, place: Place) -> Device:
        """Whose bundle it is, proved by its signature.

        Raises:
            ProtocolError: it is not the one that was asked for.
            BundleInvalid: it is not signed by its device.
        """
        if (bundle.namespace, bundle.jid, bundle.id) != place or not bundle.prekeys:
            raise ProtocolError("not the bundle that was asked for, or an empty one", rule=_RULE)
        return self._state.signer(bundle)

    def learn(self, device: Device) -> Device:
        """Remember a device whose key was proved.

        Raises:
            DeviceKeyChanged: it is known by another.
        """
        with self._state.change() as change:
            change.book(device.jid).learn(device)
        return self._state.book(device.jid).device(device.namespace, device.id) or device

    def note_changed(self, device: Device) -> None:
        """Remember the other key that a device showed."""
        while len(self.changed) >= _MAX_CHANGED:  # the last ones are what is asked for next
            del self.changed[next(iter(self.changed))]
        self.changed[device.jid, device.id] = device
