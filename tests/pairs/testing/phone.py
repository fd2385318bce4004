"""A phone without a mind: a TLS connection to a server, scripted by the test."""

from __future__ import annotations

import asyncio
from typing import Self

from securecall.sip.message import Request, Response, build_message
from securecall.sip.stream import MessageStream
from securecall.testing.sip_server import LabServer
from securecall.transport.tls import TlsConnection, client_context, connect
from tests.sip_scripts import again, challenge_of, credentials, register

HANG = 10.0  # seconds; a guard against hanging, nothing waits for it
_connected: list[Phone] = []


class Phone:
    """One connection of one user."""

    def __init__(self, connection: TlsConnection, user: str, password: str) -> None:
        self.connection = connection
        self.user = user
        self._password = password
        self._stream = MessageStream()
        self._ready: list[Request | Response] = []

    @classmethod
    async def connect(cls, lab: LabServer, user: str, password: str) -> Self:
        """Connect and verify the server's name."""
        context = client_context(lab.authorities)
        connection = await connect(lab.host, lab.port, server_name=lab.domain, context=context)
        made = cls(connection, user, password)
        _connected.append(made)
        return made

    async def next(self) -> Request | Response:
        """The next message."""
        async with asyncio.timeout(HANG):
            while not self._ready:
                data = await self.connection.receive()
                assert data, "the server closed the connection"
                self._ready += self._stream.feed(data)
        return self._ready.pop(0)

    def send(self, message: Request | Response) -> None:
        """Send a message."""
        self.connection.send(build_message(message))

    async def ask(self, request: Request) -> Response:
        """Send a request; return its final answer."""
        self.send(request)
        while True:
            response = await self.next()
            assert isinstance(response, Response), response.start_line()
            if response.status >= 200:
                return response

    async def prove(self, request: Request) -> tuple[Request, Response]:
        """Ask, answer the challenge, and return what was sent then and its final answer."""
        challenged = await self.ask(request)
        assert challenged.status in (401, 407), challenged.start_line()
        if challenged.status == 407 and request.method == "INVITE":
            self.send(acknowledge(request, challenged))
        fresh = again(request)
        name, value = credentials(challenge_of(challenged), fresh, self._password, user=self.user)
        fresh.headers.add(name, value)
        return fresh, await self.ask(fresh)

    async def register(self, contact: str = "", *fields: tuple[str, str]) -> Response:
        """Register; return the 200."""
        _, response = await self.prove(register(self.user, contact, *fields))
        assert response.status == 200, response.start_line()
        return response

    async def until_closed(self) -> None:
        """Return once the server has closed the connection."""
        async with asyncio.timeout(HANG):
            while await self.connection.receive():
                pass


async def close_all() -> None:
    """Close the connection of every phone there is."""
    while _connected:
        await _connected.pop().connection.close(seconds=0.5)


def acknowledge(request: Request, response: Response) -> Request:
    """The ACK of a failure, in the transaction of its INVITE."""
    headers = request.headers.copy()
    headers.replace("To", response.need("to"))
    headers.replace("CSeq", f"{request.cseq.number} ACK")
    headers.remove("proxy-authorization")
    return Request("ACK", request.target, headers)
