"""OMEMO (XEP-0384) for one account: whom to write to, sealing, opening, and looking after keys.

How it is meant to be used, by whoever owns the history and the stream:

* `prepare` asks the network, outside any transaction. `seal` and `open_sealed` never wait: they
  read from the `RatchetStore`, compute, and hand everything that changed to one `save`. Called
  inside a transaction, that change commits with the message or not at all.
* The store is the truth. What is cached in memory counts only while the store returns the very
  bytes it was made from, so a transaction that is rolled back needs no word to us: the next call
  reads what the store has.
* Therefore: **no ciphertext leaves before its transaction has committed.** A sealed message whose
  transaction failed is thrown away; sent nevertheless, its key would serve twice.
* Who is trusted is decided by the callback alone, at every `prepare` and again at every `seal`.
  Devices nobody decided about get nothing, and are named in `Recipients`.
* Everything runs on one event loop; `prepare`, `maintain` and the others that wait take turns.
* Nothing of this may go into a backup: restored ratchets would use keys again. A restored account
  begins with an empty store and a new device id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from securecall.errors import (
    CannotOpen,
    DeviceKeyChanged,
    NetworkError,
    NotForUs,
    ProtocolError,
    UntrustedDevices,
    UsageError,
)
from securecall.keys.omemo_lookup import Lookup
from securecall.keys.omemo_ports import Directory, Place, RatchetStore
from securecall.keys.omemo_recipients import Found, LookedUp
from securecall.keys.omemo_upkeep import Upkeep
from securecall.keys.omemo_values import (
    NAMESPACES,
    WRITABLE,
    Device,
    DeviceTrust,
    KeyFor,
    Opened,
    Recipients,
    Sealed,
    montgomery,
)

if TYPE_CHECKING:
    # At run time only when an account opens: it costs a quarter of a second.
    from securecall.keys.omemo_state import Change, State

MAX_PAYLOAD: Final = 256 * 1024  # of ciphertext, that we open
_TRIES: Final = 4  # keys for our device id in one message
_RULE: Final = "XEP-0384"


class Omemo:
    """The OMEMO of one account on this device."""

    def __init__(
        self,
        state: State,
        directory: Directory,
        *,
        trust: Callable[[Device], DeviceTrust],
        chosen: Callable[[Device], bool],
        promised: Callable[[Device], bool],
        unix: Callable[[], float],
        label: str,
        retired: frozenset[int] = frozenset(),
    ) -> None:
        """Use `open` instead."""
        self._state = state
        self._trust = trust
        self._chosen = chosen
        self._label = label
        self._lookup = Lookup(
            state,
            directory,
            trust=trust,
            promised=promised,
            unix=unix,
            label=label,
            retired=retired,
        )
        self._upkeep = Upkeep(state, directory, self._lookup, trust=trust, unix=unix)
        self._turn = asyncio.Lock()
        self._catching_up = False

    @classmethod
    async def open(
        cls,
        store: RatchetStore,
        directory: Directory,
        *,
        jid: str,
        trust: Callable[[Device], DeviceTrust],
        unix: Callable[[], float],
        chosen: Callable[[Device], bool] = lambda _: False,
        promised: Callable[[Device], bool] = lambda _: False,
        namespaces: tuple[str, ...] = NAMESPACES,
        label: str = "",
        retired: frozenset[int] = frozenset(),
    ) -> Omemo:
        """Load or make this device's keys, put it on the device lists and publish its bundles.

        Args:
            store: Where keys are kept.
            directory: The server.
            jid: Our bare JID.
            trust: What a device is to us. Called often: answer from memory.
            unix: The time.
            chosen: Whether our user decided for this very key of a device; what they once trusted
                without a look does not count. Only such a key replaces another one.
            promised: Whether its owner says, signed, that a device has OMEMO 2: then it is written
                to in no other.
            namespaces: Which versions to take part in, the preferred one first.
            label: What this device is called in public; visible to everybody.
            retired: Devices of ours that are no more: they come off the lists as we get onto them.

        Raises:
            NetworkError: the server did not answer, and we were never here before.
            StoreCorrupt: what is kept cannot be read.
        """
        from securecall.keys.omemo_state import State

        state = State(store, jid, namespaces)
        taken: set[int] = set()
        if first := not state.exists():
            for namespace in namespaces:
                taken |= set(await directory.fetch_devices(namespace, jid))
        state.begin(taken=taken, unix=unix())
        omemo = cls(
            state,
            directory,
            trust=trust,
            chosen=chosen,
            promised=promised,
            unix=unix,
            label=label,
            retired=retired,
        )
        try:
            await omemo.maintain()
        except NetworkError:
            if first:
                raise
            # Who was here before can read, and write to whom it knows; `maintain` is called again.
        return omemo

    @property
    def jid(self) -> str:
        """Our bare JID."""
        return self._state.jid

    @property
    def device_id(self) -> int:
        """Of this device, in every namespace."""
        return self._state.device_id

    @property
    def own(self) -> Mapping[str, Device]:
        """This device, by namespace."""
        return {
            name: Device(
                namespace=name,
                jid=self.jid,
                id=self._state.device_id,
                identity_key=self._state.own(name).identity,
                label=self._label,
            )
            for name in self._state.namespaces
        }

    def devices(self, jid: str) -> tuple[Device, ...]:
        """The devices of somebody (of ours too, but this one) whose keys we have seen."""
        return self._state.devices(jid)

    def listed(self, jid: str) -> tuple[Device, ...]:
        """Those of them that stand on a device list now, as far as it was told."""
        book = self._state.book(jid)
        return tuple(device for device in self.devices(jid) if book.is_listed(device.id))

    def changed(self, jid: str) -> tuple[Device, ...]:
        """Devices of somebody that showed another identity key since this was opened: the new one.

        They get nothing, and nothing of them is opened, until our user decided for that key.
        """
        return tuple(device for device in self._lookup.changed.values() if device.jid == jid)

    # -- before writing ---------------------------------------------------------------------------

    async def prepare(
        self, jids: Iterable[str], *, namespaces: tuple[str, ...] | None = None
    ) -> Recipients:
        """Find out what is needed to write to these people, and to our own other devices.

        Raises:
            NoDevices: somebody has none that can be reached.
            UntrustedDevices: all of somebody's devices are undecided or distrusted.
            NetworkError: the server did not answer.
        """
        wanted = tuple(jids)
        ready = self.ready(wanted, namespaces=namespaces)
        if ready is not None:
            return ready
        found = Found()
        async with self._turn:
            looked_up = await self._lookup.find(self._everybody(wanted), self._names(namespaces))
            if self._accept_chosen(self._everybody(wanted)):
                looked_up = await self._lookup.find(
                    self._everybody(wanted), self._names(namespaces)
                )
            for jid, number, outcome in looked_up:
                found.add(jid, number, outcome, self._trust)
        return found.recipients(self._required(wanted))

    def ready(
        self, jids: Iterable[str], *, namespaces: tuple[str, ...] | None = None
    ) -> Recipients | None:
        """What `prepare` would return, if the server need not be asked for it, else None.

        Raises:
            NoDevices, UntrustedDevices: as `prepare`.
        """
        wanted = tuple(jids)
        _ = self._accept_chosen(self._everybody(wanted))
        known = self._lookup.known(self._everybody(wanted), self._names(namespaces))
        if known is None:
            return None
        found = Found()
        for device in known:
            found.add(device.jid, device.id, LookedUp(device=device), self._trust)
        return found.recipients(self._required(wanted))

    def seal(self, plaintexts: Mapping[str, bytes], recipients: Recipients) -> tuple[Sealed, ...]:
        """Encrypt a message for everybody who is (still) trusted; one result a namespace.

        Local and atomic: see the head of this module.

        Args:
            plaintexts: Namespace -> what to encrypt: an envelope (XEP-0420) or, in the legacy
                namespace, the body.
            recipients: From `prepare`; `Recipients.only` picks a single device.

        Raises:
            UntrustedDevices: nobody is trusted any more.
            BundleInvalid: somebody's published keys are not signed by their device.
            UsageError: `recipients` is out of date, or a plaintext is missing.
        """
        devices = [d for d in recipients.devices if self._trust(d) in WRITABLE]
        if not devices:
            raise UntrustedDevices(
                "no device that may read this message is trusted",
                devices=tuple((d.jid, d.id, d.fingerprint) for d in recipients.devices),
            )
        sealed = []
        with self._state.change() as change:
            for namespace in self._state.namespaces:
                group = [d for d in devices if d.namespace == namespace]
                if not group:
                    continue
                if namespace not in plaintexts:
                    raise UsageError(f"some devices need a plaintext for {namespace}")
                payload = self._state.scheme(namespace).seal_payload(plaintexts[namespace])
                keys = tuple(
                    change.seal(d, payload, recipients.bundles.get((namespace, d.jid, d.id)))
                    for d in group
                )
                sealed.append(self._state.sealed(namespace, keys, payload))
        for device in devices:
            self._upkeep.replied((device.namespace, device.jid, device.id))
        return tuple(sealed)

    # -- reading ----------------------------------------------------------------------------------

    def open_sealed(self, sealed: Sealed, sender_jid: str) -> Opened:
        """Decrypt a message for this device.

        Local and atomic: see the head of this module. After an error nothing has changed, and the
        message may be tried again.

        Args:
            sealed: From the stanza.
            sender_jid: Bare JID of who really sent it (in a room: the occupant's real one).

        Raises:
            NotForUs: it has no key for this device.
            AlreadyOpened: it was opened before.
            CannotOpen: there is no session for it, or a broken one; `maintain` sees to that.
            DeviceKeyChanged: the device shows another identity key than it is known by.
            ProtocolError: it is malformed.
        """
        if len(sealed.payload) > MAX_PAYLOAD:
            raise ProtocolError(f"a payload of more than {MAX_PAYLOAD} bytes", rule=_RULE)
        place = (sealed.namespace, sender_jid, sealed.sender)
        candidates = self._keys_for_us(sealed)
        for number, key in enumerate(candidates, start=1):
            try:
                return self._open_key(sealed, key, place)
            except CannotOpen:
                if number == len(candidates):
                    self._upkeep.owe_session(place)
                    raise
        raise NotForUs("this message holds no key for this device", rule=_RULE)

    def _open_key(self, sealed: Sealed, key: KeyFor, place: Place) -> Opened:
        try:
            return self._try_key(sealed, key, place)
        except DeviceKeyChanged as e:
            self._lookup.note_changed(_device(place, e.identity_key))
            if not self._accept_chosen([place[1]]):
                raise
        return self._try_key(sealed, key, place)

    def _try_key(self, sealed: Sealed, key: KeyFor, place: Place) -> Opened:
        scheme = self._state.scheme(sealed.namespace)
        message = scheme.parse_key(key.data, kex=key.kex)
        plaintext = None
        with self._state.change() as change:
            material, session, established = change.unseal(place, message, hide=self._catching_up)
            if sealed.payload:
                payload = self._state.payload(material, sealed.iv, sealed.payload)
                plaintext = scheme.open_payload(payload)
        if message.exchange is not None or session.unanswered >= self._state.heartbeat:
            self._upkeep.owe_reply(place)
        namespace, jid, number = place
        device = self._state.book(jid).device(namespace, number)
        return Opened(
            plaintext=plaintext,
            device=device or _device(place, session.theirs),
            established=established,
        )

    # -- what arrives beside messages -------------------------------------------------------------

    async def devices_changed(self, namespace: str, jid: str, devices: Mapping[int, str]) -> None:
        """Take over a device list that the server sent (id -> label).

        If it is ours and we are not on it, we put ourselves back, a few times an hour at most. A
        stranger's is passed over, for anybody can send as many as they like; it is fetched when it
        is needed.

        Raises:
            NetworkError: our list could not be published.
        """
        if not self._lookup.follows(namespace, jid):
            return
        self._lookup.take_list(namespace, jid, devices)
        if self._lookup.missing(namespace, jid, devices):
            async with self._turn:
                await self._lookup.announce(namespace, devices)

    def before_history(self) -> None:
        """An archive is about to be read: prekeys used in it go on working until it was."""
        self._catching_up = True

    async def after_history(self) -> None:
        """It was read: delete the prekeys it used, answer what waits for an answer.

        Raises:
            NetworkError: as `maintain`.
        """
        self._catching_up = False
        with self._state.change() as change:
            for namespace in self._state.namespaces:
                change.own(namespace).drop_hidden()
        await self.maintain()

    # -- looking after keys -----------------------------------------------------------------------

    @property
    def is_due(self) -> bool:
        """Whether `maintain` has something to do."""
        return not self._catching_up and self._upkeep.is_due()

    async def maintain(self) -> None:
        """Do what is due; call it after messages arrived, and once a day.

        Puts us on our device lists, renews the signed prekey after a week, fills up prekeys,
        publishes changed bundles, answers new sessions and long monologues with empty messages,
        opens new sessions where the old one broke. Nothing while an archive is read.

        Raises:
            NetworkError: the server did not answer; what was left undone is done next time.
        """
        async with self._turn:
            if self.is_due:
                await self._upkeep.run()

    def revoke(self, jid: str, device_id: int) -> None:
        """Delete the sessions with a revoked device; its identity key stays known."""
        with self._state.change() as change:
            self._drop(change, jid, device_id)

    def forget(self) -> None:
        """Drop everything cached in memory; what is kept is read again when it is needed.

        A transaction that was rolled back does not need it (see the head of this module); it is
        for whoever wants no secrets in memory for a while.
        """
        self._state.forget()

    # -- inside -----------------------------------------------------------------------------------

    def _everybody(self, jids: Iterable[str]) -> Iterable[str]:
        return dict.fromkeys([*jids, self.jid])

    def _required(self, jids: Iterable[str]) -> Iterable[str]:
        return (jid for jid in dict.fromkeys(jids) if jid != self.jid)

    def _names(self, namespaces: tuple[str, ...] | None) -> tuple[str, ...]:
        return tuple(n for n in self._state.namespaces if namespaces is None or n in namespaces)

    def _accept_chosen(self, jids: Iterable[str]) -> bool:
        """Let devices be known by the other key they showed, where our user decided for that.

        What goes on with the old key is not known, so its sessions go with it.
        """
        accepted = [d for jid in jids for d in self.changed(jid) if self._is_acceptable(d)]
        for device in accepted:
            with self._state.change() as change:
                self._drop(change, device.jid, device.id)
                change.book(device.jid).accept(device)
            del self._lookup.changed[device.jid, device.id]
        return bool(accepted)

    def _is_acceptable(self, device: Device) -> bool:
        # The key of one device under the id of another is a server's doing, whoever chose it.
        key = montgomery(device.identity_key)
        elsewhere = (d for d in self.devices(device.jid) if d.id != device.id)
        return self._chosen(device) and all(montgomery(d.identity_key) != key for d in elsewhere)

    def _drop(self, change: Change, jid: str, device_id: int) -> None:
        for namespace in self._state.namespaces:
            place = (namespace, jid, device_id)
            change.forget(place)
            self._upkeep.forget(place)

    def _keys_for_us(self, sealed: Sealed) -> tuple[KeyFor, ...]:
        if sealed.namespace not in self._state.namespaces:
            raise NotForUs(f"we do not take part in {sealed.namespace}", rule=_RULE)
        # The legacy namespace does not say whose device an id is, and anybody may take ours.
        own = self._state.device_id
        return tuple(k for k in sealed.keys if k.id == own and k.jid in ("", self.jid))[:_TRIES]


def _device(place: Place, identity_key: bytes) -> Device:
    namespace, jid, number = place
    return Device(namespace=namespace, jid=jid, id=number, identity_key=identity_key)
