"""RTP, RTCP, SFrame and SRTP between two ends, over a path that loses, repeats and reorders."""

from __future__ import annotations

import random

import pytest

from securecall.rtp.packet import rtp_header, split_rtp
from securecall.rtp.rtcp import parse_rtcp
from securecall.rtp.sframe import SframeError, SframeReceiver, SframeSender, rtp_metadata
from securecall.rtp.srtp import FIRST_SEQUENCES, SrtpError, SrtpProfile, SrtpSession
from securecall.rtp.stream import RtcpSession
from securecall.secret import Secret

UNIX = 1_800_000_000.0
AUDIO = rtp_metadata(0, "0")
TICK = 0.02


class End:
    """One end of a call without codec and jitter buffer."""

    def __init__(self, ssrc, ours, theirs, frames_ours, frames_theirs, sequence):
        self.ssrc, self.sequence, self.timestamp = ssrc, sequence, 0
        self.srtp = SrtpSession(SrtpProfile.SRTP_AEAD_AES_256_GCM, ours, theirs)
        self.sender = SframeSender(frames_ours, 0)
        self.receiver = SframeReceiver()
        self.receiver.add_key(0, frames_theirs)
        self.rtcp = RtcpSession(ssrc=ssrc, cname="x", clock_rate=8000, now=0.0, chance=0.5)
        self.heard = []

    def speak(self, payload, now):
        head = rtp_header(0, self.sequence & 0xFFFF, self.timestamp, self.ssrc)
        self.rtcp.sent(self.timestamp, len(payload), now=now)
        self.sequence, self.timestamp = self.sequence + 1, self.timestamp + 160
        return self.srtp.protect(head + self.sender.seal_rtp(payload, AUDIO))

    def hear(self, datagram, now):
        try:
            packet = self.srtp.unprotect(datagram)
        except SrtpError:
            return
        _, sequence, timestamp, ssrc, payload = split_rtp(packet)
        self.rtcp.received(ssrc, sequence, timestamp, now=now)
        self.heard.append(self.receiver.open_rtp(payload, AUDIO))

    def report(self, now):
        data = self.rtcp.poll(now=now, unix=UNIX + now, chance=0.5)
        return None if data is None else self.srtp.protect_rtcp(data)

    def learn(self, datagram, now):
        return self.rtcp.receive_rtcp(parse_rtcp(self.srtp.unprotect_rtcp(datagram)), now=now)


def ends(sequence=0):
    keys = [Secret(bytes((n,)) * 44) for n in range(2)]
    frames = [Secret(bytes((n,)) * 32) for n in range(2)]
    return (
        End(1, keys[0], keys[1], frames[0], frames[1], sequence),
        End(2, keys[1], keys[0], frames[1], frames[0], sequence),
    )


def talk(alice, bob, ticks, *, loss=0.0, shuffle=0, repeat=False, dice=None):
    """Let Alice speak; return when she first learnt of loss."""
    dice = dice or random.Random(7)
    learnt = None
    in_flight = []
    for tick in range(ticks):
        now = tick * TICK
        if dice.random() >= loss:
            in_flight.append(alice.speak(tick.to_bytes(4), now))
        else:
            alice.speak(tick.to_bytes(4), now)
        if len(in_flight) > shuffle:
            dice.shuffle(in_flight)
            for datagram in in_flight:
                for _ in range(2 if repeat else 1):
                    bob.hear(datagram, now)
            in_flight.clear()
        report = bob.report(now)
        if report is not None:
            alice.learn(report, now)
            if learnt is None and alice.rtcp.expected_loss() > 0:
                learnt = now
        report = alice.report(now)
        if report is not None:
            bob.learn(report, now)
    return learnt


@pytest.mark.parametrize("loss", [0.0, 0.05, 0.2, 0.5])
@pytest.mark.parametrize("shuffle", [0, 5])
def test_each_packet_arrives_at_most_once_and_unchanged(loss, shuffle):
    alice, bob = ends()
    talk(alice, bob, 1000, loss=loss, shuffle=shuffle, repeat=True)
    heard = [int.from_bytes(payload) for payload in bob.heard]
    assert len(heard) == len(set(heard))
    assert set(heard) <= set(range(1000))
    assert len(heard) == pytest.approx(1000 * (1 - loss), rel=0.15)
    assert bob.receiver.failures == dict.fromkeys(bob.receiver.failures, 0)


def test_loss_is_known_to_the_sender_soon_and_about_right():
    alice, bob = ends()
    learnt = talk(alice, bob, 1500, loss=0.1)
    assert learnt is not None
    assert learnt <= 1.5
    assert alice.rtcp.expected_loss() == pytest.approx(0.1, abs=0.08)
    assert alice.rtcp.round_trip is None or alice.rtcp.round_trip < 0.1


def test_a_clean_path_reports_no_loss():
    alice, bob = ends()
    assert talk(alice, bob, 1500) is None
    assert alice.rtcp.expected_loss() == 0.0


def test_sequence_numbers_roll_over_under_loss():
    alice, bob = ends(sequence=65_000)
    talk(alice, bob, 2000, loss=0.1)
    (source,) = bob.rtcp.sources
    assert 66_990 <= source.highest <= 66_999
    assert len(bob.heard) > 1700


def test_a_goodbye_arrives_authenticated():
    alice, bob = ends()
    talk(alice, bob, 10)
    data = alice.rtcp.goodbye(now=1.0, unix=UNIX)
    assert [left.ssrc for left in bob.learn(alice.srtp.protect_rtcp(data), 1.0)] == [1]


def test_plaintext_inside_srtp_is_refused_once_frames_are_sealed():
    alice, bob = ends()
    datagram = alice.srtp.protect(rtp_header(0, 0, 0, 1) + bytes(160))
    with pytest.raises(SframeError, match="plaintext"):
        bob.hear(datagram, 0.0)
    assert bob.heard == []


def hears_after_missing(sequence, missed):
    alice, bob = ends(sequence=sequence)
    for tick in range(100):
        datagram = alice.speak(b"", 0.0)
        if tick >= missed:
            bob.hear(datagram, 0.0)
    return len(bob.heard)


def test_a_stream_that_begins_low_survives_the_loss_of_its_first_packets():
    assert hears_after_missing(FIRST_SEQUENCES - 1, missed=20) == 80


def test_control_a_stream_that_begins_at_the_roll_does_not():
    assert hears_after_missing(65_530, missed=20) == 0
