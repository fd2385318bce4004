"""Real-time text against any bytes, any loss and any order."""

from __future__ import annotations

import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from securecall.errors import ProtocolError
from securecall.rtp.t140 import LOST, T140Receiver, T140Sender, parse_text

T140 = 98
TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\ufeff"))
QUICK = settings(max_examples=60, deadline=None)


def sent(strokes):
    """Packets of these strokes, one each 300 ms, and what follows them."""
    sender, packets, now = T140Sender(T140, cps=10_000), [], 0.0
    for stroke in (*strokes, "", "", ""):
        sender.push(stroke)
        packet = sender.poll(now=now)
        while packet is not None:
            packets.append(parse_text(packet.payload, t140=T140, redundant=True))
            now += 0.3
            packet = sender.poll(now=now) if sender.waiting else None
    return packets


def received(packets, first):
    receiver, shown, now = T140Receiver(), "", 0.0
    for number, payload in packets:
        now += 0.1
        shown += receiver.receive(first + number & 0xFFFF, payload, now=now)
    for _ in packets:
        now += 1.0
        shown += receiver.poll(now=now)
    return shown


@QUICK
@given(
    st.lists(st.text("abc\u00e9\U0001f600", min_size=1, max_size=5), min_size=1, max_size=20),
    st.integers(0, 65535),
    st.data(),
)
def test_a_loss_of_two_in_a_row_loses_nothing(strokes, first, data):
    packets, left, run = list(enumerate(sent(strokes))), [], 0
    for packet in packets:
        run = run + 1 if run < 2 and data.draw(st.booleans()) else 0
        if not run:
            left.append(packet)
    # of the last three packets one has to come: the sender is silent afterwards
    left = left if left and left[-1][0] >= len(packets) - 1 else [*left, packets[-1]]
    assert received(left, first) == "".join(strokes)


@QUICK
@given(
    st.lists(st.text("abc", min_size=1, max_size=3), min_size=6, max_size=20),
    st.integers(0, 65535),
    st.integers(1, 2),
)
def test_what_three_in_a_row_take_away_is_marked_where_it_stood(strokes, first, at):
    """The control: what the copies are good for is missing here."""
    packets = list(enumerate(sent(strokes)))
    left = packets[: at + 1] + packets[at + 4 :]
    expected = "".join((*strokes[: at + 1], LOST, *strokes[at + 2 :]))
    assert received(left, first) == expected


@QUICK
@given(st.lists(TEXTS.filter(bool), min_size=1, max_size=8), st.integers(0, 65535), st.randoms())
def test_any_order_and_any_copy_show_the_same(strokes, first, chance):
    packets = list(enumerate(sent(strokes)))
    mixed = packets[:1] + chance.sample(packets[1:], len(packets) - 1)
    mixed += chance.choices(packets, k=5)
    receiver, shown = T140Receiver(), ""
    for number, payload in mixed:
        shown += receiver.receive(first + number & 0xFFFF, payload, now=0.0)
    assert shown == "".join(strokes)
    assert receiver.lost == 0


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 65535), st.binary(max_size=40)), max_size=12), st.booleans()
)
def test_any_bytes_are_text_or_refused_and_never_control_codes(packets, redundant):
    receiver, shown = T140Receiver(), ""
    for number, (sequence, payload) in enumerate(packets):
        try:
            parsed = parse_text(payload, t140=T140, redundant=redundant)
        except ProtocolError:
            continue
        shown += receiver.receive(sequence, parsed, now=number / 3)
        shown += receiver.poll(now=number / 3)
        assert len(receiver._blocks) < 100
    assert not [c for c in shown if unicodedata.category(c) == "Cc" and c != "\b"]
