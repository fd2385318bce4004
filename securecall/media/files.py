"""Sound from and into WAV files."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import struct
import wave
from pathlib import Path
from typing import IO, Final

from securecall.errors import DeviceError
from securecall.media.frames import AudioFrame
from securecall.media.resample import Resampler, to_mono

_HEADER: Final = struct.Struct("<4sI4s4sIHHIIHH4sI")
_MAX_DATA: Final = 0xFFFFFFFF - 100
_APART_SECONDS = 0.1
# What the standard library raises for files that are none; RuntimeError for chunks out of bounds.
_BROKEN = (OSError, EOFError, wave.Error, RuntimeError, ValueError, struct.error)
_INVERT_SIGN = bytes(b ^ 0x80 for b in range(256))


def _to_16_bit(raw: bytes, width: int) -> bytes:
    """Return samples of 1 (unsigned), 2, 3 or 4 bytes as s16le."""
    if width == 2:
        return raw
    pcm = bytearray(len(raw) // width * 2)
    if width == 1:
        pcm[1::2] = raw.translate(_INVERT_SIGN)
    else:
        pcm[0::2] = raw[width - 2 :: width]
        pcm[1::2] = raw[width - 1 :: width]
    return bytes(pcm)


class FileSource:
    """Plays a WAV file of 8, 16, 24 or 32 bits, any rate and number of channels, as mono.

    The file is read as it is played, through Python's buffer. Where its rate is not the codec's,
    every 20 ms cost some 0.08 ms of CPU, or 1 ms where neither is a multiple of the other (44.1
    kHz), see `Resampler`; a file of 48 kHz for Opus or 8 kHz for G.711 costs nothing.

    Attributes:
        finished: Set when the file has been played to its end; never with `loop`.
        duration: Seconds of the file.
    """

    def __init__(self, path: str | Path, *, loop: bool = False) -> None:
        """Open the file.

        Raises:
            DeviceError: it cannot be read, is no WAV file, or is an empty one.
        """
        self.finished = asyncio.Event()
        self._loop = loop
        self._pending = b""
        self._resampler: Resampler | None = None
        try:
            self._file: wave.Wave_read | None = wave.open(str(Path(path).expanduser()), "rb")  # noqa: SIM115
            self._channels = self._file.getnchannels()
            self._width = self._file.getsampwidth()
            self._rate = self._file.getframerate()
            frames = self._file.getnframes()
        except _BROKEN as e:
            why = e.strerror if isinstance(e, OSError) else "it is no WAV file of plain samples"
            raise DeviceError(f"cannot play {path}: {why}") from e
        if not frames or not 1000 <= self._rate <= 384000 or not 1 <= self._width <= 4:
            self.close()
            raise DeviceError(f"cannot play {path}: there is no sound in it")
        self.duration = frames / self._rate

    def read(self, samples: int, rate: int) -> bytes | None:
        """Return the next samples; at the end silence fills the frame, then None."""
        need = 2 * samples
        while len(self._pending) < need and self._file is not None:
            self._pending += self._more(rate)
        if not self._pending:
            self.finished.set()
            return None
        pcm, self._pending = self._pending[:need], self._pending[need:]
        return pcm.ljust(need, b"\0")

    def _more(self, rate: int) -> bytes:
        if self._file is None:
            return b""
        resampler = self._resampler
        if resampler is None or resampler.target != rate:
            resampler = self._resampler = Resampler(self._rate, rate)
        try:
            raw = self._file.readframes(max(1, self._rate // 50))
        except _BROKEN as e:
            raise DeviceError(f"the sound file broke off: {e}") from e
        if raw:
            return resampler.process(to_mono(_to_16_bit(raw, self._width), self._channels))
        if self._loop:
            self._file.rewind()
            return b""
        self.close()
        return resampler.flush() if self._rate != rate else b""

    def discard(self) -> None:
        """Do nothing: a file is not captured."""

    def close(self) -> None:
        """Close the file; what was read of it is still played. Safe to call again."""
        if self._file is not None:
            self._file.close()
            self._file = None


class Recorder:
    """Writes what it is given to a 16-bit WAV file that is valid after every second.

    A sink for the received sound. With `both` the file is stereo: received left, sent right, where
    `sent` is the sink for the latter. The file is made for its owner alone (mode 600) at the first
    sound, at that sound's rate; sound of another rate is resampled.
    Recording a person without asking is a crime in many places; asking is the application's duty.

    Attributes:
        seconds: Recorded so far.
        sent: The sink of the right channel; None for mono.
        records: True: the report of a call tells of it, and the other end is told.
    """

    records: Final = True

    def __init__(self, path: str | Path, *, both: bool = False) -> None:
        """Say where to; nothing is written yet."""
        self._path = Path(path).expanduser()
        self._channels = 2 if both else 1
        self.sent: _RightChannel | None = _RightChannel(self) if both else None
        self._file: IO[bytes] | None = None
        self._rate = 0
        self._bytes = 0
        self._marked = 0
        self._waiting = [b"", b""]
        self._resamplers: dict[tuple[int, int], Resampler] = {}
        self._closed = False

    @property
    def seconds(self) -> float:
        """Recorded so far."""
        return self._bytes / (2 * self._channels * self._rate) if self._rate else 0.0

    def write(self, frame: AudioFrame) -> None:
        """Record a received frame.

        Raises:
            DeviceError: the file cannot be written.
        """
        self.write_channel(0, frame)

    def write_channel(self, channel: int, frame: AudioFrame) -> None:
        """Record a frame on the left (0) or right (1) channel.

        Raises:
            DeviceError: the file cannot be written.
        """
        if self._closed:
            return
        pcm = to_mono(frame.samples, frame.channels)
        if not self._rate:
            self._rate = frame.sample_rate
        if frame.sample_rate != self._rate:
            key = (channel, frame.sample_rate)
            if key not in self._resamplers:
                self._resamplers[key] = Resampler(frame.sample_rate, self._rate)
            pcm = self._resamplers[key].process(pcm)
        if self._channels == 1:
            self._put(pcm)
            return
        self._waiting[channel] += pcm
        self._interleave(int(_APART_SECONDS * self._rate) * 2)

    def _interleave(self, apart: int) -> None:
        """Write what both channels have; one that lags by more than `apart` bytes is filled up."""
        left, right = self._waiting
        longer = max(len(left), len(right))
        size = min(len(left), len(right))
        if longer - size > apart:
            size = longer - apart
        if not size:
            return
        stereo = bytearray(2 * size)
        for channel, pcm in enumerate((left, right)):
            part = pcm[:size].ljust(size, b"\0")
            stereo[2 * channel :: 4] = part[0::2]
            stereo[2 * channel + 1 :: 4] = part[1::2]
            self._waiting[channel] = pcm[size:]
        self._put(bytes(stereo))

    def _put(self, data: bytes) -> None:
        if self._bytes + len(data) > _MAX_DATA:
            raise DeviceError(f"{self._path} reached the 4 GB a WAV file can hold")
        try:
            if self._file is None:
                self._file = self._open()
            self._file.write(data)
            self._bytes += len(data)
            if self._bytes - self._marked >= 2 * self._channels * self._rate:
                self._mark()
        except OSError as e:
            self._closed = True
            raise DeviceError(f"cannot record to {self._path}: {e.strerror}") from e

    def _open(self) -> IO[bytes]:
        file = os.fdopen(open_private(self._path, os.O_WRONLY), "wb")
        file.write(self._header())
        return file

    def _header(self) -> bytes:
        size, rate, block = self._bytes, self._rate, 2 * self._channels
        return _HEADER.pack(
            b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, self._channels, rate, rate * block, block,
            16, b"data", size,
        )  # fmt: skip

    def _mark(self) -> None:
        """Make the header say what is there."""
        if self._file is None:
            return
        self._file.seek(0)
        self._file.write(self._header())
        self._file.seek(0, os.SEEK_END)
        self._file.flush()
        self._marked = self._bytes

    def close(self) -> None:
        """Finish the file; safe to call again.

        Raises:
            DeviceError: the file cannot be written.
        """
        if self._closed:
            return
        if self._channels == 2 and self._rate:
            self._interleave(0)
        self._closed = True
        if self._file is None:
            return
        try:
            self._mark()
            self._file.close()
        except OSError as e:
            raise DeviceError(f"cannot record to {self._path}: {e.strerror}") from e


class _RightChannel:
    """The sink of what we sent."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def write(self, frame: AudioFrame) -> None:
        """Record a sent frame."""
        self._recorder.write_channel(1, frame)

    def close(self) -> None:
        """Do nothing: the recorder closes both channels."""


def open_private(path: Path, flags: int) -> int:
    """Open a file that only its owner can read, empty; one that was there is narrowed before.

    Args:
        path: Where; what is no file, such as a pipe, is taken as it is.
        flags: Of `os.open`: for what.

    Raises:
        OSError: it cannot be opened, or is another user's.
    """
    descriptor = os.open(path, flags | os.O_CREAT, 0o600)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode):
            if os.name == "posix":
                if found.st_uid != os.geteuid():
                    raise PermissionError(errno.EPERM, "it is another user's", str(path))
                os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, 0)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
