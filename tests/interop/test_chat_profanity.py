"""Our chat with Profanity, a client of other people's making, through servers of theirs."""

from __future__ import annotations

import asyncio
from asyncio import to_thread
from contextlib import asynccontextmanager

import pytest

from securecall.address import parse_address
from securecall.chat.message import Delivery, DeviceTrust, Protection
from securecall.errors import Unsupported, UntrustedDevices
from securecall.events import DevicesTrusted, MessageIgnored, NewDevice
from tests.interop import profanity
from tests.interop.chatting import address_of, own_fingerprint, person, until

OURS = "0.5 µg, „nicht mehr“ <b>&amp;</b> ]]> 👍🏽\nsecond line"
THEIRS = "äöü <i>&lt;</i> 'quoted' 🩺 ñ"
pytestmark = pytest.mark.timeout(180)  # a hang guard


def texts(conversation):
    return [message.text for message in conversation.messages()]


def ignored(events, who):
    return [e.why for e in events if isinstance(e, MessageIgnored) and e.conversation == who]


@asynccontextmanager
async def told(client):
    """What happens to somebody meanwhile."""
    events = []

    async def watch():
        async for event in client.events():
            events.append(event)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    yield events
    watching.cancel()


def test_we_write_first(server, tmp_path):
    profanity.befriend(server, "erin", "frank")

    async def main(frank):
        async with person(server, tmp_path, "erin") as erin, told(erin) as events:
            to_frank = erin.conversation(frank.jid)
            sent = await to_frank.send("From us.")
            line = await to_thread(frank.wait_line, "From us.")
            assert (line.sender, line.encryption) == (address_of(erin), "omemo")
            await until(lambda: to_frank.messages()[0].delivery is Delivery.DELIVERED)
            assert any(isinstance(event, DevicesTrusted) for event in events)
            # what both show to be compared
            (device,) = await to_frank.recipients()
            assert device.fingerprint.replace(" ", "") == frank.fingerprint()
            shown = await to_thread(frank.known_fingerprint, address_of(erin))
            assert shown == own_fingerprint(erin)
            known = erin.devices.verify_device(device.address, frank.fingerprint())
            assert known.trust is DeviceTrust.VERIFIED

            await to_thread(frank.begin_omemo, address_of(erin))
            await to_thread(frank.type, "From a terminal.")
            got = await until(lambda: to_frank.messages()[1:])
            assert [(m.text, m.own, m.protection, m.trust) for m in got] == [
                ("From a terminal.", False, Protection.OMEMO_LEGACY, DeviceTrust.VERIFIED)
            ]

            _ = await to_frank.correct(sent, "From us, corrected.")
            await to_thread(frank.wait_screen, r": From us, corrected\.")
            assert "From us.\n" not in await to_thread(frank.screen)
            await to_thread(frank.type, "/correct From a terminal, corrected.")
            await until(lambda: texts(to_frank)[1] == "From a terminal, corrected.")
            assert len(to_frank.messages()) == 2

    with profanity.running(tmp_path / "frank", "frank", server) as frank:
        frank.generate()
        asyncio.run(main(frank))


def test_it_writes_first_and_files_go_both_ways(server, tmp_path):
    profanity.befriend(server, "carol", "dave")
    source = tmp_path / "x-ray of Mrs. Müller.png"
    source.write_bytes(b"\x89PNG" + bytes(range(256)) * 500)

    async def main(dave):
        async with person(server, tmp_path, "carol") as carol:
            await to_thread(dave.begin_omemo, address_of(carol))
            await to_thread(dave.type, THEIRS)
            to_dave = carol.conversation(dave.jid)
            (got,) = await until(lambda: to_dave.messages())
            assert (got.text, got.protection) == (THEIRS, Protection.OMEMO_LEGACY)
            assert got.trust is DeviceTrust.UNDECIDED  # who wrote to us is not trusted by that
            _ = await to_dave.send(OURS)
            assert (await to_thread(dave.wait_line, OURS)).encryption == "omemo"

            with pytest.raises(Unsupported):  # every server on the way would see it
                _ = await to_dave.react(got, "👍")
            # more than one, and of any size, in order
            for text in (long := "x" * 20_000, "the last"):
                _ = await to_dave.send(text, reply_to=got)
            await to_thread(dave.wait_line, "the last")
            assert [line.text for line in dave.lines()] == [THEIRS, OURS, long, "the last"]

            _ = await to_dave.send_file(source)
            link = await to_thread(dave.wait_link)
            assert "ller" not in link
            await to_thread(dave.save, link, tmp_path / "saved.png")
            assert (tmp_path / "saved.png").read_bytes() == source.read_bytes()

            await to_thread(dave.send_file, source)
            (got,) = await until(lambda: [m for m in to_dave.messages() if m.file and not m.own])
            assert (got.text, got.protection) == ("", Protection.OMEMO_LEGACY)
            saved = await to_dave.save_file(got, tmp_path)
            assert saved != source
            assert saved.read_bytes() == source.read_bytes()

    with profanity.running(tmp_path / "dave", "dave", server) as dave:
        dave.generate()
        asyncio.run(main(dave))


def test_what_was_written_while_the_other_was_away_is_there_once(server, tmp_path):
    profanity.befriend(server, "erin", "frank")
    ours, theirs = [f"ours {n}" for n in range(5)], [f"theirs {n}" for n in range(5)]

    async def meet(frank):
        async with person(server, tmp_path, "erin") as erin:
            _ = await erin.conversation(frank.jid).send("Hello.")
            await to_thread(frank.wait_line, "Hello.")

    async def while_it_is_away(jid):
        async with person(server, tmp_path, "erin") as erin:
            to_frank = erin.conversation(jid)
            await until(lambda: len(to_frank.messages()) == 6)
            assert texts(to_frank) == ["Hello.", *theirs]
            for text in ours:
                _ = await to_frank.send(text)
            await until(lambda: to_frank.messages()[-1].delivery is Delivery.SENT)

    async def again(frank):
        async with person(server, tmp_path, "erin") as erin:
            await to_thread(frank.wait_line, ours[-1])
            kept = [line.text for line in frank.lines()]
            assert kept == ["Hello.", *theirs, *ours]
            to_frank = erin.conversation(frank.jid)
            await until(lambda: to_frank.messages()[-1].delivery is Delivery.DELIVERED)
            await to_thread(frank.begin_omemo, address_of(erin), trusted=False)
            await to_thread(frank.type, "Back.")
            await until(lambda: texts(to_frank)[-1] == "Back.")
            assert texts(to_frank) == ["Hello.", *theirs, *ours, "Back."]

    folder = tmp_path / "frank"
    with profanity.running(folder, "frank", server) as frank:
        frank.generate()
        asyncio.run(meet(frank))
        frank.begin_omemo(f"erin@{server.domain}", trusted=False)
        for text in theirs:
            frank.type(text)
            frank.wait_line(text)
        jid = frank.jid
    asyncio.run(while_it_is_away(jid))
    with profanity.running(folder, "frank", server) as frank:
        asyncio.run(again(frank))


def test_a_new_device_gets_nothing_until_it_is_trusted(prosody, tmp_path):
    profanity.befriend(prosody, "erin", "frank")

    async def before(old):
        async with person(prosody, tmp_path, "erin") as erin:
            _ = await erin.conversation(old.jid).send("To one device.")
            await to_thread(old.wait_line, "To one device.")

    async def main(old, new):
        async with person(prosody, tmp_path, "erin") as erin, told(erin) as events:
            to_frank = erin.conversation(old.jid)
            _ = await to_frank.send("Not for the new one.")
            await to_thread(old.wait_line, "Not for the new one.")
            (seen,) = await until(lambda: [e for e in events if isinstance(e, NewDevice)])
            assert seen.device.fingerprint.replace(" ", "") == new.fingerprint()
            assert seen.device.trust is DeviceTrust.UNDECIDED
            _ = erin.devices.trust_device(seen.device.address, new.fingerprint())
            _ = await to_frank.send("For both.")
            for each in (old, new):
                assert (await to_thread(each.wait_line, "For both.")).encryption == "omemo"
            assert "Not for the new one." not in {line.text for line in new.lines()}
            # what either of them writes comes from that person, and the other one reads along
            await to_thread(new.begin_omemo, address_of(erin), trusted=False)
            await to_thread(new.type, "From the new one.")
            got = await until(lambda: [m for m in to_frank.messages() if not m.own])
            assert [(m.text, m.trust) for m in got] == [("From the new one.", DeviceTrust.TRUSTED)]
            await to_thread(old.wait_line, "From the new one.")

    with profanity.running(tmp_path / "old", "frank", prosody) as old:
        old.generate()
        asyncio.run(before(old))
        with profanity.running(tmp_path / "new", "frank", prosody, resource="new") as new:
            new.generate()
            asyncio.run(main(old, new))


def test_a_profanity_of_our_own_account_reads_along_once_it_is_trusted(server, tmp_path):
    profanity.befriend(server, "carol", "dave")

    async def main(terminal):
        async with (
            person(server, tmp_path, "carol", device="desk") as desk,
            person(server, tmp_path, "dave") as dave,
            told(desk) as events,
        ):
            to_dave = desk.conversation(address_of(dave))
            to_carol = dave.conversation(address_of(desk))
            _ = await to_dave.send("From the desk.")
            await until(lambda: texts(to_carol) == ["From the desk."])
            (own,) = [event.device for event in events if isinstance(event, NewDevice)]
            assert own.fingerprint.replace(" ", "") == terminal.fingerprint()
            _ = desk.devices.trust_device(own.address, own.identity_key)
            _ = await to_dave.send("And for the terminal.")
            line = await to_thread(terminal.wait_line, "And for the terminal.")
            assert (line.receiver, line.encryption) == (address_of(dave), "omemo")
            assert "From the desk." not in {line.text for line in terminal.lines()}

            await to_thread(terminal.begin_omemo, address_of(dave))
            await to_thread(terminal.type, "From the terminal.")
            await until(lambda: "From the terminal." in texts(to_carol))
            (copy,) = await until(lambda: to_dave.messages()[2:])
            assert (copy.text, copy.own, copy.protection) == (
                "From the terminal.",
                True,
                Protection.OMEMO_LEGACY,
            )
            _ = await to_carol.send("For both of you.")
            assert (await to_thread(terminal.wait_line, "For both of you.")).encryption == "omemo"
            await until(lambda: texts(to_dave)[-1] == "For both of you.")

    with profanity.running(tmp_path / "terminal", "carol", server) as terminal:
        terminal.generate()
        asyncio.run(main(terminal))


def test_one_that_trusts_nobody_by_itself_is_told_what_we_show(ejabberd, tmp_path):
    profanity.befriend(ejabberd, "erin", "frank")

    async def main(frank):
        async with person(ejabberd, tmp_path, "erin") as erin:
            await to_thread(frank.begin_omemo, address_of(erin), trusted=False)
            await to_thread(frank.type, "too early")
            await to_thread(frank.wait_screen, "cannot be decrypted for any")
            await to_thread(frank.trust, address_of(erin), own_fingerprint(erin))
            await to_thread(frank.type, "in time")
            to_frank = erin.conversation(frank.jid)
            await until(lambda: texts(to_frank) == ["in time"])
            # and we bar its device before a word was written to it
            (device,) = await to_frank.recipients()
            assert device.trust is DeviceTrust.UNDECIDED
            _ = erin.devices.distrust_device(to_frank.address, frank.fingerprint())
            with pytest.raises(UntrustedDevices):
                _ = await to_frank.send("to nobody")

    with profanity.running(tmp_path / "frank", "frank", ejabberd, trust="manual") as frank:
        frank.generate()
        asyncio.run(main(frank))


def test_what_it_sends_unencrypted_is_shown_to_who_asked_for_it_alone(prosody, tmp_path):
    profanity.befriend(prosody, "erin", "frank")

    async def main(frank):
        async with person(prosody, tmp_path, "erin") as erin, told(erin) as events:
            to_frank = erin.conversation(frank.jid)
            await to_thread(frank.type, f"/msg {address_of(erin)} anybody can read this")
            await until(lambda: "it was not encrypted" in ignored(events, to_frank.address))
            assert to_frank.messages() == ()

            to_frank = erin.conversation(frank.jid, danger_plaintext_chat=True)
            await to_thread(frank.type, f"/msg {address_of(erin)} and this")
            await until(lambda: "and this" in texts(to_frank))
            assert {message.protection for message in to_frank.messages()} == {Protection.NONE}
            _ = await to_frank.send("likewise")
            assert (await to_thread(frank.wait_line, "likewise")).encryption == "none"

    with profanity.running(tmp_path / "frank", "frank", prosody) as frank:
        asyncio.run(main(frank))


def test_it_reads_and_writes_in_a_private_room_of_ours(server, tmp_path):
    profanity.befriend(server, "erin", "frank", "carol")

    async def main(frank):
        async with (
            person(server, tmp_path, "erin") as erin,
            person(server, tmp_path, "carol") as carol,
        ):
            members = [parse_address(f"xmpp:{jid}") for jid in (address_of(carol), frank.jid)]
            ward = await erin.create_room("ward 7", members=members)
            there = await carol.join_room(ward.address)
            others = (address_of(erin), address_of(carol))
            await to_thread(frank.join, ward.address.short, *others)
            _ = await ward.send("Rounds at nine.")
            assert (await to_thread(frank.wait_line, "Rounds at nine.")).encryption == "omemo"
            await to_thread(frank.type, "I will be there.")
            for room in (ward, there):
                await until(lambda room=room: len(room.messages()) == 2)
                assert texts(room) == ["Rounds at nine.", "I will be there."]
                got = room.messages()[1]
                assert (got.sender, got.protection) == (members[1], Protection.OMEMO_LEGACY)

    with profanity.running(tmp_path / "frank", "frank", server) as frank:
        frank.generate()
        asyncio.run(main(frank))
