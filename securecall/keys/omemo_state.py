"""What OMEMO keeps, and how it changes: all at once or not at all."""

from __future__ import annotations

import secrets
import struct
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import xeddsa

from securecall.errors import AlreadyOpened, BundleInvalid, CannotOpen, StoreCorrupt, UsageError
from securecall.keys.omemo_devices import DeviceBook
from securecall.keys.omemo_legacy import OmemoLegacy
from securecall.keys.omemo_ports import Place, RatchetStore
from securecall.keys.omemo_prekeys import OwnKeys
from securecall.keys.omemo_scheme import KeyMessage, Payload, Scheme
from securecall.keys.omemo_session import HEARTBEAT, MAX_SESSIONS, Session
from securecall.keys.omemo_two import OmemoTwo
from securecall.keys.omemo_values import (
    MAX_ID,
    OMEMO,
    OMEMO_LEGACY,
    Bundle,
    Device,
    KeyFor,
    Sealed,
    montgomery,
)

_SCHEMES: Final[dict[str, type[Scheme]]] = {OMEMO: OmemoTwo, OMEMO_LEGACY: OmemoLegacy}
_TAGS: Final = {OMEMO: "2", OMEMO_LEGACY: "legacy"}
_SESSION: Final = "omemo/session/"
_IDENTITY: Final = struct.Struct(">I32s")
_LENGTH: Final = struct.Struct(">I")
_CACHED: Final = 1000  # sessions, a few kilobytes each, and people


class State:
    """Keys, sessions and device books of one account, over a store that is the truth."""

    heartbeat = HEARTBEAT

    def __init__(self, store: RatchetStore, jid: str, namespaces: tuple[str, ...]) -> None:
        """Look at nothing yet; `begin` does."""
        self.jid = jid
        self.namespaces = namespaces
        self.device_id = 0
        self._store = store
        self._schemes = {name: _SCHEMES[name]() for name in namespaces}
        self._private_key = b""
        self._cache: OrderedDict[str, tuple[bytes, list[Session]]] = OrderedDict()
        self._own: dict[str, tuple[bytes, OwnKeys]] = {}
        self._books: dict[str, tuple[bytes, DeviceBook]] = {}
        self._devices: dict[str, tuple[bytes | None, tuple[Device, ...]]] = {}

    def exists(self) -> bool:
        """Whether this device has keys already."""
        return self._store.load("omemo/identity") is not None

    def begin(self, *, taken: set[int], unix: float) -> None:
        """Load this device's keys, or make them, under an id that no other device of ours has."""
        data = self._store.load("omemo/identity")
        changes: dict[str, bytes | None] = {}
        if data is None:
            number = secrets.randbelow(MAX_ID) + 1
            while number in taken:
                number = secrets.randbelow(MAX_ID) + 1
            data = _IDENTITY.pack(number, _new_seed())
            changes["omemo/identity"] = data
        try:
            self.device_id, seed = _IDENTITY.unpack(data)
        except struct.error as e:
            raise StoreCorrupt("our OMEMO identity cannot be read") from e
        self._private_key = xeddsa.seed_to_priv(seed)
        for name in self.namespaces:
            if self._store.load(_own_key(name)) is None:
                own = OwnKeys.create(self._schemes[name], self._private_key, unix=unix)
                changes[_own_key(name)] = own.build()
        if changes:
            self._store.save(changes)

    def scheme(self, namespace: str) -> Scheme:
        """One of the versions we take part in."""
        return self._schemes[namespace]

    def payload(self, material: bytes, iv: bytes, data: bytes) -> Payload:
        """An encrypted payload with the secret that opens it."""
        return Payload(material=material, iv=iv, data=data)

    def sealed(self, namespace: str, keys: tuple[KeyFor, ...], payload: Payload) -> Sealed:
        """A message of this device."""
        return Sealed(
            namespace=namespace,
            sender=self.device_id,
            keys=keys,
            iv=payload.iv,
            payload=payload.data,
        )

    def own(self, namespace: str) -> OwnKeys:
        """Our own keys; to be read, not changed."""
        data = self._store.load(_own_key(namespace))
        if data is None:
            raise StoreCorrupt("our OMEMO keys are gone")
        cached = self._own.get(namespace)
        if cached is None or cached[0] != data:
            cached = data, OwnKeys.parse(data, self._schemes[namespace], self._private_key)
            self._own[namespace] = cached
        return cached[1]

    def book(self, jid: str) -> DeviceBook:
        """The devices of somebody; to be read, not changed."""
        data = self._store.load(_book_key(jid))
        if data is None:
            return DeviceBook(jid)
        cached = self._books.get(jid)
        if cached is None or cached[0] != data:
            cached = data, DeviceBook.parse(data, jid)
            self._cache_book(jid, cached)
        return cached[1]

    def _cache_book(self, jid: str, book: tuple[bytes, DeviceBook]) -> None:
        # anybody can write to us once under each of many names
        if len(self._books) >= _CACHED and jid not in self._books:
            del self._books[next(iter(self._books))]
        self._books[jid] = book

    def knows(self, jid: str) -> bool:
        """Whether anything is kept of somebody's devices."""
        return self.book_version(jid) is not None

    def book_version(self, jid: str) -> bytes | None:
        """Another one whenever the devices of somebody are others."""
        return self._store.load(_book_key(jid))

    def devices(self, jid: str) -> tuple[Device, ...]:
        """What `DeviceBook.devices` says; the same object as long as nothing changed."""
        version = self.book_version(jid)
        kept = self._devices.get(jid)
        if kept is None or kept[0] != version:
            if len(self._devices) >= _CACHED:
                self._devices.clear()
            ours = self.device_id if jid == self.jid else 0
            kept = version, tuple(d for d in self.book(jid).devices() if d.id != ours)
            self._devices[jid] = kept
        return kept[1]

    def signer(self, bundle: Bundle) -> Device:
        """Whose bundle it is, proved by its signature.

        Raises:
            BundleInvalid: it is not signed by the key it names.
            ProtocolError: it names no key.
        """
        scheme = self._schemes[bundle.namespace]
        scheme.require_signed(bundle)
        return Device(
            namespace=bundle.namespace,
            jid=bundle.jid,
            id=bundle.id,
            identity_key=scheme.identity(bundle.identity_key),
        )

    def narrowed(self, bundle: Bundle) -> Bundle:
        """The bundle with one of its prekeys, at random; sealing will succeed with it.

        Raises:
            BundleInvalid: one of the keys is none that X25519 accepts.
        """
        number = secrets.choice(sorted(bundle.prekeys))
        identity = montgomery(self._schemes[bundle.namespace].identity(bundle.identity_key))
        try:
            for key in (identity, bundle.signed_prekey, bundle.prekeys[number]):
                xeddsa.x25519(secrets.token_bytes(32), key)
        except (xeddsa.XEdDSAException, ValueError) as e:
            raise BundleInvalid(
                f"the published keys of {bundle.jid}'s device {bundle.id} are unusable"
            ) from e
        return replace(bundle, prekeys={number: bundle.prekeys[number]})

    def has_session(self, place: Place) -> bool:
        """Whether there is a session with a device."""
        return self._store.load(_session_key(place)) is not None

    @contextmanager
    def change(self) -> Iterator[Change]:
        """Collect changes; they are kept in one step at the end, or not at all."""
        change = Change(self)
        yield change
        change.keep()

    def forget(self) -> None:
        """Drop what is cached."""
        self._cache.clear()
        self._own.clear()
        self._books.clear()
        self._devices.clear()

    # For `Change` only: objects that it alters must never be found here afterwards.

    def take_sessions(self, place: Place) -> list[Session]:
        """The sessions with a device, the one to send in first."""
        name = _session_key(place)
        data = self._store.load(name)
        cached = self._cache.pop(name, None)
        if data is None:
            return []
        if cached is not None and cached[0] == data:
            return cached[1]
        scheme, ours = self._schemes[place[0]], self.own(place[0]).identity
        return [Session.parse(one, scheme, ours) for one in _split(data)]

    def take_own(self, namespace: str) -> OwnKeys:
        """Our own keys."""
        own = self.own(namespace)
        del self._own[namespace]
        return own

    def take_book(self, jid: str) -> DeviceBook:
        """The devices of somebody."""
        book = self.book(jid)
        self._books.pop(jid, None)
        return book

    def save(
        self,
        sessions: dict[Place, list[Session]],
        own: dict[str, OwnKeys],
        books: dict[str, DeviceBook],
    ) -> None:
        """Keep what differs from what is kept, in one call."""
        written: dict[str, bytes | None] = {}
        for place, group in sessions.items():
            written[_session_key(place)] = _join(one.build() for one in group) if group else None
        for name, keys in own.items():
            written[_own_key(name)] = keys.build()
        for jid, book in books.items():
            written[_book_key(jid)] = book.build()
        # A session that was used is another one; the others often stay as they are.
        changed = {
            name: data
            for name, data in written.items()
            if name.startswith(_SESSION) or data != self._store.load(name)
        }
        if changed:
            self._store.save(changed)
        for place, group in sessions.items():
            name = _session_key(place)
            if (data := written[name]) is not None:
                self._cache[name] = data, group
        for name, keys in own.items():
            self._own[name] = written[_own_key(name)] or b"", keys
        for jid, book in books.items():
            self._cache_book(jid, (written[_book_key(jid)] or b"", book))
        while len(self._cache) > _CACHED:
            self._cache.popitem(last=False)


class Change:
    """Changes that belong together."""

    def __init__(self, state: State) -> None:
        """Begin with none."""
        self._state = state
        self._sessions: dict[Place, list[Session]] = {}
        self._own: dict[str, OwnKeys] = {}
        self._books: dict[str, DeviceBook] = {}

    def keep(self) -> None:
        """Hand them to the store, in one call."""
        self._state.save(self._sessions, self._own, self._books)

    def own(self, namespace: str) -> OwnKeys:
        """Our own keys, to be changed."""
        if namespace not in self._own:
            self._own[namespace] = self._state.take_own(namespace)
        return self._own[namespace]

    def book(self, jid: str) -> DeviceBook:
        """The devices of somebody, to be changed."""
        if jid not in self._books:
            self._books[jid] = self._state.take_book(jid)
        return self._books[jid]

    def forget(self, place: Place) -> None:
        """Delete the sessions with a device."""
        self._sessions[place] = []

    def seal(self, device: Device, payload: Payload, bundle: Bundle | None) -> KeyFor:
        """Encrypt a message's secret for a device, in a new session if there is none.

        Raises:
            UsageError: there is none, and no bundle.
            BundleInvalid: the bundle is not signed by the device.
        """
        place = (device.namespace, device.jid, device.id)
        group = self._group(place)
        sender = self._state.device_id
        # Both signs are one key: who opens a session with the other one must not block a room.
        if group and montgomery(group[0].theirs) == montgomery(device.identity_key):
            data, kex = group[0].seal(payload.material, sender=sender)
        elif bundle is not None:
            data = self.begin(place, payload, bundle)
            kex = True
        else:
            raise UsageError(f"no session with {device.jid}'s device {device.id}: prepare again")
        return KeyFor(jid=device.jid, id=device.id, data=data, kex=kex)

    def begin(self, place: Place, payload: Payload, bundle: Bundle) -> bytes:
        """Open a new session; older ones only receive from now on."""
        own = self._state.own(place[0])
        session, data = Session.begin(
            self._state.scheme(place[0]), own, bundle, payload.material,
            sender=self._state.device_id,
        )  # fmt: skip
        self._lead(place, session)
        return data

    def unseal(self, place: Place, key: KeyMessage, *, hide: bool) -> tuple[bytes, Session, bool]:
        """Decrypt a message's secret; returns it, the session, and whether it is a new one.

        Raises:
            AlreadyOpened: it was decrypted before.
            CannotOpen: no session fits.
            DeviceKeyChanged: a new session came with another identity key.
        """
        group = self._group(place)
        if key.exchange is not None:
            for session in group:
                if session.opened_by(key.exchange):
                    return session.unseal(key), session, False
            return (*self._accept(place, key, hide=hide), True)
        for session in group:
            try:
                material = session.unseal(key)
            except AlreadyOpened:
                raise
            except CannotOpen:
                continue
            # The other end writes in this one, so it is the one both have (libsignal does so too).
            self._lead(place, session)
            return material, session, False
        raise CannotOpen("no session with this device fits the message", rule="XEP-0384")

    def _accept(self, place: Place, key: KeyMessage, *, hide: bool) -> tuple[bytes, Session]:
        namespace, jid, number = place
        exchange = key.exchange
        if exchange is None:
            raise CannotOpen("this message opens no session", rule="XEP-0384")
        device = Device(namespace=namespace, jid=jid, id=number, identity_key=exchange.identity_key)
        own = self.own(namespace)
        session, material = Session.accept(self._state.scheme(namespace), own, key)
        self.book(jid).learn(device)  # only now has it proved that it has this key
        own.use_up(exchange.prekey_id, hide=hide)
        self._lead(place, session)
        return material, session

    def _group(self, place: Place) -> list[Session]:
        if place not in self._sessions:
            self._sessions[place] = self._state.take_sessions(place)
        return self._sessions[place]

    def _lead(self, place: Place, session: Session) -> None:
        others = [one for one in self._group(place) if one is not session]
        self._sessions[place] = [session, *others][:MAX_SESSIONS]


def _new_seed() -> bytes:
    """Draw what our identity key is made of.

    Its Ed25519 form gets the sign bit 0, which is the one that every conversion from Curve25519
    gives (XEdDSA 2.3): programs whose keys are Curve25519 keys know no other, so they could check
    no signature of ours and open nothing.
    """
    while True:
        seed = secrets.token_bytes(32)
        if not xeddsa.seed_to_ed25519_pub(seed)[31] & 0x80:
            return seed


def _own_key(namespace: str) -> str:
    return f"omemo/own/{_TAGS[namespace]}"


def _book_key(jid: str) -> str:
    return f"omemo/devices/{jid}"


def _session_key(place: Place) -> str:
    namespace, jid, number = place
    return f"{_SESSION}{_TAGS[namespace]}/{number}/{jid}"


def _join(parts: Iterator[bytes]) -> bytes:
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


def _split(data: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(data):
        try:
            (size,) = _LENGTH.unpack_from(data, position)
        except struct.error as e:
            raise StoreCorrupt("an OMEMO session was cut off") from e
        position += _LENGTH.size + size
        if position > len(data):
            raise StoreCorrupt("an OMEMO session was cut off")
        yield data[position - size : position]
