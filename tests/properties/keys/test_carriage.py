"""For all links: the carriage delivers the stream, whole and in order, in bounded memory."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from securecall.errors import ProtocolError
from securecall.keys.carriage import LARGEST_STREAM, WINDOW, Carriage

STREAMS = st.lists(st.binary(min_size=1, max_size=4000), max_size=6)


class Wire:
    """Two carriages and what is on its way between them."""

    def __init__(self, seed, loss, twice, shuffle):
        self.ends = (Carriage(), Carriage())
        self.got = [b"", b""]
        self.flying = []
        self.chance = random.Random(seed)
        self.loss, self.twice, self.shuffle = loss, twice, shuffle

    def put(self, sender, records):
        for record in records:
            if self.chance.random() >= self.loss:
                self.flying.append((1 - sender, record))
                if self.chance.random() < self.twice:
                    self.flying.append((1 - sender, record))

    def run(self, limit=400.0):
        now = 0.0
        while now < limit:
            while self.flying:
                index = self.chance.randrange(len(self.flying)) if self.shuffle else 0
                target, record = self.flying.pop(index)
                arrival = self.ends[target].receive(record, now)
                self.got[target] += arrival.data
                self.put(target, arrival.records)
            moments = [end.deadline for end in self.ends if end.deadline is not None]
            if not moments:
                return
            now = max(now, min(moments))
            for number, end in enumerate(self.ends):
                self.put(number, end.timeout(now))


@settings(max_examples=60)
@given(
    STREAMS,
    STREAMS,
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.2, 0.5]),
    st.sampled_from([0.0, 0.3]),
    st.booleans(),
)
def test_both_streams_arrive_whole_and_in_order(up, down, seed, loss, twice, shuffle):
    wire = Wire(seed, loss, twice, shuffle)
    for number, pieces in enumerate((up, down)):
        for piece in pieces:
            wire.put(number, wire.ends[number].send(piece, 0.0))
    wire.run()
    assert wire.got == [b"".join(down), b"".join(up)]
    assert all(end.idle for end in wire.ends)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=1000)), max_size=25))
def test_overlaps_with_other_bytes_give_what_arrived_first(records):
    carriage = Carriage()
    model: dict[int, int] = {}
    delivered = b""
    for offset, content in records:
        for position, byte in enumerate(content, offset):
            model.setdefault(position, byte)
        record = b"\x5c\x01" + offset.to_bytes(4, "big") + content
        delivered += carriage.receive(record, 0.0).data
    whole = next((n for n in range(len(model) + 1) if n not in model), 0)
    assert delivered == bytes(model[n] for n in range(whole))


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=1010), max_size=20), st.binary(max_size=9000))
def test_any_records_are_taken_or_refused_and_memory_stays_bounded(records, ours):
    carriage = Carriage()
    carriage.send(ours, 0.0)
    for record in records:
        try:
            arrival = carriage.receive(record, 0.0)
        except ProtocolError:
            continue
        assert len(arrival.records) <= 10
    assert len(carriage._window) == len(carriage._present) == WINDOW
    assert len(carriage._under_way) <= WINDOW
    assert len(carriage._unsent) <= LARGEST_STREAM


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.sampled_from([1, 2]), st.integers(0, 70000), st.binary(max_size=40)),
        max_size=60,
    )
)
def test_no_record_causes_more_than_the_window_allows(records):
    carriage = Carriage()
    total = len(carriage.send(b"x" * 30000, 0.0))
    for kind, offset, content in records:
        record = bytes((0x5C, kind)) + offset.to_bytes(4, "big") + content
        try:
            total += len(carriage.receive(record, 0.0).records)
        except ProtocolError:
            break
    assert total <= 30 + 2 * len(records) + WINDOW // 1000 + 1
