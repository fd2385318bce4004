"""The carriage does what its docstring says, one row per rule."""

import pytest

from securecall.errors import ProtocolError
from securecall.keys.carriage import LARGEST_STREAM, WINDOW, Carriage


def data(offset, content):
    return b"\x5c\x01" + offset.to_bytes(4, "big") + content


def ack(offset):
    return b"\x5c\x02" + offset.to_bytes(4, "big")


def test_a_stream_leaves_in_fragments_of_at_most_1000_bytes():
    records = Carriage().send(b"x" * 2500, 0.0)
    assert records == (data(0, b"x" * 1000), data(1000, b"x" * 1000), data(2000, b"x" * 500))


def test_at_most_8_kib_are_under_way_and_an_ack_lets_more_follow():
    carriage = Carriage()
    first = carriage.send(b"x" * 20000, 0.0)
    assert sum(len(record) - 6 for record in first) == WINDOW
    after = carriage.receive(ack(1000), 0.1).records
    assert after == (data(WINDOW, b"x" * 1000),)


def test_every_data_record_is_acknowledged_with_the_next_byte_expected():
    carriage = Carriage()
    assert carriage.receive(data(3, b"def"), 0.0).records == (ack(0),)
    arrival = carriage.receive(data(0, b"abc"), 0.0)
    assert (arrival.data, arrival.records) == (b"abcdef", (ack(6),))
    again = carriage.receive(data(0, b"abc"), 0.0)
    assert (again.data, again.records) == (b"", (ack(6),))


def test_the_first_byte_that_arrives_wins():
    carriage = Carriage()
    carriage.receive(data(2, b"CC"), 0.0)
    assert carriage.receive(data(0, b"abxyef"), 0.0).data == b"abCCef"


def test_data_beyond_the_window_is_dropped():
    carriage = Carriage()
    assert carriage.receive(data(WINDOW - 1, b"xy"), 0.0).data == b""
    carriage.receive(data(WINDOW, b"z"), 0.0)
    assert carriage.receive(data(0, b"a"), 0.0).data == b"a"
    assert carriage.received == 1


def test_resends_wait_a_quarter_second_doubling_to_two():
    carriage = Carriage()
    (first,) = carriage.send(b"hello", 10.0)
    moments = []
    for _ in range(6):
        moments.append(carriage.deadline)
        assert carriage.timeout(carriage.deadline - 0.001) == ()
        assert carriage.timeout(carriage.deadline) == (first,)
    assert moments == [10.25, 10.75, 11.75, 13.75, 15.75, 17.75]


def test_progress_resets_the_pause_and_the_last_ack_ends_it():
    carriage = Carriage()
    carriage.send(b"x" * 2000, 0.0)
    carriage.timeout(0.25)
    carriage.timeout(0.75)
    carriage.receive(ack(1000), 1.0)
    assert carriage.deadline == 1.25
    carriage.receive(ack(2000), 1.1)
    assert carriage.deadline is None
    assert carriage.idle


def test_the_third_duplicate_ack_resends_once_until_progress():
    carriage = Carriage()
    records = carriage.send(b"x" * 3000, 0.0)
    answers = [carriage.receive(ack(0), 0.01).records for _ in range(500)]
    assert [a for a in answers if a] == [(records[0],)]
    assert answers[2] == (records[0],)
    carriage.receive(ack(1000), 0.02)
    again = [carriage.receive(ack(1000), 0.03).records for _ in range(5)]
    assert [a for a in again if a] == [(records[1],)]


def test_old_acks_are_ignored():
    carriage = Carriage()
    carriage.send(b"x" * 3000, 0.0)
    carriage.receive(ack(2000), 0.0)
    for _ in range(5):
        assert carriage.receive(ack(1000), 0.0).records == ()


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (b"", "not a carriage record"),
        (b"\x5c\x01\0\0\0", "not a carriage record"),
        (b"\x5d\x01\0\0\0\0x", "not a carriage record"),
        (b"\x5c\x00\0\0\0\0x", "unknown kind 0"),
        (b"\x5c\x03\0\0\0\0x", "unknown kind 3"),
        (data(0, b""), "with 0 bytes"),
        (data(0, b"x" * 1001), "with 1001 bytes"),
        (ack(0) + b"x", "an ack with data"),
        (ack(1), "never sent"),
        (ack(2**32 - 1), "never sent"),
        (data(LARGEST_STREAM, b"x"), "passes 64 KiB"),
        (data(2**32 - 1, b"x"), "passes 64 KiB"),
    ],
)
def test_a_record_that_breaks_a_rule_is_fatal(record, why):
    with pytest.raises(ProtocolError, match=why):
        Carriage().receive(record, 0.0)


def test_our_own_stream_ends_at_64_kib():
    carriage = Carriage()
    carriage.send(b"x" * LARGEST_STREAM, 0.0)
    with pytest.raises(ProtocolError, match="64 KiB"):
        carriage.send(b"x", 0.0)


def test_it_is_idle_once_everything_is_acknowledged_and_only_then():
    ours = Carriage()
    assert ours.idle
    records = ours.send(bytes(WINDOW + 1), 0.0)
    assert not ours.idle
    theirs = Carriage()
    acks = [ack for record in records for ack in theirs.receive(record, 0.0).records]
    last = ours.receive(acks[-1], 0.0).records
    assert not ours.idle, "the last byte is under way, and nothing waits behind it"
    (ack,) = theirs.receive(last[0], 0.0).records
    assert ours.receive(ack, 0.0).records == ()
    assert ours.idle
