"""A session without a server: what is sent is kept, what is asked is answered by the test."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import Element

from securecall.errors import ConnectFailed, XmppRefused
from securecall.xmpp.session import SessionState
from tests.stanzas import OWN

Answer = Callable[[Element, str], Element | None]


class FakeSession:
    """As much of `Session` as those who use it need."""

    def __init__(self, own: str = OWN) -> None:
        self.bare, self.domain = own, own.partition("@")[2]
        self.jid = f"{own}/here"
        self.server_address = "127.0.0.1"
        self.features: frozenset[str] = frozenset()
        self.sent: list[Element] = []
        self.asked: list[tuple[Element, str, str]] = []
        self.answers: dict[tuple[str, str], Answer] = {}
        self.handlers: dict[tuple[str, str], Callable[[Element], Element | None]] = {}
        self.online = True

    @property
    def state(self) -> SessionState:
        return SessionState.ONLINE if self.online else SessionState.CONNECTING

    def send(self, stanza: Element, *, taken=None, again=None) -> None:
        if not self.online:
            raise ConnectFailed("the session is not online")
        self.sent.append(stanza)

    def on_request(self, kind: str, tag: str, handler) -> None:
        self.handlers[kind, tag] = handler

    async def request(self, payload: Element, *, to="", kind="get", timeout=30.0):
        self.asked.append((payload, to, kind))
        answer = self.answers.get((kind, payload.tag))
        if answer is None:
            raise XmppRefused("service-unavailable")
        return answer(payload, to)

    def push(self, kind: str, payload: Element, sender: str | None = None) -> Element | None:
        """What a request that comes in is answered with."""
        iq = Element("{jabber:client}iq", {"type": kind, "id": "x"})
        if sender is not None:
            iq.set("from", sender)
        iq.append(payload)
        return self.handlers[kind, payload.tag](iq)

    def types(self) -> list[tuple[str, str, str]]:
        """Name, type and addressee of everything that was sent."""
        return [(s.tag.rpartition("}")[2], s.get("type", ""), s.get("to", "")) for s in self.sent]
