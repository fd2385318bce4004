"""Time from a frame leaving the application to the same frame reaching it at the other end.

    python -m tests.bench.latency [pcmu|opus] [--bursts N]

Alice's source hands out a frame that begins a burst; Bob's sink finds the burst in what it gets.
Over loopback UDP with SRTP and SFrame, both ends in this process. The codec's own delay is in it;
the 20 ms that filling the frame took are not. Prints one line of JSON, milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
import struct

from securecall.media.codecs import OPUS, PCMU
from tests.bench.engine_cpu import endpoints
from tests.bench.measure import answer

EVERY = 41  # ticks between bursts
LOUD = 3000


class Bursts:
    """A source of silence with a burst now and then, and the moments it handed one out."""

    def __init__(self, now):
        self.now, self.ticks, self.sent = now, 0, []

    def read(self, samples, rate):
        self.ticks += 1
        if self.ticks % EVERY:
            return bytes(2 * samples)
        self.sent.append(self.now())
        wave = [int(12000 * math.sin(2 * math.pi * 440 * i / rate)) for i in range(samples)]
        return struct.pack(f"<{samples}h", *wave)

    def discard(self):
        pass

    def close(self):
        pass


class Finder:
    """A sink that notes when it gets the beginning of a burst, and where in the frame it lies."""

    def __init__(self, source):
        self.source, self.quiet, self.delays = source, True, []

    def write(self, frame):
        samples = memoryview(frame.samples).cast("h")
        first = next((i for i, s in enumerate(samples) if abs(s) > LOUD), None)
        if first is not None and self.quiet and self.source.sent:
            at = self.source.now() + first / frame.sample_rate
            self.delays.append((at - self.source.sent[-1]) * 1000)
        self.quiet = first is None

    def close(self):
        pass


async def measure(codec, bursts):
    loop = asyncio.get_running_loop()
    _, sessions, _, paths = await endpoints(1, codec, True, {})
    source = Bursts(loop.time)
    finder = Finder(source)
    sessions[0].source = source
    sessions[1].source = None
    sessions[1].add_sink(finder)
    await asyncio.sleep((bursts + 1) * EVERY * 0.02)
    settled = sorted(finder.delays[1:])
    answer(
        stack="securecall",
        codec=codec.name,
        ms=round(statistics.median(settled), 2),
        ms_min=round(settled[0], 2),
        ms_max=round(settled[-1], 2),
        n=len(settled),
    )
    for session in sessions:
        session.close()
    for path in paths:
        await path.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("codec", choices=("pcmu", "opus"), nargs="?", default="pcmu")
    parser.add_argument("--bursts", type=int, default=12)
    args = parser.parse_args()
    asyncio.run(measure(OPUS if args.codec == "opus" else PCMU, args.bursts))


if __name__ == "__main__":
    main()
