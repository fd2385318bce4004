"""Pictures through all layers: VP8, SFrame, RTX, extensions, SRTP; and feedback in SRTCP."""

from __future__ import annotations

import random

import pytest

from securecall.rtp.arrivals import ArrivalLog
from securecall.rtp.congestion import BandwidthEstimator
from securecall.rtp.extensions import (
    build_extensions,
    parse_extensions,
    parse_transport_sequence,
    with_extensions,
)
from securecall.rtp.feedback import GenericNack, PictureLoss, TransportFeedback
from securecall.rtp.frames import FrameBuffer, KeyframeNeeded, ReceivedFrame, Resend
from securecall.rtp.packet import rtp_header, split_rtp
from securecall.rtp.rtcp import build_rtcp, parse_rtcp
from securecall.rtp.rtx import SentPacket, SentPackets, build_rtx, restore_rtx
from securecall.rtp.sframe import (
    SframeError,
    SframeFailure,
    SframeReceiver,
    SframeSender,
    rtp_metadata,
)
from securecall.rtp.srtp import SrtpProfile, SrtpSession
from securecall.rtp.vp8 import Vp8Depacketiser, Vp8Packetiser
from securecall.secret import Secret

VIDEO, RTX = 96, 97
BOUND = rtp_metadata(VIDEO, "1")
MID_ID, SEQUENCE_ID = 1, 2
ROUND_TRIP = 0.06


class Alice:
    """Sends pictures."""

    def __init__(self, srtp, sframe):
        self.srtp, self.sframe = srtp, sframe
        self.packetiser = Vp8Packetiser(picture_id=9, mtu=200)
        self.history, self.estimator = SentPackets(), BandwidthEstimator()
        self.sequence, self.rtx_sequence, self.timestamp = 30000, 5, 0
        self.sent, self.wanted = [], True

    def wire(self, payload_type, sequence, timestamp, ssrc, marker, payload, now):
        size = len(payload) + 56
        number = self.estimator.sent(size, now=now)
        block = build_extensions({MID_ID: b"1", SEQUENCE_ID: number.to_bytes(2)})
        head = rtp_header(payload_type, sequence, timestamp, ssrc, marker=marker)
        return self.srtp.protect(with_extensions(head, block) + payload)

    def show(self, now):
        data = (b"\x10" if self.wanted else b"\x11") + len(self.sent).to_bytes(4) * 150
        self.wanted = False
        self.sent.append(data)
        payloads = self.packetiser.packetise(data)
        for number, payload in enumerate(payloads, start=1):
            sealed = self.sframe.seal_rtp(payload, BOUND)
            packet = SentPacket(self.sequence, self.timestamp, number == len(payloads), sealed)
            self.history.keep(packet, now=now)
            self.sequence = self.sequence + 1 & 0xFFFF
            yield self.wire(VIDEO, packet.sequence, self.timestamp, 1, packet.marker, sealed, now)
        self.timestamp += 3000

    def learn(self, datagram, now):
        for packet in parse_rtcp(self.srtp.unprotect_rtcp(datagram), reduced=True):
            match packet:
                case TransportFeedback():
                    self.estimator.receive(packet, now=now)
                case PictureLoss():
                    self.wanted = True
                case GenericNack():
                    asked = packet.sequences
                    for kept in self.history.answer(asked, now=now, round_trip=ROUND_TRIP):
                        number = self.rtx_sequence
                        self.rtx_sequence += 1
                        payload = build_rtx(kept)
                        yield self.wire(RTX, number, kept.timestamp, 2, kept.marker, payload, now)


class Bob:
    """Receives them."""

    def __init__(self, srtp, sframe):
        self.srtp, self.sframe = srtp, sframe
        self.buffer = FrameBuffer(Vp8Depacketiser())
        self.buffer.round_trip = ROUND_TRIP
        self.log = ArrivalLog(sender_ssrc=3, media_ssrc=1)
        self.seen = []

    def hear(self, datagram, now):
        packet = self.srtp.unprotect(datagram)
        second, sequence, timestamp, _, payload = split_rtp(packet)
        elements = parse_extensions(packet)
        assert elements[MID_ID] == b"1"
        self.log.receive(parse_transport_sequence(elements[SEQUENCE_ID]), now=now)
        if second & 0x7F == RTX:
            restored = restore_rtx(payload)
            assert restored is not None
            sequence, payload = restored
        try:
            opened = self.sframe.open_rtp(payload, BOUND)
        except SframeError:
            return []  # repeated by the path, or by a retransmission that was not needed
        marker = second > 0x7F
        outputs = self.buffer.push(sequence, timestamp, opened, marker=marker, now=now)
        return self.tell(outputs)

    def tell(self, outputs):
        self.seen += [output.data for output in outputs if isinstance(output, ReceivedFrame)]
        packets = []
        for output in outputs:
            match output:
                case Resend():
                    packets.append(
                        GenericNack(sender_ssrc=3, media_ssrc=1, sequences=output.sequences)
                    )
                case KeyframeNeeded():
                    packets.append(PictureLoss(sender_ssrc=3, media_ssrc=1))
        return [self.srtp.protect_rtcp(build_rtcp([packet])) for packet in packets]

    def report(self, now):
        return [self.srtp.protect_rtcp(build_rtcp([f])) for f in self.log.poll(now=now)]


def ends():
    keys = [Secret(bytes((n,)) * 44) for n in range(2)]
    profile = SrtpProfile.SRTP_AEAD_AES_256_GCM
    receiver = SframeReceiver()
    receiver.add_key(1, Secret(b"k" * 32))
    return (
        Alice(SrtpSession(profile, keys[0], keys[1]), SframeSender(Secret(b"k" * 32), 1)),
        Bob(SrtpSession(profile, keys[1], keys[0]), receiver),
    )


def call(alice, bob, frames, *, loss, seed):
    """Let Alice show pictures; half a round trip each way, by ticks of 10 ms."""
    dice = random.Random(seed)
    there, back = [], []
    for tick in range(frames * 3 + 60):
        now = tick / 100
        if not tick % 3 and tick < frames * 3:
            there += [(now + ROUND_TRIP / 2, d) for d in alice.show(now)]
        due, back = [d for d in back if d[0] <= now], [d for d in back if d[0] > now]
        for _, datagram in due:
            again = list(alice.learn(datagram, now))
            there += [(now + ROUND_TRIP / 2, d) for d in again]
        due, there = [d for d in there if d[0] <= now], [d for d in there if d[0] > now]
        told = []
        for _, datagram in due:
            if dice.random() >= loss:
                told += bob.hear(datagram, now)
        told += bob.tell(bob.buffer.poll(now)) + bob.report(now)
        back += [(now + ROUND_TRIP / 2, d) for d in told if dice.random() >= loss]


def test_every_picture_arrives_where_nothing_is_lost():
    alice, bob = ends()
    call(alice, bob, 60, loss=0.0, seed=1)
    assert bob.seen == alice.sent
    assert (bob.buffer.counters.nacks, alice.history.answered) == (0, 0)
    assert alice.estimator.target > 300_000


@pytest.mark.parametrize("seed", range(3))
def test_retransmissions_of_the_sealed_packets_repair_what_is_lost(seed):
    alice, bob = ends()
    call(alice, bob, 120, loss=0.05, seed=seed)
    assert set(bob.seen) <= set(alice.sent)
    assert len(bob.seen) > 0.95 * len(alice.sent)
    assert bob.buffer.counters.recovered > 10
    failures = bob.sframe.failures
    assert sum(failures.values()) == failures[SframeFailure.REPLAYED]


def test_a_retransmission_that_nobody_needed_is_a_replay_to_sframe():
    alice, bob = ends()
    for datagram in alice.show(0.0):
        bob.hear(datagram, 0.03)
    nack = bob.srtp.protect_rtcp(
        build_rtcp([GenericNack(sender_ssrc=3, media_ssrc=1, sequences=(30000,))])
    )
    (again,) = alice.learn(nack, 0.06)
    assert bob.hear(again, 0.09) == []
    assert bob.sframe.failures[SframeFailure.REPLAYED] == 1
    assert bob.seen == alice.sent


def test_a_retransmission_opens_under_the_payload_type_of_the_original_only():
    alice, bob = ends()
    datagrams = list(alice.show(0.0))
    nack = bob.srtp.protect_rtcp(
        build_rtcp([GenericNack(sender_ssrc=3, media_ssrc=1, sequences=(30000,))])
    )
    assert datagrams
    (again,) = alice.learn(nack, 0.06)
    payload = split_rtp(bob.srtp.unprotect(again))[-1]
    restored = restore_rtx(payload)
    assert restored is not None
    with pytest.raises(SframeError):
        bob.sframe.open_rtp(restored[1], rtp_metadata(RTX, "1"))
    assert bob.sframe.open_rtp(restored[1], BOUND)
