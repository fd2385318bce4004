"""K3: everything a program may print, pickle or copy during a call, searched for the keys of it.

Not only the objects one thinks of: all that are alive and of our classes. What is logged meanwhile
is watched by the guard of every test. The control is an object that holds a key as bytes.

The limit, said plainly: this is about what shows. A library that was handed a key keeps copies that
Python cannot reach; whoever reads the memory of the process finds keys.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import traceback
from collections import Counter
from dataclasses import dataclass

import securecall as sc
from securecall.secret import Secret
from securecall.testing.attacks.stage import GUARD_SECONDS
from securecall.testing.bus import SignalBus
from tests.attacks.calls.on_a_bus import BOB, hear, people
from tests.guard import LEAST_BYTES, LEAST_DISTINCT, spellings


@dataclass
class Careless:
    """What anybody writes who does not think of it."""

    key: bytes


def alive() -> list[object]:
    """All objects of our classes, but for `Secret` itself and the kit for tests."""
    return [
        thing
        for thing in gc.get_objects()
        if str(type(thing).__module__).startswith("securecall.")
        and not type(thing).__module__.startswith("securecall.testing")
        and not isinstance(thing, Secret)
    ]


def keys() -> set[bytes]:
    """What must not show: every secret that is alive and not a word."""
    found = {
        thing.reveal() for thing in gc.get_objects() if isinstance(thing, Secret) and len(thing)
    }
    return {k for k in found if len(k) >= LEAST_BYTES and len(set(k)) >= LEAST_DISTINCT}


def sightings(things: list[object], secrets: set[bytes]) -> Counter[str]:
    """Which classes show a key, and how."""
    texts = [spelling for secret in secrets for spelling in spellings(secret)]
    seen: Counter[str] = Counter()
    for thing in things:
        name = type(thing).__qualname__
        for way in (repr, str):
            shown = way(thing)
            if any(text in shown for text in texts):
                seen[f"{way.__name__} of {name}"] += 1
        try:
            data = pickle.dumps(thing)
        except Exception:  # whatever it says: it gave nothing away
            continue
        if any(secret in data for secret in secrets):
            seen[f"pickle of {name}"] += 1
    return seen


def test_no_object_alive_in_a_call_shows_a_key(tmp_path):
    async def main():
        gc.collect()
        before, others = keys(), alive()  # what other tests left behind, by whatever keys
        known = set(map(id, others))
        async with asyncio.timeout(GUARD_SECONDS), people(tmp_path, SignalBus()) as (alice, bob):
            async with alice.call(BOB, audio=sc.ToneSource(440)) as call:
                async with (await bob.next_call()).accept(audio=sc.ToneSource(620)):
                    await call.connected()
                    await hear(call)
                    secrets = keys() - before
                    things = [thing for thing in alive() if id(thing) not in known]
                    store = alice.contacts.store
                    assert {store.root.seed.reveal(), store.device.seed.reveal()} <= secrets
                    assert len(secrets) > 8  # the call's own are among them
                    kinds = {type(thing).__name__ for thing in things}
                    assert {"Client", "Call", "Store", "Vault", "RootKey", "SeedSigner"} <= kinds
                    assert not sightings(things, secrets)
                    careless = Careless(store.root.seed.reveal())
                    assert set(sightings([*things, careless], secrets)) == {
                        "repr of Careless",
                        "str of Careless",
                        "pickle of Careless",
                    }

    asyncio.run(main())


def test_a_report_with_the_locals_of_every_frame_shows_no_key(tmp_path):
    async def main():
        async with asyncio.timeout(GUARD_SECONDS), people(tmp_path, SignalBus()) as (alice, _):
            store = alice.contacts.store
            seed, device, vault = store.root.seed, store.device, store._rows._vault
            try:
                raise sc.LocalError(f"{seed} {device} {vault}")
            except sc.LocalError as e:
                told = "".join(
                    traceback.TracebackException.from_exception(e, capture_locals=True).format()
                )
            assert "vault = " in told
            for secret in keys():
                assert not any(text in told for text in spellings(secret))
            plain = seed.reveal()
            try:
                raise sc.LocalError("with a careless local")
            except sc.LocalError as e:
                told = "".join(
                    traceback.TracebackException.from_exception(e, capture_locals=True).format()
                )
            assert repr(plain)[2:-1] in told  # the control
            del plain, vault, seed, device
            for way in (copy.copy, copy.deepcopy, pickle.dumps):
                try:
                    way(store)
                except sc.UsageError:
                    continue
                raise AssertionError(f"{way.__name__} copied a store")

    asyncio.run(main())
