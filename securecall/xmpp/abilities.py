"""Learns what the clients of others can do: each hash is asked of one of them (XEP-0115 6.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final
from xml.etree.ElementTree import Element

from securecall.errors import NetworkError, ProtocolError
from securecall.logs import logger
from securecall.xmpp.capabilities import QUERY, CapabilityCache, Caps, Info
from securecall.xmpp.nodes import Asks
from securecall.xmpp.presence import Presence

_MOST_QUESTIONS: Final = 64  # at the same time; who comes meanwhile is asked when they come again

log = logger(__name__)


class Abilities:
    """What can be done with each connection of somebody, as far as it was answered."""

    def __init__(self, session: Asks) -> None:
        """Ask over a session."""
        self._session = session
        self._cache = CapabilityCache()
        self._single: dict[str, Info] = {}  # of connections whose answer counts for them only
        self._asking: dict[str, asyncio.Task[None]] = {}

    def of(self, presence: Presence) -> Info | None:
        """What this connection can do, None where it is not known (yet)."""
        shared = self._cache.find(presence.caps) if presence.caps is not None else None
        return shared or self._single.get(str(presence.jid))

    def ask(self, presence: Presence, *, then: Callable[[], None]) -> None:
        """Ask a connection what it can do, where that is not known; `then` is called once it is."""
        caps = presence.caps
        if caps is None or self.of(presence) is not None:
            return
        if caps.ver in self._asking or len(self._asking) >= _MOST_QUESTIONS:
            return
        task = asyncio.ensure_future(self._learn(str(presence.jid), caps, then))
        self._asking[caps.ver] = task
        task.add_done_callback(lambda _: self._asking.pop(caps.ver, None))

    def forget(self, presence: Presence) -> None:
        """This connection is gone."""
        _ = self._single.pop(str(presence.jid), None)

    def clear(self) -> None:
        """All connections are gone; what was learned by hash stays."""
        self._single.clear()

    async def _learn(self, jid: str, caps: Caps, then: Callable[[], None]) -> None:
        try:
            answer = await self._session.request(Element(QUERY, {"node": caps.disco_node}), to=jid)
            if answer is None:
                return
            info = self._cache.learn(caps, answer)
        except (NetworkError, ProtocolError) as e:
            log.info("what a client can do is not known: %s", e)
            return
        if self._cache.find(caps) is None:
            self._single[jid] = info
        then()
