from __future__ import annotations

import asyncio
import time

import pytest

from securecall.address import parse_address
from securecall.directory import Published
from securecall.errors import IdentityChanged, IdentityMismatch, Revoked, XmppRefused
from securecall.keys.device import DeviceKey
from securecall.keys.enrolment import build_request
from securecall.keys.identity import RootKey
from securecall.people import MOST_ASKS, IdentityNews, People
from securecall.store.sqlite import Store
from securecall.store.vault import MINIMUM_COST
from securecall.xmpp.blocking import BlockChange
from securecall.xmpp.capabilities import DISCO, Info, build_hash, build_info
from securecall.xmpp.identity import IDENTITY, build_identity
from securecall.xmpp.nodes import Nodes
from securecall.xmpp.presence import PresenceChange, SubscriptionAsk
from securecall.xmpp.reachability import AUDIO, DTLS, ICE, JINGLE, RTP, Network
from securecall.xmpp.roster import RosterChange
from tests.fake_session import FakeSession
from tests.forge_devices import BOB, contacts_at, own_statement
from tests.forge_statement import DAY
from tests.forge_store import passphrase
from tests.stanzas import OWN, stanza

ROSTER = "jabber:iq:roster"
BLOCKING = "urn:xmpp:blocking"
PUBSUB = "http://jabber.org/protocol/pubsub"
CAPS = "http://jabber.org/protocol/caps"
PHONE = Info(features=frozenset({JINGLE, RTP, AUDIO, ICE, DTLS}))


class Scene:
    """Alice's people, her session, and what she was told."""

    def __init__(self, folder) -> None:
        self.contacts = contacts_at(folder)
        self.session = FakeSession()
        self.told: list[object] = []
        nodes = Nodes(self.session)
        self.people = People(
            self.session, self.contacts, nodes, features=["extra"], tell=self.told.append
        )
        self.roster = f"<item jid='{BOB.short}' subscription='both' name='Bob'/>"
        self.published: bytes = b""
        answers = self.session.answers
        answers["get", f"{{{ROSTER}}}query"] = self._roster
        answers["get", f"{{{BLOCKING}}}blocklist"] = lambda p, to: stanza(
            f"<blocklist xmlns='{BLOCKING}'><item jid='eve@e.example'/></blocklist>"
        )
        answers["get", f"{{{PUBSUB}}}pubsub"] = self._items
        answers["get", f"{{{DISCO}}}query"] = lambda p, to: build_info(PHONE)
        for tag in (f"{{{ROSTER}}}query", f"{{{BLOCKING}}}block", f"{{{BLOCKING}}}unblock"):
            answers["set", tag] = lambda p, to: None

    def _roster(self, payload, to):
        return stanza(f"<query xmlns='{ROSTER}' ver='1'>{self.roster}</query>")

    def _items(self, payload, to):
        if not self.published:
            raise XmppRefused("item-not-found")
        answer = stanza(
            f"<pubsub xmlns='{PUBSUB}'><items node='{IDENTITY}'><item/></items></pubsub>"
        )
        answer[0][0].append(build_identity(self.published))
        return answer

    def publishing(self) -> list:
        """Let a server take what is published; returns where it ends up."""
        configured = stanza(
            f"<pubsub xmlns='{PUBSUB}#owner'><configure><x xmlns='jabber:x:data' type='form'>"
            "<field var='pubsub#access_model'><value>open</value></field></x></configure></pubsub>"
        )
        published = []
        self.session.answers["get", f"{{{PUBSUB}#owner}}pubsub"] = lambda p, to: configured
        self.session.answers["set", f"{{{PUBSUB}}}pubsub"] = lambda p, to: published.append(p)
        return published

    def presence(self, text: str) -> list[bool]:
        done: list[bool] = []
        self.people.on_presence(stanza(text), lambda: done.append(True))
        return done

    def event(self, statement: bytes, sender: str = BOB.short) -> None:
        message = stanza(
            f"<message from='{sender}'><event xmlns='{PUBSUB}#event'><items node='{IDENTITY}'>"
            "<item id='current'/></items></event></message>"
        )
        message[0][0][0].append(build_identity(statement))
        self.people.on_event(message)


@pytest.fixture
def scene(tmp_path):
    made = Scene(tmp_path)
    yield made
    made.contacts.store.close()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def caps(info: Info) -> str:
    return f"<c xmlns='{CAPS}' hash='sha-1' node='n' ver='{build_hash(info)}'/>"


async def fresh(scene: Scene) -> None:
    await scene.people.fresh()
    scene.told.clear()


def run(coroutine) -> None:
    asyncio.run(coroutine)


def test_a_new_session_learns_who_is_known_and_who_is_blocked(scene):
    run(scene.people.fresh())
    kinds = [type(told) for told in scene.told]
    assert kinds == [RosterChange, BlockChange]
    (bob,) = scene.people.people()
    assert (bob.address, bob.item.name, bob.presence, bob.blocked) == (BOB, "Bob", None, False)
    assert bob.reachability.network is Network.NONE
    assert scene.session.sent == []  # nothing is announced by it


def test_the_roster_is_kept_and_asked_for_by_version(tmp_path):
    first = Scene(tmp_path)
    run(first.people.fresh())
    first.contacts.store.close()
    again = Scene(tmp_path)
    again.session.features = frozenset({"{urn:xmpp:features:rosterver}ver"})
    again.session.answers["get", f"{{{ROSTER}}}query"] = lambda payload, to: None
    run(again.people.fresh())
    assert again.session.asked[0][0].get("ver") == "1"
    assert [p.address for p in again.people.people()] == [BOB]
    again.contacts.store.close()


def test_what_a_connection_can_do_is_asked_once_and_shared(scene):
    async def play() -> None:
        await fresh(scene)
        for resource in ("a", "b"):
            done = scene.presence(
                f"<presence from='{BOB.short}/{resource}'>{caps(PHONE)}</presence>"
            )
            assert done == [True]
        await settle()
        questions = [to for p, to, _ in scene.session.asked if p.tag == f"{{{DISCO}}}query"]
        assert questions == [f"{BOB.short}/a"]
        found = scene.people.reachability(BOB)
        assert (found.network, found.connections) == (
            Network.XMPP,
            (f"{BOB.short}/a", f"{BOB.short}/b"),
        )
        assert isinstance(scene.told[-1], PresenceChange)
        scene.presence(f"<presence from='{BOB.short}' type='unavailable'/>")
        assert scene.people.presence(BOB) is None

    run(play())


def test_strangers_are_neither_asked_nor_answered(scene):
    async def play() -> None:
        await fresh(scene)
        scene.presence(f"<presence from='eve@x.example/a'>{caps(PHONE)}</presence>")
        await settle()
        assert all(p.tag != f"{{{DISCO}}}query" for p, _, _ in scene.session.asked)

    run(play())
    question = f"<query xmlns='{DISCO}'/>"
    for sender in ("eve@x.example/a", "x.example", "@", "eve@a.example"):
        with pytest.raises(XmppRefused):
            scene.session.push("get", stanza(question), sender)
    for sender in (f"{BOB.short}/a", OWN, None, "a.example"):
        assert scene.session.push("get", stanza(question), sender) is not None
    scene.people.show_to("eve@x.example/a")
    assert scene.session.push("get", stanza(question), "eve@x.example/a") is not None
    with pytest.raises(XmppRefused):
        scene.session.push("get", stanza(f"<query xmlns='{DISCO}' node='rooms'/>"), None)


def test_announcing_says_what_we_can_do_and_asks_for_identities(scene):
    scene.people.announce(status="in")
    (sent,) = scene.session.sent
    (c,) = sent.findall(f"{{{CAPS}}}c")
    node = f"{c.get('node')}#{c.get('ver')}"
    answer = scene.session.push("get", stanza(f"<query xmlns='{DISCO}' node='{node}'/>"), OWN)
    assert answer is not None
    features = {child.get("var") for child in answer}
    assert {f"{IDENTITY}+notify", "extra"} <= features
    scene.people.hide()
    assert scene.session.types()[-1] == ("presence", "unavailable", "")


def test_adding_somebody_asks_to_see_them_and_pins_what_they_publish(scene):
    scene.published = own_statement()

    async def play() -> None:
        learned = await scene.people.add(BOB, name="Bob")
        assert learned is not None
        assert learned.first

    run(play())
    assert scene.session.types() == [("presence", "subscribe", BOB.short)]
    assert scene.contacts.is_pinned(BOB)


def test_somebody_without_an_identity_is_added_all_the_same(scene):
    async def play() -> None:
        assert await scene.people.add(BOB) is None

    run(play())
    assert not scene.contacts.is_pinned(BOB)


def test_refreshing_finds_another_key(scene):
    async def play() -> None:
        scene.published = own_statement()
        await scene.people.refresh(BOB)
        scene.published = own_statement(3)
        with pytest.raises(IdentityChanged):
            await scene.people.refresh(BOB)

    run(play())
    assert len(scene.contacts.conflicts()) == 1


def test_requests_wait_for_our_user_once_each_and_bounded(scene):
    run(fresh(scene))
    for _ in range(2):
        scene.presence("<presence from='carol@c.example/x' type='subscribe'/>")
    assert scene.told == [scene.people.asks["carol@c.example"]]
    assert isinstance(scene.told[0], SubscriptionAsk)
    scene.presence("<presence from='eve@e.example' type='subscribe'/>")  # she is blocked
    for n in range(MOST_ASKS + 5):
        scene.presence(f"<presence from='u{n}@x.example' type='subscribe'/>")
    assert len(scene.people.asks) == MOST_ASKS
    run(scene.people.accept(parse_address("xmpp:carol@c.example")))
    scene.people.decline(parse_address("xmpp:u0@x.example"))
    assert scene.session.types() == [
        ("presence", "subscribed", "carol@c.example"),
        ("presence", "subscribe", "carol@c.example"),
        ("presence", "unsubscribed", "u0@x.example"),
    ]
    assert len(scene.people.asks) == MOST_ASKS - 2


def test_pushes_by_strangers_change_nothing(scene):
    run(fresh(scene))
    push = f"<query xmlns='{ROSTER}'><item jid='eve@e.example' subscription='both'/></query>"
    unblock = f"<unblock xmlns='{BLOCKING}'/>"
    for text in (push, unblock):
        with pytest.raises(XmppRefused):
            scene.session.push("set", stanza(text), "eve@e.example/x")
    assert scene.told == []
    assert scene.people.refused == 2
    assert scene.session.push("set", stanza(push), OWN) is None
    assert len(scene.people.people()) == 2


def test_who_leaves_the_roster_or_is_blocked_is_not_there_any_more(scene):
    async def play() -> None:
        await fresh(scene)
        scene.presence(f"<presence from='{BOB.short}/a'/>")
        scene.session.push(
            "set", stanza(f"<block xmlns='{BLOCKING}'><item jid='{BOB.short}'/></block>")
        )
        assert scene.people.presence(BOB) is None
        assert scene.people.people()[0].blocked
        scene.presence(f"<presence from='{BOB.short}/a'/>")
        scene.session.push(
            "set",
            stanza(
                f"<query xmlns='{ROSTER}'><item jid='{BOB.short}' subscription='remove'/></query>"
            ),
        )
        assert scene.people.presence(BOB) is None
        assert scene.people.person(BOB) is None

    run(play())


def test_what_people_publish_is_weighed_and_only_news_are_told(scene):
    async def play() -> None:
        scene.published = own_statement(age=100)
        await scene.people.refresh(BOB)

    run(play())
    scene.event(scene.published)
    scene.event(own_statement(4), "eve@x.example")  # nobody we know
    assert scene.told == []
    newer = own_statement()
    scene.event(newer)
    scene.event(own_statement(3))
    scene.event(own_statement(age=200))
    published = [told.published for told in scene.told if isinstance(told, IdentityNews)]
    assert published == [Published.NEWER, Published.OTHER_KEY, None]
    scene.event(newer, f"{BOB.short}/phone")  # his device, or somebody else's, is not his account
    assert len(scene.told) == 3
    assert scene.people.refused == 1


def test_our_identity_is_published_when_it_changes_and_daily(scene):
    published = scene.publishing()

    async def play() -> None:
        await scene.people.publish_identity()
        await scene.people.publish_identity()
        scene.contacts.own_address(parse_address(f"xmpp:{OWN}"))
        await scene.people.publish_identity()

    run(play())
    assert len(published) == 2
    assert published[1].find(f".//{{{IDENTITY}}}identity").text == scene.contacts.statement.decode()


def test_removing_and_blocking_ask_the_server(scene):
    async def play() -> None:
        await scene.people.remove(BOB)
        await scene.people.block(BOB)
        await scene.people.unblock(BOB)

    run(play())
    assert [
        (p.tag.rpartition("}")[2], p[0].get("jid"), kind) for p, _, kind in scene.session.asked
    ] == [
        ("query", BOB.short, "set"),
        ("block", BOB.short, "set"),
        ("unblock", BOB.short, "set"),
    ]


@pytest.fixture
def two_devices(tmp_path):
    """Alice's desk, which holds her root; and the scene of her phone, which does not."""
    desk = contacts_at(tmp_path / "desk")
    root = RootKey.known(desk.identity.root_public)
    store = Store.create(
        tmp_path / "phone", passphrase(), root=root, device_id="phone", cost=MINIMUM_COST
    )
    store.close()
    phone = Scene(tmp_path / "phone")
    yield desk, phone
    desk.store.close()
    phone.contacts.store.close()


def test_a_second_device_takes_what_the_first_published_and_publishes_nothing(two_devices):
    desk, phone = two_devices
    published = []
    phone.session.answers["set", f"{{{PUBSUB}}}pubsub"] = lambda p, to: published.append(p)
    desk.identity.enrol(phone.contacts.identity.request())
    phone.published = desk.statement
    run(phone.people.publish_identity())
    assert phone.contacts.statement == desk.statement
    desk.own_address(parse_address(f"xmpp:{OWN}"))
    phone.event(desk.statement, OWN)  # as it was published, at once
    assert phone.contacts.statement == desk.statement
    assert published == []
    phone.event(desk.identity.revoke("phone"), OWN)
    with pytest.raises(Revoked):
        _ = phone.contacts.statement
    assert phone.told == []


def test_what_a_server_puts_into_our_own_node_is_told_or_passed_over(two_devices):
    desk, phone = two_devices
    desk.identity.enrol(phone.contacts.identity.request())
    old = desk.statement
    desk.own_address(parse_address(f"xmpp:{OWN}"))
    phone.event(desk.statement, OWN)
    phone.event(old, OWN)  # older: nothing
    assert phone.told == []
    phone.event(own_statement(), OWN)  # another person's
    assert [type(told.error) for told in phone.told] == [IdentityMismatch]
    assert phone.contacts.statement == desk.statement


def test_an_older_withdrawal_in_our_own_node_is_taken_and_published_anew(two_devices):
    desk, phone = two_devices
    published = phone.publishing()
    identity = phone.contacts.identity
    desk.identity.enrol(identity.request())
    desk.identity.enrol(_request_of("lost", desk.root_fp))
    phone.event(desk.statement, OWN)
    identity.hold_root(desk.identity.phrase())
    withdrawal = desk.identity.revoke("lost")
    time.sleep(0.002)  # statements are numbered by the millisecond
    identity.rotate()
    assert "lost" in {device.id for device in identity.devices}  # it was not told yet
    phone.published = withdrawal
    run(phone.people.publish_identity())
    assert identity.revoked == ("lost",)
    assert phone.told == []
    (sent,) = published
    assert sent.find(f".//{{{IDENTITY}}}identity").text == phone.contacts.statement.decode()


def _request_of(name: str, root_fp: bytes) -> bytes:
    return build_request(
        root_fp,
        DeviceKey.generate(name),
        caps=("id1",),
        not_after=int(time.time()) + DAY,
        omemo=(),
        addresses=(),
        iat=int(time.time()),
    )
