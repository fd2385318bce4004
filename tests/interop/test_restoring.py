"""A backup that is restored goes on chatting through other people's servers, as a new device."""

from __future__ import annotations

import asyncio

import pytest

import securecall as sc
from securecall.chat.message import DeviceTrust
from securecall.keys.statement import parse_statement
from tests.interop.chatting import PASSPHRASE, person, texts, until
from tests.interop.test_chat import at

pytestmark = pytest.mark.interop


def test_a_restored_account_is_a_new_device_and_the_old_one_gets_nothing_more(
    fresh_server, tmp_path
):
    server = fresh_server

    async def main():
        secret = sc.Secret(PASSPHRASE)
        async with (
            person(server, tmp_path, "bob") as bob,
            person(server, tmp_path, "alice") as alice,
        ):
            to_bob, to_alice = (
                alice.conversation(at(server, "bob")),
                bob.conversation(at(server, "alice")),
            )
            _ = await to_bob.send("before")
            await until(lambda: texts(bob, server, "alice") == ["before"])
            _ = await to_alice.send("and back")
            await until(lambda: texts(alice, server, "bob") == ["before", "and back"])
            account = alice.chat_accounts[0].address
            old_ids = {key.id for key in alice.contacts.omemo}
            root, old = alice.contacts.root_fp, alice.contacts.statement
            await alice.back_up(tmp_path / "saved", passphrase=secret)
            _ = await to_bob.send("after the backup")
            await until(lambda: "after the backup" in texts(bob, server, "alice"))
        backup = await asyncio.to_thread(
            sc.restore,
            tmp_path / "saved",
            tmp_path / "alice-2",
            backup_passphrase=secret,
            passphrase=secret,
        )
        assert backup.messages == 2
        async with (
            person(server, tmp_path, "alice", device="2") as again,
            person(server, tmp_path, "bob") as bob,
        ):
            before = parse_statement(old, unix=backup.made)
            after = parse_statement(again.contacts.statement, unix=backup.made)
            assert again.contacts.root_fp == root
            assert after.seq > before.seq
            assert {d.id for d in after.devices}.isdisjoint(d.id for d in before.devices)
            assert {key.id for key in again.contacts.omemo}.isdisjoint(old_ids)
            assert texts(again, server, "bob")[:2] == ["before", "and back"]
            _ = await again.conversation(at(server, "bob")).send("it is me again")
            await until(lambda: "it is me again" in texts(bob, server, "alice"))
            to_alice = bob.conversation(at(server, "alice"))
            assert to_alice.messages()[-1].trust is DeviceTrust.UNDECIDED
            with pytest.raises(sc.UntrustedDevices):  # though the old one was trusted
                _ = await to_alice.send("who is this?")
            (device,) = bob.devices.undecided(account)
            _ = bob.devices.trust_device(account, device.fingerprint)
            _ = await to_alice.send("welcome back")
            await until(lambda: "welcome back" in texts(again, server, "bob"))

    asyncio.run(main())
