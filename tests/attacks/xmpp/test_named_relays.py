"""Our XMPP server names relays in a network of ours, to have us knock where it cannot."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from xml.etree.ElementTree import Element, SubElement

import pytest

import securecall as sc
from securecall.errors import CertificateError, ConnectFailed, NameNotFound
from securecall.testing.authority import Authority
from securecall.testing.little_relay import LittleRelay
from securecall.transport import helping
from securecall.transport.helping import Reach, helpers_of, reach
from securecall.transport.ice import IcePath
from securecall.transport.tls_context import server_context
from securecall.transport.turn import MOST_RELAYS, IceHelpers, TurnServer
from securecall.xmpp.external_services import EXTDISCO, SERVICES
from tests.unit.test_chat_account import Scene

PUBLIC, LAN, HERE = "9.9.9.9", "192.168.7.7", "127.0.0.1"


def named(host, port=3478, kind="turn"):
    """What a server says when it is asked for its services."""
    answer = Element(SERVICES)
    attributes = {"type": kind, "host": host, "port": str(port)}
    if kind == "turn":
        attributes |= {"username": "anybody", "password": "anything"}
    SubElement(answer, f"{{{EXTDISCO}}}service", attributes)
    return answer


async def knock(folder, server, relay, host=HERE):
    """Gather for a call with what the server names; whether anybody asked the relay for a place."""
    scene = Scene(folder)
    scene.session.server_address = server
    scene.session.answers["get", SERVICES] = lambda *_: named(host, relay.server.port)
    helpers = await scene.account.helpers()
    path = IcePath(controlling=True, turn_servers=helpers.turn)
    await path.gather([HERE])
    await path.close()
    return bool(relay.allocated)


@pytest.mark.parametrize("host", [HERE, "localhost"])
@pytest.mark.parametrize(
    ("server", "asked"),
    [(PUBLIC, False), (LAN, False), ("", False), ("fe80::1", False), (HERE, True), ("::1", True)],
)
def test_nobody_knocks_at_this_machine_for_a_server_elsewhere(server, asked, host, tmp_path):
    """The controls are servers of this machine, as those of tests and of a workshop."""

    async def main():
        async with LittleRelay() as relay:
            assert await knock(tmp_path, server, relay, host) is asked

    asyncio.run(main())


def test_control_what_the_application_names_is_used_wherever_it_lies():
    """`Client.use_relay` hands on what it is given."""

    async def main():
        async with LittleRelay() as relay:
            path = IcePath(controlling=True, turn_servers=(relay.server,))
            await path.gather([HERE])
            await path.close()
            assert relay.allocated

    asyncio.run(main())


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("9.9.9.9", Reach.PUBLIC),
        ("2a00::1", Reach.PUBLIC),
        ("::ffff:9.9.9.9", Reach.PUBLIC),
        ("10.1.2.3", Reach.PRIVATE),
        ("192.168.0.1", Reach.PRIVATE),
        ("172.31.0.1", Reach.PRIVATE),
        ("100.64.0.1", Reach.PRIVATE),
        ("fd00::1", Reach.PRIVATE),
        ("64:ff9b::a00:1", Reach.PRIVATE),
        ("169.254.169.254", Reach.LINK),
        ("::ffff:169.254.169.254", Reach.LINK),
        ("fe80::1", Reach.LINK),
        ("fe80::1%lo", Reach.LINK),
        ("127.0.0.1", Reach.MACHINE),
        ("127.255.0.1", Reach.MACHINE),
        ("::1", Reach.MACHINE),
        ("::ffff:127.0.0.1", Reach.MACHINE),
        ("0.0.0.0", Reach.NOWHERE),
        ("::", Reach.NOWHERE),
        ("255.255.255.255", Reach.NOWHERE),
        ("224.0.0.1", Reach.NOWHERE),
        ("ff02::1", Reach.NOWHERE),
    ],
)
def test_every_address_has_its_reach_and_a_helper_has_that_of_its_server_or_more(address, found):
    assert reach(address) is found
    for server, least in ((PUBLIC, Reach.PUBLIC), (LAN, Reach.PRIVATE), (HERE, Reach.MACHINE)):
        told = IceHelpers(turn=(relay(address),), stun=(address, 3478))
        taken = asyncio.run(helpers_of(told, server=server))
        assert bool(taken.turn) is bool(taken.stun) is (found >= least)


@pytest.mark.parametrize(
    ("server", "helper", "taken"),
    [
        (PUBLIC, LAN, False),
        (LAN, "10.9.9.9", True),
        (LAN, "169.254.169.254", False),
        (LAN, HERE, False),
        ("169.254.1.1", "169.254.169.254", True),
        ("169.254.1.1", HERE, False),
        (HERE, HERE, True),
        (HERE, "0.0.0.0", False),  # which leads to this machine as well
        ("0.0.0.0", "0.0.0.0", False),
    ],
)
def test_no_helper_lies_nearer_than_who_names_it(server, helper, taken):
    told = IceHelpers(turn=(relay(helper),))
    assert bool(asyncio.run(helpers_of(told, server=server)).turn) is taken


def relay(host, **options):
    return TurnServer(host=host, port=3478, username="u", password=sc.Secret("p"), **options)


def test_a_name_is_looked_up_once_and_what_was_checked_is_gone_to(monkeypatch):
    asked = []

    async def resolved(host):
        asked.append(host)
        if host == "nowhere.example":
            raise NameNotFound("nowhere.example is not known")
        return [LAN, PUBLIC] if len(asked) == 1 else [HERE]

    monkeypatch.setattr(helping, "resolved", resolved)
    told = IceHelpers(turn=(relay("a.example"),), stun=("a.example", 3478))
    taken = asyncio.run(helpers_of(told, server=PUBLIC))
    assert asked == ["a.example"]
    assert [(r.host, r.address) for r in taken.turn] == [("a.example", PUBLIC)]
    assert taken.stun == (PUBLIC, 3478)
    assert asyncio.run(helpers_of(told, server=PUBLIC)) == IceHelpers()  # it lies here by now
    told = IceHelpers(turn=(relay("nowhere.example"),))
    assert asyncio.run(helpers_of(told, server=HERE)) == IceHelpers()


def test_a_name_nobody_answers_for_does_not_keep_a_call(monkeypatch):
    async def resolved(_host):
        await asyncio.Event().wait()

    monkeypatch.setattr(helping, "resolved", resolved)
    monkeypatch.setattr(helping, "_LOOKUP_SECONDS", 0.01)
    told = IceHelpers(turn=(relay("a.example"), relay(PUBLIC)))
    taken = asyncio.run(helpers_of(told, server=PUBLIC))
    assert [r.host for r in taken.turn] == [PUBLIC]


def test_of_many_relays_only_as_many_names_are_looked_up_as_are_asked(monkeypatch):
    asked = []

    async def resolved(host):
        asked.append(host)
        return [PUBLIC]

    monkeypatch.setattr(helping, "resolved", resolved)
    told = IceHelpers(turn=tuple(relay(f"r{n}.example") for n in range(64)))
    taken = asyncio.run(helpers_of(told, server=PUBLIC))
    assert len(taken.turn) == len(asked) == MOST_RELAYS


@pytest.mark.parametrize("proved", ["relay.example", "127.0.0.1"])
def test_a_relay_by_tls_proves_its_name_at_whatever_address(proved, tmp_path):
    """The control proves the address that was gone to, and nothing of the name."""

    async def main():
        authority = Authority.make(tmp_path)
        asked = asyncio.Event()

        async def meet(reader, writer):
            if await reader.read(1):
                asked.set()
            writer.close()

        server = await asyncio.start_server(
            meet, HERE, 0, ssl=server_context(authority.issue(proved))
        )
        there = relay("relay.example", tls=True, transport="tcp", authorities=authority.pem)
        there = replace(there, port=server.sockets[0].getsockname()[1], address=HERE)
        path = IcePath(controlling=True, turn_servers=[there], relay_only=True)
        gathering = asyncio.ensure_future(path.gather([HERE]))
        if proved == there.host:
            await asyncio.wait_for(asked.wait(), 20)
            gathering.cancel()
        with pytest.raises((CertificateError, asyncio.CancelledError)) as over:
            await gathering
        assert (over.type is CertificateError) is (proved != there.host)
        await path.close()
        server.close()

    asyncio.run(main())


def test_without_a_relay_that_may_be_asked_no_address_is_shown_instead(tmp_path):
    """A policy that hides our address does not fall back to showing it."""

    async def main():
        scene = Scene(tmp_path)
        scene.session.server_address = PUBLIC
        scene.session.answers["get", SERVICES] = lambda *_: named(LAN)
        helpers = await scene.account.helpers()
        path = IcePath(controlling=True, turn_servers=helpers.turn, relay_only=True)
        with pytest.raises(ConnectFailed):
            await path.gather([HERE])
        await path.close()

    asyncio.run(main())
