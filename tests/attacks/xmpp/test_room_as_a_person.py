"""G2: the service of a room publishes OMEMO devices under the room's own address.

It waits until nobody else can be written to: before the members are known, after they are gone,
or after we left. The control is a conversation that takes an address without members for a person.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace

import pytest

from securecall.address import Address, parse_address
from securecall.chat.message import Text
from securecall.errors import NoDevices, UntrustedDevices
from securecall.messaging import Messaging
from securecall.rooms import Rooms
from tests.fake_room import FakeRoom
from tests.fake_session import FakeSession
from tests.forge_devices import BOB, contacts_at
from tests.forge_messaging import OurRooms, composed
from tests.stanzas import OWN

pytestmark = pytest.mark.attack

ROOM = parse_address("xmpp:ward@chat.a.example")


class Omemo:
    """Notes for whom keys would be fetched; there it ends."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def prepare(self, jids):
        self.asked += jids
        raise UntrustedDevices("the test ends here")

    def devices(self, jid):
        return ()

    listed = changed = devices


def messaging(members, omemo: Omemo) -> Messaging:
    nothing = SimpleNamespace(first_use=lambda *_: (), has_written_to=lambda _: False)
    own, rooms = parse_address(f"xmpp:{OWN}"), OurRooms()
    rooms.members = members
    return composed(own, None, None, omemo, nothing, rooms).messaging


def fetched(members) -> list[str]:
    """Whose devices a message to the room would go to."""
    omemo = Omemo()
    courier = messaging(members, omemo)
    for work in (courier.write(ROOM, Text(body="x"), plain=False), courier.recipients(ROOM)):
        with contextlib.suppress(NoDevices, UntrustedDevices):
            asyncio.run(work)
    return omemo.asked


def test_control_an_address_without_members_is_a_person():
    assert set(fetched(lambda _: None)) == {ROOM.short}


@pytest.mark.parametrize("members", [(), (parse_address(f"xmpp:{OWN}"),)])
def test_a_room_with_nobody_known_in_it_gets_nothing(members: tuple[Address, ...]):
    assert ROOM.short not in fetched(lambda _: members)


def test_members_get_what_is_written():
    assert set(fetched(lambda _: (BOB,))) == {BOB.short}


@pytest.mark.parametrize("guarded", [True, False])
def test_a_room_of_another_account_of_ours_is_nobody(tmp_path, monkeypatch, guarded):
    """That account is not signed in; the conversation is there, and our user writes in it."""
    if not guarded:  # as it was
        monkeypatch.setattr(Rooms, "_kept_of_all", lambda self: {})
    contacts = contacts_at(tmp_path)
    session = FakeSession()
    rooms = Rooms(session, contacts, tell=lambda _: None)
    _ = FakeRoom(ROOM.short, session, rooms.on_presence)
    asyncio.run(rooms.create(ROOM))
    other = Rooms(FakeSession("alice@private.example"), contacts, tell=lambda _: None)
    assert (ROOM.short in fetched(other.members)) is not guarded
    # and its own account still is the one to use
    assert (rooms.all(), other.all()) == ((ROOM,), ())
    contacts.store.close()


def test_a_room_that_we_left_or_were_let_down_by_stays_a_room(tmp_path):
    contacts = contacts_at(tmp_path)
    session = FakeSession()
    rooms = Rooms(session, contacts, tell=lambda _: None)
    service = FakeRoom(ROOM.short, session, rooms.on_presence)
    asyncio.run(rooms.create(ROOM))
    rooms.on_message(service.notice(104, 173))
    assert rooms.all() == ()
    assert fetched(rooms.members) == []
    again = Rooms(FakeSession(), contacts, tell=lambda _: None)
    assert fetched(again.members) == []
    contacts.store.close()
