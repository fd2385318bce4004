"""The door of sounddevice (PortAudio): microphone and speaker."""

from __future__ import annotations

import threading
from collections import deque
from importlib import import_module
from typing import Final, Protocol, cast

from securecall.errors import DeviceError, Unsupported
from securecall.media.frames import AudioFrame
from securecall.media.resample import to_mono

Device = int | str | None
"""A device's number, a part of its name, or None for the system's default."""

_MAX_PIECES: Final = 10
_BLOCK_SECONDS: Final = 0.01
_MAX_QUEUED: Final = 0.12
_ENOUGH_QUEUED: Final = 0.06


class _Buffer(Protocol):
    """PortAudio's memory, valid during the callback only."""

    def __len__(self) -> int: ...
    def __setitem__(self, key: slice[None, None, None], value: bytes) -> None: ...
    def __getitem__(self, key: slice[None, None, None]) -> bytes: ...


class _Stream(Protocol):
    def start(self) -> None: ...
    def close(self) -> None: ...


class _SoundDevice(Protocol):
    """What is used of sounddevice."""

    PortAudioError: type[Exception]

    def RawInputStream(self, **options: object) -> _Stream: ...  # noqa: N802  (its name)
    def RawOutputStream(self, **options: object) -> _Stream: ...  # noqa: N802  (its name)


def _sounddevice() -> _SoundDevice:
    """Import sounddevice, which loads PortAudio.

    Raises:
        Unsupported: one of them is not there.
    """
    try:
        return cast("_SoundDevice", import_module("sounddevice"))
    except ImportError as e:
        raise Unsupported("microphones and speakers need: pip install securecall[devices]") from e
    except OSError as e:  # the package is there, PortAudio is not
        raise Unsupported("PortAudio is missing; on Debian: apt install libportaudio2") from e


class _Opener:
    """Opens a stream on a thread of its own, since PortAudio may take a second to do so."""

    def __init__(self) -> None:
        self._module = _sounddevice()
        self._lock = threading.Lock()
        self._stream: _Stream | None = None
        self._error: Exception | None = None
        self._begun = self._closed = False

    def begin(self, options: dict[str, object], *, output: bool) -> None:
        """Start opening, once."""
        if self._begun:
            return
        self._begun = True
        threading.Thread(target=self._open, args=(options, output), daemon=True).start()

    def _open(self, options: dict[str, object], output: bool) -> None:  # noqa: FBT001  (thread)
        make = self._module.RawOutputStream if output else self._module.RawInputStream
        try:
            stream = make(channels=1, dtype="int16", latency="low", **options)
            with self._lock:
                if not self._closed:
                    stream.start()
                    self._stream = stream
                    return
            stream.close()
        except (self._module.PortAudioError, OSError, ValueError) as e:
            self._error = e

    def require_working(self) -> None:
        """Raise what opening ran into.

        Raises:
            DeviceError: the device cannot be used.
        """
        if self._error is not None:
            raise DeviceError(f"the sound device cannot be used: {self._error}") from self._error

    def close(self) -> None:
        """Close the stream, now or as soon as it is open."""
        with self._lock:
            self._closed = True
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()


class Microphone:
    """Captures from a sound device, from the first moment the call asks for sound on.

    The device is not touched before: no call listens in before its gate is open. Its callback runs
    on PortAudio's thread and only appends to a bounded deque, which needs no lock; if nobody reads,
    the oldest 10 ms are dropped.

    Attributes:
        dropped: Pieces of 10 ms lost because the call did not fetch them in time.
        live: A person speaks here, who may do so while the words of a call are compared.
    """

    live: Final = True

    def __init__(self, device: Device = None) -> None:
        """Choose the device.

        Raises:
            Unsupported: sounddevice or PortAudio is missing.
        """
        self._device = device
        self._opener = _Opener()
        self._pieces: deque[bytes] = deque(maxlen=_MAX_PIECES)
        self._pending = b""
        self._rate = 0
        self.dropped = 0

    def read(self, samples: int, rate: int) -> bytes | None:
        """Return the oldest samples captured, or None while there are too few.

        Raises:
            DeviceError: the device cannot be used.
        """
        self._opener.require_working()
        if rate != self._rate:
            self._reopen(rate)
        need = 2 * samples
        while len(self._pending) < need and self._pieces:
            self._pending += self._pieces.popleft()
        if len(self._pending) < need:
            return None
        pcm, self._pending = self._pending[:need], self._pending[need:]
        return pcm

    def _reopen(self, rate: int) -> None:
        if self._rate:
            self._opener.close()
            self._opener = _Opener()
        self._rate = rate
        self.discard()
        block = int(rate * _BLOCK_SECONDS)
        self._opener.begin(
            {
                "device": self._device,
                "samplerate": rate,
                "blocksize": block,
                "callback": self._captured,
            },
            output=False,
        )

    def _captured(self, data: _Buffer, frames: int, times: object, status: object) -> None:
        """Keep what PortAudio captured; on its thread."""
        if len(self._pieces) == _MAX_PIECES:
            self.dropped += 1
        self._pieces.append(bytes(data[:]))

    def discard(self) -> None:
        """Forget what was captured and not read."""
        self._pieces.clear()
        self._pending = b""

    def close(self) -> None:
        """Stop capturing; safe to call again."""
        self._opener.close()
        self.discard()


class Speaker:
    """Plays on a sound device, opened at the first frame.

    Holds 60 to 120 ms at most: clocks of two machines differ, and what is too much is dropped.

    Attributes:
        dropped: Frames dropped because the device plays more slowly than they come.
        starved: Times the device found nothing to play.
    """

    def __init__(self, device: Device = None) -> None:
        """Choose the device.

        Raises:
            Unsupported: sounddevice or PortAudio is missing.
        """
        self._device = device
        self._opener = _Opener()
        self._pieces: deque[bytes] = deque()
        self._pending = b""  # only the callback's
        self._rate = 0
        self.dropped = 0
        self.starved = 0

    def write(self, frame: AudioFrame) -> None:
        """Play a frame after those before it.

        Raises:
            DeviceError: the device cannot be used.
        """
        self._opener.require_working()
        if frame.sample_rate != self._rate:
            self._reopen(frame.sample_rate)
        pcm = to_mono(frame.samples, frame.channels)
        most = int(_MAX_QUEUED * self._rate) * 2
        if len(self._pieces) * len(pcm) >= most:
            enough = int(_ENOUGH_QUEUED * self._rate) * 2
            while self._pieces and len(self._pieces) * len(pcm) > enough:
                try:
                    self._pieces.popleft()
                except IndexError:  # the callback was faster
                    break
                self.dropped += 1
        self._pieces.append(pcm)

    def _reopen(self, rate: int) -> None:
        if self._rate:
            self._opener.close()
            self._opener = _Opener()
        self._rate = rate
        self._pieces.clear()
        self._opener.begin(
            {
                "device": self._device,
                "samplerate": rate,
                "blocksize": int(rate * _BLOCK_SECONDS),
                "callback": self._wanted,
            },
            output=True,
        )

    def _wanted(self, data: _Buffer, frames: int, times: object, status: object) -> None:
        """Give PortAudio what is there, and silence for the rest; on its thread."""
        need = len(data)
        pending = self._pending
        while len(pending) < need:
            try:
                pending += self._pieces.popleft()
            except IndexError:
                self.starved += 1
                pending = pending.ljust(need, b"\0")
        data[:] = pending[:need]
        self._pending = pending[need:]

    def close(self) -> None:
        """Stop playing; safe to call again."""
        self._opener.close()
        self._pieces.clear()
