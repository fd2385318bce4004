"""A stranger floods one connection with calls and requests: everybody else still gets through."""

from __future__ import annotations

import asyncio

import pytest

from securecall.address import parse_address
from securecall.calls.signaling import Answered, Ended, Ringing, Route
from securecall.errors import EndReason
from securecall.sip import connections
from securecall.sip.agent import Agent
from securecall.sip.connections import SipServer
from securecall.sip.limits import MOST_CALLS, MOST_TRANSACTIONS, SERVER, STRANGER, Quota
from securecall.sip.message import Request, Response, build_message
from securecall.sip.output import Finished, Output, Overran, Rang
from securecall.sip.session import Session
from securecall.sip.signaling import SipSignaling
from securecall.transport import tls
from securecall.transport.origin import origin_of
from tests.pairs.sip.test_calls import BOB, Ear, description
from tests.pairs.sip.test_hostile_peers import Peer, server
from tests.unit.sip.test_agent import BODY, agent, answer, incoming, statuses
from tests.unit.transport.test_tls import Authority

MALLORY, ALICE = 1, 2  # two connections
LIFTED = Quota(unanswered=10**9, transactions=10**9)


def call(number: int, *, body: bytes = BODY, kind: str = "application/sdp") -> Request:
    message = incoming(branch=f"z9hG4bK{number}", body=body, type=kind)
    message.headers.replace("Call-ID", f"call-{number}")
    assert isinstance(message, Request)
    return message


def flood(
    a: Agent, count: int, quota: Quota, *, flow: int = MALLORY, kind: str = ""
) -> list[Output]:
    """Send calls and acknowledge nothing."""
    outputs: list[Output] = []
    for n in range(count):
        invite = call(1000 * flow + n, kind=kind or "application/sdp")
        outputs += a.receive(invite, flow=flow, direct=True, now=1.0, quota=quota)
    return outputs


def rings(outputs: list[Output] | tuple[Output, ...]) -> int:
    return sum(isinstance(o, Rang) for o in outputs)


def test_calls_of_one_connection_ring_eight_times_and_another_connection_gets_through():
    a = agent()
    outputs = flood(a, 2 * MOST_CALLS, STRANGER)
    assert rings(outputs) == STRANGER.unanswered == 8
    answers = statuses(tuple(outputs))
    assert set(answers) == {100, 486, 503}
    assert Overran(MALLORY) in outputs
    legit = a.receive(call(1), flow=ALICE, direct=True, now=2.0)
    assert rings(legit) == 1


def test_control_without_a_quota_the_flood_locks_everybody_out():
    a = agent()
    assert rings(flood(a, 2 * MOST_CALLS, LIFTED)) == MOST_CALLS
    legit = a.receive(call(1), flow=ALICE, direct=True, now=2.0)
    assert statuses(legit) == [503]


@pytest.mark.parametrize(("quota", "answer"), [(STRANGER, [200]), (LIFTED, [503])])
def test_refused_calls_nobody_acknowledges_fill_one_connection_alone(quota, answer):
    a = agent()
    outputs = flood(a, MOST_TRANSACTIONS + 1, quota, kind="text/plain")
    assert set(statuses(tuple(outputs))) == {415, 503}
    assert (Overran(MALLORY) in outputs) is (quota is STRANGER)
    options = incoming("OPTIONS", body=b"", branch="z9hG4bKlegit")
    assert statuses(a.receive(options, flow=ALICE, direct=True, now=2.0)) == answer


def test_all_connections_of_one_address_and_the_server_leave_room_for_others():
    assert tls.MOST_OF_ONE_ADDRESS * STRANGER.unanswered <= MOST_CALLS // 2
    assert tls.MOST_OF_ONE_ADDRESS * STRANGER.transactions <= MOST_TRANSACTIONS // 2
    assert SERVER.unanswered <= MOST_CALLS // 2
    assert SERVER.transactions <= MOST_TRANSACTIONS // 2
    a = agent()
    for flow in range(10, 10 + tls.MOST_OF_ONE_ADDRESS):
        _ = flood(a, 100, STRANGER, flow=flow)
    assert rings(a.receive(call(1), flow=ALICE, direct=True, now=2.0)) == 1


def busy(a: Agent, outputs: list[Output]) -> list[Session]:
    """Refuse every call that rings, as a client does that is in another one."""
    sessions = [o.session for o in outputs if isinstance(o, Rang)]
    for session in sessions:
        _ = a.perform(session, Ended(EndReason.BUSY), now=1.0)
    return sessions


@pytest.mark.parametrize("refused", [False, True], ids=["control", "refused"])
def test_calls_that_were_refused_and_wait_for_their_ack_leave_room_for_others(refused):
    a = agent()
    for flow in range(10, 10 + MOST_CALLS // STRANGER.unanswered):  # all of the calls there may be
        outputs = flood(a, STRANGER.unanswered, STRANGER, flow=flow)
        assert rings(outputs) == STRANGER.unanswered
        if refused:
            _ = busy(a, outputs)
    legit = a.receive(call(1), flow=ALICE, direct=True, now=2.0)
    assert (rings(legit), statuses(legit)) == ((1, [100]) if refused else (0, [503]))


def test_a_refused_call_holds_nothing_that_its_caller_could_make_large():
    a = agent()
    (session,) = busy(a, flood(a, 1, STRANGER))
    malformed = call(7, body=b"v=1" + b"x" * 60_000)
    large = len(malformed.body)
    assert statuses(a.receive(malformed, flow=MALLORY, direct=True, now=1.0)) == [400]
    assert large > 60_000  # control: it was there
    assert (malformed.body, session.invite.body, session.offer) == (b"", b"", None)


def test_what_is_done_does_not_count():
    a = agent()
    for n in range(4 * STRANGER.transactions):
        options = incoming("OPTIONS", body=b"", branch=f"z9hG4bK{n}")
        # all within one read of the socket, so that no timer runs in between
        assert statuses(a.receive(options, flow=MALLORY, direct=True, now=1.0)) == [200]


def test_a_call_that_ends_makes_room_for_the_next():
    a = agent()
    _ = flood(a, STRANGER.unanswered, STRANGER)
    late = call(5000)
    assert statuses(a.receive(late, flow=MALLORY, direct=True, now=1.0)) == [486]
    cancel = incoming("CANCEL", body=b"", branch=f"z9hG4bK{1000 * MALLORY}")
    cancel.headers.replace("Call-ID", f"call-{1000 * MALLORY}")
    assert statuses(a.receive(cancel, flow=MALLORY, direct=True, now=1.0)) == [200, 487]
    assert rings(a.receive(call(5001), flow=MALLORY, direct=True, now=1.0)) == 1


def test_what_a_flood_held_is_given_back():
    a = agent()
    _ = flood(a, 100, STRANGER)
    ended = a.lost(MALLORY, now=2.0)
    assert sum(isinstance(o, Finished) for o in ended) == STRANGER.unanswered
    assert a.deadline is None


# -- over TLS -------------------------------------------------------------------------------------


async def flooded(count: int) -> tuple[SipSignaling, list[Ear], Peer]:
    """An adapter to which a raw peer sent calls, all acted upon."""
    ears: list[Ear] = []
    bob = await SipSignaling.open(listen=("127.0.0.1", 0))
    bob.on_incoming(lambda leg: ears.append(Ear(leg)))  # type: ignore[arg-type] # the adapter's own class
    mallory = Peer(await tls.connect_direct(*bob.listening))  # type: ignore[misc] # it listens
    for n in range(count):
        mallory.connection.send(build_message(call(n)))
        if n % 50 == 49:
            await asyncio.sleep(0)
    return bob, ears, mallory


def test_a_flooding_connection_is_closed_its_calls_end_and_others_ring():
    async def main() -> None:
        bob, ears, mallory = await flooded(2 * MOST_CALLS)
        await mallory.until_closed()
        assert len(ears) == STRANGER.unanswered
        for ear in ears:
            assert isinstance(await ear.next(), Ended)
        alice = await SipSignaling.open()
        caller = Ear(await alice.dial(Route(BOB, bob.listening), description()))  # type: ignore[arg-type] # the adapter's own class
        async with asyncio.timeout(5):
            while len(ears) == STRANGER.unanswered:  # noqa: ASYNC110 - the loop turns until it rang
                await asyncio.sleep(0)
        ears[-1].leg.send(Answered(description(5000)))
        assert isinstance(await caller.next(), Answered)
        await alice.close()
        await mallory.connection.close()
        await bob.close()

    asyncio.run(main())


def test_control_without_a_quota_a_call_over_tls_is_refused(monkeypatch):
    monkeypatch.setattr(connections, "STRANGER", LIFTED)

    async def main() -> None:
        bob, ears, mallory = await flooded(MOST_CALLS)
        async with asyncio.timeout(20):
            while len(ears) < MOST_CALLS:  # noqa: ASYNC110 - the loop turns until all rang
                await asyncio.sleep(0)
        alice = await SipSignaling.open()
        caller = Ear(await alice.dial(Route(BOB, bob.listening), description()))  # type: ignore[arg-type] # the adapter's own class
        end = await caller.next()
        assert isinstance(end, Ended)
        assert end.status == 503
        await alice.close()
        mallory.connection.abort()
        await bob.close()

    asyncio.run(main())


def test_a_flood_through_the_server_is_refused_and_its_connection_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "SERVER", Quota(unanswered=2, transactions=4))
    authority = Authority(tmp_path)

    async def main() -> None:
        async with server(authority.issue("a.example")) as (listener, peers):
            host, port = listener.address
            alice = await SipSignaling.open(
                server=SipServer(host=host, port=port, name="a.example"),
                authorities=authority.path,
            )
            bob = Route(parse_address("sip:bob@a.example"))
            caller = Ear(await alice.dial(bob, description()))  # type: ignore[arg-type] # the adapter's own class
            peer = await peers.get()
            invite = await peer.next()
            assert isinstance(invite, Request)
            for n in range(9):
                peer.send(call(n))
            refused = [await peer.next() for _ in range(13)]  # four of them got a 100 first
            assert [r.status for r in refused if isinstance(r, Response)][-5:] == [503] * 5
            peer.send(answer(invite, 180))
            assert await caller.next() == Ringing()
            peer.send(answer(invite, 486))
            assert isinstance(await caller.next(), Ended)
            await alice.close()

    asyncio.run(main())


async def greet(connection: tls.TlsConnection) -> None:
    _ = await connection.receive()


@pytest.mark.parametrize("counted", [True, False])
def test_one_address_holds_a_part_of_the_listener_only(counted, monkeypatch):
    monkeypatch.setattr(tls, "MOST_OF_ONE_ADDRESS", 3)
    monkeypatch.setattr(tls, "MOST_CONNECTIONS", 6)
    callers = ["192.0.2.1"] * 6 + ["192.0.2.2"]

    def origin(_host: str) -> str:
        return callers.pop(0) if counted else ""  # the control: as if nobody counted

    async def main() -> None:
        listener = await tls.listen_direct("127.0.0.1", 0, greet, origin=origin)
        held = [await asyncio.open_connection(*listener.address) for _ in range(6)]
        try:
            async with asyncio.timeout(5):
                if not counted:
                    reader, writer = await asyncio.open_connection(*listener.address)
                    assert await reader.read() == b""  # full: the flood holds all of it
                    writer.close()
                    return
                legit = await tls.connect_direct(*listener.address)
                for reader, _ in held[3:]:
                    assert await reader.read() == b""
                assert listener.connections == 4
                await legit.close()
        finally:
            for _, w in held:
                w.transport.abort()
            await listener.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("127.0.0.1", ""),
        ("127.8.9.1", ""),
        ("::1", ""),
        ("::ffff:127.0.0.1", ""),
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_callers_are_counted_by_what_they_cannot_have_many_of(host, name):
    assert origin_of(host) == name
