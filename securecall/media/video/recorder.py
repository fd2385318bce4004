"""Recording a call with pictures, beside the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from securecall.errors import UsageError
from securecall.media.frames import AudioFrame
from securecall.media.video.frames import VideoFrame
from securecall.media.video.threads import Worker
from securecall.media.video.writing import Film

_MOST_PICTURES: Final = 15  # waiting to be written; 20 MB of 1280x720
_MOST_SOUNDS: Final = 250
_DRIFT: Final = 0.3  # seconds by which a stream may be away from when it came
_LATEST: Final = 1.0  # the same of a picture whose place in the sound is known


class _Stream:
    """One of the two streams: where its frames stand in the film, and how many of them wait."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._shift: float | None = None
        self._put = 0  # counted by the event loop ...
        self.done = 0  # ... and by the thread
        self.dropped = 0

    def place(self, timestamp: float, came: float) -> float:
        """Return seconds of the film: by the stream's clock, while that agrees with ours."""
        if self._shift is None or abs(self._shift + timestamp - came) > _DRIFT:
            self._shift = came - timestamp
        return max(0.0, self._shift + timestamp)

    def beside(self, timestamp: float, came: float) -> float | None:
        """Return where in the film this moment of the stream stands; None if that is unlikely."""
        if self._shift is None or abs(self._shift + timestamp - came) > _LATEST:
            return None
        return max(0.0, self._shift + timestamp)

    def has_room(self) -> bool:
        """Count a frame: as one to be written, or as dropped."""
        if self._put - self.done >= self._most:
            self.dropped += 1
            return False
        self._put += 1
        return True


class VideoRecorder:
    """Records the peer's sound and pictures; is itself the sink of the pictures.

    `.mkv` and `.webm` are VP8 and Opus, `.mp4` is H.264 and AAC. Encoding and writing are done in
    a thread; where it falls behind, frames are dropped and counted. Pictures stand where the sound
    stands that was captured with them (`VideoFrame.audio_time`); until that is known, and where no
    sound is recorded, both streams are put on one time by when their frames come, and each goes
    on by its own timestamps. The first picture (or
    `size`) sets the size, into which later ones are fitted; until then the film is black, and
    where no sound comes it is silent. The file is made for its owner alone (mode 600).
    An `.mkv` that was never closed can be played up to there, an `.mp4` cannot.
    Recording a person without asking is a crime in many places; asking is the application's duty.

    Attributes:
        records: True: the report of a call tells of it, and the other end is told.
    """

    records: Final = True

    def __init__(
        self,
        path: str | Path,
        *,
        audio: bool = True,
        size: tuple[int, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Say where to; nothing is written yet.

        Raises:
            UsageError: the name ends with none of .mkv, .webm and .mp4.
            Unsupported: PyAV, or this encoder in it, is missing.
        """
        self._film = Film(Path(path).expanduser(), audio=audio, size=size)
        self._clock = clock
        self._begun: float | None = None
        self._pictures, self._sounds = _Stream(_MOST_PICTURES), _Stream(_MOST_SOUNDS)
        self._worker: Worker[Callable[[], None]] = Worker(
            "securecall-recorder", _perform, finish=self._film.finish
        )
        self._sound_sink = RecorderSound(self) if audio else None

    @property
    def audio(self) -> RecorderSound:
        """The sink of the sound.

        Raises:
            UsageError: this film has none.
        """
        if self._sound_sink is None:
            raise UsageError("this film was begun without sound")
        return self._sound_sink

    @property
    def encoder(self) -> str:
        """FFmpeg's encoder of the pictures: "libvpx", for MP4 "libopenh264" or "libx264".

        The last is under the GPL, and used where PyAV has nothing else for H.264.
        """
        return self._film.encoder

    @property
    def seconds(self) -> float:
        """Length of the film so far, 0.0 while nothing came."""
        return self._film.seconds

    @property
    def dropped(self) -> int:
        """Pictures that were not recorded."""
        return self._pictures.dropped + self._film.left_out

    @property
    def dropped_audio(self) -> int:
        """Frames of sound that were not recorded."""
        return self._sounds.dropped

    def write(self, frame: VideoFrame) -> None:
        """Record a picture.

        Raises:
            DeviceError: the file cannot be written.
        """
        at = self._place(self._pictures, frame.timestamp)
        if frame.audio_time is not None:
            beside = self._sounds.beside(frame.audio_time, self._clock() - (self._begun or 0.0))
            at = at if beside is None else beside
        if self._pictures.has_room():
            self._worker.put(lambda: self._picture(at, frame))

    def write_sound(self, frame: AudioFrame) -> None:
        """Record a frame of sound, which `audio` does.

        Raises:
            DeviceError: the file cannot be written.
        """
        at = self._place(self._sounds, frame.timestamp / frame.sample_rate)
        if self._sounds.has_room():
            self._worker.put(lambda: self._sound(at, frame))

    def _place(self, stream: _Stream, timestamp: float) -> float:
        if self._worker.error is not None:
            raise self._worker.error
        now = self._clock()
        if self._begun is None:
            self._begun = now
        return stream.place(timestamp, now - self._begun)

    def _picture(self, at: float, frame: VideoFrame) -> None:
        self._film.add_picture(at, frame)
        self._pictures.done += 1

    def _sound(self, at: float, frame: AudioFrame) -> None:
        self._film.add_sound(at, frame)
        self._sounds.done += 1

    def close(self) -> None:
        """Record nothing more; the file is finished soon, see `wait_finished`. Safe to call again.

        A program that ends meanwhile waits for it.
        """
        self._worker.close(drain=True)
        # Not a daemon, as the worker is, who must not hold up a program that forgot to close.
        threading.Thread(target=self._worker.join, name="securecall-recorder-end").start()

    async def wait_finished(self) -> None:
        """Wait until the file is whole; after `close`.

        Raises:
            DeviceError: the file could not be written.
        """
        await asyncio.to_thread(self._worker.join)
        if self._worker.error is not None:
            raise self._worker.error


def _perform(job: Callable[[], None]) -> None:
    job()


class RecorderSound:
    """The sink of the sound of a recording.

    Attributes:
        records: True, as that of `VideoRecorder`.
    """

    records: Final = True

    def __init__(self, recorder: VideoRecorder) -> None:
        """Belong to a recorder."""
        self._recorder = recorder

    def write(self, frame: AudioFrame) -> None:
        """Record a frame of sound.

        Raises:
            DeviceError: the file cannot be written.
        """
        self._recorder.write_sound(frame)

    def close(self) -> None:
        """Do nothing: the recorder finishes both."""
