"""Where sound comes from and goes to: the two ports, and the simplest sources."""

from __future__ import annotations

import math
from array import array
from typing import Final, Protocol

from securecall.errors import UsageError
from securecall.media.files import FileSource as FileSource
from securecall.media.files import Recorder as Recorder
from securecall.media.frames import AudioFrame
from securecall.media.queues import PcmInput as PcmInput
from securecall.media.queues import PcmOutput as PcmOutput


class AudioSource(Protocol):
    """Gives mono sound, on demand.

    A source that captures may have `listen(*, on: bool)` as well: it is told to let go of its
    device while the call is muted or on hold, and to take it again.
    """

    def read(self, samples: int, rate: int) -> bytes | None:
        """Return `samples` samples s16le mono at `rate` Hz, or None to be silent this time.

        Called on the event loop every 20 ms; must not block.
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


def require_source(source: object, such_as: str = "FileSource(path), Microphone()") -> None:
    """Refuse what neither sound nor pictures come from, such as the name of a file.

    Args:
        source: None sends nothing, and is none of these.
        such_as: What would be one, for the error.

    Raises:
        UsageError: it has not what a source has.
    """
    if source is not None and not (hasattr(source, "read") and hasattr(source, "discard")):
        name = type(source).__name__
        raise UsageError(f"{name} is no source: {such_as}, or what has read, discard and close")


class AudioSink(Protocol):
    """Takes the sound that was received."""

    def write(self, frame: AudioFrame) -> None:
        """Take a frame; called on the event loop, must not block."""
        ...

    def close(self) -> None:
        """Finish; safe to call again."""
        ...


class SilenceSource:
    """Nothing to hear."""

    __slots__ = ()

    def read(self, samples: int, rate: int) -> bytes | None:
        """Return None: be silent."""
        return None

    def discard(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


_PEAK: Final = 32767


class ToneSource:
    """One pure tone, for ever."""

    __slots__ = ("_amplitude", "_hertz", "_phase")

    def __init__(self, hertz: float, *, dbfs: float = -20.0) -> None:
        """Choose frequency in Hz and loudness (RMS of a full-scale sine is -3 dBFS).

        Raises:
            UsageError: the frequency is not positive or the loudness above full scale.
        """
        if not 0 < hertz <= 20000 or dbfs > -3.0:
            raise UsageError("a tone has 0..20000 Hz and at most -3 dBFS")
        self._hertz = hertz
        self._amplitude = _PEAK * 10 ** ((dbfs + 3.0) / 20)
        self._phase = 0.0

    def read(self, samples: int, rate: int) -> bytes | None:
        """Return the next part of the tone."""
        step = 2 * math.pi * self._hertz / rate
        phase, amplitude, sine = self._phase, self._amplitude, math.sin
        wave = array("h", [int(amplitude * sine(phase + step * i)) for i in range(samples)])
        self._phase = math.fmod(phase + step * samples, 2 * math.pi)
        return wave.tobytes()

    def discard(self) -> None:
        """Do nothing: a tone is not captured."""

    def close(self) -> None:
        """Do nothing."""
