"""What is written is kept, and goes out in the order it was written, whatever the session takes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace

from securecall.address import parse_address
from securecall.chat.committer import Committer
from securecall.chat.ledger import Ledger
from securecall.chat.message import Delivery, Text
from securecall.errors import ConnectFailed
from securecall.messaging import Messaging
from tests.memory_history import MemoryHistory

ALICE = parse_address("xmpp:alice@clinic.example")
BOB = parse_address("xmpp:bob@clinic.example")


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
    def __init__(self, room=1000):
        self.history = MemoryHistory()
        self.session = FakeSession(room)
        self.news = []
        self.messaging = Messaging(
            ALICE,
            self.session,
            self.history,
            SimpleNamespace(),
            SimpleNamespace(),
            SimpleNamespace(),
            committer=Committer(self.history, undone=lambda: None),
            ledger=Ledger(self.history, ALICE),
            folder=None,
            members=lambda _: None,
            tell=self.news.append,
            first_used=lambda *_: None,
            new_device=lambda _: None,
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
