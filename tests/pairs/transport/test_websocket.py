"""WebSockets over real TLS on loopback: two of ours, and ours with a peer that misbehaves."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from securecall.errors import CertificateError, ConnectFailed, ProtocolError, Unsupported
from securecall.sip.frames import MessageFrames
from securecall.testing.authority import Authority
from securecall.transport import tls, websocket
from securecall.transport.tls import TlsConnection
from securecall.transport.websocket import (
    WebSocketConnection,
    connect_websocket,
    listen_websocket,
)
from tests.unit.sip.test_frames import HEAD
from tests.unit.transport.test_websocket_frames import (
    BAD,
    CLIENTS,
    CLOSE,
    CONT,
    PING,
    PONG,
    SERVERS,
    TEXT,
    answer,
    frame,
    request,
    unmasked,
)

NAME = "sip.example.com"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority):
    return authority.issue(NAME)


class Watched:
    """A handler of connections whose failures reach the test; a listener only logs them."""

    def __init__(self, handle: Callable[..., Awaitable[None]]) -> None:
        self._handle = handle
        self._handled: list[asyncio.Future[None]] = []

    async def __call__(self, connection: TlsConnection | WebSocketConnection) -> None:
        handled = asyncio.ensure_future(self._handle(connection))
        self._handled.append(handled)
        await asyncio.wait([handled])

    async def ended(self) -> None:
        """Wait until every connection was handled."""
        async with asyncio.timeout(20):
            await asyncio.gather(*self._handled)


@pytest.fixture
def met(authority, certificate):
    """Our client and our listener, connected; the listener's end comes out of a future."""

    @asynccontextmanager
    async def meet() -> AsyncIterator[tuple[WebSocketConnection, WebSocketConnection]]:
        arrived: asyncio.Future[WebSocketConnection] = asyncio.get_running_loop().create_future()
        done = asyncio.Event()

        async def accept(connection: WebSocketConnection) -> None:
            arrived.set_result(connection)
            await done.wait()

        listener = await listen_websocket("127.0.0.1", 0, accept, certificate=certificate)
        context = tls.client_context(authority.pem)
        client = await connect_websocket(*listener.address, server_name=NAME, context=context)
        try:
            yield client, await arrived
        finally:
            done.set()
            client.abort()
            await listener.close()

    return meet


@pytest.fixture
def against(authority, certificate):
    """Connect our client to a TLS server that does what a test says."""

    async def run(
        serve: Callable[[TlsConnection], Awaitable[None]],
        use: Callable[[WebSocketConnection], Awaitable[None]],
        *,
        name: str = NAME,
    ) -> None:
        server = Watched(serve)
        listener = await tls.listen("127.0.0.1", 0, server, certificate=certificate)
        try:
            context = tls.client_context(authority.pem)
            connection = await connect_websocket(
                *listener.address, server_name=name, context=context
            )
            await use(connection)
            connection.abort()
        finally:
            await server.ended()
            await listener.close()

    return run


@pytest.fixture
def knock(authority, certificate):
    """Connect a TLS client that does what a test says to our listener."""

    async def run(
        use: Callable[[TlsConnection], Awaitable[None]],
        accept: Callable[[WebSocketConnection], Awaitable[None]],
    ) -> None:
        server = Watched(accept)
        listener = await listen_websocket("127.0.0.1", 0, server, certificate=certificate)
        try:
            context = tls.client_context(authority.pem)
            connection = await tls.connect(*listener.address, server_name=NAME, context=context)
            await use(connection)
            connection.abort()
        finally:
            await server.ended()
            await listener.close()

    return run


async def nobody(connection: WebSocketConnection) -> None:
    raise AssertionError("this handshake should not have been completed")


async def heard(connection: TlsConnection, end: bytes = b"") -> bytes:
    """What comes until these bytes, or until the end."""
    found = b""
    while data := await connection.receive():
        found += data
        if end and found.endswith(end):
            break
    return found


# ------------------------------------------------------------------ two of ours


def test_messages_arrive_one_by_one_and_as_sip(met):
    async def main() -> None:
        async with met() as (client, server):
            assert client.verified_name == NAME and not client.direct
            assert client.transport.startswith("WebSocket TLSv1.3 TLS_")
            assert server.verified_name == "" and client.remote.startswith("127.0.0.1:")
            frames = MessageFrames()
            wires = [HEAD + b"\r\n" + body for body in (b"", b"one", b"\xff\xfe", bytes(65000))]
            for wire in wires:
                client.send(wire)
            for wire in wires:
                got = await server.receive()
                assert got == wire
                server.send(got)
            for wire in wires:
                (message,) = frames.feed(await client.receive())
                assert wire.endswith(message.body)

    asyncio.run(main())


def test_a_ping_is_answered_while_the_other_end_reads(met):
    async def main() -> None:
        async with met() as (client, server):
            client.ping()
            assert client.unanswered == 1
            reading = asyncio.ensure_future(server.receive())
            waiting = asyncio.ensure_future(client.receive())
            while client.unanswered:  # noqa: ASYNC110 - the loop turns until the pong is there
                await asyncio.sleep(0)
            client.send(b"x")
            assert await reading == b"x"
            server.send(b"y")
            assert await waiting == b"y"

    asyncio.run(main())


@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize("reading", [True, False])
def test_whoever_closes_both_ends_learn_of_it_in_order(met, who, reading):
    async def main() -> None:
        async with met() as ends:
            one, other = ends[who], ends[1 - who]
            task = asyncio.ensure_future(one.receive()) if reading else None
            one.send(b"last words")
            closing = asyncio.ensure_future(one.close(seconds=30))
            assert await other.receive() == b"last words"
            assert await other.receive() == b""
            await closing
            if task is not None:
                assert await task == b""
            for end in ends:
                assert end.closing and end.failure is None
                end.send(b"too late")
                end.ping()
                assert await end.receive() == b""
                await end.close()

    asyncio.run(main())


def test_what_arrives_after_closing_is_not_delivered(met):
    async def main() -> None:
        async with met() as (client, server):
            reading = asyncio.ensure_future(client.receive())
            await asyncio.sleep(0)
            closing = asyncio.ensure_future(client.close(seconds=30))
            server.send(b"too late")
            assert await server.receive() == b""
            await closing
            assert await reading == b""

    asyncio.run(main())


@pytest.mark.parametrize("parting", [frame(CLOSE), frame(TEXT, b"x", rsv=4)])
def test_a_server_that_stays_after_the_end_is_hung_up_on(against, parting):
    async def main() -> None:
        left = asyncio.Event()

        async def serve(connection: TlsConnection) -> None:
            connection.send(answer(await heard(connection, b"\r\n\r\n")) + parting)
            _ = await heard(connection)
            left.set()

        async def use(connection: WebSocketConnection) -> None:
            assert await connection.receive() == b""
            async with asyncio.timeout(20):
                await left.wait()

        await against(serve, use)

    asyncio.run(main())


def test_a_peer_that_vanishes_ends_the_reading(met):
    async def main() -> None:
        for who in (0, 1):
            async with met() as ends:
                reading = asyncio.ensure_future(ends[1 - who].receive())
                await asyncio.sleep(0)
                ends[who].abort()
                assert await reading == b""
                assert ends[1 - who].closing and ends[1 - who].failure is None

    asyncio.run(main())


def test_a_peer_that_never_says_goodbye_is_cut_off(against):
    async def main() -> None:
        async def serve(connection: TlsConnection) -> None:
            connection.send(answer(await connection.receive()))
            _ = await heard(connection)

        async def use(connection: WebSocketConnection) -> None:
            await connection.close(seconds=0.05)
            assert connection.closing
            assert await connection.receive() == b""

        await against(serve, use)

    asyncio.run(main())


def test_a_peer_that_stops_reading_is_cut_off(authority, certificate):
    async def main() -> None:
        ended = asyncio.Event()

        async def flood(connection: WebSocketConnection) -> None:
            while not connection.closing:
                connection.send(bytes(65536))
                await asyncio.sleep(0)
            assert await connection.receive() == b""
            ended.set()

        listener = await listen_websocket("127.0.0.1", 0, flood, certificate=certificate)
        context = tls.client_context(authority.pem)
        _, writer = await asyncio.open_connection(
            *listener.address, ssl=context, server_hostname=NAME, limit=1024
        )
        writer.write(request())
        writer.transport.pause_reading()
        async with asyncio.timeout(20):
            await ended.wait()
        writer.transport.abort()
        await listener.close()

    asyncio.run(main())


def test_a_client_that_stalls_is_given_up(knock, monkeypatch):
    monkeypatch.setattr(websocket, "HANDSHAKE_SECONDS", 0.05)

    async def main() -> None:
        async def use(connection: TlsConnection) -> None:
            connection.send(b"GET / HTTP/1.1\r\n")
            assert await heard(connection) == b""

        await knock(use, nobody)

    asyncio.run(main())


# ------------------------------------------------------------------ hostile servers


@pytest.mark.parametrize("case", SERVERS)
def test_a_server_that_does_not_shake_hands_properly_is_left(against, case):
    say, error, _ = SERVERS[case]

    async def main() -> None:
        async def serve(connection: TlsConnection) -> None:
            connection.send(say(await heard(connection, b"\r\n\r\n")))
            assert b"GET" not in await heard(connection)  # no redirect is followed here either

        with pytest.raises(error):
            await against(serve, nobody)

    asyncio.run(main())


@pytest.mark.parametrize("case", BAD)
def test_a_server_that_breaks_a_rule_is_heard_no_further(against, case):
    async def main() -> None:
        async def serve(connection: TlsConnection) -> None:
            said = answer(await heard(connection, b"\r\n\r\n"))
            connection.send(said + frame(TEXT, b"before"))
            assert unmasked(await connection.receive()) == [(TEXT, b"go on")]
            connection.send(BAD[case][0])
            assert unmasked(await heard(connection))[-1][0] == CLOSE

        async def use(connection: WebSocketConnection) -> None:
            assert await connection.receive() == b"before"
            connection.send(b"go on")
            assert await connection.receive() == b""
            assert BAD[case][1] in str(connection.failure)
            assert connection.closing

        await against(serve, use)

    asyncio.run(main())


def test_a_server_that_stalls_is_given_up(against, monkeypatch):
    monkeypatch.setattr(websocket, "HANDSHAKE_SECONDS", 0.05)

    async def main() -> None:
        async def serve(connection: TlsConnection) -> None:
            _ = await heard(connection)

        with pytest.raises(ConnectFailed, match="in time"):
            await against(serve, nobody)

    asyncio.run(main())


def test_fragments_and_control_frames_in_any_cut_make_one_message(against):
    wire = frame(TEXT, HEAD[:50], fin=False) + frame(PING, b"p") + frame(CONT, HEAD[50:])

    async def main() -> None:
        async def serve(connection: TlsConnection) -> None:
            connection.send(answer(await heard(connection, b"\r\n\r\n")))
            for at in range(0, len(wire), 7):
                connection.send(wire[at : at + 7])
                await asyncio.sleep(0)
            assert unmasked(await connection.receive())[0] == (PONG, b"p")
            connection.send(frame(CLOSE))
            _ = await heard(connection)

        async def use(connection: WebSocketConnection) -> None:
            assert await connection.receive() == HEAD
            assert await connection.receive() == b""

        await against(serve, use)

    asyncio.run(main())


def test_a_server_that_cannot_prove_the_name_is_told_nothing(against):
    async def main() -> None:
        told: list[bytes] = []

        async def serve(connection: TlsConnection) -> None:
            told.append(await connection.receive())
            if told[-1]:
                connection.send(answer(told[-1]))
                _ = await heard(connection)

        async def use(connection: WebSocketConnection) -> None:
            assert connection.verified_name == NAME

        with pytest.raises(CertificateError):
            await against(serve, use, name="other.example.com")
        assert b"".join(told) == b""
        # the control: the same server, asked for the name that it can prove
        await against(serve, use)
        assert told[-1].startswith(b"GET / HTTP/1.1\r\n")

    asyncio.run(main())


def test_a_server_without_tls_is_a_failed_connection(authority):
    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        plain = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            with pytest.raises(ConnectFailed):
                await connect_websocket(
                    *plain.sockets[0].getsockname(),
                    server_name=NAME,
                    context=tls.client_context(authority.pem),
                )
        finally:
            plain.close()
            await plain.wait_closed()

    asyncio.run(main())


# ------------------------------------------------------------------ hostile clients


@pytest.mark.parametrize("case", CLIENTS)
def test_a_client_that_does_not_shake_hands_properly_is_refused(knock, case):
    wire, status = CLIENTS[case]

    async def main() -> None:
        async def use(connection: TlsConnection) -> None:
            connection.send(wire)
            said = await heard(connection)
            assert said[9:12] == status
            assert b"101" not in said[:20]

        await knock(use, nobody)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("wire", "word"),
    [
        (frame(TEXT, b"x"), "masking"),
        (frame(TEXT, b"x", rsv=4, masked=True), "reserved bits"),
        (frame(TEXT, bytes(81921), masked=True), "exceeds"),
    ],
    ids=["unmasked", "compressed", "oversized"],
)
def test_a_client_that_breaks_a_rule_is_heard_no_further(knock, wire, word):
    async def main() -> None:
        ended: asyncio.Future[ProtocolError | None] = asyncio.get_running_loop().create_future()

        async def accept(connection: WebSocketConnection) -> None:
            assert await connection.receive() == b""
            ended.set_result(connection.failure)

        async def use(connection: TlsConnection) -> None:
            connection.send(request())
            _ = await heard(connection, b"\r\n\r\n")
            connection.send(wire)
            assert unmasked(await heard(connection))[0][0] == CLOSE
            assert word in str(await ended)

        await knock(use, accept)

    asyncio.run(main())


# ------------------------------------------------------------------ without the package


def test_without_the_package_the_extra_is_named_before_anything_is_done(monkeypatch, certificate):
    monkeypatch.setitem(sys.modules, "securecall.transport.websocket_frames", None)

    async def main() -> None:
        with pytest.raises(Unsupported, match=r"securecall\[websocket\]"):
            await connect_websocket("127.0.0.1", 1, server_name=NAME, context=tls.client_context())
        with pytest.raises(Unsupported, match=r"securecall\[websocket\]"):
            await listen_websocket("127.0.0.1", 0, nobody, certificate=certificate)

    asyncio.run(main())
