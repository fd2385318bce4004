"""Both ends of the sound of one call here: the source that is sent, the sinks that hear."""

from __future__ import annotations

from abc import ABC, abstractmethod

from securecall.errors import DeviceLost
from securecall.media.description import Direction
from securecall.media.endpoints import AudioSink, AudioSource
from securecall.media.frames import AudioFrame
from securecall.media.levels import LevelMeter


class Ends(ABC):
    """One source and any number of sinks, which are the application's code and may raise.

    What raises is taken out and told, and the call goes on; but for a device that was lost: it has
    found another by itself.

    Attributes:
        muted: Silence is sent; the source is read on and thrown away.
        meters: Who watches how loud it is.
    """

    def __init__(self, samples: int, rate: int) -> None:
        """Begin without any.

        Args:
            samples: Of a frame that is sent.
            rate: Its Hz.
        """
        self._samples, self._rate = samples, rate
        self._silence = bytes(2 * samples)
        self._source: AudioSource | None = None
        self._sinks: tuple[AudioSink, ...] = ()
        self.muted = False
        self.meters: tuple[LevelMeter, ...] = ()
        self._sends = self._plays = True

    @abstractmethod
    def _fail(self, error: Exception) -> None:
        """Tell what a source or a sink raised."""

    @property
    def source(self) -> AudioSource | None:
        """What is sent; None sends silence."""
        return self._source

    @source.setter
    def source(self, source: AudioSource | None) -> None:
        if source is not None:
            source.discard()
        self._source = source

    def set_direction(self, direction: Direction) -> None:
        """Obey the agreement, seen from us: on hold nothing is sent, or played, or neither."""
        sends = direction in (Direction.SENDRECV, Direction.SENDONLY)
        if sends and not self._sends and self._source is not None:
            self._source.discard()  # what was captured while nobody was to hear it
        self._sends = sends
        self._plays = direction in (Direction.SENDRECV, Direction.RECVONLY)

    def add_sink(self, sink: AudioSink) -> None:
        """Deliver what is received to `sink` too."""
        self._sinks = (*self._sinks, sink)

    def remove_sink(self, sink: AudioSink) -> None:
        """Deliver nothing more to `sink`; nothing happens if it is not one."""
        self._sinks = tuple(s for s in self._sinks if s is not sink)

    def _read(self) -> bytes:
        """The next frame to send, s16le mono; silence where there is nothing else."""
        pcm = None
        if self._source is not None:
            try:
                pcm = self._source.read(self._samples, self._rate)
            except DeviceLost as e:
                self._fail(e)
            except Exception as e:  # noqa: BLE001  (the application's code; the call goes on)
                self._source = None
                self._fail(e)
        if pcm is None or self.muted or len(pcm) != len(self._silence):
            pcm = self._silence
        for meter in self.meters:
            meter.sent(pcm)
        return pcm

    def _deliver(self, pcm: bytes, rate: int, number: int) -> None:
        """Hand the frame of this number, 20 ms at `rate` Hz, to whoever hears."""
        for meter in self.meters:
            meter.received(pcm)
        if not self._sinks:
            return
        frame = AudioFrame(samples=pcm, sample_rate=rate, timestamp=number * (rate // 50))
        for sink in self._sinks:
            try:
                sink.write(frame)
            except DeviceLost as e:
                self._fail(e)
            except Exception as e:  # noqa: BLE001  (the application's code; the call goes on)
                self.remove_sink(sink)
                self._fail(e)

    def _let_go(self) -> None:
        """Keep neither source nor sinks."""
        if self._source is not None:
            self._source.discard()  # wakes a writer who waits for room
        self._source = None
        self._sinks = ()
