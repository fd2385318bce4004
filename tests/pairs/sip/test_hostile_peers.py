"""An adapter against a raw TLS peer that breaks rules, or vanishes, in every state of a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from securecall.calls.signaling import Answered, Ended, Ringing, Route
from securecall.errors import CertificateError, ConnectFailed, EndReason, LocalError, UsageError
from securecall.sip.connections import SipServer
from securecall.sip.message import Request, Response, build_message
from securecall.sip.sdp import build_description
from securecall.sip.signaling import SipSignaling
from securecall.sip.stream import MessageStream
from securecall.transport import tls
from securecall.transport.tls import PemPair, TlsConnection
from tests.pairs.sip.test_calls import BOB, Ear, description
from tests.unit.sip.test_agent import answer
from tests.unit.transport.test_tls import Authority

SDP = build_description(description(5000), session_id=1, version=1)
JUNK = {
    "no sip": b"GET / HTTP/1.1\r\n\r\n",
    "bytes": bytes(range(256)) + b"\r\n\r\n",
    "two lengths": b"OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 0\r\nl: 5\r\n\r\n",
    "no length": b"OPTIONS sip:a@b SIP/2.0\r\n\r\n",
    "an endless header": b"X: " + b"a" * 20000,
    "a huge body": b"OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 9999999\r\n\r\n",
}
STAGES = ("invited", "trying", "ringing", "confirmed", "reinvited")


class Peer:
    """The raw end of one connection."""

    def __init__(self, connection: TlsConnection) -> None:
        self.connection = connection
        self._stream = MessageStream()
        self._ready: list[Request | Response] = []

    async def next(self) -> Request | Response:
        async with asyncio.timeout(5):
            while not self._ready:
                data = await self.connection.receive()
                assert data, "closed"
                self._ready += self._stream.feed(data)
        return self._ready.pop(0)

    def send(self, message: Request | Response) -> None:
        self.connection.send(build_message(message))

    async def settle(self) -> None:
        """Return once everything sent before was acted on: requests are answered in order."""
        self.connection.send(
            b"OPTIONS sip:x@y SIP/2.0\r\nVia: SIP/2.0/TLS y;branch=z9hG4bKsettle\r\n"
            b"From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: s\r\nCSeq: 1 OPTIONS\r\n"
            b"Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        )
        answer = await self.next()
        assert isinstance(answer, Response)
        assert answer.status == 200

    async def until_closed(self) -> None:
        async with asyncio.timeout(5):
            while await self.connection.receive():
                pass


@asynccontextmanager
async def callee() -> AsyncIterator[tuple[SipSignaling, Ear, Peer, Request]]:
    """We call a raw peer; it has our INVITE."""
    peers: asyncio.Queue[Peer] = asyncio.Queue()

    async def accept(connection: TlsConnection) -> None:
        peers.put_nowait(Peer(connection))
        _ = await asyncio.Event().wait()

    listener = await tls.listen_direct("127.0.0.1", 0, accept)
    alice = await SipSignaling.open()
    try:
        ear = Ear(await alice.dial(Route(BOB, listener.address), description()))  # type: ignore[arg-type] # the adapter's own class
        peer = await peers.get()
        invite = await peer.next()
        assert isinstance(invite, Request)
        yield alice, ear, peer, invite
    finally:
        await alice.close()
        await listener.close()


async def bring(stage: str, ear: Ear, peer: Peer, invite: Request) -> None:
    if stage == "trying":
        peer.send(answer(invite, 100))
        await peer.settle()
    elif stage == "ringing":
        peer.send(answer(invite, 180))
        assert await ear.next() == Ringing()
    elif stage in ("confirmed", "reinvited"):
        peer.send(answer(invite, 200, body=SDP))
        assert isinstance(await ear.next(), Answered)
        assert (await peer.next()).cseq.method == "ACK"
        if stage == "reinvited":
            from securecall.calls.signaling import Offered

            ear.leg.send(Offered(description(6000)))
            assert (await peer.next()).cseq.method == "INVITE"


@pytest.mark.parametrize("stage", STAGES)
def test_a_peer_that_vanishes_ends_the_call(stage):
    async def main() -> None:
        async with callee() as (_, ear, peer, invite):
            await bring(stage, ear, peer, invite)
            peer.connection.abort()
            end = await ear.next()
            assert isinstance(end, Ended)
            vanished = {EndReason.PEER_VANISHED, EndReason.UNREACHABLE}
            assert end.reason in (vanished if stage == "invited" else {EndReason.PEER_VANISHED})
            async with asyncio.timeout(5):
                await ear.leg.closed()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("junk", "status"),
    [("two lengths", 400), ("no length", 400), ("a huge body", 513), ("a long header", 513)],
)
def test_a_request_whose_end_cannot_be_known_is_answered_before_the_connection_closes(junk, status):
    data = JUNK.get(junk) or b"OPTIONS sip:a@b SIP/2.0\r\n" + b"X: a\r\n" * 9000

    async def main() -> None:
        async with callee() as (_, _ear, peer, _invite):
            peer.connection.send(data)
            refusal = await peer.next()
            assert isinstance(refusal, Response)
            assert refusal.status == status
            await peer.until_closed()

    asyncio.run(main())


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("stage", STAGES)
def test_bytes_that_are_no_sip_end_the_connection_and_its_call(stage, junk):
    async def main() -> None:
        async with callee() as (_, ear, peer, invite):
            await bring(stage, ear, peer, invite)
            peer.connection.send(JUNK[junk])
            end = await ear.next()
            assert isinstance(end, Ended)
            await peer.until_closed()
            async with asyncio.timeout(5):
                await ear.leg.closed()

    asyncio.run(main())


@pytest.mark.parametrize("stage", STAGES)
def test_invalid_messages_are_dropped_and_the_call_goes_on(stage):
    async def main() -> None:
        async with callee() as (_, ear, peer, invite):
            await bring(stage, ear, peer, invite)
            stray = answer(invite, 200, body=SDP)
            stray.headers.replace("CSeq", "99999999999 INVITE")
            peer.send(stray)
            other = answer(invite, 200, body=SDP)
            other.headers.replace("Via", "SIP/2.0/TLS x;branch=z9hG4bKguess")
            peer.send(other)
            peer.connection.send(
                b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TLS y;branch=z9hG4bK7\r\n"
                b"From: <sip:a@b>;tag=1\r\n"
                b"To: <sip:a@b>\r\nCall-ID: z\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
            )
            refused = await peer.next()
            assert isinstance(refused, Response)
            assert refused.status == 400
            assert ear.heard.empty()
            peer.connection.abort()

    asyncio.run(main())


def test_a_caller_that_vanishes_while_ringing_is_told_and_others_go_on():
    async def main() -> None:
        rings: asyncio.Queue[Ear] = asyncio.Queue()
        bob = await SipSignaling.open(listen=("127.0.0.1", 0))
        bob.on_incoming(lambda leg: rings.put_nowait(Ear(leg)))  # type: ignore[arg-type] # the adapter's own class
        one, two = await SipSignaling.open(), await SipSignaling.open()
        first = Ear(await one.dial(Route(BOB, bob.listening), description()))  # type: ignore[arg-type] # the adapter's own class
        heard_first = await rings.get()
        second = Ear(await two.dial(Route(BOB, bob.listening), description()))  # type: ignore[arg-type] # the adapter's own class
        heard_second = await rings.get()
        junk = await tls.connect_direct(*bob.listening)  # type: ignore[misc] # it listens
        junk.send(JUNK["bytes"])
        assert await junk.receive() == b""
        await junk.close()
        await one.close()
        assert isinstance(await heard_first.next(), Ended)
        heard_second.leg.send(Answered(description(5000)))
        assert isinstance(await second.next(), Answered)
        assert first.heard.empty()
        await two.close()
        await bob.close()

    asyncio.run(main())


def test_a_connection_without_a_call_that_says_nothing_is_closed(monkeypatch):
    monkeypatch.setattr("securecall.sip.connections.IDLE_SECONDS", 0.05)

    async def main() -> None:
        bob = await SipSignaling.open(listen=("127.0.0.1", 0))
        rings: asyncio.Queue[Ear] = asyncio.Queue()
        bob.on_incoming(lambda leg: rings.put_nowait(Ear(leg)))  # type: ignore[arg-type] # the adapter's own class
        alice = await SipSignaling.open()
        caller = Ear(await alice.dial(Route(BOB, bob.listening), description()))  # type: ignore[arg-type] # the adapter's own class
        callee = await rings.get()
        idle = await tls.connect_direct(*bob.listening)  # type: ignore[misc] # it listens
        idle.send(b"OPTIONS sip:never-finished")
        async with asyncio.timeout(5):
            assert await idle.receive() == b""
        await idle.close()
        # the control: the connection that carries a call is as silent, and stays
        callee.leg.send(Ringing())
        assert await caller.next() == Ringing()
        await alice.close()
        await bob.close()

    asyncio.run(main())


def test_a_handler_that_fails_refuses_its_call_and_the_next_one_rings():
    async def main() -> None:
        calls: asyncio.Queue[object] = asyncio.Queue()
        first = [True]

        def sink(leg: object) -> None:
            if first.pop() if first else False:
                raise RuntimeError("expected by the test")
            calls.put_nowait(leg)

        bob = await SipSignaling.open(listen=("127.0.0.1", 0))
        bob.on_incoming(sink)
        alice = await SipSignaling.open()
        ear = Ear(await alice.dial(Route(BOB, bob.listening), description()))  # type: ignore[arg-type] # the adapter's own class
        end = await ear.next()
        assert isinstance(end, Ended)
        assert end.status == 480
        _ = await alice.dial(Route(BOB, bob.listening), description())
        async with asyncio.timeout(5):
            _ = await calls.get()
        await alice.close()
        await bob.close()

    asyncio.run(main())


# -- through a server -----------------------------------------------------------------------------


@asynccontextmanager
async def server(pair: PemPair) -> AsyncIterator[tuple[tls.Listener, asyncio.Queue[Peer]]]:
    peers: asyncio.Queue[Peer] = asyncio.Queue()

    async def accept(connection: TlsConnection) -> None:
        peers.put_nowait(Peer(connection))
        _ = await asyncio.Event().wait()

    listener = await tls.listen("127.0.0.1", 0, accept, certificate=pair)
    try:
        yield listener, peers
    finally:
        await listener.close()


def test_a_server_is_used_only_under_its_verified_name(tmp_path):
    from securecall.address import parse_address

    authority = Authority(tmp_path)
    alice_address, bob = parse_address("sip:alice@a.example"), parse_address("sip:bob@a.example")

    async def main() -> None:
        async with server(authority.issue("a.example")) as (listener, peers):
            host, port = listener.address
            wrong = await SipSignaling.open(
                local=alice_address,
                server=SipServer(host=host, port=port, name="b.example"),
                authorities=authority.path,
            )
            with pytest.raises(CertificateError):
                await wrong.dial(Route(bob), description())
            assert peers.empty()
            await wrong.close()

            alice = await SipSignaling.open(
                local=alice_address,
                server=SipServer(host=host, port=port, name="a.example"),
                authorities=authority.path,
            )
            ear = Ear(await alice.dial(Route(bob), description()))  # type: ignore[arg-type] # the adapter's own class
            peer = await peers.get()
            invite = await peer.next()
            assert isinstance(invite, Request)
            assert invite.target == "sip:bob@a.example"
            assert ear.leg.path.verified_name == "a.example"
            assert not ear.leg.path.direct
            peer.send(answer(invite, 200, body=SDP))
            assert isinstance(await ear.next(), Answered)
            _ = await peer.next()
            # the connection breaks, the call does not: its BYE finds a new one
            peer.connection.abort()
            again = await peers.get()
            await again.settle()
            assert ear.heard.empty()
            ear.leg.send(Ended(EndReason.HUNG_UP))
            bye = await again.next()
            assert bye.cseq.method == "BYE"
            again.send(answer(bye, 200))  # type: ignore[arg-type] # a request, as its method says
            async with asyncio.timeout(5):
                await ear.leg.closed()
            await alice.close()

    asyncio.run(main())


def test_without_a_server_only_direct_calls_are_possible():
    from securecall.address import parse_address

    async def main() -> None:
        alice = await SipSignaling.open()
        with pytest.raises(UsageError):
            await alice.dial(Route(parse_address("sip:bob@b.example")), description())
        await alice.close()

    asyncio.run(main())


def test_a_plain_tcp_server_is_refused():
    async def main() -> None:
        plain = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
        alice = await SipSignaling.open()
        with pytest.raises(ConnectFailed):
            await alice.dial(Route(BOB, plain.sockets[0].getsockname()), description())
        await alice.close()
        plain.close()
        await plain.wait_closed()

    asyncio.run(main())


# -- a listener with a name -----------------------------------------------------------------------


def test_a_named_listener_takes_calls_of_those_who_verify_its_name(tmp_path):
    from securecall.address import parse_address

    authority = Authority(tmp_path)
    bob_address = parse_address("sip:bob@b.example")

    async def main() -> None:
        rings: asyncio.Queue[Ear] = asyncio.Queue()
        bob = await SipSignaling.open(
            local=bob_address,
            listen=("127.0.0.1", 0),
            listen_certificate=authority.issue("b.example"),
        )
        bob.on_incoming(lambda leg: rings.put_nowait(Ear(leg)))  # type: ignore[arg-type] # the adapter's own class
        host, port = bob.listening or ("", 0)
        alice = await SipSignaling.open(
            local=parse_address("sip:alice@a.example"),
            server=SipServer(host=host, port=port, name="b.example"),
            authorities=authority.path,
        )
        caller = Ear(await alice.dial(Route(bob_address), description()))  # type: ignore[arg-type] # the adapter's own class
        async with asyncio.timeout(5):
            callee = await rings.get()
        # both ends know what was proven: the name of the listener, and nothing of the caller
        assert caller.leg.path.verified_name == "b.example"
        assert not caller.leg.path.direct
        assert callee.leg.path.verified_name == ""
        assert not callee.leg.path.direct
        assert callee.leg.remote == parse_address("sip:alice@a.example")
        assert callee.leg.local == bob_address
        callee.leg.send(Answered(description(5000)))
        assert isinstance(await caller.next(), Answered)
        caller.leg.send(Ended(EndReason.HUNG_UP))
        assert isinstance(await callee.next(), Ended)

        wrong = await SipSignaling.open(
            server=SipServer(host=host, port=port, name="c.example"), authorities=authority.path
        )
        with pytest.raises(CertificateError):
            await wrong.dial(Route(bob_address), description())
        assert rings.empty()
        for adapter in (wrong, alice, bob):
            await adapter.close()

    asyncio.run(main())


def test_a_listener_whose_certificate_cannot_be_read_does_not_open(tmp_path):
    async def main() -> None:
        missing = PemPair(certificate=tmp_path / "none.pem")
        with pytest.raises(LocalError):
            await SipSignaling.open(listen=("127.0.0.1", 0), listen_certificate=missing)

    asyncio.run(main())


# -- a server that does not come back -------------------------------------------------------------


@asynccontextmanager
async def called_through_a_server(tmp_path):
    """A call of ours through a server that is gone: its leg, and how to take the place."""
    from securecall.address import parse_address

    authority = Authority(tmp_path)
    peers: asyncio.Queue[Peer] = asyncio.Queue()

    async def accept(connection: TlsConnection) -> None:
        peers.put_nowait(Peer(connection))
        _ = await asyncio.Event().wait()

    listeners: list[tls.Listener] = []

    async def listen(name: str, where: tuple[str, int] = ("127.0.0.1", 0)) -> tuple[str, int]:
        for before in listeners:
            await before.close()
        listeners.append(await tls.listen(*where, accept, certificate=authority.issue(name)))
        return listeners[-1].address

    where = await listen("a.example")
    alice = await SipSignaling.open(
        local=parse_address("sip:alice@a.example"),
        server=SipServer(host=where[0], port=where[1], name="a.example"),
        authorities=authority.path,
    )
    target = Route(parse_address("sip:bob@a.example"))

    async def dial() -> Ear:
        return Ear(await alice.dial(target, description()))  # type: ignore[arg-type] # the adapter's own class

    ear = await dial()
    peer = await peers.get()
    invite = await peer.next()
    assert isinstance(invite, Request)
    peer.send(answer(invite, 200, body=SDP))
    assert isinstance(await ear.next(), Answered)
    ack = await peer.next()
    assert isinstance(ack, Request)
    assert ack.method == "ACK"
    await listeners[-1].close()
    try:
        yield ear, lambda name: listen(name, where), peers, dial
    finally:
        await alice.close()
        await listeners[-1].close()


def test_a_call_lives_on_while_its_server_restarts_and_is_hung_up_through_the_new_one(tmp_path):
    async def main() -> None:
        async with called_through_a_server(tmp_path) as (ear, listen, peers, dial):
            with pytest.raises(ConnectFailed):
                await dial()
            ear.leg.send(Ended(EndReason.HUNG_UP))
            assert ear.heard.empty()
            await listen("a.example")
            async with asyncio.timeout(20):
                again = await peers.get()
                bye = await again.next()
            assert isinstance(bye, Request)
            assert bye.method == "BYE"
            again.send(answer(bye, 200))
            async with asyncio.timeout(5):
                await ear.leg.closed()

    asyncio.run(main())


def test_a_call_ends_when_its_server_comes_back_under_another_name(tmp_path):
    async def main() -> None:
        async with called_through_a_server(tmp_path) as (ear, listen, peers, dial):
            await listen("evil.example")
            async with asyncio.timeout(20):
                assert await ear.next() == Ended(EndReason.PEER_VANISHED)
                await ear.leg.closed()
            assert peers.empty()
            # the next call tries again, and says why it cannot be
            with pytest.raises(CertificateError):
                await dial()
            # and once the server is back as itself, calls are possible again
            await listen("a.example")
            ear = await dial()
            async with asyncio.timeout(5):
                again = await peers.get()
            invite = await again.next()
            assert isinstance(invite, Request)
            again.send(answer(invite, 486))
            assert isinstance(await ear.next(), Ended)

    asyncio.run(main())


def test_a_server_that_hangs_up_at_once_is_not_stormed(tmp_path):
    async def main() -> None:
        async with called_through_a_server(tmp_path) as (_, listen, peers, _):
            await listen("a.example")
            came = []
            async with asyncio.timeout(20):
                for _ in range(4):
                    (await peers.get()).connection.abort()
                    came.append(asyncio.get_running_loop().time())
            # the waits grow though every connection was made: half a second, then a whole one
            assert came[3] - came[1] >= (0.5 + 1.0) / 2

    asyncio.run(main())
