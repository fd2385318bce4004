"""Redundant audio: payloads, and which copies a packet carries (RFC 2198)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import ProtocolError, UsageError
from securecall.rtp.red import (
    DISTANCES,
    FROM,
    MAX_BLOCKS,
    PATIENCE,
    UNTIL,
    Block,
    RedPayload,
    RedSender,
    build_red,
    parse_red,
)

NUMBERS = st.integers(0, 127)
BLOCKS = st.builds(Block, NUMBERS, st.integers(0, 0x3FFF), st.binary(min_size=1, max_size=1023))
PAYLOADS = st.builds(
    RedPayload, NUMBERS, st.binary(max_size=200), st.lists(BLOCKS, max_size=MAX_BLOCKS).map(tuple)
)
STEP = 960


@given(PAYLOADS)
def test_what_is_built_is_read_back(payload):
    assert parse_red(build_red(payload)) == payload


@given(st.binary(max_size=64))
def test_any_bytes_are_a_payload_or_refused(data):
    try:
        payload = parse_red(data)
    except ProtocolError:
        return
    assert len(payload.copies) <= MAX_BLOCKS


def test_the_layout_is_that_of_the_rfc():
    # 3: F, block PT (7 bits), timestamp offset (14), block length (10); then F=0 and PT
    built = build_red(RedPayload(111, b"new", (Block(111, 960, b"older"),)))
    assert built == bytes.fromhex("ef0f0005") + b"\x6f" + b"older" + b"new"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "nothing"),
        (bytes.fromhex("ef0f0005"), "no last header"),
        (bytes.fromhex("ef0f00"), "half a header"),
        (bytes.fromhex("ef0f0005") + b"\x6f" + b"old", "a block cut off"),
        (bytes.fromhex("ef0f0001") * 9 + b"\x6f" + b"123456789", "too many blocks"),
    ],
)
def test_what_is_no_redundant_payload_is_refused(data, why):
    with pytest.raises(ProtocolError, match=r"."):
        parse_red(data)
    assert why


def test_an_empty_copy_is_passed_over():
    data = bytes.fromhex("ef0f0000") + b"\x6f" + b"new"
    assert parse_red(data) == RedPayload(111, b"new")


@pytest.mark.parametrize(
    "payload",
    [
        RedPayload(128, b"x"),
        RedPayload(1, b"x", (Block(1, 0x4000, b"y"),)),
        RedPayload(1, b"x", (Block(1, 0, b""),)),
        RedPayload(1, b"x", (Block(1, 0, bytes(1024)),)),
        RedPayload(1, b"x", (Block(1, 0, b"y"),) * (MAX_BLOCKS + 1)),
    ],
)
def test_what_has_no_room_in_the_header_is_refused(payload):
    with pytest.raises(UsageError):
        build_red(payload)


def sent(sender, first, count):
    wrapped = []
    for number in range(count):
        stamp = first + number * STEP & 0xFFFFFFFF
        wrapped.append(sender.wrap(stamp, bytes((number,))))
        sender.keep(stamp, bytes((number,)))
    return wrapped


@pytest.mark.parametrize("first", [0, 2**32 - 3 * STEP])
def test_each_packet_carries_all_its_copies_or_none(first):
    distances = (3, 1)
    sender = RedSender(111, STEP, distances=distances)
    lossy(sender, 0.1)
    wrapped = sent(sender, first, 8)
    assert wrapped[:3] == [None] * 3
    for number, payload in enumerate(wrapped[3:], start=3):
        read = parse_red(payload)
        assert read.data == bytes((number,))
        assert [(c.offset // STEP, c.data) for c in read.copies] == [
            (d, bytes((number - d,))) for d in distances
        ]


def test_after_a_pause_or_a_closed_gate_nothing_of_before_is_said_again():
    sender = RedSender(111, STEP)
    lossy(sender, 0.1)
    reach = max(DISTANCES)
    sent(sender, 0, 10)
    assert sender.wrap(10 * STEP, b"x") is not None
    assert sent(sender, 100 * STEP, reach) == [None] * reach
    assert sender.wrap((100 + reach) * STEP, b"x") is not None
    sender.clear()
    assert sender.wrap((101 + reach) * STEP, b"x") is None


def lossy(sender, loss, *, now=0.0, round_trip=None, congested=False):
    sender.expect_loss(loss, now=now, round_trip=round_trip, congested=congested)
    return sender.active


def test_copies_begin_with_reported_loss_and_end_well_below_it():
    sender = RedSender(111, STEP)
    losses = (0.0, FROM - 0.001, FROM, UNTIL + 0.001, UNTIL, UNTIL - 0.001, FROM - 0.001, FROM)
    active = [lossy(sender, loss) for loss in losses]
    assert active == [False, False, True, True, True, False, False, True]
    assert not lossy(sender, 0.0)
    sent(sender, 0, 10)
    assert sender.wrap(10 * STEP, b"x") is None


def test_copies_that_make_a_queue_grow_end_and_are_tried_ever_more_rarely():
    sender, now = RedSender(111, STEP), 0.0
    for patience in (PATIENCE, 2 * PATIENCE, 4 * PATIENCE):
        assert lossy(sender, 0.2, now=now, round_trip=0.1)
        for second, queue in enumerate((0.3, 0.31, 0.12, 0.35, 0.36), start=1):  # jitter
            assert lossy(sender, 0.2, now=now + second, round_trip=0.1 + queue)
        assert not lossy(sender, 0.2, now=now + 6, round_trip=0.47)  # a queue
        assert not lossy(sender, 0.2, now=now + 5 + patience, round_trip=0.1)
        now += 6 + patience


def test_a_long_way_or_an_unknown_one_is_no_queue():
    sender = RedSender(111, STEP)
    assert all(lossy(sender, 0.2, round_trip=0.5 + n / 100) for n in range(8))
    assert all(lossy(RedSender(111, STEP), 0.2, round_trip=None) for _ in range(3))


def test_where_a_picture_met_congestion_no_copies_are_sent():
    sender = RedSender(111, STEP)
    assert not lossy(sender, 0.2, now=0.0, congested=True)
    assert not lossy(sender, 0.2, now=10.0)  # what is reported still tells of the congestion
    assert lossy(sender, 0.2, now=15.0)
    assert not lossy(sender, 0.2, now=16.0, congested=True)
    assert not lossy(sender, 0.2, now=15.0 + PATIENCE)
    assert lossy(sender, 0.2, now=16.0 + PATIENCE)
