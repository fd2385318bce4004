"""Frames between the call and the application's own code: bounded rings, awaited on its side."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Generic, Self, TypeVar

from securecall.errors import UsageError
from securecall.media.frames import AudioFrame
from securecall.media.resample import Resampler, to_mono

_MAX_FRAME_SECONDS: Final = 1.0
T = TypeVar("T")


class PcmInput:
    """A source that the application fills: `await write(frame)`.

    Holds `capacity` seconds; a writer who is ahead waits. Frames may have any length, rate and
    number of channels; those of the codec's rate cost nothing to convert. A tick that finds less
    than it needs is silent and leaves the rest for the next.

    Attributes:
        held: Seconds written and not sent yet.
        live: Sent while the words of a call are compared, too: whoever writes knows the level.
    """

    live: Final = True

    def __init__(self, *, capacity: float = 0.1) -> None:
        """Make an empty ring of `capacity` seconds."""
        self._capacity = capacity
        self._frames: deque[AudioFrame] = deque()
        self._pending = b""
        self._resampler: Resampler | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._closed = False
        self.held = 0.0

    async def write(self, frame: AudioFrame) -> None:
        """Take a frame; waits while the ring is full.

        Raises:
            UsageError: it is no frame, lasts more than a second, or has no sensible rate; or the
                source was closed.
        """
        if not isinstance(frame, AudioFrame):
            raise UsageError(f"what is written is an AudioFrame, not {type(frame).__name__}")
        if not 1000 <= frame.sample_rate <= 384000 or frame.channels not in (1, 2):
            raise UsageError("a frame has 1000..384000 Hz and one or two channels")
        if frame.duration > _MAX_FRAME_SECONDS:
            raise UsageError("a frame of more than a second; write smaller ones")
        while self.held >= self._capacity and not self._closed:
            self._room.clear()
            await self._room.wait()
        if self._closed:
            raise UsageError("this source is closed")
        self._frames.append(frame)
        self.held += frame.duration

    def read(self, samples: int, rate: int) -> bytes | None:
        """Return what is to be sent now, or None where too little is there."""
        need = 2 * samples
        while len(self._pending) < need:
            if not self._frames:
                return None
            frame = self._frames.popleft()
            self.held -= frame.duration
            if self.held < self._capacity:
                self._room.set()
            pcm = to_mono(frame.samples, frame.channels)
            if frame.sample_rate != rate:
                pcm = self._convert(pcm, frame.sample_rate, rate)
            self._pending = self._pending + pcm if self._pending else pcm
        pcm, self._pending = self._pending[:need], self._pending[need:]
        return pcm

    def _convert(self, pcm: bytes, source: int, target: int) -> bytes:
        resampler = self._resampler
        if resampler is None or (resampler.source, resampler.target) != (source, target):
            resampler = self._resampler = Resampler(source, target)
        return resampler.process(pcm)

    def discard(self) -> None:
        """Forget what was written and not sent."""
        self._frames.clear()
        self._pending = b""
        self.held = 0.0
        self._room.set()

    def close(self) -> None:
        """Take nothing more; a waiting writer is refused."""
        self._closed = True
        self.discard()


class FrameOutput(Generic[T]):
    """A sink that the application empties: `async for frame in output`.

    Keeps the newest `capacity` frames; older ones are dropped and counted, so that a reader who
    falls behind gets the present. Nothing is kept before `open`. One reader at a time.

    Attributes:
        dropped: Frames the reader was too slow for.
    """

    def __init__(self, *, capacity: int) -> None:
        """Make an empty ring of `capacity` frames."""
        self._ring: deque[T] = deque(maxlen=capacity)
        self._waiting: asyncio.Future[None] | None = None
        self._is_open = False
        self._closed = False
        self.dropped = 0

    def open(self) -> None:
        """Begin to keep frames."""
        self._is_open = True

    def write(self, frame: T) -> None:
        """Keep a frame."""
        if not self._is_open or self._closed:
            return
        if len(self._ring) == self._ring.maxlen:
            self.dropped += 1
        self._ring.append(frame)
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def __aiter__(self) -> Self:
        self.open()
        return self

    async def __anext__(self) -> T:
        while not self._ring:
            if self._closed:
                raise StopAsyncIteration
            if self._waiting is not None:
                raise UsageError("somebody else reads these frames already")
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        return self._ring.popleft()

    def close(self) -> None:
        """Take nothing more; the reader gets what is there, then the end."""
        self._closed = True
        self._wake()


class PcmOutput(FrameOutput[AudioFrame]):
    """A sink of sound that the application empties: `async for frame in output`."""

    def __init__(self, *, capacity: int = 50) -> None:
        """Make an empty ring of `capacity` frames; 50 are a second."""
        super().__init__(capacity=capacity)
