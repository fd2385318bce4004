"""Nothing is lost, doubled or put out of order, whatever breaks between us and the server."""

from __future__ import annotations

import asyncio
import os
import secrets

import pytest

import securecall as sc
from securecall.chat.message import Delivery
from securecall.chat_account import ChatAccount
from securecall.testing.cutting import CuttingRelay
from tests.interop.chatting import person, until
from tests.interop.soaking import Plan, impatient, soak

SEED = int(os.environ.get("SOAK_SEED", "0")) or secrets.randbits(32)


def run(server, folder, names, plan):
    print(f"SOAK_SEED={plan.seed}")
    with impatient():
        figures = asyncio.run(soak(server, folder, names, plan))
    print(f"{server.name}: {figures}")


@pytest.mark.interop
@pytest.mark.timeout(240)
def test_cuts_and_restarts_lose_nothing(prosody, tmp_path):
    plan = Plan(messages=150, cuts=20, restarts=2, seed=SEED, absences=1)
    run(prosody, tmp_path, ("alice", "bob"), plan)


@pytest.mark.interop
@pytest.mark.timeout(240)
def test_what_is_not_passed_on_in_a_room_while_a_session_changes_over_is_found(
    server, tmp_path, monkeypatch
):
    dropped = []
    arrived = ChatAccount._arrived

    def lossy(account, stanza, done):
        """As if the server had kept what is said in rooms to itself, once."""
        if stanza.get("type") == "groupchat" and account is dropped[0] and len(dropped) == 1:
            dropped.append(stanza)
            done()
        else:
            arrived(account, stanza, done)

    async def main():
        async with (
            CuttingRelay(server.ports["xmpp"]) as relay,
            person(server, tmp_path, "alice", device="cut") as alice,
            person(server, tmp_path, "bob", port=relay.port, device="cut") as bob,
        ):
            account = bob.chat_accounts[0]
            ward = await alice.create_room("ward 7", members=[account.address])
            there = await bob.join_room(ward.address)
            _ = await ward.send("first")
            await until(lambda: len(there.messages()) == 1)
            resumed = asyncio.Event()

            async def note():
                resumed.set()

            account._session.on_resumed(note)
            dropped.append(account)
            monkeypatch.setattr(ChatAccount, "_arrived", lossy)
            account._session.on_message(account._arrived)
            async with relay.refusing():
                relay.cut()
                _ = await ward.send("dropped")
            await until(lambda: len(there.messages()) == 2)
            _ = await ward.send("after")
            await until(lambda: len(there.messages()) == 3)
            assert [m.text for m in there.messages()] == ["first", "dropped", "after"]
            assert len(dropped) == 2
            assert resumed.is_set()  # not a new session, which always read

    with impatient():
        asyncio.run(main())


@pytest.mark.interop
@pytest.mark.timeout(240)
def test_what_is_written_outside_of_a_room_waits_until_we_are_in_it_again(server, tmp_path):
    """A room sends back what comes from outside; and people's messages wait for no room."""

    async def main():
        async with (
            CuttingRelay(server.ports["xmpp"]) as relay,
            person(server, tmp_path, "bob", device="out") as bob,
            person(server, tmp_path, "alice", port=relay.port, device="out") as alice,
        ):
            ward = await alice.create_room("ward 7", members=[bob.chat_accounts[0].address])
            there = await bob.join_room(ward.address)
            _ = await ward.send("first")
            await until(lambda: len(there.messages()) == 1)
            session = alice.chat_accounts[0]._session
            async with relay.refusing():
                relay.cut()
                session._management.resume_id = ""  # the next session is a new one
                await until(lambda: session._stream is None)
                _ = await ward.send("from outside")
            await until(lambda: len(there.messages()) == 2)
            assert there.messages()[1].text == "from outside"
            await until(lambda: all(m.delivery is Delivery.SENT for m in ward.messages()))

    with impatient():
        asyncio.run(main())


@pytest.mark.interop
@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", ["removed", "destroyed"])
def test_what_waits_for_a_room_that_puts_us_out_meanwhile_has_failed(server, tmp_path, how):
    async def main():
        async with (
            CuttingRelay(server.ports["xmpp"]) as relay,
            person(server, tmp_path, "bob", device="put-out") as bob,
            person(server, tmp_path, "alice", port=relay.port, device="put-out") as alice,
        ):
            own, rooms = alice.chat_accounts[0].address, bob.chat_accounts[0].rooms
            ward = await bob.create_room("ward 7", members=[own])
            there = await alice.join_room(ward.address)
            _ = await there.send("first")
            await until(lambda: [m.delivery for m in there.messages()] == [Delivery.SENT])
            session = alice.chat_accounts[0]._session
            async with relay.refusing():
                relay.cut()
                session._management.resume_id = ""  # the next session is a new one
                await until(lambda: session._stream is None)
                _ = await there.send("too late")
                if how == "removed":
                    await rooms.remove_member(ward.address, own)
                else:
                    await rooms.destroy(ward.address)
            await until(lambda: there.messages()[-1].delivery is Delivery.FAILED)
            with pytest.raises(sc.RoomClosed):
                await there.send("still too late")
            if how == "removed":
                await rooms.add_member(ward.address, own)
                there = await alice.join_room(ward.address)
                _ = await there.send("in again")
                await until(lambda: len(ward.messages()) == 2)
                assert [m.text for m in ward.messages()] == ["first", "in again"]
            said = [(m.text, m.delivery) for m in there.messages()]
            assert said[:2] == [("first", Delivery.SENT), ("too late", Delivery.FAILED)]

    with impatient():
        asyncio.run(main())


PARTS = 4  # each of at most half an hour, on a machine that is not at rest


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where the two keep what they have, and how many messages that is, by server."""
    return {name: [tmp_path_factory.mktemp(name), 0] for name in ("prosody", "ejabberd")}


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(PARTS))
def test_thousands_of_messages_and_hundreds_of_cuts_lose_nothing(server, kept, part):
    """Each part goes on where the last one ended, with the same stores and archives."""
    size = float(os.environ.get("SOAK_SIZE", "1")) / PARTS
    folder, first = kept[server.name]
    plan = Plan(
        messages=int(10_000 * size),
        cuts=int(500 * size),
        restarts=int(20 * size),
        seed=SEED + part,
        stalls=int(20 * size),
        absences=int(20 * size),
        first=first,
    )
    run(server, folder, ("alice", "bob"), plan)
    kept[server.name][1] = plan.last
