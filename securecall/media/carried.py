"""The sound of one call that somebody else's engine encodes, keys and sends: PCM in, PCM out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from securecall.errors import Unsupported, UsageError
from securecall.logs import logger
from securecall.media.clock import Clock
from securecall.media.description import Direction, Gate
from securecall.media.endpoints import AudioSink, AudioSource
from securecall.media.frames import TICK, AudioFrame
from securecall.media.levels import LevelMeter
from securecall.media.statistics import AudioStatistics

log = logger(__name__)

_KEYS: Final = frozenset("0123456789*#ABCD")
_MOST_DIGITS: Final = 64
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


class CarriedSession:
    """Sends one source and plays into any number of sinks; what `AudioSession` is for our engine.

    The gate is CLOSED at first: then the engine's stream is parted from us, so that nothing
    captured leaves, and nothing that came is kept.

    Attributes:
        muted: Silence is sent; the source is read on and thrown away.
        meters: Who watches how loud it is.
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
        self._samples = round(carrier.rate * TICK)
        self._silence = bytes(2 * self._samples)
        self._gate = Gate.CLOSED
        self._source: AudioSource | None = None
        self._sinks: tuple[AudioSink, ...] = ()
        self.muted = False
        self.meters: tuple[LevelMeter, ...] = ()
        self._sends = self._plays = True
        self._digits: deque[str] = deque()
        self._wait = 0
        self._sent = self._played = 0
        self._closed = False

    @property
    def source(self) -> AudioSource | None:
        """What is sent; None sends silence."""
        return self._source

    @source.setter
    def source(self, source: AudioSource | None) -> None:
        if source is not None:
            source.discard()
        self._source = source

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

    def set_direction(self, direction: Direction) -> None:
        """Obey the agreement, seen from us."""
        self._sends = direction in (Direction.SENDRECV, Direction.SENDONLY)
        self._plays = direction in (Direction.SENDRECV, Direction.RECVONLY)

    def add_sink(self, sink: AudioSink) -> None:
        """Deliver what is received to `sink` too."""
        self._sinks = (*self._sinks, sink)

    def remove_sink(self, sink: AudioSink) -> None:
        """Deliver nothing more to `sink`; nothing happens if it is not one."""
        self._sinks = tuple(s for s in self._sinks if s is not sink)

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
        self._source = None
        self._sinks = ()

    takes_digits = True  # by the engine's means, or `press` refuses

    def press(self, digits: str) -> None:
        """Send digits, one after the other.

        Raises:
            Unsupported: the peer takes none this way.
            UsageError: they are on no keypad, or too many wait.
        """
        if not self._carrier.digits:
            raise Unsupported("the other end takes no digits (RFC 4733)")
        if not _KEYS.issuperset(digits):
            raise UsageError("digits are 0 to 9, * and #, A to D")
        if len(self._digits) + len(digits) > _MOST_DIGITS:
            raise UsageError(f"more than {_MOST_DIGITS} digits wait to be sent")
        self._digits.extend(digits)

    @property
    def pressing(self) -> bool:
        """Whether digits are on their way."""
        return bool(self._digits) or self._wait > 0

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
            pcm = self._read()
            for meter in self.meters:
                meter.sent(pcm)
            self._carrier.send(pcm)
            self._sent += 1
        for _ in range(_MOST_FRAMES):
            if (heard := self._carrier.take()) is None:
                break
            if self._plays:
                self._deliver(heard)

    def skip(self, ticks: int) -> None:
        """Take notice of ticks that fell out: the rings have dropped and counted already."""

    def _read(self) -> bytes:
        pcm = None
        if self._source is not None:
            try:
                pcm = self._source.read(self._samples, self._carrier.rate)
            except Exception as e:  # noqa: BLE001  (the application's code; the call goes on)
                self._source = None
                self._on_failure(e)
        if pcm is None or self.muted or len(pcm) != len(self._silence):
            return self._silence
        return pcm

    def _deliver(self, pcm: bytes) -> None:
        timestamp = self._played * self._samples
        self._played += 1
        for meter in self.meters:
            meter.received(pcm)
        frame = AudioFrame(samples=pcm, sample_rate=self._carrier.rate, timestamp=timestamp)
        for sink in self._sinks:
            try:
                sink.write(frame)
            except Exception as e:  # noqa: BLE001  (the application's code; the call goes on)
                self.remove_sink(sink)
                self._on_failure(e)

    def statistics(self) -> AudioStatistics:
        """Return what happened so far: packets as the engine counts them, and our own frames."""
        return replace(
            self._carrier.statistics(),
            concealed=self._carrier.starved,
            hurried=self._carrier.dropped,
            sent_seconds=self._sent * TICK,
            received_seconds=self._played * TICK,
        )
