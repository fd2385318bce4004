"""SIP over secure WebSocket with Kamailio, a server that shares no code with ours."""

from __future__ import annotations

import asyncio

import pytest

from securecall.errors import CertificateError, ConnectFailed
from securecall.sip.frames import MessageFrames
from securecall.sip.message import Request, Response
from securecall.transport.tls import client_context
from securecall.transport.websocket import WebSocketConnection, connect_websocket
from tests.interop.authority import DOMAIN
from tests.interop.children import free_port
from tests.interop.kamailio import need_module, started

_CONFIG = """tcp_accept_no_cl=yes

request_route {
    xlog("L_NOTICE", "request $rm by $proto\\n");
    if (!sanity_check("1511", "7")) { exit; }
    force_rport();
    if (is_method("OPTIONS")) { sl_send_reply("200", "OK"); exit; }
    if (is_method("REGISTER")) {
        fix_nated_register();
        if (!save("location")) { sl_reply_error(); }
        exit;
    }
    if (!lookup("location")) { sl_send_reply("404", "Not Found"); exit; }
    t_relay();
}

event_route[xhttp:request] {
    if ($hu == "/sip" && $hdr(Upgrade) =~ "websocket") {
        if (ws_handle_handshake()) { exit; }
    }
    xhttp_reply("404", "Not Found", "", "");
}
"""
_MODULES = (
    "tls kex corex tm tmx sl rr pv maxfwd textops siputils sanity usrloc registrar nathelper "
    "xlog xhttp websocket"
)


@pytest.fixture(scope="module")
def port(tmp_path_factory, certificates):
    need_module("websocket", "kamailio-websocket-modules")
    tls, folder = free_port(), tmp_path_factory.mktemp("websocket")
    with started(folder, certificates, _MODULES, _CONFIG, port=tls):
        yield tls


class Phone:
    """A user over one WebSocket, who writes SIP by hand."""

    def __init__(self, user: str, connection: WebSocketConnection) -> None:
        self.user = user
        self.connection = connection
        self._frames = MessageFrames()

    def say(self, method: str, target: str, *more: str, to: str = "", body: str = "") -> None:
        """Send a request, without Content-Length (RFC 7118 5.1)."""
        me = f"sip:{self.user}@{DOMAIN}"
        lines = [
            f"{method} {target} SIP/2.0",
            f"Via: SIP/2.0/WSS {self.user}.invalid;branch=z9hG4bK{self.user}{method}",
            "Max-Forwards: 70",
            f"From: <{me}>;tag={self.user}",
            f"To: <{to or me}>",
            f"Call-ID: {self.user}{method}",
            f"CSeq: 1 {method}",
            *more,
        ]
        self.connection.send("\r\n".join([*lines, "", body]).encode())

    async def hear(self) -> Request | Response:
        async with asyncio.timeout(40):
            found = self._frames.feed(await self.connection.receive())
        assert self._frames.failure is None
        (message,) = found
        message.require_valid()
        return message


@pytest.fixture
def phone(port, certificates):
    async def make(user: str, *, name: str = DOMAIN, path: str = "/sip") -> Phone:
        context = client_context(certificates.authority)
        connection = await connect_websocket(
            "127.0.0.1", port, server_name=name, context=context, path=path
        )
        return Phone(user, connection)

    return make


def test_requests_are_answered_and_passed_on_between_websockets(phone):
    async def main() -> None:
        alice, bob = await phone("alice"), await phone("bob")
        assert alice.connection.verified_name == DOMAIN
        alice.say("OPTIONS", f"sip:{DOMAIN}")
        answer = await alice.hear()
        assert isinstance(answer, Response) and answer.status == 200
        assert answer.via.transport == "WSS"
        contact = "<sip:bob@bob.invalid;transport=ws>"
        bob.say("REGISTER", f"sip:{DOMAIN}", f"Contact: {contact}", "Expires: 60")
        registered = await bob.hear()
        assert isinstance(registered, Response) and registered.status == 200
        assert registered.contacts[0].uri.host == "bob.invalid"
        to_bob, text = f"sip:bob@{DOMAIN}", "gr\u00fc\u00df dich"
        alice.say("MESSAGE", to_bob, "Content-Type: text/plain", to=to_bob, body=text)
        message = await bob.hear()
        assert isinstance(message, Request) and message.body.decode() == text
        assert [via.transport for via in message.vias] == ["WSS", "WSS"]
        await alice.connection.close()
        await bob.connection.close()
        assert alice.connection.failure is bob.connection.failure is None

    asyncio.run(main())


def test_a_ping_is_answered(phone):
    async def main() -> None:
        alice = await phone("alice")
        alice.connection.ping()
        waiting = asyncio.ensure_future(alice.connection.receive())
        async with asyncio.timeout(40):
            while alice.connection.unanswered:  # noqa: ASYNC110 - turns until the pong is there
                await asyncio.sleep(0.01)
        assert not waiting.done()
        await alice.connection.close()
        assert await waiting == b""

    asyncio.run(main())


def test_a_path_without_websocket_is_a_failed_connection_and_another_name_refused(phone):
    async def main() -> None:
        with pytest.raises(ConnectFailed, match="404"):
            await phone("alice", path="/elsewhere")
        with pytest.raises(CertificateError):
            await phone("alice", name="clinic.example")

    asyncio.run(main())
