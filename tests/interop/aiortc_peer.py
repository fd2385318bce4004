"""aiortc, a WebRTC implementation of other people's making, as the far end of a signalling bus.

Descriptions pass as SDP text, through our own reader and writer, as they would over SIP.
"""

from __future__ import annotations

import asyncio
import fractions
import time
from contextlib import suppress
from pathlib import Path

from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame, VideoFrame

from securecall.address import Address
from securecall.calls.signaling import Answered, Ended, IncomingLeg, Leg, Route
from securecall.media.description import Description
from securecall.media.endpoints import ToneSource
from securecall.sip.sdp import build_description, parse_description
from securecall.testing.bus import SignalBus
from tests.interop.pictures import FPS, pattern
from tests.interop.sound import write_wav

_RATE = 48_000
_SAMPLES = 960


class Tone(MediaStreamTrack):
    """A tone for aiortc to send, 20 ms at a time."""

    kind = "audio"

    def __init__(self, hertz: float) -> None:
        """Choose the pitch."""
        super().__init__()
        self._source = ToneSource(hertz)
        self._sent = 0
        self._began = time.monotonic()

    async def recv(self) -> AudioFrame:
        """Return the next 20 ms when they are due."""
        await asyncio.sleep(self._began + self._sent / _RATE - time.monotonic())
        pcm = self._source.read(_SAMPLES, _RATE)
        frame = AudioFrame(format="s16", layout="mono", samples=_SAMPLES)
        frame.planes[0].update(pcm or bytes(2 * _SAMPLES))
        frame.sample_rate, frame.pts = _RATE, self._sent
        frame.time_base = fractions.Fraction(1, _RATE)
        self._sent += _SAMPLES
        return frame


class Pattern(MediaStreamTrack):
    """The test pattern for aiortc to show."""

    kind = "video"

    def __init__(self) -> None:
        """Begin with its first picture."""
        super().__init__()
        self._source = pattern()
        self._sent = 0
        self._began = time.monotonic()

    async def recv(self) -> VideoFrame:
        """Return the next picture when it is due."""
        await asyncio.sleep(self._began + self._sent / FPS - time.monotonic())
        picture = self._source.frame(self._sent).picture()
        picture.pts, picture.time_base = self._sent, fractions.Fraction(1, FPS)
        self._sent += 1
        return picture


class AiortcPeer:
    """One address on the bus, answered and calling with aiortc.

    Attributes:
        dtls_active: aiortc begins DTLS; else it waits for the other end to begin.
        ended: The bus said that the call is over.
        seen: The last pictures it decoded.
    """

    def __init__(
        self,
        bus: SignalBus,
        address: Address,
        *,
        hertz: float,
        dtls_active: bool,
        video: bool = False,
    ) -> None:
        """Take calls at that address; with `video` it shows the test pattern."""
        self.dtls_active = dtls_active
        self.ended = asyncio.Event()
        self._peer = RTCPeerConnection()
        self._peer.addTrack(Tone(hertz))
        if video:
            self._peer.addTrack(Pattern())
        self._peer.on("track", self._on_track)
        self._endpoint = bus.endpoint(address)
        self._endpoint.on_incoming(lambda leg: self._spawn(self._answer(leg)))
        self._tasks: set[asyncio.Task[None]] = set()
        self._heard: list[AudioFrame] = []
        self.seen: list[VideoFrame] = []
        self._leg: Leg | None = None

    async def dial(self, target: Address) -> None:
        """Call somebody on the bus."""
        await self._peer.setLocalDescription(await self._peer.createOffer())
        setup = "active" if self.dtls_active else "passive"
        text = self._peer.localDescription.sdp.replace("setup:actpass", f"setup:{setup}")
        leg = await self._endpoint.dial(Route(target), parse_description(text.encode()))
        self._follow(leg)

    async def hang_up(self) -> None:
        """Stop everything."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._peer.close()

    @property
    def frames(self) -> int:
        """How many frames of sound it decoded."""
        return len(self._heard)

    def record(self, path: Path) -> None:
        """Write what it heard."""
        first = self._heard[0]
        channels = len(first.layout.channels)
        size = 2 * channels
        pcm = b"".join(bytes(f.planes[0])[: size * f.samples] for f in self._heard)
        write_wav(path, pcm, rate=first.sample_rate, channels=channels)

    async def _answer(self, leg: IncomingLeg) -> None:
        self._follow(leg)
        assert leg.offer is not None
        text = _sdp(leg.offer)
        # "actpass" leaves the choice to the answerer, and aiortc always chooses to be active.
        if not self.dtls_active:
            text = text.replace("setup:actpass", "setup:active")
        await self._peer.setRemoteDescription(RTCSessionDescription(text, "offer"))
        await self._peer.setLocalDescription(await self._peer.createAnswer())
        leg.send(Answered(parse_description(self._peer.localDescription.sdp.encode())))

    def _follow(self, leg: Leg) -> None:
        self._leg = leg
        leg.listen(self._on_signal)

    def _on_signal(self, signal: object) -> None:
        if isinstance(signal, Answered):
            answer = RTCSessionDescription(_sdp(signal.description), "answer")
            self._spawn(self._peer.setRemoteDescription(answer))
        elif isinstance(signal, Ended):
            self.ended.set()

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._spawn(self._listen(track) if track.kind == "audio" else self._watch(track))

    async def _listen(self, track: MediaStreamTrack) -> None:
        with suppress(MediaStreamError):
            while True:
                self._heard.append(await track.recv())

    async def _watch(self, track: MediaStreamTrack) -> None:
        with suppress(MediaStreamError):
            while True:
                self.seen = [*self.seen[-9:], await track.recv()]

    def _spawn(self, work) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


def _sdp(description: Description) -> str:
    return build_description(description, session_id=1, version=1, host="127.0.0.1").decode()
