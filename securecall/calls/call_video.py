"""What is shown in a call, as an application sees it: a camera and a screen, each way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, Protocol

from securecall.calls.machine import CallMachine, State
from securecall.calls.pictures import CAMERA, SCREEN, Pictures
from securecall.calls.video_lines import LocalVideo
from securecall.errors import UsageError

if TYPE_CHECKING:  # PyAV is an extra
    from securecall.media.video.endpoints import VideoSink, VideoSource
    from securecall.media.video.frames import VideoFrame
    from securecall.media.video.statistics import VideoStatistics


class Asking(Protocol):
    """Asks the peer for a change, and waits for what it says."""

    def __call__(self, *, add: LocalVideo | None = None, drop: str = "") -> Awaitable[None]:
        """Ask."""
        ...


class Recording(Protocol):
    """Takes down that a recorder came or went."""

    def __call__(self, *, added: bool) -> None:
        """Take it down."""
        ...


def records(sink: object) -> bool:
    """Whether what it is given is kept: `Recorder`, `VideoRecorder` and its sound say so."""
    return getattr(sink, "records", False) is True


class CallVideo:
    """The pictures of one call; `CAMERA` unless `SCREEN` is asked for.

    Nothing is shown to anybody who did not ask for pictures, and nothing of ours before the call is
    connected at a level that its policy allows.
    """

    def __init__(
        self, pictures: Pictures, machine: CallMachine, ask: Asking, recording: Recording
    ) -> None:
        """Made by the call."""
        self._pictures = pictures
        self._machine = machine
        self._ask = ask
        self._recording = recording

    def begin(self, *, video: VideoSource | bool | None) -> None:
        """Bring a camera to the call from its beginning; True brings one that is off."""
        if video is None or video is False:
            return
        if video is not True:
            self._pictures.show(video, CAMERA)
        self._pictures.offered = (CAMERA,)
        self._machine.welcome((self._pictures.bring(CAMERA), self._pictures.bring(SCREEN)))

    @property
    def shown(self) -> frozenset[str]:
        """What both ends agreed on: `CAMERA`, `SCREEN`; empty before the call is connected."""
        return self._pictures.shown

    def show(self, source: VideoSource | None, what: str = CAMERA) -> None:
        """Show this from now on, instead of what was shown; None shows black, then sends nothing.

        Raises:
            UsageError: no such picture was agreed on; `add` asks for it. Or the call is over.
        """
        if self._machine.state is State.ENDED:
            raise UsageError("the call is over")
        if what not in (*self.shown, *self._pictures.offered):
            raise UsageError("this call has no such picture; ask for it with call.video.add()")
        self._pictures.show(source, what)

    async def add(self, source: VideoSource | None = None, what: str = CAMERA) -> None:
        """Ask for a picture in mid-call, and show this source in it.

        Raises:
            ChangeRefused: the other end takes none; the call goes on.
            UsageError: the call is not in progress, or has this picture already.
            Unsupported: nothing here can encode pictures.
        """
        if what in self.shown:
            raise UsageError("this call has that picture already; `show` changes what is in it")
        picture = self._pictures.bring(what)
        self._machine.welcome(tuple(self._pictures.brought.values()))  # what we ask for, we take
        await self._ask(add=picture)
        if source is not None:
            self._pictures.show(source, what)

    async def drop(self, what: str = CAMERA) -> None:
        """End a picture, both ways.

        Raises:
            ChangeRefused: the other end does not answer as it should.
            UsageError: there is no such picture.
        """
        mid = self._pictures.mid_of(what)
        if not mid:
            raise UsageError("this call has no such picture")
        self._pictures.show(None, what)
        await self._ask(drop=mid)

    def frames(self, what: str = CAMERA) -> AsyncIterator[VideoFrame]:
        """The peer's pictures, one by one; the oldest are dropped (and counted) if nobody reads."""
        from securecall.media.video.endpoints import VideoOutput

        output = VideoOutput()
        output.open()
        self._pictures.add_sink(output, what)
        return output

    def add_sink(self, sink: VideoSink, what: str = CAMERA) -> None:
        """Give the peer's pictures to a sink; of a `VideoRecorder` the other end is told."""
        self._pictures.add_sink(sink, what)
        if records(sink):
            self._recording(added=True)

    def remove_sink(self, sink: VideoSink) -> None:
        """Give it nothing more, and leave it open; nothing happens if it is not one."""
        if self._pictures.remove_sink(sink) and records(sink):
            self._recording(added=False)

    def statistics(self) -> tuple[VideoStatistics, ...]:
        """Counters of each picture."""
        return self._pictures.statistics()
