"""The servers of the guide, started from its very text."""

from __future__ import annotations

import asyncio
import re
from xml.etree import ElementTree as ET

import pytest

from securecall.errors import LocalError
from securecall.secret import Secret
from securecall.testing.authority import Authority
from securecall.testing.daemon import Site, free_port
from securecall.testing.ejabberd import run_ejabberd
from securecall.testing.prosody import run_prosody
from tests.interop.xmpp_person import CLIENT, XmppPerson
from tests.paths import PROJECT

GUIDE = PROJECT / "docs/how-to/own-xmpp-server.md"
DOMAIN = "clinic.example"
PORTS = {"xmpp": "5222", "xmpps": "5223", "https": "5281"}
DISCO = "http://jabber.org/protocol/disco#info"
MUC = "http://jabber.org/protocol/muc"
PUBSUB = "http://jabber.org/protocol/pubsub"


def configuration(language, folder, ports):
    """The text in the guide, at home in a folder of this machine."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", GUIDE.read_text(), re.M | re.S)
    for name, port in PORTS.items():
        text = re.sub(rf"\b{port}\b", str(ports[name]), text)
    text = text.replace("192.0.2.10", "127.0.0.1")
    text = re.sub(r'"/var/lib/[a-z]+', f'"{folder}/data', text)
    text = re.sub(r'"/run/[a-z]+', f'"{folder}', text)
    return re.sub(r'"/etc/[a-z/]+/', f'"{folder}/', text)


@pytest.mark.parametrize(("language", "run"), [("lua", run_prosody), ("yaml", run_ejabberd)])
def test_it_starts_as_written_and_serves(tmp_path, language, run):
    authority = Authority.make(tmp_path)
    users = {name: Secret(f"pw-{name}") for name in ("alice", "bob")}
    certificate = authority.issue(DOMAIN, f"*.{DOMAIN}")
    site = Site(tmp_path / "server", DOMAIN, users, certificate, authority.pem)
    ports = {name: free_port() for name in PORTS}

    async def main():
        try:
            daemon = await run(site, configuration(language, site.folder, ports), ports)
        except LocalError as e:
            if "is not installed" in str(e):
                pytest.skip(f"{e} (or: python3 dev.py servers)")
            raise
        async with daemon:
            alice, bob = [
                await XmppPerson.sign_in(
                    ports["xmpps"], name, f"pw-{name}", domain=DOMAIN, authorities=authority.pem
                )
                for name in users
            ]
            await serves(alice, bob)
            # Mnesia's own archive took 2 GB, all it can, for 3,000 messages between two people.
            assert list(site.folder.rglob("archive.sqlite"))
            assert not list(site.folder.rglob("archive_msg.DAT"))
            await alice.close()
            await bob.close()

    asyncio.run(main())


async def serves(alice, bob):
    assert set(alice.mechanisms) <= {"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"}
    alice.send(
        ET.fromstring(f"<message to='bob@{DOMAIN}' type='chat'><body>hello</body></message>")
    )
    await bob.wait(lambda e: e.findtext(f"{{{CLIENT}}}body") == "hello")
    await asks(bob, "<query xmlns='urn:xmpp:mam:2'/>", "set")
    await asks(alice, "<enable xmlns='urn:xmpp:carbons:2'/>", "set")
    slot = await asks(
        alice,
        "<request xmlns='urn:xmpp:http:upload:0' filename='a' size='5'/>",
        to=f"upload.{DOMAIN}",
    )
    assert slot.find(".//{*}put").get("url").startswith(f"https://upload.{DOMAIN}:")
    relays = await asks(alice, "<services xmlns='urn:xmpp:extdisco:2'/>", to=DOMAIN)
    assert {s.get("type") for s in relays.iter("{urn:xmpp:extdisco:2}service")} >= {"turn"}
    await has_room(alice)
    for number in ("1", "2"):
        item = f"<item id='{number}'><bundle xmlns='urn:xmpp:omemo:2'/></item>"
        publish = f"<publish node='urn:xmpp:omemo:2:bundles'>{item}</publish>"
        await asks(alice, f"<pubsub xmlns='{PUBSUB}'>{publish}{OPEN}</pubsub>", "set")
    wanted = f"<pubsub xmlns='{PUBSUB}'><items node='urn:xmpp:omemo:2:bundles'/></pubsub>"
    items = await asks(bob, wanted, to=f"alice@{DOMAIN}")
    assert "2" in {item.get("id") for item in items.iter(f"{{{PUBSUB}}}item")}


async def has_room(alice):
    room = f"team@conference.{DOMAIN}"
    joining = f"<presence to='{room}/a'><x xmlns='{MUC}'/></presence>"
    alice.send(ET.fromstring(joining))
    await alice.wait(lambda e: e.get("from") == f"{room}/a" and e.get("type") is None)
    accepted = "<x xmlns='jabber:x:data' type='submit'/>"
    await asks(alice, f"<query xmlns='{MUC}#owner'>{accepted}</query>", "set", room)
    told = await asks(alice, f"<query xmlns='{DISCO}'/>", to=room)
    features = {feature.get("var") for feature in told.iter(f"{{{DISCO}}}feature")}
    assert features >= {"muc_membersonly", "muc_nonanonymous", "muc_hidden", "urn:xmpp:mam:2"}


async def asks(person, payload, kind="get", to=""):
    answer = await person.ask(ET.fromstring(payload), kind, to)
    assert answer.get("type") == "result", ET.tostring(answer)
    return answer


OPEN = (
    "<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
    f"<value>{PUBSUB}#publish-options</value></field><field var='pubsub#access_model'>"
    "<value>open</value></field></x></publish-options>"
)
