"""What is left of a call's keys once they were put to use, for whoever keeps the call object."""

from __future__ import annotations

import asyncio

import pytest

import securecall as sc
from securecall.keys.handshake import CallRole
from securecall.testing.attacks.stage import GUARD_SECONDS
from securecall.testing.bus import SignalBus
from tests.attacks.calls.on_a_bus import BOB, hear, people


def test_a_call_keeps_no_media_key_that_a_later_thief_of_memory_could_find(tmp_path):
    async def main():
        async with asyncio.timeout(GUARD_SECONDS), people(tmp_path, SignalBus()) as (alice, bob):
            async with alice.call(BOB, audio=sc.ToneSource(440)) as call:
                async with (await bob.next_call()).accept(audio=sc.ToneSource(620)) as answer:
                    await call.connected()
                    await hear(call)
                    assert call.sas == answer.sas
        for end in (call, answer):
            left = [end._proof.result.sas_secret]
            left += [end._proof.result.sframe_key(role, n) for role in CallRole for n in range(8)]
            left += [end._connection._link._keys.send, end._connection._link._keys.receive]
            for secret in left:
                assert not len(secret)
                with pytest.raises(sc.UsageError):
                    secret.reveal()

    asyncio.run(main())
