"""What answers at the place of a server over WebSocket, and breaks its rules; at once or later."""

from __future__ import annotations

import asyncio

import pytest

from securecall.account import Account, SignIn, open_account
from securecall.address import parse_address
from securecall.errors import ProtocolError, SecurecallError, Unsupported
from securecall.secret import Secret
from securecall.sip.message import build_message, parse_message
from securecall.sip.registration import RegistrationState
from securecall.testing.authority import Authority
from securecall.transport import tls, websocket
from securecall.transport.websocket import listen_websocket
from tests.registrar import DOMAIN, reply

pytestmark = [pytest.mark.attack, pytest.mark.usefixtures("_websockets")]
GUARD_SECONDS = 20.0
WEB_SERVER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
)


@pytest.fixture
def _websockets():
    _ = pytest.importorskip("websockets")


async def sign_in(port: int, authority: Authority, watcher=lambda *_: None) -> Account:
    how = SignIn(
        address=parse_address(f"sip:alice@{DOMAIN}"),
        password=Secret("x"),
        server=f"wss://127.0.0.1:{port}/",
        authorities=authority.pem,
        register=True,
    )
    async with asyncio.timeout(GUARD_SECONDS):
        return await open_account(
            how, instance="urn:uuid:00000000-0000-4000-8000-000000000000", watcher=watcher
        )


async def web_server(connection: tls.TlsConnection) -> None:
    _ = await connection.receive()
    connection.send(WEB_SERVER)


async def registrar(connection: websocket.WebSocketConnection) -> None:
    """Registers whoever asks, then is gone."""
    request = parse_message(await connection.receive())
    contact = ("Contact", request.headers.first("contact") or "")
    connection.send(build_message(reply(request, 200, contact)))
    _ = await connection.receive()


def test_what_speaks_no_websocket_is_refused_and_does_not_hang_us(tmp_path):
    async def main() -> None:
        authority = Authority.make(tmp_path)
        certificate = authority.issue(DOMAIN)
        listener = await tls.listen("127.0.0.1", 0, web_server, certificate=certificate)
        with pytest.raises(ProtocolError):
            _ = await sign_in(listener.address[1], authority)
        await listener.close()

    asyncio.run(main())


def test_a_missing_extra_is_refused_and_does_not_hang_us(tmp_path, monkeypatch):
    def missing() -> None:
        raise Unsupported("not here")

    async def main() -> None:
        monkeypatch.setattr(websocket, "_ends", missing)
        with pytest.raises(Unsupported):
            _ = await sign_in(9, Authority.make(tmp_path))

    asyncio.run(main())


def test_a_server_that_comes_back_as_a_web_server_is_tried_until_it_is_itself_again(tmp_path):
    async def main() -> None:
        authority = Authority.make(tmp_path)
        certificate = authority.issue(DOMAIN)
        states: list[tuple[RegistrationState, SecurecallError | None]] = []
        changed = asyncio.Event()

        def watcher(state: RegistrationState, error: SecurecallError | None) -> None:
            states.append((state, error))
            changed.set()

        async def until(state: RegistrationState) -> None:
            while not states or states[-1][0] is not state:
                await changed.wait()
                changed.clear()

        good = await listen_websocket("127.0.0.1", 0, registrar, certificate=certificate)
        port = good.address[1]
        account = await sign_in(port, authority, watcher)
        await until(RegistrationState.REGISTERED)  # control: over WebSocket we register
        met = asyncio.Event()

        async def replacement(connection: tls.TlsConnection) -> None:
            await web_server(connection)
            met.set()

        await good.close()
        bad = await tls.listen("127.0.0.1", port, replacement, certificate=certificate)
        await until(RegistrationState.CONNECTING)
        await met.wait()
        await bad.close()
        good = await listen_websocket("127.0.0.1", port, registrar, certificate=certificate)
        await until(RegistrationState.REGISTERED)
        await account.signaling.close()
        await good.close()

    async def guarded() -> None:
        async with asyncio.timeout(GUARD_SECONDS):
            await main()

    asyncio.run(guarded())
