"""Attacks on an audio stream: replay, forgery, plaintext, injection; each with a control."""

from __future__ import annotations

import random
import struct

import pytest

from securecall.media.codecs import OPUS
from securecall.media.endpoints import ToneSource
from securecall.media.engine import Gate
from securecall.media.frames import rms_dbfs
from securecall.rtp.packet import rtp_header
from tests.pairs.media.two_sessions import Pair, srtp


def media(datagrams):
    return [d for d in datagrams if not 192 <= d[1] <= 223]


def test_replayed_datagrams_are_not_heard_again():
    pair = Pair()
    pair.clock.step(20)
    before = pair.bob.statistics()
    for datagram in media(pair.sent["alice"]):
        pair.bob.receive(datagram)
    after = pair.bob.statistics()
    assert after.packets_received == before.packets_received
    assert after.replayed == 20


def test_control_the_same_datagrams_were_heard_the_first_time():
    pair = Pair()
    pair.clock.step(20)
    assert pair.bob.statistics().packets_received >= 19


def test_forged_and_plaintext_packets_are_not_heard():
    pair = Pair()
    pair.clock.step(10)
    chance = random.Random(1)
    loud = b"\x00" * 160
    for n in range(200):
        pair.bob.receive(rtp_header(0, n, n * 160, 0x1005) + loud)
        pair.bob.receive(rtp_header(0, n, n * 160, 0x1005) + loud + chance.randbytes(16))
    pair.clock.step(10)
    assert rms_dbfs(pair.bob_ears.pcm) < -60
    statistics = pair.bob.statistics()
    assert statistics.forged + statistics.replayed == 400  # some reuse a number that was seen
    assert statistics.forged > 380


def test_a_server_with_the_srtp_keys_still_cannot_speak_for_alice():
    """With SDES, or a man in the middle of DTLS, SRTP's keys are known; SFrame's are not."""
    pair = Pair()
    pair.clock.step(10)
    server = srtp("srtp alice", "srtp bob")
    loud = b"\x00" * 160
    for n in range(150):
        pair.bob.receive(server.protect(rtp_header(0, n, n * 160, 0xBAD) + loud))
        pair.clock.step()
    assert rms_dbfs(pair.bob_ears.pcm) < -60
    assert pair.bob.statistics().forged == 150
    assert pair.alarms  # and somebody is told


def test_control_without_the_end_to_end_layer_the_server_is_heard():
    pair = Pair(sframe=False)
    pair.clock.step(10)
    pair.clock.remove(pair.alice)  # the server drops what she sends herself
    server = srtp("srtp alice", "srtp bob")
    for n in range(50):
        pair.bob.receive(server.protect(rtp_header(0, n, n * 160, 0xBAD) + b"\x00" * 160))
        pair.clock.step()
    assert rms_dbfs(pair.bob_ears.pcm) > -20


def test_a_closed_gate_cannot_be_talked_through_by_an_authentic_peer():
    pair = Pair()
    pair.bob.gate = Gate.CLOSED
    heard = len(pair.bob_ears.frames)
    pair.alice.source = ToneSource(440.0)
    pair.clock.step(50)
    assert len(pair.bob_ears.frames) == heard
    assert pair.bob.statistics().gated >= 50


@pytest.mark.parametrize("gate", [Gate.CLOSED, Gate.OPEN])
def test_random_datagrams_raise_nothing(gate):
    pair = Pair(gate=gate)
    chance = random.Random(2)
    pair.clock.step(5)
    genuine = pair.sent["alice"] or [rtp_header(0, 1, 1, 1) + bytes(200)]
    for n in range(3000):
        datagram = bytearray(chance.choice(genuine))
        for _ in range(chance.randint(1, 4)):
            datagram[chance.randrange(len(datagram))] = chance.randrange(256)
        pair.bob.receive(bytes(datagram[: chance.randint(0, len(datagram))]))
        if n % 100 == 0:
            pair.clock.step()
    assert pair.failures == []
    assert pair.bob.statistics().packets_received <= 40


def test_an_authentic_peer_who_sends_nonsense_breaks_nothing():
    """The peer's own implementation may be the attacker."""
    pair = Pair(OPUS)
    pair.clock.step(5)
    chance = random.Random(3)
    evil = srtp("srtp alice", "srtp bob")
    for n in range(500):
        second = chance.choice((111, 111, 0, 127))
        head = struct.pack("!BBHII", chance.choice((0x80, 0x90, 0xBF)), second, n, n * 960, 7)
        payload = chance.randbytes(chance.randint(0, 300))
        pair.bob.receive(evil.protect(head + bytes(64) + payload))
        if n % 10 == 0:
            pair.clock.step()
    pair.clock.step(5)
    assert pair.failures == []
    assert all(len(f.samples) == 1920 for f in pair.bob_ears.frames)


def test_sizes_and_rhythm_on_the_wire_say_nothing_of_who_speaks():
    sizes = {}
    for name in ("speech", "silence", "muted", "nothing"):
        pair = Pair(OPUS)
        pair.alice.source = ToneSource(440.0) if name in ("speech", "muted") else None
        pair.alice.muted = name == "muted"
        pair.clock.step(60)
        sizes[name] = [len(d) for d in media(pair.sent["alice"])]
    assert len(set(map(tuple, sizes.values()))) == 1
