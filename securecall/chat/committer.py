"""Changes to what is kept: as many as wait go into one transaction, in the order they came."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

from securecall.chat.history import History
from securecall.errors import SecurecallError

MOST_AT_ONCE: Final = 64

_Outcome = TypeVar("_Outcome")


class Committer:
    """Makes changes durable together: the disk is waited for once, not once for each message."""

    def __init__(self, history: History, *, undone: Callable[[], None]) -> None:
        """Begin with nothing to do.

        Args:
            history: What is changed.
            undone: Told when a transaction did not come to be, before anybody who waits: whoever
                holds a copy of what is kept in memory has to forget it.
        """
        self._history = history
        self._undone = undone
        self._waiting: deque[tuple[Callable[[], None], asyncio.Future[None]]] = deque()
        self._changed = asyncio.Event()

    async def commit(self, work: Callable[[], _Outcome]) -> _Outcome:
        """Do the work inside a transaction; returns what it returned once that is durable.

        Work that raises is undone alone, unless the disk is at fault: then all of it is.

        Raises:
            Exception: as the work raised it.
            LocalError: the disk refused; nothing was changed.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        outcome: list[_Outcome] = []
        if not self._waiting:
            loop.call_soon(self._perform)
        self._waiting.append((lambda: outcome.append(work()), done))
        # who gave up waiting does not undo what others wait for with them
        await asyncio.shield(done)
        return outcome[0]

    async def changed(self) -> None:
        """Wait for the next transaction."""
        await self._changed.wait()

    def _perform(self) -> None:
        count = min(len(self._waiting), MOST_AT_ONCE)
        changes = [self._waiting.popleft() for _ in range(count)]
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._perform)
        refusals: dict[asyncio.Future[None], Exception] = {}
        try:
            with self._history.transaction():
                for work, done in changes:
                    try:
                        with self._history.transaction():
                            work()
                    except Exception as e:  # noqa: BLE001 - whoever asked for the work gets it
                        refusals[done] = e
                        self._undone()
        except SecurecallError as e:
            self._undone()
            refusals = {done: e for _, done in changes}
        for _, done in changes:
            if done.done():  # its loop is ending
                continue
            if done in refusals:
                done.set_exception(refusals[done])
            else:
                done.set_result(None)
        before, self._changed = self._changed, asyncio.Event()
        before.set()
