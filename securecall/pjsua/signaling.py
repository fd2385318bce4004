"""PJSIP as a signalling adapter that carries the sound as well: the event loop's half of it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar

from securecall.address import ANONYMOUS, Address
from securecall.calls.carried import sound
from securecall.calls.signaling import (
    Answered,
    Ended,
    IncomingLeg,
    Leg,
    Offered,
    Refused,
    Ringing,
    Route,
    Signal,
    SignalBuffer,
    SignalingPath,
    SignalSink,
    TransferProgress,
    TransferRequested,
)
from securecall.errors import (
    CallFailed,
    CertificateError,
    ConnectFailed,
    EndReason,
    LocalError,
    LoginRefused,
    ProtocolError,
    RegistrationFailed,
    SecurecallError,
    SecurityError,
    Unsupported,
    UsageError,
)
from securecall.logs import logger
from securecall.media.description import Description, Direction, Keying, mirrored
from securecall.pjsua import told
from securecall.pjsua.engine import Engine
from securecall.pjsua.rings import Rings
from securecall.pjsua.sound import PjsuaSound
from securecall.sip.connections import SipServer
from securecall.sip.digest import Login
from securecall.sip.grammar import parse_name_addr
from securecall.sip.identity import of_the_telephone_network
from securecall.sip.leg import ring
from securecall.sip.message import Request, Response, parse_message
from securecall.sip.naming import claimed_address, is_telephone, uri_of
from securecall.sip.outcome import REFUSALS, reason_of
from securecall.sip.refer import Replaces, build_refer_to, whom
from securecall.sip.registering import Watcher
from securecall.sip.registration import RegistrationState
from securecall.sip.transfers import MOST_ASKED, outcome_of, step_of
from securecall.transport.endpoint import endpoint
from securecall.transport.route import own_host_towards

if TYPE_CHECKING:  # pjsua2 is an extra
    from securecall.pjsua.endpoint import PjsuaEndpoint

log = logger(__name__)
T = TypeVar("T")

CLOSE_SECONDS: Final = 4.0
"""How long a call that was hung up may take to be over at the other end as well."""

_REGISTER_SECONDS: Final = 40.0
_TLS_PORT: Final = 5061
_CHALLENGES: Final = (401, 407)
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


class PjsuaLeg:
    """One call of PJSIP's; satisfies `IncomingLeg` and `CarryingLeg`.

    Attributes:
        call_id, outgoing, local, remote, identity, telephone: As of every leg.
        carrier: The sound.
    """

    identity: tuple[str, ...] = ()
    replaced: Leg | None = None  # PJSIP refuses whoever asks for the place of another

    def __init__(
        self,
        signaling: PjsuaSignaling,
        number: int,
        rings: Rings,
        name: str = "",
        *,
        local: Address,
        remote: Address = ANONYMOUS,
        invite: Request | None = None,
    ) -> None:
        """Made by `PjsuaSignaling`, of somebody's `invite` or to call `remote`."""
        self.call_id = name
        self.outgoing = invite is None
        self.local, self.remote = local, remote
        self._hops: tuple[str, ...] = ()
        self.telephone = False
        if invite is not None:
            self.remote, self._hops = claimed_address(invite.from_), invite.hops
            vouched = tuple(invite.headers.all("identity"))
            self.telephone = is_telephone(invite.from_.uri) or of_the_telephone_network(vouched)
        self._signaling = signaling
        self._number = number
        self.carrier = PjsuaSound(number, rings, self._order)
        self._buffer = SignalBuffer()
        self._keys: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._keys.add_done_callback(_seen)
        self._over = asyncio.Event()
        self._taken = False
        self._names = ""
        self._wishes = 0
        self._asked: Direction | None = None  # a change of ours that waits
        self._challenged = False
        self._direction = Direction.SENDRECV
        self._on_digit: Callable[[str], None] | None = None

    def __repr__(self) -> str:
        return f"<PjsuaLeg {'to' if self.outgoing else 'from'} {self.remote.short}>"

    # -- Leg --------------------------------------------------------------------------------------

    @property
    def path(self) -> SignalingPath:
        """What is known so far of the way taken."""
        connection = self._signaling.connection
        return SignalingPath(
            protocol="SIP",
            transport=connection.cipher,
            direct=False,
            verified_name=self._signaling.server_name,
            hops=self._hops,
            remote=connection.remote,
        )

    @property
    def offer(self) -> Description | None:
        """That there is sound: what of it is PJSIP's affair."""
        return sound()

    @property
    def replaces(self) -> str:
        """Names this call to its other end, "" while there is none (RFC 3891 3)."""
        return "" if self._over.is_set() else self._names

    def listen(self, sink: SignalSink) -> None:
        """Deliver signals to `sink` from now on; those that came before are delivered first."""
        self._buffer.listen(sink)

    def send(self, signal: Signal) -> None:
        """Queue a signal for the peer."""
        number = self._number
        match signal:
            case Ringing():
                self._order(lambda it: it.answer(number, 180))
            case Answered() if not self._taken and not self.outgoing:
                self._taken = True
                self._order(lambda it: it.answer(number, 200))
            case Offered(description=description) if (audio := description.audio) is not None:
                self._asked, self._challenged = audio.direction, False
                hold = audio.direction is not Direction.SENDRECV
                self._order(lambda it: it.change(number, hold=hold))
            case TransferRequested(address=Address() as address, replaces=replaces):
                uri = build_refer_to(uri_of(address, self._signaling.server_name), replaces)
                self._order(lambda it: it.transfer(number, uri))
            case Ended(reason=reason):
                refusal = REFUSALS[reason] if not (self.outgoing or self._taken) else 0
                self._order(lambda it: it.hang_up(number, refusal))
            case _:
                log.debug("%r has no way to say %r", self, signal)

    async def closed(self) -> None:
        """Return when the call is over at both ends, or the other does not say so in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                _ = await self._over.wait()

    async def keyed(self) -> str:
        """Wait until PJSIP has keys, and return the SRTP profile.

        Raises:
            SecurityError: the sound is not protected.
        """
        return await asyncio.shield(self._keys)

    def hear_digits(self, sink: Callable[[str], None]) -> None:
        """Tell each digit that the peer presses."""
        self._on_digit = sink

    # -- from the thread --------------------------------------------------------------------------

    def receive(self, event: told.Told) -> None:
        """Take what PJSIP tells of this call; the adapter calls this."""
        try:
            self._take(event)
        except Exception:  # a call that fails must not take the account along
            log.exception("%r failed", self)

    def _take(self, event: told.Told) -> None:
        match event:
            case told.Alerting():
                self._buffer.deliver(Ringing())
            case told.Taken() if self.outgoing and not self._taken:
                self._taken = True
                self._buffer.deliver(Answered(sound()))
            case told.Replied(status=status, message=message):
                self._replied(status, message)
            case told.Accepted(message=message):
                self._named(_response(message))
            case told.Transferred(target=target) if self._wishes < MOST_ASKED:
                self._wishes += 1
                self._buffer.deliver(_wish(target))
            case told.SentOn(status=status, final=final):
                self._sent_on(status, final=final)
            case told.Ended():
                self._ended(event)
            case _:
                self._take_of_sound(event)

    def _sent_on(self, status: int, *, final: bool) -> None:
        """Tell what comes of a transfer of ours; one that ends without an answer has failed."""
        over = final or status >= 300
        progress = outcome_of(status) if over else TransferProgress(step_of(status), status=status)
        self._buffer.deliver(progress)

    def _take_of_sound(self, event: told.Told) -> None:
        match event:
            case told.Sounding():
                self._sounding(event)
            case told.Measured():
                self.carrier.measured(event)
            case told.Pressed(digit=digit) if self._on_digit is not None:
                self._on_digit(digit)
            case told.Unprotected(error=error) if not self._keys.done():
                self._keys.set_exception(error)
            case told.Unprotected():
                self._order(lambda it: it.hang_up(self._number, 0))
                self._buffer.deliver(Ended(EndReason.SECURITY))
            case _:
                pass

    def _sounding(self, event: told.Sounding) -> None:
        if not self._keys.done():
            self._keys.set_result(event.profile)
        changed, self._direction = event.direction is not self._direction, event.direction
        if changed and self._asked is None:
            self._buffer.deliver(Offered(sound(mirrored(event.direction))))

    def _named(self, answer: Response | None) -> None:
        """Take the answer that began the call: what passed it on, and how both ends know it."""
        if answer is None:
            return
        theirs, ours = answer.to.tag, answer.from_.tag
        if not self.outgoing:
            theirs, ours = ours, theirs
        self._names = str(Replaces(answer.call_id, theirs, ours))

    def _replied(self, status: int, message: str) -> None:
        answer = _response(message)
        if answer is not None and not self._hops:
            self._hops = answer.hops
        if 200 <= status < 300:
            self._named(answer)
        if self._asked is None:
            return
        if status in _CHALLENGES and not self._challenged:
            self._challenged = True  # PJSIP asks again, with the password
            return
        self._asked = None
        answered = 200 <= status < 300
        self._buffer.deliver(Answered(sound()) if answered else Refused(status))

    def _ended(self, event: told.Ended) -> None:
        self._over.set()
        if not self._keys.done():
            self._keys.set_exception(CallFailed("the call is over"))
        answered = event.status < 300
        reason = EndReason.HUNG_UP if answered else reason_of(event.status)
        if answered and not self._taken:
            reason = EndReason.CANCELLED
        self._buffer.deliver(Ended(reason, event.status, event.reason))

    def _order(self, work: Callable[[PjsuaEndpoint], None]) -> None:
        _ = self._signaling.order(work)


def _seen(keys: asyncio.Future[str]) -> None:
    """Whoever waited for keys was told; nobody may have."""
    if not keys.cancelled():
        _ = keys.exception()


def _response(message: str) -> Response | None:
    """Read an answer, None where our grammar takes it for none: PJSIP is laxer."""
    try:
        found = parse_message(message.encode("utf-8", "surrogateescape"))
    except ProtocolError:
        return None
    return found if isinstance(found, Response) else None


def _wish(target: str) -> TransferRequested:
    """Read whom the peer would have us call, as with our own engine; nobody waits to be told."""
    try:
        text, address, replaces = whom(parse_name_addr(target, "Refer-To"))
    except ProtocolError:
        return TransferRequested(target[:256])
    return TransferRequested(text, address, replaces=replaces)


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
            "the engine pjsua2 needs the Python binding of PJSIP: pip install securecall[pjsua2], "
            f"or a build of your own ({e})"
        ) from e
    except AttributeError as e:
        raise Unsupported(
            f"this pjsua2 lacks what the engine needs of it, as releases before 2.15 do: {e}"
        ) from e
    return PjsuaEndpoint
