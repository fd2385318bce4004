"""What we ask the other end of a call for in its course, and what it says to that: futures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from securecall.calls import orders
from securecall.calls.machine import CallMachine
from securecall.calls.signaling import TransferProgress, TransferStep
from securecall.errors import ChangeRefused, EndReason, NotTransferred, UsageError

Perform = Callable[[tuple[orders.Output, ...]], None]


class Changes:
    """Changes of the call that we ask for, one at a time."""

    def __init__(self, machine: CallMachine, perform: Perform) -> None:
        """Begin with nothing asked.

        Args:
            machine: Of the call.
            perform: Performs orders.
        """
        self._machine = machine
        self._perform = perform
        self._waiting: asyncio.Future[None] | None = None

    def ask(self, outputs: tuple[orders.Output, ...]) -> asyncio.Future[None]:
        """Perform the orders of a change of ours; what the peer says is to be awaited."""
        self._waiting = answered = asyncio.get_running_loop().create_future()
        self._perform(outputs)
        return answered

    def performed(self, outputs: tuple[orders.Output, ...]) -> None:
        """Orders were performed, among them perhaps what came of our change."""
        if not self._machine.changing:
            refused = (o.why for o in outputs if isinstance(o, orders.ChangeRefused))
            self.settle(next(refused, ""))

    def settle(self, refused: str = "") -> None:
        """What we asked for was agreed to, or not, and why."""
        waiting, self._waiting = self._waiting, None
        if waiting is None or waiting.done():
            return
        if refused:
            waiting.set_exception(ChangeRefused(refused))
        else:
            waiting.set_result(None)


class Transfer:
    """The other end sent to somebody else, if it likes to be."""

    def __init__(self, perform: Perform) -> None:
        """Begin with nothing asked; `perform` performs orders."""
        self._perform = perform
        self._waiting: asyncio.Future[None] | None = None

    def require_none(self) -> None:
        """Refuse another one meanwhile.

        Raises:
            UsageError: one is under way.
        """
        if self._waiting is not None:
            raise UsageError("a transfer is under way already; wait for what comes of it")

    async def ask(self, outputs: tuple[orders.Output, ...]) -> None:
        """Perform the orders of a transfer, and wait until somebody answers the other end.

        Raises:
            NotTransferred: it was refused, or nobody was reached.
        """
        self._waiting = told = asyncio.get_running_loop().create_future()
        try:
            self._perform(outputs)
            await told
        finally:
            self._waiting = None

    def told(self, progress: TransferProgress) -> None:
        """The other end says how far it got."""
        waiting = self._waiting
        if waiting is None or waiting.done():
            return
        if progress.step is TransferStep.ANSWERED:
            waiting.set_result(None)
        elif progress.step is TransferStep.FAILED:
            reason = progress.reason or EndReason.DECLINED
            waiting.set_exception(
                NotTransferred(f"the transfer came to nothing: {reason.value}", reason=reason)
            )
