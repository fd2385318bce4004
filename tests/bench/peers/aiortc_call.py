"""CPU of established calls in aiortc: `aiortc_call CODEC CALLS SECONDS`, both ends in here.

CODEC is pcmu, opus, or opus-alike. As it comes, its encoder has 96 kbit/s, stereo, variable bit
rate and libopus' highest complexity, and no argument changes that; for opus-alike it is replaced
here by one set as ours: 28 kbit/s, mono, constant bit rate, complexity 5, wide band. With CALLS 0
only set-up is measured: one call after the other, each closed before the next, so that no running
sound is counted.
"""

from __future__ import annotations

import asyncio
import fractions
import os
import statistics
import sys
import time

from tests.bench.measure import absent, answer, frames

try:
    import aiortc
    import av
    from aiortc.mediastreams import MediaStreamError
except ImportError:
    absent("aiortc")

CODEC, _, ALIKE = sys.argv[1].upper().partition("-")
CALLS, SECONDS = int(sys.argv[2]), float(sys.argv[3])
RATE = 48000 if CODEC == "OPUS" else 8000
SAMPLES = RATE // 50


def set_encoder_as_ours() -> None:
    """Let aiortc's Opus encoder do what ours is asked to do beside it."""
    from aiortc.codecs import opus

    def prepare(self: opus.OpusEncoder) -> None:
        self.codec = av.CodecContext.create("libopus", "w")
        self.codec.bit_rate = 28000
        self.codec.format, self.codec.layout = "s16", "mono"
        self.codec.sample_rate, self.codec.time_base = 48000, opus.TIME_BASE
        self.codec.options = {
            "application": "voip",
            "vbr": "off",
            "compression_level": "5",
            "cutoff": "8000",
        }
        self.resampler = av.AudioResampler(
            format="s16", layout="mono", rate=48000, frame_size=opus.SAMPLES_PER_FRAME
        )
        self.first_packet_pts = None

    opus.OpusEncoder.__init__ = prepare


class Speech(aiortc.MediaStreamTrack):
    """Gives a frame of speech each 20 ms."""

    kind = "audio"

    def __init__(self, sound: list[bytes], offset: int) -> None:
        super().__init__()
        self._sound, self._offset = sound, offset
        self._sent, self._begun = 0, 0.0

    async def recv(self) -> av.AudioFrame:
        now = time.monotonic()
        self._begun = self._begun or now
        await asyncio.sleep(max(0.0, self._begun + self._sent * 0.02 - now))
        frame = av.AudioFrame("s16", "mono", SAMPLES)
        frame.planes[0].update(self._sound[(self._sent + self._offset) % len(self._sound)])
        frame.sample_rate, frame.time_base = RATE, fractions.Fraction(1, RATE)
        frame.pts = self._sent * SAMPLES
        self._sent += 1
        return frame


class Listener:
    """Takes every frame of a track and counts."""

    def __init__(self) -> None:
        self.heard = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def listen(self, track: aiortc.MediaStreamTrack) -> None:
        self._tasks.add(asyncio.ensure_future(self._run(track)))

    async def _run(self, track: aiortc.MediaStreamTrack) -> None:
        try:
            while True:
                await track.recv()
                self.heard += 1
        except MediaStreamError:
            return


async def connected(peer: aiortc.RTCPeerConnection) -> None:
    """Wait until ICE and DTLS are done."""
    done = asyncio.Event()
    peer.on("connectionstatechange", done.set)
    while peer.connectionState != "connected":
        await asyncio.wait_for(done.wait(), 25)
        done.clear()


async def call(sound: list[bytes], number: int, listener: Listener):
    """Set up one call between two peers; return them and the CPU seconds it took."""
    begun = time.process_time()
    bare = aiortc.RTCConfiguration(iceServers=[])
    ours, theirs = aiortc.RTCPeerConnection(bare), aiortc.RTCPeerConnection(bare)
    for peer in (ours, theirs):
        peer.on("track", listener.listen)
    ready = asyncio.gather(connected(ours), connected(theirs))
    every = aiortc.RTCRtpSender.getCapabilities("audio").codecs
    wanted = [c for c in every if c.mimeType.upper() == f"AUDIO/{CODEC}"]
    ours.addTransceiver(Speech(sound, number * 7)).setCodecPreferences(wanted)
    await ours.setLocalDescription(await ours.createOffer())
    theirs.addTrack(Speech(sound, number * 7))
    await theirs.setRemoteDescription(ours.localDescription)
    await theirs.setLocalDescription(await theirs.createAnswer())
    await ours.setRemoteDescription(theirs.localDescription)
    await ready
    return ours, theirs, time.process_time() - begun


async def main() -> None:
    if ALIKE:
        set_encoder_as_ours()
    sound, listener = frames(RATE), Listener()
    taken = []
    for _ in range(5 if CALLS else 30):  # first use loads a lot
        *peers, seconds = await call(sound, 0, listener)
        taken.append(seconds)
        for peer in peers:
            await peer.close()
    if not CALLS:
        answer(stack="aiortc", setup_cpu_ms=1e3 * statistics.median(taken[5:]))
        os._exit(0)
    kept = [await call(sound, number, listener) for number in range(CALLS)]
    await asyncio.sleep(1.5)
    heard, cpu, wall = listener.heard, time.process_time(), time.perf_counter()
    await asyncio.sleep(SECONDS)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    answer(
        stack="aiortc",
        version=aiortc.__version__,
        codec=sys.argv[1],
        calls=CALLS,
        cpu_pct_per_endpoint=100 * cpu / wall / (2 * CALLS),
        us_per_frame=1e6 * cpu / max(1, listener.heard - heard),
        arrived=(listener.heard - heard) / (50 * wall * 2 * CALLS),
    )
    kept.clear()
    os._exit(0)  # closing that many peers takes longer than the measurement


asyncio.run(main())
