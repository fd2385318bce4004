"""A call of two over a bad network, in virtual time: sound, and pictures if wanted, all layers.

Real are the engine, the codecs, SFrame, SRTP, RTCP, retransmission and rate control; signalling
and key agreement are not there. See `tests.virtual`.
"""

from __future__ import annotations

import asyncio
import hashlib
import random

from securecall.media.clock import Clock
from securecall.media.codecs import OPUS
from securecall.media.description import Codec, Direction, Gate
from securecall.media.engine import AudioSession
from securecall.rtp.sframe import SframeReceiver, SframeSender
from securecall.rtp.srtp import SrtpProfile, SrtpSession
from securecall.secret import Secret
from securecall.testing.impairment import Impairer

PROFILE = SrtpProfile.SRTP_AEAD_AES_256_GCM
VIDEO, RTX, TRANSPORT_CC = 96, 97, 3


def key(label, size=44):
    return Secret(hashlib.shake_256(label.encode()).digest(size))


class Speaker:
    """A source that plays s16le of its codec's rate once, then is silent."""

    def __init__(self, pcm):
        self.pcm, self.at = pcm, 0

    def read(self, samples, rate):
        part = self.pcm[self.at : self.at + 2 * samples]
        self.at += 2 * samples
        return part if len(part) == 2 * samples else None

    def discard(self):
        pass

    def close(self):
        pass


class Ears:
    """A sink that remembers what it heard, and when."""

    def __init__(self):
        self.frames = []

    def write(self, frame):
        self.frames.append((asyncio.get_running_loop().time(), frame.samples))

    def close(self):
        pass

    def since(self, begin):
        return b"".join(pcm for at, pcm in self.frames if at >= begin)


class Eyes:
    """A sink that remembers what it saw, and when."""

    def __init__(self):
        self.frames = []

    def write(self, frame):
        self.frames.append((asyncio.get_running_loop().time(), frame))

    def close(self):
        pass


class Wire:
    """One way of the network, on the loop's timers."""

    def __init__(self, stages, seed, deliver):
        self._loop = asyncio.get_running_loop()
        self.impairer = Impairer(stages, chance=random.Random(seed), begin=self._loop.time())
        self._deliver = deliver
        self._timer = None
        self.sent = []

    def send(self, datagram):
        self.sent.append((self._loop.time(), len(datagram), datagram[1]))
        self.impairer.send(datagram, now=self._loop.time())
        self._arm()

    def _arm(self):
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.impairer.deadline < float("inf"):
            self._timer = self._loop.call_at(self.impairer.deadline, self._come)

    def _come(self):
        self._timer = None
        for datagram in self.impairer.arrived(now=self._loop.time()):
            self._deliver(datagram)
        self._arm()


class Side:
    """One end: what it sends and what it got."""

    def __init__(self, me, peer, clock, send, *, codec, pictures, options):
        self.ears, self.eyes = Ears(), Eyes()
        self.failures, self.alarms = [], []
        seal = {n: SframeSender(key(f"sframe {me} {n}", 64), n) for n in (0, 1)}
        opener = SframeReceiver()
        for n in (0, 1):
            opener.add_key(n, key(f"sframe {peer} {n}", 64))
        srtp = SrtpSession(PROFILE, key(f"srtp {me}"), key(f"srtp {peer}"))
        self.video = None
        self.audio = AudioSession(
            clock,
            send,
            srtp,
            codec=codec,
            receive_codecs=options.pop("receive_codecs", (codec,)),
            ssrc=0x1000 + len(me),
            sequence=65000,
            timestamp=2**32 - 48000,
            cname=f"{me}-random",
            mid="0",
            sframe_send=seal[0],
            sframe_receive=opener,
            on_failure=self.failures.append,
            on_alarm=self.alarms.append,
            on_rtcp=lambda packets: self.video and self.video.hear(packets),
            congested=lambda: self.video is not None and self.video.estimator.congested,
            **options,
        )
        if pictures:
            from securecall.media.video.line import VideoTerms
            from securecall.media.video.session import VideoSession

            vp8 = Codec(VIDEO, "VP8", 90_000)
            terms = VideoTerms(
                name="",
                mid="1",
                codec=vp8,
                rtx=RTX,
                receive={VIDEO: vp8},
                receive_rtx={RTX: VIDEO},
                ssrc=0x2000 + len(me),
                rtx_ssrc=0x3000 + len(me),
                peer_ssrcs=frozenset((0x2000 + len(peer), 0x3000 + len(peer))),
                nack=True,
                pli=True,
                fir=True,
                transport_cc=TRANSPORT_CC,
            )
            self.video = VideoSession(
                clock,
                send,
                srtp,
                cname=f"{me}-random",
                seal=lambda _: seal[1],
                opener=opener,
                failed=self.failures.append,
            )
            self.video.agree({"1": (terms, Direction.SENDRECV)})
            self.video.add_sink(self.eyes)
            self.video.gate = Gate.OPEN
        self.audio.add_sink(self.ears)
        self.audio.gate = Gate.OPEN
        self.audio.start()

    def receive(self, datagram):
        if self.video is not None and self.video.takes(datagram):
            self.video.receive(datagram)
        else:
            self.audio.receive(datagram)

    def close(self):
        if self.video is not None:
            self.video.close()
        self.audio.close()


class ImpairedCall:
    """Alice and Bob; to be made on a running (virtual) loop.

    Attributes:
        there, back: The wires from Alice to Bob, and from Bob to Alice.
        begun: The loop's time at the beginning.
    """

    def __init__(self, there, back=None, *, seed=1, codec=OPUS, pictures=False, **options):
        clock = Clock()
        self.begun = asyncio.get_running_loop().time()
        self.there = Wire(there, 2 * seed, lambda datagram: self.bob.receive(datagram))
        self.back = Wire(
            there if back is None else back, 2 * seed + 1, lambda d: self.alice.receive(d)
        )
        shared = {"codec": codec, "pictures": pictures}
        self.alice = Side("alice", "bob", clock, self.there.send, options=dict(options), **shared)
        self.bob = Side("bob", "alice", clock, self.back.send, options=dict(options), **shared)

    def close(self):
        self.alice.close()
        self.bob.close()
