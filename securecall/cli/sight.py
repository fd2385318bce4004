"""Pictures for the command: what a call shows, what it sees, and the film it records."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Final

from securecall.calls.call import Call
from securecall.calls.pictures import CAMERA, SCREEN
from securecall.errors import DeviceError, SecurecallError
from securecall.media.video import pyav
from securecall.media.video.endpoints import VideoSource
from securecall.media.video.frames import VideoFrame
from securecall.media.video.pattern import TestPattern
from securecall.media.video.recorder import VideoRecorder
from securecall.media.video.sources import Camera, Screen, VideoFile

FILMS: Final = (".webm", ".mkv", ".mp4")
_WHAT: Final = {CAMERA: "camera", SCREEN: "screen"}
_QUIET_SECONDS: Final = 3.0  # without a picture: a camera is off, or the path has no room for it


def is_film(path: Path | None) -> bool:
    """Whether a recording is to have pictures; everything else is a WAV file."""
    return path is not None and path.suffix.lower() in FILMS


def require_pictures(*, video: str, watch: bool, record: Path | None) -> bool:
    """Return whether the options ask for pictures, before anybody is called.

    Raises:
        Unsupported: they do, and nothing here can make or show one.
    """
    if not (is_film(record) or video or watch):
        return False
    pyav.require_available()
    return True


class Film(VideoFile):
    """A film; one that breaks off is finished, too: nobody waits for the rest of it."""

    def read(self, now: float) -> VideoFrame | None:
        """Return the newest picture due.

        Raises:
            DeviceError: the film broke off.
        """
        try:
            return super().read(now)
        except DeviceError:
            self.finished.set()
            raise


class Shared:
    """A camera that several calls show, one after the other; closed once none of them has it."""

    def __init__(self, source: VideoSource, users: set[Shared] | None = None) -> None:
        """Have it; `again` is for the next call."""
        self._source, self._users = source, users if users is not None else set()
        self._users.add(self)
        self.live = source.live

    def again(self) -> Shared:
        """The same camera for another call."""
        return Shared(self._source, self._users)

    def read(self, now: float) -> VideoFrame | None:
        """Return the newest picture.

        Raises:
            DeviceError: there will be none any more.
        """
        return self._source.read(now)

    def discard(self) -> None:
        """Forget what was captured and not read."""
        self._source.discard()

    def close(self) -> None:
        """This call has it no more; safe to call again."""
        if self in self._users:
            self._users.discard(self)
            if not self._users:
                self._source.close()


def _source(video: str, *, loop: bool) -> VideoSource:
    match video:
        case "camera":
            return Shared(Camera())
        case "screen":
            return Screen()
        case "test":
            return TestPattern()
        case _:
            if not Path(video).expanduser().is_file():
                raise DeviceError(f"--video takes camera, screen, test or a film, and no {video}")
            return Film(video, loop=loop)


class Sight:
    """What one call shows, and the sink of what it sees.

    Attributes:
        shows: What to give to the call; True to look without showing anything.
        finished: Set when a film was shown to its end, or where none is.
        recorder: The film of the call, None where none is recorded.
        size: Of the peer's last picture; None before the first.
        coming: Pictures come; false once none did for a while.
    """

    def __init__(
        self, *, video: str, record: Path | None, loop: bool, camera: Sight | None = None
    ) -> None:
        """Open what is to be shown.

        Args:
            video: "camera", "screen", "test", a film's path, or "" to look only.
            record: Where to record sound and pictures.
            loop: Show a film again and again.
            camera: Of the call that this one was begun from; its camera is shown, if it has one.

        Raises:
            DeviceError: it is not there, or is none of these.
            Unsupported: it is none that can be opened here.
        """
        self.recorder = _recorder(record)
        theirs = camera.shows if camera is not None else None
        self.shows: VideoSource | bool = True
        if isinstance(theirs, Shared):
            self.shows = theirs.again()
        elif video:
            self.shows = _source(video, loop=loop)
        ends = getattr(self.shows, "finished", None)
        self.finished = ends if isinstance(ends, asyncio.Event) else asyncio.Event()
        if self.finished is not ends:
            self.finished.set()
        self.size: tuple[int, int] | None = None
        self.coming = False
        self._frames, self._seen, self._since = 0, 0, 0.0

    def attach(self, call: Call) -> None:
        """Watch, and record sound and pictures."""
        call.video.add_sink(self)
        if self.recorder is not None:
            call.video.add_sink(self.recorder)
            call.add_sink(self.recorder.audio)

    def write(self, frame: VideoFrame) -> None:
        """See a picture."""
        self.size = frame.size
        self._frames += 1

    def close(self) -> None:
        """Do nothing."""

    def turned(self, now: float, *, still: bool) -> bool:
        """Say whether `coming` is another than at the last look.

        Args:
            now: Monotonic seconds.
            still: No picture is to come now, as on hold, which is known without this.
        """
        if self._frames > self._seen or still:
            came = self._frames > self._seen
            self._seen, self._since = self._frames, now
            self.coming, before = self.coming or came, self.coming
            return self.coming is not before
        if self.coming and now - self._since > _QUIET_SECONDS:
            self.coming = False
            return True
        return False

    def fields(self, call: Call) -> dict[str, object]:
        """Return what comes, as plain values; once `size` is there."""
        width, height = self.size or (0, 0)
        codecs = (p.codec_received for p in call.video.statistics() if p.name == CAMERA)
        codec = next(codecs, "")
        return {"coming": self.coming, "width": width, "height": height, "codec": codec}

    async def finish(self) -> SecurecallError | None:
        """Wait for the film, once the call is over; returns why it could not be written."""
        if self.recorder is None:
            return None
        try:
            self.recorder.close()  # again, where the call never began
            await self.recorder.wait_finished()
        except SecurecallError as e:
            return e
        return None


def _recorder(path: Path | None) -> VideoRecorder | None:
    if path is None or not is_film(path):
        return None
    return VideoRecorder(path)


def counted(call: Call) -> list[dict[str, object]]:
    """Return the counters of each picture as plain values, for `--json`."""
    return [{"what": _WHAT[picture.name], **asdict(picture)} for picture in call.video.statistics()]


def names_of(pictures: frozenset[str]) -> list[str]:
    """What is shown, in words."""
    return sorted(_WHAT[each] for each in pictures)
