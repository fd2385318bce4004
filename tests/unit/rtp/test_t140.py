"""Real-time text: packets with copies, put in order, and nothing in them that drives a terminal."""

from __future__ import annotations

import pytest

from securecall.errors import ProtocolError, UsageError
from securecall.rtp.red import parse_red
from securecall.rtp.t140 import (
    LOST,
    T140Receiver,
    T140Sender,
    TextFilter,
    TextPayload,
    parse_text,
    require_text,
)

T140 = 98


def parsed(packet):
    return parse_text(packet.payload, t140=T140, redundant=True)


def typed(*keys, cps=30, redundant=True):
    """What leaves, and when, if these are typed at these times; asked every 20 ms."""
    sender, left, keys = T140Sender(T140, redundant=redundant, cps=cps), [], list(keys)
    for tick in range(3000):
        now = tick / 50
        while keys and keys[0][0] <= now:
            sender.push(keys.pop(0)[1])
        packet = sender.poll(now=now)
        if packet is not None:
            left.append((now, packet))
    assert sender.waiting == 0
    return left


def test_a_packet_carries_the_text_of_the_two_before_it_and_their_age():
    left = typed((0, "a"), (0.1, "b"), (0.5, "\u00e9"))
    assert [(now, packet.marker) for now, packet in left] == [
        (0.0, True),
        (0.3, False),
        (0.6, False),
        (0.9, False),
        (1.2, False),
    ]
    texts = [(parsed(p).copies, parsed(p).data) for _, p in left]
    e = "\u00e9".encode()
    assert texts == [
        ((b"", b""), b"a"),
        ((b"", b"a"), b"b"),
        ((b"a", b"b"), e),
        ((b"b", e), b""),
        ((e, b""), b""),
    ]
    red = parse_red(left[2][1].payload, keep_empty=True)
    assert [copy.offset for copy in red.copies] == [600, 300]


def test_nothing_leaves_while_nobody_types_and_the_first_after_a_pause_is_marked():
    left = typed((0, "a"), (5, "b"))
    assert [now for now, packet in left if packet.marker] == [0.0, 5.0]
    assert not [now for now, _ in left if 0.61 < now < 5]


def test_the_first_packet_after_a_long_pause_repeats_nothing_that_is_too_old_for_its_field():
    _, packet = typed((0, "a"), (50, "b"))[3]
    red = parse_red(packet.payload, keep_empty=True)
    assert [(copy.data, copy.offset) for copy in red.copies] == [(b"", 16383)] * 2


def test_who_takes_no_copies_gets_text_alone():
    left = typed((0, "a"), (0.1, "b"), redundant=False)
    assert [packet.payload for _, packet in left] == [b"a", b"b"]


@pytest.mark.parametrize("cps", [1, 5, 30])
def test_no_ten_seconds_have_more_characters_than_the_listener_takes(cps):
    left = typed((0, "x" * 25 * cps), cps=cps)
    counts = [(now, len(parsed(packet).data)) for now, packet in left]
    assert sum(count for _, count in counts) == 25 * cps
    for begin, _ in counts:
        assert sum(count for now, count in counts if begin <= now < begin + 10) <= 10 * cps


def test_a_packet_of_the_longest_characters_keeps_below_the_packetisers_limit():
    left = typed((0, "\U0001f600" * 300))
    assert max(len(packet.payload) for _, packet in left) <= 1100 - 27


def test_what_was_typed_before_a_verdict_is_not_sent_after_it():
    sender = T140Sender(T140)
    sender.push("secret")
    assert sender.poll(now=0.0) is not None
    sender.push("more")
    sender.clear()
    sender.push("x")
    packet = sender.poll(now=1.0)
    assert parsed(packet) == TextPayload(b"x", (b"", b""))
    assert packet.marker


def test_text_is_redacted_where_it_is_shown_to_developers():
    packet = typed((0, "secret"))[0][1]
    for shown in (repr(packet), repr(parsed(packet)), str(packet)):
        assert "secret" not in shown


# -- in -------------------------------------------------------------------------------------------


def heard(*arrivals, polled=()):
    receiver, shown = T140Receiver(), []
    for sequence, data, *copies in arrivals:
        payload = TextPayload(data, tuple(copies))
        shown.append(receiver.receive(sequence, payload, now=0.0))
    shown += [receiver.poll(now=now) for now in polled]
    return shown, receiver.lost


def test_copies_stand_in_for_two_packets_that_are_lost():
    first, third = (7, b"a", b"", b""), (10, b"d", b"b", b"c")
    assert heard(first, third) == (["a", "bcd"], 0)


def test_the_first_packets_may_be_lost_as_well():
    assert heard((9, b"c", b"a", b"b")) == (["abc"], 0)


def test_what_comes_late_or_twice_is_shown_once():
    one, two, three = (65535, b"a", b"", b""), (0, b"b", b"", b"a"), (1, b"c", b"a", b"b")
    assert heard(one, three, two, two, one) == (["a", "bc", "", "", ""], 0)


def test_for_what_is_missing_text_waits_a_second_and_then_says_so():
    first, fifth = (1, b"a", b"", b""), (5, b"e", b"c", b"d")
    assert heard(first, fifth, polled=(0.98, 1.0, 9.0)) == (["a", "", "", LOST + "cde", ""], 1)


def test_what_comes_within_that_second_fills_the_gap():
    first, fifth, second = (1, b"a", b"", b""), (5, b"e", b"c", b"d"), (2, b"b", b"", b"a")
    assert heard(first, fifth, second, polled=(2.0,)) == (["a", "", "bcde", ""], 0)


def test_a_leap_of_numbers_is_one_loss_and_keeps_no_room():
    assert heard((1, b"a"), (3, b"c"), (20_000, b"z"), polled=(5.0,)) == (
        ["a", "", f"{LOST}c{LOST}z", ""],
        1 + 20_000 - 4,
    )


def test_what_is_no_utf8_is_replaced():
    assert heard((1, b"a\xffb")) == (["a\ufffdb"], 0)


@pytest.mark.parametrize(
    ("came", "shown"),
    [
        ("plain \u00e9\U0001f600", "plain \u00e9\U0001f600"),
        ("a\bb", "a\bb"),
        ("one\r\ntwo\rthree\nfour\u2028", "one\u2028two\u2028three\u2028four\u2028"),
        ("\ufeff", ""),
        ("a\ufeffb", "ab"),
        ("\a\0\t\x7f\x85\x9d", ""),
        ("\x1b[2J\x1b[31mred\x1b[0m", "red"),
        ("\x9b31mred\x9bm", "red"),
        ("\x1b]0;title\x07x", "0;titlex"),
        ("\x1bcx", "x"),
        ("\x9b" + "1" * 30 + "m", "1" * 14 + "m"),
        ("\x1b\x1b[31mx", "x"),
        ("\x1b\u00e9", "\u00e9"),
        ("\x9b1\u00e9m", "\u00e9m"),
    ],
)
def test_a_screen_is_given_text_and_nothing_that_drives_it(came, shown):
    assert TextFilter().take(came) == shown
    bit_by_bit = TextFilter()
    assert "".join(bit_by_bit.take(character) for character in came) == shown


# -- bytes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "no header"),
        (bytes.fromhex("e2000001 e2000001 62"), "cut off"),
        (bytes.fromhex("e2000000 61") + b"a", "own data of another type"),
        (bytes.fromhex("e1000001 62") + b"ab", "a copy of another type"),
        (bytes.fromhex("e2000000") * 9 + b"\x62", "too many copies"),
    ],
)
def test_what_is_no_text_with_copies_is_refused(payload, why):
    with pytest.raises(ProtocolError):
        parse_text(payload, t140=T140, redundant=True)


def test_text_without_copies_is_all_there_is():
    assert parse_text(b"\xe2\x82\xac", t140=T140, redundant=False) == TextPayload(b"\xe2\x82\xac")


def test_ends_of_lines_are_written_as_t140_has_them():
    assert require_text("a\r\nb\nc\rd\u2028\b\ufeff") == "a\u2028b\u2028c\u2028d\u2028\b"


@pytest.mark.parametrize("text", ["\x1b[2J", "a\0", "\t", "\x9b", "\ud800"])
def test_we_write_no_control_codes_either(text):
    with pytest.raises(UsageError, match=r"U\+"):
        require_text(text)
