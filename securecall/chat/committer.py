"""Changes to what is kept: as many as wait go into one transaction, in the order they came."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from securecall.chat.history import History
from securecall.errors import SecurecallError

MOST_AT_ONCE: Final = 64

_Outcome = TypeVar("_Outcome")
_Change = tuple[Callable[[], None], "asyncio.Future[None]"]
_Refusals = dict["asyncio.Future[None]", Exception]


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
        self._waiting: deque[_Change] = deque()
        self._changed = asyncio.Event()
        self._next: asyncio.Handle | None = None  # when `_perform` runs
        self._soon = False  # at the next turn of the loop

    async def commit(self, work: Callable[[], _Outcome], *, patience: float = 0.0) -> _Outcome:
        """Do the work inside a transaction; returns what it returned once that is durable.

        Work that raises is undone alone, unless the disk is at fault: then all of it is.

        Args:
            work: What to do.
            patience: Seconds that it may wait for somebody else's transaction.

        Raises:
            Exception: as the work raised it.
            LocalError: the disk refused; nothing was changed.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        outcome: list[_Outcome] = []
        self._waiting.append((lambda: outcome.append(work()), done))
        self._schedule(patience)
        # who gave up waiting does not undo what others wait for with them
        await asyncio.shield(done)
        return outcome[0]

    async def changed(self) -> None:
        """Wait for the next transaction."""
        await self._changed.wait()

    def _schedule(self, patience: float) -> None:
        loop = asyncio.get_running_loop()
        if not patience and not self._soon:
            if self._next is not None:
                self._next.cancel()
            self._next, self._soon = loop.call_soon(self._perform), True
        elif self._next is None:
            self._next = loop.call_later(patience, self._perform)

    def _perform(self) -> None:
        count = min(len(self._waiting), MOST_AT_ONCE)
        changes = [self._waiting.popleft() for _ in range(count)]
        self._next, self._soon = None, False
        if self._waiting:
            self._schedule(0.0)
        refusals = self._alone(*changes[0]) if count == 1 else self._together(changes)
        for _, done in changes:
            if done.done():  # its loop is ending
                continue
            if done in refusals:
                done.set_exception(refusals[done])
            else:
                done.set_result(None)
        before, self._changed = self._changed, asyncio.Event()
        before.set()

    def _alone(self, work: Callable[[], None], done: asyncio.Future[None]) -> _Refusals:
        try:
            with self._history.transaction():
                work()
        except Exception as e:  # noqa: BLE001 - whoever asked for the work gets it
            self._undone()
            return {done: e}
        return {}

    def _together(self, changes: Sequence[_Change]) -> _Refusals:
        refusals: _Refusals = {}
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
        return refusals
