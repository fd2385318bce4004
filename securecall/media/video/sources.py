"""Pictures from files, cameras and the screen: captured in a thread, the newest one kept."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from securecall.errors import DeviceError, Unsupported, UsageError
from securecall.media.video import pyav
from securecall.media.video.frames import VideoFrame

# Formats that hold pictures and name no other place: a playlist would have us fetch from there.
_FILE_FORMATS: Final = (
    "matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,avi,mpegts,mpeg,mpegvideo,ogg,flv,h264,ivf"
)
_AHEAD: Final = 4
_UNREAD_SECONDS = 1.0  # that a device stays open for nobody
_DEVICES: Final = Path("/dev")
_DEVICE_FORMATS: Final = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
_SCREEN_FORMATS: Final = {"linux": "x11grab", "win32": "gdigrab"}


class VideoFile:
    """Plays the pictures of a video file, in real time.

    Matroska, WebM, MP4, AVI, MPEG, Ogg, FLV; nothing that would make us open another file or go
    into the network, such as playlists. A thread decodes four pictures ahead and waits; the clock
    is that of `read`, the first of which shows the first picture.

    Attributes:
        finished: Set when the last picture was read; never with `loop`.
        width: Pixels of the file's pictures.
        height: Pixels of the file's pictures.
        fps: Pictures per second, as the file says; 0 where it does not.
        skipped: Pictures that were due and never read.
        live: False: nobody speaks here.
    """

    live: Final = False

    def __init__(self, path: str | Path, *, loop: bool = False) -> None:
        """Open the file, which takes some milliseconds.

        Raises:
            DeviceError: it cannot be read, or holds no pictures we can decode.
            Unsupported: PyAV is not installed.
        """
        pyav.require_available()
        self._path = Path(path).expanduser()
        self.finished = asyncio.Event()
        self.skipped = 0
        self._container = self._open()
        stream = self._container.streams.video[0]
        self.width, self.height = stream.width, stream.height
        self.fps = float(stream.average_rate or 0)
        self._loop = loop
        self._ahead: deque[VideoFrame] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._begun: float | None = None
        self._error: Exception | None = None
        self._at_end = self._closed = False

    def _open(self) -> pyav.InputContainer:
        only = {"protocol_whitelist": "file", "format_whitelist": _FILE_FORMATS}
        try:
            # "file:" because a name with a colon in it would be taken for another protocol.
            container = pyav.open(f"file:{self._path.resolve()}", "r", container_options=only)
        except (pyav.FFmpegError, OSError, ValueError) as e:
            raise DeviceError(f"cannot play {self._path}: {e}") from e
        if not container.streams.video:
            container.close()
            raise DeviceError(f"cannot play {self._path}: there are no pictures in it")
        return container

    def read(self, now: float) -> VideoFrame | None:
        """Return the newest picture due; its timestamp counts from the beginning of the file.

        Raises:
            DeviceError: the file broke off.
        """
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="securecall-file", daemon=True)
            self._thread.start()
        newest: VideoFrame | None = None
        with self._changed:
            if self._begun is None and self._ahead:
                self._begun = now - self._ahead[0].timestamp
            while self._ahead and self._ahead[0].timestamp <= now - (self._begun or 0) + 1e-6:
                self.skipped += newest is not None
                newest = self._ahead.popleft()
                self._changed.notify()
            if not self._ahead and self._at_end:
                self.finished.set()
            if newest is None and not self._ahead and self._error is not None:
                raise DeviceError(f"{self._path} broke off: {self._error}") from self._error
        return newest

    def _run(self) -> None:
        """Decode until the end, in step with the reader; on the thread."""
        try:
            for frame in self._frames():
                with self._changed:
                    while len(self._ahead) >= _AHEAD and not self._closed:
                        self._changed.wait()
                    if self._closed:
                        return
                    self._ahead.append(frame)
        except (pyav.FFmpegError, UsageError) as e:  # UsageError: pictures of more than 4096x4096
            self._error = e
        finally:
            with self._changed:
                self._at_end = self._error is None
            self._container.close()

    def _frames(self) -> Iterator[VideoFrame]:
        shift = after = 0.0
        usual = 1 / self.fps if self.fps else 0.04
        while True:
            first: float | None = None
            for picture in self._container.decode(video=0):
                time_of = after - shift if picture.pts is None else float(picture.time)
                first = time_of if first is None else first
                at = time_of - first + shift
                yield VideoFrame.from_picture(picture, timestamp=at)
                after = at + usual
            if not self._loop or first is None:
                return
            shift = after
            self._container.seek(0)

    def discard(self) -> None:
        """Do nothing: a file is not captured."""

    def close(self) -> None:
        """Stop, and show nothing more; safe to call again."""
        with self._changed:
            self._closed = True
            self._ahead.clear()
            self._changed.notify()
        if self._thread is None:
            self._container.close()


class Capture:
    """Captures what FFmpeg knows as an input device, from the first `read` on.

    The device is not touched before: no call looks in before its gate is open; and it is let go of
    where nobody reads for a second, as on hold, until the next `read`. A thread of its own
    decodes, and keeps the newest picture alone. Timestamps are those of `time.monotonic`.

    Attributes:
        dropped: Pictures replaced by newer ones before anybody read them.
        live: A person is seen here, who may be while the words of a call are compared.
    """

    live: Final = True

    def __init__(self, name: str, format_name: str, options: dict[str, str]) -> None:
        """Name the device, FFmpeg's format for it, and options of that.

        Raises:
            Unsupported: PyAV is not installed, or was built without this format.
        """
        known = {part for name in pyav.formats_available for part in name.split(",")}
        if format_name not in known:
            raise Unsupported(f"this PyAV was built without {format_name}")
        self._name, self._format = name, format_name
        # FFmpeg would collect pictures for a third of a second, to learn their rate.
        self._options = {"fpsprobesize": "0", **options}
        self._lock = threading.Lock()
        self._newest: VideoFrame | None = None
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._read_at = 0.0
        self._closed = False
        self.dropped = 0

    @property
    def is_open(self) -> bool:
        """Whether the device is in use."""
        return self._thread is not None

    def read(self, now: float) -> VideoFrame | None:
        """Return the newest picture, once.

        Raises:
            DeviceError: the device cannot be used, or is gone.
        """
        if self._error is not None:
            raise DeviceError(f"cannot capture from {self._name}: {self._error}") from self._error
        with self._lock:
            self._read_at = time.monotonic()
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(
                    target=self._run, name="securecall-capture", daemon=True
                )
                self._thread.start()
            frame, self._newest = self._newest, None
        return frame

    def _run(self) -> None:
        """Capture until closed, or until nobody reads; on the thread."""
        self._capture()
        with self._lock:
            self._thread = self._newest = None

    def _capture(self) -> None:
        try:
            with pyav.open(self._name, "r", format=self._format, options=self._options) as device:
                if not device.streams.video:
                    raise DeviceError("there are no pictures in it")
                for picture in device.decode(video=0):
                    if self._closed or time.monotonic() - self._read_at > _UNREAD_SECONDS:
                        return
                    self._keep(VideoFrame.from_picture(picture, timestamp=time.monotonic()))
            self._error = DeviceError("the device gives no more pictures")
        except (pyav.FFmpegError, OSError, ValueError, DeviceError, UsageError) as e:
            self._error = e

    def _keep(self, frame: VideoFrame) -> None:
        with self._lock:
            if self._closed:
                return
            self.dropped += self._newest is not None
            self._newest = frame

    def discard(self) -> None:
        """Forget what was captured and not read."""
        with self._lock:
            self._newest = None

    def close(self) -> None:
        """Stop capturing and let go of the device, at its next picture; safe to call again."""
        with self._lock:
            self._closed = True
            self._newest = None


def cameras() -> tuple[str, ...]:
    """Return the names `Camera` takes here, the system's first one first.

    Raises:
        Unsupported: PyAV is not installed, or cannot list this system's cameras.
    """
    if sys.platform == "linux":
        return tuple(str(path) for path in sorted(_DEVICES.glob("video*"), key=_number))
    if sys.platform not in _DEVICE_FORMATS:
        raise Unsupported(f"no cameras are known on {sys.platform}")
    found = pyav.enumerate_input_devices(_DEVICE_FORMATS[sys.platform])
    return tuple(device.name for device in found if "video" in device.media_types)


def _number(path: Path) -> tuple[int, str]:
    digits = path.name.removeprefix("video")
    return (int(digits) if digits.isdigit() else sys.maxsize, path.name)


class Camera(Capture):
    """A camera: Video4Linux2, AVFoundation (macOS) or DirectShow (Windows)."""

    def __init__(
        self, device: str = "", *, width: int = 1280, height: int = 720, fps: int = 30
    ) -> None:
        """Choose the device, by its name in `cameras()`, and what to ask of it.

        It may give another size or rate than asked; what it gives is sent.

        Raises:
            Unsupported: PyAV is not installed, or knows no cameras here.
            DeviceError: there is no camera.
        """
        pyav.require_available()
        if sys.platform not in _DEVICE_FORMATS:
            raise Unsupported(f"no cameras are known on {sys.platform}")
        if not device:
            device = "0" if sys.platform == "darwin" else next(iter(cameras()), "")
        if not device:
            raise DeviceError("there is no camera")
        if sys.platform == "win32" and not device.startswith("video="):
            device = f"video={device}"
        options = {"video_size": f"{width}x{height}", "framerate": str(fps)}
        super().__init__(device, _DEVICE_FORMATS[sys.platform], options)


class Screen(Capture):
    """The screen, or a part of it: X11, or GDI on Windows. Wayland and macOS are not captured."""

    def __init__(
        self,
        display: str = "",
        *,
        size: tuple[int, int] | None = None,
        origin: tuple[int, int] = (0, 0),
        fps: int = 15,
    ) -> None:
        """Choose display (that of $DISPLAY where empty), size (all of it where None) and place.

        Raises:
            Unsupported: PyAV is not installed, or knows no screen here.
            DeviceError: there is no X11 display.
        """
        pyav.require_available()
        if sys.platform not in _SCREEN_FORMATS:
            raise Unsupported(f"the screen of {sys.platform} is not captured")
        options = {"framerate": str(fps)}
        if size is not None:
            options["video_size"] = f"{size[0]}x{size[1]}"
        if sys.platform == "win32":
            display = "desktop"
            options |= {"offset_x": str(origin[0]), "offset_y": str(origin[1])}
        else:
            display = display or os.environ.get("DISPLAY", "")
            if not display:
                raise DeviceError("there is no X11 display: DISPLAY is not set")
            options |= {"grab_x": str(origin[0]), "grab_y": str(origin[1])}
        super().__init__(display, _SCREEN_FORMATS[sys.platform], options)
