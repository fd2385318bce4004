"""From a frame handed to aiortc to the frame that brings it out at the other end: milliseconds.

`aiortc_latency CODEC`. Silence with a loud frame every 0.8 s; the time runs from the loud frame's
being handed over to the receipt of the frame it begins in, plus where in that frame it begins.
"""

from __future__ import annotations

import array
import asyncio
import fractions
import os
import statistics
import sys
import time

from tests.bench.measure import absent, answer

try:
    import aiortc
    import av
except ImportError:
    absent("aiortc")

CODEC = sys.argv[1].upper()
RATE = 48000 if CODEC == "OPUS" else 8000
SAMPLES = RATE // 50
LOUD = array.array("h", [12000, 12000, -12000, -12000] * (SAMPLES // 4)).tobytes()
EVERY, COUNT, THRESHOLD = 40, 14, 3000


class Source(aiortc.MediaStreamTrack):
    """Silence, with a loud frame now and then if it is the one to be measured."""

    kind = "audio"

    def __init__(self, loud_at: list[float] | None) -> None:
        super().__init__()
        self._loud_at, self._sent, self._begun = loud_at, 0, 0.0

    async def recv(self) -> av.AudioFrame:
        self._begun = self._begun or time.perf_counter()
        await asyncio.sleep(max(0.0, self._begun + self._sent * 0.02 - time.perf_counter()))
        loud = self._loud_at is not None and self._sent % EVERY == EVERY - 1
        frame = av.AudioFrame("s16", "mono", SAMPLES)
        frame.planes[0].update(LOUD if loud else bytes(2 * SAMPLES))
        frame.sample_rate, frame.time_base = RATE, fractions.Fraction(1, RATE)
        frame.pts = self._sent * SAMPLES
        self._sent += 1
        if loud:
            self._loud_at.append(time.perf_counter())
        return frame


async def listen(track: aiortc.MediaStreamTrack, sent: list[float], delays: list[float]) -> None:
    """Note when a loud frame comes out."""
    quiet = True
    while True:
        frame = await track.recv()
        samples = array.array("h", bytes(frame.planes[0])[: frame.samples * 2 * 2])
        step = len(frame.layout.channels)
        first = next((i for i, s in enumerate(samples) if abs(s) > THRESHOLD), None)
        if first is not None and quiet and sent:
            inside = first / step / frame.sample_rate
            delays.append((time.perf_counter() - sent[-1] + inside) * 1e3)
        quiet = first is None


async def main() -> None:
    bare = aiortc.RTCConfiguration(iceServers=[])
    ours, theirs = aiortc.RTCPeerConnection(bare), aiortc.RTCPeerConnection(bare)
    sent: list[float] = []
    delays: list[float] = []
    tasks = set()
    theirs.on("track", lambda t: tasks.add(asyncio.ensure_future(listen(t, sent, delays))))
    ours.on("track", lambda t: tasks.add(asyncio.ensure_future(listen(t, [], []))))
    every = aiortc.RTCRtpSender.getCapabilities("audio").codecs
    wanted = [c for c in every if c.mimeType.upper() == f"AUDIO/{CODEC}"]
    ours.addTransceiver(Source(sent)).setCodecPreferences(wanted)
    await ours.setLocalDescription(await ours.createOffer())
    theirs.addTrack(Source(None))
    await theirs.setRemoteDescription(ours.localDescription)
    await theirs.setLocalDescription(await theirs.createAnswer())
    await ours.setRemoteDescription(theirs.localDescription)
    while len(delays) < COUNT:  # noqa: ASYNC110  polling ten times a second disturbs nothing here
        await asyncio.sleep(0.1)
    settled = delays[3:]  # the jitter buffer has found its size by then
    answer(stack="aiortc", codec=CODEC, ms=statistics.median(settled), n=len(settled))
    os._exit(0)


asyncio.run(asyncio.wait_for(main(), 40))
