"""OMEMO without a server: stores that can fail, a directory in memory, people with devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from securecall.errors import LocalError, NetworkError, ProtocolError
from securecall.keys.omemo import Omemo
from securecall.keys.omemo_ports import RatchetStore
from securecall.keys.omemo_values import (
    NAMESPACES,
    OMEMO,
    OMEMO_LEGACY,
    Bundle,
    Device,
    DeviceTrust,
    Sealed,
)

BOTH = NAMESPACES
ONLY_TWO = (OMEMO,)
ONLY_LEGACY = (OMEMO_LEGACY,)
START = 1_800_000_000.0


class MemoryStore:
    """A store with transactions, that counts what it is asked for and fails when told to."""

    def __init__(self) -> None:
        """Begin empty."""
        self.kept: dict[str, bytes] = {}
        self.saves = 0
        self.failing = False

    def load(self, key: str) -> bytes | None:
        """What is kept under a name."""
        return self.kept.get(key)

    def save(self, changes: Mapping[str, bytes | None]) -> None:
        """Keep all of it; None deletes."""
        if self.failing:
            raise LocalError("the disk is full")
        self.saves += 1
        for key, data in changes.items():
            if data is None:
                self.kept.pop(key, None)
            else:
                self.kept[key] = data

    @contextmanager
    def rolled_back(self) -> Iterator[None]:
        """A transaction that does not come to be."""
        before = dict(self.kept)
        yield
        self.kept = before


@dataclass
class Server:
    """PEP nodes and mailboxes of everybody."""

    lists: dict[tuple[str, str], dict[int, str]] = field(default_factory=dict)
    bundles: dict[tuple[str, str, int], Bundle] = field(default_factory=dict)
    sent: list[tuple[str, Sealed, str]] = field(default_factory=list)
    published: list[object] = field(default_factory=list)
    fetched: list[object] = field(default_factory=list)
    down: bool = False


class ServerDirectory:
    """The server as one account sees it."""

    def __init__(self, server: Server, jid: str) -> None:
        """See it as the account with this bare JID."""
        self.server = server
        self.jid = jid

    def _require_up(self) -> None:
        if self.server.down:
            raise NetworkError("the server is gone")

    async def fetch_devices(self, namespace: str, jid: str) -> Mapping[int, str]:
        """Device id -> label."""
        self._require_up()
        self.server.fetched.append((namespace, jid))
        return dict(self.server.lists.get((namespace, jid), {}))

    async def fetch_bundle(self, namespace: str, jid: str, device_id: int) -> Bundle:
        """The keys of a device."""
        self._require_up()
        self.server.fetched.append((namespace, jid, device_id))
        bundle = self.server.bundles.get((namespace, jid, device_id))
        if bundle is None:
            raise ProtocolError("item-not-found")
        return bundle

    async def publish_devices(self, namespace: str, devices: Mapping[int, str]) -> None:
        """Replace our own list."""
        self._require_up()
        self.server.published.append((namespace, dict(devices)))
        self.server.lists[namespace, self.jid] = dict(devices)

    async def publish_bundle(self, bundle: Bundle) -> None:
        """Replace our own keys."""
        self._require_up()
        self.server.published.append(bundle)
        self.server.bundles[bundle.namespace, self.jid, bundle.id] = bundle

    async def send(self, sealed: Sealed, jid: str) -> None:
        """Put a message into a mailbox."""
        self._require_up()
        self.server.sent.append((self.jid, sealed, jid))


class Trust:
    """Decides by fingerprint; TRUSTED unless told otherwise."""

    def __init__(self) -> None:
        """Begin with trust in everybody."""
        self.otherwise = DeviceTrust.TRUSTED
        self.by_fingerprint: dict[str, DeviceTrust] = {}
        self.chosen: set[bytes] = set()  # identity keys that our user decided for
        self.promised: set[bytes] = set()  # identity keys that their owner says OMEMO 2 has

    def is_chosen(self, device: Device) -> bool:
        """Our user decided for this very key."""
        return device.identity_key in self.chosen

    def is_promised(self, device: Device) -> bool:
        """Its owner says that it has OMEMO 2."""
        return device.identity_key in self.promised

    def __call__(self, device: Device) -> DeviceTrust:
        """What the device is to us."""
        return self.by_fingerprint.get(device.fingerprint, self.otherwise)


@dataclass
class Person:
    """One device of somebody."""

    jid: str
    omemo: Omemo
    store: RatchetStore
    trust: Trust
    server: Server
    clock: Callable[[], float]

    @property
    def id(self) -> int:
        """The number of the device, in every namespace."""
        return next(iter(self.omemo.own.values())).id

    async def write(self, text: bytes, *jids: str) -> tuple[Sealed, ...]:
        """Look their devices up and encrypt; one message for each namespace in use."""
        recipients = await self.omemo.prepare(jids)
        return self.omemo.seal(dict.fromkeys(BOTH, text), recipients)


class World:
    """A server, a clock that is set by hand, and who has devices there."""

    def __init__(self) -> None:
        """Begin without anybody."""
        self.server = Server()
        self.now = START

    async def person(
        self,
        jid: str,
        *,
        namespaces: tuple[str, ...] = BOTH,
        store: RatchetStore | None = None,
        label: str = "",
        retired: frozenset[int] = frozenset(),
    ) -> Person:
        """One more device of somebody, which publishes its keys; or one again, by its store."""
        store = store if store is not None else MemoryStore()
        trust = Trust()
        omemo = await Omemo.open(
            store,
            ServerDirectory(self.server, jid),
            jid=jid,
            trust=trust,
            chosen=trust.is_chosen,
            promised=trust.is_promised,
            unix=lambda: self.now,
            namespaces=namespaces,
            label=label,
            retired=retired,
        )
        return Person(jid, omemo, store, trust, self.server, lambda: self.now)

    def deliver(self, *people: Person) -> int:
        """Hand out the empty messages that wait; returns how many were opened."""
        opened = 0
        waiting, self.server.sent = self.server.sent, []
        for sender, sealed, jid in waiting:
            for person in people:
                if person.jid == jid and any(key.id == person.id for key in sealed.keys):
                    if person.omemo.open_sealed(sealed, sender).plaintext is not None:
                        raise AssertionError("a message without content had some")
                    opened += 1
        return opened
