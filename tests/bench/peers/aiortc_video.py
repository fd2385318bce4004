"""CPU of a call with pictures in aiortc: `aiortc_video SECONDS`, both ends in here; see video_cpu.

Its bit rate follows what the receiver tells; here it is pinned to what ours is pinned to.
"""

from __future__ import annotations

import asyncio
import fractions
import os
import sys
import time

from tests.bench.measure import absent, answer

try:
    import aiortc
    import av
    from aiortc.codecs import vpx
    from aiortc.mediastreams import MediaStreamError
except ImportError:
    absent("aiortc")

from tests.bench.video_cpu import BITRATE, FPS, HEIGHT, WIDTH, camera_like

SECONDS = float(sys.argv[1])
vpx.Vp8Encoder.target_bitrate = property(lambda self: BITRATE, lambda self, value: None)


class Camera(aiortc.MediaStreamTrack):
    """Gives a prepared picture 30 times a second."""

    kind = "video"

    def __init__(self, pictures: list[bytes]) -> None:
        super().__init__()
        self._frames = [_frame(data) for data in pictures]
        self._sent, self._begun = 0, 0.0

    async def recv(self) -> av.VideoFrame:
        now = time.monotonic()
        self._begun = self._begun or now
        await asyncio.sleep(max(0.0, self._begun + self._sent / FPS - now))
        frame = self._frames[self._sent % len(self._frames)]
        frame.pts, frame.time_base = self._sent * 3000, fractions.Fraction(1, 90000)
        self._sent += 1
        return frame


def _frame(data: bytes) -> av.VideoFrame:
    frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
    at = 0
    for plane in frame.planes:
        size = plane.height * plane.line_size
        assert plane.line_size == plane.width  # 640 and 320 are whole lines
        plane.update(data[at : at + size])
        at += size
    return frame


async def main() -> None:
    seen = [0]
    tasks = set()

    async def watch(track: aiortc.MediaStreamTrack) -> None:
        try:
            while True:
                await track.recv()
                seen[0] += 1
        except MediaStreamError:
            return

    bare = aiortc.RTCConfiguration(iceServers=[])
    ours, theirs = aiortc.RTCPeerConnection(bare), aiortc.RTCPeerConnection(bare)
    for peer in (ours, theirs):
        peer.on("track", lambda track: tasks.add(asyncio.ensure_future(watch(track))))
    pictures = camera_like()
    every = aiortc.RTCRtpSender.getCapabilities("video").codecs
    wanted = [c for c in every if c.mimeType.upper() == "VIDEO/VP8"]
    ours.addTransceiver(Camera(pictures)).setCodecPreferences(wanted)
    await ours.setLocalDescription(await ours.createOffer())
    theirs.addTrack(Camera(pictures))
    await theirs.setRemoteDescription(ours.localDescription)
    await theirs.setLocalDescription(await theirs.createAnswer())
    await ours.setRemoteDescription(theirs.localDescription)
    await asyncio.sleep(4.0)  # connecting takes a second at most
    assert ours.connectionState == theirs.connectionState == "connected"
    before, cpu, wall = seen[0], time.process_time(), time.perf_counter()
    await asyncio.sleep(SECONDS)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    shown = seen[0] - before
    sent = [
        s.bytesSent
        for peer in (ours, theirs)
        for s in (await peer.getStats()).values()
        if s.type == "outbound-rtp"
    ]
    answer(
        stack="aiortc",
        version=aiortc.__version__,
        cpu_pct_per_endpoint=100 * cpu / wall / 2,
        us_per_frame=1e6 * cpu / max(1, shown),
        arrived=shown / (FPS * wall * 2),
        kbit_s=8 * sum(sent) / (wall + 4) / 2000,
    )
    os._exit(0)


asyncio.run(main())
