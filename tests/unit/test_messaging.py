"""What is written is kept, and goes out in the order it was written, whatever the session takes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from securecall.address import parse_address
from securecall.chat.committer import Committer
from securecall.chat.ledger import Ledger
from securecall.chat.message import Delivery, DeviceTrust, Text
from securecall.devices import Devices
from securecall.errors import ConnectFailed, UntrustedDevices
from securecall.keys.omemo_values import Device
from securecall.messaging import Messaging
from tests.forge_devices import NS, contacts_at, identity_key
from tests.memory_history import MemoryHistory

ALICE = parse_address("xmpp:alice@clinic.example")
BOB = parse_address("xmpp:bob@clinic.example")


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Nothing waits for company, so that a few turns of the loop show what came of it."""
    monkeypatch.setattr("securecall.messaging.PATIENCE", 0.0)


class FakeSession:
    """Holds so many stanzas until the server takes them."""

    def __init__(self, room=1000):
        self.room = room
        self.sent = []
        self.waiting = []

    def send(self, stanza, *, taken=None):
        if len(self.waiting) >= self.room:
            raise ConnectFailed("it takes nothing")
        self.sent.append(stanza)
        self.waiting.append(taken)

    def take(self, count=1):
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        for one in taken:
            one()


class Bench:
    def __init__(self, room=1000, omemo=None, devices=None):
        self.history = MemoryHistory()
        self.session = FakeSession(room)
        self.news = []
        self.new_devices = []
        self.messaging = Messaging(
            ALICE,
            self.session,
            self.history,
            omemo,
            devices,
            SimpleNamespace(),
            committer=Committer(self.history, undone=lambda: None),
            ledger=Ledger(self.history, ALICE),
            folder=None,
            members=lambda _: None,
            tell=self.news.append,
            first_used=lambda *_: None,
            new_device=self.new_devices.append,
        )

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
        bench.messaging.release()
        await bench.write("c")
        assert bench.sent == ["a", "b", "c"]
        bench.session.take(3)
        await settled()
        assert bench.unsent == []
        assert bench.history.parcels() == ()

    run(scenario)


def test_a_message_that_the_session_does_not_take_is_kept_and_no_error():
    async def scenario(bench):
        bench.messaging.release()
        bench.session.room = 0
        await bench.write("a", "b")
        bench.session.room = 1000
        await bench.write("c")  # not before those that wait
        assert bench.sent == []
        bench.messaging.hold()
        bench.messaging.release()
        assert bench.sent == ["a", "b", "c"]

    run(scenario)


def test_what_a_full_session_did_not_take_follows_when_there_is_room():
    async def scenario(bench):
        bench.messaging.release()
        await bench.write(*"abcde")
        assert bench.sent == ["a", "b"]
        bench.session.take(1)
        await settled()
        assert bench.sent == ["a", "b"]
        bench.session.take(1)
        await settled()
        assert bench.sent == ["a", "b", "c", "d"]
        bench.session.take(2)
        await bench.write("f")
        bench.session.take(2)
        await settled()
        assert bench.sent == list("abcdef")
        assert bench.unsent == []

    run(scenario, room=2)


def test_what_was_taken_just_before_the_session_was_lost_is_sent_again_unless_it_arrived(
    monkeypatch,
):
    async def scenario(bench):
        bench.messaging.release()
        await bench.write("a", "b", "c")
        bench.session.take(2)
        await settled()
        (first, *_) = bench.history.messages(BOB)
        bench.history.replace(replace(first, delivery=Delivery.DELIVERED))
        bench.messaging.lost()
        monkeypatch.setattr("securecall.messaging.DOUBTED_SECONDS", -1.0)  # a long way back
        bench.messaging.hold()
        bench.session.waiting.clear()
        await bench.write("d")
        bench.messaging.release()
        assert bench.sent == ["a", "b", "c", "b", "c", "d"]
        bench.session.take(3)
        await settled()
        assert bench.unsent == []
        assert bench.history.parcels() == ()

    run(scenario)


def test_what_was_taken_and_not_noted_yet_when_the_session_was_lost_is_sent_again():
    async def scenario(bench):
        bench.messaging.release()
        await bench.write("a", "b")
        bench.session.take(2)
        (_, second) = bench.history.messages(BOB)
        bench.history.replace(replace(second, delivery=Delivery.SENT))
        bench.messaging.lost()
        bench.messaging.hold()
        bench.messaging.release()
        assert bench.sent == ["a", "b", "a", "b"]
        bench.session.take(2)
        await settled()
        assert bench.unsent == []

    run(scenario)


def test_what_was_taken_long_before_is_not_sent_again(monkeypatch):
    async def scenario(bench):
        bench.messaging.release()
        await bench.write("a", "b")
        bench.session.take(1)
        bench.session.take(1)
        await settled()
        monkeypatch.setattr("securecall.messaging.DOUBTED_SECONDS", -1.0)
        bench.messaging.lost()
        bench.messaging.hold()
        bench.messaging.release()
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
        bench.messaging.release()  # kept, and its writer was not told yet
        await writing
        committed.cancel()
        assert bench.sent == ["a"]

    run(scenario)


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
