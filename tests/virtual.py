"""An event loop whose time jumps to the next timer, and workers that have no thread."""

from __future__ import annotations

import asyncio
import random
import secrets
import selectors
from contextlib import contextmanager
from unittest import mock


class _Jumping(selectors.BaseSelector):
    """Never waits: where nothing is ready, the time of the next timer is now."""

    def __init__(self):
        self._real = selectors.DefaultSelector()
        self.now = 1000.0

    def select(self, timeout=None):
        ready = self._real.select(0)
        if not ready and timeout:
            self.now += timeout
        return ready

    def register(self, *args, **kwargs):
        return self._real.register(*args, **kwargs)

    def unregister(self, *args, **kwargs):
        return self._real.unregister(*args, **kwargs)

    def modify(self, *args, **kwargs):
        return self._real.modify(*args, **kwargs)

    def get_map(self):
        return self._real.get_map()

    def close(self):
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """Hours pass as fast as what happens in them."""

    def __init__(self):
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self):
        return self._jumping.now


def run_virtual(main, *, seed=1):
    """Run a coroutine to its end in virtual time; what is drawn at random is the same each time."""
    chance = random.Random(seed)
    with (
        mock.patch.object(secrets, "randbits", chance.getrandbits),
        mock.patch.object(secrets, "randbelow", chance.randrange),
        asyncio.Runner(loop_factory=VirtualLoop) as runner,
    ):
        return runner.run(main)


class _AtOnce:
    """A `Worker` that does each job when it gets it: coding takes no virtual time."""

    def __init__(self, name, work, *, finish=lambda: None):
        del name, finish
        self._work, self._closed = work, False
        self.error = None

    def __len__(self):
        return 0

    def put(self, job):
        if not self._closed and self.error is None:
            try:
                self._work(job)
            except Exception as e:
                self.error = e

    def replace(self, job):
        self.put(job)
        return 0

    def clear(self):
        return 0

    def close(self, *, drain=False):
        self._closed = True


@contextmanager
def without_threads():
    """Encode and decode video on the loop, so that a run is the same each time."""
    from securecall.media.video import coders

    original, coders.Worker = coders.Worker, _AtOnce
    try:
        yield
    finally:
        coders.Worker = original
