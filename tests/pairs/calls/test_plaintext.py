"""Text messages of SIP between two clients: a danger both have to ask for."""

from __future__ import annotations

import asyncio

import pytest

import securecall as sc
from securecall.events import PlaintextReceived
from tests.pairs.calls.test_registered import at, lab, person, run, talk

EXPOSED = sc.Policy(danger_plaintext_messages=True)


def test_a_text_reaches_who_asked_for_texts(tmp_path):
    async def main():
        async with (
            lab(tmp_path) as server,
            person("alice", server, tmp_path) as alice,
            person("bob", server, tmp_path, policy=EXPOSED) as bob,
        ):
            told = asyncio.ensure_future(
                anext(e async for e in bob.events() if isinstance(e, PlaintextReceived))
            )
            await asyncio.sleep(0)
            await alice.danger_send_plaintext(at("bob", server), "Ready when you are.")
            event = await told
            assert (str(event.sender), event.text) == (at("alice", server), "Ready when you are.")
            assert "Ready" not in repr(event)

    run(main)


def test_by_default_a_text_is_refused_and_the_sender_told(tmp_path):
    async def main():
        async with (
            lab(tmp_path) as server,
            person("alice", server, tmp_path) as alice,
            person("bob", server, tmp_path),
        ):
            with pytest.raises(sc.MessageFailed) as caught:
                await alice.danger_send_plaintext(at("bob", server), "Ready when you are.")
            assert caught.value.status == 405
            with pytest.raises(sc.MessageFailed):
                await alice.danger_send_plaintext(at("nobody", server), "Ready when you are.")

    run(main)


def test_who_was_reached_end_to_end_encrypted_is_sent_no_plain_text(tmp_path):
    async def main():
        async with (
            lab(tmp_path) as server,
            person("alice", server, tmp_path) as alice,
            person("bob", server, tmp_path, policy=EXPOSED) as bob,
        ):
            address = at("bob", server)
            await alice.danger_send_plaintext(address, "before")  # control
            for _ in range(2):  # the second call is end-to-end encrypted
                await talk(alice, bob, address)
            with pytest.raises(sc.DowngradeError):
                await alice.danger_send_plaintext(address, "after")
            assert server.count("MESSAGE") == 2  # once challenged

    run(main)
