"""The thread that everything of PJSIP lives and dies on; one in a process.

Objects of PJSIP are made, used and let go on this thread alone, whatever the garbage collector
does elsewhere. Whoever owns it has work done on it, and is told on its own event loop.
"""

from __future__ import annotations

import atexit
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import ClassVar, Protocol, TypeVar

from securecall.errors import LocalError, UsageError
from securecall.logs import logger

log = logger(__name__)
T = TypeVar("T")


class Living(Protocol):
    """What lives on the thread."""

    def turn(self) -> None:
        """Let PJSIP work for some milliseconds, and deal with what came of it."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


L = TypeVar("L", bound=Living)


class Engine:
    """A thread with something living on it, and work for it; at most one in a process.

    Attributes:
        ended: Done when everything was let go, asked for or not.
    """

    _owner: ClassVar[str | None] = None
    _owning: ClassVar = threading.Lock()

    def __init__(self, owner: str) -> None:
        """Take the process's one place; `begin` starts the thread.

        Args:
            owner: Who has it, for people.

        Raises:
            UsageError: it is taken.
        """
        with Engine._owning:
            if Engine._owner is not None:
                raise UsageError(
                    "PJSIP has one endpoint in a process, and this process's is taken by "
                    f"{Engine._owner}: sign that account out first, use the native engine for "
                    "this one, or another process"
                )
            Engine._owner = owner
        self._work: SimpleQueue[tuple[Callable[[], None], Callable[[], bool]]] = SimpleQueue()
        self._closing = threading.Event()
        self.ended: Future[None] = Future()

    def begin(self, birth: Callable[[], L]) -> Future[L]:
        """Start the thread with what `birth` makes there; where that raises, the place is free."""
        born: Future[L] = Future()
        # A daemon, for an application may forget us; what is open then is closed at exit.
        thread = threading.Thread(
            target=self._run, args=(birth, born), name="securecall-pjsua2", daemon=True
        )
        _ = atexit.register(self.close)
        try:
            thread.start()
        except RuntimeError as e:  # no thread can be had
            self._leave()
            born.set_exception(LocalError(f"PJSIP's thread does not start: {e}"))
        return born

    def do(self, work: Callable[[], T]) -> Future[T]:
        """Have work done on the thread; once that ends, the future is cancelled."""
        done: Future[T] = Future()

        def run() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                result = work()
            except Exception as e:  # noqa: BLE001  (handed to whoever waits for it)
                done.set_exception(_bare(e))
            else:
                done.set_result(result)

        self._work.put((run, done.cancel))
        if self.ended.done():  # and nobody may have seen this
            _ = done.cancel()
        return done

    def end(self) -> Future[None]:
        """Ask the thread to end; done when everything was let go."""
        self._closing.set()
        return self.ended

    def close(self) -> None:
        """End, and wait for it; from any other thread. Takes a second, which PJSIP asks for."""
        self.end().result()

    # -- the thread -------------------------------------------------------------------------------

    def _run(self, birth: Callable[[], L], born: Future[L]) -> None:
        try:
            self._live(birth, born)
        finally:
            self._leave()

    def _leave(self) -> None:
        self._closing.set()
        atexit.unregister(self.close)
        with Engine._owning:
            Engine._owner = None
        self.ended.set_result(None)
        for _, cancel in self._waiting():
            _ = cancel()

    def _live(self, birth: Callable[[], L], born: Future[L]) -> None:
        try:
            living = birth()
        except Exception as e:  # noqa: BLE001  (handed to whoever waits for it)
            born.set_exception(_bare(e))
            return
        born.set_result(living)
        try:
            while not self._closing.is_set():
                living.turn()
                self._do_work()
        except Exception:  # noqa: BLE001  (outermost loop of a thread)
            # As text: a traceback that somebody keeps would keep objects of PJSIP's alive.
            log.error("the thread of PJSIP failed:\n%s", traceback.format_exc())  # noqa: TRY400
        self._closing.set()
        self._do_work()
        living.close()

    def _do_work(self) -> None:
        for work, _ in self._waiting():
            work()

    def _waiting(self) -> Iterator[tuple[Callable[[], None], Callable[[], bool]]]:
        with suppress(Empty):
            while True:
                yield self._work.get_nowait()


def _bare(error: Exception) -> Exception:
    """The error without its frames: they hold objects of PJSIP's, which must die on its thread."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
