"""CPU microseconds of a message through python-omemo's own manager: sealed, opened, answered.

    python -m tests.bench.peers.omemo_manager [COUNT]

The same as `tests.bench.omemo_ops two`: OMEMO 2, 100 bytes, a dictionary as store.
"""

from __future__ import annotations

import asyncio
import sys
import time

from tests.bench.measure import absent, answer

try:
    from omemo import SessionManager, TrustLevel
    from omemo.storage import Just, Nothing, Storage
    from twomemo import Twomemo
except ImportError:
    absent("twomemo")

TEXT = b"x" * 100
NAMESPACE = "urn:xmpp:omemo:2"
LISTS: dict = {}
BUNDLES: dict = {}


class Memory(Storage):
    def __init__(self):
        super().__init__(True)
        self.kept = {}

    async def _load(self, key):
        return Just(self.kept[key]) if key in self.kept else Nothing()

    async def _store(self, key, value):
        self.kept[key] = value

    async def _delete(self, key):
        self.kept.pop(key, None)


def manager_of(jid):
    class Manager(SessionManager):
        @staticmethod
        async def _upload_bundle(bundle):
            BUNDLES[bundle.bare_jid, bundle.device_id] = bundle

        @staticmethod
        async def _download_bundle(namespace, bare_jid, device_id):
            return BUNDLES[bare_jid, device_id]

        @staticmethod
        async def _delete_bundle(namespace, device_id):
            pass

        @staticmethod
        async def _upload_device_list(namespace, device_list):
            LISTS[jid] = device_list

        @staticmethod
        async def _download_device_list(namespace, bare_jid):
            return LISTS.get(bare_jid, {})

        async def _evaluate_custom_trust_level(self, device):
            return TrustLevel.TRUSTED

        async def _make_trust_decision(self, undecided, identifier):
            raise AssertionError

        @staticmethod
        async def _send_message(message, bare_jid):
            pass

    return Manager


async def measure(count):
    people = []
    for jid in ("alice@a.example", "bob@b.example"):
        storage = Memory()
        manager = await manager_of(jid).create([Twomemo(storage)], storage, jid, None, "undecided")
        await manager.after_history_sync()
        people.append((jid, manager))
    for jid, manager in people:
        for other, devices in LISTS.items():
            if other != jid:
                await manager.update_device_list(NAMESPACE, other, devices)

    async def send(writer, reader):
        messages, errors = await writer[1].encrypt(frozenset([reader[0]]), {NAMESPACE: TEXT})
        assert not errors
        (message,) = messages
        plaintext, _, _ = await reader[1].decrypt(message)
        assert plaintext == TEXT

    await send(*people)
    await send(*reversed(people))
    begun = time.process_time()
    for _ in range(count):
        await send(*people)
        await send(*reversed(people))
    answer(stack="python-omemo", us=(time.process_time() - begun) / count / 2 * 1e6)


asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 500))
