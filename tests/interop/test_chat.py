"""Our chat through other people's servers: encrypted, in order, once, and over restarts."""

from __future__ import annotations

import asyncio

import pytest

import securecall as sc
from securecall import settling
from securecall.chat.message import Delivery, DeviceTrust, Protection
from securecall.errors import LoginRefused
from securecall.events import (
    ContactRequested,
    DevicesTrusted,
    NewDevice,
    RoomChanged,
    TypingChanged,
)
from securecall.keys import omemo_session
from securecall.xmpp.room_grammar import Invitation
from tests.interop.chatting import person, texts, until
from tests.interop.conftest import RELAY


def at(server, name):
    return f"{name}@{server.domain}"


def test_a_message_each_way_is_encrypted_kept_and_acknowledged(server, tmp_path):
    async def main():
        async with (
            person(server, tmp_path, "alice") as alice,
            person(server, tmp_path, "bob") as bob,
        ):
            to_bob = alice.conversation(at(server, "bob"))
            to_alice = bob.conversation(at(server, "alice"))
            sent = await to_bob.send("Ready when you are.")
            assert sent.delivery is Delivery.PENDING
            (got,) = await until(lambda: to_alice.messages())
            assert (got.text, got.protection, got.own) == (
                "Ready when you are.",
                Protection.OMEMO,
                False,
            )
            _ = await to_alice.send("I am.", reply_to=got)
            await until(lambda: len(to_bob.messages()) == 2)
            answer = to_bob.messages()[-1]
            assert (answer.text, answer.reply_to) == ("I am.", sent.id)
            # bob wrote, so alice's devices are trusted there, and receipts are sent
            _ = await to_bob.send("Good.")
            await until(lambda: to_bob.messages()[-1].delivery is Delivery.DELIVERED)
            await to_alice.mark_read(to_alice.messages()[-1])
            await until(lambda: to_bob.messages()[-1].delivery is Delivery.DISPLAYED)
            assert to_alice.unread == 0

    asyncio.run(main())


def test_corrections_reactions_and_typing_reach_the_other_side(server, tmp_path):
    async def main():
        async with (
            person(server, tmp_path, "carol") as carol,
            person(server, tmp_path, "dave") as dave,
        ):
            to_dave = carol.conversation(at(server, "dave"))
            to_carol = dave.conversation(at(server, "carol"))
            seen = []

            async def watch():
                async for event in dave.events():
                    seen.append(event)

            watching = asyncio.create_task(watch())
            sent = await to_dave.send("5 mg")
            await until(lambda: texts(dave, server, "carol") == ["5 mg"])
            _ = await to_carol.send("sure?")
            await until(lambda: len(to_dave.messages()) == 2)
            _ = await to_dave.correct(sent, "0.5 mg")
            await until(lambda: texts(dave, server, "carol")[0] == "0.5 mg")
            _ = await to_carol.react(to_carol.messages()[0], "👍")
            await until(lambda: to_dave.messages()[0].reactions)
            assert set(to_dave.messages()[0].reactions.values()) == {frozenset("👍")}
            await to_dave.typing()
            await until(lambda: any(isinstance(event, TypingChanged) for event in seen))
            watching.cancel()

    asyncio.run(main())


def test_what_was_written_while_away_is_there_in_order_and_once(server, tmp_path):
    async def main():
        async with person(server, tmp_path, "erin") as erin:
            async with person(server, tmp_path, "frank"):
                pass  # his keys are published
            to_frank = erin.conversation(at(server, "frank"))
            wanted = [f"while you were away {number}" for number in range(30)]
            for text in wanted:
                _ = await to_frank.send(text)
            await until(lambda: to_frank.messages(count=100)[-1].delivery is not Delivery.PENDING)
        async with person(server, tmp_path, "frank") as frank:
            await until(lambda: len(texts(frank, server, "erin")) >= 30)
            assert texts(frank, server, "erin") == wanted
        async with person(server, tmp_path, "frank") as frank:
            async with person(server, tmp_path, "erin") as erin:
                _ = await erin.conversation(at(server, "frank")).send("and now")
                await until(lambda: texts(frank, server, "erin")[-1] == "and now")
            assert texts(frank, server, "erin") == [*wanted, "and now"]

    asyncio.run(main())


def test_another_device_of_ours_reads_along_once_it_is_trusted(server, tmp_path):
    async def main():
        async with (
            person(server, tmp_path, "alice", device="desk") as desk,
            person(server, tmp_path, "bob", device="b") as bob,
            person(server, tmp_path, "alice", device="phone") as phone,
        ):
            to_bob = desk.conversation(at(server, "bob"))
            news = []

            async def watch():
                async for event in desk.events():
                    news.append(event)

            watching = asyncio.create_task(watch())
            _ = await to_bob.send("not for the phone yet")
            await until(lambda: texts(bob, server, "alice"))
            (unreadable,) = await until(lambda: phone.conversation(at(server, "bob")).messages())
            assert "not encrypted for this device" in unreadable.unreadable
            assert any(isinstance(event, DevicesTrusted) for event in news)
            ours = [e.device for e in news if isinstance(e, NewDevice)]
            assert {device.trust for device in ours} == {DeviceTrust.UNDECIDED}
            for device in ours:  # the phone, and those of other tests
                _ = desk.devices.trust_device(device.address, device.identity_key)
            _ = await to_bob.send("for both")
            await until(lambda: "for both" in texts(phone, server, "bob"))
            watching.cancel()

    asyncio.run(main())


def test_chat_begins_anew_after_conversations_were_given_up(server, tmp_path):
    async def main():
        async with (
            person(server, tmp_path, "alice", device="anew") as alice,
            person(server, tmp_path, "bob", device="anew") as bob,
        ):
            _ = await alice.conversation(at(server, "bob")).send("before")
            await until(lambda: texts(bob, server, "alice"))
            _ = await bob.conversation(at(server, "alice")).send("I have it.")
            await until(lambda: len(texts(alice, server, "bob")) == 2)
            (before,) = alice.contacts.identity.devices[0].omemo
            await alice.sign_out(alice.chat_accounts[0])
            await alice.forget_conversations()
            assert alice.conversations() == ()
        # bob is here anew, too: who is on nobody's contact list is told of no change of devices
        async with (
            person(server, tmp_path, "alice", device="anew") as alice,
            person(server, tmp_path, "bob", device="anew") as bob,
        ):
            to_bob, to_alice = (
                alice.conversation(at(server, "bob")),
                bob.conversation(at(server, "alice")),
            )
            (after,) = alice.contacts.identity.devices[0].omemo
            _ = await to_bob.send("anew")
            await until(lambda: to_alice.messages()[-1].text == "anew")
            assert to_alice.messages()[-1].protection is Protection.OMEMO
            # she is another device, in the place of the one before
            found = {device.id: device for device in await to_alice.recipients()}
            listed = bob.chat_accounts[0]._omemo.listed(at(server, "alice"))
            ids = {device.id for device in listed}
            assert (after in ids, before in ids) == (True, False)
            bob.devices.trust_device(found[after].address, found[after].identity_key)
            _ = await to_alice.send("Welcome back.")
            await until(lambda: "Welcome back." in texts(alice, server, "bob"))
            # what was under way to the device before is shown as what it is
            said = [m.text for m in to_bob.messages() if not m.unreadable]
            assert said == ["anew", "Welcome back."]

    asyncio.run(main())


def test_a_restart_of_the_server_loses_nothing(server, tmp_path):
    async def main():
        async with (
            person(server, tmp_path, "carol", device="r") as carol,
            person(server, tmp_path, "dave", device="r") as dave,
        ):
            to_dave = carol.conversation(at(server, "dave"))
            wanted = [f"r{number}" for number in range(60)]
            for number, text in enumerate(wanted):
                if number == 20:
                    restarting = asyncio.create_task(asyncio.to_thread(server.restart))
                _ = await to_dave.send(text)
                await asyncio.sleep(0)
            await restarting
            await until(lambda: len(texts(dave, server, "carol")) >= len(wanted))
            assert texts(dave, server, "carol") == wanted
            await until(
                lambda: all(m.delivery is not Delivery.PENDING for m in to_dave.messages(count=100))
            )

    asyncio.run(main())


def test_files_reach_the_other_side_and_the_server_sees_noise(server, tmp_path):
    async def main():
        async with (
            person(server, tmp_path, "erin", device="f") as erin,
            person(server, tmp_path, "frank", device="f") as frank,
        ):
            source = tmp_path / "x-ray of Mrs. Müller.png"
            source.write_bytes(b"\x89PNG" + bytes(range(256)) * 500)
            seen = []
            _ = await erin.conversation(at(server, "frank")).send_file(
                source, progress=lambda done, of: seen.append((done, of))
            )
            to_erin = frank.conversation(at(server, "erin"))
            (got,) = await until(lambda: to_erin.messages())
            assert (got.file.name, got.file.media_type) == (source.name, "image/png")
            assert "ller" not in got.file.url
            saved = await to_erin.save_file(got, tmp_path)
            assert saved != source
            assert saved.read_bytes() == source.read_bytes()
            assert seen[-1][0] == seen[-1][1]

    asyncio.run(main())


def test_a_wrong_password_is_refused(server, tmp_path):
    async def main():
        async with sc.open(tmp_path / "x", passphrase=sc.Secret("p"), create=True) as client:
            with pytest.raises(LoginRefused):
                _ = await client.sign_in(
                    xmpp=at(server, "alice"),
                    password=sc.Secret("wrong"),
                    server=f"127.0.0.1:{server.ports['xmpps']}",
                    authorities=server.authorities,
                )

    asyncio.run(main())


def test_a_private_room_is_read_by_its_members_and_by_nobody_else(server, tmp_path):
    async def main():
        async with (
            person(server, tmp_path, "alice", device="room") as alice,
            person(server, tmp_path, "bob", device="room") as bob,
            person(server, tmp_path, "carol", device="room") as carol,
        ):
            everybody = [client.chat_accounts[0].address for client in (alice, bob, carol)]
            invited = []

            async def watch():
                async for event in bob.events():
                    if isinstance(event, RoomChanged) and isinstance(event.news, Invitation):
                        invited.append(event.news)

            watching = asyncio.create_task(watch())
            await asyncio.sleep(0)
            ward = await alice.create_room("ward 7", members=everybody[1:])
            (invitation,) = await until(lambda: invited)
            assert (invitation.by, invitation.vouched) == (at(server, "alice"), True)
            watching.cancel()
            for client in (bob, carol):
                _ = await client.join_room(ward.address)
            _ = await ward.send("Rounds at nine.")
            for client in (bob, carol):
                there = client.conversation(ward.address)
                (got,) = await until(lambda there=there: there.messages())
                assert (got.text, got.sender, got.protection) == (
                    "Rounds at nine.",
                    everybody[0],
                    Protection.OMEMO,
                )
            _ = await bob.conversation(ward.address).send("I will be there.")
            for client in (alice, carol):
                await until(
                    lambda c=client: (
                        "I will be there."
                        in [m.text for m in c.conversation(ward.address).messages()]
                    )
                )
            await until(lambda: all(m.delivery is not Delivery.PENDING for m in ward.messages()))
            assert [m.text for m in ward.messages()] == ["Rounds at nine.", "I will be there."]
            assert not any(m.unreadable for m in ward.messages())
            # what is said about a message hits that one, everywhere
            there = bob.conversation(ward.address)
            rounds = there.messages()[0]
            _ = await there.react(rounds, "👍")
            _ = await there.send("With the new drug?", reply_to=rounds)
            _ = await ward.correct(ward.messages()[0], "Rounds at ten.")
            for client in (alice, carol):
                seen = client.conversation(ward.address)
                await until(lambda seen=seen: seen.messages()[0].text == "Rounds at ten.")
                await until(lambda seen=seen: len(seen.messages()) == 3)
                first, _, answer = seen.messages()
                assert (answer.reply_by, answer.reply_to) == (everybody[0], first.id)
            # carol wrote to nobody yet, so reactions of bob's device count for nothing there
            await until(lambda: ward.messages()[0].reactions == {everybody[1]: frozenset("👍")})
            assert carol.conversation(ward.address).messages()[0].reactions == {}

    asyncio.run(main())


def test_who_missed_more_in_a_room_than_a_ratchet_skips_reads_what_came_beside_it(
    server, tmp_path, monkeypatch
):
    monkeypatch.setattr(omemo_session, "MAX_SKIPPED", 10)
    monkeypatch.setattr(settling, "LOOKS", ())  # it may be later than they are

    async def main():
        async with person(server, tmp_path, "alice", device="missed") as alice:
            async with person(server, tmp_path, "bob", device="missed") as bob:
                ward = await alice.create_room("ward 9", members=[at(server, "bob")])
                there = await bob.join_room(ward.address)
                _ = await ward.send("first")
                await until(there.messages)
            for number in range(20):
                _ = await ward.send(f"{number}")
            _ = await alice.conversation(at(server, "bob")).send("beside it")
            await until(lambda: ward.messages()[-1].delivery is not Delivery.PENDING)
            async with person(server, tmp_path, "bob", device="missed") as bob:
                beside = bob.conversation(at(server, "alice"))
                (missed,) = await until(beside.messages)
                assert missed.unreadable
                there = await bob.join_room(ward.address)
                await until(lambda: len(there.messages()) == 21)
                await until(lambda: [m.text for m in beside.messages()] == ["beside it"])
                assert not any(m.unreadable for m in (*there.messages(), *beside.messages()))

    asyncio.run(main())


def test_people_see_each_other_once_both_agreed(server, tmp_path):
    async def main():
        async with (
            person(server, tmp_path, "dave", device="p") as dave,
            person(server, tmp_path, "erin", device="p") as erin,
        ):
            seen = []

            async def watch():
                async for event in erin.events():
                    seen.append(event)

            watching = asyncio.create_task(watch())
            await asyncio.sleep(0)
            # her node may still hold the identity of another test's Erin
            await erin.chat_accounts[0].people.publish_identity()
            await dave.add_contact(at(server, "erin"), name="Erin")
            asked = await until(lambda: [e for e in seen if isinstance(e, ContactRequested)])
            await erin.accept_contact(asked[0].address)
            await erin.add_contact(asked[0].address)
            await until(
                lambda: [
                    p for p in dave.people() if p.presence is not None and p.item.name == "Erin"
                ]
            )
            known = await dave.contact(at(server, "erin"))
            assert known.conversation is not None
            # her identity came out of her own node, and is pinned for that address
            pinned = await until(
                lambda: (
                    (found := dave.contacts.find(erin.chat_accounts[0].address)).root_fp and found
                )
            )
            assert (pinned.state.value, pinned.how) == ("pinned", "directory")
            # so is her device, which that identity vouches for
            key = erin.contacts.omemo[0].identity_key
            listed = {r.identity_key: r.trust for r in await known.conversation.recipients()}
            assert listed[key] is DeviceTrust.TRUSTED
            watching.cancel()

    asyncio.run(main())


def test_the_server_names_a_relay_for_calls(server, tmp_path):
    async def main():
        async with person(server, tmp_path, "frank", device="t") as frank:
            found = await frank.chat_accounts[0].helpers()
            relay = found.turn[0]
            assert (relay.host, relay.port) == (RELAY.turn.host, RELAY.turn.port)
            assert relay.username
            assert relay.password.reveal()

    asyncio.run(main())
