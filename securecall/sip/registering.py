"""Keeps an address registered: the shell around `Registration`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final, Protocol

from securecall.clock import loop_now
from securecall.errors import (
    ConnectFailed,
    LoginRefused,
    NetworkError,
    ProtocolError,
    RegistrationFailed,
    SecurecallError,
    UsageError,
)
from securecall.logs import logger
from securecall.sip.connections import Flow
from securecall.sip.headers import Headers
from securecall.sip.output import Replied
from securecall.sip.registration import Granted, Registration, RegistrationState

_GOODBYE_SECONDS: Final = 2.0
_BUSY: Final = 503

log = logger(__name__)


class Registrar(Protocol):
    """The account's server, as a registration sees it."""

    async def reach(self) -> Flow:
        """Return the connection to it, made if there is none.

        Raises:
            ConnectFailed: it cannot be reached.
            CertificateError: it could not prove its name.
            ProtocolError, Unsupported: there can be no WebSocket.
        """
        ...

    async def register(self, flow: Flow, fields: Headers) -> Replied:
        """Send a REGISTER and wait for what comes of it."""
        ...

    def shun(self, flow: Flow) -> bool:
        """Leave a server that cannot do it now for another; False if there is none to try."""
        ...

    def granted(self, flow: Flow, granted: Granted) -> None:
        """The address is bound to this connection."""
        ...


Watcher = Callable[[RegistrationState, SecurecallError | None], None]


class Registering:
    """Registers, refreshes, comes back after every outage, and takes leave.

    Attributes:
        error: Why the last try came to nothing, None after one that did.
    """

    def __init__(
        self, registrar: Registrar, registration: Registration, *, watcher: Watcher
    ) -> None:
        """Begin at once.

        Args:
            registrar: Where to register.
            registration: The core.
            watcher: Told of every change of state.
        """
        self.error: SecurecallError | None = None
        self._registrar = registrar
        self._registration = registration
        self._watcher = watcher
        self._told = registration.state
        self._woken = asyncio.Event()
        self._settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flow: Flow | None = None
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def state(self) -> RegistrationState:
        """Where it stands."""
        return self._registration.state

    async def first(self) -> None:
        """Wait for the first try.

        Raises:
            SecurecallError: of the kind that fits; it is tried again after a `NetworkError` or
                `ProtocolError`.
            UsageError: the account was closed meanwhile.
        """
        _ = await asyncio.wait((self._settled, self._task), return_when=asyncio.FIRST_COMPLETED)
        if not self._settled.done():
            if self._task.cancelled():
                raise UsageError("this account was closed while it signed in")
            self._task.result()  # raises: what ended the loop is a bug of ours
        if self.error is not None:
            raise self.error

    def lost(self) -> None:
        """The connection to the server broke."""
        self._registration.lost(now=loop_now())
        self._tell()
        self._woken.set()

    def hurry(self) -> None:
        """The network changed: where we are not registered, try again now."""
        self._registration.hurry(now=loop_now())
        self._woken.set()

    async def end(self) -> None:
        """Stop, and tell the server so if it is still there."""
        _ = self._task.cancel()
        _ = await asyncio.gather(self._task, return_exceptions=True)
        registered = self._registration.state is RegistrationState.REGISTERED
        fields = self._registration.fields(remove=True)
        self._registration.end()
        if registered and self._flow is not None and not self._flow.connection.closing:
            try:
                async with asyncio.timeout(_GOODBYE_SECONDS):
                    _ = await self._registrar.register(self._flow, fields)
            except TimeoutError:
                log.info("the server did not say goodbye")
        self._tell()

    async def _run(self) -> None:
        while self._registration.state in (
            RegistrationState.CONNECTING,
            RegistrationState.REGISTERED,
        ):
            due = self._registration.due
            wait = None if due is None else max(0.0, due - loop_now())
            if wait != 0.0:
                try:
                    async with asyncio.timeout(wait):
                        _ = await self._woken.wait()
                except TimeoutError:
                    pass
                self._woken.clear()
                continue
            await self._once()
            if self._registration.due is not None and self._registration.due <= loop_now():
                continue  # the server told what to ask for instead
            self._tell()
            if not self._settled.done():
                self._settled.set_result(None)

    async def _once(self) -> None:
        registration = self._registration
        chance = random.random()  # noqa: S311 - spreads load, guards nothing
        try:
            flow, replied = await self._ask()
        except (NetworkError, ProtocolError) as e:  # the latter of a WebSocket that is none
            registration.failed(now=loop_now(), chance=chance)
            self.error = e
            return
        except SecurecallError as e:
            registration.refuse()
            self.error = e
            return
        if replied.refused is not None:
            registration.refuse()
        elif replied.response is None:
            # nobody is at the other end any more, whatever the socket says
            flow.connection.abort()
            registration.failed(now=loop_now(), chance=chance)
        else:
            registration.receive(replied.response, now=loop_now(), chance=chance)
        self.error = _error_of(replied, registration.state)
        if registration.state is RegistrationState.REGISTERED:
            self._flow = flow
            if flow.connection.closing:
                self.error = ConnectFailed("the server registered us and hung up at once")
                registration.lost(now=loop_now())
            elif registration.granted is not None:
                self._registrar.granted(flow, registration.granted)

    async def _ask(self) -> tuple[Flow, Replied]:
        """Ask one server after the other until one is neither silent nor busy (RFC 3263 4.3)."""
        while True:
            fields = self._registration.fields()
            flow = await self._registrar.reach()
            replied = await self._registrar.register(flow, fields)
            answers = replied.response is not None and replied.status != _BUSY
            if answers or replied.refused is not None or not self._registrar.shun(flow):
                return flow, replied

    def _tell(self) -> None:
        state = self._registration.state
        if state is not self._told:
            self._told = state
            self._watcher(state, self.error)


def _error_of(replied: Replied, state: RegistrationState) -> SecurecallError | None:
    if state is RegistrationState.REGISTERED:
        return None
    if replied.refused is not None:
        return replied.refused
    status = replied.status
    if status in (401, 403, 407):
        return LoginRefused(
            f"the server does not let this user in ({status}); check address, user and password"
        )
    if replied.response is None:
        return RegistrationFailed("the server does not answer our registration", status=status)
    said = replied.response.reason[:60]
    return RegistrationFailed(
        f"the server answered our registration: {status} {said!r}", status=status
    )
