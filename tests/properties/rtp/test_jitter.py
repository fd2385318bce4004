"""For any network: order, no packet twice, nothing without bound, and the sums come out."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from securecall.rtp.jitter import RING, Empty, JitterBuffer, Missing, Payload

FATES = st.lists(
    st.tuples(
        st.integers(0, 9),  # below 2: lost
        st.floats(0.0, 0.3),  # delay, s
        st.booleans(),  # comes twice
    ),
    min_size=1,
    max_size=150,
)


@given(
    fates=FATES,
    first=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 2**32 - 1),
    fec=st.booleans(),
)
@settings(max_examples=150)
def test_whatever_the_network_does_packets_come_out_once_and_in_order(fates, first, timestamp, fec):
    buffer = JitterBuffer(8000, recovers=fec)
    arrivals = []
    for n, (fate, delay, twice) in enumerate(fates):
        if fate >= 2:
            arrivals.append((n * 0.02 + delay, n))
            if twice:
                arrivals.append((n * 0.02 + delay + 0.003, n))
    arrivals.sort()
    played, gone, at = [], 0, 0
    for tick in range(len(fates) + 60):
        now = tick * 0.02 + 0.01
        while at < len(arrivals) and arrivals[at][0] <= now:
            when, n = arrivals[at]
            buffer.push(first + n & 0xFFFF, timestamp + n * 160 & 0xFFFFFFFF, b"%d" % n, when)
            at += 1
        item = buffer.pull(now)
        if isinstance(item, Payload):
            played.append(int(item.data))
        elif isinstance(item, Missing):
            gone += 1
            assert item.following is None or int(item.following.data) > (played or [-1])[-1]
        assert buffer.depth <= RING
    assert played == sorted(set(played))
    counts = buffer.counters
    assert counts.played == len(played)
    assert counts.received == counts.played + counts.skipped + buffer.held
    assert counts.lost >= gone


@given(
    packets=st.lists(
        st.tuples(
            st.integers(0, 0xFFFF), st.integers(0, 2**32 - 1), st.floats(0, 1e6), st.booleans()
        ),
        max_size=200,
    )
)
@settings(max_examples=150)
def test_any_sequence_of_packets_is_taken_without_an_error(packets):
    buffer = JitterBuffer(48000, recovers=True)
    now = 0.0
    for sequence, timestamp, step, pull in packets:
        now += step % 3.0
        buffer.push(sequence, timestamp, b"x", now)
        assert 0.0 <= buffer.target <= 0.64
        assert buffer.depth <= RING
        if pull:
            assert isinstance(buffer.pull(now), Payload | Missing | Empty)
