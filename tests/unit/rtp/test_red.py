"""Redundant audio: payloads, and which copies a packet carries (RFC 2198)."""

from __future__ import annotations

import random

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
    WIDE_DISTANCES,
    Block,
    RedPayload,
    RedSender,
    build_red,
    parse_red,
)
from securecall.rtp.rtcp import ReportBlock
from securecall.testing.impairment import Bursts

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


def lossy(sender, loss, *, now=0.0, round_trip=None, congested=False, report=None):
    sender.expect_loss(loss, now=now, round_trip=round_trip, congested=congested, report=report)
    return sender.active


def report(highest, lost, *, jitter=0):
    return ReportBlock(
        ssrc=1, fraction_lost=0, cumulative_lost=lost, highest_sequence=highest, jitter=jitter
    )


def reported(sender, bursts, *, seed=1, packets=50, count=40, now=0.0):
    """Reports of a path with these bursts, one for so many packets; how far copies reach after."""
    chance, bad, lost, reaches = random.Random(seed), False, 0, []
    for number in range(1, count + 1):
        for _ in range(packets):
            bad ^= chance.random() < (bursts.leave if bad else bursts.enter)
            lost += bad
        lossy(sender, 0.1, now=now + number, report=report(number * packets, lost))
        reaches.append(max(sender.distances))
    return reaches


@pytest.mark.parametrize("seed", range(5))
def test_copies_reach_further_where_losses_come_in_bursts(seed):
    sender, chance = RedSender(111, STEP), Bursts(0.1, 0.9)
    assert set(reported(sender, chance, seed=seed)) == {max(DISTANCES)}
    bursts = Bursts(0.03, 0.25)
    sender = RedSender(111, STEP)
    assert reported(sender, bursts, seed=seed)[-1] == max(WIDE_DISTANCES)
    assert reported(sender, chance, seed=seed, count=120, now=40.0)[-1] == max(DISTANCES)


def test_on_a_long_way_bursts_are_taken_for_granted_until_reports_tell():
    near, far = RedSender(111, STEP), RedSender(111, STEP)
    lossy(near, 0.1, round_trip=0.2)
    lossy(far, 0.1, round_trip=0.4)
    assert (sorted(near.distances), sorted(far.distances)) == (
        sorted(DISTANCES),
        sorted(WIDE_DISTANCES),
    )
    assert reported(far, Bursts(0.1, 0.9))[-1] == max(DISTANCES)


def test_reports_that_make_no_sense_teach_nothing():
    sender = RedSender(111, STEP)
    for number, (highest, lost) in enumerate(((2**32 - 1, -(2**23)), (0, 2**23 - 1), (5, 0)) * 9):
        lossy(sender, 0.1, now=float(number), report=report(highest, lost))
    assert max(sender.distances) == max(DISTANCES)


def test_what_jitter_explains_is_no_queue():
    calm, shaken = RedSender(111, STEP), RedSender(111, STEP)
    for sender, jitter in ((calm, 0), (shaken, STEP * 2)):  # 40 ms
        assert lossy(sender, 0.2, round_trip=0.5)
        for second in range(1, 9):
            lossy(
                sender,
                0.2,
                now=float(second),
                round_trip=0.8 + second / 1000,
                report=report(0, 0, jitter=jitter),
            )
    assert not calm.active
    assert shaken.active


def test_copies_begin_with_reported_loss_and_end_well_below_it():
    sender = RedSender(111, STEP)
    losses = (0.0, FROM - 0.001, FROM, UNTIL + 0.001, UNTIL, UNTIL - 0.001, FROM - 0.001, FROM)
    active = [lossy(sender, loss) for loss in losses]
    assert active == [False, False, True, True, True, False, False, True]
    assert not lossy(sender, 0.0)
    sent(sender, 0, 10)
    assert sender.wrap(10 * STEP, b"x") is None


JITTER = (0.3, 0.31, 0.32, 0.33, 0.12, 0.35, 0.36, 0.34, 0.38)


def test_copies_that_make_a_queue_grow_end_and_are_tried_ever_more_rarely():
    sender, now = RedSender(111, STEP), 0.0
    for patience in (PATIENCE, 2 * PATIENCE, 4 * PATIENCE):
        assert lossy(sender, 0.2, now=now, round_trip=0.1)
        for second, queue in enumerate(JITTER, start=1):
            assert lossy(sender, 0.2, now=now + second, round_trip=0.1 + queue)
        end = now + len(JITTER) + 1
        assert not lossy(sender, 0.2, now=end, round_trip=0.47)  # a queue
        assert not lossy(sender, 0.2, now=end + patience - 1, round_trip=0.1)
        now = end + patience


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
