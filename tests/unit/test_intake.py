"""What comes in is kept in order; an archive is read again from a little before what came live."""

from __future__ import annotations

import asyncio
from xml.etree.ElementTree import fromstring

import pytest

from securecall.address import parse_address
from securecall.chat.committer import Committer
from securecall.chat.ledger import Ledger
from securecall.errors import LocalError
from securecall.intake import AGAIN_SECONDS, MOST_AT_ONCE, Intake
from securecall.xmpp.archive import Place
from securecall.xmpp.jid import parse_jid
from securecall.xmpp.management import Done
from securecall.xmpp.stamp import build_stamp
from securecall.xmpp.unwrap import unwrap
from securecall.xmpp.unwrapped import Surroundings
from securecall.xmpp.xml import weight
from tests.memory_history import MemoryHistory
from tests.stanzas import held

ALICE = "alice@clinic.example"
NOON = 1_764_072_000.0


class Bench:
    def __init__(self):
        self.history = MemoryHistory()
        self.now = NOON
        self.handled = []
        self.done = []
        self.failures = []
        self.intake = Intake(
            self.history,
            Committer(self.history, undone=lambda: None),
            Ledger(self.history, parse_address(f"xmpp:{ALICE}")),
            read=lambda found, now: (),
            surroundings=self.surroundings,
            plaintext=lambda _: False,
            handle=self.handled.append,
            disk_failed=self.failures.append,
        )

    def surroundings(self):
        jid = parse_jid(f"{ALICE}/phone")
        return Surroundings(own=jid, now=self.now, names_messages={parse_jid(ALICE)})

    def put(self, stanza, told, **where):
        self.intake.put(stanza, held(stanza, told), **where)

    async def live(self, name, *, at, sent=0.0):
        self.now = at
        self.put(live_message(name, sent), lambda: self.done.append(name))
        await until(lambda: name in self.done)

    @property
    def place(self):
        return self.intake.place(ALICE)


def live_message(name, sent=0.0):
    delay = f"<delay xmlns='urn:xmpp:delay' from='clinic.example' stamp='{build_stamp(sent)}'/>"
    return fromstring(
        f"<message xmlns='jabber:client' from='bob@clinic.example/x' to='{ALICE}' id='{name}'>"
        f"<stanza-id xmlns='urn:xmpp:sid:0' by='{ALICE}' id='{name}'/><body>x</body>"
        f"{delay if sent else ''}</message>"
    )


async def until(condition):
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to be")


def run(scenario):
    async def main():
        bench = Bench()
        running = asyncio.create_task(bench.intake.run())
        bench.intake.release(ALICE, whole=True)
        await scenario(bench)
        running.cancel()

    asyncio.run(main())


@pytest.mark.parametrize("archived", [False, True])
def test_messages_that_cost_much_are_not_taken_many_at_once(monkeypatch, archived):
    """Whoever writes them could else stop the sound of a call for most of a second."""

    async def main():
        clock, cost, sizes = [0.0], [0.012], []

        def read(found, now):
            clock[0] += cost[0]
            return ()

        monkeypatch.setattr("securecall.intake.loop_now", lambda: clock[0])
        bench = Bench()
        bench.intake._read = read
        bench.intake._handle = lambda taken: sizes.append(taken.messages)
        running = asyncio.create_task(bench.intake.run())
        bench.intake.release(ALICE, whole=True)

        async def some(count):
            stanza = fromstring(
                f"<message xmlns='jabber:client' from='bob@clinic.example/x' to='{ALICE}'/>"
            )
            if archived:
                await bench.intake.keep([unwrap(stanza, bench.surroundings())] * count, None, ALICE)
                return
            for _ in range(count):
                bench.put(stanza, lambda: bench.done.append(""))
            await until(lambda: len(bench.done) == count)
            bench.done.clear()

        await some(40)
        assert sizes[:3] == [8, 2, 4]
        assert max(sizes[1:]) == 4
        sizes.clear()
        cost[0] = 0.0001
        await some(400)
        assert max(sizes) == MOST_AT_ONCE
        running.cancel()

    asyncio.run(main())


def test_what_came_live_is_passed_in_the_archive_only_after_a_while():
    async def scenario(bench):
        await bench.live("a", at=NOON)
        assert bench.handled[-1].messages == 1
        assert bench.place == Place("a", NOON)  # better than none
        await bench.live("b", at=NOON + 4)
        await bench.live("c", at=NOON + 8)
        assert bench.place.id == "a"  # what the server held back may be among them
        await bench.live("d", at=NOON + 5 + AGAIN_SECONDS)
        assert bench.place.id == "b"
        await bench.live("e", at=NOON + 1000)
        assert bench.place.id == "d"

    run(scenario)


@pytest.mark.parametrize("limit", ["MOST_HELD", "MOST_HELD_BYTES"])
def test_so_much_that_nothing_more_would_be_read_does_not_wait_for_the_archive(monkeypatch, limit):
    few = 20
    each = weight(live_message("0"))
    monkeypatch.setattr(f"securecall.intake.{limit}", few if limit == "MOST_HELD" else few * each)

    async def scenario(bench):
        bench.intake.hold()
        first = [asyncio.create_task(bench.live("1", at=NOON)) for _ in range(few - 1)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert not any(task.done() for task in first)
        await asyncio.gather(*first, bench.live("2", at=NOON))
        assert bench.place is None  # the archive has to be read from where it was
        bench.intake.hold()
        waiting = asyncio.create_task(bench.live("x", at=NOON))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waiting.done()
        bench.intake.release(ALICE, whole=True)
        await waiting

    run(scenario)


def test_what_comes_while_a_slow_archive_is_read_waits_for_it():
    async def scenario(bench):
        bench.intake.hold()
        for number in range(2000):
            bench.put(live_message(number), lambda n=number: bench.done.append(n))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not bench.done
        bench.intake.release(ALICE, whole=True)
        await until(lambda: len(bench.done) == 2000)
        assert bench.done == sorted(bench.done)

    run(scenario)


def test_what_was_let_go_and_has_to_wait_again_waits():
    async def scenario(bench):
        bench.intake.pause()
        waiting = asyncio.create_task(bench.live("a", at=NOON))
        for _ in range(20):
            await asyncio.sleep(0)
        bench.intake.release(ALICE, whole=True)
        bench.intake.pause()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waiting.done()
        bench.intake.release(ALICE, whole=True)
        await waiting

    run(scenario)


def test_a_page_of_the_archive_is_passed_at_once():
    async def scenario(bench):
        await bench.live("a", at=NOON)
        await bench.live("b", at=NOON + 4)
        await bench.intake.keep((), Place("z", NOON + 11), ALICE)
        await bench.live("c", at=NOON + 12 + AGAIN_SECONDS)
        assert bench.place.id == "z"

    run(scenario)


def test_what_lay_on_the_server_and_comes_again_does_not_move_the_place_back():
    async def scenario(bench):
        await bench.intake.keep((), Place("z", NOON), ALICE)
        await bench.live("long ago", at=NOON + 1, sent=NOON - 3600)
        await bench.live("now", at=NOON + 2)
        await bench.live("soon", at=NOON + 3)
        assert bench.place == Place("z", NOON)

    run(scenario)


def test_what_was_kept_is_told_even_if_whoever_read_the_archive_gave_up():
    async def scenario(bench):
        reading = asyncio.create_task(bench.intake.keep((), Place("z", NOON), ALICE))
        await asyncio.sleep(0)
        reading.cancel()
        await until(lambda: bench.place is not None and bench.handled)

    run(scenario)


def test_nothing_is_done_before_the_disk_took_it(monkeypatch):
    monkeypatch.setattr("securecall.intake.RETRY_SECONDS", (0.0,))

    async def scenario(bench):
        bench.history.fail_next = LocalError("full")
        await bench.live("a", at=NOON)
        assert len(bench.failures) == 1
        assert bench.place == Place("a", NOON)

    run(scenario)


def test_what_lies_between_is_asked_for_again_where_the_archive_was_not_read_to_its_end():
    async def scenario(bench):
        await bench.intake.keep((), Place("read so far", NOON), ALICE)
        bench.intake.release(ALICE, whole=False)
        await bench.live("a", at=NOON + 1)
        await bench.live("b", at=NOON + 1000)
        assert bench.place.id == "read so far"

    run(scenario)


def test_what_is_said_in_a_room_waits_for_that_room_alone(monkeypatch):
    room, few = "ward@rooms.example", 20
    monkeypatch.setattr("securecall.intake.MOST_HELD", few)

    def said(name):
        return fromstring(
            f"<message xmlns='jabber:client' from='{room}/bob' to='{ALICE}' type='groupchat' "
            f"id='{name}'><body>x</body></message>"
        )

    async def scenario(bench):
        bench.put(said("r"), lambda: bench.done.append("r"), room=room)
        await bench.live("a", at=NOON)
        assert bench.done == ["a"]
        bench.intake.release(room, whole=True, room=True)
        await until(lambda: bench.done == ["a", "r"])
        for number in range(few):  # a room whose archive never comes holds up nothing
            bench.put(said(number), lambda: bench.done.append("s"), room="other@rooms.example")
        await until(lambda: len(bench.done) == 2 + few)

    run(scenario)


def test_how_much_waits_for_an_archive_is_what_the_session_weighed(monkeypatch):
    monkeypatch.setattr("securecall.intake.MOST_HELD_BYTES", 1000)

    async def scenario(bench):
        bench.intake.hold()
        for name, heavy in (("a", 400), ("b", 599), ("c", 1)):
            assert bench.done == []
            bench.intake.put(
                live_message(name), Done(heavy, lambda name=name: bench.done.append(name))
            )
            for _ in range(20):
                await asyncio.sleep(0)
        assert bench.done == ["a", "b", "c"]

    run(scenario)
