"""The XMPP servers that chat is tested with do what chat needs, asked by a client of the tests."""

from __future__ import annotations

import asyncio
import http.client
import ssl
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import pytest

from securecall.testing.daemons import XmppOptions, start_ejabberd, start_prosody
from tests.interop.xmpp_person import CLIENT, Refused
from tests.interop.xmpp_servers import running, sign_in

MESSAGE = f"{{{CLIENT}}}message"
SM = "urn:xmpp:sm:3"
MUC = "http://jabber.org/protocol/muc"
PUBSUB = "http://jabber.org/protocol/pubsub"
FORWARD = "{urn:xmpp:forward:0}forwarded"


def run(server, test, *names):
    async def main():
        people = []
        try:
            for name in names:
                people.append(await sign_in(server, name))
            await test(*people)
        finally:
            for person in people:
                await person.close()

    asyncio.run(main())


def xml(text):
    return ET.fromstring(text)


def said(text):
    return lambda e: e.tag == MESSAGE and any(b.text == text for b in e.iter(f"{{{CLIENT}}}body"))


def message(to, text, kind="chat"):
    return xml(f"<message to='{to}' type='{kind}' id='{text}'><body>{text}</body></message>")


def form(kind, **fields):
    rows = "".join(
        f"<field var='{name}'><value>{value}</value></field>" for name, value in fields.items()
    )
    return (
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
        f"<value>{kind}</value></field>{rows}</x>"
    )


def test_a_password_is_proved_and_never_sent(server):
    async def main(alice):
        assert set(alice.mechanisms) <= {"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"}
        with pytest.raises(Refused, match="not-authorized"):
            await sign_in(server, "alice", "wrong")

    run(server, main, "alice")


def test_other_devices_get_copies_and_the_archive_keeps_what_was_said(server):
    async def main(one, two, bob):
        await two.ask(xml("<enable xmlns='urn:xmpp:carbons:2'/>"))
        one.send(message(f"bob@{server.domain}", "for two devices"))
        assert (await bob.wait(said("for two devices"))).get("from") == one.jid
        copy = await two.wait(said("for two devices"))
        assert copy.find(f"{{urn:xmpp:carbons:2}}sent/{FORWARD}") is not None
        # the last page: other tests wrote to these people, too
        page = "<set xmlns='http://jabber.org/protocol/rsm'><max>20</max><before/></set>"
        done = await one.ask(xml(f"<query xmlns='urn:xmpp:mam:2' queryid='q'>{page}</query>"))
        assert done.find("{urn:xmpp:mam:2}fin") is not None
        kept = await one.wait(said("for two devices"))
        assert kept.find(f"{{urn:xmpp:mam:2}}result/{FORWARD}") is not None

    run(server, main, "alice", "alice", "bob")


def publish(node, number, **options):
    fields = {f"pubsub#{name}": value for name, value in options.items()}
    return xml(
        f"<pubsub xmlns='{PUBSUB}'><publish node='{node}'><item id='{number}'>"
        "<bundle xmlns='urn:xmpp:omemo:2'/></item></publish><publish-options>"
        f"{form(f'{PUBSUB}#publish-options', **fields)}</publish-options></pubsub>"
    )


def test_strangers_read_what_is_published_openly_and_all_of_its_items(server):
    node = "urn:xmpp:omemo:2:bundles"

    async def main(alice, bob):
        done = await alice.ask(publish(node, "1", access_model="open", max_items="max"))
        if server.name == "ejabberd":  # does not know max_items here, and would keep one item
            assert done.find(".//{*}resource-constraint") is not None
            done = await alice.ask(publish(node, "1", access_model="open"))
            assert done.get("type") == "result", ET.tostring(done)
            fields = form(f"{PUBSUB}#node_config", **{"pubsub#max_items": "max"})
            settings = f"<configure node='{node}'>{fields}</configure>"
            done = await alice.ask(xml(f"<pubsub xmlns='{PUBSUB}#owner'>{settings}</pubsub>"))
        assert done.get("type") == "result", ET.tostring(done)
        done = await alice.ask(publish(node, "2", access_model="open"))
        assert done.get("type") == "result", ET.tostring(done)
        wanted = xml(f"<pubsub xmlns='{PUBSUB}'><items node='{node}'/></pubsub>")
        items = await bob.ask(wanted, "get", f"alice@{server.domain}")
        # real devices of other tests may be there, too
        assert {item.get("id") for item in items.iter(f"{{{PUBSUB}}}item")} >= {"1", "2"}

    run(server, main, "alice", "bob")


def test_a_file_is_put_and_fetched(server):
    tls = ssl.create_default_context(cafile=server.authorities)

    def web(verb, address, body=None, **headers):
        at = urlsplit(address)
        connection = http.client.HTTPSConnection(at.hostname, at.port, context=tls, timeout=10)
        try:
            connection.request(verb, at.path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    async def main(alice):
        answer = await alice.ask(
            xml(
                "<request xmlns='urn:xmpp:http:upload:0' filename='a.bin' size='5'"
                " content-type='application/octet-stream'/>"
            ),
            "get",
            f"upload.{server.domain}",
        )
        put, get = answer.find(".//{*}put"), answer.find(".//{*}get")
        headers = {h.get("name"): h.text for h in put.iter("{urn:xmpp:http:upload:0}header")}
        headers["Content-Type"] = "application/octet-stream"
        status, _ = await asyncio.to_thread(web, "PUT", put.get("url"), b"12345", **headers)
        assert status == 201
        assert await asyncio.to_thread(web, "GET", get.get("url")) == (200, b"12345")

    run(server, main, "alice")


def test_a_room_is_for_its_members_and_has_an_archive(server):
    room = f"private-{server.name}@conference.{server.domain}"

    def enter(nick):
        return xml(f"<presence to='{room}/{nick}'><x xmlns='{MUC}'/></presence>")

    def presence(nick):
        return lambda e: e.tag == f"{{{CLIENT}}}presence" and e.get("from") == f"{room}/{nick}"

    async def main(alice, bob, carol):
        alice.send(enter("a"))
        await alice.wait(presence("a"))
        settings = form(
            f"{MUC}#roomconfig",
            **{"muc#roomconfig_membersonly": "1", "muc#roomconfig_whois": "anyone"},
        )
        for payload in (
            f"<query xmlns='{MUC}#owner'>{settings}</query>",
            f"<query xmlns='{MUC}#admin'><item affiliation='member' jid='bob@{server.domain}'/>"
            "</query>",
        ):
            done = await alice.ask(xml(payload), to=room)
            assert done.get("type") == "result", ET.tostring(done)
        carol.send(enter("c"))
        assert (await carol.wait(presence("c"))).find(".//{*}registration-required") is not None
        bob.send(enter("b"))
        assert (await bob.wait(presence("b"))).get("type") is None
        alice.send(message(room, "among members", "groupchat"))
        await bob.wait(said("among members"))
        await bob.ask(xml("<query xmlns='urn:xmpp:mam:2'/>"), to=room)
        kept = await bob.wait(said("among members"))
        assert kept.find(f"{{urn:xmpp:mam:2}}result/{FORWARD}") is not None

    run(server, main, "alice", "bob", "carol")


def test_a_lost_stream_is_resumed_with_what_was_sent_meanwhile(server):
    async def main(alice, bob):
        bob.send(xml(f"<enable xmlns='{SM}' resume='true'/>"))
        enabled = await bob.wait(lambda e: e.tag == f"{{{SM}}}enabled")
        assert enabled.get("resume") in {"true", "1"}
        await bob.lose()
        alice.send(message(bob.jid, "in the dark"))
        back = await sign_in(server, "bob", resume=enabled.get("id"))
        await back.wait(said("in the dark"))
        await back.close()

    run(server, main, "alice", "bob")


def test_somebody_is_blocked(server):
    async def main(carol, dave):
        blocked = f"<item jid='dave@{server.domain}'/>"
        done = await carol.ask(xml(f"<block xmlns='urn:xmpp:blocking'>{blocked}</block>"))
        assert done.get("type") == "result"
        dave.send(message(f"carol@{server.domain}", "let me in"))
        refused = await dave.wait(lambda e: e.get("id") == "let me in")
        assert refused.get("type") == "error"
        done = await carol.ask(xml(f"<unblock xmlns='urn:xmpp:blocking'>{blocked}</unblock>"))
        assert done.get("type") == "result"  # they write to each other in other tests

    run(server, main, "carol", "dave")


def test_a_relay_and_its_passing_credentials_are_told(server):
    async def main(alice):
        answer = await alice.ask(
            xml("<services xmlns='urn:xmpp:extdisco:2'/>"), "get", server.domain
        )
        relays = [s for s in answer.iter("{urn:xmpp:extdisco:2}service") if s.get("type") == "turn"]
        assert {relay.get("transport") for relay in relays} == {"udp", "tcp"}
        assert all(relay.get("username") and relay.get("password") for relay in relays)

    run(server, main, "alice")


def test_restarted_it_listens_where_it_did_and_has_what_it_had(fresh_server):
    """One of its own: elsewhere a session of another test's Frank may wait to be resumed, be given
    the message, and end with the server."""
    server = fresh_server

    async def leave(erin):
        erin.send(message(f"frank@{server.domain}", "kept over night"))
        await erin.ask(xml("<ping xmlns='urn:xmpp:ping'/>"), "get")
        frank = await sign_in(server, "frank", present=False)  # so that it stays where it is
        try:
            async with asyncio.timeout(15):
                while not any(map(said("kept over night"), await frank.archive())):
                    pass
        finally:
            await frank.close()

    async def find(frank):
        await frank.wait(said("kept over night"))

    run(server, leave, "erin")
    server.restart()
    run(server, find, "frank")


@pytest.mark.parametrize("start", [start_prosody, start_ejabberd])
def test_a_second_one_with_other_options_runs_beside_it(start, tmp_path, certificates):
    options = XmppOptions(
        scram="both", resumption_seconds=0, bytes_per_second=100_000, upload_bytes=1000
    )

    async def main(alice, other):
        assert {"SCRAM-SHA-1", "SCRAM-SHA-256"} <= set(alice.mechanisms)
        assert "PLAIN" not in alice.mechanisms
        too_long = "<request xmlns='urn:xmpp:http:upload:0' filename='a.bin' size='1001'/>"
        answer = await alice.ask(xml(too_long), "get", f"upload.{server.domain}")
        assert answer.find(".//{*}file-too-large") is not None
        services = await alice.ask(
            xml("<services xmlns='urn:xmpp:extdisco:2'/>"), "get", server.domain
        )
        assert not list(services.iter("{urn:xmpp:extdisco:2}service"))
        alice.send(xml(f"<enable xmlns='{SM}' resume='true'/>"))
        enabled = await alice.wait(lambda e: e.tag == f"{{{SM}}}enabled")
        await alice.lose()
        await other.wait(lambda e: e.get("from") == alice.jid and e.get("type") == "unavailable")
        with pytest.raises(Refused, match="item-not-found"):
            await sign_in(server, "alice", resume=enabled.get("id") or "none")

    with running(start, tmp_path / "second", certificates, options) as server:
        run(server, main, "alice", "alice")


def test_nothing_but_loopback_listens(server):
    psutil = pytest.importorskip("psutil")
    wanted = set(server.ports.values())
    listening = [c for c in psutil.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    owners = {c.pid for c in listening if c.laddr.port in wanted}
    assert len(owners) == 1
    theirs = [c.laddr for c in listening if c.pid in owners]
    assert {a.port for a in theirs} == wanted
    assert {a.ip for a in theirs} == {"127.0.0.1"}
