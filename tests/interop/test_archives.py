"""Archives, copies and forgeries by way of real XMPP servers: everything once, from whom it is."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from xml.etree.ElementTree import Element, SubElement

import pytest

from securecall.address import parse_address
from securecall.chat.message import Via
from securecall.secret import Secret
from securecall.xmpp.archive import Catchup, Place, Progress
from securecall.xmpp.jid import parse_jid
from securecall.xmpp.session import Session, XmppLogin, XmppRefused
from securecall.xmpp.unwrap import unwrap
from securecall.xmpp.unwrapped import Discarded, Surroundings, Unwrapped, Why
from tests.interop.xmpp_servers import password_of
from tests.stanzas import stanza

pytestmark = pytest.mark.interop

CARBONS = "{urn:xmpp:carbons:2}"
BODY = "{jabber:client}body"
PING = Element("{urn:xmpp:ping}ping")
NOW = 4e9  # the servers' clock is not ours


class Person:
    """Somebody online, with everything that came."""

    def __init__(self, session):
        self.session = session
        self.own = parse_jid(session.jid)
        self.came: asyncio.Queue[Element] = asyncio.Queue()
        session.on_message(self._message)

    @classmethod
    async def sign_in(cls, server, name, *, present=True):
        login = XmppLogin(
            address=parse_address(f"xmpp:{name}@{server.domain}"),
            password=Secret(password_of(name)),
            server=("127.0.0.1", server.ports["xmpps"]),
            direct=True,
            server_name=server.domain,
            authorities=server.authorities,
        )
        person = cls(await Session.open(login))
        await person.session.request(Element(f"{CARBONS}enable"), kind="set")
        if present:
            person.session.send(Element("{jabber:client}presence"))
            # until the server saw it: what comes in between may be kept for another time
            _ = await person.session.request(PING, to=server.domain)
        return person

    def _message(self, message, done):
        self.came.put_nowait(message)
        done()

    def write(self, to, text, *, name="", beside=()):
        message = Element("{jabber:client}message", {"to": to, "type": "chat", "id": name or text})
        SubElement(message, BODY).text = text
        message.extend(beside)
        self.session.send(message)

    def around(self, catchup=None):
        queries = {catchup.queryid: catchup.archive} if catchup else {}
        return Surroundings(
            own=self.own, now=NOW, queries=queries, names_messages={self.own.account}
        )

    async def said(self, text):
        """The outcome of the message with this text, wherever it stands in it."""
        async with asyncio.timeout(40):
            while True:
                message = await self.came.get()
                if any(body.text == text for body in message.iter(BODY)):
                    return unwrap(message, self.around())

    async def read(self, catchup):
        """One pass through the archive, as an account does it."""
        texts = []
        while catchup.progress is Progress.UNDER_WAY:
            query = catchup.query()
            try:
                fin = await self.session.request(query, kind="set")
            except XmppRefused as e:
                catchup.refused(e.condition)
                continue
            while not self.came.empty():
                assert catchup.collect(self.came.get_nowait(), self.around(catchup)) is None
            page = catchup.finish(fin)
            assert page.discarded == ()
            texts += [item.message.findtext(BODY) for item in page.items]
        assert catchup.progress is Progress.COMPLETE
        return texts


async def empty(person):
    while not person.came.empty():
        person.came.get_nowait()


def test_an_archive_is_read_once_and_in_order(server):
    async def run():
        bob = await Person.sign_in(server, "bob")
        dave = f"dave@{server.domain}"
        texts = [f"to dave {i}" for i in range(95)]
        for text in texts[:-5]:
            bob.write(dave, text)
        await bob.session.request(PING, to=server.domain)
        person = await Person.sign_in(server, "dave", present=False)
        first = Catchup(person.own.account, token="first", page=20)
        before = await person.read(first)
        assert before[-90:] == texts[:-5]
        for text in texts[-5:]:
            bob.write(dave, text)
        await bob.session.request(PING, to=server.domain)
        second = Catchup(person.own.account, token="second", place=first.place)
        assert await person.read(second) == texts[-5:]
        third = Catchup(person.own.account, token="third", place=second.place)
        assert (await person.read(third), third.place) == ([], second.place)
        last = Catchup(person.own.account, token="last", last=3)
        assert await person.read(last) == texts[-3:]
        if server.name == "prosody":  # ejabberd's names are times, so none is unknown to it
            place = replace(second.place, id="no-such-message")
            lost = Catchup(person.own.account, token="lost", place=place)
            assert (await person.read(lost))[-95:] == texts
        for one in (bob, person):
            await one.session.close()

    asyncio.run(run())


def test_a_copy_is_our_accounts_and_the_name_is_the_archives(server):
    async def run():
        bob = await Person.sign_in(server, "bob")
        one = await Person.sign_in(server, "carol")
        two = await Person.sign_in(server, "carol")
        bob.write(str(one.own), "to one of two")
        got, copy = await one.said("to one of two"), await two.said("to one of two")
        assert isinstance(got, Unwrapped)
        assert isinstance(copy, Unwrapped)
        assert {got.via, copy.via} == {Via.LIVE, Via.CARBON}
        assert got.sender == copy.sender == parse_address(f"xmpp:bob@{server.domain}")
        assert got.archive_id
        assert got.archive_id == copy.archive_id
        one.write(f"bob@{server.domain}", "from one of two")
        sent = await two.said("from one of two")
        assert isinstance(sent, Unwrapped)
        assert (sent.via, sent.own) == (Via.CARBON, True)
        assert sent.conversation == parse_address(f"xmpp:bob@{server.domain}")
        for person in (bob, one, two):
            await person.session.close()

    asyncio.run(run())


def forged(server, text):
    """What Bob writes to make Alice believe that Carol wrote, or that it is long ago."""
    domain = server.domain
    inside = (
        f"<message xmlns='jabber:client' from='carol@{domain}/x' to='alice@{domain}' type='chat'>"
        f"<body>{text}</body></message>"
    )
    forward = f"<forwarded xmlns='urn:xmpp:forward:0'>{inside}</forwarded>"
    return {
        "copy": stanza(f"<received xmlns='urn:xmpp:carbons:2'>{forward}</received>"),
        "archive": stanza(
            f"<result xmlns='urn:xmpp:mam:2' queryid='t-1' id='a1'>{forward}</result>"
        ),
        "name": stanza(f"<stanza-id xmlns='urn:xmpp:sid:0' by='alice@{domain}' id='forged'/>"),
        "time": stanza(
            f"<delay xmlns='urn:xmpp:delay' from='bob@{domain}' stamp='2001-01-01T00:00:00Z'/>"
        ),
    }


def test_what_bob_forges_is_bobs_or_nobodys(server):
    async def run():
        bob = await Person.sign_in(server, "bob")
        alice = await Person.sign_in(server, "alice")
        for kind, reason in {
            "copy": Why.CARBON_NOT_OURS,
            "archive": Why.RESULT_NOT_ASKED,
            "name": None,
            "time": None,
        }.items():
            text = f"forged {kind}"
            bob.write(f"alice@{server.domain}", text, beside=[forged(server, text)[kind]])
            outcome = await alice.said(text)
            if reason is not None:
                assert isinstance(outcome, Discarded)
                assert outcome.why is reason
                continue
            assert isinstance(outcome, Unwrapped)
            assert outcome.sender == parse_address(f"xmpp:bob@{server.domain}")
            assert outcome.archive_id != "forged"
            assert not outcome.delayed
        for person in (bob, alice):
            await person.session.close()

    asyncio.run(run())


def test_a_place_is_that_of_the_archive(server):
    async def run():
        bob = await Person.sign_in(server, "bob")
        erin = await Person.sign_in(server, "erin")
        bob.write(f"erin@{server.domain}", "live")
        live = await erin.said("live")
        assert isinstance(live, Unwrapped)
        bob.write(f"erin@{server.domain}", "later")
        assert isinstance(await erin.said("later"), Unwrapped)
        await empty(erin)
        place = Place(live.archive_id, live.sent)
        catchup = Catchup(erin.own.account, token="t", place=place)
        assert await erin.read(catchup) == ["later"]
        for person in (bob, erin):
            await person.session.close()

    asyncio.run(run())
