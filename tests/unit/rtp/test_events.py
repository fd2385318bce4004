"""Digits in RTP: bytes as RFC 4733 has them, each digit once, loss or not."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import ProtocolError, UsageError
from securecall.rtp.events import (
    DIGITS,
    GAP_TICKS,
    MOST_WAITING,
    REPEATS,
    TONE_TICKS,
    Event,
    EventReceiver,
    EventSender,
    build_event,
    parse_event,
)

STEP = 160


def sent(digits, ticks=None):
    """What goes out, tick by tick."""
    sender = EventSender(STEP)
    sender.press(digits)
    count = ticks or len(digits) * (TONE_TICKS + REPEATS + GAP_TICKS)
    return sender, [sender.tick(1000 + STEP * number) for number in range(count)]


def test_the_bytes_are_those_of_the_rfc():
    """Table 1 and figure 1 of RFC 4733: event, E R volume, duration."""
    assert build_event(Event("9", end=False, duration=160)) == bytes.fromhex("090a00a0")
    assert build_event(Event("#", end=True, duration=1280)) == bytes.fromhex("0b8a0500")
    assert parse_event(bytes.fromhex("0b8a0500")) == Event("#", end=True, duration=1280)
    assert parse_event(bytes.fromhex("10000320")) is None  # a flash


def test_a_digit_begins_with_a_marker_keeps_its_timestamp_and_ends_three_times():
    sender, packets = sent("5")
    tone = [p for p in packets if p is not None]
    assert len(tone) == TONE_TICKS + REPEATS
    assert [p.marker for p in tone] == [True] + [False] * (len(tone) - 1)
    assert {p.timestamp for p in tone} == {1000}
    events = [parse_event(p.payload) for p in tone]
    assert [e.end for e in events] == [False] * TONE_TICKS + [True] * REPEATS
    durations = [e.duration for e in events]
    assert durations == [STEP * n for n in range(1, TONE_TICKS + 1)] + [STEP * TONE_TICKS] * REPEATS
    assert not sender.busy


def test_two_of_the_same_are_two():
    _, packets = sent("11")
    receiver = EventReceiver()
    heard = [receiver.receive(p.timestamp, p.payload) for p in packets if p is not None]
    assert "".join(heard) == "11"


@given(st.text(DIGITS, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_any_one_packet_of_each_digit_is_enough_and_order_and_doubles_do_not_matter(digits, chance):
    _, packets = sent(digits)
    by_digit: dict[int, list] = {}
    for packet in packets:
        if packet is not None:
            by_digit.setdefault(packet.timestamp, []).append(packet)
    receiver, heard = EventReceiver(), []
    for group in by_digit.values():
        left = chance.sample(group, chance.randint(1, len(group)))
        for packet in left + left[:1]:
            heard.append(receiver.receive(packet.timestamp, packet.payload + b"\0" * 60))
    assert "".join(heard) == digits


def test_small_letters_are_pressed_too_and_what_is_on_no_keypad_is_not():
    sender, packets = sent("a", 1)
    assert parse_event(packets[0].payload).digit == "A"
    for digits in ("x", "1 2", "\u0663"):
        with pytest.raises(UsageError):
            sender.press(digits)
    with pytest.raises(UsageError):
        sender.press("1" * (MOST_WAITING + 1))


def test_what_is_cleared_is_not_sent():
    sender, _ = sent("123", 2)
    assert sender.busy
    sender.clear()
    assert not sender.busy
    assert sender.tick(0) is None


@given(st.binary(max_size=40))
def test_no_bytes_do_more_than_break_a_rule(data):
    receiver = EventReceiver()
    try:
        assert receiver.receive(random.getrandbits(32), data) in ("", *DIGITS)
    except ProtocolError:
        assert len(data) < 4
