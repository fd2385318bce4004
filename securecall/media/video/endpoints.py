"""Where pictures come from and go to: the two ports, and the application's own ends of them."""

from __future__ import annotations

from typing import Final, Protocol

from securecall.media.queues import FrameOutput
from securecall.media.video.frames import VideoFrame


class VideoSource(Protocol):
    """Gives pictures, on demand.

    Attributes:
        live: A person is seen here, who may be while the words of a call are compared.
    """

    @property
    def live(self) -> bool:
        """Whether a person is seen here."""
        ...

    def read(self, now: float) -> VideoFrame | None:
        """Return the newest picture due that was not read yet, or None.

        Called on the event loop, with seconds on a clock that only goes forward; must not block.

        Raises:
            DeviceError: no picture will come any more, because of a fault.
        """
        ...

    def discard(self) -> None:
        """Forget what was captured and not read yet; for sources that capture nothing, nothing.

        Called before anything of the source may leave for the first time, or again.
        """
        ...

    def close(self) -> None:
        """Let go of files and devices; safe to call again."""
        ...


class VideoSink(Protocol):
    """Takes the pictures that were received."""

    def write(self, frame: VideoFrame) -> None:
        """Take a picture; called on the event loop, must not block."""
        ...

    def close(self) -> None:
        """Finish; safe to call again."""
        ...


class VideoInput:
    """A source that the application fills: `write(frame)`; the newest picture wins.

    Attributes:
        dropped: Pictures replaced before the call fetched them.
        live: Sent while the words of a call are compared, too: whoever writes knows the level.
    """

    live: Final = True

    def __init__(self) -> None:
        """Make it empty."""
        self._frame: VideoFrame | None = None
        self._closed = False
        self.dropped = 0

    def write(self, frame: VideoFrame) -> None:
        """Send this picture next."""
        if self._closed:
            return
        self.dropped += self._frame is not None
        self._frame = frame

    def read(self, now: float) -> VideoFrame | None:
        """Return the newest picture, once."""
        frame, self._frame = self._frame, None
        return frame

    def discard(self) -> None:
        """Forget what was written and not sent."""
        self._frame = None

    def close(self) -> None:
        """Take nothing more; safe to call again."""
        self._closed = True
        self._frame = None


class VideoOutput(FrameOutput[VideoFrame]):
    """A sink of pictures that the application empties: `async for frame in output`."""

    def __init__(self, *, capacity: int = 3) -> None:
        """Make an empty ring of `capacity` pictures; one of 640x360 takes 350 kB."""
        super().__init__(capacity=capacity)
