"""CPU of a call with pictures: 640x360 at 30 a second, VP8, both ways, both ends in this process.

    python -m tests.bench.video_cpu [--alike] [--seconds S] [--sframe]

With --alike our encoder gets the settings aiortc gives its own. SRTP AES-256-GCM, RTX, RTCP with
transport feedback; without sound. The bit rate is pinned on both sides, for neither is to be
cheaper by showing less. Prints one line of JSON; `us_per_frame` is CPU per picture shown.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time

from tests.bench.measure import absent, answer

try:
    import numpy as np

    from securecall.media.video import codecs
    from securecall.media.video.frames import VideoFrame
    from securecall.media.video.line import VideoTerms
    from securecall.media.video.session import VideoSession
except ImportError as e:
    absent(e.name or "av")

from securecall.media.clock import Clock
from securecall.media.description import Codec, Direction, Gate
from securecall.rtp.sframe import SframeReceiver, SframeSender
from securecall.rtp.srtp import SrtpProfile, SrtpSession
from securecall.secret import Secret
from securecall.transport.udp import UdpPath

WIDTH, HEIGHT, FPS = 640, 360, 30
BITRATE = 600_000
VIDEO, RTX = 96, 97


def camera_like(count=60):
    """I420 pictures: a smooth textured background, a little noise, something that moves."""
    chance = np.random.default_rng(2)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    ground = 110 + 40 * np.sin(x / 37) + 30 * np.cos(y / 23) + 15 * np.sin((x + y) / 9)
    chroma = bytes([120]) * (WIDTH * HEIGHT // 4) + bytes([135]) * (WIDTH * HEIGHT // 4)
    pictures = []
    for i in range(count):
        luma = ground + chance.normal(0, 1.5, (HEIGHT, WIDTH))
        cx, cy = WIDTH / 2 + WIDTH / 6 * np.sin(i / 9), HEIGHT / 2 + HEIGHT / 10 * np.cos(i / 7)
        near = ((x - cx) ** 2 / (WIDTH / 8) ** 2 + (y - cy) ** 2 / (HEIGHT / 4) ** 2) < 1
        luma[near] = 160 + 30 * np.sin((x[near] - cx) / 6)
        pictures.append(np.clip(luma, 16, 235).astype(np.uint8).tobytes() + chroma)
    return pictures


def options_of_aiortc(bitrate):
    """What aiortc 1.16 asks of libvpx."""
    return {
        "bufsize": str(bitrate),
        "cpu-used": "-6",
        "deadline": "realtime",
        "lag-in-frames": "0",
        "minrate": str(bitrate),
        "maxrate": str(bitrate),
        "noise-sensitivity": "4",
        "overshoot-pct": "15",
        "partitions": "0",
        "static-thresh": "1",
        "undershoot-pct": "100",
        "qmin": "2",
        "qmax": "56",
    }


class Camera:
    """Gives a prepared picture 30 times a second."""

    live = True

    def __init__(self, pictures):
        self._frames = [VideoFrame(width=WIDTH, height=HEIGHT, data=data) for data in pictures]
        self._count, self._due = 0, 0.0

    def read(self, now):
        if now < self._due:
            return None
        self._due = max(self._due + 1 / FPS, now - 1 / FPS)
        self._count += 1
        return self._frames[self._count % len(self._frames)]

    def discard(self):
        pass

    def close(self):
        pass


class Count:
    """A sink that counts."""

    def __init__(self):
        self.frames = 0

    def write(self, frame):
        self.frames += 1

    def close(self):
        pass


async def measure(args):
    clock, pictures = Clock.running(), camera_like()
    paths = [await UdpPath.open("127.0.0.1") for _ in range(2)]
    keys = [os.urandom(44) for _ in range(2)]
    bases = [os.urandom(64) for _ in range(2)]
    sessions, sinks = [], []
    codec = Codec(VIDEO, "VP8", 90_000)
    for side, path in enumerate(paths):
        path.connect(*paths[1 - side].local)
        seal = opener = None
        if args.sframe:
            seal, opener = SframeSender(Secret(bases[side]), 1), SframeReceiver()
            opener.add_key(1, Secret(bases[1 - side]))
        session = VideoSession(
            clock,
            path.send,
            SrtpSession(
                SrtpProfile.SRTP_AEAD_AES_256_GCM, Secret(keys[side]), Secret(keys[1 - side])
            ),
            cname="bench",
            seal=lambda _, seal=seal: seal,
            opener=opener,
            failed=print,
        )
        terms = VideoTerms(
            name="",
            mid="1",
            codec=codec,
            rtx=RTX,
            receive={VIDEO: codec},
            receive_rtx={RTX: VIDEO},
            ssrc=10 + side,
            rtx_ssrc=20 + side,
            peer_ssrcs=frozenset((11 - side, 21 - side)),
            nack=True,
            pli=True,
            fir=True,
            transport_cc=3,
        )
        session.estimator.minimum = session.estimator.maximum = BITRATE
        session.estimator.target = BITRATE
        session.agree({"1": (terms, Direction.SENDRECV)})
        sink = Count()
        session.add_sink(sink)
        session.gate = Gate.OPEN
        session.show(Camera(pictures))
        path.listen(lambda data: None, lambda d, s=session: take(s, d))
        sessions.append(session)
        sinks.append(sink)
    await asyncio.sleep(3.0)
    seen, sent = sum(s.frames for s in sinks), octets(sessions)
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.sleep(args.seconds)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    seen, sent = sum(s.frames for s in sinks) - seen, octets(sessions) - sent
    answer(
        stack="securecall",
        alike=args.alike,
        cpu_pct_per_endpoint=100 * cpu / wall / 2,
        us_per_frame=1e6 * cpu / max(1, seen),
        arrived=seen / (FPS * wall * 2),
        kbit_s=8 * sent / wall / 2000,
    )
    os._exit(0)


def take(session, datagram):
    """A datagram of the path: a picture, or RTCP."""
    if session.takes(datagram):
        session.receive(datagram)
    else:
        from securecall.rtp.rtcp import parse_rtcp

        session.hear(parse_rtcp(session._srtp.unprotect_rtcp(datagram)))


def octets(sessions):
    """Bytes sent so far."""
    return sum(line.bytes_sent for s in sessions for line in s.statistics())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--alike", action="store_true")
    parser.add_argument("--sframe", action="store_true")
    parser.add_argument("--seconds", type=float, default=8.0)
    args = parser.parse_args()
    if args.alike:
        codecs._OPTIONS = dict(codecs._OPTIONS) | {"libvpx": options_of_aiortc}
    asyncio.run(measure(args))


if __name__ == "__main__":
    main()
