"""An account that knows its address alone finds its server in DNS; it has to prove the name."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest

from securecall.address import parse_address
from securecall.calls.signaling import Route
from securecall.errors import CertificateError, ConnectFailed, RegistrationFailed
from securecall.sip.connections import SipServer
from securecall.sip.registration import RegistrationState
from securecall.sip.signaling import SipSignaling
from securecall.transport import tls
from securecall.transport.resolver import Resolver
from securecall.transport.tls import TlsConnection
from tests.dns_server import serving
from tests.pairs.sip.test_calls import description
from tests.pairs.sip.test_hostile_peers import Peer
from tests.unit.sip.test_agent import answer
from tests.unit.transport.test_tls import Authority

DOMAIN = "clinic.example"
BOB = Route(parse_address(f"sip:bob@{DOMAIN}"))


@asynccontextmanager
async def listening(authority, name):
    peers: asyncio.Queue[Peer] = asyncio.Queue()

    async def accept(connection: TlsConnection) -> None:
        peers.put_nowait(Peer(connection))
        _ = await asyncio.Event().wait()

    listener = await tls.listen("127.0.0.1", 0, accept, certificate=authority.issue(name))
    try:
        yield listener.address[1], peers
    finally:
        await listener.close()


@asynccontextmanager
async def alice(authority, table):
    async with serving(table) as names:
        signaling = await SipSignaling.open(
            local=parse_address(f"sip:alice@{DOMAIN}"),
            server=SipServer(host=DOMAIN, port=0, name=DOMAIN),
            authorities=authority.path,
            resolver=Resolver(nameservers=[names.address]),
        )
        try:
            yield signaling
        finally:
            await signaling.close()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def records(*servers: str):
    return {
        (f"_sips._tcp.{DOMAIN}", "SRV"): list(servers),
        ("one.host.example", "A"): ["127.0.0.1"],
        ("two.host.example", "A"): ["127.0.0.1"],
    }


def test_the_next_server_is_tried_where_the_first_is_dead(tmp_path):
    async def main() -> None:
        authority = Authority(tmp_path)
        async with listening(authority, DOMAIN) as (port, peers):
            table = records(
                f"10 0 {closed_port()} one.host.example.", f"20 0 {port} two.host.example."
            )
            async with alice(authority, table) as signaling:
                leg = await signaling.dial(BOB, description())
                invite = await (await peers.get()).next()
                assert invite.start_line() == f"INVITE sip:bob@{DOMAIN} SIP/2.0"
                assert leg.path.verified_name == DOMAIN

    asyncio.run(main())


def test_a_server_that_proves_its_own_name_but_not_the_domain_hears_nothing(tmp_path):
    async def main() -> None:
        authority = Authority(tmp_path)
        async with (
            listening(authority, "one.host.example") as (port, peers),
            listening(authority, DOMAIN) as (right, _),
        ):
            table = records(f"10 0 {port} one.host.example.", f"20 0 {right} two.host.example.")
            async with alice(authority, table) as signaling:
                with pytest.raises(CertificateError):
                    await signaling.dial(BOB, description())
            assert peers.empty()

    asyncio.run(main())


def test_a_domain_that_offers_no_secure_service_is_not_called(tmp_path):
    async def main() -> None:
        async with alice(Authority(tmp_path), records("0 0 0 .")) as signaling:
            with pytest.raises(ConnectFailed):
                await signaling.dial(BOB, description())

    asyncio.run(main())


@pytest.mark.parametrize("next_one", ["good", "dead"])
def test_a_server_that_is_busy_is_left_for_the_next_unless_that_is_dead(tmp_path, next_one):
    """Where the only other server is dead, that the first one is busy is what is told."""

    async def main() -> None:
        authority = Authority(tmp_path)
        async with (
            listening(authority, DOMAIN) as (busy, busy_peers),
            listening(authority, DOMAIN) as (good, good_peers),
        ):
            other = good if next_one == "good" else closed_port()
            table = records(f"10 0 {busy} one.host.example.", f"20 0 {other} two.host.example.")
            async with alice(authority, table) as signaling:
                states = []
                signing_in = asyncio.ensure_future(
                    signaling.sign_in(
                        instance="", watcher=lambda state, error: states.append(state)
                    )
                )
                first = await busy_peers.get()
                first.send(answer(await first.next(), 503))
                if next_one == "dead":
                    # the dead one is tried, and what answers is the busy one again
                    again = await busy_peers.get()
                    again.send(answer(await again.next(), 503))
                    with pytest.raises(RegistrationFailed):
                        await signing_in
                    return
                second = await good_peers.get()
                second.send(answer(await second.next(), 200))
                await signing_in
                assert signaling.registration is RegistrationState.REGISTERED

    asyncio.run(main())
