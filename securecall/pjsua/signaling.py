"""PJSIP as a signalling adapter that carries the sound as well: the event loop's half of it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar

from securecall.address import Address
from securecall.calls.signaling import (
    Ended,
    IncomingLeg,
    Route,
)
from securecall.errors import (
    CertificateError,
    ConnectFailed,
    EndReason,
    LocalError,
    LoginRefused,
    RegistrationFailed,
    SecurecallError,
    SecurityError,
    Unsupported,
    UsageError,
)
from securecall.logs import logger
from securecall.media.description import Description, Keying
from securecall.pjsua import told
from securecall.pjsua.engine import Engine
from securecall.pjsua.leg import PjsuaLeg
from securecall.pjsua.rings import Rings
from securecall.sip.connections import SipServer
from securecall.sip.digest import Login
from securecall.sip.leg import ring
from securecall.sip.naming import uri_of
from securecall.sip.registering import Watcher
from securecall.sip.registration import RegistrationState
from securecall.transport.endpoint import endpoint
from securecall.transport.route import own_host_towards

if TYPE_CHECKING:  # pjsua2 is an extra
    from securecall.pjsua.endpoint import PjsuaEndpoint

log = logger(__name__)
T = TypeVar("T")

_REGISTER_SECONDS: Final = 40.0
_TLS_PORT: Final = 5061
_LOGIN: Final = (401, 403, 404, 407)


class PjsuaSignaling:
    """One SIP account with PJSIP; satisfies `Signaling`. At most one in a process."""

    def __init__(self, local: Address, server_name: str, watcher: Watcher) -> None:
        """Use `open`."""
        self._local = local
        self.server_name = server_name
        self._watcher = watcher
        self._loop = asyncio.get_running_loop()
        self._engine = Engine(local.short)
        self._endpoint: PjsuaEndpoint | None = None
        self._legs: dict[int, PjsuaLeg] = {}
        self._numbers = count(1)  # of calls; the other thread draws some, too
        self._sink: Callable[[IncomingLeg], None] | None = None
        self._first: asyncio.Future[None]
        self._fault = ""
        self._closed = False
        self.registration: RegistrationState | None = None
        self.connection = told.Connected("", "")

    @classmethod
    async def open(
        cls,
        *,
        local: Address,
        server: SipServer,
        authorities: Path | None,
        login: Login | None,
        keying: Keying,
        register: bool,
        watcher: Watcher,
    ) -> Self:
        """Start PJSIP in a thread of its own, and register there if that is wished.

        Args:
            local: Our address.
            server: Connected to when first needed; its host has to be what its certificate proves.
            authorities: PEM file of roots that may vouch for it, None for the system's.
            login: What the server is shown where it asks for a password.
            keying: SDES, or DTLS_SRTP.
            register: Register, and stay registered until `close`.
            watcher: Told of every change of the registration.

        Raises:
            ConnectFailed, RegistrationFailed: the server is not there, or cannot do it now.
            LoginRefused, CertificateError: a person has to act.
            LocalError: PJSIP does not start.
            Unsupported: pjsua2 is not installed, or its build lacks something.
            UsageError: an account of this process has PJSIP already.
        """
        if server.name != server.host:
            raise Unsupported(
                "PJSIP proves the name it connects to: give the server by the name in its "
                f"certificate, server={server.host!r} with server_name={server.host!r}"
            )
        opened = await asyncio.to_thread(_import_endpoint)
        own_host = await own_host_towards(server.host)
        settings = told.Settings(
            uri=str(local),
            domain=local.host if register else "",
            proxy=endpoint(server.host, server.port or _TLS_PORT),
            authorities=_authorities(authorities),
            own_host=own_host,
            keying=keying,
            user=login.user if login is not None else "",
            realm=login.realms[0] if login is not None else "",
            password=login.password if login is not None else None,
        )
        made = cls(local, server.name, watcher)
        try:
            await made._begin(opened, settings, register=register)
        except BaseException:
            await made.close()
            raise
        return made

    async def _begin(
        self, opened: type[PjsuaEndpoint], settings: told.Settings, *, register: bool
    ) -> None:
        self.registration = RegistrationState.CONNECTING if register else None
        self._first = first = self._loop.create_future()
        born = self._engine.begin(partial(opened.open, settings, self._numbers, self._post))
        self._endpoint = await asyncio.wrap_future(born)
        self._engine.ended.add_done_callback(lambda _: self._post(told.Gone()))
        if not register:
            return
        try:
            async with asyncio.timeout(_REGISTER_SECONDS):
                await first
        except TimeoutError:
            raise ConnectFailed(f"no answer from {settings.proxy}") from None

    # -- Signaling --------------------------------------------------------------------------------

    def on_incoming(self, sink: Callable[[IncomingLeg], None]) -> None:
        """Deliver calls that come in to `sink`; before that they are refused with 480."""
        self._sink = sink

    async def dial(self, route: Route, offer: Description) -> PjsuaLeg:
        """Begin a call; what is offered is PJSIP's affair.

        Raises:
            Unsupported: the build has room for no more calls.
            UsageError: the address is none of SIP, or the account is closed.
        """
        if route.direct is not None:
            raise UsageError("PJSIP calls through its server alone")
        uri = uri_of(route.target, self.server_name)
        number, rings = next(self._numbers), Rings()
        leg = PjsuaLeg(self, number, rings, local=self._local, remote=route.target)
        self._legs[number] = leg
        try:
            leg.call_id = await self._on_thread(
                lambda it: it.dial(number, uri, rings, route.replaces)
            )
        except BaseException:
            leg.send(Ended(EndReason.CANCELLED))
            _ = self._legs.pop(number, None)
            raise
        return leg

    async def close(self) -> None:
        """End every leg, take leave of the registrar, end PJSIP."""
        if self._closed:
            return
        self._closed = True
        for leg in tuple(self._legs.values()):
            leg.send(Ended(EndReason.HUNG_UP))
        legs = [asyncio.ensure_future(leg.closed()) for leg in self._legs.values()]
        if legs:
            _ = await asyncio.wait(legs)
        await asyncio.wrap_future(self._engine.end())
        if self.registration is not None:
            self._stand(RegistrationState.ENDED, None)

    # -- to the thread ----------------------------------------------------------------------------

    async def _on_thread(self, work: Callable[[PjsuaEndpoint], T]) -> T:
        done = self.order(work)
        try:
            return await asyncio.wrap_future(done)
        except asyncio.CancelledError:
            if done.cancelled() and (self._closed or self._engine.ended.done()):
                raise UsageError("this account is closed") from None
            raise

    def order(self, work: Callable[[PjsuaEndpoint], T]) -> Future[T]:
        """Have something done on PJSIP's thread; legs call this."""
        living = self._endpoint
        if living is None:  # invariant: nobody has us before we are open
            raise UsageError("this account is not open")
        return self._engine.do(lambda: work(living))

    # -- from the thread --------------------------------------------------------------------------

    def _post(self, event: told.Told) -> None:
        """Called on PJSIP's thread."""
        try:
            _ = self._loop.call_soon_threadsafe(self._receive, event)
        except RuntimeError:  # the loop is closed, and nobody closed us before: there is no owner
            _ = self._engine.end()

    def _receive(self, event: told.Told) -> None:
        match event:
            case told.Registered():
                self._registered(event)
            case told.Connected():
                self.connection, self._fault = event, ""
            case told.Disconnected(fault=fault):
                self._fault = fault or self._fault
            case told.Gone():
                self._gone()
            case told.Rang():
                self._rang(event)
            case _:
                self._of_call(event, event.number)

    def _of_call(self, event: told.Told, number: int) -> None:
        leg = self._legs.get(number)
        if leg is None:  # given up while it was being dialled
            return
        if isinstance(event, told.Ended):
            del self._legs[number]
        leg.receive(event)

    def _rang(self, event: told.Rang) -> None:
        number, invite = event.number, event.invite
        leg = PjsuaLeg(self, number, event.rings, event.name, local=self._local, invite=invite)
        self._legs[number] = leg
        ring(leg, None if self._closed else self._sink)

    def _registered(self, event: told.Registered) -> None:
        error = None if event.status == 200 else self._why(event)
        if self._closed:
            return
        if not self._first.done():
            if error is not None:
                self._first.set_exception(error)
                return
            self._first.set_result(None)
        if error is None:
            self._stand(RegistrationState.REGISTERED, None)
        elif isinstance(error, SecurityError):
            self._stand(RegistrationState.REFUSED, error)
        else:
            self._stand(RegistrationState.CONNECTING, error)

    def _gone(self) -> None:
        """Say that the account is no more; its calls were told that they are over."""
        if not self._closed and self.registration is not None:
            error = LocalError("PJSIP failed, and with it this account; sign out, and in again")
            self._stand(RegistrationState.ENDED, error)

    def _why(self, event: told.Registered) -> SecurecallError:
        name = self.server_name
        if self._fault or "CERTVERIF" in event.reason:
            fault = self._fault or event.reason
            return CertificateError(f"{name} could not prove its name: {fault}", fault=fault)
        if event.status in _LOGIN:
            return LoginRefused(
                f"{name} does not let {self._local.short} in: {event.status} {event.reason}; where "
                "its realm is not the domain, give realm="
            )
        if event.status in (408, 502, 503):
            return ConnectFailed(f"{name} cannot be reached: {event.reason}")
        return RegistrationFailed(
            f"{name} does not register us now: {event.status} {event.reason}", status=event.status
        )

    def _stand(self, state: RegistrationState, error: SecurecallError | None) -> None:
        if state is not self.registration:
            self.registration = state
            self._watcher(state, error)


def _authorities(chosen: Path | None) -> Path:
    """The file of roots: OpenSSL inside PJSIP knows none of the system's by itself.

    Raises:
        LocalError: there is none.
    """
    found = chosen or next(
        (Path(p) for p in (ssl.get_default_verify_paths().cafile, *_SYSTEM_ROOTS) if p), None
    )
    if found is None or not found.is_file():
        raise LocalError(f"there is no file of certificate authorities: {found}")
    return found.absolute()


_SYSTEM_ROOTS: Final = ("/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem")


def _import_endpoint() -> type[PjsuaEndpoint]:
    """Import pjsua2, which takes a moment.

    Raises:
        Unsupported: it is not installed, or does not load.
    """
    try:
        from securecall.pjsua.endpoint import PjsuaEndpoint
    except ImportError as e:
        raise Unsupported(
            'the engine pjsua2 needs PJSIP\'s Python binding: pip install "securecall[pjsua2]", '
            f"or a build of your own ({e})"
        ) from e
    except AttributeError as e:
        raise Unsupported(
            f"this pjsua2 lacks what the engine needs of it, as releases before 2.15 do: {e}"
        ) from e
    return PjsuaEndpoint
