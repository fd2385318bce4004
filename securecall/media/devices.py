"""Microphone and speaker: any device, changed in mid-call; the default when theirs is gone."""

from __future__ import annotations

from collections import deque
from typing import Final, NoReturn

from securecall.errors import DeviceError, DeviceLost
from securecall.media.frames import AudioFrame
from securecall.media.portaudio import Buffer, Device, Stream, sounddevice
from securecall.media.portaudio import SoundDevice as SoundDevice
from securecall.media.portaudio import sound_devices as sound_devices
from securecall.media.processing import Processing, Processor
from securecall.media.reference import EchoReference
from securecall.media.resample import to_mono

_MAX_PIECES: Final = 10  # of 10 ms
_UNREAD: Final = 100  # pieces in a row that nobody fetched: a second
_STALLED: Final = 250  # reads or writes of 20 ms that the device did not answer: 5 s
_MAX_QUEUED: Final = 0.12
_ENOUGH_QUEUED: Final = 0.06


class _End:
    """One end of the sound: which device it is, and what happens when that is gone."""

    def __init__(self, device: Device) -> None:
        _ = sounddevice()  # what is missing is told now
        self._device = device
        self._worked = False

    def use(self, device: Device) -> None:
        """Change to another device, in mid-call as well; None is the system's default.

        If it cannot be used, the default is, and `DeviceLost` is told.
        """
        self._device = device
        self._let_go()

    def _let_go(self) -> None:
        raise NotImplementedError

    def _begin(self, rate: int, *, rescan: bool = False) -> None:
        raise NotImplementedError

    def _replace(self, error: Exception | None, rate: int, *, worked: bool) -> NoReturn:
        """Go on with the default device, if that is not the one that failed.

        Raises:
            DeviceError: there is nothing to go on with.
            DeviceLost: the default device takes its place.
        """
        self._let_go()
        lost, self._device = self._device, None
        if not worked and (lost is None or not self._worked):
            self._device = lost
            why = f": {error}" if error is not None else ""
            raise DeviceError(f"the sound device cannot be used{why}") from error
        self._begin(rate, rescan=True)
        name = "the default device" if lost is None else str(lost)
        raise DeviceLost(f"{name} is gone; the default sound device takes its place", device=name)


class _Capture:
    """One opening of a microphone: what it heard and nobody fetched."""

    def __init__(
        self,
        device: Device,
        rate: int,
        speaker: Speaker | None,
        processing: Processing | None,
        *,
        rescan: bool,
    ) -> None:
        self.rate = rate
        self.pieces: deque[bytes] = deque(maxlen=_MAX_PIECES)
        self.pending = b""
        self.dropped = self.misses = 0
        self.heard = False
        self._unread = 0
        self._processing = processing
        self._processor: Processor | None = None
        self._speaker, self._reference = speaker, EchoReference()
        if processing is not None and speaker is not None:
            speaker.heard_by(self._reference)
        self.stream = Stream(
            self._captured,
            device=device,
            rate=rate,
            output=False,
            prepare=self._prepare if processing is not None else None,
            rescan=rescan,
        )

    def _prepare(self) -> None:
        if self._processing is not None:
            self._processor = self._processing.begin(self.rate)

    def _captured(self, data: Buffer) -> bool:
        """Keep what was captured; on PortAudio's thread. Tells whether anybody still listens."""
        pcm = bytes(data[:])
        if self._processor is not None:
            if not self.heard and self._speaker is not None:
                delay = self.stream.latency + self._speaker.latency
                self._reference.slack = max(1, min(4, int(delay / 0.02) - 1))
            pcm = self._processor.process(pcm, self._reference.take(len(pcm), self.rate))
        self.heard = True
        if len(self.pieces) < _MAX_PIECES:
            self._unread = 0
        else:
            self.dropped += 1
            self._unread += 1
        self.pieces.append(pcm)
        return self._unread < _UNREAD

    def close(self) -> None:
        self.stream.close()
        if self._speaker is not None:
            self._speaker.unheard_by(self._reference)


class Microphone(_End):
    """Captures from a sound device while its sound is wanted, and at no other time.

    The device is opened when a call first asks for sound, so nothing is heard before its gate is
    open; it is closed while the call is muted or on hold, and a second after nobody asked any more.
    Its callback runs on PortAudio's thread and only appends to a bounded deque, which needs no
    lock; if nobody reads, the oldest 10 ms are dropped.

    Attributes:
        live: A person speaks here, who may do so while the words of a call are compared.
    """

    live: Final = True

    def __init__(
        self,
        device: Device = None,
        *,
        speaker: Speaker | None = None,
        processing: Processing | None = None,
    ) -> None:
        """Choose the device.

        Args:
            device: A part of its name, see `sound_devices`, or None for the default.
            speaker: What it hears of this is taken out by `processing`.
            processing: What is done to the sound, such as `VoiceProcessing()`.

        Raises:
            Unsupported: sounddevice or PortAudio is missing.
        """
        super().__init__(device)
        self._speaker, self._processing = speaker, processing
        self._capture: _Capture | None = None
        self._listens = True
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Pieces of 10 ms lost because the call did not fetch them in time."""
        return self._dropped + (self._capture.dropped if self._capture is not None else 0)

    @property
    def is_open(self) -> bool:
        """Whether the device captures, or is about to."""
        capture = self._capture
        return capture is not None and not capture.stream.finished

    def read(self, samples: int, rate: int) -> bytes | None:
        """Return the oldest samples captured, or None while there are too few.

        Raises:
            DeviceError: the device cannot be used.
            DeviceLost: it is gone; reading on gives the sound of the default device.
        """
        if not self._listens:
            return None
        capture = self._capture
        if capture is None or capture.rate != rate or capture.stream.finished:
            self._begin(rate)
            return None
        if capture.stream.error is not None or capture.stream.lost or capture.misses > _STALLED:
            self._replace(capture.stream.error, rate, worked=capture.heard)
        need = 2 * samples
        while len(capture.pending) < need and capture.pieces:
            capture.pending += capture.pieces.popleft()
        if len(capture.pending) < need:
            capture.misses += capture.stream.started
            return None
        capture.misses, self._worked = 0, True
        pcm, capture.pending = capture.pending[:need], capture.pending[need:]
        return pcm

    def listen(self, *, on: bool) -> None:
        """Capture when asked to, or let go of the device; calls do this when they are muted."""
        self._listens = on
        if not on:
            self._let_go()

    def _begin(self, rate: int, *, rescan: bool = False) -> None:
        self._let_go()
        self._capture = _Capture(self._device, rate, self._speaker, self._processing, rescan=rescan)

    def _let_go(self) -> None:
        if self._capture is not None:
            self._dropped += self._capture.dropped
            self._capture.close()
            self._capture = None

    def discard(self) -> None:
        """Forget what was captured and not read."""
        if self._capture is not None:
            self._capture.pieces.clear()
            self._capture.pending = b""

    def close(self) -> None:
        """Stop capturing; safe to call again."""
        self._let_go()


class Speaker(_End):
    """Plays on a sound device, opened at the first frame.

    Holds 60 to 120 ms at most: clocks of two machines differ, and what is too much is dropped.

    Attributes:
        dropped: Frames dropped because the device plays more slowly than they come.
        starved: Times the device found nothing to play.
    """

    def __init__(self, device: Device = None) -> None:
        """Choose the device: a part of its name, see `sound_devices`, or None for the default.

        Raises:
            Unsupported: sounddevice or PortAudio is missing.
        """
        super().__init__(device)
        self._stream: Stream | None = None
        self._pieces: deque[bytes] = deque()
        self._pending = b""  # only the callback's
        self._rate = 0
        self._unanswered = 0
        self._played = False
        self._references: tuple[EchoReference, ...] = ()
        self.dropped = 0
        self.starved = 0

    @property
    def latency(self) -> float:
        """Seconds from here to the air, as the device says; 0.0 while it is not open."""
        return self._stream.latency if self._stream is not None else 0.0

    def write(self, frame: AudioFrame) -> None:
        """Play a frame after those before it.

        Raises:
            DeviceError: the device cannot be used.
            DeviceLost: it is gone; what is written next plays on the default device.
        """
        if self._stream is None or frame.sample_rate != self._rate:
            self._begin(frame.sample_rate)
        stream = self._stream
        if stream is not None:
            self._unanswered += stream.started
            if stream.error is not None or stream.lost or self._unanswered > _STALLED:
                self._replace(stream.error, frame.sample_rate, worked=self._played)
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

    def _begin(self, rate: int, *, rescan: bool = False) -> None:
        self._let_go()
        self._rate = rate
        self._unanswered, self._played = 0, False
        self._stream = Stream(
            self._wanted, device=self._device, rate=rate, output=True, rescan=rescan
        )

    def _wanted(self, data: Buffer) -> bool:
        """Give PortAudio what is there, and silence for the rest; on its thread."""
        need = len(data)
        pending = self._pending
        while len(pending) < need:
            try:
                pending += self._pieces.popleft()
            except IndexError:
                self.starved += 1
                pending = pending.ljust(need, b"\0")
        piece, self._pending = pending[:need], pending[need:]
        data[:] = piece
        self._unanswered, self._played, self._worked = 0, True, True
        for reference in self._references:
            reference.played(piece, self._rate)
        return True

    def heard_by(self, reference: EchoReference) -> None:
        """Tell it what is played, from now on; a microphone does this."""
        self._references = (*self._references, reference)

    def unheard_by(self, reference: EchoReference) -> None:
        """Tell it nothing more; nothing happens if it was told nothing."""
        self._references = tuple(r for r in self._references if r is not reference)

    def _let_go(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._pieces.clear()

    def close(self) -> None:
        """Stop playing; safe to call again."""
        self._let_go()
