"""A SIP server for tests and tutorials, not for production: registrar and proxy on TLS.

It keeps everything in memory, serves one domain, and trusts whoever knows a password. What it
saw, and the faults it can be told to have, are there for tests:

    async with LabServer(folder, {"alice": Secret("..."), "bob": Secret("...")}) as lab:
        ...                      # lab.host, lab.port, lab.domain, lab.authorities
        await lab.restart()      # every connection and binding is gone
        assert lab.count("REGISTER", 200) == 2
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from securecall.clock import loop_now
from securecall.errors import ProtocolError, UsageError
from securecall.secret import Secret
from securecall.sip.grammar import SipError, parse_uri, require_token
from securecall.sip.message import Message, Request, Response, build_message
from securecall.sip.output import Send
from securecall.sip.stream import MessageStream
from securecall.testing.authentication import ALGORITHMS, NONCE_SECONDS, Authenticator
from securecall.testing.authority import Authority
from securecall.testing.location import Binding, LocationService
from securecall.testing.proxy import Proxy
from securecall.testing.registrar import Registrar, Terms
from securecall.transport.endpoint import endpoint
from securecall.transport.route import is_loopback
from securecall.transport.tls import Listener, TlsConnection, listen

MOST_USERS: Final = 1000
MOST_SEEN: Final = 10_000

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """A message that passed.

    Attributes:
        incoming: It came from a client; otherwise the server sent it.
        method: Of the request, or of the request it answers.
        status: Of a response, 0 for a request.
        user: Of its From, "" where that cannot be read.
        flow: The number of the connection.
    """

    incoming: bool
    method: str
    status: int
    user: str
    flow: int


@dataclass(slots=True)
class Faults:
    """What is to go wrong.

    Attributes:
        delay: Seconds every incoming message is held.
        deaf: Nothing that comes in is answered, keep-alives neither.
    """

    delay: float = 0.0
    deaf: bool = False


class LabServer:
    """A TLS listener, one registrar and proxy behind it. Enter it to start it.

    Attributes:
        domain: Of its people's addresses; its certificate proves it.
        host, port: Where it listens.
        authorities: PEM file of the throw-away authority to trust.
        certificate: What it shows; for the domain, and for loopback.
        terms: How long bindings last, and with what status REGISTER is refused.
        faults: What is to go wrong.
        seen: Every message, the latest 10 000; never a credential.
    """

    def __init__(
        self,
        folder: Path,
        users: Mapping[str, Secret],
        *,
        domain: str = "lab.test",
        host: str = "127.0.0.1",
        port: int = 0,
        danger_lan: bool = False,
        terms: Terms | None = None,
        algorithms: Sequence[str] = ("SHA-256", "MD5"),
        nonce_seconds: float = NONCE_SECONDS,
        on_seen: Callable[[Seen], None] | None = None,
    ) -> None:
        """Say what it is to serve; entering the block starts it.

        Args:
            folder: For the authority and the certificate.
            users: Name -> password.
            domain: A host name.
            host: An address of this machine.
            port: 0 takes a free one.
            danger_lan: Let others than this machine connect.
            terms: Of registrations.
            algorithms: Of digest challenges, the best first.
            nonce_seconds: How long a nonce is good.
            on_seen: Hears of every message.

        Raises:
            UsageError: the host is not loopback, or a name or algorithm is none.
        """
        if not danger_lan and not is_loopback(host):
            raise UsageError(f"a lab server is for this machine alone, and {host} is not loopback")
        domain = domain.lower()
        _require_usable(domain, users, algorithms)
        self.domain, self.host, self.port = domain, host, port
        self.terms = terms or Terms()
        self.faults = Faults()
        self.seen: collections.deque[Seen] = collections.deque(maxlen=MOST_SEEN)
        authority = Authority.make(folder)
        names = dict.fromkeys((domain, "127.0.0.1", "::1", "localhost", host))
        self.authorities = authority.pem
        self.certificate = authority.issue(*names)
        self._on_seen = on_seen
        self._authenticator = Authenticator(
            domain,
            users,
            random_token=_random_token,
            algorithms=algorithms,
            nonce_seconds=nonce_seconds,
        )
        self._location = LocationService(random_token=_random_token)
        self._proxy: Proxy | None = None
        self._listener: Listener | None = None
        self._connections: dict[int, TlsConnection] = {}
        self._last_flow = 0
        self._news = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<LabServer {self.domain} on {self.host}:{self.port}>"

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            LocalError: the address cannot be used.
        """
        await self.go_up()
        registrar = Registrar(
            self.domain,
            self._authenticator,
            self._location,
            terms=self.terms,
            random_token=_random_token,
        )
        self._proxy = Proxy(
            registrar,
            self._authenticator,
            here=endpoint(self.host, self.port),
            random_token=_random_token,
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        """Cut every connection and stop listening."""
        await self.go_down()
        if self._timer is not None:
            self._timer.cancel()

    # -- faults -----------------------------------------------------------------------------------

    async def go_down(self) -> None:
        """Cut every connection and refuse new ones; nonces and bindings are forgotten."""
        if self._listener is not None:
            await self._listener.close()
            self._listener = None
        self._authenticator.forget_nonces()

    async def go_up(self) -> None:
        """Listen again, on the same port."""
        self._listener = await listen(
            self.host, self.port, self._serve, certificate=self.certificate
        )
        self.port = self._listener.address[1]

    async def restart(self) -> None:
        """Cut every connection, forget nonces and bindings, take connections again."""
        await self.go_down()
        await self.go_up()

    def cut(self, user: str) -> None:
        """Cut the connections a user is registered on."""
        for binding in self.bindings(user):
            self._connections[binding.flow].abort()

    def stale_nonces(self) -> None:
        """Make every nonce stale."""
        self._authenticator.forget_nonces()

    def shorten(self, seconds: float) -> None:
        """Let no binding last longer than this from now."""
        self._location.shorten(seconds, now=loop_now())

    def refuse_calls(self, status: int) -> None:
        """Refuse new calls with this status; 0 ends that."""
        self._running.refuse = status

    # -- what tests look at -----------------------------------------------------------------------

    def count(self, method: str, status: int = 0) -> int:
        """How many requests of that method came, or how many got that answer from here."""
        return sum(
            s.method == method and s.status == status and s.incoming == (not status)
            for s in self.seen
        )

    def bindings(self, user: str) -> list[Binding]:
        """What is registered for a user now."""
        return self._location.of(user, now=loop_now())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once this is true; asked again after each message and each connection that ends.

        For instance `await lab.until(lambda: lab.count("REGISTER", 200) == 2)`.
        """
        while not condition():
            self._news.clear()
            _ = await self._news.wait()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    @property
    def open_requests(self) -> int:
        """How many requests are not done with."""
        return self._running.open_requests

    # -- the inside -------------------------------------------------------------------------------

    @property
    def _running(self) -> Proxy:
        if self._proxy is None:
            raise UsageError("enter the server first")
        return self._proxy

    async def _serve(self, connection: TlsConnection) -> None:
        self._last_flow += 1
        flow, stream = self._last_flow, MessageStream()
        self._connections[flow] = connection
        self._running.opened(flow)
        try:
            while data := await connection.receive():
                await asyncio.sleep(self.faults.delay)
                if not self._feed(flow, connection, stream, data):
                    break
        finally:
            del self._connections[flow]
            self._perform(self._running.lost(flow, now=loop_now()))
            self._news.set()

    def _feed(
        self, flow: int, connection: TlsConnection, stream: MessageStream, data: bytes
    ) -> bool:
        """Take bytes; False once the connection cannot be read further."""
        if self.faults.deaf:
            return True
        try:
            messages = stream.feed(data)
        except ProtocolError:
            return False
        for message in messages:
            self._note(message, flow, incoming=True)
            self._perform(
                self._running.receive(message, flow=flow, now=loop_now(), source=connection.remote)
            )
        while stream.line_ends >= 2:  # a ping is two line ends, a pong is one (RFC 5626 4.4.1)
            stream.line_ends -= 2
            connection.send(b"\r\n")
        if stream.failure is not None:
            log.info("%r cannot be read: %s", connection, stream.failure)
        return stream.failure is None

    def _perform(self, out: list[Send]) -> None:
        for send in out:
            connection = self._connections.get(send.flow)
            if connection is not None:
                self._note(send.message, send.flow, incoming=False)
                connection.send(build_message(send.message))
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        deadline = self._running.deadline
        loop = asyncio.get_running_loop()
        self._timer = None if deadline is None else loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._perform(self._running.expire(now=loop_now()))

    def _note(self, message: Request | Response, flow: int, *, incoming: bool) -> None:
        method = message.method if isinstance(message, Request) else _method_of(message)
        status = message.status if isinstance(message, Response) else 0
        seen = Seen(incoming, method, status, _user_of(message), flow)
        self.seen.append(seen)
        self._news.set()
        if self._on_seen is not None:
            self._on_seen(seen)


def _require_usable(domain: str, users: Mapping[str, Secret], algorithms: Sequence[str]) -> None:
    if len(users) > MOST_USERS:
        raise UsageError(f"a lab server has at most {MOST_USERS} users")
    try:
        for name in users:
            require_token(name, "a user's name")
        if parse_uri(f"sip:{domain}").host != domain:
            raise UsageError(f"{domain!r} is no host name")
    except SipError as e:
        raise UsageError(str(e)) from e
    for algorithm in algorithms:
        if algorithm not in ALGORITHMS:
            raise UsageError(
                f"no digest algorithm {algorithm!r}; there are {', '.join(ALGORITHMS)}"
            )


def _random_token() -> str:
    return secrets.token_hex(16)


def _method_of(response: Response) -> str:
    with contextlib.suppress(SipError):
        return response.cseq.method
    return ""


def _user_of(message: Message) -> str:
    with contextlib.suppress(SipError):
        return message.from_.uri.user
    return ""
