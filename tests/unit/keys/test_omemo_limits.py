"""What OMEMO's parts refuse, and where they stop keeping things."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from securecall.address import parse_address
from securecall.errors import (
    AlreadyOpened,
    CannotOpen,
    NetworkError,
    NotForUs,
    ProtocolError,
    SecurityError,
    StoreCorrupt,
    UsageError,
)
from securecall.keys.omemo_devices import MAX_DEVICES, DeviceBook
from securecall.keys.omemo_legacy import OmemoLegacy
from securecall.keys.omemo_prekeys import PREKEYS, ROTATION, OwnKeys
from securecall.keys.omemo_scheme import decrypt_cbc, encrypt_cbc, same
from securecall.keys.omemo_session import Session
from securecall.keys.omemo_state import State, _join, _split
from securecall.keys.omemo_trust import (
    MAX_DEVICES as MAX_TRUSTED,
)
from securecall.keys.omemo_trust import (
    DeviceAct,
    DeviceEvent,
    DeviceHow,
    DeviceRecord,
    PersonDevices,
    transition_device,
)
from securecall.keys.omemo_two import OmemoTwo
from securecall.keys.omemo_values import OMEMO, Device, DeviceTrust
from securecall.testing.omemo_world import BOTH, ONLY_LEGACY, ONLY_TWO, World

ALICE, BOB = "alice@a.example", "bob@b.example"
KEY, HIM = bytes(range(32)), parse_address(f"xmpp:{BOB}")


def test_devices_of_no_more_people_are_held_in_memory_than_sessions(monkeypatch):
    monkeypatch.setattr("securecall.keys.omemo_state._CACHED", 3)

    async def body():
        alice = await World().person(ALICE)
        for number in range(9):
            alice.omemo._lookup.take_list(OMEMO, f"{number}@b.example", {7: ""})
        assert len(alice.omemo._state._books) == 3
        assert alice.omemo._state.book("0@b.example").active(OMEMO) == {7: ""}
        assert len(alice.omemo._state._books) == 3

    asyncio.run(body())


def act(act: DeviceAct, how: DeviceHow, **changes) -> DeviceEvent:
    given = {"act": act, "address": HIM, "key": KEY, "how": how, "unix": 7}
    return DeviceEvent(**(given | changes))


TRUST = act(DeviceAct.TRUST, DeviceHow.USER)
NOT_MEANT = {
    "evidence of another act": act(DeviceAct.VERIFY, DeviceHow.WROTE),
    "somebody else's device": replace(TRUST, address=parse_address("xmpp:eve@b.example")),
    "a telephone's device": replace(TRUST, address=parse_address("sip:bob@b.example")),
    "a short key": replace(TRUST, key=KEY[:31]),
    "a long key": replace(TRUST, key=KEY + b"!"),
}


@pytest.mark.parametrize("event", NOT_MEANT.values(), ids=NOT_MEANT)
def test_acts_on_devices_that_cannot_be_meant(event):
    with pytest.raises(UsageError):
        transition_device(PersonDevices(address=HIM), event)


def test_the_first_message_is_written_once():
    first = act(DeviceAct.FIRST_WRITE, DeviceHow.WROTE)
    person, _ = transition_device(PersonDevices(address=HIM), first)
    assert person.written == 7
    again, _ = transition_device(person, replace(first, key=KEY[::-1]))
    assert len(again.devices) == 2
    with pytest.raises(UsageError):
        transition_device(person, replace(first, key=KEY[::-1], unix=8))
    with pytest.raises(UsageError):  # it is trusted already
        transition_device(person, first)


def test_writing_to_a_distrusted_device_is_refused_as_such():
    person, _ = transition_device(
        PersonDevices(address=HIM), act(DeviceAct.DISTRUST, DeviceHow.USER)
    )
    with pytest.raises(SecurityError):
        transition_device(person, TRUST)


def test_only_devices_nobody_decided_about_make_room():
    def crowd(trust: DeviceTrust) -> PersonDevices:
        keys = [number.to_bytes(32, "big") for number in range(MAX_TRUSTED)]
        records = {key: DeviceRecord(key=key, seen=1, trust=trust) for key in keys}
        return PersonDevices(address=HIM, devices=records)

    person, _ = transition_device(crowd(DeviceTrust.UNDECIDED), TRUST)
    assert len(person.devices) == MAX_TRUSTED
    assert bytes(32) not in person.devices, "the one seen first went"
    assert person.devices[KEY].trust is DeviceTrust.TRUSTED
    with pytest.raises(SecurityError):
        transition_device(crowd(DeviceTrust.TRUSTED), TRUST)


def test_a_book_of_devices_is_full_at_its_limit_and_forgets_only_who_never_showed_a_key():
    book = DeviceBook(BOB)
    book.update(OMEMO, dict.fromkeys(range(1, MAX_DEVICES + 1), ""))
    stranger = Device(namespace=OMEMO, jid=BOB, id=MAX_DEVICES + 1, identity_key=identity())
    with pytest.raises(ProtocolError):
        book.learn(stranger)
    book.update(OMEMO, {1: ""})
    assert book.learn(stranger)
    assert not book.learn(stranger)


def identity() -> bytes:
    return OwnKeys.create(OmemoTwo(), bytes(range(32)), unix=0).identity


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"devices":{}}',
        b'{"devices":[1]}',
        b'{"devices":[{"id":0,"key":"","forms":{},"active":[],"label":"","repaired":0}]}',
        b'{"devices":[{"id":true,"key":"","forms":{},"active":[],"label":"","repaired":0}]}',
        b'{"devices":[{"id":2147483648,"key":"","forms":{},"active":[],"label":"","repaired":0}]}',
        b'{"devices":[{"id":1,"key":"=","forms":{},"active":[],"label":"","repaired":0}]}',
    ],
)
def test_a_book_that_is_none_is_not_read(data):
    with pytest.raises(StoreCorrupt):
        DeviceBook.parse(data, BOB)


@pytest.mark.parametrize("scheme", [OmemoTwo(), OmemoLegacy()], ids=["2", "legacy"])
def test_own_keys_are_read_as_they_were_written_or_not_at_all(scheme):
    private = bytes(range(32))
    own = OwnKeys.create(scheme, private, unix=0)
    assert own.rotate(unix=ROTATION)
    own.use_up(3, hide=True)
    own.use_up(4, hide=False)
    data = own.build()
    read = OwnKeys.parse(data, scheme, private)
    assert (read.prekeys, read.hidden, read.old, read.signed) == (
        own.prekeys, own.hidden, own.old, own.signed,
    )  # fmt: skip
    for broken in (b"", data[:-1], data[:-37], bytes([data[0] + 1]) + data[1:]):
        with pytest.raises(StoreCorrupt):
            OwnKeys.parse(broken, scheme, private)


def test_prekeys_are_made_anew_for_what_was_used_up_and_nothing_of_it_comes_back():
    own = OwnKeys.create(OmemoTwo(), bytes(range(32)), unix=0)
    own.published = True
    assert len(own.prekeys) == PREKEYS
    assert not own.refill()
    assert own.published
    assert not own.is_due(unix=ROTATION - 1)
    assert own.is_due(unix=ROTATION)
    assert own.is_due(unix=-1), "a clock that was set back renews"
    own.use_up(1, hide=True)
    assert not own.published
    own.published = True
    assert own.refill()
    assert not own.published, "the new ones are not"
    assert len(own.prekeys) == PREKEYS + 1
    assert 1 in own.prekeys, "hidden ones still work"
    assert own.drop_hidden()
    assert 1 not in own.prekeys
    assert not own.hidden
    assert not own.drop_hidden()
    own.use_up(2, hide=True)
    own.use_up(2, hide=False)
    assert not own.hidden, "what is gone is not hidden"
    assert max(own.prekeys) == PREKEYS + 1


@pytest.mark.parametrize("namespaces", [ONLY_TWO, ONLY_LEGACY])
def test_a_session_is_read_as_it_was_written_or_not_at_all(namespaces):
    async def body():
        world = World()
        alice = await world.person(ALICE, namespaces=namespaces)
        bob = await world.person(BOB, namespaces=namespaces)
        (sealed,) = await alice.write(b"hello", BOB)
        bob.omemo.open_sealed(sealed, ALICE)
        scheme = OmemoTwo() if namespaces is ONLY_TWO else OmemoLegacy()
        state = bob.omemo._state
        ((_, data),) = [(k, v) for k, v in bob.store.kept.items() if k.startswith("omemo/session")]
        size = int.from_bytes(data[:4], "big")
        one = data[4 : 4 + size]
        ours = state.own(namespaces[0]).identity
        assert Session.parse(one, scheme, ours).build() == one
        for broken in (b"", one[:-1], one + b"!", bytes([one[0] ^ 0x40]) + one[1:]):
            with pytest.raises(StoreCorrupt):
                Session.parse(broken, scheme, ours)

    asyncio.run(body())


def test_cbc_takes_back_what_it_made_and_refuses_other_padding():
    key, iv = bytes(32), bytes(16)
    for size in (0, 1, 15, 16, 17):
        assert decrypt_cbc(key, iv, encrypt_cbc(key, iv, bytes(size))) == bytes(size)
        assert len(encrypt_cbc(key, iv, bytes(size))) == 16 * (size // 16 + 1)
    with pytest.raises(CannotOpen):
        decrypt_cbc(key, iv, b"")
    with pytest.raises(CannotOpen):
        decrypt_cbc(key, iv, bytes(17))
    for last in (b"\x00", b"\x11", b"\x02"):  # none, more than a block, not all alike
        whole = encrypt_cbc(key, iv, bytes(15) + last)[:16]
        with pytest.raises(CannotOpen):
            decrypt_cbc(key, iv, whole)
    assert same(b"a", b"a")
    assert not same(b"a", b"b")


def test_what_is_sealed_in_a_namespace_we_do_not_speak_is_not_for_us():
    async def body():
        world = World()
        alice = await world.person(ALICE, namespaces=ONLY_LEGACY)
        await world.person(BOB, namespaces=BOTH)
        bob = await world.person(BOB, namespaces=ONLY_TWO)
        for sealed in await alice.write(b"hello", BOB):
            with pytest.raises(NotForUs):
                bob.omemo.open_sealed(sealed, ALICE)

    asyncio.run(body())


def test_a_new_account_whose_server_is_silent_does_not_begin():
    async def body():
        world = World()
        world.server.down = True
        with pytest.raises(NetworkError):
            await world.person(ALICE)

    asyncio.run(body())


def test_own_keys_print_none_of_themselves():
    private = bytes(range(32))
    own = OwnKeys.create(OmemoTwo(), private, unix=0)
    assert own.rotate(unix=ROTATION)
    assert not own.rotate(unix=ROTATION)
    for key in (private, own.signed.private_key, own.old.private_key, own.prekeys[1]):
        assert repr(key) not in repr(own)


def test_a_label_stays_until_there_is_another():
    book = DeviceBook(BOB)
    assert book.update(OMEMO, {1: "phone"})
    assert book.active(OMEMO) == {1: "phone"}
    assert not book.update(OMEMO, {1: ""})
    assert book.update(OMEMO, {1: "x" * 500})
    (label,) = book.active(OMEMO).values()
    assert 0 < len(label) < 500
    assert set(label) == {"x"}


def test_whose_lists_concern_us():
    async def body():
        world = World()
        alice, bob = await world.person(ALICE), await world.person(BOB)
        lookup = alice.omemo._lookup
        assert lookup.follows(OMEMO, ALICE)
        assert not lookup.follows(OMEMO, BOB)
        await alice.write(b"hello", BOB)
        assert lookup.follows(OMEMO, BOB)
        # at the next start nothing was fetched yet
        again = await world.person(ALICE, store=alice.store)
        assert again.omemo._lookup.follows(OMEMO, BOB)
        assert not again.omemo._lookup.follows(OMEMO, "eve@b.example")
        assert bob.id

    asyncio.run(body())


def test_a_payload_is_opened_up_to_its_limit():
    async def body():
        world = World()
        alice = await world.person(ALICE, namespaces=ONLY_TWO)
        bob = await world.person(BOB, namespaces=ONLY_TWO)
        (sealed,) = await alice.write(b"hello", BOB)
        for size, error in ((262_144, CannotOpen), (262_145, ProtocolError)):
            with pytest.raises(ProtocolError) as refused:
                bob.omemo.open_sealed(replace(sealed, payload=bytes(size)), ALICE)
            assert (refused.type is CannotOpen) == (error is CannotOpen)

    asyncio.run(body())


@pytest.mark.parametrize("scheme", [OmemoTwo(), OmemoLegacy()])
def test_a_bundle_is_ours_until_a_key_in_it_is_another(scheme):
    own = OwnKeys.create(scheme, bytes(range(32)), unix=0)
    bundle = own.bundle(ALICE, 7)
    assert own.offers(bundle) is True
    assert own.offers(replace(bundle, prekeys={1: KEY})) is False
    assert own.offers(replace(bundle, signed_prekey_id=own.signed.id + 1)) is False
    own.use_up(3, hide=True)
    assert 3 not in own.bundle(ALICE, 7).prekeys
    assert own.offers(bundle) is False, "what was used up is not offered"
    bundle = own.bundle(ALICE, 7)
    assert own.offers(bundle) is True
    assert own.rotate(unix=ROTATION)
    assert own.offers(bundle) is False


def test_sessions_that_were_cut_off_are_not_read():
    parts = [b"one", b"", b"three"]
    data = _join(iter(parts))
    assert list(_split(data)) == parts
    ends = {len(_join(iter(parts[:count]))) for count in range(4)}
    for size in range(len(data)):
        if size not in ends:
            with pytest.raises(StoreCorrupt):
                list(_split(data[:size]))


class Kept(dict):
    """A store of ratchets in memory."""

    def load(self, name):
        return self.get(name)

    def save(self, changes):
        for name, data in changes.items():
            self[name] = data


def test_a_new_device_takes_a_number_that_no_other_one_has(monkeypatch):
    drawn = iter([6, 6, 7, 8])  # one less than the number
    monkeypatch.setattr("securecall.keys.omemo_state.secrets.randbelow", lambda n: next(drawn))
    store = Kept()
    state = State(store, ALICE, BOTH)
    assert not state.exists()
    state.begin(taken={7, 8}, unix=0)
    assert state.device_id == 9
    assert state.exists()
    again = State(store, ALICE, BOTH)
    again.begin(taken={9}, unix=0)
    assert again.device_id == 9, "it has one already"
    for name in BOTH:
        assert again.own(name).build() == state.own(name).build()


def test_keys_that_are_damaged_or_gone_are_not_made_again():
    store = Kept()
    state = State(store, ALICE, ONLY_TWO)
    state.begin(taken=set(), unix=0)
    identity = store["omemo/identity"]
    store["omemo/identity"] = identity[:-1]
    with pytest.raises(StoreCorrupt, match="identity"):
        State(store, ALICE, ONLY_TWO).begin(taken=set(), unix=0)
    store.clear()
    with pytest.raises(StoreCorrupt, match="gone"):
        state.own(ONLY_TWO[0])


def test_keys_of_lost_messages_are_kept_for_the_latest_chains_alone():
    # Each turn of the ratchet may leave one key behind, which nobody ever asks for.
    async def body():
        world = World()
        alice = await world.person(ALICE, namespaces=ONLY_LEGACY)
        bob = await world.person(BOB, namespaces=ONLY_LEGACY)
        late, sizes = [], []
        for _ in range(2 * OmemoLegacy.max_old_chains + 5):
            late += await alice.write(b"late", BOB)
            for sealed in await alice.write(b"ping", BOB):
                bob.omemo.open_sealed(sealed, ALICE)
            for sealed in await bob.write(b"pong", ALICE):
                alice.omemo.open_sealed(sealed, BOB)
            sizes.append(sum(len(d) for n, d in bob.store.kept.items() if "/session/" in n))
        assert sizes[-1] < max(sizes), "what waits was cut down"
        for sealed in late[-OmemoLegacy.max_old_chains :]:
            assert bob.omemo.open_sealed(sealed, ALICE).plaintext == b"late"
        with pytest.raises(AlreadyOpened, match="or was given up long ago"):
            bob.omemo.open_sealed(late[1], ALICE)
        (sealed,) = await alice.write(b"goes on", BOB)
        assert bob.omemo.open_sealed(sealed, ALICE).plaintext == b"goes on"

    asyncio.run(body())


def test_a_message_that_opens_no_session_is_not_accepted_as_if_it_did():
    async def body():
        world = World()
        alice, bob = [await world.person(jid, namespaces=ONLY_TWO) for jid in (ALICE, BOB)]
        (sealed,) = await alice.write(b"hello", BOB)
        (key,) = sealed.keys
        message = OmemoTwo().parse_key(key.data, kex=True)
        own = bob.omemo._state.own(OMEMO)
        with pytest.raises(CannotOpen, match="no session"):
            Session.accept(OmemoTwo(), own, replace(message, exchange=None))
        assert Session.accept(OmemoTwo(), own, message)[0].confirmed

    asyncio.run(body())


def test_changes_of_one_step_add_up_and_are_kept_at_once():
    store = Kept()
    state = State(store, ALICE, ONLY_TWO)
    state.begin(taken=set(), unix=0)
    before = dict(store)
    with state.change() as change:
        change.book(BOB).update(OMEMO, {1: "phone"})
        change.book(BOB).learn(Device(namespace=OMEMO, jid=BOB, id=2, identity_key=identity()))
        change.own(OMEMO).use_up(1, hide=False)
        change.own(OMEMO).use_up(2, hide=False)
        assert store == before, "nothing is kept before the end"
    again = State(store, ALICE, ONLY_TWO)
    assert again.book(BOB).active(OMEMO) == {1: "phone"}
    assert again.book(BOB).device(OMEMO, 2)
    assert not {1, 2} & again.own(OMEMO).prekeys.keys()


@pytest.mark.parametrize("namespaces", [ONLY_TWO, ONLY_LEGACY])
def test_two_messages_of_one_step_are_sealed_with_two_keys(namespaces):
    # From what is kept, the second would take the key of the first again.
    async def body():
        world, name = World(), namespaces[0]
        alice, bob = [await world.person(jid, namespaces=namespaces) for jid in (ALICE, BOB)]
        (sealed,) = await alice.write(b"hello", BOB)
        assert bob.omemo.open_sealed(sealed, ALICE).plaintext == b"hello"
        state, device = alice.omemo._state, bob.omemo.own[name]
        payloads = [state.scheme(name).seal_payload(text) for text in (b"1", b"2")]
        with state.change() as change:
            keys = [change.seal(device, payload, None) for payload in payloads]
        for key, payload, text in zip(keys, payloads, (b"1", b"2"), strict=True):
            opened = bob.omemo.open_sealed(state.sealed(name, (key,), payload), ALICE)
            assert opened.plaintext == text

    asyncio.run(body())
