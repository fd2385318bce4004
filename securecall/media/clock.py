"""One 20 ms clock per event loop that drives every audio stream in it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol
from weakref import WeakValueDictionary

from securecall.logs import logger
from securecall.media.frames import TICK

log = logger(__name__)

SLOTS: Final = 10
"""Parts a tick is cut into when there are many streams, so that they do not send in one burst."""

_FEW = 24
_SLOT = TICK / SLOTS
_LATE = 0.005
_MAX_CATCH_UP = 5


class Ticking(Protocol):
    """What a clock drives."""

    def tick(self, now: float) -> None:
        """Do the work of 20 ms; called on the event loop, must not block."""
        ...

    def skip(self, ticks: int) -> None:
        """Take notice that so many ticks fell out, because the process was stopped or starved."""
        ...


class Clock:
    """Calls `tick` of everything in it every 20 ms, without drift.

    Up to 24 streams share one moment, one timer and one wake-up, whose cost (0.1 to 0.2 ms with
    cold caches) is that of ten streams; the next 24 come 2 ms later, and so on; from 240 streams
    on all ten slots are filled evenly. No task, future or queue is made per
    tick. A clock that was held up catches up with 5 ticks at most and drops the rest, so that a
    machine waking from sleep sends no burst. A stream that raises is taken out, and its `failed`
    callback told.

    A process with many calls does well to call `gc.freeze()` once it is up: the collector then
    passes over what will stay anyway, and its pauses stay below a slot.

    Attributes:
        now: Monotonic seconds, the loop's.
        ticks: Ticks of slots that were done.
        late_ticks: Of these, more than 5 ms after their time.
        skipped_ticks: Whole ticks of 20 ms that fell out.
    """

    def __init__(self) -> None:
        """Make a clock for the running loop."""
        self._loop = asyncio.get_running_loop()
        self.now: Callable[[], float] = self._loop.time
        self._slots: list[list[Ticking]] = [[] for _ in range(SLOTS)]
        self._failed: dict[Ticking, Callable[[Exception], None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._unix = time.time() - self.now()
        self._start = 0.0
        self._step = 0  # of SLOTS per tick, since _start
        self.ticks = 0
        self.late_ticks = 0
        self.skipped_ticks = 0

    @classmethod
    def running(cls) -> Clock:
        """Return the clock of the running loop, the same one for everybody in it."""
        loop = asyncio.get_running_loop()
        clock = _clocks.get(id(loop))
        if clock is None or clock._loop is not loop:  # noqa: SLF001  (our own)
            clock = _clocks[id(loop)] = cls()
        return clock

    def unix(self) -> float:
        """Wall time for RTCP, seconds since 1970; set once, so that it never jumps in a call."""
        return self._unix + self.now()

    @property
    def streams(self) -> int:
        """How many are driven."""
        return len(self._failed)

    def add(self, stream: Ticking, failed: Callable[[Exception], None]) -> None:
        """Drive `stream` from the next tick on; `failed` is told what it raised, if it does."""
        if stream in self._failed:
            return
        slot = next((s for s in self._slots if len(s) < _FEW), None)
        if slot is None:
            slot = min(self._slots, key=len)
        slot.append(stream)
        self._failed[stream] = failed
        if self._timer is None:
            self._start = self._loop.time()
            self._step = 0
            self._arm()

    def remove(self, stream: Ticking) -> None:
        """Stop driving `stream`; nothing happens if it is not here."""
        if self._failed.pop(stream, None) is None:
            return
        for slot in self._slots:
            if stream in slot:
                slot.remove(stream)
        if not self._failed and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        """Set the one timer to the next slot that has streams."""
        step = self._step + 1
        while not self._slots[step % SLOTS]:
            step += 1
        self._step = step
        self._timer = self._loop.call_at(self._start + step * _SLOT, self._fire)

    def _fire(self) -> None:
        now = self._loop.time()
        late = now - self._start - self._step * _SLOT
        if late > _LATE:
            self.late_ticks += 1
            if late > _MAX_CATCH_UP * TICK:
                self._leap(int(late / TICK))
        self.ticks += 1
        for stream in tuple(self._slots[self._step % SLOTS]):
            try:
                stream.tick(now)
            except Exception as e:  # noqa: BLE001  (outermost loop: one stream must not stop others)
                self._fail(stream, e)
        if self._failed:
            self._arm()

    def _leap(self, ticks: int) -> None:
        """Give up on ticks that are long past."""
        self._start += ticks * TICK
        self.skipped_ticks += ticks
        for slot in self._slots:
            for stream in slot:
                stream.skip(ticks)

    def _fail(self, stream: Ticking, error: Exception) -> None:
        log.error("a media stream failed and was stopped: %s", type(error).__name__)
        failed = self._failed.get(stream)
        self.remove(stream)
        if failed is None:
            return
        try:
            failed(error)
        except Exception:  # outermost loop: what one stream's owner does must not stop others
            log.exception("what was told of a failed stream failed, too")


_clocks: WeakValueDictionary[int, Clock] = WeakValueDictionary()
