"""Our people and rooms, on real servers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement

import pytest

from securecall.address import Address, parse_address
from securecall.contacts import Contacts
from securecall.errors import RoomNotPrivate, XmppRefused
from securecall.people import IdentityNews, People
from securecall.rooms import RoomFailed, RoomNews, Rooms
from securecall.secret import Secret
from securecall.testing.daemons import start_ejabberd, start_prosody
from securecall.xmpp.external_services import (
    build_services_request,
    parse_services,
    stun_servers,
    turn_servers,
)
from securecall.xmpp.forms import Form
from securecall.xmpp.nodes import Nodes
from securecall.xmpp.presence import Ask, SubscriptionAsk
from securecall.xmpp.pubsub import Access, NodeOptions
from securecall.xmpp.room import MemberAdded, MemberRemoved, Removal, Removed, RoomState
from securecall.xmpp.room_grammar import (
    Invitation,
    build_configuration,
    build_configuration_request,
    build_join,
    build_leave,
)
from securecall.xmpp.roster import VERSIONING, RosterChange, build_roster_set
from securecall.xmpp.session import Session, XmppLogin
from tests.forge_devices import contacts_at
from tests.interop import xmpp_servers
from tests.interop.conftest import RELAY
from tests.interop.xmpp_servers import password_of

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module", params=[start_prosody, start_ejabberd], ids=["prosody", "ejabberd"])
def server(request, tmp_path_factory, certificates):
    """Each in turn, without the sessions that others left to be resumed: they are seen here."""
    folder = tmp_path_factory.mktemp("people")
    with xmpp_servers.running(request.param, folder, certificates, RELAY) as running:
        yield running


@dataclass
class Client:
    """Somebody with people and rooms."""

    address: Address
    contacts: Contacts
    session: Session
    people: People
    rooms: Rooms
    nodes: Nodes
    told: list[object] = field(default_factory=list)

    async def wait(self, wanted, what: str = ""):
        """The first thing that was told and fits."""
        async with asyncio.timeout(40):
            while True:
                for told in self.told:
                    if wanted(told):
                        self.told.remove(told)
                        return told
                await asyncio.sleep(0.02)

    async def until(self, wanted) -> None:
        async with asyncio.timeout(40):
            while not wanted():  # noqa: ASYNC110 - whatever the test wants to see
                await asyncio.sleep(0.02)


async def client(server, folder, name: str) -> Client:
    address = parse_address(f"xmpp:{name}@{server.domain}")
    contacts = contacts_at(folder / name)
    contacts.own_address(address)
    told: list[object] = []
    made: list[Client] = []

    def prepare(session: Session) -> None:
        nodes = Nodes(session)
        people = People(session, contacts, nodes, tell=told.append)
        rooms = Rooms(session, contacts, tell=told.append)

        def presence(stanza, done):
            if rooms.on_presence(stanza):
                done()
            else:
                people.on_presence(stanza, done)

        def message(stanza, done):
            people.on_event(stanza)
            rooms.on_message(stanza)
            done()

        session.on_presence(presence)
        session.on_message(message)
        session.on_fresh(people.fresh)
        made.append(Client(address, contacts, session, people, rooms, nodes, told))

    session = await Session.open(
        XmppLogin(
            address=address,
            password=Secret(password_of(name).encode()),
            server=("127.0.0.1", server.ports["xmpps"]),
            direct=True,
            server_name=server.domain,
            authorities=server.authorities,
        ),
        prepare=prepare,
    )
    assert made[0].session is session
    await made[0].people.fresh()
    made[0].people.announce()
    return made[0]


def play(server, folder, test, *names: str) -> None:
    async def main():
        clients = []
        try:
            for name in names:
                clients.append(await client(server, folder, name))
            await test(*clients)
        finally:
            for one in clients:
                await one.session.close()
                one.contacts.store.close()

    asyncio.run(main())


async def acquainted(one: Client, two: Client) -> None:
    """Both see each other, whatever was before."""
    await one.people.add(two.address, name="two")
    item = one.people.person(two.address)
    if item is None or item.item.subscription.value not in ("both", "to"):
        await two.wait(lambda t: isinstance(t, SubscriptionAsk) and t.ask is Ask.SUBSCRIBE)
        await two.people.accept(one.address)
        await one.wait(lambda t: isinstance(t, SubscriptionAsk) and t.ask is Ask.SUBSCRIBE)
        await one.people.accept(two.address)
    await one.until(lambda: one.people.presence(two.address) is not None)
    await two.until(lambda: two.people.presence(one.address) is not None)


def test_people_find_see_and_leave_each_other(server, tmp_path):
    async def main(alice: Client, bob: Client) -> None:
        await acquainted(alice, bob)
        alice.people.announce(status="rounds")
        await bob.until(lambda: (p := bob.people.presence(alice.address)) and p.status == "rounds")
        # each asked the other's client what it can do, and was answered
        await bob.until(lambda: bob.people.reachability(alice.address).identity)
        await bob.people.block(alice.address)
        await bob.until(lambda: bob.people.person(alice.address).blocked)
        await alice.until(lambda: alice.people.presence(bob.address) is None)
        await bob.people.unblock(alice.address)
        await alice.people.remove(bob.address)
        await alice.until(lambda: alice.people.person(bob.address) is None)

    play(server, tmp_path, main, "alice", "bob")


def test_the_roster_is_fetched_once_and_then_only_what_changed(server, tmp_path):
    async def main(alice: Client) -> None:
        bob = parse_address(f"xmpp:bob@{server.domain}")
        await alice.session.request(build_roster_set(bob.short, name="Bob"), kind="set")
        await alice.until(lambda: alice.people.person(bob) is not None)
        assert VERSIONING in alice.session.features
        alice.told.clear()
        await alice.people.fresh()
        assert [t for t in alice.told if isinstance(t, RosterChange)] == []
        assert alice.people.person(bob).item.name == "Bob"
        await alice.people.remove(bob)
        await alice.until(lambda: alice.people.person(bob) is None)

    play(server, tmp_path, main, "alice")


def test_identities_are_published_pinned_and_renewed(fresh_server, tmp_path):
    server = fresh_server

    async def main(alice: Client, bob: Client) -> None:
        await bob.people.publish_identity()
        await acquainted(alice, bob)
        learned = await alice.people.refresh(bob.address)
        assert learned is not None
        assert learned.statement.root_fp == bob.contacts.root_fp
        assert alice.contacts.is_pinned(bob.address)
        bob.contacts.own_address(parse_address("sip:bob@sip.example"))
        await bob.people.publish_identity()
        news = await alice.wait(lambda t: isinstance(t, IdentityNews))
        assert (news.address, news.error) == (bob.address, None)
        await alice.people.remove(bob.address)

    play(server, tmp_path, main, "alice", "bob")


def test_a_node_that_was_public_is_private_before_it_is_written_to(server, tmp_path):
    async def main(alice: Client, bob: Client) -> None:
        node, payload = "urn:securecall:test", Element("{urn:test}x")
        await alice.nodes.publish(node, "a", payload, NodeOptions(access=Access.OPEN))
        assert len(await bob.nodes.fetch(alice.session.bare, node)) == 1
        private = NodeOptions(access=Access.WHITELIST)
        await Nodes(alice.session).publish(node, "a", payload, private)
        with pytest.raises(XmppRefused):
            await bob.nodes.fetch(alice.session.bare, node)
        assert len(await alice.nodes.fetch(alice.session.bare, node)) == 1

    play(server, tmp_path, main, "alice", "bob")


def room_of(server, name: str) -> Address:
    return parse_address(f"xmpp:{name}@conference.{server.domain}")


def happened(room: Address, kind: type):
    return lambda t: isinstance(t, RoomNews) and t.room == room and isinstance(t.event, kind)


def test_a_private_room_and_who_is_in_it(server, tmp_path):
    async def main(alice: Client, bob: Client, carol: Client) -> None:
        ward = room_of(server, "ward")
        room = await alice.rooms.create(ward, name="Ward 3", members=[bob.address])
        assert (room.state, alice.rooms.members(ward)) == (RoomState.INSIDE, (bob.address,))
        with pytest.raises(XmppRefused):
            await carol.rooms.join(ward)
        invitation = await bob.wait(lambda t: isinstance(t, Invitation))
        assert (invitation.room, invitation.by, invitation.vouched) == (
            room.jid, alice.session.bare, True,
        )  # fmt: skip
        await bob.rooms.join(ward)
        assert bob.rooms.members(ward) == (alice.address,)
        await alice.until(lambda: len(room.occupants) == 2)
        assert {o.jid.bare for o in room.occupants.values()} == {
            alice.session.bare, bob.session.bare,
        }  # fmt: skip
        assert alice.rooms.room(ward).ghosts == ()
        # somebody new is told, and gets nothing before Bob knows them
        await alice.rooms.add_member(ward, carol.address)
        await carol.rooms.join(ward)
        added = await bob.wait(happened(ward, MemberAdded))
        while added.event.jid != carol.session.bare:
            added = await bob.wait(happened(ward, MemberAdded))
        assert not added.event.known
        assert bob.rooms.members(ward) == (alice.address,)
        bob.rooms.acknowledge(ward, carol.address)
        assert set(bob.rooms.members(ward)) == {alice.address, carol.address}
        # who is taken out is out for everybody
        await alice.rooms.remove_member(ward, carol.address)
        removed = await bob.wait(happened(ward, MemberRemoved))
        assert removed.event.jid == carol.session.bare
        gone = await carol.wait(happened(ward, Removed))
        assert gone.event.why in (Removal.NOT_A_MEMBER, Removal.KICKED)
        # we notice that we are outside, and come back
        await bob.rooms.resumed()
        assert bob.rooms.room(ward).state is RoomState.INSIDE
        bob.session.send(build_leave(room.jid, "bob"))
        await bob.wait(happened(ward, Removed))
        await bob.rooms.fresh()
        assert bob.rooms.room(ward).state is RoomState.INSIDE
        await alice.rooms.destroy(ward)
        await bob.wait(happened(ward, Removed))

    play(server, tmp_path, main, "alice", "bob", "carol")


def test_a_room_that_becomes_anonymous_is_left(server, tmp_path):
    async def main(alice: Client, bob: Client) -> None:
        ward = room_of(server, "opened")
        room = await alice.rooms.create(ward, members=[bob.address])
        await bob.rooms.join(ward)
        whois = "muc#roomconfig_whois"
        await alice.session.request(build_configuration_request(), to=room.jid)
        await alice.session.request(
            build_configuration(
                Form(
                    kind="submit",
                    form_type="http://jabber.org/protocol/muc#roomconfig",
                    fields={whois: ("moderators",)},
                )
            ),
            to=room.jid,
            kind="set",
        )
        for one in (alice, bob):
            failed = await one.wait(lambda t: isinstance(t, RoomFailed))
            assert isinstance(failed.error, RoomNotPrivate)
            assert one.rooms.members(ward) == ()

    play(server, tmp_path, main, "alice", "bob")


def test_a_public_room_is_not_entered(server, tmp_path):
    async def main(alice: Client, bob: Client) -> None:
        square = room_of(server, "square")
        join = build_join(square.short, "alice")
        alice.session.send(join)
        instant = Element("{http://jabber.org/protocol/muc#owner}query")
        SubElement(instant, "{jabber:x:data}x", {"type": "submit"})
        await asyncio.sleep(0.2)
        await alice.session.request(instant, to=square.short, kind="set")
        with pytest.raises(RoomNotPrivate):
            await bob.rooms.join(square)
        with pytest.raises(XmppRefused):
            await bob.rooms.join(room_of(server, "nowhere"))
        with pytest.raises((RoomNotPrivate, XmppRefused)):
            await bob.rooms.create(square)
        assert bob.rooms.all() == ()

    play(server, tmp_path, main, "alice", "bob")


def test_relays_are_told_with_a_password(server, tmp_path):
    async def main(alice: Client) -> None:
        try:
            answer = await alice.session.request(build_services_request(), to=server.domain)
        except XmppRefused:
            pytest.skip("this server was started without a relay")
        import time

        found = parse_services(answer)
        relays = turn_servers(found, unix=time.time())
        if not found:
            pytest.skip("this server was started without a relay")
        assert relays
        assert all(relay.username and relay.password.reveal() for relay in relays)
        named = [s for s in found if s.type == "stun" and s.transport == "udp"]
        assert len(stun_servers(found, unix=time.time())) == len(named)

    play(server, tmp_path, main, "alice")
