"""Anybody who can make us wait for ever for something, or stop us with one stanza.

Each control is what stood there before, or stands where the protection is taken away: it stalls.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from xml.etree.ElementTree import Element

import pytest

from securecall.address import parse_address
from securecall.chat.committer import Committer
from securecall.chat.ledger import Ledger
from securecall.chat_account import ChatAccount
from securecall.devices import Devices
from securecall.intake import Intake
from securecall.xmpp.archive import Place
from securecall.xmpp.management import Management
from securecall.xmpp.session import Session
from securecall.xmpp.unwrap import unwrap
from tests.around import AROUND, OWN, message
from tests.fake_room import FakeRoom
from tests.fake_session import FakeSession
from tests.forge_devices import BOB, contacts_at
from tests.memory_history import MemoryHistory
from tests.stanzas import OWN as ALICE
from tests.stanzas import held, stanza
from tests.xmpp_server import SM, Peer, quietly, serving

pytestmark = pytest.mark.attack

FEW = 10
PAGES = 200  # stanzas


async def turns(count: int = 200) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("counts_all", [False, True])
def test_one_message_that_waits_for_an_archive_does_not_stop_the_archive(
    tmp_path, monkeypatch, counts_all
):
    """A stranger writes just when we come back to more messages than may be undone."""
    monkeypatch.setattr("securecall.xmpp.session.MOST_UNDONE", FEW)
    if counts_all:  # as it was
        monkeypatch.setattr(Management, "undone", property(lambda self: len(self._undone)))
    read: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.login()
        await peer.bind()
        peer.send("<message id='waits'><body>x</body></message>")
        for number in range(PAGES):
            peer.send(f"<message id='{number}'><body>{'x' * 10_000}</body></message>")
        await quietly(peer)

    def take(found: Element, done) -> None:
        read.append(found.get("id", ""))
        if found.get("id") != "waits":
            done()

    async def work() -> None:
        async with asyncio.timeout(20), serving(script, tmp_path) as server:
            session = await Session.open(
                server.login, prepare=lambda session: session.on_message(take)
            )
            for _ in range(100 if counts_all else 10_000):
                await asyncio.sleep(0.001)
                if len(read) == PAGES + 1:
                    break
            await session.close()

    asyncio.run(work())
    assert (len(read) == PAGES + 1) is not counts_all


def put(made: Intake, stanza: Element, told, **where) -> None:
    made.put(stanza, held(stanza, told), **where)


def intake(history: MemoryHistory, **changes) -> Intake:
    parts = {
        "read": lambda found, now: (),
        "surroundings": lambda: AROUND,
        "plaintext": lambda _: False,
        "handle": lambda _: None,
        "disk_failed": lambda e: None,
    }
    return Intake(
        history,
        Committer(history, undone=lambda: None),
        Ledger(history, OWN.address),
        **{**parts, **changes},
    )


@pytest.mark.parametrize("bounded", [True, False])
def test_few_messages_that_grow_large_here_do_not_wait_for_an_archive_either(monkeypatch, bounded):
    """A hundred kilobytes of empty elements take ten megabytes: five gigabytes were let wait."""
    monkeypatch.setattr("securecall.intake.MOST_HELD_BYTES", 10_000 * FEW if bounded else 10**9)
    done: list[int] = []

    async def work() -> None:
        made = intake(MemoryHistory())
        running = asyncio.create_task(made.run())
        for _ in range(2):
            made.hold()
            for number in range(FEW):
                assert bool(done) is (bounded and len(done) >= FEW)
                put(made, message("<a b=''/>" * 50), lambda n=number: done.append(n))
            await turns()
        _ = running.cancel()

    asyncio.run(work())
    assert len(done) == (2 * FEW if bounded else 0)


@pytest.mark.parametrize("bounded", [True, False])
def test_nothing_more_is_read_while_what_waits_is_large(tmp_path, monkeypatch, bounded):
    limit = 1_000_000 if bounded else 10**9
    monkeypatch.setattr("securecall.xmpp.session.MOST_UNDONE_BYTES", limit)
    dones: list[Callable[[], None]] = []

    async def script(peer: Peer) -> None:
        await peer.login()
        await peer.bind()
        for number in range(40):
            peer.send(f"<message id='{number}'>{'<a/>' * 1000}</message>")
        await quietly(peer)

    async def work() -> None:
        enough = asyncio.Event()

        def take(_: Element, done: Callable[[], None]) -> None:
            dones.append(done)
            if len(dones) == (5 if bounded else 40):
                enough.set()

        async with asyncio.timeout(20), serving(script, tmp_path) as server:
            session = await Session.open(
                server.login, prepare=lambda session: session.on_message(take)
            )
            await enough.wait()
            for _ in range(200):
                await asyncio.sleep(0)
            assert len(dones) < 20 or not bounded
            done = 0
            while done < 40:  # and it goes on when some were taken in
                if done < len(dones):
                    dones[done]()
                    done += 1
                await asyncio.sleep(0)
            await session.close()

    asyncio.run(work())


@pytest.mark.parametrize("room", ["", "ward@chat.a.example"])
@pytest.mark.parametrize("bounded", [True, False])
def test_a_flood_does_not_wait_for_the_archive_that_waits_for_it(monkeypatch, bounded, room):
    monkeypatch.setattr("securecall.intake.MOST_HELD", FEW if bounded else 10**9)
    done: list[int] = []

    async def work() -> None:
        made = intake(MemoryHistory())
        running = asyncio.create_task(made.run())
        for number in range(FEW):
            put(made, message("<body>x</body>"), lambda n=number: done.append(n), room=room)
        await turns()
        _ = running.cancel()

    asyncio.run(work())
    assert len(done) == (FEW if bounded else 0)


@pytest.mark.parametrize("guarded", [True, False])
def test_a_wrapping_that_nobody_foresaw_does_not_stop_those_after_it(monkeypatch, guarded):
    def poisoned(stanza, around):
        if stanza.get("id") == "poison":
            raise ValueError("nobody foresaw this")
        return unwrap(stanza, around)

    monkeypatch.setattr("securecall.intake.unwrap", poisoned)
    if not guarded:  # as it was
        monkeypatch.setattr(Intake, "_unwrapped", lambda self, *args: poisoned(*args))
    done: list[str] = []

    async def work() -> None:
        made = intake(MemoryHistory())
        running = asyncio.create_task(made.run())
        made.release(OWN.bare, whole=True)
        for name in ("before", "poison", "after"):
            put(made, message("<body>x</body>", id=name), lambda n=name: done.append(n))
        await turns()
        _ = running.cancel()
        _ = await asyncio.gather(running, return_exceptions=True)
        assert made.discarded["failed"] == int(guarded)

    asyncio.run(work())
    assert done == (["before", "poison", "after"] if guarded else [])


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("guarded", [True, False])
def test_a_message_that_nobody_foresaw_does_not_stop_those_after_it(monkeypatch, guarded, live):
    """Nor what came with it, in one transaction; and the place in the archive passes over it."""
    if not guarded:  # as it was
        monkeypatch.setattr(Intake, "_enter_alone", Intake._enter)
    done: list[str] = []

    def read(found, now):
        if found.id == "poison":
            raise ValueError("nobody foresaw this")
        history.set_value(f"read {found.id}", b"1")
        return ()

    history = MemoryHistory()

    async def work() -> None:
        made = intake(history, read=read)
        names = ("before", "poison", "after")
        if live:
            running = asyncio.create_task(made.run())
            made.release(OWN.bare, whole=True)
            for name in names:
                put(made, message("<body>x</body>", id=name), lambda n=name: done.append(n))
            await turns()
            _ = running.cancel()
            _ = await asyncio.gather(running, return_exceptions=True)
        else:
            found = [unwrap(message("<body>x</body>", id=name), AROUND) for name in names]
            with contextlib.suppress(ValueError):
                await made.keep(found, Place("read so far", 1.0), OWN.bare)
                done.extend(names)
            assert (made.place(OWN.bare) is not None) is guarded

    asyncio.run(work())
    assert done == (["before", "poison", "after"] if guarded else [])
    assert (history.value("read before"), history.value("read after")) == (
        (b"1", b"1") if guarded else (None, None)
    )


def test_a_stanza_that_breaks_its_handler_is_done_with(tmp_path):
    """Otherwise nothing after it would ever count, and reading would stop."""
    taken = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.login()
        await peer.bind()
        peer.send("<message id='poison'><body>x</body></message>")
        peer.send(f"<r xmlns='{SM}'/>")
        while True:
            answer = await peer.next()
            if answer.tag == f"{{{SM}}}a" and answer.get("h") == "1":
                taken.set()

    def take(found: Element, done) -> None:
        raise ValueError("nobody foresaw this")

    async def work() -> None:
        async with asyncio.timeout(20), serving(script, tmp_path) as server:
            session = await Session.open(
                server.login, prepare=lambda session: session.on_message(take)
            )
            await taken.wait()
            await session.close()

    asyncio.run(work())


@pytest.mark.parametrize("parks", [False, True])
@pytest.mark.parametrize("refusal", ["before", "while"])
def test_a_room_that_does_not_let_us_in_cannot_have_us_wait_for_it(
    tmp_path, monkeypatch, parks, refusal
):
    """Its service refuses us, and says something in it all the same: that is never done with."""
    if parks:  # as it was
        monkeypatch.setattr("securecall.rooms.Rooms.entered", lambda self, bare: True)
        monkeypatch.setattr(Intake, "outside", lambda self, bare: None)
    ward = parse_address("xmpp:ward@chat.a.example")
    contacts, history, done = contacts_at(tmp_path), MemoryHistory(), []

    async def work() -> None:
        session = FakeSession()
        account = ChatAccount(
            SimpleNamespace(address=parse_address(f"xmpp:{ALICE}")),
            session,
            SimpleNamespace(),
            SimpleNamespace(),
            history=history,
            committer=Committer(history, undone=lambda: None),
            contacts=contacts,
            devices=Devices(contacts),
            plaintext=lambda _: False,
            folder=tmp_path,
            tell=lambda _: None,
        )
        service = FakeRoom(ward.short, session, account.rooms.on_presence)
        running = asyncio.create_task(account._intake.run())
        account._intake.release(session.bare, whole=True)
        _ = await account.rooms.create(ward, members=[BOB])
        await turns()
        said = stanza(
            f"<message type='groupchat' from='{ward.short}/x' to='{ALICE}/here' id='1'>"
            "<body>you wait</body></message>"
        )
        account._dropped()
        account._intake.release(session.bare, whole=True)
        if refusal == "while":
            enter = service._enter

            def late(nick):
                account._arrived(said, held(said, lambda: done.append(True)))
                service.taken |= {nick}
                enter(nick)

            service._enter = late
        else:
            service.config["whois"] = "moderators"
        account.rooms.lost()
        await account.rooms.fresh()
        if refusal == "before":
            account._arrived(said, held(said, lambda: done.append(True)))
        await turns()
        _ = running.cancel()
        _ = await asyncio.gather(running, return_exceptions=True)

    asyncio.run(work())
    contacts.store.close()
    assert bool(done) is not parks
