"""Questions and answers (RFC 6120 8.2.3): only who was asked can answer, and only once."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from securecall.errors import UsageError, XmppRefused
from securecall.logs import logger
from securecall.xmpp.conditions import build_stanza_error, parse_stanza_error
from securecall.xmpp.login import prepared
from securecall.xmpp.xml import CLIENT

MOST_REQUESTS: Final = 1024  # of ours, unanswered
PING: Final = "urn:xmpp:ping"

log = logger(__name__)

RequestHandler = Callable[[Element], Element | None]


@dataclass(slots=True)
class _Open:
    answer: asyncio.Future[Element | None]
    entities: frozenset[str]


class Requests:
    """The open questions of one session, and who answers those of others."""

    def __init__(self, bare: str) -> None:
        """Of an account."""
        self._bare = prepared(bare)
        self._domain = self._bare.rpartition("@")[2]
        self._open: dict[str, _Open] = {}
        self._handlers: dict[tuple[str, str], RequestHandler] = {
            ("get", f"{{{PING}}}ping"): self._pinged
        }

    def __len__(self) -> int:
        return len(self._open)

    def handle(self, kind: str, tag: str, handler: RequestHandler) -> None:
        """Answer requests of a kind whose payload has this tag."""
        self._handlers[kind, tag] = handler

    def ask(
        self, payload: Element, *, to: str, kind: str, jid: str
    ) -> tuple[Element, asyncio.Future[Element | None]]:
        """Open a question.

        Args:
            payload: Of it.
            to: Whom; "" for our account at our server.
            kind: "get" or "set".
            jid: Ours, as bound.

        Returns:
            The stanza to send, and what the answer comes by; `forget` it in the end.

        Raises:
            UsageError: too many are open.
        """
        if len(self._open) >= MOST_REQUESTS:
            raise UsageError(f"{MOST_REQUESTS} requests are unanswered")
        name = secrets.token_hex(8)
        iq = Element(f"{{{CLIENT}}}iq", type=kind, id=name)
        if to:
            iq.set("to", to)
        iq.append(payload)
        answer: asyncio.Future[Element | None] = asyncio.get_running_loop().create_future()
        self._open[name] = _Open(answer, self._answering(prepared(to), prepared(jid)))
        return iq, answer

    def forget(self, iq: Element) -> None:
        """Take no answer to it any more."""
        _ = self._open.pop(iq.get("id", ""), None)

    def fail(self, why: Exception) -> None:
        """Nobody will answer what is open."""
        waiting, self._open = self._open, {}
        for request in waiting.values():
            if not request.answer.done():
                request.answer.set_exception(why)

    def receive(self, iq: Element) -> Element | None:
        """Take a stanza; returns the answer to send, if it asks for one."""
        kind = iq.get("type", "")
        if kind in ("result", "error"):
            self._receive_answer(iq, kind)
        elif kind in ("get", "set") and iq.get("id"):
            return self._answer(iq, kind)
        return None

    def _answering(self, asked: str, own: str) -> frozenset[str]:
        """Who may answer: an absent `from` is the server's doing, for the account (8.1.2.1)."""
        if not asked:
            return frozenset({"", self._bare, self._domain, own})
        if asked in (self._bare, self._domain):
            return frozenset({"", asked})
        return frozenset({asked})

    def _receive_answer(self, iq: Element, kind: str) -> None:
        request = self._open.get(iq.get("id", ""))
        if request is None or prepared(iq.get("from", "")) not in request.entities:
            log.info("an answer nobody asked for, or by somebody else than was asked")
            return
        if request.answer.done():
            return
        if kind == "error":
            request.answer.set_exception(parse_stanza_error(iq))
        else:
            request.answer.set_result(next(iter(iq), None))

    def _answer(self, iq: Element, kind: str) -> Element:
        payload = next(iter(iq), None)
        handler = self._handlers.get((kind, payload.tag)) if payload is not None else None
        answer = Element(f"{{{CLIENT}}}iq", type="result", id=iq.get("id", ""))
        if iq.get("from"):
            answer.set("to", iq.get("from", ""))
        try:
            if handler is None:
                raise XmppRefused("service-unavailable")
            result = handler(iq)
        except XmppRefused as e:
            build_stanza_error(answer, e)
        else:
            if result is not None:
                answer.append(result)
        return answer

    def _pinged(self, iq: Element) -> Element | None:
        """Only our own side is answered: to others it would tell that we are here (XEP-0199 6)."""
        asking = prepared(iq.get("from", "")).partition("/")[0]
        if asking not in ("", self._bare, self._domain):
            raise XmppRefused("service-unavailable")
        return None
