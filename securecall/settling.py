"""What a server archives late, found: our archive is read again while a new session settles.

A server may find that nobody is there and archive a message some milliseconds later, when we have
come online and read the archive (decision 0142). So it is read again after a while. And what comes
live from a device that was not heard yet in this session waits for a look into the archive: what
that device said just before lies there by then, for a server passes on one thing after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final
from xml.etree.ElementTree import Element

LOOKS: Final = (0.5, 8.0)  # seconds after the archive was read; the second for slow servers
MOST_WRITERS: Final = 64  # in a session; who writes under ever new names gets no more looks
_MESSAGE: Final = "{jabber:client}message"
# Of these our archive knows nothing.
_ELSEWHERE: Final = frozenset({"groupchat", "headline", "error"})


class Settling:
    """When to look, in the first seconds of a session."""

    def __init__(self, look: Callable[[], Awaitable[bool]], *, pause: Callable[[], None]) -> None:
        """Prepare.

        Args:
            look: Reads the archive again, and lets go on what waits, unless somebody is `unheard`
                again; returns whether that was possible. If not, `start` is called once it is.
            pause: Has what comes live wait for it.
        """
        self._look = look
        self._pause = pause
        self._heard: set[str] = set()
        self._unheard = asyncio.Event()
        self._over = True
        self._running: asyncio.Task[None] | None = None

    @property
    def unheard(self) -> bool:
        """Whether somebody was heard for the first time since the last look began."""
        return self._unheard.is_set()

    def begin(self) -> None:
        """A session begins anew: we are about to say that we are there."""
        self.stop()
        self._heard.clear()
        self._over = False

    def looking(self) -> None:
        """A look begins."""
        self._unheard.clear()

    def hear(self, stanza: Element) -> None:
        """A message comes live; called before it is taken in."""
        if self._over or stanza.get("type") in _ELSEWHERE:
            return
        *_, said = stanza.iter(_MESSAGE)  # the innermost: it may be a copy of another device's
        writer = said.get("from", "")
        if writer not in self._heard and len(self._heard) < MOST_WRITERS:
            self._heard.add(writer)
            self._pause()
            self._unheard.set()

    def start(self) -> None:
        """The archive was read, and what comes live is taken in."""
        self.stop()
        if not self._over:
            self._running = asyncio.create_task(self._run())

    def stop(self) -> None:
        """The session is lost, or goes on elsewhere, or ends."""
        if self._running is not None:
            _ = self._running.cancel()
            self._running = None

    def end(self) -> None:
        """Nothing is to be found any more in this session."""
        self.stop()
        self._over = True

    async def _run(self) -> None:
        began = asyncio.get_running_loop().time()
        for seconds in LOOKS:
            while await self._speaks(before=began + seconds):
                if not await self._look():
                    return
            if not await self._look():
                return
        while self.unheard:
            if not await self._look():
                return
        self._over = True

    async def _speaks(self, *, before: float) -> bool:
        """Whether somebody new does before that time."""
        try:
            async with asyncio.timeout_at(before):
                return await self._unheard.wait()
        except TimeoutError:
            return False
