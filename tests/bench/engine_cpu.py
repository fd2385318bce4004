"""CPU of established calls: N calls over loopback UDP, both ends in this process and thread.

    python -m tests.bench.engine_cpu [--codec pcmu|g722|opus] [--calls N] [--seconds S]
                                     [--no-sframe] [--bitrate B] [--complexity C] [--uvloop]
                                     [--profile]

Every endpoint gets PCM from Python on each tick and hands PCM back to Python; SRTP AES-256-GCM and
SFrame are on; RTCP runs. Prints one line of JSON; `us_per_frame` is CPU per frame
that an application heard, `arrived` the share of all frames that were heard.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import time

import psutil

from securecall.media.codecs import G722, OPUS, PCMU
from securecall.media.engine import AudioSession, Clock, Gate
from securecall.rtp.sframe import SframeReceiver, SframeSender
from securecall.rtp.srtp import SrtpProfile, SrtpSession
from securecall.secret import Secret
from securecall.transport.udp import UdpPath
from tests.bench.measure import frames

PROFILE = SrtpProfile.SRTP_AEAD_AES_256_GCM


class Loop:
    """A source of prepared frames: what an application with PCM at hand costs."""

    def __init__(self, frames, start):
        self.frames, self.i = frames, start

    def read(self, samples, rate):
        self.i += 1
        return self.frames[self.i % len(self.frames)]

    def discard(self):
        pass

    def close(self):
        pass


class Watch:
    """One more stream on the clock: how late each of its ticks comes."""

    def __init__(self):
        self.times = []

    def tick(self, now):
        self.times.append(now)

    def skip(self, ticks):
        pass

    def late_ms(self, share):
        """The lateness that this share of ticks keeps, against an even pace of 20 ms."""
        late = [time - 0.02 * i for i, time in enumerate(self.times)]
        earliest = min(late)
        return 1000 * (sorted(late)[int(share * (len(late) - 1))] - earliest)


class Count:
    """A sink that counts frames."""

    def __init__(self):
        self.frames = self.bytes = 0

    def write(self, frame):
        self.frames += 1
        self.bytes += len(frame.samples)

    def close(self):
        pass


async def endpoints(calls, codec, sframe, options):
    clock = Clock.running()
    sound = frames(48000 if codec is OPUS else 8000)  # the same for every stack
    sessions, sinks, paths = [], [], []
    for call in range(calls):
        a, b = await UdpPath.open("127.0.0.1"), await UdpPath.open("127.0.0.1")
        a.connect(*b.local)
        b.connect(*a.local)
        one, two = os.urandom(44), os.urandom(44)
        bases = os.urandom(64), os.urandom(64)
        for side, path in enumerate((a, b)):
            sends, receives = (one, two) if side == 0 else (two, one)
            sealer = opener = None
            if sframe:
                sealer = SframeSender(Secret(bases[side]), 0)
                opener = SframeReceiver()
                opener.add_key(0, Secret(bases[1 - side]))
            session = AudioSession(
                clock,
                path.send,
                SrtpSession(PROFILE, Secret(sends), Secret(receives)),
                codec=codec,
                receive_codecs=(codec,),
                ssrc=2 * call + side + 1,
                sequence=1,
                timestamp=1,
                cname="bench",
                mid="0",
                sframe_send=sealer,
                sframe_receive=opener,
                **options,
            )
            session.source = Loop(sound, (7 * call) % len(sound))
            sink = Count()
            session.add_sink(sink)
            session.gate = Gate.OPEN
            path.listen(lambda data: None, session.receive)
            sessions.append(session)
            sinks.append(sink)
            paths.append(path)
    for session in sessions:
        session.start()
    return clock, sessions, sinks, paths


async def measure(args):
    codec = {"opus": OPUS, "g722": G722, "pcmu": PCMU}[args.codec]
    options = {"opus_bitrate": args.bitrate, "opus_complexity": args.complexity}
    process = psutil.Process()
    before = process.memory_info().rss
    clock, sessions, sinks, paths = await endpoints(args.calls, codec, args.sframe, options)
    await asyncio.sleep(1.5)
    after = process.memory_info().rss
    gc.collect()
    gc.freeze()
    heard = sum(s.frames for s in sinks)
    got = sum(s.statistics().packets_received for s in sessions)
    late = clock.late_ticks, clock.ticks
    watch = Watch()
    clock.add(watch, lambda error: None)
    cpu, wall = time.process_time(), time.perf_counter()
    if args.profile:
        import cProfile

        profile = cProfile.Profile()
        profile.enable()
    await asyncio.sleep(args.seconds)
    if args.profile:
        profile.disable()
        profile.print_stats("tottime")
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    heard = sum(s.frames for s in sinks) - heard
    got = sum(s.statistics().packets_received for s in sessions) - got
    ends = 2 * args.calls
    ideal = 50 * wall * ends
    statistics = [s.statistics() for s in sessions]
    print(
        json.dumps(
            {
                "stack": "securecall",
                "codec": args.codec,
                "N": args.calls,
                "loop": "uvloop" if args.uvloop else "default",
                "sframe": args.sframe,
                "cpu_pct_total": round(100 * cpu / wall, 2),
                "cpu_pct_per_endpoint": round(100 * cpu / wall / ends, 3),
                "us_per_frame": round(1e6 * cpu / heard, 1),
                "rx_ratio": round(got / ideal, 4),
                "arrived": round(heard / ideal, 4),
                "late_tick_share": round(
                    (clock.late_ticks - late[0]) / max(1, clock.ticks - late[1]), 4
                ),
                "late_ms_p99": round(watch.late_ms(0.99), 1),
                "skipped_ticks": clock.skipped_ticks,
                "lost": sum(s.lost for s in statistics),
                "concealed": sum(s.concealed for s in statistics),
                "delay_ms_max": max(s.delay_ms for s in statistics),
                "rss_per_endpoint_kB": round((after - before) / 1024 / ends),
            }
        ),
        flush=True,
    )
    clock.remove(watch)
    for session in sessions:
        session.close()
    for path in paths:
        await path.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--codec", choices=("pcmu", "g722", "opus"), default="pcmu")
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--bitrate", type=int, default=28000)
    parser.add_argument("--complexity", type=int, default=1)
    parser.add_argument("--no-sframe", dest="sframe", action="store_false")
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    if args.uvloop:
        import uvloop

        uvloop.run(measure(args))
    else:
        asyncio.run(measure(args))


if __name__ == "__main__":
    main()
