"""OMEMO of one account: who gets a message, what is kept when, what is looked after."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace

import pytest
import xeddsa

from securecall.errors import (
    AlreadyOpened,
    CannotOpen,
    LocalError,
    NetworkError,
    NoDevices,
    NotForUs,
    ProtocolError,
    UntrustedDevices,
    UsageError,
)
from securecall.keys.omemo_prekeys import PREKEYS, ROTATION
from securecall.keys.omemo_session import HEARTBEAT
from securecall.keys.omemo_values import OMEMO, OMEMO_LEGACY, DeviceTrust, montgomery
from securecall.testing.omemo_world import (
    BOTH,
    ONLY_LEGACY,
    ONLY_TWO,
    MemoryStore,
    Server,
    ServerDirectory,
    World,
)

ALICE, BOB = "alice@a.example", "bob@b.example"


def run(coroutine: Coroutine[object, object, None]) -> None:
    asyncio.run(coroutine)


def test_our_identity_has_the_sign_that_every_conversion_from_curve25519_gives():
    """Half of all keys have the other: that sixteen have none of it is no chance."""

    async def body():
        world = World()
        for number in range(16):
            person = await world.person(f"{number}@a.example", namespaces=ONLY_TWO)
            public = person.omemo.own[OMEMO].identity_key
            assert xeddsa.curve25519_pub_to_ed25519_pub(montgomery(public), False) == public

    run(body())


@pytest.mark.parametrize("namespaces", [ONLY_TWO, ONLY_LEGACY, BOTH])
def test_all_devices_of_both_can_read_it(namespaces):
    async def body():
        world = World()
        alice, laptop = [await world.person(ALICE, namespaces=namespaces) for _ in range(2)]
        bob, phone = [await world.person(BOB, namespaces=namespaces) for _ in range(2)]
        await alice.omemo.devices_changed(
            namespaces[0], ALICE, world.server.lists[namespaces[0], ALICE]
        )
        (sealed,) = await alice.write(b"hello", BOB)
        assert sealed.namespace == namespaces[0]
        for reader in (laptop, bob, phone):
            opened = reader.omemo.open_sealed(sealed, ALICE)
            assert opened.plaintext == b"hello"
            assert opened.established
            assert opened.device.id == alice.id
            assert opened.device == alice.omemo.own[namespaces[0]]

    run(body())


def test_a_device_with_both_is_written_to_in_the_better_one_and_others_in_theirs():
    async def body():
        world = World()
        alice = await world.person(ALICE)
        bob = await world.person(BOB)
        old = await world.person(BOB, namespaces=ONLY_LEGACY)
        two, legacy = await alice.write(b"hello", BOB)
        assert [(s.namespace, [k.id for k in s.keys]) for s in (two, legacy)] == [
            (OMEMO, [bob.id]),
            (OMEMO_LEGACY, [old.id]),
        ]
        assert bob.omemo.open_sealed(two, ALICE).plaintext == b"hello"
        assert old.omemo.open_sealed(legacy, ALICE).plaintext == b"hello"

    run(body())


def test_a_single_device_can_be_written_to():
    async def body():
        world = World()
        alice = await world.person(ALICE)
        bob, phone = await world.person(BOB), await world.person(BOB)
        both = await alice.omemo.prepare([BOB], namespaces=ONLY_LEGACY)
        recipients = replace(both, devices=tuple(d for d in both.devices if d.id == phone.id))
        (sealed,) = alice.omemo.seal({OMEMO_LEGACY: b"AA:BB"}, recipients)
        assert [key.id for key in sealed.keys] == [phone.id]
        assert phone.omemo.open_sealed(sealed, ALICE).plaintext == b"AA:BB"
        with pytest.raises(NotForUs):
            bob.omemo.open_sealed(sealed, ALICE)

    run(body())


def test_undecided_devices_get_nothing_and_are_named():
    async def body():
        world = World()
        alice, bob, new = [await world.person(j) for j in (ALICE, BOB, BOB)]
        fingerprint = new.omemo.own[OMEMO].fingerprint
        alice.trust.by_fingerprint[fingerprint] = DeviceTrust.UNDECIDED
        recipients = await alice.omemo.prepare([BOB])
        assert [d.id for d in recipients.undecided] == [new.id]
        (sealed,) = alice.omemo.seal({OMEMO: b"hello"}, recipients)
        assert [key.id for key in sealed.keys] == [bob.id]
        alice.trust.otherwise = DeviceTrust.DISTRUSTED
        with pytest.raises(UntrustedDevices) as refused:
            alice.omemo.seal({OMEMO: b"hello"}, recipients)
        with pytest.raises(UntrustedDevices) as refused:
            await alice.omemo.prepare([BOB])
        assert (BOB, new.id, fingerprint) in refused.value.devices

    run(body())


def test_who_has_no_device_cannot_be_written_to():
    async def body():
        world = World()
        alice = await world.person(ALICE)
        with pytest.raises(NoDevices):
            await alice.omemo.prepare([BOB])
        world.server.lists[OMEMO, BOB] = {17: ""}  # but no bundle
        await alice.omemo.devices_changed(OMEMO, BOB, {17: ""})
        with pytest.raises(NoDevices):
            await alice.omemo.prepare([BOB])

    run(body())


def test_a_message_opens_once():
    async def body():
        world = World()
        alice, bob = await world.person(ALICE), await world.person(BOB)
        first = await alice.write(b"1", BOB)
        second = await alice.write(b"2", BOB)
        for sealed in (*second, *first):
            bob.omemo.open_sealed(sealed, ALICE)
        for sealed in (*second, *first):
            with pytest.raises(AlreadyOpened):
                bob.omemo.open_sealed(sealed, ALICE)

    run(body())


@pytest.mark.parametrize("namespaces", [ONLY_TWO, ONLY_LEGACY])
def test_old_messages_stay_opened_when_the_ratchet_has_turned(namespaces):
    async def body():
        world = World()
        alice = await world.person(ALICE, namespaces=namespaces)
        bob = await world.person(BOB, namespaces=namespaces)
        old = []
        for _ in range(5):
            old += await alice.write(b"ping", BOB)
            bob.omemo.open_sealed(old[-1], ALICE)
            for sealed in await bob.write(b"pong", ALICE):
                alice.omemo.open_sealed(sealed, BOB)
        for sealed in old:
            with pytest.raises(AlreadyOpened):
                bob.omemo.open_sealed(sealed, ALICE)
        (last,) = await alice.write(b"still works", BOB)
        assert bob.omemo.open_sealed(last, ALICE).plaintext == b"still works"

    run(body())


@pytest.mark.parametrize("namespaces", [ONLY_TWO, ONLY_LEGACY])
def test_each_operation_saves_once_and_a_failed_save_changes_nothing(namespaces):
    async def body():
        world = World()
        alice = await world.person(ALICE, namespaces=namespaces)
        bob = await world.person(BOB, namespaces=namespaces)
        recipients = await alice.omemo.prepare([BOB])
        for turn in range(3):
            before, kept = alice.store.saves, dict(alice.store.kept)
            alice.store.failing = True
            with pytest.raises(LocalError):
                alice.omemo.seal(dict.fromkeys(BOTH, b"lost"), recipients)
            assert alice.store.kept == kept
            alice.store.failing = False
            (sealed,) = alice.omemo.seal(dict.fromkeys(BOTH, b"hello"), recipients)
            assert alice.store.saves == before + 1
            before, kept = bob.store.saves, dict(bob.store.kept)
            bob.store.failing = True
            with pytest.raises(LocalError):
                bob.omemo.open_sealed(sealed, ALICE)
            assert bob.store.kept == kept
            bob.store.failing = False
            assert bob.omemo.open_sealed(sealed, ALICE).plaintext == b"hello", turn
            assert bob.store.saves == before + 1

    run(body())


@pytest.mark.parametrize("namespaces", [ONLY_TWO, ONLY_LEGACY])
def test_a_transaction_that_is_rolled_back_takes_memory_with_it(namespaces):
    async def body():
        world = World()
        alice = await world.person(ALICE, namespaces=namespaces)
        bob = await world.person(BOB, namespaces=namespaces)
        recipients = await alice.omemo.prepare([BOB])
        for _ in range(3):
            with alice.store.rolled_back():
                alice.omemo.seal(dict.fromkeys(BOTH, b"never sent"), recipients)
            (sealed,) = alice.omemo.seal(dict.fromkeys(BOTH, b"hello"), recipients)
            with bob.store.rolled_back():
                assert bob.omemo.open_sealed(sealed, ALICE).plaintext == b"hello"
            assert bob.omemo.open_sealed(sealed, ALICE).plaintext == b"hello"
            with pytest.raises(AlreadyOpened):
                bob.omemo.open_sealed(sealed, ALICE)

    run(body())


def test_another_process_finds_everything_in_the_store():
    async def body():
        world = World()
        alice, bob = await world.person(ALICE), await world.person(BOB)
        for sealed in await alice.write(b"1", BOB):
            bob.omemo.open_sealed(sealed, ALICE)
        again = await world.person(BOB, store=bob.store)
        assert again.omemo.own == bob.omemo.own
        for sealed in await alice.write(b"2", BOB):
            assert again.omemo.open_sealed(sealed, ALICE).plaintext == b"2"
            again.omemo.forget()
        for sealed in await again.write(b"3", ALICE):
            assert alice.omemo.open_sealed(sealed, BOB).plaintext == b"3"

    run(body())


def test_a_tampered_payload_is_refused_and_the_true_one_still_opens():
    async def body():
        world = World()
        for namespaces in (ONLY_TWO, ONLY_LEGACY):
            alice = await world.person(ALICE, namespaces=namespaces)
            bob = await world.person(BOB, namespaces=namespaces)
            (sealed,) = await alice.write(b"hello", BOB)
            flipped = bytes([sealed.payload[0] ^ 1]) + sealed.payload[1:]
            with pytest.raises(CannotOpen):
                bob.omemo.open_sealed(replace(sealed, payload=flipped), ALICE)
            assert bob.omemo.open_sealed(sealed, ALICE).plaintext == b"hello"
            world = World()

    run(body())


def test_a_new_session_is_answered_so_that_it_need_not_be_opened_again_and_again():
    async def body():
        world = World()
        alice, bob = await world.person(ALICE), await world.person(BOB)
        for _ in range(2):
            (sealed,) = await alice.write(b"hello", BOB)
            assert sealed.keys[0].kex
            bob.omemo.open_sealed(sealed, ALICE)
        await bob.omemo.maintain()
        assert world.deliver(alice) == 1
        (sealed,) = await alice.write(b"hello", BOB)
        assert not sealed.keys[0].kex
        await bob.omemo.maintain()
        assert world.server.sent == []

    run(body())


def test_a_monologue_is_answered_with_a_heartbeat():
    async def body():
        world = World()
        alice, bob = await world.person(ALICE), await world.person(BOB)
        recipients = await alice.omemo.prepare([BOB])
        for _ in range(HEARTBEAT + 5):
            (sealed,) = alice.omemo.seal({OMEMO: b"."}, recipients)
            bob.omemo.open_sealed(sealed, ALICE)
        await bob.omemo.maintain()
        world.deliver(alice)
        for count in range(HEARTBEAT):
            await bob.omemo.maintain()
            assert world.server.sent == [], count
            (sealed,) = alice.omemo.seal({OMEMO: b"."}, recipients)
            bob.omemo.open_sealed(sealed, ALICE)
        await bob.omemo.maintain()
        assert world.deliver(alice) == 1

    run(body())


def test_undecided_senders_are_opened_but_not_answered():
    async def body():
        world = World()
        alice, bob = await world.person(ALICE), await world.person(BOB)
        bob.trust.otherwise = DeviceTrust.UNDECIDED
        (sealed,) = await alice.write(b"hello", BOB)
        assert bob.omemo.open_sealed(sealed, ALICE).plaintext == b"hello"
        await bob.omemo.maintain()
        assert world.server.sent == []

    run(body())


def test_the_keys_of_a_device_are_there_before_anybody_is_told_of_it():
    async def body():
        world = World()
        _ = await world.person(BOB)
        # whoever sees the list asks for the keys at once, and some ask once only
        lists = [isinstance(each, tuple) for each in world.server.published]
        assert lists == [False, True] * len(BOTH)

    run(body())


def test_prekeys_are_used_once_filled_up_and_published():
    async def body():
        world = World()
        alice, bob = await world.person(ALICE), await world.person(BOB)
        place = (OMEMO, BOB, bob.id)
        before = world.server.bundles[place]
        assert len(before.prekeys) == PREKEYS
        (sealed,) = await alice.write(b"hello", BOB)
        bob.omemo.open_sealed(sealed, ALICE)
        await bob.omemo.maintain()
        after = world.server.bundles[place]
        assert len(after.prekeys) == PREKEYS
        assert len(set(before.prekeys) - set(after.prekeys)) == 1
        assert max(after.prekeys) == PREKEYS + 1
        count = len(world.server.published)
        await bob.omemo.maintain()
        assert len(world.server.published) == count

    run(body())


def test_the_signed_prekey_is_renewed_after_a_week_and_the_old_one_works_for_another():
    async def body():
        world = World()
        alice, bob = await world.person(ALICE), await world.person(BOB)
        place = (OMEMO, BOB, bob.id)
        recipients = await alice.omemo.prepare([BOB])
        first = world.server.bundles[place].signed_prekey_id
        world.now += ROTATION + 1
        await bob.omemo.maintain()
        assert world.server.bundles[place].signed_prekey_id == first + 1
        (sealed,) = alice.omemo.seal({OMEMO: b"late"}, recipients)
        assert bob.omemo.open_sealed(sealed, ALICE).plaintext == b"late"

        carol = await world.person("carol@c.example")
        recipients = await carol.omemo.prepare([BOB])
        for _ in range(2):
            world.now += ROTATION + 1
            await bob.omemo.maintain()
        (sealed,) = carol.omemo.seal({OMEMO: b"too late"}, recipients)
        with pytest.raises(CannotOpen):
            bob.omemo.open_sealed(sealed, "carol@c.example")

    run(body())


def test_while_an_archive_is_read_prekeys_go_on_working():
    async def body():
        world = World()
        alice, bob = await world.person(ALICE), await world.person(BOB)
        carol = await world.person("carol@c.example")
        bundle = world.server.bundles[OMEMO, BOB, bob.id]
        one = replace(bundle, prekeys={7: bundle.prekeys[7]})  # both take the same prekey
        world.server.bundles[OMEMO, BOB, bob.id] = one
        (from_alice,) = await alice.write(b"from alice", BOB)
        (from_carol,) = await carol.write(b"from carol", BOB)
        bob.omemo.before_history()
        assert bob.omemo.open_sealed(from_alice, ALICE).plaintext == b"from alice"
        await bob.omemo.maintain()
        assert world.server.sent == []
        assert bob.omemo.open_sealed(from_carol, carol.jid).plaintext == b"from carol"
        await bob.omemo.after_history()
        assert 7 not in world.server.bundles[OMEMO, BOB, bob.id].prekeys
        assert world.deliver(alice, carol) == 2

        world.server.bundles[OMEMO, BOB, bob.id] = one
        dora = await world.person("dora@d.example")
        (from_dora,) = await dora.write(b"from dora", BOB)
        with pytest.raises(CannotOpen):
            bob.omemo.open_sealed(from_dora, dora.jid)

    run(body())


def test_a_broken_session_is_replaced_once_an_hour_at_most():
    async def body():
        world = World()
        alice, bob = await world.person(ALICE), await world.person(BOB)
        for sealed in await alice.write(b"1", BOB):
            bob.omemo.open_sealed(sealed, ALICE)
        for sealed in await bob.write(b"2", ALICE):
            alice.omemo.open_sealed(sealed, BOB)
        bob.omemo.revoke(ALICE, alice.id)
        for _ in range(3):
            for sealed in await alice.write(b"3", BOB):
                with pytest.raises(CannotOpen):
                    bob.omemo.open_sealed(sealed, ALICE)
            await bob.omemo.maintain()
        (_, empty, _) = world.server.sent[-1]
        assert len(world.server.sent) == 1
        assert empty.keys[0].kex
        assert world.deliver(alice) == 1
        for sealed in await alice.write(b"4", BOB):
            assert bob.omemo.open_sealed(sealed, ALICE).plaintext == b"4"

    run(body())


def test_both_may_open_a_session_at_once():
    async def body():
        for namespaces in (ONLY_TWO, ONLY_LEGACY):
            world = World()
            alice = await world.person(ALICE, namespaces=namespaces)
            bob = await world.person(BOB, namespaces=namespaces)
            (to_bob,) = await alice.write(b"1", BOB)
            (to_alice,) = await bob.write(b"2", ALICE)
            assert bob.omemo.open_sealed(to_bob, ALICE).plaintext == b"1"
            assert alice.omemo.open_sealed(to_alice, BOB).plaintext == b"2"
            for count in range(5):
                (to_bob,) = await alice.write(b"%d" % count, BOB)
                (to_alice,) = await bob.write(b"%d" % count, ALICE)
                assert bob.omemo.open_sealed(to_bob, ALICE).plaintext == b"%d" % count
                assert alice.omemo.open_sealed(to_alice, BOB).plaintext == b"%d" % count

    run(body())


def test_our_other_devices_stay_on_the_list_and_so_do_we():
    async def body():
        world = World()
        world.server.lists[OMEMO, ALICE] = {5: "old phone"}
        alice = await world.person(ALICE, label="laptop")
        assert world.server.lists[OMEMO, ALICE] == {5: "old phone", alice.id: "laptop"}
        for _ in range(10):
            world.server.lists[OMEMO, ALICE] = {5: "old phone"}
            await alice.omemo.devices_changed(OMEMO, ALICE, {5: "old phone"})
        count = sum(1 for p in world.server.published if isinstance(p, tuple) and p[0] == OMEMO)
        assert count <= 3  # no fight
        world.now += 3601
        await alice.omemo.devices_changed(OMEMO, ALICE, {5: "old phone"})
        assert alice.id in world.server.lists[OMEMO, ALICE]

    run(body())


def test_a_device_that_left_the_list_gets_nothing():
    async def body():
        world = World()
        alice, bob, phone = [await world.person(j) for j in (ALICE, BOB, BOB)]
        await alice.omemo.prepare([BOB])
        for namespace in BOTH:
            await alice.omemo.devices_changed(namespace, BOB, {bob.id: ""})
        (sealed,) = await alice.write(b"hello", BOB)
        assert [key.id for key in sealed.keys] == [bob.id]
        assert phone.id not in {d.id for d in (await alice.omemo.prepare([BOB])).devices}

    run(body())


def test_lists_are_fetched_once_and_known_ones_do_while_the_server_is_gone():
    async def body():
        world = World()
        alice, bob = await world.person(ALICE), await world.person(BOB)
        for sealed in await alice.write(b"1", BOB):
            bob.omemo.open_sealed(sealed, ALICE)
        count = len(world.server.fetched)
        await alice.write(b"2", BOB)
        assert len(world.server.fetched) == count
        restarted = await world.person(ALICE, store=alice.store)
        world.server.down = True
        assert await restarted.write(b"3", BOB)
        with pytest.raises(NetworkError):
            await restarted.write(b"3", "carol@c.example")

    run(body())


def test_between_messages_nothing_is_asked_or_kept_and_trust_is_what_it_is_now():
    async def body():
        world = World()
        alice, bob = await world.person(ALICE), await world.person(BOB)
        assert alice.omemo.ready([BOB]) is None  # his list and his keys were never seen
        for sealed in await alice.write(b"1", BOB):
            bob.omemo.open_sealed(sealed, ALICE)
        count, saves = len(world.server.fetched), alice.store.saves
        ready = alice.omemo.ready([BOB])
        assert ready is not None
        assert ready == await alice.omemo.prepare([BOB])
        assert (len(world.server.fetched), alice.store.saves) == (count, saves)
        alice.trust.otherwise = DeviceTrust.UNDECIDED
        with pytest.raises(UntrustedDevices):
            alice.omemo.ready([BOB])
        with pytest.raises(UntrustedDevices):
            alice.omemo.seal(dict.fromkeys(BOTH, b"2"), ready)
        alice.trust.otherwise = DeviceTrust.TRUSTED
        phone = await world.person(BOB)
        await alice.omemo.devices_changed(OMEMO, BOB, world.server.lists[OMEMO, BOB])
        assert alice.omemo.ready([BOB]) is None
        assert phone.id in {device.id for device in (await alice.omemo.prepare([BOB])).devices}
        alice.omemo.revoke(BOB, bob.id)
        assert alice.omemo.ready([BOB]) is None  # there is no session any more

    run(body())


def test_upkeep_is_due_when_there_is_something_to_do():
    async def body():
        world = World()
        alice, bob = await world.person(ALICE), await world.person(BOB)
        assert not alice.omemo.is_due
        saves, published = alice.store.saves, len(world.server.published)
        await alice.omemo.maintain()
        assert (alice.store.saves, len(world.server.published)) == (saves, published)
        for sealed in await alice.write(b"1", BOB):
            bob.omemo.open_sealed(sealed, ALICE)
        assert bob.omemo.is_due  # a prekey is used up, an answer is owed
        await bob.omemo.maintain()
        assert not bob.omemo.is_due
        bob.omemo.before_history()
        world.now += 8 * 86400
        assert not bob.omemo.is_due  # not while an archive is read
        await bob.omemo.after_history()
        assert not bob.omemo.is_due
        assert alice.omemo.is_due  # the signed prekey is too old
        await alice.omemo.maintain()
        assert not alice.omemo.is_due

    run(body())


def test_only_the_first_opening_needs_a_server_and_one_that_forgot_us_is_told_again():
    async def body():
        world = World()
        store = MemoryStore()
        world.server.down = True
        with pytest.raises(NetworkError):
            await world.person(ALICE, store=store)
        world.server.down = False
        first = await world.person(ALICE, store=store)
        world.server = Server()  # lost everything, and does not answer
        world.server.down = True
        again = await world.person(ALICE, store=store)
        assert again.id == first.id
        world.server.down = False
        await again.omemo.maintain()
        assert again.id in world.server.lists[OMEMO, ALICE]

    run(body())


def test_who_was_here_before_reads_while_the_server_takes_no_keys():
    async def body():
        world, store = World(), MemoryStore()
        first = await world.person(ALICE, store=store)
        bob = await world.person(BOB)
        (sealed,) = await bob.write(b"hello", ALICE)
        world.now += ROTATION
        world.server.down = True
        again = await world.person(ALICE, store=store)
        assert again.id == first.id
        assert again.omemo.open_sealed(sealed, BOB).plaintext == b"hello"
        assert again.omemo.is_due
        world.server.down = False
        await again.omemo.maintain()
        assert not again.omemo.is_due

    run(body())


def test_a_new_device_whose_keys_the_server_does_not_take_is_none(monkeypatch):
    async def refuse(directory, bundle):
        raise NetworkError("the server is gone")

    async def body():
        world, store = World(), MemoryStore()
        with monkeypatch.context() as patch:
            patch.setattr(ServerDirectory, "publish_bundle", refuse)
            with pytest.raises(NetworkError):
                await world.person(ALICE, store=store)
        assert not world.server.lists.get((OMEMO, ALICE)), "nobody is told of it"
        assert (await world.person(ALICE, store=store)).id in world.server.lists[OMEMO, ALICE]

    run(body())


def test_misuse_and_malformed_messages_are_told_apart():
    async def body():
        world = World()
        alice, bob = await world.person(ALICE), await world.person(BOB)
        recipients = await alice.omemo.prepare([BOB])
        with pytest.raises(UsageError):
            alice.omemo.seal({OMEMO_LEGACY: b"hello"}, recipients)
        (sealed,) = alice.omemo.seal({OMEMO: b"hello"}, recipients)
        (key,) = sealed.keys
        with pytest.raises(ProtocolError):
            bob.omemo.open_sealed(replace(sealed, keys=(replace(key, data=b"x"),)), ALICE)
        with pytest.raises(ProtocolError):
            bob.omemo.open_sealed(replace(sealed, payload=bytes(300_000)), ALICE)
        with pytest.raises(NotForUs):
            bob.omemo.open_sealed(replace(sealed, keys=()), ALICE)
        alice.omemo.revoke(BOB, bob.id)
        with pytest.raises(UsageError):
            alice.omemo.seal({OMEMO: b"hello"}, replace(recipients, bundles={}))

    run(body())


def test_a_foreign_key_under_our_device_id_does_not_hide_ours():
    # The legacy namespace does not say whose device an id is.
    async def body():
        world = World()
        alice = await world.person(ALICE, namespaces=ONLY_LEGACY)
        bob = await world.person(BOB, namespaces=ONLY_LEGACY)
        (sealed,) = await alice.write(b"hello", BOB)
        carol = await world.person("carol@c.example", namespaces=ONLY_LEGACY)
        (other,) = await alice.write(b"hello", carol.jid)
        (ours,) = (replace(key, jid="") for key in sealed.keys)
        theirs = replace(other.keys[0], id=bob.id, jid="")
        both = replace(sealed, keys=(theirs, ours))
        assert bob.omemo.open_sealed(both, ALICE).plaintext == b"hello"

    run(body())
