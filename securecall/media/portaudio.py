"""The door of sounddevice (PortAudio): which devices there are, and streams of sound to them."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from queue import SimpleQueue
from typing import Final, Protocol, cast

from securecall.errors import DeviceError, SecurecallError, Unsupported
from securecall.logs import logger

log = logger(__name__)

Device = int | str | None
"""A device's number, a part of its name, or None for the system's default."""

BLOCK_SECONDS: Final = 0.01


class Buffer(Protocol):
    """PortAudio's memory, valid during the callback only."""

    def __len__(self) -> int: ...
    def __setitem__(self, key: slice[None, None, None], value: bytes) -> None: ...
    def __getitem__(self, key: slice[None, None, None]) -> bytes: ...


class _RawStream(Protocol):
    latency: float

    def start(self) -> None: ...
    def close(self) -> None: ...


class _Defaults(Protocol):
    hostapi: int


class _SoundDevice(Protocol):
    """What is used of sounddevice."""

    default: _Defaults
    PortAudioError: type[Exception]
    CallbackAbort: type[Exception]

    def RawInputStream(self, **options: object) -> _RawStream: ...  # noqa: N802  (its name)
    def RawOutputStream(self, **options: object) -> _RawStream: ...  # noqa: N802  (its name)
    def query_devices(self) -> Iterable[Mapping[str, object]]: ...
    def query_hostapis(self) -> tuple[Mapping[str, object], ...]: ...
    def _initialize(self) -> None: ...
    def _terminate(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundDevice:
    """A sound device of this machine.

    Attributes:
        name: What `Microphone` and `Speaker` take, with the system it is reached by: "USB, ALSA".
        inputs: Channels it can capture, 0 if it is no microphone.
        outputs: Channels it can play, 0 if it is no loudspeaker.
        is_default_input: It is the default microphone.
        is_default_output: It is the default loudspeaker.
    """

    name: str
    inputs: int
    outputs: int
    is_default_input: bool
    is_default_output: bool


def sounddevice() -> _SoundDevice:
    """Import sounddevice, which loads PortAudio.

    Raises:
        Unsupported: one of them is not there.
    """
    try:
        return cast("_SoundDevice", import_module("sounddevice"))
    except ImportError as e:
        raise Unsupported('microphones and speakers need: pip install "securecall[devices]"') from e
    except OSError as e:  # the package is there, PortAudio is not
        raise Unsupported("PortAudio is missing; on Debian: apt install libportaudio2") from e


def sound_devices(*, rescan: bool = False) -> tuple[SoundDevice, ...]:
    """List the sound devices; takes up to a second, so call it in a thread of its own.

    What was plugged in since the last time is found while no device is in use here.

    Args:
        rescan: Find it anyway; sound that flows stops for some tenths of a second.

    Raises:
        DeviceError: PortAudio cannot say.
        Unsupported: sounddevice or PortAudio is missing.
    """
    module = sounddevice()
    answer: Future[tuple[SoundDevice, ...]] = Future()

    def find() -> None:
        try:
            if rescan or not _open:
                _rescan(module)
            answer.set_result(tuple(_listed(module)))
        except (module.PortAudioError, OSError) as e:
            answer.set_exception(DeviceError(f"the sound devices cannot be listed: {e}"))

    run(find)
    return answer.result()


def _listed(module: _SoundDevice) -> Iterable[SoundDevice]:
    apis = module.query_hostapis()
    first = apis[module.default.hostapi]
    for device in module.query_devices():
        api = apis[cast("int", device["hostapi"])]
        yield SoundDevice(
            name=f"{device['name']}, {api['name']}",
            inputs=cast("int", device["max_input_channels"]),
            outputs=cast("int", device["max_output_channels"]),
            is_default_input=first.get("default_input_device") == device["index"],
            is_default_output=first.get("default_output_device") == device["index"],
        )


class Stream:
    """One device, open in one direction: mono, 16 bits, called back every 10 ms.

    Attributes:
        error: Why it cannot be used, None as long as it can.
        started: Sound flows, or did.
        lost: It ended and nobody had asked for that.
        finished: Its callback asked for the end.
        latency: Seconds between the callback and the air, as the device says; 0.0 before `started`.
    """

    def __init__(
        self,
        callback: Callable[[Buffer], bool],
        *,
        device: Device,
        rate: int,
        output: bool,
        prepare: Callable[[], None] | None = None,
        rescan: bool = False,
    ) -> None:
        """Begin to open it, beside the event loop, since that may take a second.

        Args:
            callback: On PortAudio's thread, fills or reads 10 ms; tells whether to go on.
            device: Which.
            rate: Hz.
            output: It plays; else it captures.
            prepare: Done first, on the thread that opens it.
            rescan: Find out anew first which devices there are.

        Raises:
            Unsupported: sounddevice or PortAudio is missing.
        """
        self._module = sounddevice()
        self._callback = callback
        self._output = output
        self._prepare, self._fresh = prepare, rescan
        self._options: dict[str, object] = {
            "device": device,
            "samplerate": rate,
            "blocksize": int(rate * BLOCK_SECONDS),
            "channels": 1,
            "dtype": "int16",
            "latency": "low",
            "callback": self._called,
            "finished_callback": self._ended,
        }
        self._stream: _RawStream | None = None
        self._leaving = self._closed = False
        self.error: Exception | None = None
        self.started = self.lost = self.finished = False
        self.latency = 0.0
        run(self._begin)

    def close(self) -> None:
        """Stop: from now on the callback is not called; the device is let go of a moment later."""
        self._closed = True
        run(self.shut)

    def _begin(self) -> None:
        if self._closed:
            return
        try:
            if self._fresh:
                _rescan(self._module)
            if self._prepare is not None:
                self._prepare()
            try:
                self.open()
            except (self._module.PortAudioError, ValueError):
                if self._fresh:
                    raise
                _rescan(self._module)  # it may have been plugged in since
                self.open()
        except (self._module.PortAudioError, OSError, ValueError, SecurecallError) as e:
            self.error = e

    def open(self) -> None:
        """Open the device; on PortAudio's own thread alone, as all that follows."""
        make = self._module.RawOutputStream if self._output else self._module.RawInputStream
        self._leaving = False
        stream = make(**self._options)
        try:
            stream.start()
        except self._module.PortAudioError:
            stream.close()
            raise
        self._stream, self.latency = stream, float(stream.latency)
        self.started = True
        _open.add(self)

    def shut(self) -> None:
        """Close the device, if it is open."""
        self._leaving = True
        _open.discard(self)
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def reopen(self) -> None:
        """Open the device again, after `shut`."""
        if self._closed or self.finished or self.lost:
            return
        try:
            self.open()
        except (self._module.PortAudioError, OSError, ValueError) as e:
            self.error = e

    def _called(self, data: Buffer, frames: int, times: object, status: object) -> None:
        """Hand the buffer on; on PortAudio's thread for this stream."""
        if not self._closed:
            try:
                if self._callback(data):
                    return
                self.finished = True
            except Exception as e:  # noqa: BLE001  (outermost on this thread; told at the next read)
                log.warning("a sound device's callback failed: %s", type(e).__name__)
                self.error = e
            run(self.shut)
        raise self._module.CallbackAbort

    def _ended(self) -> None:
        """PortAudio ended the stream, whoever asked for that."""
        asked = self._closed or self._leaving or self.finished or self.error is not None
        self.lost = self.lost or not asked


_open: set[Stream] = set()


def _rescan(module: _SoundDevice) -> None:
    """Let PortAudio look at the devices anew, which it does at its beginning alone."""
    streams = tuple(_open)
    for stream in streams:
        stream.shut()
    with suppress(module.PortAudioError):  # it does not run, since beginning anew failed before
        module._terminate()  # noqa: SLF001  (there is no other way)
    module._initialize()  # noqa: SLF001
    for stream in streams:
        stream.reopen()


_END_SECONDS: Final = 5.0  # for a sound server that does not answer
_work: SimpleQueue[Callable[[], None]] = SimpleQueue()
_starting = threading.Lock()
_thread: threading.Thread | None = None


def run(work: Callable[[], None]) -> None:
    """Have it done on the one thread from which PortAudio is used: it bears no two at once."""
    global _thread
    with _starting:
        if _thread is None:
            _ = atexit.register(_end)  # before that of sounddevice, which ends PortAudio
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_serve, name="sound devices", daemon=True)
            _thread.start()
    _work.put(work)


def _end() -> None:
    """Let go of every device before the process ends: PortAudio is ended by another thread then."""
    over = threading.Event()

    def shut_all() -> None:
        for stream in tuple(_open):
            stream.shut()

    run(shut_all)
    run(over.set)
    _ = over.wait(_END_SECONDS)


def _serve() -> None:
    while True:
        work = _work.get()
        try:
            work()
        except Exception:  # outermost loop of this thread
            log.exception("a sound device could not be opened or closed")
