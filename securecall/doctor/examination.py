"""Looks at an account's server as signing in would, one step after the other."""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import securecall
from securecall.account import SignIn
from securecall.clock import loop_now
from securecall.doctor.conversation import FLOW, Conversation
from securecall.doctor.exchange import Exchange, answer_of, registered_of
from securecall.doctor.facts import (
    Answer,
    Encryption,
    Facts,
    Knock,
    Machine,
    Names,
    Place,
    Registered,
    Wanted,
    decisive,
)
from securecall.doctor.finding import Diagnosis, Step
from securecall.doctor.judgement import diagnose
from securecall.errors import (
    CertificateError,
    ConnectFailed,
    NameNotFound,
    NetworkError,
    ProtocolError,
    SecurecallError,
)
from securecall.media import opus
from securecall.sip.agent import Agent
from securecall.sip.connections import Connection, connect_to
from securecall.sip.digest import Authenticator
from securecall.sip.headers import Headers
from securecall.sip.registration import Registration
from securecall.transport.certificate import ServerCertificate, parse_certificate
from securecall.transport.inspection import danger_certificate_of
from securecall.transport.resolver import Resolver
from securecall.transport.srv import Lookup, Target
from securecall.transport.tls import NameProvingContext, client_context, connect

PATIENCE: Final = 8.0  # seconds for each thing that somebody else has to do
MOST_PLACES: Final = 8
_GOODBYE_SECONDS: Final = 2.0
_EXTRAS: Final = {
    "devices": "sounddevice",
    "keyring": "keyring",
    "video": "av",
    "voice": "pywebrtc_audio",
    "websocket": "websockets",
}
_NO_WAY: Final = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EACCES)


async def examine(
    how: SignIn,
    *,
    resolver: Resolver | None = None,
    patience: float = PATIENCE,
    watcher: Callable[[Step], None] = lambda _: None,
) -> Diagnosis:
    """Look at everything between this machine and being registered.

    Only a server that proved its name hears SIP, and only it is shown an answer made of the
    password, by the same rules as in `Client.sign_in`. A registration that succeeds is taken back.

    Args:
        how: As for signing in; without a password nothing is registered.
        resolver: Asks DNS, None for the system's.
        patience: Seconds for each thing that somebody else has to do.
        watcher: Told of each step as it begins.

    Raises:
        UsageError: `how` names no server.
        LocalError: the authorities cannot be read.
    """
    return diagnose(await _Examination(how, resolver or Resolver(), patience, watcher).facts())


class _Examination:
    """One look."""

    def __init__(
        self,
        how: SignIn,
        resolver: Resolver,
        patience: float,
        watcher: Callable[[Step], None],
    ) -> None:
        self._how = how
        self._server = how.where
        self._resolver = resolver
        self._patience = patience
        self._watcher = watcher
        self._context: NameProvingContext = client_context(how.authorities)

    async def facts(self) -> Facts:
        how, server = self._how, self._server
        wanted = Wanted(
            address=how.address.short,
            domain=how.address.host,
            user=how.user or how.address.user,
            host=server.host,
            port=server.named_port,
            name=server.name,
            websocket=bool(server.path),
            named=how.server is not None,
        )
        names = await self._names()
        places = await self._places(names.targets)
        machine = _machine()
        place = decisive(places)
        target = place.target if place is not None and place.proved else None
        if wanted.websocket and "websocket" in machine.missing:
            target = None
        answer, registered = None, None
        if target is not None:
            self._watcher(Step.SERVER)
            answer = await self._options(target)
            if how.password is not None:
                self._watcher(Step.REGISTRATION)
                registered = await self._register(target)
        return Facts(
            wanted=wanted,
            machine=machine,
            names=names,
            places=places,
            answer=answer,
            registered=registered,
            password=how.password is not None,
        )

    async def _names(self) -> Names:
        self._watcher(Step.DNS)
        lookups: list[Lookup] = []
        self._resolver.watcher = lookups.append
        try:
            targets = await self._resolver.sip_targets(
                self._server.host, port=self._server.named_port
            )
        except ConnectFailed as e:
            unknown = isinstance(e, NameNotFound)
            return Names(lookups=tuple(lookups), failure=str(e), unknown=unknown)
        finally:
            self._resolver.watcher = None
        return Names(lookups=tuple(lookups), targets=targets)

    async def _places(self, targets: tuple[Target, ...]) -> tuple[Place, ...]:
        self._watcher(Step.CONNECT)
        places = await asyncio.gather(*(self._place(target) for target in targets[:MOST_PLACES]))
        return tuple(places)

    async def _place(self, target: Target) -> Place:
        knock = await _knock(target, self._patience)
        encryption = await self._encryption(target) if knock is Knock.ANSWERED else None
        return Place(target=target, knock=knock, encryption=encryption)

    async def _encryption(self, target: Target) -> Encryption:
        name = self._server.name
        try:
            async with asyncio.timeout(self._patience):
                connection = await connect(
                    target.host, target.port, server_name=name, context=self._context
                )
        except CertificateError as e:
            certificate = await self._shown(target)
            return Encryption(
                code=e.code, fault=e.fault or str(e), remedy=e.remedy, certificate=certificate
            )
        except TimeoutError:
            return Encryption(failure="takes connections, but does not answer TLS in time")
        except NetworkError as e:
            return Encryption(failure=_without_place(str(e), target))
        version, _, suite = connection.transport.partition(" ")
        certificate = _read(connection.peer_certificate)
        group = connection.group
        await connection.close(seconds=_GOODBYE_SECONDS)
        return Encryption(version=version, suite=suite, group=group, certificate=certificate)

    async def _shown(self, target: Target) -> ServerCertificate | None:
        """The certificate that was refused, on a connection of its own that carries nothing."""
        try:
            return await danger_certificate_of(
                target.host, target.port, server_name=self._server.name, seconds=self._patience
            )
        except (NetworkError, ProtocolError):
            return None

    async def _connect(self, target: Target) -> Connection | Answer:
        """Connect for SIP where TLS was right a moment ago."""
        try:
            async with asyncio.timeout(2 * self._patience):
                return await connect_to(target, self._server, self._context)
        except TimeoutError:
            return Answer(failure="did not take a connection in time")
        except ProtocolError:
            return Answer(failure="did not begin a WebSocket", broken=True)
        except SecurecallError as e:
            return Answer(failure=_without_place(str(e), target))

    async def _options(self, target: Target) -> Answer:
        # no login: whoever asks for a password here is not answered
        agent = Agent(random_token=_token, transport=self._server.transport)
        _, outputs = agent.ask(
            "OPTIONS",
            target=f"sip:{self._how.address.host}",
            from_uri=str(self._how.address),
            flow=FLOW,
            now=loop_now(),
            more=Headers((("Accept", "application/sdp"),)),
        )
        connection = await self._connect(target)
        if isinstance(connection, Answer):
            return connection
        conversation = Conversation(connection, agent, seconds=self._patience)
        exchange = await conversation.ask(outputs)
        await connection.close(seconds=_GOODBYE_SECONDS)
        return answer_of(exchange)

    async def _register(self, target: Target) -> Registered:
        login = self._how.login
        agent = Agent(
            random_token=_token,
            authenticator=Authenticator(login) if login else None,
            transport=self._server.transport,
        )
        connection = await self._connect(target)
        if isinstance(connection, Answer):
            return Registered(failure=connection.failure)
        conversation = Conversation(connection, agent, seconds=self._patience)
        try:
            return await self._registered(agent, conversation)
        finally:
            await connection.close(seconds=_GOODBYE_SECONDS)

    async def _registered(self, agent: Agent, conversation: Conversation) -> Registered:
        address, name = str(self._how.address), agent.name()

        async def told(fields: Headers) -> Exchange:
            _, outputs = agent.register(
                domain=f"sip:{self._how.address.host}",
                address=address,
                name=name,
                flow=FLOW,
                now=loop_now(),
                more=fields,
            )
            return await conversation.ask(outputs)

        # of its own, so that no device's registration is replaced
        registration = Registration(
            contact=f"{agent.flow_uri()};ob",
            instance=uuid.uuid4().urn,
            now=0.0,
        )
        exchange = await told(registration.fields())
        first = exchange
        _take(registration, exchange)
        if registration.due == 0.0:  # it wants to be asked for longer (423)
            exchange = await told(registration.fields())
            _take(registration, exchange)
        removed = None
        if registration.granted is not None:
            goodbye = await told(registration.fields(remove=True))
            removed = goodbye.response is not None and goodbye.response.status < 300
        return registered_of(first, exchange, registration, removed=removed)


def _take(registration: Registration, exchange: Exchange) -> None:
    if exchange.response is not None and exchange.refused is None:
        registration.receive(exchange.response, now=0.0, chance=0.5)


async def _knock(target: Target, seconds: float) -> Knock:
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(target.host, target.port)
    except TimeoutError:
        return Knock.SILENT
    except OSError as e:
        if e.errno == errno.ETIMEDOUT:
            return Knock.SILENT
        return Knock.UNREACHABLE if e.errno in _NO_WAY else Knock.REFUSED
    writer.transport.abort()
    return Knock.ANSWERED


def _read(der: bytes) -> ServerCertificate | None:
    try:
        return parse_certificate(der)
    except ProtocolError:
        return None


def _without_place(text: str, target: Target) -> str:
    """A failure's words without where it was, which the reader knows."""
    where = str(replace(target, name=""))
    return text.removeprefix(f"cannot connect to {where}: ").removeprefix(f"{where} ")


def _machine() -> Machine:
    return Machine(
        now=time.time(),
        installed=Path(securecall.__file__).stat().st_mtime,
        opus=opus.is_available(),
        missing=tuple(e for e, module in _EXTRAS.items() if not importlib.util.find_spec(module)),
    )


def _token() -> str:
    return secrets.token_hex(12)
