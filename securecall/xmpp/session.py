"""One account's session, kept up over as many connections as it takes (RFC 6120, XEP-0198)."""

from __future__ import annotations

import asyncio
import functools
import random
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Final, Literal, Self
from xml.etree.ElementTree import Element

from securecall.clock import loop_now
from securecall.errors import (
    ConnectFailed,
    NetworkError,
    ProtocolError,
    SecurecallError,
    SecurityError,
    XmppRefused,
)
from securecall.logs import logger
from securecall.xmpp.conditions import is_final
from securecall.xmpp.connecting import LOGIN_SECONDS, Connector
from securecall.xmpp.login import SessionState as SessionState
from securecall.xmpp.login import XmppLogin as XmppLogin
from securecall.xmpp.login import prepared
from securecall.xmpp.management import Again, Done, Management, Taken
from securecall.xmpp.reconnecting import DEAD_AFTER, Backoff, Silence
from securecall.xmpp.requests import PING, RequestHandler, Requests
from securecall.xmpp.resuming import build_counter, call, enable, resume, tag
from securecall.xmpp.stream import Stream
from securecall.xmpp.xml import CLIENT, XmlLimits, serialise, weight

if TYPE_CHECKING:  # dnspython costs time: it is imported when a name is looked up
    from securecall.transport.resolver import Resolver

CSI: Final = "urn:xmpp:csi:0"
# Stanzas of the server's, and their bytes; nothing more is read until some are done.
MOST_UNDONE: Final = 8192
MOST_UNDONE_BYTES: Final = 64 * 1024 * 1024

log = logger(__name__)

StanzaHandler = Callable[[Element, Done], None]
Handler = Callable[[], Awaitable[None]]
StateHandler = Callable[[SessionState, Exception | None], None]


class Session:
    """One account's stream, kept up until `close`.

    Attributes:
        jid: Ours, with the resource the server bound.
        bare: Ours without it.
        domain: Of the server.
        state: Where it stands.
        failure: Why it is not online, None while it is.
    """

    def __init__(self, login: XmppLogin, connector: Connector) -> None:
        """Use `open`."""
        self.bare = login.bare
        self.domain = login.address.host
        self.jid = self.bare
        self.state = SessionState.CONNECTING
        self.failure: Exception | None = None
        self._resource = login.resource
        self._connector = connector
        self._stream: Stream | None = None
        self._management: Management | None = None
        self._barrier: tuple[Element, int] | None = None  # a ping, and what was sent before it
        self._requests = Requests(self.bare)
        self._message_handler: StanzaHandler | None = None
        self._presence_handler: StanzaHandler | None = None
        self._dropped_handlers: list[Callable[[], None]] = []
        self._fresh_handlers: list[Handler] = []
        self._resumed_handlers: list[Handler] = []
        self._state_handlers: list[StateHandler] = []
        self._early: list[Element] = []
        self._active = True
        self._abandoned = False  # a connection of ours, after the login
        self._paused = False
        self._over: asyncio.Future[Exception] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
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
        session = cls(login, Connector(login, resolver, limits or XmlLimits()))
        if prepare is not None:
            prepare(session)
        session._backoff.trying(now=loop_now())
        await session._connect()
        session._start(session._keep())
        return session

    @property
    def server_address(self) -> str:
        """The IP address of our server; "" where it is not known, or nothing is connected."""
        return self._stream.server_address if self._stream is not None else ""

    async def close(self) -> None:
        """End the session: the server is told what we took, and keeps the rest for later."""
        ours = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not ours]
        for task in tasks:
            _ = task.cancel()
        _ = await asyncio.gather(*tasks, return_exceptions=True)
        live, kept, self._stream = self._stream, self._management, None
        if live is not None:
            if kept is not None and kept.counted and kept.owed:
                live.send(build_counter("a", kept.told()))
            await live.close()
        self._management = None
        self._enter(SessionState.ENDED)
        self._requests.fail(ConnectFailed("the session was closed"))

    @property
    def mechanism(self) -> str:
        """How we logged in last, for `XmppLogin.least` of a later session."""
        return self._connector.mechanism

    @property
    def features(self) -> frozenset[str]:
        """The stream features of the server, by tag."""
        return frozenset(self._stream.features) if self._stream is not None else frozenset()

    # what others set

    def on_message(self, handler: StanzaHandler) -> None:
        """Hand every message to this; it calls `done` once the message is kept."""
        self._message_handler = handler

    def on_presence(self, handler: StanzaHandler) -> None:
        """Hand every presence to this; it calls `done` once it is dealt with."""
        self._presence_handler = handler

    def on_request(self, kind: Literal["get", "set"], tag: str, handler: RequestHandler) -> None:
        """Answer requests whose payload is this element, "{namespace}name".

        The handler gets the whole stanza, looks who asks, and returns the payload of the result,
        or raises `XmppRefused` to answer with an error. What nobody handles is answered so, too.
        """
        self._requests.handle(kind, tag, handler)

    def on_dropped(self, handler: Callable[[], None]) -> None:
        """Call this whenever a session is given up, and with it what the server had not taken.

        At once, before anything can be sent or handed over in the next: whoever keeps things in
        order has to stop here, and begins again with `on_fresh`.
        """
        self._dropped_handlers.append(handler)

    def on_fresh(self, handler: Handler) -> None:
        """Run this whenever a session begins anew: what the server had not taken is dropped."""
        self._fresh_handlers.append(handler)

    def on_resumed(self, handler: Handler) -> None:
        """Run this whenever the session went on over a new connection."""
        self._resumed_handlers.append(handler)

    def on_state(self, handler: StateHandler) -> None:
        """Call this with every new state, and why."""
        self._state_handlers.append(handler)

    # sending

    def send(
        self, stanza: Element | bytes, *, taken: Taken | None = None, again: Again | None = None
    ) -> None:
        """Send a stanza, after all before it; it is kept until the server has taken it.

        If the session cannot be resumed, what was not taken is dropped, and `on_fresh` told.

        Args:
            stanza: message, presence or iq, written at once, so it may be changed afterwards; or
                one that `serialise` wrote before.
            taken: Called once the server has it; never if it is dropped.
            again: Called before it is sent over another connection of this session; gives what is
                sent instead, None to drop it.

        Raises:
            ConnectFailed: there is no session, or the server takes nothing.
            UsageError: the stanza cannot be written.
        """
        data = stanza if isinstance(stanza, bytes) else serialise(stanza)
        live, kept = self._stream, self._management
        lost = live is None or live.failure is not None
        if kept is None or (lost and not kept.resume_id):
            raise ConnectFailed("the session is not online")
        kept.sending(data, taken, again)
        if live is not None and not lost:
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
        iq, answer = self._requests.ask(payload, to=to, kind=kind, jid=self.jid)
        try:
            self.send(iq)
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError as e:
            raise ConnectFailed("no answer came in time") from e
        finally:
            self._requests.forget(iq)

    def active(self, on: bool) -> None:  # noqa: FBT001 - its only argument
        """Tell the server whether a person looks at us (XEP-0352)."""
        self._active = on
        live = self._stream
        if live is not None and f"{{{CSI}}}csi" in live.features:
            live.send(serialise(Element(f"{{{CSI}}}{'active' if on else 'inactive'}")))

    def _request_ack(self, *, anyway: bool = False) -> None:
        """Have the server say what it took; one question at a time, unless nothing was heard."""
        live, kept = self._stream, self._management
        if live is None or kept is None or not (anyway or (kept.waiting and not kept.asked)):
            return
        kept.asked = True
        self._silence.asked(now=loop_now())
        if kept.counted:
            live.send(build_counter("r"))
            return
        # The server takes stanzas one after the other: what answers the last has taken the others.
        self._forget_barrier()
        ping = Element(f"{{{PING}}}ping")
        iq, answer = self._requests.ask(ping, to=self.domain, kind="get", jid=self.jid)
        self._barrier = (iq, kept.sent)
        answer.add_done_callback(functools.partial(self._passed, kept, kept.sent))
        live.send(serialise(iq))

    def _passed(self, kept: Management, sent: int, answer: asyncio.Future[Element | None]) -> None:
        if answer.cancelled():
            return
        why = answer.exception()  # "I know no pings" is an answer, too
        if kept is self._management and (why is None or isinstance(why, XmppRefused)):
            self._forget_barrier()
            self._acked(str(sent))

    def _forget_barrier(self) -> None:
        barrier, self._barrier = self._barrier, None
        if barrier is not None:
            self._requests.forget(barrier[0])

    # the connection

    async def _connect(self) -> None:
        kept = self._management
        found = await self._connector.connect(first=kept.location if kept is not None else "")
        try:
            async with asyncio.timeout(LOGIN_SECONDS):
                resumed = kept is not None and await resume(found, kept)
                if not resumed:
                    await self._bind(found)
        except TimeoutError as e:
            self._abandon(found)
            raise ConnectFailed("the server does not go on after the login") from e
        except BaseException:
            self._abandon(found)
            raise
        self._begin(found, resumed=resumed)

    def _abandon(self, found: Stream) -> None:
        """What was asked there may be done all the same, later than what the next one asks."""
        found.abort()
        self._abandoned = True

    async def _bind(self, found: Stream) -> None:
        self._drop()
        self._forget_barrier()
        jid = await found.bind(self._resource or secrets.token_hex(8))
        bare, slash, _ = prepared(jid).partition("/")
        if bare != prepared(self.bare) or not slash:
            raise ProtocolError("the server bound somebody else", rule="RFC 6120 7.6.1")
        self.jid = jid
        self._management, self._early = await enable(found)

    def _begin(self, live: Stream, *, resumed: bool) -> None:
        self._stream = live
        self._up_since = loop_now()
        self._silence = Silence(now=self._up_since, unproved=resumed)
        self._over = asyncio.get_running_loop().create_future()
        self._paused = False
        if not resumed:
            self._requests.fail(ConnectFailed("the session began anew"))
        self._enter(SessionState.ONLINE)
        for handler in self._resumed_handlers if resumed else self._fresh_handlers:
            self._start(_told(handler))
        early, self._early = self._early, []
        for stanza in early:
            self._dispatch(stanza, Done(weight(stanza), _nothing))
        live.run(self._receive, self._ended)
        if not self._active:
            self.active(False)  # noqa: FBT003 - its only argument
        self._request_ack()

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _ended(self, why: Exception) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(why)

    async def _keep(self) -> None:
        """Stay up: watch the connection, and make a new one when it is gone."""
        while True:
            why = await self._watch()
            self._stream = None
            self._backoff.lost(now=loop_now(), since=self._up_since)
            if isinstance(why, XmppRefused):  # it sends everybody away: not all at once back
                self._backoff.failed()
            if not await self._come_back(why):
                return

    async def _watch(self) -> Exception:
        over, live = self._over, self._stream
        if over is None or live is None:
            return ConnectFailed("there is no connection")
        while not over.done():
            self._silence.heard(live.heard_at)
            now = loop_now()
            if self._silence.dead(now=now) and not self._paused:
                if self._silence.unproved and self._management is not None:
                    self._management.resume_id = ""  # it would be the same the next time
                live.abort()
                return ConnectFailed("the server does not answer any more")
            if now >= self._silence.due:
                self._request_ack(anyway=True)
            wait = min(max(0.05, self._silence.due - now), DEAD_AFTER)
            _ = await asyncio.wait({over}, timeout=wait)
        return over.result()

    async def _come_back(self, why: Exception) -> bool:
        """Try until it is online again; False once that needs a person."""
        while not self._needs_a_person(why):
            log.info("the session is down: %s", why)
            self._enter(SessionState.CONNECTING, why)
            chance = random.random()  # noqa: S311 - spreads load
            await asyncio.sleep(self._backoff.wait(now=loop_now(), chance=chance))
            self._backoff.trying(now=loop_now())
            try:
                await self._connect()
            except (NetworkError, ProtocolError, SecurityError) as e:
                self._backoff.failed()
                why = e
            except Exception as e:  # noqa: BLE001 - the outermost loop of a session
                # a mistake of ours must not end it; its words may be the server's, or a secret
                log.error("connecting failed: %s", type(e).__name__)  # noqa: TRY400
                self._backoff.failed()
                if self._management is not None:  # nor may the server lead us into it each time
                    self._management.resume_id = self._management.location = ""
                why = ConnectFailed("connecting failed by a mistake of ours")
            else:
                return True
        log.warning("the session ends: %s", why)
        self._drop()
        self._requests.fail(ConnectFailed("the session was refused"))
        self._enter(SessionState.REFUSED, why)
        return False

    def _needs_a_person(self, why: Exception) -> bool:
        """Whether to connect again is of no use, or would begin a fight with another client.

        A server that was slow may take up what a connection asked for that we gave up, and end the
        one we have: then it was no other client, once.
        """
        if self._abandoned and isinstance(why, XmppRefused) and why.condition == "conflict":
            self._abandoned = False
            return False
        return isinstance(why, SecurityError) or (isinstance(why, XmppRefused) and is_final(why))

    def _drop(self) -> None:
        if self._management is not None:
            self._management = None
            for handler in self._dropped_handlers:
                handler()

    def _enter(self, state: SessionState, why: Exception | None = None) -> None:
        self.failure = why
        if state is self.state and why is None:
            return
        self.state = state
        for handler in self._state_handlers:
            handler(state, why)

    # receiving

    def _receive(self, element: Element) -> None:
        live, kept = self._stream, self._management
        if kept is None or live is None:
            return
        namespace, _, name = element.tag.rpartition("}")
        if namespace == f"{{{CLIENT}" and name in ("message", "presence", "iq"):
            mark = f"{name} {element.get('id')} {element.get('from')}"
            heavy = weight(element)
            number, new = kept.arrived(mark, heavy)
            if new:
                self._dispatch(element, Done(heavy, functools.partial(self._done, kept, number)))
            too_much = kept.undone > MOST_UNDONE or kept.undone_bytes > MOST_UNDONE_BYTES
            if too_much and not self._paused:
                self._paused = True
                live.pause(on=True)
        elif kept.counted and element.tag == tag("r"):
            live.send(build_counter("a", kept.told()))
        elif kept.counted and element.tag == tag("a"):
            self._acked(element.get("h"))

    def _acked(self, h: str | None) -> None:
        live, kept = self._stream, self._management
        if kept is None or live is None:
            return
        kept.asked = False
        self._silence.proved()
        try:
            taken = kept.receive_ack(h)
        except ProtocolError as e:
            kept.resume_id = ""  # the two of us do not count the same any more
            live.refuse(e)
            return
        call(taken)
        self._request_ack()

    def _done(self, kept: Management, number: int) -> None:
        kept.done(number)
        if kept is not self._management:
            return
        live = self._stream
        few = kept.undone < MOST_UNDONE // 2 and kept.undone_bytes < MOST_UNDONE_BYTES // 2
        if self._paused and few and live is not None:
            self._paused = False
            live.pause(on=False)
        if kept.late and live is not None:  # the server asked before we were this far
            live.send(build_counter("a", kept.told()))

    def _dispatch(self, stanza: Element, done: Done) -> None:
        name = stanza.tag.rpartition("}")[2]
        handler = self._message_handler if name == "message" else self._presence_handler
        try:
            if name == "iq":
                answer = self._requests.receive(stanza)
                if answer is not None:
                    self.send(answer)
                done()
            elif handler is None:
                done()
            else:
                handler(stanza, done)
        except ConnectFailed as e:
            log.info("no answer: %s", e)
            done()  # or nothing after it would ever count as done
        except Exception:  # the outermost loop of one stanza: it must not end the stream
            log.exception("handling a stanza failed")
            done()  # it would fail again, and one stanza must not stop all that come after it


async def _told(handler: Handler) -> None:
    try:
        await handler()
    except SecurecallError as e:
        log.warning("after connecting: %s", e)
    except Exception:  # the outermost loop of whoever asked to be told
        log.exception("a handler failed")


def _nothing() -> None:
    """Stands for `done` where nothing is counted."""
