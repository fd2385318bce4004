"""A peer that lies about arrivals, and a queue in any order of calls."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from securecall.rtp.congestion import BandwidthEstimator
from securecall.rtp.feedback import TransportFeedback
from securecall.rtp.pacer import MAX_BYTES, Pacer

lies = st.builds(
    TransportFeedback,
    sender_ssrc=st.just(1),
    media_ssrc=st.just(2),
    base_sequence=st.integers(0, 80) | st.integers(0, 65535),
    count=st.integers(1, 65535),
    reference_time=st.integers(0, 2**24 - 1),
    number=st.integers(0, 255),
    arrivals=st.lists(st.tuples(st.integers(0, 60), st.integers(-(2**31), 2**31)), max_size=30).map(
        tuple
    ),
)


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0.0001, 3.0), lies), max_size=12))
def test_whatever_a_peer_says_the_target_stays_between_its_limits(rounds):
    estimator = BandwidthEstimator(start=300_000, minimum=60_000, maximum=900_000)
    now = 0.0
    for number, step, lie in rounds:
        for _ in range(number):
            now += step / 20
            estimator.sent(1100, now=now)
        assert 60_000 <= estimator.receive(lie, now=now) <= 900_000
        assert 0.0 <= estimator.loss <= 1.0
        assert estimator.round_trip >= 0.0


operations = st.one_of(
    st.tuples(st.just("frame"), st.integers(1, 60), st.booleans()),
    st.tuples(st.just("resent"), st.integers(1, 1200), st.booleans()),
    st.tuples(st.just("wait"), st.integers(0, 300), st.booleans()),
    st.tuples(st.just("rate"), st.integers(10_000, 3_000_000), st.booleans()),
)


@given(st.lists(operations, max_size=60))
def test_frames_leave_whole_in_order_and_only_after_what_they_refer_to(steps):
    pacer: Pacer[tuple[int, int, int]] = Pacer(300_000)
    pacer.needs_keyframe = True
    now, frames, dropped = 0.0, 0, 0
    left: list[tuple[int, int, int]] = []
    keys: set[int] = set()
    for what, number, flag in steps:
        if what == "frame":
            key = flag or not frames
            if key:
                keys.add(frames)
            packets = [((frames, i, number), 1000) for i in range(number)]
            dropped += pacer.push_frame(packets, keyframe=key)
            frames += 1
        elif what == "resent":
            pacer.push_resent((-1, 0, 1), number)
        elif what == "wait":
            now += number / 1000
        else:
            pacer.bitrate = number
        left += pacer.pull(now=now)
        assert 0 <= pacer.octets <= MAX_BYTES
    while pacer.deadline < float("inf"):
        now = pacer.deadline
        left += pacer.pull(now=now)
    video = [packet for packet in left if packet[0] >= 0]
    whole = sorted({frame for frame, _, _ in video})
    sizes = {frame: size for frame, _, size in video}
    assert video == [(frame, i, sizes[frame]) for frame in whole for i in range(sizes[frame])]
    assert len(whole) == frames - dropped
    assert all(frame in keys or frame - 1 in whole for frame in whole)
