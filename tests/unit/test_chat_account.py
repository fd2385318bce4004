"""What an account does when its session goes on over another connection."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from xml.etree.ElementTree import Element, SubElement

from securecall.address import parse_address
from securecall.chat.committer import Committer
from securecall.chat_account import ChatAccount
from securecall.devices import Devices
from securecall.directory import Directory
from securecall.intake import Taken
from securecall.keys.identity import RootKey
from securecall.keys.statement import OmemoKey
from securecall.own_identity import OwnIdentity
from securecall.store.sqlite import Store
from securecall.store.vault import MINIMUM_COST
from securecall.xmpp.archive import MAM
from securecall.xmpp.capabilities import QUERY, Identity, Info, build_info
from tests.fake_room import FakeRoom
from tests.fake_session import FakeSession
from tests.forge_devices import BOB, NS, contacts_at, identity_key, own_statement
from tests.forge_store import passphrase
from tests.memory_history import MemoryHistory
from tests.stanzas import OWN, stanza

WARD = parse_address("xmpp:ward@chat.a.example")
RSM = "{http://jabber.org/protocol/rsm}"


class FakeOmemo:
    is_due = False

    def __init__(self):
        self.revoked = []
        self.maintained = 0

    async def maintain(self):
        self.maintained += 1

    def revoke(self, jid, number):
        self.revoked.append((jid, number))

    def before_history(self):
        pass

    async def after_history(self):
        pass


class Scene:
    """Alice in a room at a server that keeps an archive of it."""

    def __init__(self, folder):
        self.contacts = contacts_at(folder)
        self.history = MemoryHistory()
        self.session = FakeSession()
        self.omemo = FakeOmemo()
        self.said: list[str] = []  # in the room, as its archive has it
        self.written: list[str] = []  # to us alone, as ours has it
        self.done: list[str] = []
        self.account = ChatAccount(
            SimpleNamespace(address=parse_address(f"xmpp:{OWN}")),
            self.session,
            self.omemo,
            SimpleNamespace(),
            history=self.history,
            committer=Committer(self.history, undone=lambda: None),
            contacts=self.contacts,
            devices=Devices(self.contacts),
            plaintext=lambda _: True,
            folder=folder,
            tell=lambda _: None,
        )
        self.service = FakeRoom(WARD.short, self.session, self._present)
        self.service.exists = True
        self.service.config |= {"membersonly": "1", "whois": "anyone", "publicroom": "0"}
        self.service.affiliations |= {OWN: "member", BOB.short: "owner"}
        self.service.occupants["bob"] = f"{BOB.short}/phone"
        self.session.answers["set", f"{{{MAM}}}query"] = self._archive
        disco = self.session.answers["get", QUERY]
        self.session.answers["get", QUERY] = lambda query, to: self._abilities(disco, query, to)
        self.account._greeted = True

    def _present(self, presence):
        return self.account.rooms.on_presence(presence)

    def _abilities(self, disco, query, to):
        if to != WARD.short:
            return build_info(Info((Identity("account", "registered"),), frozenset({MAM})))
        info = disco(query, to)
        SubElement(info, f"{QUERY[: QUERY.index('}')]}}}feature", {"var": MAM})
        return info

    def _archive(self, query, to):
        rsm = query.find(f"{RSM}set")
        after = rsm.findtext(f"{RSM}after")
        found = [*(self.said if to == WARD.short else self.written)]
        found = found[found.index(after) + 1 :] if after in found else found
        wording = self._message if to else self._letter
        for name in found:
            result = stanza(
                f"<message from='{to or OWN}'><result xmlns='{MAM}' id='{name}' "
                f"queryid='{query.get('queryid')}'><forwarded xmlns='urn:xmpp:forward:0'>"
                "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>"
                f"{wording(name)}</forwarded></result></message>"
            )
            self.account._arrived(result, lambda: None)
        fin = Element(f"{{{MAM}}}fin", {"complete": "true"})
        rsm = SubElement(fin, f"{RSM}set")
        if found:
            SubElement(rsm, f"{RSM}first").text = found[0]
            SubElement(rsm, f"{RSM}last").text = found[-1]
        return fin

    def _message(self, name):
        return (
            f"<message xmlns='jabber:client' type='groupchat' from='{WARD.short}/bob' "
            f"to='{OWN}/here' id='m{name}'><stanza-id xmlns='urn:xmpp:sid:0' by='{WARD.short}' "
            f"id='{name}'/><x xmlns='http://jabber.org/protocol/muc#user'><item "
            f"jid='{BOB.short}/phone' affiliation='owner' role='participant'/></x>"
            f"<body>{name}</body></message>"
        )

    def _letter(self, name):
        return (
            f"<message xmlns='jabber:client' type='chat' from='{BOB.short}/phone' to='{OWN}' "
            f"id='m{name}'><body>{name}</body></message>"
        )

    def write(self, name):
        """Bob writes to us, and the server passes it on."""
        self.written.append(name)
        letter = stanza(self._letter(name))
        SubElement(letter, "{urn:xmpp:sid:0}stanza-id", {"by": OWN, "id": name})
        self.account._arrived(letter, lambda: self.done.append(name))

    @property
    def letters(self):
        return [message.text for message in self.history.messages(BOB)]

    def say(self, name):
        """Bob says something, and the server passes it on."""
        self.said.append(name)
        self.account._arrived(stanza(self._message(name)), lambda: self.done.append(name))

    @property
    def texts(self):
        return [message.text for message in self.history.messages(WARD)]

    @contextlib.asynccontextmanager
    async def online(self):
        running = asyncio.create_task(self.account._intake.run())
        await self.account._get_ready()
        _ = await self.account.rooms.join(WARD)
        await turns()
        yield
        _ = running.cancel()
        _ = await asyncio.gather(running, return_exceptions=True)
        self.contacts.store.close()


async def turns():
    for _ in range(300):
        await asyncio.sleep(0)


def test_what_a_server_did_not_pass_on_in_a_room_is_found_when_the_session_goes_on(tmp_path):
    async def scenario():
        scene = Scene(tmp_path)
        async with scene.online():
            scene.say("first")
            await turns()
            assert scene.texts == ["first"]
            scene.said.append("dropped")
            await scene.account._resumed()
            scene.say("after")  # comes before the archive was read, and waits for it
            await turns()
            assert scene.texts == ["first", "dropped", "after"]
            assert scene.done == ["first", "after"]

    asyncio.run(scenario())


def test_a_room_that_lost_us_meanwhile_is_entered_and_read_again(tmp_path):
    async def scenario():
        scene = Scene(tmp_path)
        async with scene.online():
            scene.say("first")
            await turns()
            scene.said.append("dropped")
            scene.service.inside = ""
            await scene.account._resumed()
            await turns()
            assert scene.service.inside == "alice"
            assert scene.texts == ["first", "dropped"]

    asyncio.run(scenario())


def test_last_words_are_their_speakers_though_they_left_before_it_was_their_turn(tmp_path):
    """All of it may come in one piece, and be handed on before anything is written down."""

    async def scenario():
        scene = Scene(tmp_path)
        async with scene.online():
            scene.say("first")
            await turns()
            scene.say("and now I go")
            scene.service.say("bob", "unavailable", jid=f"{BOB.short}/phone")
            await turns()
            assert scene.texts == ["first", "and now I go"]
            scene.service.say("bob", jid=f"{BOB.short}/phone")
            scene.say("again")
            scene.service.say("bob", "unavailable", jid=f"{BOB.short}/phone")
            scene.service.affiliations["mallory@evil.example"] = "member"
            scene.service.say("bob", jid="mallory@evil.example/phone")
            await turns()
            assert [m.sender for m in scene.history.messages(WARD)] == [BOB] * 3

    asyncio.run(scenario())


def test_what_was_said_before_we_were_removed_from_a_room_is_kept(tmp_path):
    async def scenario():
        scene = Scene(tmp_path)
        async with scene.online():
            scene.say("first")
            await turns()
            scene.say("you are out")
            scene.service.say(scene.service.inside, "unavailable", 110, 307)
            await turns()
            assert scene.texts == ["first", "you are out"]

    asyncio.run(scenario())


def test_keys_are_seen_to_after_a_message_that_says_nothing(tmp_path):
    """It may have opened a session, or show that one is broken."""

    async def scenario():
        scene = Scene(tmp_path)
        for messages, due in ((0, True), (1, False), (1, True)):
            scene.omemo.is_due = due
            scene.account._handle(Taken(messages=messages))
            await turns()
        assert scene.omemo.maintained == 1
        scene.contacts.store.close()

    asyncio.run(scenario())


def test_sessions_with_devices_that_were_withdrawn_are_deleted(tmp_path):
    scene = Scene(tmp_path / "desk")
    directory = Directory(scene.contacts)
    directory.learn(BOB, own_statement(device=7, omemo=(70, 71), age=100))
    directory.notice(BOB, own_statement(device=7, omemo=(70, 71), age=50))
    assert scene.omemo.revoked == []  # it is there as before
    directory.notice(BOB, own_statement(device=8, omemo=(80,), revoked=("device-7",)))
    assert scene.omemo.revoked == [(BOB.short, 70), (BOB.short, 71)]
    # and with one of our own
    root = RootKey.known(scene.contacts.identity.root_public)
    store = Store.create(
        tmp_path / "phone", passphrase(), root=root, device_id="phone", cost=MINIMUM_COST
    )
    phone = OwnIdentity(store)
    phone.own_omemo([OmemoKey(namespace=NS, id=90, identity_key=identity_key(90))])
    scene.contacts.identity.enrol(phone.request())
    scene.contacts.identity.revoke("phone")
    assert scene.omemo.revoked[2:] == [(OWN, 90)]
    for kept in (store, scene.contacts.store):
        kept.close()
