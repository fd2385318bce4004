"""Frames through paths that lose, reorder and duplicate, and through hostile hands."""

from __future__ import annotations

import heapq
import random

from hypothesis import given
from hypothesis import strategies as st

from securecall.rtp.frames import (
    MAX_BYTES,
    MAX_MISSING,
    MAX_PACKETS,
    FrameBuffer,
    KeyframeNeeded,
    ReceivedFrame,
    Resend,
)
from securecall.rtp.rtx import SentPacket, SentPackets, build_rtx, restore_rtx
from securecall.rtp.vp8 import Vp8Depacketiser, Vp8Packetiser


def call(seed: int, *, loss: float, jitter: float, twice: float, delay: float, frames: int = 120):
    """Send frames over such a path, both ways; return the buffer, what was sent, what came out."""
    chance = random.Random(seed)
    packetiser = Vp8Packetiser(picture_id=chance.randrange(1 << 15), mtu=40)
    buffer = FrameBuffer(Vp8Depacketiser())
    buffer.round_trip = 2 * delay
    history = SentPackets()
    sequence, timestamp = chance.randrange(1 << 16), chance.randrange(1 << 32)
    sent: list[bytes] = []
    got: list[ReceivedFrame] = []
    wanted = True
    queue: list[tuple[float, int, object]] = [(i / 30, i, "frame") for i in range(frames)]
    order = frames

    def later(now, what):
        nonlocal order
        for _ in range(1 + (chance.random() < twice)):
            if chance.random() >= loss:
                order += 1
                heapq.heappush(queue, (now + delay + chance.random() * jitter, order, what))

    def perform(outputs, now):
        for output in outputs:
            if isinstance(output, ReceivedFrame):
                got.append(output)
            else:
                later(now, output)

    while queue:
        now, _, what = heapq.heappop(queue)
        while buffer.deadline < now:
            at = buffer.deadline
            perform(buffer.poll(at), at)
            assert buffer.deadline > at
        match what:
            case "frame":
                head = b"\x10" if wanted else b"\x11"
                wanted = False
                size = chance.randrange(1, 300)
                sent.append(head + len(sent).to_bytes(4) + chance.randbytes(size))
                payloads = packetiser.packetise(sent[-1])
                for number, payload in enumerate(payloads, start=1):
                    packet = SentPacket(sequence, timestamp, number == len(payloads), payload)
                    history.keep(packet, now=now)
                    later(now, packet)
                    sequence = sequence + 1 & 0xFFFF
                timestamp = timestamp + 3000 & 0xFFFFFFFF
            case SentPacket():
                restored = restore_rtx(build_rtx(what))
                assert restored is not None
                number, payload = restored
                outputs = buffer.push(number, what.timestamp, payload, marker=what.marker, now=now)
                perform(outputs, now)
            case Resend():
                for packet in history.answer(what.sequences, now=now, round_trip=2 * delay):
                    later(now, packet)
            case KeyframeNeeded():
                wanted = True
    return buffer, sent, got


def can_be_decoded(sent: list[bytes], got: list[ReceivedFrame]) -> None:
    """Every frame is one that was sent, and follows the one before it or is a keyframe."""
    before = None
    for frame in got:
        number = int.from_bytes(frame.data[1:5])
        assert frame.data == sent[number]
        assert frame.keyframe == (frame.data[0] == 0x10)
        assert frame.keyframe or before == number - 1
        assert before is None or number > before
        before = number


@given(
    st.integers(0, 2**32),
    st.sampled_from((0.0, 0.01, 0.05, 0.2)),
    st.sampled_from((0.0, 0.005, 0.05)),
    st.sampled_from((0.0, 0.1)),
    st.sampled_from((0.005, 0.05, 0.3)),
)
def test_only_what_can_be_decoded_comes_out(seed, loss, jitter, twice, delay):
    buffer, sent, got = call(seed, loss=loss, jitter=jitter, twice=twice, delay=delay, frames=60)
    can_be_decoded(sent, got)
    assert buffer.counters.frames == len(got)
    assert (buffer.octets > 0) <= (buffer.held > 0)
    if not loss and jitter <= 0.005:
        assert len(got) == len(sent)


def test_retransmission_repairs_what_a_path_of_five_per_cent_loses():
    total, shown, frozen = 0, 0, 0
    for seed in range(10):
        buffer, sent, got = call(seed, loss=0.05, jitter=0.004, twice=0.0, delay=0.03)
        can_be_decoded(sent, got)
        total, shown = total + len(sent), shown + len(got)
        frozen += buffer.counters.freezes
    assert shown > 0.97 * total
    assert frozen <= 2


@given(
    st.lists(
        st.tuples(
            st.integers(0, 65535) | st.integers(0, 40),
            st.integers(0, 3),
            st.booleans(),
            st.sampled_from((b"", b"\x10\x10", b"\x10\x11", b"\x00x", b"\x90\x80", b"\x11\x10")),
            st.floats(0, 0.5),
        ),
        max_size=80,
    )
)
def test_any_packets_leave_it_bounded_and_at_work(packets):
    buffer = FrameBuffer(Vp8Depacketiser())
    now = 0.0
    for sequence, timestamp, marker, payload, wait in packets:
        now += wait
        buffer.push(sequence, timestamp, payload, marker=marker, now=now)
        assert buffer.held <= MAX_PACKETS
        assert buffer.octets <= MAX_BYTES
        for output in buffer.poll(now):
            assert not isinstance(output, Resend) or len(output.sequences) <= MAX_MISSING
        assert buffer.deadline > now
    # Whatever happened, a keyframe and its confirmation bring the picture back.
    buffer.push(50000, 9, b"\x10\x10a", marker=True, now=now + 1)
    buffer.push(50001, 10, b"\x10\x10b", marker=True, now=now + 1)
    (frame,) = buffer.push(50002, 11, b"\x10\x10c", marker=True, now=now + 1)[:1]
    assert isinstance(frame, ReceivedFrame)
    assert frame.data == b"\x10c"
