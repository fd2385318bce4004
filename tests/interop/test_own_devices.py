"""Two devices of one person on one XMPP account, at other people's servers."""

from __future__ import annotations

import asyncio

import securecall as sc
from securecall.chat.message import DeviceTrust
from securecall.events import ContactKeysChanged, KeysChange, OwnChange, OwnKeysChanged
from securecall.keys.enrolment import build_invitation
from securecall.keys.trust import TrustState
from securecall.xmpp.roster import Subscription
from tests.interop.chatting import PASSPHRASE, person, until


def at(server, name):
    return sc.parse_address(f"xmpp:{name}@{server.domain}")


async def befriend(one, other):
    """Two people see each other; from then on each hears what the other publishes."""
    there = one.chat_accounts[0].address, other.chat_accounts[0].address
    await other.add_contact(there[0])
    for client, who in ((one, there[1]), (other, there[0])):
        people = client.chat_accounts[0].people
        await until(lambda people=people, who=who: who.short in people.asks)
        await client.accept_contact(who)
        await until(
            lambda people=people, who=who: (
                (p := people.person(who))
                and p.item.subscription in (Subscription.FROM, Subscription.BOTH)
            )
        )


async def follow(client, into):
    async for event in client.events():
        into.append(event)


def test_a_second_device_is_vouched_for_and_withdrawn_by_the_account_itself(fresh_server, tmp_path):
    server = fresh_server

    async def main():
        async with (
            person(server, tmp_path, "alice") as desk,
            person(server, tmp_path, "bob") as bob,
        ):
            own, told = desk.contacts.identity, []
            watching = asyncio.create_task(follow(bob, told))
            request = sc.join_identity(
                tmp_path / "alice-2",
                passphrase=sc.Secret(PASSPHRASE),
                invitation=build_invitation(own.root_public),
                device_id="phone",
            )
            own.enrol(request)
            async with person(server, tmp_path, "alice", device="2") as phone:
                theirs = phone.contacts.identity
                # the account's own node brought the statement
                await until(lambda: theirs.known is not None)
                own.enrol(theirs.request())  # which says the phone's OMEMO key, too
                await until(lambda: not theirs.request_due)
                await befriend(desk, bob)
                known = bob.contacts.find(at(server, "alice"))
                assert (known.state, known.root_fp) == (TrustState.PINNED, own.root_fp)
                to_alice = bob.conversation(at(server, "alice"))
                _ = await to_alice.send("To both of you.")
                for device in (desk, phone):
                    chat = device.conversation(at(server, "bob"))
                    await until(lambda chat=chat: [m.text for m in chat.messages()])
                    assert [m.text for m in chat.messages()] == ["To both of you."]
                listed = bob.devices.listing(at(server, "alice"))
                assert [d.trust for d in listed] == [DeviceTrust.TRUSTED] * 2

                seen = []
                hearing = asyncio.create_task(follow(phone, seen))
                await asyncio.sleep(0)
                own.revoke("phone")
                await until(
                    lambda: [
                        e
                        for e in told
                        if isinstance(e, ContactKeysChanged) and e.change is KeysChange.REVOKED
                    ]
                )
                trust = {d.trust for d in bob.devices.listing(at(server, "alice"))}
                assert trust == {DeviceTrust.TRUSTED, DeviceTrust.DISTRUSTED}
                await until(lambda: OwnKeysChanged(OwnChange.WITHDRAWN, "phone") in seen)
                _ = await to_alice.send("To the desk alone.")
                chat = desk.conversation(at(server, "bob"))
                await until(lambda: len(chat.messages()) == 2)
                # the phone is sent the message all the same, by its server, and cannot read it
                chat = phone.conversation(at(server, "bob"))
                assert "To the desk alone." not in [m.text for m in chat.messages()]
                hearing.cancel()
            watching.cancel()
            _ = await asyncio.gather(watching, hearing, return_exceptions=True)

    asyncio.run(main())


def test_contacts_follow_to_a_new_root_by_the_account_itself(fresh_server, tmp_path):
    server = fresh_server

    async def main():
        async with (
            person(server, tmp_path, "carol") as carol,
            person(server, tmp_path, "dave") as dave,
        ):
            await until(lambda: carol.contacts.identity.known is not None)
            await befriend(carol, dave)
            await until(lambda: dave.contacts.find(at(server, "carol")).root_fp)
            before = dave.contacts.find(at(server, "carol")).root_fp
            carol.contacts.succeed()
            await until(
                lambda: dave.contacts.find(at(server, "carol")).root_fp == carol.contacts.root_fp
            )
            after = dave.contacts.find(at(server, "carol"))
            assert (after.state, after.how) == (TrustState.PINNED, "succession")
            assert dave.contacts.book.barred[before] is TrustState.REVOKED

    asyncio.run(main())
