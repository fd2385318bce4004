"""A malicious server against OMEMO, beyond the trials of K1: worse namespaces, numbers, lists.

The control of each is a client that believes its server: it fetches a list and bundles, and
encrypts to whatever it was given (`naive`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace

import pytest
import xeddsa

from securecall.errors import (
    CannotOpen,
    DeviceKeyChanged,
    NoDevices,
    ProtocolError,
    SecurityError,
    UntrustedDevices,
    UsageError,
)
from securecall.keys.omemo_devices import DeviceBook
from securecall.keys.omemo_legacy import OmemoLegacy
from securecall.keys.omemo_lookup import Lookup
from securecall.keys.omemo_prekeys import OwnKeys
from securecall.keys.omemo_session import Session
from securecall.keys.omemo_two import OmemoTwo
from securecall.keys.omemo_values import (
    MAX_ID,
    OMEMO,
    OMEMO_LEGACY,
    Bundle,
    DeviceTrust,
    Sealed,
)
from securecall.keys.protobuf import build_protobuf
from securecall.testing.attacks.bundles import ALICE, BOB, K1, MALLORY, known_by_fingerprint, swap
from securecall.testing.attacks.running import run_trial
from securecall.testing.omemo_world import BOTH, ONLY_LEGACY, ONLY_TWO, START, Person, World

SCHEMES = {OMEMO: OmemoTwo, OMEMO_LEGACY: OmemoLegacy}
EACH = pytest.mark.parametrize("namespaces", [ONLY_TWO, ONLY_LEGACY])


def run(coroutine: Coroutine[object, object, None]) -> None:
    asyncio.run(coroutine)


def naive(namespace: str, bundle: Bundle) -> bytes:
    """What a client sends that asks nobody: X3DH with the bundle it was given."""
    scheme = SCHEMES[namespace]()
    own = OwnKeys.create(scheme, xeddsa.seed_to_priv(bytes(32)), unix=START)
    return Session.begin(scheme, own, bundle, b"secret", sender=1)[1]


@pytest.mark.parametrize("trial", K1, ids=lambda trial: trial.name)
def test_devices_and_keys_of_the_server_come_to_nothing(trial):
    run(_held(trial))


async def _held(trial):
    (await run_trial(trial)).outcome.require_held()


@EACH
def test_a_swapped_bundle_is_taken_when_our_user_decided_for_its_key(namespaces):
    async def body():
        world, namespace = World(), namespaces[0]
        alice, bob, mallory = [
            await world.person(j, namespaces=namespaces) for j in (ALICE, BOB, MALLORY)
        ]
        await alice.omemo.prepare([BOB])
        swap(world, namespace, bob, mallory)
        phone = await world.person(BOB, namespaces=namespaces)
        await alice.omemo.devices_changed(namespace, BOB, world.server.lists[namespace, BOB])
        recipients = await alice.omemo.prepare([BOB])
        assert [d.id for d in recipients.devices] == [phone.id]
        assert recipients.changed == alice.omemo.changed(BOB)
        alice.trust.chosen.add(recipients.changed[0].identity_key)
        recipients = await alice.omemo.prepare([BOB])
        assert {d.id for d in recipients.devices} == {bob.id, phone.id}
        assert alice.omemo.changed(BOB) == ()

    run(body())


@EACH
def test_a_device_with_a_new_key_is_shut_until_our_user_decided_for_that_key(namespaces):
    async def body():
        world, namespace = World(), namespaces[0]
        alice = await world.person(ALICE, namespaces=namespaces)
        bob = await world.person(BOB, namespaces=namespaces)
        (sealed,) = await alice.write(b"hello", BOB)
        bob.omemo.open_sealed(sealed, ALICE)
        # Other keys under Bob's device id: his, if he set the device up anew.
        anew = await world.person(BOB, namespaces=namespaces)
        world.server.bundles[namespace, BOB, bob.id] = replace(
            world.server.bundles.pop((namespace, BOB, anew.id)), id=bob.id
        )
        world.server.lists[namespace, BOB] = {bob.id: ""}
        (first,) = [replace(s, sender=bob.id) for s in await anew.write(b"it is me", ALICE)]
        for _ in range(2):  # whatever its trust would be, and however often it comes
            with pytest.raises(DeviceKeyChanged):
                alice.omemo.open_sealed(first, BOB)
            (sealed,) = await alice.write(b"secret", BOB)  # still for the old key alone
            with pytest.raises(CannotOpen):
                anew.omemo.open_sealed(_at(sealed, anew.id), ALICE)
            assert bob.omemo.open_sealed(sealed, ALICE).plaintext == b"secret"
        (changed,) = alice.omemo.changed(BOB)
        alice.trust.chosen.add(changed.identity_key)
        # The control: from our user's word on both ways work, and the old key gets nothing.
        assert alice.omemo.open_sealed(first, BOB).plaintext == b"it is me"
        (sealed,) = await alice.write(b"welcome", BOB)
        assert anew.omemo.open_sealed(_at(sealed, anew.id), ALICE).plaintext == b"welcome"
        with pytest.raises(CannotOpen):
            bob.omemo.open_sealed(sealed, ALICE)
        assert alice.omemo.changed(BOB) == ()

    run(body())


@EACH
def test_a_chosen_key_is_not_taken_for_another_device_too(namespaces):
    async def body():
        world, namespace = World(), namespaces[0]
        alice = await world.person(ALICE, namespaces=namespaces)
        bob, phone = [await world.person(BOB, namespaces=namespaces) for _ in range(2)]
        await alice.omemo.prepare([BOB])
        alice.trust.chosen.add(phone.omemo.own[namespace].identity_key)
        bob_alone = world.server.bundles[namespace, BOB, bob.id]
        swapped = replace(world.server.bundles[namespace, BOB, phone.id], id=bob.id)
        world.server.bundles[namespace, BOB, bob.id] = swapped
        recipients = await alice.omemo.prepare([BOB])
        assert [d.id for d in recipients.devices] == [phone.id]
        assert [d.id for d in recipients.changed] == [bob.id]
        # The control: the bundle is good, and where the key is in use nowhere else it is taken.
        assert naive(namespace, world.server.bundles[namespace, BOB, bob.id])
        other = await world.person(ALICE, namespaces=namespaces)
        other.trust.chosen = alice.trust.chosen
        world.server.lists[namespace, BOB] = {bob.id: ""}
        world.server.bundles[namespace, BOB, bob.id] = bob_alone
        await other.omemo.prepare([BOB])
        world.server.bundles[namespace, BOB, bob.id] = swapped
        recipients = await other.omemo.prepare([BOB])
        assert [d.fingerprint for d in recipients.devices if d.jid == BOB] == [
            phone.omemo.own[namespace].fingerprint
        ]

    run(body())


def _at(sealed: Sealed, number: int) -> Sealed:
    """Addressed to another device id."""
    return replace(sealed, keys=tuple(replace(key, id=number) for key in sealed.keys))


@EACH
def test_a_new_device_under_a_known_name_is_one_nobody_decided_about(namespaces):
    async def body():
        world = World()
        alice, bob, mallory = [
            await world.person(j, namespaces=namespaces) for j in (ALICE, BOB, MALLORY)
        ]
        known_by_fingerprint(bob, alice)
        (forged,) = await mallory.write(b"I am alice", BOB)
        opened = bob.omemo.open_sealed(forged, ALICE)
        assert bob.trust(opened.device) is DeviceTrust.UNDECIDED

    run(body())


@EACH
def test_prekeys_that_are_no_keys_stop_no_message_to_others(namespaces):
    async def body():
        world, namespace = World(), namespaces[0]
        alice, bob, phone = [
            await world.person(j, namespaces=namespaces) for j in (ALICE, BOB, BOB)
        ]
        honest = world.server.bundles[namespace, BOB, bob.id]
        small_order = dict.fromkeys(honest.prekeys, bytes(32))
        dishonest = replace(honest, prekeys=small_order)
        world.server.bundles[namespace, BOB, bob.id] = dishonest
        recipients = await alice.omemo.prepare([BOB])
        assert "unusable" in recipients.unreachable[BOB, bob.id]
        (sealed,) = alice.omemo.seal(dict.fromkeys(BOTH, b"hello"), recipients)
        assert phone.omemo.open_sealed(sealed, ALICE).plaintext == b"hello"
        with pytest.raises(SecurityError):
            naive(namespace, dishonest)
        assert naive(namespace, honest)

    run(body())


@EACH
def test_messages_moved_to_another_sender_do_not_open(namespaces):
    async def body():
        world = World()
        alice, bob, mallory = [
            await world.person(j, namespaces=namespaces) for j in (ALICE, BOB, MALLORY)
        ]
        for writer in (alice, mallory):
            for sealed in await writer.write(b"hello", BOB):
                bob.omemo.open_sealed(sealed, writer.jid)
            await bob.omemo.maintain()  # publishes, so that nobody else takes the same prekey
            world.deliver(writer)
            for sealed in await bob.write(b"hello", writer.jid):
                writer.omemo.open_sealed(sealed, BOB)
        (sealed,) = await mallory.write(b"I am alice", BOB)
        with pytest.raises(CannotOpen):
            bob.omemo.open_sealed(replace(sealed, sender=alice.id), ALICE)
        assert bob.omemo.open_sealed(sealed, MALLORY).plaintext == b"I am alice"

    run(body())


def test_hiding_the_better_keys_does_not_get_the_worse_ones_used():
    async def body():
        world = World()
        alice, bob = await world.person(ALICE), await world.person(BOB)
        await alice.omemo.prepare([BOB])
        del world.server.bundles[OMEMO, BOB, bob.id]
        with pytest.raises(NoDevices):
            await alice.omemo.prepare([BOB])
        await alice.omemo.devices_changed(OMEMO, BOB, {})
        with pytest.raises(NoDevices, match="were there before"):
            await alice.omemo.prepare([BOB])
        control = await world.person(MALLORY)  # has never seen the better ones
        world.server.lists[OMEMO, BOB] = {}
        recipients = await control.omemo.prepare([BOB])
        assert [d.namespace for d in recipients.devices] == [OMEMO_LEGACY]
        control.trust.promised.add(recipients.devices[0].identity_key)  # until it learns of them
        with pytest.raises(NoDevices, match="its owner has keys for"):
            await control.omemo.prepare([BOB])

    run(body())


@pytest.mark.parametrize("guarded", [True, False])
def test_a_device_listed_again_under_another_id_is_not_written_to_in_the_worse_namespace(
    guarded, monkeypatch
):
    """The keys are those our user trusts; the server turns the id back, and the device opens it.

    The control remembers better keys by the id alone.
    """

    async def body():
        world = World()
        alice, bob = await world.person(ALICE), await world.person(BOB)
        await alice.omemo.prepare([BOB])
        if not guarded:
            monkeypatch.setattr(DeviceBook, "is_known_by", lambda *_: False)
        legacy = world.server.bundles[OMEMO_LEGACY, BOB, bob.id]
        again = bob.id % MAX_ID + 1
        world.server.bundles[OMEMO_LEGACY, BOB, again] = replace(legacy, id=again)
        await alice.omemo.devices_changed(OMEMO, BOB, {})
        await alice.omemo.devices_changed(OMEMO_LEGACY, BOB, {again: ""})
        if guarded:
            for _ in range(2):
                with pytest.raises(NoDevices, match="they are not there"):
                    await alice.omemo.prepare([BOB])
            return
        (sealed,) = await alice.write(b"secret", BOB)
        turned = replace(sealed, keys=tuple(replace(key, id=bob.id) for key in sealed.keys))
        assert turned.namespace == OMEMO_LEGACY
        assert bob.omemo.open_sealed(turned, ALICE).plaintext == b"secret"

    run(body())


def test_who_shows_the_other_sign_of_their_key_keeps_nobody_from_writing_to_a_room(monkeypatch):
    """The control compares keys with their signs: then a session in use is none, for everybody."""

    async def body():
        world = World()
        people = [await world.person(jid, namespaces=ONLY_TWO) for jid in (ALICE, BOB, MALLORY)]
        alice, bob, mallory = people
        await alice.omemo.prepare([BOB, MALLORY])
        own = mallory.omemo._state.own(OMEMO)
        own._identity = own.identity[:31] + bytes([own.identity[31] ^ 0x80])
        (hello,) = await mallory.write(b"hello", ALICE)
        assert alice.omemo.open_sealed(hello, MALLORY).plaintext == b"hello"
        with monkeypatch.context() as unprotected:
            unprotected.setattr("securecall.keys.omemo_state.montgomery", bytes)
            with pytest.raises(UsageError, match="no session"):
                await alice.write(b"to all", BOB, MALLORY)
        (sealed,) = await alice.write(b"to all", BOB, MALLORY)
        assert bob.omemo.open_sealed(sealed, ALICE).plaintext == b"to all"
        assert mallory.omemo.open_sealed(sealed, ALICE).plaintext == b"to all"

    run(body())


@pytest.mark.parametrize("whole", [True, False])
def test_keys_that_their_owner_vouches_for_cannot_be_hidden_at_first_contact(whole):
    async def body():
        world = World()
        alice, bob = await world.person(ALICE), await world.person(BOB)
        alice.trust.promised = {device.identity_key for device in bob.omemo.own.values()}
        bundle = world.server.bundles.pop((OMEMO, BOB, bob.id))
        listed = world.server.lists[OMEMO, BOB]
        if whole:
            world.server.lists[OMEMO, BOB] = {}
        for _ in range(2):
            with pytest.raises(NoDevices, match="its owner has keys for"):
                await alice.omemo.prepare([BOB])
        world.server.bundles[OMEMO, BOB, bob.id] = bundle
        await alice.omemo.devices_changed(OMEMO, BOB, listed)
        recipients = await alice.omemo.prepare([BOB])
        assert [d.namespace for d in recipients.devices] == [OMEMO]

    run(body())


@EACH
def test_a_message_that_skips_too_many_is_refused_without_computing_them(namespaces):
    async def body():
        world = World()
        alice, bob = [await world.person(j, namespaces=namespaces) for j in (ALICE, BOB)]
        recipients = await alice.omemo.prepare([BOB])
        (first,) = alice.omemo.seal(dict.fromkeys(BOTH, b"first"), recipients)
        bob.omemo.open_sealed(first, ALICE)
        for _ in range(1001):
            alice.omemo.seal(dict.fromkeys(BOTH, b"lost"), recipients)
        (last,) = alice.omemo.seal(dict.fromkeys(BOTH, b"last"), recipients)
        with pytest.raises(CannotOpen):
            bob.omemo.open_sealed(last, ALICE)
        await bob.omemo.maintain()  # a new session takes its place
        world.deliver(alice)
        (sealed,) = await alice.write(b"hello", BOB)
        assert bob.omemo.open_sealed(sealed, ALICE).plaintext == b"hello"

    run(body())


@EACH
def test_a_forged_number_of_missing_messages_is_refused_quietly(namespaces):
    # In a chain of long ago: the library would warn on standard error, and go on.
    async def body():
        world, namespace = World(), namespaces[0]
        alice, bob = [await world.person(j, namespaces=namespaces) for j in (ALICE, BOB)]
        old = []
        for _ in range(3):
            old += await alice.write(b"ping", BOB)
            bob.omemo.open_sealed(old[-1], ALICE)
            for sealed in await bob.write(b"pong", ALICE):
                alice.omemo.open_sealed(sealed, BOB)
        (key,) = old[1].keys
        header = SCHEMES[namespace]().parse_key(key.data, kex=key.kex).message.header
        forged = old[1]
        for count in (1500, 2**32 - 2):
            if namespace == OMEMO:
                message = {1: 0, 2: count, 3: header.ratchet_pub, 4: bytes(48)}
                data = build_protobuf({1: bytes(16), 2: build_protobuf(message)})
            else:
                message = {1: b"\x05" + header.ratchet_pub, 2: 0, 3: count, 4: bytes(48)}
                data = b"\x33" + build_protobuf(message) + bytes(8)
            forged = replace(old[1], keys=(replace(key, data=data, kex=False),))
            with pytest.raises(CannotOpen):
                bob.omemo.open_sealed(forged, ALICE)
        (sealed,) = await alice.write(b"hello", BOB)
        assert bob.omemo.open_sealed(sealed, ALICE).plaintext == b"hello"

    run(body())


def test_a_list_without_end_is_bounded():
    async def body():
        world = World()
        alice, bob = await world.person(ALICE), await world.person(BOB)
        await alice.write(b"hello", BOB)
        endless = dict.fromkeys(range(1, 5000), "x" * 1000)
        await alice.omemo.devices_changed(OMEMO, BOB, {bob.id: "", **endless})
        assert len(alice.store.kept[f"omemo/devices/{BOB}"]) < 64 * 1024
        (sealed,) = await alice.write(b"hello", BOB)
        assert [key.id for key in sealed.keys] == [bob.id]
        with pytest.raises(ProtocolError):
            bob.omemo.open_sealed(replace(sealed, payload=bytes(2**20)), ALICE)

    run(body())


def worse_keys(world: World, bob: Person, *, other_key: bool) -> None:
    """The server breaks what Bob has for OMEMO 2, in the hope that its predecessor gets used."""
    place = (OMEMO, BOB, bob.id)
    bundle = world.server.bundles[place]
    if other_key:
        scheme = OmemoTwo()
        own = OwnKeys.create(scheme, xeddsa.seed_to_priv(b"E" * 32), unix=START)
        world.server.bundles[place] = replace(own.bundle(BOB, bob.id), id=bob.id)
    else:
        world.server.bundles[place] = replace(bundle, signature=bytes(64))


@pytest.mark.parametrize("other_key", [False, True], ids=["bad signature", "other identity key"])
def test_better_keys_that_are_wrong_do_not_lead_to_the_worse_namespace(other_key):
    async def body():
        world = World()
        alice, bob = await world.person(ALICE), await world.person(BOB)
        if other_key:  # she knows him by his legacy keys
            better = world.server.lists.pop((OMEMO, BOB))
            (first,) = await alice.write(b"hello", BOB)
            assert first.namespace == OMEMO_LEGACY
            alice.store.kept = {
                k: v for k, v in alice.store.kept.items() if not k.startswith("omemo/session")
            }
            world.server.lists[OMEMO, BOB] = better
            await alice.omemo.devices_changed(OMEMO, BOB, better)
        worse_keys(world, bob, other_key=other_key)
        with pytest.raises((NoDevices, UntrustedDevices)):
            await alice.write(b"secret", BOB)

    run(body())


def test_control_whoever_goes_on_to_the_next_namespace_is_led_there(monkeypatch):
    true = Lookup._look_up_in

    async def forgiving(self, *args):
        return replace(await true(self, *args), final=False)

    monkeypatch.setattr(Lookup, "_look_up_in", forgiving)

    async def body():
        world = World()
        alice, bob = await world.person(ALICE), await world.person(BOB)
        worse_keys(world, bob, other_key=False)
        (sealed,) = await alice.write(b"secret", BOB)
        assert sealed.namespace == OMEMO_LEGACY

    run(body())
