"""An account of ours in a room, at a server that is scripted and keeps archives."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from xml.etree.ElementTree import Element, SubElement

from securecall.address import parse_address
from securecall.chat.committer import Committer
from securecall.chat_account import ChatAccount
from securecall.devices import Devices
from securecall.events import Event
from securecall.xmpp.archive import MAM
from securecall.xmpp.capabilities import QUERY, Identity, Info, build_info
from securecall.xmpp.jid import parse_jid
from tests.fake_room import FakeRoom
from tests.fake_session import FakeSession
from tests.forge_devices import BOB, contacts_at
from tests.memory_history import MemoryHistory
from tests.stanzas import OWN, held, stanza

WARD = parse_address("xmpp:ward@chat.a.example")
RSM = "{http://jabber.org/protocol/rsm}"


class FakeOmemo:
    jid, is_due = OWN, False

    def __init__(self):
        self.revoked, self.lists = [], []
        self.maintained = 0

    async def maintain(self):
        self.maintained += 1

    def revoke(self, jid, number):
        self.revoked.append((jid, number))

    async def devices_changed(self, namespace, owner, devices):
        self.lists.append((owner, namespace, set(devices)))

    def devices(self, jid):
        return ()

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
        self.events: list[Event] = []
        self.reads = 0  # of archives
        self.writes_in_the_clear = True  # our user
        self.at_reading = lambda: None  # run once the server has read its archive for us
        self.account = ChatAccount(
            SimpleNamespace(address=parse_address(f"xmpp:{OWN}")),
            self.session,
            self.omemo,
            SimpleNamespace(),
            history=self.history,
            committer=Committer(self.history, undone=lambda: None),
            contacts=self.contacts,
            devices=Devices(self.contacts),
            plaintext=lambda _: self.writes_in_the_clear,
            folder=folder,
            tell=self.events.append,
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
        self.account._names_messages.add(parse_jid(OWN))

    def _present(self, presence):
        return self.account.rooms.on_presence(presence)

    def _abilities(self, disco, query, to):
        if to != WARD.short:
            return build_info(Info((Identity("account", "registered"),), frozenset({MAM})))
        info = disco(query, to)
        SubElement(info, f"{QUERY[: QUERY.index('}')]}}}feature", {"var": MAM})
        return info

    def _archive(self, query, to):
        self.reads += 1
        rsm = query.find(f"{RSM}set")
        after = rsm.findtext(f"{RSM}after")
        found = [*(self.said if to == WARD.short else self.written)]
        found = found[found.index(after) + 1 :] if after in found else found
        most, rest = int(rsm.findtext(f"{RSM}max")), len(found)
        found = found[-most:] if rsm.find(f"{RSM}before") is not None else found[:most]
        wording = self._message if to else self._letter
        for name in found:
            result = stanza(
                f"<message from='{to or OWN}'><result xmlns='{MAM}' id='{name}' "
                f"queryid='{query.get('queryid')}'><forwarded xmlns='urn:xmpp:forward:0'>"
                "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>"
                f"{wording(name)}</forwarded></result></message>"
            )
            self.account._arrived(result, held(result, lambda: None))
        fin = Element(f"{{{MAM}}}fin", {"complete": "true" if len(found) == rest else "false"})
        rsm = SubElement(fin, f"{RSM}set")
        if found:
            SubElement(rsm, f"{RSM}first").text = found[0]
            SubElement(rsm, f"{RSM}last").text = found[-1]
        self.at_reading()
        return fin

    def _message(self, name):
        return (
            f"<message xmlns='jabber:client' type='groupchat' from='{WARD.short}/bob' "
            f"to='{OWN}/here' id='m{name}'><stanza-id xmlns='urn:xmpp:sid:0' by='{WARD.short}' "
            f"id='{name}'/><x xmlns='http://jabber.org/protocol/muc#user'><item "
            f"jid='{BOB.short}/phone' affiliation='owner' role='participant'/></x>"
            f"<body>{name}</body></message>"
        )

    def _letter(self, name, device="phone"):
        return (
            f"<message xmlns='jabber:client' type='chat' from='{BOB.short}/{device}' to='{OWN}' "
            f"id='m{name}'><body>{name}</body></message>"
        )

    def write(self, name, *, device="phone"):
        """Bob writes to us, and the server passes it on."""
        self.written.append(name)
        letter = stanza(self._letter(name, device))
        SubElement(letter, "{urn:xmpp:sid:0}stanza-id", {"by": OWN, "id": name})
        self.account._arrived(letter, held(letter, lambda: self.done.append(name)))

    @property
    def letters(self):
        return [message.text for message in self.history.messages(BOB, count=10_000)]

    def say(self, name):
        """Bob says something, and the server passes it on."""
        self.said.append(name)
        said = stanza(self._message(name))
        self.account._arrived(said, held(said, lambda: self.done.append(name)))

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
