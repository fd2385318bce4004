"""One account's session, kept up over as many connections as it takes (RFC 6120, XEP-0198)."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import functools
import logging
import random
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self
from xml.etree.ElementTree import Element, SubElement

from securecall.address import Address, Scheme
from securecall.errors import (
    ConnectFailed,
    NetworkError,
    ProtocolError,
    SecurecallError,
    SecurityError,
    UsageError,
    XmppRefused,
)
from securecall.secret import Secret
from securecall.transport.srv import XMPP_DIRECT_PORTS, XMPP_PORT, Target
from securecall.transport.tls_context import xmpp_context
from securecall.xmpp import management, stream
from securecall.xmpp.management import Management, Taken
from securecall.xmpp.reconnecting import DEAD_AFTER, Backoff, Silence
from securecall.xmpp.stream import STANZA_ERRORS, Contexts, Stream, parse_stanza_error
from securecall.xmpp.xml import CLIENT, XmlLimits, serialise

if TYPE_CHECKING:  # dnspython is imported when a name is looked up
    from securecall.transport.resolver import Resolver

SM: Final = management.NAMESPACE
PING: Final = "urn:xmpp:ping"
CSI: Final = "urn:xmpp:csi:0"
MOST_REQUESTS: Final = 1024  # of ours, unanswered
MOST_UNDONE: Final = 1024  # stanzas of the server's; it is not read further until some are done
_RESUME_SECONDS: Final = 600

log = logging.getLogger(__name__)


class SessionState(enum.StrEnum):
    """Where a session stands; stable names for programs."""

    CONNECTING = "connecting"  # it was lost, and is tried again
    ONLINE = "online"
    REFUSED = "refused"  # for good: a person has to act
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class XmppLogin:
    """Whose account, where, and how its server proves itself.

    Attributes:
        address: xmpp:user@domain.
        password: Leaves this machine in no form but SCRAM's.
        server: "host:port" or (host, port) in place of what DNS says of the domain.
        direct: Whether `server` speaks TLS at once; None if its port says so (5222, 5223, 443), or
            both are to be tried.
        server_name: What the certificate must prove, "" for the domain.
        authorities: A PEM file of trusted roots in place of the system's.
        resource: Names this connection to others, "" for a random one.
        least: The weakest SCRAM mechanism to take, "" for any: what `Session.mechanism` was before.
    """

    address: Address
    password: Secret = field(repr=False)
    server: str | tuple[str, int] | None = None
    direct: bool | None = None
    server_name: str = ""
    authorities: Path | None = None
    resource: str = ""
    least: str = ""


StanzaHandler = Callable[[Element, Callable[[], None]], None]
RequestHandler = Callable[[Element], Element | None]
FreshHandler = Callable[[], Awaitable[None]]
StateHandler = Callable[[SessionState, Exception | None], None]


@dataclass(slots=True)
class _Request:
    answer: asyncio.Future[Element | None]
    entities: frozenset[str]


class Session:
    """One account's stream, kept up until `close`.

    Attributes:
        jid: Ours, with the resource the server bound.
        bare: Ours without it.
        domain: Of the server.
        state: Where it stands.
        failure: Why it is not online, None while it is.
        mechanism: How we logged in last; a server that later offers less is refused.
    """

    def __init__(self, login: XmppLogin, resolver: Resolver | None, limits: XmlLimits) -> None:
        """Use `open`."""
        self.bare = f"{login.address.user}@{login.address.host}"
        self.domain = login.address.host
        self.jid = self.bare
        self.state = SessionState.CONNECTING
        self.failure: Exception | None = None
        self.mechanism = login.least
        self._login = login
        self._resolver = resolver
        self._limits = limits
        self._contexts = Contexts(
            direct=xmpp_context(login.authorities, alpn=True),
            starttls=xmpp_context(login.authorities),
        )
        self._stream: Stream | None = None
        self._management: Management | None = None
        self._location = ""
        self._requests: dict[str, _Request] = {}
        self._on_message: StanzaHandler | None = None
        self._on_presence: StanzaHandler | None = None
        self._on_request: dict[tuple[str, str], RequestHandler] = {
            ("get", f"{{{PING}}}ping"): self._pinged
        }
        self._on_fresh: list[FreshHandler] = []
        self._on_resumed: list[FreshHandler] = []
        self._on_state: list[StateHandler] = []
        self._early: list[Element] = []
        self._active = True
        self._paused = False
        self._over: asyncio.Future[Exception] | None = None
        self._task: asyncio.Task[None] | None = None
        self._told: set[asyncio.Task[None]] = set()
        self._silence = Silence(now=0.0)
        self._backoff = Backoff()
        self._up_since = 0.0

    def __repr__(self) -> str:
        return f"<Session {self.state.value}>"

    @classmethod
    async def open(
        cls,
        login: XmppLogin,
        *,
        resolver: Resolver | None = None,
        limits: XmlLimits | None = None,
        prepare: Callable[[Self], None] | None = None,
    ) -> Self:
        """Connect and log in; from then on it stays up.

        Args:
            login: Whose account, and where.
            resolver: None makes one.
            limits: For what the server sends.
            prepare: Called before the first connection, to set handlers that miss nothing.

        Raises:
            ConnectFailed: the server cannot be reached.
            LoginRefused: it does not take the password, or not in a safe way.
            CertificateError: it does not prove its name.
            ProtocolError: it breaks a rule.
            XmppRefused: it ended the stream with an error.
        """
        if login.address.scheme is not Scheme.XMPP:
            raise UsageError(f"{login.address} is not an XMPP address")
        session = cls(login, resolver, limits or XmlLimits())
        if prepare is not None:
            prepare(session)
        session._backoff.trying(now=_now())
        resumed = await session._connect()
        session._begin(resumed=resumed)
        session._task = asyncio.create_task(session._keep())
        return session

    async def close(self) -> None:
        """End the session: the server is told what we took, and forgets the rest."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for told in tuple(self._told):
            told.cancel()
        live = self._stream
        if live is not None and live.failure is None:
            if self._management is not None and self._management.owed:
                live.send(_sm("a", h=str(self._management.told())))
            await live.close()
        self._stream = None
        self._enter(SessionState.ENDED)
        self._fail_requests(ConnectFailed("the session was closed"))

    # what others set

    def on_message(self, handler: StanzaHandler) -> None:
        """Hand every message to this; it calls `done` once the message is kept."""
        self._on_message = handler

    def on_presence(self, handler: StanzaHandler) -> None:
        """Hand every presence to this; it calls `done` once it is dealt with."""
        self._on_presence = handler

    def on_request(self, kind: Literal["get", "set"], tag: str, handler: RequestHandler) -> None:
        """Answer requests whose payload is this element, "{namespace}name".

        The handler gets the whole stanza, looks who asks, and returns the payload of the result,
        or raises `XmppRefused` to answer with an error.
        """
        self._on_request[kind, tag] = handler

    def on_fresh(self, handler: FreshHandler) -> None:
        """Run this whenever a session begins anew: what was not acked is gone."""
        self._on_fresh.append(handler)

    def on_resumed(self, handler: FreshHandler) -> None:
        """Run this whenever the session went on over a new connection."""
        self._on_resumed.append(handler)

    def on_state(self, handler: StateHandler) -> None:
        """Call this with every new state, and why."""
        self._on_state.append(handler)

    # sending

    @property
    def features(self) -> frozenset[str]:
        """The stream features of the server, by tag."""
        return frozenset(self._stream.features) if self._stream is not None else frozenset()

    def send(self, stanza: Element | bytes, *, taken: Taken | None = None) -> None:
        """Send a stanza, after all before it; it is kept until the server has taken it.

        If the session cannot be resumed, what was not taken is dropped, and `on_fresh` told.

        Args:
            stanza: message, presence or iq; or one that `serialise` wrote before.
            taken: Called once the server has it.

        Raises:
            ConnectFailed: there is no session, or the server takes nothing.
            UsageError: the stanza cannot be written.
        """
        self._send(stanza if isinstance(stanza, bytes) else serialise(stanza), taken)

    def _send(self, data: bytes, taken: Taken | None = None) -> None:
        live = self._stream
        kept = self._management
        if kept is None or self.state in (SessionState.REFUSED, SessionState.ENDED):
            raise ConnectFailed("the session is not online")
        kept.sending(data, taken)
        if live is None or live.failure is not None:
            return
        live.send(data)
        self._request_ack()

    async def request(
        self,
        payload: Element,
        *,
        to: str = "",
        kind: Literal["get", "set"] = "get",
        timeout: float = 30.0,
    ) -> Element | None:
        """Ask an entity; returns the payload of its result.

        Only the entity that was asked can answer (RFC 6120 8.2.3).

        Args:
            payload: The question.
            to: Whom; "" for our own account at our server.
            kind: "set" to change something.
            timeout: Seconds.

        Raises:
            XmppRefused: it answered with an error.
            ConnectFailed: no answer came, or the session ended meanwhile.
            UsageError: too many questions are open.
        """
        if len(self._requests) >= MOST_REQUESTS:
            raise UsageError(f"{MOST_REQUESTS} requests are unanswered")
        name = secrets.token_hex(8)
        iq = Element(f"{{{CLIENT}}}iq", type=kind, id=name)
        if to:
            iq.set("to", to)
        iq.append(payload)
        answer: asyncio.Future[Element | None] = asyncio.get_running_loop().create_future()
        self._requests[name] = _Request(answer, self._answering(to))
        try:
            self.send(iq)
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError as e:
            raise ConnectFailed("no answer came in time") from e
        finally:
            _ = self._requests.pop(name, None)

    def _answering(self, to: str) -> frozenset[str]:
        """Who may answer: an absent `from` is the server's doing, for the account (8.1.2.1)."""
        asked = _prepared(to)
        own = {"", _prepared(self.bare)}
        if not asked:
            return frozenset(own | {_prepared(self.domain), _prepared(self.jid)})
        if asked in (_prepared(self.bare), _prepared(self.domain)):
            return frozenset({"", asked})
        return frozenset({asked})

    def active(self, on: bool) -> None:  # noqa: FBT001 - its only argument
        """Tell the server whether a person looks at us (XEP-0352)."""
        self._active = on
        self._tell_active()

    def _tell_active(self) -> None:
        live = self._stream
        if live is not None and f"{{{CSI}}}csi" in live.features:
            live.send(serialise(Element(f"{{{CSI}}}{'active' if self._active else 'inactive'}")))

    def _request_ack(self) -> None:
        kept, live = self._management, self._stream
        if kept is None or live is None or kept.asked or not kept.waiting:
            return
        kept.asked = True
        live.send(_sm("r"))
        self._silence.asked(now=_now())

    # the connection

    async def _connect(self) -> bool:
        """Log in over a new connection; returns whether the session went on."""
        from securecall.transport.resolver import failing_over

        found = await failing_over(await self._targets(), self._open_stream)
        try:
            async with asyncio.timeout(stream.NEGOTIATION_SECONDS):
                self.mechanism = await found.login(
                    self._login.address.user, self._login.password, least=self.mechanism
                )
                resumed = await self._resume(found) or await self._bind(found)
        except TimeoutError as e:
            found.abort()
            raise ConnectFailed("the server does not go on with the login") from e
        except BaseException:
            found.abort()
            raise
        self._stream = found
        return resumed == "resumed"

    async def _open_stream(self, target: Target) -> Stream:
        return await stream.connect(
            target,
            domain=self.domain,
            server_name=self._login.server_name or self.domain,
            contexts=self._contexts,
            limits=self._limits,
        )

    async def _targets(self) -> tuple[Target, ...]:
        from securecall.transport.resolver import Resolver

        if self._resolver is None:
            self._resolver = Resolver()
        named = self._login.server
        if named is None:
            return await self._resolver.xmpp_targets(self.domain)
        host, port = _host_and_port(named)
        targets = await self._resolver.xmpp_targets(host, port=port)
        ways: tuple[str, ...] = ("tls", "starttls")
        if self._login.direct is not None:
            ways = ("tls",) if self._login.direct else ("starttls",)
        elif port in (0, XMPP_PORT, *XMPP_DIRECT_PORTS):
            return targets
        return tuple(replace(target, transport=way) for way in ways for target in targets)

    async def _resume(self, found: Stream) -> str:
        kept = self._management
        if kept is None or not kept.resume_id or f"{{{SM}}}sm" not in found.features:
            return ""
        resume = Element(f"{{{SM}}}resume", previd=kept.resume_id, h=str(kept.resuming()))
        answer = await found.ask(resume)
        if answer.tag == f"{{{SM}}}resumed" and answer.get("previd") == kept.resume_id:
            _call(kept.receive_ack(answer.get("h")))
            for sent in kept.unacked:
                found.send(sent.data)
            return "resumed"
        if answer.tag != f"{{{SM}}}failed":
            raise ProtocolError("the server does not answer the resumption", rule="XEP-0198 5")
        if answer.get("h") is not None:
            _call(kept.receive_ack(answer.get("h")))
        return ""

    async def _bind(self, found: Stream) -> str:
        self._management = None
        jid = await found.bind(self._login.resource or secrets.token_hex(8))
        if _prepared(jid).partition("/")[0] != _prepared(self.bare) or "/" not in jid:
            raise ProtocolError("the server bound somebody else", rule="RFC 6120 7.6.1")
        self.jid = jid
        self._early = []
        if f"{{{SM}}}sm" not in found.features:
            self._management = Management()
            self._management.asked = True  # nobody will answer
            return "bound"
        enable = Element(f"{{{SM}}}enable", resume="true", max=str(_RESUME_SECONDS))
        answer = await found.ask(enable)
        while answer.tag.startswith(f"{{{CLIENT}}}"):
            self._early.append(answer)  # before <enabled/>, so not counted (XEP-0198 3)
            answer = await found.next()
        resumable = answer.get("resume", "") in ("true", "1")
        self._management = Management(resume_id=answer.get("id", "") if resumable else "")
        if answer.tag != f"{{{SM}}}enabled":
            self._management.asked = True
        return "bound"

    def _begin(self, *, resumed: bool) -> None:
        live = self._stream
        if live is None:
            return
        self._up_since = _now()
        self._silence = Silence(now=self._up_since)
        self._over = asyncio.get_running_loop().create_future()
        self._paused = False
        if not resumed:
            self._fail_requests(ConnectFailed("the session began anew"))
        self._enter(SessionState.ONLINE)
        for handler in self._on_resumed if resumed else self._on_fresh:
            self._tell(handler)
        early, self._early = self._early, []
        for stanza in early:
            self._dispatch(stanza, _nothing)
        live.run(self._receive, self._ended)
        if not self._active:
            self._tell_active()
        self._request_ack()

    def _tell(self, handler: FreshHandler) -> None:
        async def tell() -> None:
            try:
                await handler()
            except SecurecallError as e:
                log.warning("after connecting: %s", e)
            except Exception:  # the outermost loop of whoever asked to be told
                log.exception("a handler failed")

        task = asyncio.create_task(tell())
        self._told.add(task)
        task.add_done_callback(self._told.discard)

    def _ended(self, why: Exception) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(why)

    async def _keep(self) -> None:
        """Stay up: watch the connection, and make a new one when it is gone."""
        while True:
            why = await self._watch()
            self._stream = None
            self._backoff.lost(now=_now(), since=self._up_since)
            if not await self._come_back(why):
                return

    async def _watch(self) -> Exception:
        over = self._over
        live = self._stream
        if over is None or live is None:
            return ConnectFailed("there is no connection")
        while not over.done():
            self._silence.heard(live.heard_at)
            now = _now()
            if self._silence.dead(now=now) and not self._paused:
                live.abort()
                return ConnectFailed("the server does not answer any more")
            if now >= self._silence.due:
                self._ask_for_life()
            wait = min(max(0.05, self._silence.due - now), DEAD_AFTER)
            _ = await asyncio.wait({over}, timeout=wait)
        return over.result()

    def _ask_for_life(self) -> None:
        live, kept = self._stream, self._management
        if live is None:
            return
        self._silence.asked(now=_now())
        if kept is not None and kept.resume_id:
            kept.asked = True
            live.send(_sm("r"))
        else:
            iq = Element(f"{{{CLIENT}}}iq", type="get", id=secrets.token_hex(8), to=self.domain)
            _ = SubElement(iq, f"{{{PING}}}ping")
            live.send(serialise(iq))

    async def _come_back(self, why: Exception) -> bool:
        """Try until it is online again; False once that needs a person."""
        while True:
            if _needs_a_person(why):
                self._give_up(why)
                return False
            log.info("the session is down: %s", why)
            self._enter(SessionState.CONNECTING, why)
            now = _now()
            await asyncio.sleep(self._backoff.wait(now=now, chance=random.random()))  # noqa: S311 - spreads load
            self._backoff.trying(now=_now())
            try:
                self._begin(resumed=await self._connect())
            except (NetworkError, ProtocolError, SecurityError) as e:
                self._backoff.failed()
                why = e
            else:
                return True

    def _give_up(self, why: Exception) -> None:
        log.warning("the session ends: %s", why)
        self._management = None
        self._fail_requests(ConnectFailed("the session was refused"))
        self._enter(SessionState.REFUSED, why)

    def _enter(self, state: SessionState, why: Exception | None = None) -> None:
        self.failure = why
        if state is self.state:
            return
        self.state = state
        for handler in self._on_state:
            handler(state, why)

    def _fail_requests(self, why: Exception) -> None:
        requests, self._requests = self._requests, {}
        for request in requests.values():
            if not request.answer.done():
                request.answer.set_exception(why)

    # receiving

    def _receive(self, element: Element) -> None:
        kept, live = self._management, self._stream
        if kept is None or live is None:
            return
        namespace, _, name = element.tag.rpartition("}")
        if namespace == f"{{{CLIENT}" and name in ("message", "presence", "iq"):
            number, new = kept.arrived(f"{name} {element.get('id')} {element.get('from')}")
            if new:
                self._dispatch(element, functools.partial(self._done, kept, number))
            if kept.undone > MOST_UNDONE and not self._paused:
                self._paused = True
                live.pause(on=True)
        elif element.tag == f"{{{SM}}}r":
            live.send(_sm("a", h=str(kept.told())))
        elif element.tag == f"{{{SM}}}a":
            self._acked(element.get("h"))

    def _acked(self, h: str | None) -> None:
        kept, live = self._management, self._stream
        if kept is None or live is None:
            return
        kept.asked = False
        try:
            taken = kept.receive_ack(h)
        except ProtocolError as e:
            log.warning("%s", e)
            kept.resume_id = ""  # the two of us no longer mean the same
            live.abort()
            return
        _call(taken)
        self._request_ack()

    def _done(self, kept: Management, number: int) -> None:
        kept.done(number)
        live = self._stream
        if kept is self._management and self._paused and kept.undone < MOST_UNDONE // 2:
            self._paused = False
            if live is not None:
                live.pause(on=False)

    def _dispatch(self, stanza: Element, done: Callable[[], None]) -> None:
        name = stanza.tag.rpartition("}")[2]
        try:
            if name == "iq":
                self._receive_iq(stanza)
                done()
                return
            handler = self._on_message if name == "message" else self._on_presence
            if handler is None:
                done()
            else:
                handler(stanza, done)
        except Exception:  # the outermost loop of one stanza: it must not end the stream
            log.exception("handling a stanza failed")

    def _receive_iq(self, iq: Element) -> None:
        kind = iq.get("type")
        if kind in ("result", "error"):
            self._receive_answer(iq, kind)
        elif kind in ("get", "set") and iq.get("id"):
            self._answer(iq, kind)

    def _receive_answer(self, iq: Element, kind: str) -> None:
        request = self._requests.get(iq.get("id", ""))
        if request is None or _prepared(iq.get("from", "")) not in request.entities:
            log.debug("an answer nobody asked for, or from somebody else")
            return
        if request.answer.done():
            return
        if kind == "error":
            request.answer.set_exception(parse_stanza_error(iq))
        else:
            request.answer.set_result(next(iter(iq), None))

    def _answer(self, iq: Element, kind: str) -> None:
        payload = next(iter(iq), None)
        handler = self._on_request.get((kind, payload.tag)) if payload is not None else None
        answer = Element(f"{{{CLIENT}}}iq", type="result", id=iq.get("id", ""))
        if iq.get("from"):
            answer.set("to", iq.get("from", ""))
        try:
            if handler is None:
                raise XmppRefused("service-unavailable")
            result = handler(iq)
            if result is not None:
                answer.append(result)
        except XmppRefused as e:
            answer.set("type", "error")
            error = SubElement(answer, f"{{{CLIENT}}}error", type="cancel")
            _ = SubElement(error, f"{{{STANZA_ERRORS}}}{e.condition}")
        with contextlib.suppress(ConnectFailed):
            self.send(answer)

    def _pinged(self, iq: Element) -> Element | None:
        """Only our own side is answered: to others it would tell that we are here (XEP-0199 6)."""
        asking = _prepared(iq.get("from", "")).partition("/")[0]
        if asking not in ("", _prepared(self.bare), _prepared(self.domain)):
            raise XmppRefused("service-unavailable")
        return None


def _nothing() -> None:
    """Stands for `done` where nothing is counted."""


def _call(taken: tuple[Taken, ...]) -> None:
    for call in taken:
        try:
            call()
        except Exception:  # the outermost loop of whoever asked to be told
            log.exception("a handler failed")


def _sm(name: str, **attributes: str) -> bytes:
    return serialise(Element(f"{{{SM}}}{name}", attributes))


def _now() -> float:
    return asyncio.get_running_loop().time()


def _prepared(jid: str) -> str:
    """A JID in the form in which two can be compared."""
    bare, slash, resource = jid.partition("/")
    return bare.lower() + slash + resource


def _host_and_port(server: str | tuple[str, int]) -> tuple[str, int]:
    if not isinstance(server, str):
        return server
    host, colon, port = server.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536:
        return server, 0
    return host, int(port)


def _needs_a_person(why: Exception) -> bool:
    if isinstance(why, XmppRefused):
        return why.condition in _FINAL
    return isinstance(why, SecurityError)


# Stream errors that come again: another client took our place (RFC 6120 4.9.3.3), or we are not
# wanted. Reconnecting would start a fight, or be one more try at what is refused.
_FINAL: Final = frozenset({"conflict", "not-authorized", "host-unknown", "host-gone"})
