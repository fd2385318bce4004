"""Any order and any doubling of the same things makes the same conversation."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from securecall.address import parse_address
from securecall.chat.ledger import Ledger
from securecall.chat.message import (
    Arrival,
    Delivered,
    Delivery,
    DeviceTrust,
    Displayed,
    Protection,
    Text,
    Via,
)
from tests.memory_history import MemoryHistory

ALICE = parse_address("xmpp:alice@one.example")
BOB = parse_address("xmpp:bob@two.example")


def arrival(number, said, **more):
    fields = {
        "conversation": BOB,
        "sender": BOB,
        "id": f"m{number}",
        "archive_id": f"s{number}",
        "sent": float(number),
        "protection": Protection.OMEMO,
        "trust": DeviceTrust.TRUSTED,
        "said": said,
    }
    return Arrival(**{**fields, **more})


MESSAGES = [arrival(n, Text(body=f"text {n}")) for n in range(4)]
CORRECTIONS = [arrival(n + 10, Text(body=f"better {n}", corrects=f"m{n % 4}")) for n in range(6)]
RECEIPTS = [
    arrival(n + 20, what(id=f"a{n % 3}"))
    for n, what in enumerate([Delivered, Displayed, Delivered, Displayed])
]
OWN = [
    arrival(n, Text(body=f"own {n}"), sender=ALICE, own=True, id=f"a{n}", archive_id=f"o{n}")
    for n in range(3)
]


def kept(history):
    return sorted(
        (m.id, m.text, m.edited, m.own, m.delivery) for m in history.messages(BOB, count=1000)
    )


@given(st.data())
def test_messages_and_corrections_converge(data):
    once = MemoryHistory()
    ledger = Ledger(once, ALICE)
    for each in (*OWN, *MESSAGES, *CORRECTIONS):
        ledger.enter(each)
    shuffled = data.draw(st.permutations([*OWN, *MESSAGES, *CORRECTIONS] * 2))
    again = MemoryHistory()
    ledger = Ledger(again, ALICE)
    for each in shuffled:
        via = data.draw(st.sampled_from(Via))
        ledger.enter(replace(each, via=via))
    assert kept(again) == kept(once)


@given(st.lists(st.sampled_from([*OWN, *RECEIPTS]), max_size=20))
def test_a_message_only_ever_gets_further(arrivals):
    history = MemoryHistory()
    ledger = Ledger(history, ALICE)
    order = list(Delivery)
    far: dict[str, int] = {}
    for each in arrivals:
        ledger.enter(each)
        for message in history.messages(BOB, count=1000):
            now = order.index(message.delivery)
            assert now >= far.get(message.id, 0)
            far[message.id] = now
