"""Looks after our keys and sessions: bundles, answers to new sessions, and broken ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from securecall.errors import BundleInvalid, DeviceKeyChanged, ProtocolError
from securecall.keys.omemo_lookup import Lookup
from securecall.keys.omemo_ports import Directory, Place
from securecall.keys.omemo_values import WRITABLE, Device, DeviceTrust, KeyFor

if TYPE_CHECKING:
    from securecall.keys.omemo_state import State

_REPAIR_PAUSE: Final = 3600.0  # seconds between two new sessions with a device that breaks them
_MAX_PENDING: Final = 200


class Upkeep:
    """What is due, and doing it."""

    def __init__(
        self,
        state: State,
        directory: Directory,
        lookup: Lookup,
        *,
        trust: Callable[[Device], DeviceTrust],
        unix: Callable[[], float],
    ) -> None:
        """Begin with nothing due; see `Omemo.open` for the arguments."""
        self._state = state
        self._directory = directory
        self._lookup = lookup
        self._trust = trust
        self._unix = unix
        self._replies: dict[Place, None] = {}  # who waits for an empty message; ordered
        self._broken: dict[Place, None] = {}  # with whom a new session is needed

    def owe_reply(self, place: Place) -> None:
        """This device is to get an empty message."""
        if len(self._replies) < _MAX_PENDING:
            self._replies[place] = None

    def owe_session(self, place: Place) -> None:
        """This device writes what we cannot open."""
        if len(self._broken) < _MAX_PENDING:
            self._broken[place] = None

    def replied(self, place: Place) -> None:
        """It got a message."""
        self._replies.pop(place, None)

    def forget(self, place: Place) -> None:
        """Owe this device nothing."""
        self._replies.pop(place, None)
        self._broken.pop(place, None)

    def is_due(self) -> bool:
        """Whether `run` has something to do."""
        return bool(self._replies or self._broken) or any(
            not self._lookup.is_current(name, self._state.jid)
            or self._state.own(name).is_due(unix=self._unix())
            for name in self._state.namespaces
        )

    async def run(self) -> None:
        """Do what is due.

        Raises:
            NetworkError: the server did not answer.
        """
        for namespace in self._state.namespaces:
            # Keys first: who sees the list asks for them at once, and some peers ask only once.
            await self._keep_bundle(namespace)
            await self._lookup.require_list(namespace, self._state.jid)
        while self._replies:
            await self._reply(next(iter(self._replies)))
        while self._broken:
            await self._repair(next(iter(self._broken)))

    async def _keep_bundle(self, namespace: str) -> None:
        if not self._state.own(namespace).is_due(unix=self._unix()):
            return
        with self._state.change() as change:
            own = change.own(namespace)
            own.rotate(unix=self._unix())
            own.refill()
        if own.published:
            return
        bundle = own.bundle(self._state.jid, self._state.device_id)
        await self._directory.publish_bundle(bundle)
        with self._state.change() as change:
            own = change.own(namespace)
            # Not if a message used up a prekey meanwhile.
            own.published = own.offers(bundle)

    async def _reply(self, place: Place) -> None:
        namespace, jid, number = place
        device = self._state.book(jid).device(namespace, number)
        if (
            device is not None
            and self._trust(device) in WRITABLE
            and self._state.has_session(place)
        ):
            payload = self._state.scheme(namespace).empty_payload()
            with self._state.change() as change:
                key = change.seal(device, payload, None)
            await self._directory.send(self._state.sealed(namespace, (key,), payload), jid)
        self._replies.pop(place, None)

    def _is_trusted(self, jid: str, number: int) -> bool:
        """Whether a device is, in whichever version of OMEMO we know it."""
        book = self._state.book(jid)
        known = (book.device(namespace, number) for namespace in self._state.namespaces)
        return any(device is not None and self._trust(device) in WRITABLE for device in known)

    async def _repair(self, place: Place) -> None:
        namespace, jid, number = place
        if not self._is_trusted(
            jid, number
        ):  # whoever it is learns by no question that we are here
            self._broken.pop(place, None)
            return
        with self._state.change() as change:
            due = change.book(jid).repair(number, unix=self._unix(), pause=_REPAIR_PAUSE)
        self._broken.pop(place, None)
        if not due:
            return
        try:
            bundle = await self._directory.fetch_bundle(namespace, jid, number)
            device = self._lookup.learn(self._lookup.shown(bundle, place))
            if self._trust(device) not in WRITABLE:
                return
            payload = self._state.scheme(namespace).empty_payload()
            with self._state.change() as change:
                data = change.begin(place, payload, bundle)
        except (ProtocolError, DeviceKeyChanged, BundleInvalid):
            return  # it stays broken; `prepare` names the device and the reason
        key = KeyFor(jid=jid, id=number, data=data, kex=True)
        await self._directory.send(self._state.sealed(namespace, (key,), payload), jid)
