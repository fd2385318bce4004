"""CPU microseconds of OMEMO: a message sealed and opened, a session opened, both namespaces.

    python -m tests.bench.omemo_ops two|legacy [COUNT]

The store is a dictionary, so what a disk costs is not in it. `us` is one message of 100 bytes,
sealed by one end and opened by the other, who then answers: the ratchet turns every time.
`one_way_us` is the same without answers. `kept_bytes` is what a session takes in the store.
"""

from __future__ import annotations

import asyncio
import sys
import time

from tests.bench.measure import answer

BEGUN = time.process_time()

from securecall.keys import omemo_state  # noqa: E402, F401  what an account's first opening imports

IMPORT_MS = 1e3 * (time.process_time() - BEGUN)

from securecall.keys.omemo_values import OMEMO, OMEMO_LEGACY, Recipients  # noqa: E402
from securecall.testing.omemo_world import Person, World  # noqa: E402

TEXT = b"x" * 100
ALICE, BOB = "alice@a.example", "bob@b.example"


def send(writer: Person, reader: Person, recipients: Recipients, namespace: str) -> None:
    (sealed,) = writer.omemo.seal({namespace: TEXT}, recipients)
    assert reader.omemo.open_sealed(sealed, writer.jid).plaintext == TEXT


async def measure(namespace: str, count: int) -> None:
    world = World()
    alice, bob = [await world.person(jid, namespaces=(namespace,)) for jid in (ALICE, BOB)]
    to_bob, to_alice = await alice.omemo.prepare([BOB]), await bob.omemo.prepare([ALICE])

    begun = time.process_time()
    for _ in range(50):
        alice.omemo.revoke(BOB, bob.id)
        recipients = await alice.omemo.prepare([BOB])
        send(alice, bob, recipients, namespace)
        await bob.omemo.maintain()
        world.deliver(alice)
    session_us = (time.process_time() - begun) / 50 * 1e6

    begun = time.process_time()
    for _ in range(count):
        send(alice, bob, to_bob, namespace)
        send(bob, alice, to_alice, namespace)
    turning = time.process_time() - begun
    begun = time.process_time()
    for _ in range(count):
        send(alice, bob, to_bob, namespace)
    one_way = time.process_time() - begun
    begun = time.process_time()
    for _ in range(count):
        alice.omemo.seal({namespace: TEXT}, to_bob)
    seal = time.process_time() - begun
    answer(
        stack="securecall",
        us=turning / count / 2 * 1e6,
        one_way_us=one_way / count * 1e6,
        seal_us=seal / count * 1e6,
        session_us=session_us,
        import_ms=IMPORT_MS,
        kept_bytes=max(len(d) for n, d in alice.store.kept.items() if "/session/" in n),
    )


asyncio.run(
    measure(
        {"two": OMEMO, "legacy": OMEMO_LEGACY}[sys.argv[1]],
        int(sys.argv[2]) if len(sys.argv) > 2 else 1000,
    )
)
