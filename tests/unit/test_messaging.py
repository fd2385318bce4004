"""What is written is kept, and goes out in the order it was written, whatever the session takes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace
from xml.etree.ElementTree import fromstring, tostring

import pytest

from securecall.address import parse_address
from securecall.chat.conversation import Conversation
from securecall.chat.ledger import Ledger
from securecall.chat.message import (
    Activity,
    Arrival,
    Bounced,
    Delivery,
    DeviceTrust,
    Displayed,
    Named,
    Protection,
    Reaction,
    Text,
    Typing,
)
from securecall.devices import Devices
from securecall.errors import (
    CannotOpen,
    ConnectFailed,
    LocalError,
    NotForUs,
    RoomClosed,
    UntrustedDevices,
    UsageError,
)
from securecall.keys.omemo_session import HEARTBEAT
from securecall.keys.omemo_trust import Sighting
from securecall.keys.omemo_values import Device
from securecall.testing.omemo_world import BOTH, ONLY_LEGACY, ServerDirectory, World
from securecall.xmpp.envelope import parse_envelope
from securecall.xmpp.inbox import ENCRYPTED
from securecall.xmpp.omemo import parse_encrypted
from securecall.xmpp.omemo_directory import OmemoDirectory
from securecall.xmpp.said import parse_said, sealed_payload
from tests.forge_devices import NS, contacts_at, identity_key
from tests.forge_messaging import OurRooms, composed
from tests.memory_history import MemoryHistory

ALICE = parse_address("xmpp:alice@clinic.example")
BOB = parse_address("xmpp:bob@clinic.example")


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Nothing waits for company, so that a few turns of the loop show what came of it."""
    monkeypatch.setattr("securecall.dispatch.PATIENCE", 0.0)


class FakeSession:
    """Holds so many stanzas until the server takes them."""

    def __init__(self, room=1000):
        self.room = room
        self.sent = []
        self.waiting = []

    def send(self, stanza, *, taken=None, again=None):
        if len(self.waiting) >= self.room:
            raise ConnectFailed("it takes nothing")
        self.sent.append(stanza)
        self.waiting.append((taken, again))

    def take(self, count=1):
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        for one, _ in taken:
            one()

    def resume(self):
        """Over another connection: what was not taken, once more."""
        waiting, self.waiting = self.waiting, []
        for taken, again in waiting:
            stanza = again()
            if stanza is not None:
                self.sent.append(stanza)
                self.waiting.append((taken, again))


class Bench:
    def __init__(self, room=1000, omemo=None, devices=None, history=None, members=None):
        self.history = history or MemoryHistory()
        self.session = FakeSession(room)
        self.news = []
        self.rooms = OurRooms(belong=members)
        self.new_devices = []
        three = composed(
            ALICE,
            self.session,
            self.history,
            omemo,
            devices,
            self.rooms,
            tell=self.news.append,
            new=self.new_devices.append,
        )
        self.messaging, self.dispatch = three.messaging, three.dispatch

    async def write(self, *bodies):
        for body in bodies:
            _ = await self.messaging.write(BOB, Text(body=body), plain=True)

    @property
    def sent(self):
        return [
            body
            for stanza in self.session.sent
            for body in "abcdefgh"
            if f">{body}<".encode() in stanza
        ]

    @property
    def unsent(self):
        found = self.history.messages(BOB)
        return [message.text for message in found if message.delivery is Delivery.PENDING]


def run(scenario, **how):
    async def main():
        bench = Bench(**how)
        await scenario(bench)

    asyncio.run(main())


async def settled():
    for _ in range(10):
        await asyncio.sleep(0)


def test_what_is_written_goes_out_once_the_session_is_ready_in_order():
    async def scenario(bench):
        await bench.write("a", "b")
        assert bench.sent == []
        bench.dispatch.release()
        await bench.write("c")
        assert bench.sent == ["a", "b", "c"]
        bench.session.take(3)
        await settled()
        assert bench.unsent == []
        assert bench.history.parcels() == ()

    run(scenario)


def test_a_message_that_the_session_does_not_take_is_kept_and_no_error():
    async def scenario(bench):
        bench.dispatch.release()
        bench.session.room = 0
        await bench.write("a", "b")
        bench.session.room = 1000
        await bench.write("c")  # not before those that wait; and nothing else would wake them
        assert bench.sent == ["a", "b", "c"]

    run(scenario)


WARD, CLINIC = (parse_address(f"xmpp:{name}@rooms.example") for name in ("ward", "clinic"))


def test_what_is_for_a_room_waits_until_we_are_in_it_and_keeps_nothing_else(monkeypatch):
    monkeypatch.setattr("securecall.dispatch.MOST_IN_FLIGHT", 3)

    async def scenario(bench):
        async def write(to, *bodies):
            for body in bodies:
                _ = await bench.messaging.write(to, Text(body=body), plain=True)

        bench.rooms.outside = {WARD, CLINIC}
        await write(WARD, "a")
        await write(BOB, "b")
        await write(CLINIC, "c")
        bench.dispatch.release()
        assert bench.sent == ["b"]
        await write(WARD, "d")
        await write(BOB, "e")
        assert bench.sent == ["b", "e"]
        bench.rooms.outside = {CLINIC}
        await write(WARD, "f")  # it is entered, and who belongs to it is not known yet
        assert bench.sent == ["b", "e"]
        bench.dispatch.entered(WARD)
        assert bench.sent == ["b", "e", "a"]  # as many as may be are under way
        while bench.session.waiting:
            bench.session.take()
            await settled()
        assert bench.sent == ["b", "e", "a", "d", "f"]
        await write(WARD, "g")
        bench.dispatch.entered(WARD)
        bench.rooms.outside = set()
        bench.dispatch.entered(CLINIC)
        assert bench.sent == ["b", "e", "a", "d", "f", "g", "c"]
        bench.session.take(2)
        await settled()
        assert bench.history.parcels() == ()

    run(scenario)


def test_a_room_that_is_not_entered_in_this_session_is_waited_for_in_the_next():
    async def scenario(bench):
        bench.rooms.outside = {WARD}
        bench.dispatch.release()
        for body in "ab":
            _ = await bench.messaging.write(WARD, Text(body=body), plain=True)
        bench.dispatch.hold()
        bench.dispatch.release()
        assert bench.sent == []
        bench.rooms.outside = set()
        bench.dispatch.entered(WARD)
        assert bench.sent == ["a", "b"]

    run(scenario)


def test_what_waits_for_a_room_that_does_not_want_us_has_failed_and_is_told():
    async def scenario(bench):
        bench.rooms.outside = {WARD, CLINIC}
        bench.dispatch.release()
        for body in "ab":
            _ = await bench.messaging.write(WARD, Text(body=body), plain=True)
        _ = await bench.messaging.write(CLINIC, Text(body="c"), plain=True)
        bench.rooms.reasons[WARD] = "you were banned from it"
        bench.dispatch.entered(WARD)
        await settled()
        assert bench.sent == []
        assert [m.delivery for m in bench.history.messages(WARD)] == [Delivery.FAILED] * 2
        assert [news.message.text for news in bench.news] == ["a", "b"]
        (waiting,) = bench.history.parcels()
        assert waiting.conversation == CLINIC
        # what is written now is not kept as if it would be sent
        with pytest.raises(RoomClosed, match="banned"):
            await bench.messaging.write(WARD, Text(body="d"), plain=True)
        with pytest.raises(RoomClosed, match="banned"):
            await bench.messaging.lay_up(WARD, SimpleNamespace(), progress=lambda *_: None)
        assert len(bench.history.messages(WARD)) == 2
        # we are let in again: what failed stays so, and what is written goes out
        bench.rooms.reasons.clear()
        bench.rooms.outside = set()
        bench.dispatch.entered(CLINIC)
        bench.dispatch.entered(WARD)
        _ = await bench.messaging.write(WARD, Text(body="e"), plain=True)
        assert bench.sent == ["c", "e"]

    run(scenario)


def test_a_reaction_that_waits_for_a_room_that_does_not_want_us_is_told_though_no_message_is_it():
    async def scenario(bench):
        arrival = Arrival(
            conversation=WARD, sender=BOB, id="m", archive_id="7", sent=1.0, room=True,
            said=Text(body="who?"), protection=Protection.NONE,
        )  # fmt: skip
        Ledger(bench.history, ALICE).enter(arrival, plaintext=True)
        bench.rooms.outside = {WARD}
        bench.dispatch.release()
        meant = Named(id="m", by=BOB)
        said = Reaction(to="7", emojis=frozenset("👍"), of=meant)
        _ = await bench.messaging.write(WARD, said, plain=True)
        bench.rooms.reasons[WARD] = "it is gone"
        bench.dispatch.entered(WARD)
        await settled()
        (news,) = bench.news
        assert "was not sent: it is gone" in news.why
        assert bench.history.parcels() == ()

    run(scenario, members=(BOB,))


def test_what_is_written_as_a_room_puts_us_out_has_failed_at_once():
    async def scenario(bench):
        bench.dispatch.release()
        answers, why = iter([""]), "you were put out of it"
        bench.rooms.closed = lambda _: next(answers, why)
        _ = await bench.messaging.write(WARD, Text(body="a"), plain=True)
        await settled()
        (message,) = bench.history.messages(WARD)
        assert (message.delivery, bench.sent) == (Delivery.FAILED, [])

    run(scenario)


def test_what_the_server_took_for_a_room_that_then_put_us_out_has_not_failed():
    """It was taken just before the connection broke, and may have been lost; nobody knows."""

    async def scenario(bench):
        bench.dispatch.release()
        _ = await bench.messaging.write(WARD, Text(body="a"), plain=True)
        bench.session.take()
        await settled()
        bench.dispatch.lost()
        bench.dispatch.hold()
        bench.rooms.reasons[WARD] = "you were banned from it"
        bench.dispatch.release()
        await settled()
        (message,) = bench.history.messages(WARD)
        assert (message.delivery, bench.sent) == (Delivery.SENT, ["a"])

    run(scenario)


def test_what_came_back_before_the_server_said_that_it_took_it_has_failed():
    async def scenario(bench):
        bench.dispatch.release()
        await bench.write("a")
        (message,) = bench.history.messages(BOB)
        bounced = replace(came("x"), said=Bounced(id=message.id, why="not-acceptable"))
        _ = bench.messaging._ledger.enter(bounced)
        bench.session.take()
        await settled()
        assert bench.history.messages(BOB)[0].delivery is Delivery.FAILED

    run(scenario)


def test_what_waits_is_read_again_where_the_disk_refused_as_the_session_became_ready():
    async def scenario(bench):
        await bench.write("a", "b")
        read, bench.history.parcels = bench.history.parcels, lambda **_: _refuse()
        with pytest.raises(LocalError):
            bench.dispatch.release()
        assert not bench.dispatch.ready  # whoever prepares the session comes again
        bench.history.parcels = read
        bench.dispatch.release()
        await bench.write("c")
        assert bench.sent == ["a", "b", "c"]

    run(scenario)


def test_a_disk_that_cannot_be_read_keeps_nobody_from_writing():
    async def scenario(bench):
        bench.dispatch.release()
        bench.session.room = 0
        await bench.write("a")
        bench.session.room = 1000
        read, bench.history.parcels = bench.history.parcels, lambda **_: _refuse()
        await bench.write("b")  # it is kept: to say that it was not would make the user write twice
        bench.history.parcels = read
        await bench.write("c")
        assert bench.sent == ["a", "b", "c"]

    run(scenario)


def _refuse():
    raise LocalError("the disk")


def test_what_a_full_session_did_not_take_follows_when_there_is_room():
    async def scenario(bench):
        bench.dispatch.release()
        await bench.write(*"abcde")
        assert bench.sent == ["a", "b"]
        bench.session.take(1)
        await settled()
        assert bench.sent == ["a", "b", "c"]
        bench.session.take(2)
        await settled()
        assert bench.sent == ["a", "b", "c", "d", "e"]
        await bench.write("f")
        bench.session.take(2)
        await bench.write("g")
        bench.session.take(2)
        await settled()
        assert bench.sent == list("abcdefg")
        assert bench.unsent == []

    run(scenario, room=2)


def test_no_more_is_under_way_than_a_slow_server_is_given_time_for(monkeypatch):
    monkeypatch.setattr("securecall.dispatch.MOST_IN_FLIGHT", 4)

    async def scenario(bench):
        await bench.write(*"abc")
        bench.dispatch.release()
        await bench.write(*"defgh")
        assert bench.sent == list("abcd")
        bench.session.take(1)
        assert bench.sent == list("abcd")
        bench.session.take(1)
        assert bench.sent == list("abcdef")
        bench.session.take(4)
        await settled()
        assert bench.sent == list("abcdefgh")
        bench.session.take(2)
        await settled()
        assert bench.unsent == []

    run(scenario)


def test_sessions_that_all_end_too_soon_take_everything_in_the_end(monkeypatch):
    """A server that manages two in a session; each session before sent it all once more."""
    monkeypatch.setattr("securecall.dispatch.MOST_IN_FLIGHT", 2)

    async def scenario(bench):
        await bench.write(*"abcdefgh")
        for _ in range(20):
            bench.dispatch.release()
            bench.session.take(2)
            await settled()
            monkeypatch.setattr("securecall.dispatch.DOUBTED_SECONDS", -1.0)
            bench.dispatch.lost()
            bench.dispatch.hold()
            bench.session.waiting.clear()
        assert bench.unsent == []
        assert bench.history.parcels() == ()
        assert len(bench.sent) <= 2 * 8 + 2 * 16

    run(scenario)


def test_what_was_taken_just_before_the_session_was_lost_is_sent_again_unless_it_arrived(
    monkeypatch,
):
    async def scenario(bench):
        bench.dispatch.release()
        await bench.write("a", "b", "c")
        bench.session.take(2)
        await settled()
        (first, *_) = bench.history.messages(BOB)
        bench.history.replace(replace(first, delivery=Delivery.DELIVERED))
        bench.dispatch.lost()
        monkeypatch.setattr("securecall.dispatch.DOUBTED_SECONDS", -1.0)  # a long way back
        bench.dispatch.hold()
        bench.session.waiting.clear()
        await bench.write("d")
        bench.dispatch.release()
        assert bench.sent == ["a", "b", "c", "b", "c", "d"]
        bench.session.take(3)
        await settled()
        assert bench.unsent == []
        assert bench.history.parcels() == ()

    run(scenario)


def test_what_was_taken_and_not_noted_yet_when_the_session_was_lost_is_sent_again():
    async def scenario(bench):
        bench.dispatch.release()
        await bench.write("a", "b")
        bench.session.take(2)
        (_, second) = bench.history.messages(BOB)
        bench.history.replace(replace(second, delivery=Delivery.SENT))
        bench.dispatch.lost()
        bench.dispatch.hold()
        bench.dispatch.release()
        assert bench.sent == ["a", "b", "a", "b"]
        bench.session.take(2)
        await settled()
        assert bench.unsent == []

    run(scenario)


def test_what_is_sent_again_and_lost_with_the_next_session_too_is_sent_once_more(monkeypatch):
    async def scenario(bench):
        bench.dispatch.release()
        await bench.write("a", "b")
        bench.session.take(2)
        await settled()
        for _ in range(2):
            bench.dispatch.lost()
            bench.dispatch.hold()
            bench.session.waiting.clear()
            bench.dispatch.release()
            monkeypatch.setattr("securecall.dispatch.DOUBTED_SECONDS", -1.0)
        assert bench.sent == ["a", "b"] * 3
        bench.session.take(2)
        bench.dispatch.lost()
        bench.dispatch.release()
        assert bench.sent == ["a", "b"] * 3

    run(scenario)


def test_nothing_newer_goes_before_what_a_full_session_did_not_take_again():
    async def scenario(bench):
        bench.dispatch.release()
        await bench.write("a", "b")
        bench.session.take(2)
        await settled()
        bench.dispatch.lost()
        bench.dispatch.hold()
        await bench.write("c")
        bench.session.room = 1
        bench.dispatch.release()
        assert bench.sent == ["a", "b", "a"]
        bench.session.take(1)
        bench.session.take(1)
        assert bench.sent == ["a", "b", "a", "b", "c"]
        bench.session.take(1)
        await settled()
        assert bench.unsent == []

    run(scenario)


@pytest.mark.parametrize(("members", "sent"), [(None, ["a", "b"]), ((ALICE, BOB), ["b"])])
def test_a_copy_in_our_own_archive_is_no_sign_that_a_message_went_on_but_one_from_a_room_is(
    members, sent
):
    async def scenario(bench):
        bench.rooms.belong = members
        await bench.write("a", "b")
        (first, _) = bench.history.messages(BOB)
        bench.history.replace(replace(first, delivery=Delivery.SENT, archive_id="7"))
        bench.dispatch.release()
        assert bench.sent == sent
        bench.session.take(2)
        await settled()
        assert bench.unsent == []
        assert bench.history.parcels() == ()

    run(scenario)


def test_what_was_taken_long_before_is_not_sent_again(monkeypatch):
    async def scenario(bench):
        bench.dispatch.release()
        await bench.write("a", "b")
        bench.session.take(1)
        bench.session.take(1)
        await settled()
        monkeypatch.setattr("securecall.dispatch.DOUBTED_SECONDS", -1.0)
        bench.dispatch.lost()
        bench.dispatch.hold()
        bench.dispatch.release()
        assert bench.sent == ["a", "b"]

    run(scenario)


def test_what_was_sent_when_the_session_became_ready_is_not_sent_by_its_writer_too():
    async def scenario(bench):
        writing = asyncio.ensure_future(bench.write("a"))
        committed = asyncio.ensure_future(bench.messaging.changed())
        for _ in range(100):
            await asyncio.sleep(0)
            if bench.history.parcels():
                break
        bench.dispatch.release()  # kept, and its writer was not told yet
        await writing
        committed.cancel()
        assert bench.sent == ["a"]

    run(scenario)


def test_in_a_room_others_are_told_the_rooms_name_of_what_is_meant_and_its_writers():
    async def main():
        world = World()
        alice, bob = await world.person(ALICE.short), await world.person(BOB.short)
        bench = Bench(omemo=alice.omemo, devices=TRUSTED, members=(BOB,))
        room = parse_address("xmpp:ward@rooms.example")
        bench.dispatch.release()
        arrival = replace(came("m1"), conversation=room, room=True)
        (unnamed,) = bench.messaging._ledger.enter(arrival)
        ward = Conversation(room, bench.messaging, bench.history)
        with pytest.raises(UsageError, match="no name"):
            _ = await ward.react(unnamed.message, "👍")
        _ = bench.messaging._ledger.enter(replace(arrival, archive_id="77"))
        question = bench.history.messages(room)[0]
        reacted = await ward.react(question, "👍")
        assert dict(reacted.reactions) == {ALICE: frozenset("👍")}
        answer = await ward.send("yes", reply_to=question)
        assert (answer.reply_by, answer.reply_to) == (BOB, "m1")
        thumb, yes = [said_to(bob, sent) for sent in bench.session.sent]
        assert (thumb.to, thumb.of) == ("77", Named(BOB, "m1"))
        assert (yes.reply_to, yes.answers, yes.body) == ("77", Named(BOB, "m1"), "yes")
        _ = await Conversation(BOB, bench.messaging, bench.history).send("hello")

    asyncio.run(main())


def test_a_correction_disappears_with_what_it_corrects_though_that_is_gone_already():
    async def main():
        world = World()
        alice, bob = await world.person(ALICE.short), await world.person(BOB.short)
        bench = Bench(omemo=alice.omemo, devices=TRUSTED)
        bench.dispatch.release()
        to_bob = Conversation(BOB, bench.messaging, bench.history)
        ends = int(time.time()) + 3600
        written = await to_bob.send("the PIN is 1234", expires=ends)
        _ = await to_bob.correct(written, "the PIN is 4321")
        _, correction = [said_to(bob, sent, now=ends) for sent in bench.session.sent]
        assert (correction.corrects, correction.expires) == (written.id, ends)
        theirs = MemoryHistory()  # where the clock is fast, and the first one was deleted
        arrival = replace(came("c"), conversation=ALICE, sender=ALICE, said=correction)
        _ = Ledger(theirs, BOB).enter(arrival)
        assert theirs.messages(ALICE)[0].expires == ends

    asyncio.run(main())


class FakeOmemo:
    """Finds these devices, none of which is trusted."""

    def __init__(self, *found, changed=()):
        self.found = found
        self.changes = changed

    async def prepare(self, jids):
        raise UntrustedDevices("none is trusted")

    def devices(self, jid):
        return tuple(device for device in self.found if device.jid == jid)

    listed = devices

    def changed(self, jid):
        return tuple(device for device in self.changes if device.jid == jid)


@pytest.fixture
def devices(tmp_path):
    contacts = contacts_at(tmp_path / "alice")
    yield Devices(contacts)
    contacts.store.close()


def device(address, number):
    return Device(namespace=NS, jid=address.short, id=number, identity_key=identity_key(number))


def test_a_device_that_was_listed_can_be_decided_about_before_anything_was_written(devices):
    async def scenario(bench):
        (shown,) = await bench.messaging.recipients(BOB)
        assert shown.trust is DeviceTrust.UNDECIDED
        devices.verify_device(BOB, shown.fingerprint)
        (shown,) = await bench.messaging.recipients(BOB)
        assert shown.trust is DeviceTrust.VERIFIED
        # before the first message it is nothing to be told about: that would trust it
        assert bench.new_devices == []

    run(scenario, omemo=FakeOmemo(device(BOB, 1)), devices=devices)


def test_a_device_that_a_listing_meets_first_is_told_about_as_any_other(devices):
    async def scenario(bench):
        devices.wrote_to(BOB)
        _ = await bench.messaging.recipients(BOB)
        _ = await bench.messaging.recipients(BOB)
        assert [(d.address, d.id) for d in bench.new_devices] == [(BOB, 1), (ALICE, 2)]

    run(scenario, omemo=FakeOmemo(device(BOB, 1), device(ALICE, 2)), devices=devices)


def test_a_device_with_another_key_is_listed_by_both_so_that_one_can_be_chosen(devices):
    async def scenario(bench):
        old, new = await bench.messaging.recipients(BOB)
        assert (old.id, new.id) == (1, 1)
        devices.trust_device(BOB, new.identity_key)
        assert devices.is_chosen(changed)

    changed = replace(device(BOB, 2), id=1)
    run(scenario, omemo=FakeOmemo(device(BOB, 1), changed=(changed,)), devices=devices)


def test_receipts_that_a_crash_left_unsent_are_sent_once(monkeypatch):
    """It came between the message and its receipt; another receipt was in the outbox already."""

    async def main():
        world, trusted = World(), SimpleNamespace(trust_of=lambda _: DeviceTrust.TRUSTED)
        alice, bob = [await world.person(who.short) for who in (ALICE, BOB)]
        (opening,) = await bob.write(b"", ALICE.short)
        alice.omemo.open_sealed(opening, BOB.short)
        died = Bench(omemo=alice.omemo, devices=trusted)
        entered = Ledger(died.history, ALICE)
        for name in ("m1", "m2"):
            entered.enter(came(name))
        entered.enter(came("asks for none", wants_receipt=False))
        bench = Bench(omemo=alice.omemo, devices=trusted, history=died.history)
        bench.dispatch.release()
        assert bench.messaging.creditors() == (BOB,)
        acknowledging = [bench.messaging.acknowledge(BOB) for _ in range(2)]
        await asyncio.gather(*acknowledging)  # a message that comes just now wants the same
        assert [said_to(bob, sent).id for sent in bench.session.sent] == ["m1", "m2"]
        bench.session.take(2)
        await settled()
        later = Bench(omemo=alice.omemo, devices=trusted, history=died.history)
        later.dispatch.release()
        assert later.messaging.creditors() == ()
        await later.messaging.acknowledge(BOB)
        assert later.session.sent == []

    asyncio.run(main())


def test_receipts_stay_owed_while_the_disk_refuses_and_go_to_nobody_who_is_not_trusted():
    async def main():
        world, trust = World(), {"of all": DeviceTrust.TRUSTED}
        devices = SimpleNamespace(trust_of=lambda _: trust["of all"])
        alice, bob = [await world.person(who.short) for who in (ALICE, BOB)]
        (opening,) = await bob.write(b"", ALICE.short)
        alice.omemo.open_sealed(opening, BOB.short)
        bench = Bench(omemo=alice.omemo, devices=devices)
        Ledger(bench.history, ALICE).enter(came("m1"))
        bench.dispatch.release()
        bench.history.fail_next = LocalError("full")
        with pytest.raises(LocalError):
            await bench.messaging.acknowledge(BOB)
        assert (bench.session.sent, bench.messaging.creditors()) == ([], (BOB,))
        trust["of all"] = DeviceTrust.UNDECIDED
        await bench.messaging.acknowledge(BOB)
        assert (bench.session.sent, bench.messaging.creditors()) == ([], ())

    asyncio.run(main())


def came(name, *, wants_receipt=True):
    return Arrival(
        conversation=BOB,
        sender=BOB,
        id=name,
        sent=1.0,
        protection=Protection.OMEMO,
        device=7,
        trust=DeviceTrust.TRUSTED,
        said=Text(body=name, wants_receipt=wants_receipt),
    )


@pytest.mark.parametrize("namespaces", [BOTH, ONLY_LEGACY], ids=["both", "legacy"])
def test_what_waits_is_not_for_a_device_that_was_distrusted_meanwhile(namespaces):
    async def main():
        world, distrusted = World(), set()

        def trust_of(device):
            return DeviceTrust.DISTRUSTED if device.id in distrusted else DeviceTrust.TRUSTED

        devices = SimpleNamespace(
            trust_of=trust_of, notice=lambda *_: Sighting.KNOWN, wrote_to=lambda _: None
        )
        desk = await world.person(ALICE.short, namespaces=namespaces)
        alice = await world.person(ALICE.short, namespaces=namespaces)
        phone, tablet = [await world.person(BOB.short, namespaces=namespaces) for _ in range(2)]
        bench = Bench(omemo=alice.omemo, devices=devices)
        for text in "ab":  # there is no connection yet
            _ = await bench.messaging.write(BOB, Text(body=text), plain=False)
        assert rids(bench.history.parcels()[0].stanza) == {phone.id, tablet.id, desk.id}
        distrusted.add(tablet.id)
        bench.dispatch.release()
        assert [rids(sent) for sent in bench.session.sent] == [{phone.id, desk.id}] * 2
        for sent in bench.session.sent:
            (encrypted, *_) = (e for tag in ENCRYPTED for e in fromstring(sent).findall(tag))
            sealed = parse_encrypted(encrypted)
            assert phone.omemo.open_sealed(sealed, ALICE.short).plaintext is not None
            with pytest.raises(NotForUs):
                tablet.omemo.open_sealed(sealed, ALICE.short)
        bench.dispatch.hold()
        bench.session.waiting.clear()
        distrusted.add(phone.id)
        bench.dispatch.release()
        assert len(bench.session.sent) == 2  # nobody of the other side is left
        await settled()
        assert bench.history.parcels() == ()
        found = [message.delivery for message in bench.history.messages(BOB)]
        assert found == [Delivery.FAILED] * 2
        assert len(bench.news) == 2

    asyncio.run(main())


TRUSTED = SimpleNamespace(
    trust_of=lambda _: DeviceTrust.TRUSTED,
    notice=lambda *_: Sighting.KNOWN,
    wrote_to=lambda _: None,
)


def sealed_in(stanza):
    stanza = stanza if isinstance(stanza, bytes) else tostring(stanza)
    (encrypted,) = fromstring(stanza).findall(ENCRYPTED[0])
    return parse_encrypted(encrypted)


def test_an_answer_to_a_long_monologue_goes_behind_the_messages_that_wait(monkeypatch):
    """Ahead of more messages than a ratchet skips, nobody could open it; then they are lost."""
    skipped, before = 5, 7
    monkeypatch.setattr("securecall.keys.omemo_session.MAX_SKIPPED", skipped)

    async def main():
        world = World()
        alice, bob = [await world.person(who.short) for who in (ALICE, BOB)]
        for reader, writer in ((bob, alice), (alice, bob)):
            (sealed, *_) = await writer.write(b"hello", reader.jid)
            reader.omemo.open_sealed(sealed, writer.jid)
        bench = Bench(omemo=alice.omemo, devices=TRUSTED)
        directory = OmemoDirectory(
            None, carry=lambda to, stanza: bench.messaging.carry(to.address, stanza)
        )
        monkeypatch.setattr(
            ServerDirectory, "send", lambda _, sealed, jid: directory.send(sealed, jid)
        )
        for number in range(before):  # there is no connection yet
            _ = await bench.messaging.write(BOB, Text(body=str(number)), plain=False)
        for _ in range(HEARTBEAT):
            (sealed, *_) = await bob.write(b"and", ALICE.short)
            alice.omemo.open_sealed(sealed, BOB.short)
        await alice.omemo.maintain()
        assert bench.session.sent == []
        bench.dispatch.release()
        *words, answer = map(sealed_in, bench.session.sent)
        assert ([bool(each.payload) for each in words], answer.payload) == ([True] * before, b"")
        with pytest.raises(CannotOpen):  # the control: it came first
            bob.omemo.open_sealed(answer, ALICE.short)
        for each in words:
            assert bob.omemo.open_sealed(each, ALICE.short).plaintext is not None
        assert bob.omemo.open_sealed(answer, ALICE.short).plaintext is None
        bench.session.take(before + 1)
        await settled()
        assert bench.history.parcels() == ()

    asyncio.run(main())


def test_a_mark_goes_behind_the_messages_that_wait_and_that_somebody_writes_goes_nowhere(
    monkeypatch,
):
    monkeypatch.setattr("securecall.dispatch.MOST_IN_FLIGHT", 2)

    async def main():
        world = World()
        alice, bob = [await world.person(who.short) for who in (ALICE, BOB)]
        bench = Bench(omemo=alice.omemo, devices=TRUSTED)
        for text in "abc":
            _ = await bench.messaging.write(BOB, Text(body=text), plain=False)
        bench.dispatch.release()

        async def tell():
            await bench.messaging.tell(BOB, Displayed(id="m1"))
            await bench.messaging.tell(BOB, Typing(activity=Activity.COMPOSING))

        await tell()
        assert len(bench.session.sent) == 2
        while bench.session.waiting:
            bench.session.take()
            await settled()
        assert [said_to(bob, sent) for sent in bench.session.sent] == [
            *(Text(body=text) for text in "abc"), Displayed(id="m1")
        ]  # fmt: skip
        assert bench.history.parcels() == ()
        await tell()  # the control: nothing waits any more
        assert [said_to(bob, sent) for sent in bench.session.sent[4:]] == [
            Displayed(id="m1"), Typing(activity=Activity.COMPOSING)
        ]  # fmt: skip

    asyncio.run(main())


def test_what_waits_for_devices_of_our_own_alone_goes_out():
    async def main():
        world = World()
        desk, alice = [await world.person(ALICE.short) for _ in range(2)]
        bench = Bench(omemo=alice.omemo, devices=TRUSTED)
        _ = await bench.messaging.write(ALICE, Text(body="note"), plain=False)
        bench.dispatch.release()
        (sent,) = bench.session.sent
        assert rids(sent) == {desk.id}

    asyncio.run(main())


def said_to(person, sent, *, now=0):
    opened = person.omemo.open_sealed(sealed_in(sent), ALICE.short)
    (said,) = parse_said(sealed_payload(parse_envelope(opened.plaintext).content), now=now).said
    return said


def rids(stanza):
    return {int(key.get("rid")) for key in fromstring(stanza).iter() if key.get("rid")}
