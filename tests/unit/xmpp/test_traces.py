"""What a connection to an XMPP server tells of its machine: no version, no name, no idle time."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from xml.etree.ElementTree import Element, tostring

import pytest

from securecall.xmpp.capabilities import OwnCapabilities
from securecall.xmpp.requests import Requests
from securecall.xmpp.session import Session
from securecall.xmpp.xml import CLIENT
from tests.xmpp_server import Peer, quietly, serving

NOSY = {
    "software version (XEP-0092)": "{jabber:iq:version}query",
    "last activity (XEP-0012)": "{jabber:iq:last}query",
    "entity time (XEP-0202)": "{urn:xmpp:time}time",
}


@pytest.mark.parametrize("name", NOSY)
@pytest.mark.parametrize("whose", ["bob@other.example/x", "example.com", "alice@example.com"])
def test_questions_about_the_machine_are_not_answered(name, whose):
    requests = Requests("alice@example.com")
    iq = Element(f"{{{CLIENT}}}iq", {"type": "get", "id": "7", "from": whose})
    iq.append(Element(NOSY[name]))
    refused = requests.receive(iq)
    assert refused is not None
    assert refused.get("type") == "error"
    assert b"service-unavailable" in tostring(refused)
    told = Element("{x}answer")  # the control: an answer would be seen
    requests.handle("get", NOSY[name], lambda _: told)
    answered = requests.receive(iq)
    assert answered is not None
    assert answered.get("type") == "result"


def test_what_is_announced_names_no_version_and_no_system():
    ours = OwnCapabilities(("urn:xmpp:ping",))
    assert [i.name for i in ours.info.identities] == [""]
    assert ours.info.forms == ()  # of software and system (XEP-0232)
    assert not re.search(r"[0-9]", ours.caps.node)


def test_the_resource_is_random_and_new_in_every_session(tmp_path):
    found = []

    async def script(peer: Peer) -> None:
        await peer.login()
        await peer.bind()
        await quietly(peer)

    async def work():
        for resource in ("", "", "laptop"):
            async with serving(script, tmp_path) as server:
                session = await Session.open(replace(server.login, resource=resource))
                found.append(session.jid.rpartition("/")[2])
                await session.close()

    asyncio.run(work())
    assert found[2] == "laptop"  # the control: a name that is asked for is seen
    assert all(re.fullmatch("[0-9a-f]{16}", name) for name in found[:2])
    assert found[0] != found[1]
