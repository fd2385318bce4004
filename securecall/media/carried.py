"""The sound of one call that somebody else's engine encodes, keys and sends: PCM in, PCM out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from securecall.errors import Unsupported, UsageError
from securecall.logs import logger
from securecall.media.clock import Clock
from securecall.media.description import Gate
from securecall.media.ends import Ends
from securecall.media.frames import TICK
from securecall.media.statistics import AudioStatistics
from securecall.rtp.events import MOST_WAITING, pressable

log = logger(__name__)

_DIGIT_TICKS: Final = 13  # a quarter of a second for each, pause included
_MOST_FRAMES: Final = 5  # delivered in one tick


class Carrier(Protocol):
    """The sound of a call inside an engine; called on the event loop, never blocks.

    Attributes:
        rate: Of its sound, Hz.
        digits: The peer takes digits; known once it has keys.
    """

    rate: int
    digits: bool

    @property
    def starved(self) -> int:
        """Frames the engine needed and did not have."""
        ...

    @property
    def dropped(self) -> int:
        """Frames that found no room, both ways."""
        ...

    def send(self, pcm: bytes) -> None:
        """Send 20 ms, s16le mono."""
        ...

    def take(self) -> bytes | None:
        """Take 20 ms of the peer's, None where there are none."""
        ...

    def let_through(self, *, passing: bool) -> None:
        """Connect the engine's stream with `send` and `take`, or part them; parted at first."""
        ...

    def press(self, digit: str) -> None:
        """Send a digit."""
        ...

    def statistics(self) -> AudioStatistics:
        """What the engine counts of its packets."""
        ...


class CarriedSession(Ends):
    """Sends one source and plays into any number of sinks; what `AudioSession` is for our engine.

    The gate is CLOSED at first: then the engine's stream is parted from us, so that nothing
    captured leaves, and nothing that came is kept.
    """

    def __init__(
        self, clock: Clock, carrier: Carrier, on_failure: Callable[[Exception], None]
    ) -> None:
        """Prepare; nothing moves before `start`.

        Args:
            clock: What drives it.
            carrier: The engine's half.
            on_failure: Told what a source or a sink raised; it is taken out, the call goes on.
        """
        self._clock = clock
        self._carrier = carrier
        self._on_failure = on_failure
        super().__init__(round(carrier.rate * TICK), carrier.rate)
        self._gate = Gate.CLOSED
        self._digits: deque[str] = deque()
        self._wait = 0
        self._sent = self._played = 0
        self._closed = False

    @property
    def gate(self) -> Gate:
        """Whether media may pass."""
        return self._gate

    @gate.setter
    def gate(self, gate: Gate) -> None:
        if self._gate is Gate.CLOSED or gate is Gate.CLOSED:
            self._flush()
            self._carrier.let_through(passing=gate is not Gate.CLOSED)
        self._gate = gate

    def _flush(self) -> None:
        self._digits.clear()
        if self._source is not None:
            self._source.discard()
        while self._carrier.take() is not None:
            pass

    def start(self) -> None:
        """Let the clock drive this stream."""
        self._clock.add(self, self._on_failure)

    def close(self) -> None:
        """Stop, and let go of the source; safe to call again."""
        if self._closed:
            return
        self._closed = True
        self._clock.remove(self)
        self.gate = Gate.CLOSED
        self._let_go()

    takes_digits = True  # by the engine's means, or `press` refuses

    def press(self, digits: str) -> None:
        """Send digits, one after the other.

        Raises:
            Unsupported: the peer takes none this way.
            UsageError: they are on no keypad, or too many wait.
        """
        if not self._carrier.digits:
            raise Unsupported("the other end takes no digits (RFC 4733)")
        pressed = pressable(digits)
        if len(self._digits) + len(pressed) > MOST_WAITING:
            raise UsageError(f"more than {MOST_WAITING} digits wait to be sent")
        self._digits.extend(pressed)

    @property
    def pressing(self) -> bool:
        """Whether digits are on their way."""
        return bool(self._digits) or self._wait > 0

    def forget_digits(self) -> None:
        """Send none of those that are on their way."""
        self._digits.clear()

    def tick(self, now: float) -> None:
        """Send a frame and play what came; called by the clock."""
        if self._gate is Gate.CLOSED:
            return
        if self._wait:
            self._wait -= 1
        elif self._digits:
            self._carrier.press(self._digits.popleft())
            self._wait = _DIGIT_TICKS
        if self._sends:
            self._carrier.send(self._read())
            self._sent += 1
        for _ in range(_MOST_FRAMES):
            if (heard := self._carrier.take()) is None:
                break
            if self._plays:
                self._deliver(heard, self._carrier.rate, self._played)
                self._played += 1

    def skip(self, ticks: int) -> None:
        """Take notice of ticks that fell out: the rings have dropped and counted already."""

    def _fail(self, error: Exception) -> None:
        self._on_failure(error)

    def statistics(self) -> AudioStatistics:
        """Return what happened so far: packets as the engine counts them, and our own frames."""
        return replace(
            self._carrier.statistics(),
            concealed=self._carrier.starved,
            hurried=self._carrier.dropped,
            sent_seconds=self._sent * TICK,
            received_seconds=self._played * TICK,
        )
