"""Early media: a description in a provisional answer (183), which servers like to send first.

Before a call is answered, and its peer proved, nothing is sent to whoever speaks early, and nothing
of theirs is heard. The control: the same description as the final answer is spoken to at once.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack, closing

import pytest

import securecall as sc
from securecall.calls.negotiation import LocalMedia, build_answer
from securecall.calls.signaling import Answered, Ringing
from securecall.media.description import Fingerprint
from securecall.testing.attacks.stage import GUARD_SECONDS, PLAIN
from securecall.testing.bus import SignalBus
from tests.attacks.calls.on_a_bus import BOB, hear, people

# a DTLS record, a STUN request and an RTP packet, of no key: an answer to any of them would tell
DATAGRAMS = (
    b"\x16\xfe\xff" + bytes(60),
    b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12),
    b"\x80\x00" + bytes(170),
)


class Speaker:
    """Whoever sits at the address of the early answer."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)

    def answer_to(self, offer, *, final):
        local = LocalMedia(
            fingerprint=Fingerprint("sha-256", bytes(range(32))),
            host="127.0.0.1",
            port=self.socket.getsockname()[1],
            codecs=("opus", "PCMU"),
            cname="early",
            ssrc=7,
        )
        return Answered(build_answer(offer, local, require_mux=False)[0], final=final)

    def speak_to(self, offer):
        audio = offer.audio
        for candidate in (c for c in audio.candidates if ":" not in c.host):  # as its own address
            for datagram in DATAGRAMS:
                self.socket.sendto(datagram, (candidate.host, candidate.port))
        for datagram in DATAGRAMS:
            self.socket.sendto(datagram, (audio.host, audio.port))

    def close(self):
        self.socket.close()

    def heard(self):
        try:
            return self.socket.recv(2000)
        except BlockingIOError:
            return b""


@pytest.mark.parametrize("policy", [sc.Policy(ice=False), PLAIN], ids=["ours", "without proof"])
def test_nothing_is_said_to_or_heard_of_whoever_speaks_before_the_answer(tmp_path, policy):
    async def main(stack):
        bus = SignalBus()
        speaker = stack.enter_context(closing(Speaker()))
        async with (
            asyncio.timeout(GUARD_SECONDS),
            people(tmp_path, bus, policy=policy) as (a, b),
        ):
            b.policy = policy
            async with a.call(BOB, audio=sc.ToneSource(440)) as call:
                ring = await b.next_call()
                ours, theirs = bus.legs
                for early in (speaker.answer_to(theirs.offer, final=False), Ringing()) * 2:
                    ours.inject(early)
                    speaker.speak_to(theirs.offer)
                    await asyncio.sleep(0)
                assert call.state.value == "ringing"
                assert call.statistics() is None
                async with ring.accept(audio=sc.ToneSource(620)):
                    await call.connected()
                    await hear(call)
                    # the port that the offer names says "who are you?" (RFC 8489 9.1.3), no more
                    while said := speaker.heard():
                        assert said[:2] == b"\x01\x11"
                    assert call.statistics().packets_sent > 0

    with ExitStack() as stack:
        asyncio.run(main(stack))


def test_control_the_same_description_as_the_final_answer_is_spoken_to(tmp_path):
    async def main(stack):
        bus = SignalBus()
        speaker = stack.enter_context(closing(Speaker()))
        async with (
            asyncio.timeout(GUARD_SECONDS),
            people(tmp_path, bus, policy=PLAIN) as (a, b),
        ):
            async with a.call(BOB, audio=sc.ToneSource(440)) as call:
                _ = await b.next_call()
                ours, theirs = bus.legs
                ours.inject(speaker.answer_to(theirs.offer, final=True))
                while not speaker.heard():
                    speaker.speak_to(theirs.offer)
                    await asyncio.sleep(0.01)
                assert call.state.value == "connecting"

    with ExitStack() as stack:
        asyncio.run(main(stack))
