"""K1: devices and keys on a server's word alone, unsigned ones, and prekeys given out twice."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from securecall.errors import (
    AlreadyOpened,
    CannotOpen,
    DeviceKeyChanged,
    NoDevices,
    SecurecallError,
    SecurityError,
    UntrustedDevices,
)
from securecall.keys.omemo_prekeys import OwnKeys
from securecall.keys.omemo_two import OmemoTwo
from securecall.keys.omemo_values import Bundle, DeviceTrust, Sealed, montgomery
from securecall.testing.attacks.outcome import Attack, Outcome, control, named, ours
from securecall.testing.omemo_world import (
    BOTH,
    ONLY_LEGACY,
    ONLY_TWO,
    START,
    MemoryStore,
    Person,
    World,
)

ALICE: Final = "alice@a.example"
BOB: Final = "bob@b.example"
CAROL: Final = "carol@c.example"
MALLORY: Final = "mallory@m.example"
_SECRET: Final = b"the results are in"
_FORGED: Final = ("signature", "signed_prekey", "identity_key")

Namespaces = tuple[str, ...]
Refusals = Iterable[SecurecallError]
Scene = Callable[[Outcome, Namespaces], Awaitable[Refusals]]


def known_by_fingerprint(person: Person, *others: Person) -> None:
    """From now on this person trusts these devices and is undecided about all others."""
    person.trust.otherwise = DeviceTrust.UNDECIDED
    for other in others:
        for device in other.omemo.own.values():
            person.trust.by_fingerprint[device.fingerprint] = DeviceTrust.TRUSTED


def readdressed(sealed: Sealed, number: int, to: Person) -> Sealed:
    """What was encrypted for one device, handed to another."""
    (key,) = [key for key in sealed.keys if key.id == number]
    return replace(sealed, keys=(replace(key, id=to.id, jid=key.jid and to.jid),))


def inject(world: World, namespace: str, victim: str, intruder: Person) -> None:
    """The server puts a device on somebody's list, with a perfectly signed bundle."""
    bundle = world.server.bundles[namespace, intruder.jid, intruder.id]
    world.server.bundles[namespace, victim, intruder.id] = replace(bundle, jid=victim)
    world.server.lists[namespace, victim][intruder.id] = ""


def swap(world: World, namespace: str, victim: Person, intruder: Person) -> None:
    """The server gives out her keys for a device of somebody's."""
    bundle = world.server.bundles[namespace, intruder.jid, intruder.id]
    place = (namespace, victim.jid, victim.id)
    world.server.bundles[place] = replace(bundle, jid=victim.jid, id=victim.id)


def forge(world: World, namespace: str, victim: Person, intruder: Person, part: str) -> Bundle:
    """The server gives out a bundle of somebody's in which a part is hers; returns it."""
    place = (namespace, victim.jid, victim.id)
    hers = world.server.bundles[namespace, intruder.jid, intruder.id]
    match part:
        case "signature":
            forged = replace(world.server.bundles[place], signature=hers.signature)
        case "signed_prekey":
            forged = replace(world.server.bundles[place], signed_prekey=hers.signed_prekey)
        case _:
            forged = replace(world.server.bundles[place], identity_key=hers.identity_key)
    world.server.bundles[place] = forged
    return forged


async def _people(world: World, namespaces: Namespaces, *jids: str) -> list[Person]:
    return [await world.person(jid, namespaces=namespaces) for jid in jids]


async def _seal(person: Person, text: bytes, to: str) -> Sealed:
    (sealed,) = await person.write(text, to)
    return sealed


# -- controls -------------------------------------------------------------------------------------


async def _believing(outcome: Outcome, namespaces: Namespaces) -> Refusals:
    """A sender who keeps nothing and trusts whatever is listed."""
    for act in ("put on the list", "in the place of his"):
        world = World()
        alice, bob, mallory = await _people(world, namespaces, ALICE, BOB, MALLORY)
        if act == "put on the list":
            inject(world, namespaces[0], BOB, mallory)
        else:
            swap(world, namespaces[0], bob, mallory)
        listed = mallory.id if act == "put on the list" else bob.id
        got = readdressed(await _seal(alice, _SECRET, BOB), listed, mallory)
        read = mallory.omemo.open_sealed(got, ALICE).plaintext
        outcome.demand(read == _SECRET, f"{act}: she cannot read it")
        outcome.readable += len(read or b"")
    outcome.got = f"her device gets what is for Bob: {outcome.readable} bytes read"
    return ()


def _clamped(seed: bytes) -> bytes:
    return bytes((seed[0] & 248, *seed[1:31], seed[31] & 63 | 64))


def _sent_key(
    identity: X25519PrivateKey, ephemeral: X25519PrivateKey, bundle: Bundle, once: bytes
) -> bytes:
    """X3DH 3.3 as its formulas stand, with the signature left unread."""
    theirs, signed, prekey = (
        X25519PublicKey.from_public_bytes(key)
        for key in (montgomery(bundle.identity_key), bundle.signed_prekey, once)
    )
    return _kdf(
        identity.exchange(signed),
        ephemeral.exchange(theirs),
        ephemeral.exchange(signed),
        ephemeral.exchange(prekey),
    )


def _kdf(*agreed: bytes) -> bytes:
    return hashlib.sha256(b"\xff" * 32 + b"".join(agreed)).digest()


async def _unread_signature(folder: Path) -> Outcome:  # noqa: ARG001
    """Prekeys of hers in his bundle: with his identity key, stolen later, she computes every key.

    Had they been his own, which are deleted by then, it would give her none (X3DH 4.6, 4.9).
    """
    outcome = Outcome()
    stolen = _clamped(secrets.token_bytes(32))
    honest = OwnKeys.create(OmemoTwo(), stolen, unix=START).bundle(BOB, 1)
    identity, ephemeral, signed, once = (X25519PrivateKey.generate() for _ in range(4))
    forged = replace(
        honest,
        signed_prekey=signed.public_key().public_bytes_raw(),
        prekeys={7: once.public_key().public_bytes_raw()},
    )
    bobs = X25519PrivateKey.from_private_bytes(stolen)
    for bundle, whose in ((forged, "hers"), (honest, "his")):
        sent = _sent_key(identity, ephemeral, bundle, next(iter(bundle.prekeys.values())))
        hers = _kdf(
            signed.exchange(identity.public_key()),
            bobs.exchange(ephemeral.public_key()),
            signed.exchange(ephemeral.public_key()),
            once.exchange(ephemeral.public_key()),
        )
        outcome.demand((hers == sent) == (whose == "hers"), f"prekeys that are {whose}: wrong")
    outcome.got = "with his identity key, stolen later, she has every key made with her prekeys"
    return outcome


async def _put_back(outcome: Outcome, namespaces: Namespaces) -> Refusals:
    """A reader whose keys were put back, prekeys and all: the same message opens once more."""
    world, store = World(), MemoryStore()
    (alice,) = await _people(world, namespaces, ALICE)
    bob = await world.person(BOB, namespaces=namespaces, store=store)
    sealed = await _seal(alice, b"pay 100", BOB)
    before, times = dict(store.kept), 0
    for _ in range(2):
        store.kept = dict(before)
        bob = await world.person(BOB, namespaces=namespaces, store=store)
        times += bob.omemo.open_sealed(sealed, ALICE).plaintext == b"pay 100"
    outcome.demand(times == 2, "it opened once")
    outcome.got = f"one message was opened {times} times"
    return ()


# -- ours -----------------------------------------------------------------------------------------


@contextmanager
def _refusing(
    outcome: Outcome, refusals: list[SecurecallError], what: str, kind: type[SecurecallError]
) -> Iterator[None]:
    try:
        yield
    except kind as e:
        refusals.append(e)
    else:
        outcome.problems.append(f"{what}: taken")


async def _injected(outcome: Outcome, namespaces: Namespaces) -> Refusals:
    """On Bob's list, on Alice's own, and alone on Bob's."""
    world, refusals = World(), list[SecurecallError]()
    alice, bob, mallory = await _people(world, namespaces, ALICE, BOB, MALLORY)
    known_by_fingerprint(alice, bob)
    inject(world, namespaces[0], BOB, mallory)
    recipients = await alice.omemo.prepare([BOB])
    told = [device.id for device in recipients.undecided]
    outcome.demand(told == [mallory.id], "nobody is told of her device")
    (sealed,) = alice.omemo.seal(dict.fromkeys(BOTH, _SECRET), recipients)
    outcome.demand([key.id for key in sealed.keys] == [bob.id], "it is not for Bob alone")
    inject(world, namespaces[0], ALICE, mallory)
    await alice.omemo.devices_changed(
        namespaces[0], ALICE, world.server.lists[namespaces[0], ALICE]
    )
    sealed = await _seal(alice, _SECRET, BOB)
    outcome.demand([key.id for key in sealed.keys] == [bob.id], "one of her own gets it, too")
    outcome.demand(
        bob.omemo.open_sealed(sealed, ALICE).plaintext == _SECRET, "not even Bob can read it"
    )
    fresh = World()
    alice, bob, mallory = await _people(fresh, namespaces, ALICE, BOB, MALLORY)
    known_by_fingerprint(alice, bob)
    fresh.server.lists[namespaces[0], BOB].clear()
    inject(fresh, namespaces[0], BOB, mallory)
    with _refusing(outcome, refusals, "a list of hers alone", UntrustedDevices):
        _ = await alice.omemo.prepare([BOB])
    return refusals


async def _swapped(outcome: Outcome, namespaces: Namespaces) -> Refusals:
    """Under a device that is known: in what the server gives out, and in a message that came."""
    world, store, refusals = World(), MemoryStore(), list[SecurecallError]()
    alice, mallory = await _people(world, namespaces, ALICE, MALLORY)
    bob = await world.person(BOB, namespaces=namespaces, store=store)
    _ = await alice.omemo.prepare([BOB])  # Bob's device is known, no session yet
    honest = world.server.bundles[namespaces[0], BOB, bob.id]
    swap(world, namespaces[0], bob, mallory)
    with _refusing(outcome, refusals, "another bundle", UntrustedDevices):
        _ = await alice.omemo.prepare([BOB])
    told = [device.fingerprint for device in alice.omemo.changed(BOB)]
    outcome.demand(
        told == [mallory.omemo.own[namespaces[0]].fingerprint], "nobody is told of her key"
    )
    world.server.bundles[namespaces[0], BOB, bob.id] = honest
    sealed = await _seal(alice, b"hello", BOB)
    outcome.demand(bob.omemo.open_sealed(sealed, ALICE).plaintext == b"hello", "Bob is locked out")
    await bob.omemo.maintain()  # publishes, so that nobody else takes the same prekey
    hers = await _seal(mallory, b"I am alice", BOB)
    before = dict(store.kept)
    with _refusing(outcome, refusals, "a message by another key", DeviceKeyChanged):
        _ = bob.omemo.open_sealed(replace(hers, sender=alice.id), ALICE)
    outcome.demand(store.kept == before, "it left a trace")
    hers = await _seal(mallory, b"I am mallory", BOB)
    read = bob.omemo.open_sealed(hers, MALLORY).plaintext
    outcome.demand(read == b"I am mallory", "under her own name she is refused, too")
    outcome.demand(
        [device.id for device in bob.omemo.changed(ALICE)] == [alice.id], "Bob is not told"
    )
    return refusals


async def _unsigned(outcome: Outcome, namespaces: Namespaces) -> Refusals:
    """A part of hers in his bundle; and where it came by another way, to the very last step."""
    refusals: list[SecurecallError] = []
    for part in _FORGED:
        world = World()
        alice, bob, mallory = await _people(world, namespaces, ALICE, BOB, MALLORY)
        forged = forge(world, namespaces[0], bob, mallory, part)
        with _refusing(outcome, refusals, part, NoDevices):
            _ = await alice.omemo.prepare([BOB])
        recipients = replace(
            await alice.omemo.prepare([MALLORY]),
            devices=tuple(bob.omemo.own.values()),
            bundles={(namespaces[0], BOB, bob.id): forged},
        )
        with _refusing(outcome, refusals, f"{part}, sealed", SecurityError):
            _ = alice.omemo.seal(dict.fromkeys(BOTH, _SECRET), recipients)
    return refusals


async def _given_twice(outcome: Outcome, namespaces: Namespaces) -> Refusals:
    """One prekey for two people; and what it opened, once more, also after a restart."""
    world, store, refusals = World(), MemoryStore(), list[SecurecallError]()
    alice, carol = await _people(world, namespaces, ALICE, CAROL)
    bob = await world.person(BOB, namespaces=namespaces, store=store)
    bundle = world.server.bundles[namespaces[0], BOB, bob.id]
    world.server.bundles[namespaces[0], BOB, bob.id] = replace(
        bundle, prekeys={7: bundle.prekeys[7]}
    )
    first, second = await _seal(alice, b"first", BOB), await _seal(carol, b"second", BOB)
    read = bob.omemo.open_sealed(first, ALICE).plaintext
    outcome.demand(read == b"first", "not even the first one opens")
    with _refusing(outcome, refusals, "a second session of one prekey", CannotOpen):
        _ = bob.omemo.open_sealed(second, CAROL)
    again = await world.person(BOB, namespaces=namespaces, store=store)
    for reader in (bob, again):
        with _refusing(outcome, refusals, "the same message", AlreadyOpened):
            _ = reader.omemo.open_sealed(first, ALICE)
    return refusals


async def _in_both(scene: Scene, got: str, folder: Path) -> Outcome:  # noqa: ARG001
    """The same in OMEMO 2 and in its predecessor."""
    outcome, refusals = Outcome(got=got), list[SecurecallError]()
    for namespaces in (ONLY_TWO, ONLY_LEGACY):
        refusals += await scene(outcome, namespaces)
    outcome.refusals = tuple(dict.fromkeys(map(named, refusals)))
    return outcome


K1: Final[Attack] = (
    control("a sender that believes its server", partial(_in_both, _believing, "")),
    control("a sender that reads no signature", _unread_signature),
    control("a reader whose keys were put back", partial(_in_both, _put_back, "")),
    ours("a device on the list", partial(_in_both, _injected, "to Bob's device alone, and told")),
    ours(
        "another key under a known device",
        partial(_in_both, _swapped, "refused in a bundle and in a message, and told"),
    ),
    ours("a part of hers in his bundle", partial(_in_both, _unsigned, "nothing is sealed with it")),
    ours("a prekey given out twice", partial(_in_both, _given_twice, "it serves once")),
)
