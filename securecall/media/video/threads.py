"""One thread with a short queue: what takes milliseconds is done beside the event loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Worker(Generic[T]):
    """Does jobs one after another on a daemon thread, which starts with the first of them.

    Attributes:
        error: What a job raised; no further one is done.
    """

    def __init__(
        self, name: str, work: Callable[[T], None], *, finish: Callable[[], None] = lambda: None
    ) -> None:
        """Say what to do with each job, and once at the end; both on the thread."""
        self._name, self._work, self._finish = name, work, finish
        self._jobs: deque[T] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.error: Exception | None = None

    def __len__(self) -> int:
        """Jobs that nobody has begun."""
        return len(self._jobs)

    def put(self, job: T) -> None:
        """Append a job; after `close` or an error nothing happens."""
        with self._changed:
            if self._closed or self.error is not None:
                return
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify()

    def replace(self, job: T) -> int:
        """Put a job in the place of all that nobody has begun, and return how many those were."""
        with self._changed:
            dropped = len(self._jobs)
            self._jobs.clear()
        self.put(job)
        return dropped

    def clear(self) -> int:
        """Forget the jobs nobody has begun, and return how many they were."""
        with self._changed:
            dropped = len(self._jobs)
            self._jobs.clear()
        return dropped

    def close(self, *, drain: bool = False) -> None:
        """Take no more jobs; those queued are forgotten, or done first. Does not wait."""
        with self._changed:
            self._closed = True
            if not drain:
                self._jobs.clear()
            self._changed.notify()

    def join(self) -> None:
        """Wait until the thread has ended; only after `close`."""
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                with self._changed:
                    while not self._jobs and not self._closed:
                        self._changed.wait()
                    if not self._jobs:
                        break
                    job = self._jobs.popleft()
                self._work(job)
                del job  # a picture is not to be kept while waiting for the next
        except Exception as e:  # noqa: BLE001  (the outermost loop: handed to whoever asks next)
            self.error = e
        finally:
            try:
                self._finish()
            except Exception as e:  # noqa: BLE001  (as above)
                self.error = self.error or e
