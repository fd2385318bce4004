"""Finds another way to the peer of a call under way: ICE restarts, ours and the peer's."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from securecall.calls import orders
from securecall.calls.machine import CallMachine
from securecall.calls.negotiation import Agreement
from securecall.calls.way import Way
from securecall.clock import loop_now
from securecall.errors import (
    ChangeRefused,
    NetworkError,
    SecurecallError,
    SecurityError,
    UsageError,
)
from securecall.logs import logger
from securecall.media.description import LocalIce
from securecall.media.frames import TICK

_PAUSES: Final = (0.2, 0.5, 1.0, 2.0, 4.0)
"""About so many seconds between tries to find another way; after the last it is given up, until
asked again."""

MOST_RESTARTS: Final = 60
"""Of the peer's in a minute that are answered: each binds sockets, and asks every relay."""

_MINUTE: Final = 60.0

log = logger("securecall.call")


class Moving:
    """The restarts of one call (RFC 8445 9): one at a time, and what works goes on meanwhile.

    Keys, gate and DTLS association stay as they are: another way carries the same encrypted
    packets, or none.
    """

    def __init__(
        self,
        machine: CallMachine,
        way: Way,
        ask: Callable[[tuple[orders.Output, ...]], asyncio.Future[None]],
        perform: Callable[[tuple[orders.Output, ...]], None],
        *,
        outgoing: bool,
    ) -> None:
        """Begin with nothing to do.

        Args:
            machine: Of the call.
            way: Its way to the peer.
            ask: Performs the orders of a change of ours; what it returns is what the peer says.
            perform: Performs orders.
            outgoing: We called, and so try again where a way that both described does not work;
                the callee waits for that, so that they do not meet.
        """
        self._machine = machine
        self._way = way
        self._ask = ask
        self._perform = perform
        self._outgoing = outgoing
        self._task: asyncio.Task[None] | None = None
        self._asked: asyncio.Future[None] | None = None
        self._again = False
        self._answered: deque[float] = deque(maxlen=MOST_RESTARTS)  # when

    @property
    def asks(self) -> bool:
        """Whether a restart of ours waits for the peer's answer."""
        return self._asked is not None and not self._asked.done()

    def look(self, *, unless_placed: bool) -> bool:
        """Look for another way; tells whether one can be looked for at all.

        Args:
            unless_placed: Not where our addresses are those that were gathered from last.
        """
        if not self._machine.movable:
            return False
        if self._task is not None:
            self._again = True
        else:
            self._task = asyncio.ensure_future(self._find(unless_placed=unless_placed))
            self._task.add_done_callback(self._found)
        return True

    def close(self) -> None:
        """The call is over."""
        self._again = False
        if self._task is not None:
            self._task.cancel()

    async def afterwards(self, change: Callable[[], Awaitable[None]]) -> None:
        """Ask for another change, once the restart under way is settled."""
        while self.asks and self._asked is not None:
            _ = await asyncio.wait((self._asked,))
        await change()

    async def answer(self) -> None:
        """The peer looks for another way: have one of ours to answer with, if not ever again."""
        ice = None
        try:
            if self._too_often():
                log.warning("the peer looks for another way too often; the call stays on this one")
            else:
                ice = await self._way.regather(trickle=self._machine.trickles)
        except SecurecallError as e:
            log.warning("the peer looks for another way, and we have none: %s", e)
        self._perform(self._machine.regathered(ice))

    def _too_often(self) -> bool:
        answered, now = self._answered, loop_now()
        if len(answered) == MOST_RESTARTS and now < answered[0] + _MINUTE:
            return True
        answered.append(now)
        return False

    async def reconnect(self, agreement: Agreement) -> None:
        """Find the way that both described."""
        try:
            await self._way.reconnect(agreement)
        except SecurecallError as e:
            log.info("the other way does not work: %s", e)
            if self._outgoing:
                _ = self.look(unless_placed=False)

    async def _find(self, *, unless_placed: bool) -> None:
        for pause in _PAUSES:
            if unless_placed and not await self._way.displaced():
                return
            try:
                self._asked = self._ask(self._machine.restart(await self._gathered()))
                await self._asked
            except (ChangeRefused, NetworkError, SecurityError) as e:
                log.info("no other way yet: %s", e)
            except UsageError:  # it is over, or about to be
                return
            else:
                return
            unless_placed = False  # the addresses are known now, and the way is still needed
            # so that two who moved at once do not meet again and again
            pause *= random.uniform(0.5, 1.5) if self._outgoing else random.uniform(1.5, 2.5)  # noqa: S311 - spreads, guards nothing
            await asyncio.sleep(pause)
            if not self._machine.movable:
                return

    async def _gathered(self) -> LocalIce:
        """What we gather while nothing else changes: an answer of ours gathers for itself."""
        while True:
            while self._machine.changing:  # noqa: ASYNC110 - theirs ends without a word to us
                await asyncio.sleep(TICK)
            ice = await self._way.regather(trickle=self._machine.trickles)
            if not self._machine.changing:
                return ice

    def _found(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("looking for another way failed", exc_info=error)
        if self._again:
            self._again = False
            _ = self.look(unless_placed=True)
