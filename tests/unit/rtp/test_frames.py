from __future__ import annotations

import itertools

import pytest

from securecall.rtp import frames
from securecall.rtp.frames import FrameBuffer, KeyframeNeeded, ReceivedFrame, Resend
from securecall.rtp.vp8 import Vp8Depacketiser, Vp8Packetiser

KEY, DELTA = b"\x10", b"\x11"


class Sender:
    """Makes packets: (sequence, timestamp, marker, payload)."""

    def __init__(self, sequence: int = 65530, mtu: int = 20) -> None:
        self.sequence = sequence
        self.timestamp = 2**32 - 3000
        self.packetiser = Vp8Packetiser(picture_id=0x7FFE, mtu=mtu)
        self.sent = []

    def frame(self, *, key: bool = False, packets: int = 3):
        data = (KEY if key else DELTA) + bytes((len(self.sent) & 0xFF,)) * (16 * packets - 1)
        payloads = self.packetiser.packetise(data)
        self.sent.append(data)
        made = []
        for number, payload in enumerate(payloads, start=1):
            made.append((self.sequence, self.timestamp, number == len(payloads), payload))
            self.sequence = self.sequence + 1 & 0xFFFF
        self.timestamp = self.timestamp + 3000 & 0xFFFFFFFF
        return made


class Receiver:
    """A buffer that takes such packets, and sorts what comes out."""

    def __init__(self, **arguments) -> None:
        self.buffer = FrameBuffer(Vp8Depacketiser(), **arguments)
        self.frames, self.nacks, self.plis = [], [], 0

    def take(self, packets, now: float = 0.0):
        for sequence, timestamp, marker, payload in packets:
            self.hear(self.buffer.push(sequence, timestamp, payload, marker=marker, now=now))
        return self

    def poll(self, now: float):
        self.hear(self.buffer.poll(now))
        return self

    def hear(self, outputs) -> None:
        for output in outputs:
            match output:
                case ReceivedFrame():
                    self.frames.append(output.data)
                case Resend():
                    self.nacks += output.sequences
                case KeyframeNeeded():
                    self.plis += 1

    @property
    def counters(self):
        return self.buffer.counters


def playing(**arguments):
    """A stream whose first keyframe has been shown."""
    alice, bob = Sender(), Receiver(**arguments)
    bob.take(alice.frame(key=True))
    return alice, bob


def test_frames_come_out_whole_and_in_order_over_both_wraps():
    alice, bob = playing()
    for _ in range(5):
        bob.take(alice.frame())
    assert bob.frames == alice.sent
    assert (bob.counters.frames, bob.counters.keyframes) == (6, 1)
    assert (bob.buffer.held, bob.buffer.octets, bob.nacks, bob.plis) == (0, 0, [], 0)


def test_the_frame_says_what_it_is():
    alice = Sender()
    first, second, third = alice.frame(key=True)
    buffer = FrameBuffer(Vp8Depacketiser())
    for sequence, timestamp, marker, payload in (first, second):
        assert buffer.push(sequence, timestamp, payload, marker=marker, now=0.0) == ()
    (frame,) = buffer.push(third[0], third[1], third[3], marker=True, now=0.0)
    assert (frame.timestamp, frame.keyframe, frame.data) == (2**32 - 3000, True, alice.sent[0])
    assert "data" not in repr(frame)


def test_a_packet_overtaken_by_two_is_waited_for_and_not_asked_for():
    alice, bob = playing()
    a, b, c = alice.frame()
    bob.take([b, c, a], now=1.0).poll(1.005)
    assert (bob.frames, bob.nacks) == (alice.sent, [])


def test_the_beginning_may_be_overtaken():
    alice, bob = Sender(), Receiver()
    a, b, c = alice.frame(key=True)
    bob.take([b, a, c])
    assert bob.frames == alice.sent


def test_a_missing_packet_is_asked_for_after_a_moment():
    alice, bob = playing()
    a, b, c = alice.frame()
    bob.take([a, c], now=1.0)
    assert bob.buffer.deadline == 1.0 + frames.TOLERANCE
    bob.poll(1.005)
    assert bob.nacks == []
    bob.poll(1.01)
    assert bob.nacks == [b[0]]
    bob.take([b], now=1.05)
    assert (bob.frames, bob.counters.recovered, bob.counters.lost) == (alice.sent, 1, 0)


def test_a_missing_packet_is_asked_for_at_once_when_three_are_behind_it():
    alice, bob = playing()
    a, b, c = alice.frame()
    bob.take([a, c], now=1.0).take(alice.frame()[:1], now=1.0)
    assert bob.nacks == []
    bob.take([(alice.sequence, 0, False, b"\x00x")], now=1.001)
    assert bob.nacks[:1] == [b[0]]


def test_it_is_asked_for_again_ever_more_slowly():
    alice, bob = playing()
    bob.buffer.round_trip = 0.1
    bob.take(alice.frame()[1:], now=1.0)
    asked_at = []
    while not bob.plis:
        now = bob.buffer.deadline
        bob.poll(now)
        asked_at += [now] * (len(bob.nacks) - len(asked_at))
    steps = [b - a for a, b in itertools.pairwise(asked_at)]
    assert steps == pytest.approx([0.125, 0.15, 0.175])


def test_it_is_not_asked_for_more_than_ten_times():
    alice, bob = playing()
    bob.buffer.round_trip = 0.0
    bob.take(alice.frame()[1:], now=1.0)
    while not bob.plis:
        bob.poll(bob.buffer.deadline)
    assert 1 < len(bob.nacks) <= frames.MAX_TRIES


def test_a_gap_that_stays_freezes_the_picture_until_a_keyframe():
    alice, bob = playing()
    bob.take(alice.frame()[1:], now=1.0)
    for number in range(20):
        bob.poll(1.0 + number / 30)
        bob.take(alice.frame(), now=1.0 + number / 30)
    assert len(bob.frames) == 1
    assert (bob.plis, bob.counters.freezes, bob.counters.lost) == (1, 1, 1)
    assert bob.buffer.frozen_since == 1.0
    bob.take(alice.frame(key=True), now=2.0)
    bob.take(alice.frame(), now=2.03)
    assert bob.frames[1:] == alice.sent[-2:]
    assert bob.counters.frozen == 1.0
    assert bob.buffer.frozen_since is None
    assert bob.counters.dropped == 21


def test_a_keyframe_is_asked_for_again_ever_more_slowly():
    alice, bob = playing()
    bob.take(alice.frame()[1:], now=1.0)
    asked_at = []
    while len(asked_at) < 5:
        now = bob.buffer.deadline
        bob.poll(now)
        asked_at += [now] * (bob.plis - len(asked_at))
    steps = [b - a for a, b in itertools.pairwise(asked_at)]
    assert steps == pytest.approx([0.5, 1.0, 2.0, 2.0])


def test_a_whole_keyframe_behind_a_gap_ends_the_wait_at_once():
    alice, bob = playing()
    bob.take(alice.frame()[1:], now=1.0)
    bob.take(alice.frame(), now=1.01)
    bob.take(alice.frame(key=True), now=1.02)
    bob.take(alice.frame(), now=1.03)
    assert bob.frames == [alice.sent[0], *alice.sent[3:]]
    assert (bob.plis, bob.counters.freezes, bob.counters.lost) == (0, 0, 1)


def test_a_gap_in_the_keyframe_is_repaired():
    alice, bob = playing()
    bob.take(alice.frame()[1:], now=1.0).poll(2.0)
    assert bob.plis == 1
    a, b, c = alice.frame(key=True)
    bob.take([c], now=2.1).take(alice.frame(), now=2.11)
    bob.poll(bob.buffer.deadline)
    assert bob.nacks[-2:] == [a[0], b[0]]
    bob.take([b, a], now=2.2)
    assert bob.frames[1:] == alice.sent[-2:]


def test_without_nack_a_gap_is_given_up_after_the_time_of_reordering():
    alice, bob = playing(nack=False)
    a, _, c = alice.frame()
    bob.take([a, c], now=1.0).poll(1.04)
    assert bob.plis == 0
    bob.poll(1.05)
    assert (bob.nacks, bob.plis) == ([], 1)


def test_a_stream_that_begins_in_the_middle_asks_for_a_keyframe():
    alice, bob = Sender(), Receiver()
    for number in range(4):
        bob.take(alice.frame(), now=number * 0.05).poll(number * 0.05)
    assert (bob.plis, bob.frames, bob.counters.freezes) == (1, [], 0)


def test_what_comes_twice_or_too_late_is_counted():
    alice, bob = playing()
    a, b, c = alice.frame()
    bob.take([a, a, b, c, c])
    assert bob.frames == alice.sent
    assert (bob.counters.duplicates, bob.counters.late) == (1, 1)


def test_a_sender_without_marker_is_understood():
    alice, bob = Sender(), Receiver()
    for number in range(3):
        bob.take([(s, t, False, p) for s, t, _, p in alice.frame(key=not number)])
    assert bob.frames == alice.sent[:2]


def test_packets_of_nothing_fill_the_numbering():
    alice, bob = playing()
    bob.take([(alice.sequence, alice.timestamp - 3000, False, b"")])
    alice.sequence += 1
    bob.take(alice.frame())
    assert bob.frames == alice.sent


def test_a_decoder_that_failed_gets_a_keyframe():
    alice, bob = playing()
    bob.hear(bob.buffer.decoder_failed(1.0))
    bob.hear(bob.buffer.decoder_failed(1.1))
    assert (bob.plis, bob.counters.freezes) == (1, 1)
    bob.take(alice.frame(), now=1.2).take(alice.frame(key=True), now=1.3)
    assert bob.frames == [alice.sent[0], alice.sent[2]]


def test_a_frame_whose_packets_do_not_fit_is_lost():
    alice, bob = playing()
    a, b, c = alice.frame()
    bob.take([a, (b[0], b[1], False, b"\x90\x80\x00z"), c], now=1.0)
    assert (bob.counters.malformed, bob.plis, bob.counters.freezes) == (1, 1, 1)


def test_a_numbering_that_begins_anew_is_followed_once_confirmed():
    alice, bob = playing()
    alice.sequence = 30000
    a, b, c = alice.frame(key=True)
    bob.take([a], now=1.0)
    assert bob.counters.restarts == 0
    bob.take([b, c], now=1.0)
    assert (bob.counters.restarts, bob.counters.freezes) == (1, 1)
    bob.take(alice.frame(key=True), now=1.1)
    assert bob.frames[-1] == alice.sent[-1]


def test_more_missing_than_can_be_asked_for_needs_a_keyframe():
    alice, bob = playing()
    alice.sequence = alice.sequence + 600 & 0xFFFF
    bob.take(alice.frame(), now=1.0)
    assert (bob.nacks, bob.plis, bob.counters.lost) == ([], 1, 600)


@pytest.mark.parametrize("size", [1, 1500])
def test_a_frame_without_end_is_thrown_away(size):
    alice, bob = playing()
    for number in range(frames.MAX_PACKETS + 10):
        data = b"\x10" + KEY if not number else b"\x00"
        bob.take([(alice.sequence + number & 0xFFFF, 7, False, data + bytes(size))], now=1.0)
        assert bob.buffer.held <= frames.MAX_PACKETS
        assert bob.buffer.octets <= frames.MAX_BYTES
    assert (bob.counters.overflows, bob.plis) == (1, 1)


def test_a_keyframe_with_a_gap_of_its_own_is_not_jumped_to():
    alice, bob = playing()
    a, *rest = alice.frame()
    x, y, z = alice.frame(key=True)
    bob.take([*rest, x, z], now=1.0).take([a], now=1.05)
    assert bob.frames == alice.sent[:2]
    bob.take([y], now=1.06)
    assert bob.frames == alice.sent


def test_a_frame_that_began_like_a_keyframe_and_is_none_is_thrown_away():
    class Format(Vp8Depacketiser):
        """As H.264: parameter sets may stand before any frame."""

        def begins_keyframe(self, payload):
            return payload[-1:] == b"s" or super().begins_keyframe(payload)

    buffer = FrameBuffer(Format())
    assert buffer.push(1, 1, b"\x10\x11s", marker=True, now=0.0) == ()
    assert buffer.push(2, 2, b"\x10\x11a", marker=True, now=0.0) == ()
    (frame,) = buffer.push(3, 3, b"\x10\x10a", marker=True, now=0.0)
    assert (frame.keyframe, buffer.counters.dropped) == (True, 2)


def after(silence, frames_lost):
    """A picture every 33 ms, then such a silence in which so many frames are lost."""
    sender, receiver = Sender(), Receiver()
    receiver.take(sender.frame(key=True), 10.0)
    for _ in range(frames_lost):
        sender.frame()
    receiver.take(sender.frame(), 10.0 + silence)
    return sender, receiver


def test_after_an_outage_a_keyframe_is_asked_for_at_once_and_nothing_of_before():
    sender, receiver = after(2.0, 20)
    assert (receiver.plis, receiver.nacks) == (1, [])
    receiver.take(sender.frame(key=True), 12.1)
    assert receiver.frames[-1] == sender.sent[-1]
    counters = receiver.buffer.counters
    assert (counters.lost, counters.freezes) == (60, 1)
    assert counters.frozen == pytest.approx(2.1)  # since the last packet, not since the first after


@pytest.mark.parametrize(("silence", "frames_lost"), [(0.3, 20), (2.0, 2)])
def test_a_short_silence_or_a_small_gap_after_a_pause_is_asked_about(silence, frames_lost):
    _, receiver = after(silence, frames_lost)
    assert receiver.plis == 0
    assert len(receiver.nacks) == 3 * frames_lost
