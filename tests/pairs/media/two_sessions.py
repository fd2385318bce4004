"""Two audio sessions that talk to each other in memory, in time that the test moves."""

from __future__ import annotations

import hashlib

from securecall.media.codecs import PCMU
from securecall.media.engine import AudioSession, Gate
from securecall.rtp.sframe import SframeReceiver, SframeSender
from securecall.rtp.srtp import SrtpProfile, SrtpSession
from securecall.secret import Secret

TICK = 0.02
PROFILE = SrtpProfile.SRTP_AEAD_AES_256_GCM


class StepClock:
    """A clock that moves when told."""

    def __init__(self):
        self.time = 100.0
        self.streams = []

    def now(self):
        return self.time

    def unix(self):
        return 1_700_000_000.0 + self.time

    def add(self, stream, failed):
        self.streams.append(stream)

    def remove(self, stream):
        if stream in self.streams:
            self.streams.remove(stream)

    def step(self, ticks=1):
        for _ in range(ticks):
            self.time += TICK
            for stream in tuple(self.streams):
                stream.tick(self.time)


class Ears:
    """A sink that remembers."""

    def __init__(self):
        self.frames = []

    def write(self, frame):
        self.frames.append(frame)

    def close(self):
        pass

    @property
    def pcm(self):
        return b"".join(frame.samples for frame in self.frames)


def key(label, size=44):
    return hashlib.shake_256(label.encode()).digest(size)


def srtp(sends, receives):
    return SrtpSession(PROFILE, Secret(key(sends)), Secret(key(receives)))


class Pair:
    """Alice and Bob; what one sends passes `wire(sender, datagram)` -> datagrams the other gets."""

    def __init__(
        self, codec=PCMU, *, sframe=True, wire=None, clock=None, gate=Gate.OPEN, **options
    ):
        self.clock = clock or StepClock()
        self.wire = wire or (lambda sender, datagram: [datagram])
        self.sent = {"alice": [], "bob": []}
        self.failures = []
        self.alarms = []
        self.qualities = {"alice": [], "bob": []}
        self.alice = self._session("alice", "bob", codec, sframe, options)
        self.bob = self._session("bob", "alice", codec, sframe, options)
        self.alice_ears, self.bob_ears = Ears(), Ears()
        self.alice.add_sink(self.alice_ears)
        self.bob.add_sink(self.bob_ears)
        for session in (self.alice, self.bob):
            session.gate = gate
            session.start()

    def _session(self, me, peer, codec, sframe, options):
        sender = receiver = None
        if sframe:
            sender, receiver = SframeSender(Secret(key(f"sframe {me}", 64)), 0), SframeReceiver()
            receiver.add_key(0, Secret(key(f"sframe {peer}", 64)))

        def send(datagram):
            self.sent[me].append(datagram)
            other = self.bob if me == "alice" else self.alice
            for arriving in self.wire(me, datagram):
                other.receive(arriving)

        return AudioSession(
            clock=self.clock,
            send=send,
            srtp=srtp(f"srtp {me}", f"srtp {peer}"),
            codec=codec,
            receive_codecs=options.get("receive_codecs", (codec,)),
            ssrc=0x1000 + len(me),
            sequence=65530,
            timestamp=2**32 - 800,
            cname=f"{me}-random",
            mid="0",
            mid_extension=options.get("mid_extension", 0),
            rtcp=options.get("rtcp", {}).get(me, True),
            events=options.get("events"),
            red=options.get("red"),
            extended_reports=options.get("extended_reports", ()),
            sframe_send=sender,
            sframe_receive=receiver,
            on_failure=self.failures.append,
            on_alarm=self.alarms.append,
            on_rtcp=options.get("on_rtcp"),
            on_quality=self.qualities[me].append,
        )
