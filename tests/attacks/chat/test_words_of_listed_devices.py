"""A server lists a device of its own among a contact's, and speaks with it (A5): OMEMO it can do.

What such a device writes is shown with its standing. These are the words that have none, or that
change what another device said. The control believes every device.
"""

from __future__ import annotations

import pytest

from securecall.address import parse_address
from securecall.chat import ledger as module
from securecall.chat.ledger import Active, Ignored, Ledger, Received
from securecall.chat.message import (
    Activity,
    Arrival,
    Delivered,
    Delivery,
    DeviceTrust,
    Displayed,
    Protection,
    Reaction,
    Text,
    Typing,
)
from tests.memory_history import MemoryHistory

pytestmark = pytest.mark.attack

ALICE = parse_address("xmpp:alice@one.example")
BOB = parse_address("xmpp:bob@two.example")
THUMB = frozenset("👍")
GENUINE, LISTED = 7, 666


@pytest.fixture(params=[True, False], ids=["guarded", "control"])
def guarded(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(module, "_BELIEVED", tuple(DeviceTrust))
    return request.param


@pytest.fixture
def history():
    return MemoryHistory()


@pytest.fixture
def ledger(history):
    made = Ledger(history, ALICE)
    made.compose(
        BOB,
        Text(body="Do I operate?"),
        name="a1",
        unix=50.0,
        protection=Protection.OMEMO,
        device=1,
    )
    return made


def forged(said, device=LISTED, **more):
    fields = {
        "conversation": BOB,
        "sender": BOB,
        "id": "x",
        "sent": 100.0,
        "protection": Protection.OMEMO,
        "device": device,
        "trust": DeviceTrust.UNDECIDED,
        "said": said,
    }
    return Arrival(**{**fields, **more})


@pytest.mark.parametrize("trust", [DeviceTrust.UNDECIDED, DeviceTrust.DISTRUSTED])
def test_it_reacts_to_nothing(ledger, history, guarded, trust):
    ledger.enter(forged(Reaction(to="a1", emojis=THUMB), trust=trust))
    (message,) = history.messages(BOB)
    assert dict(message.reactions) == ({} if guarded else {BOB: THUMB})


def test_it_reacts_to_nothing_as_ourselves(ledger, history, guarded):
    ledger.enter(forged(Reaction(to="a1", emojis=THUMB), sender=ALICE, own=True))
    (message,) = history.messages(BOB)
    assert bool(message.reactions) is not guarded


@pytest.mark.parametrize("mark", [Delivered(id="a1"), Displayed(id="a1")])
def test_it_acknowledges_nothing(ledger, history, guarded, mark):
    ledger.enter(forged(mark))
    (message,) = history.messages(BOB)
    assert (message.delivery is Delivery.PENDING) is guarded


@pytest.mark.parametrize("protection", [Protection.OMEMO, Protection.NONE])
def test_it_has_read_nothing_for_us(ledger, history, guarded, protection, monkeypatch):
    """Nor has the server, in the clear, in the name of another device of ours."""
    if not guarded:
        monkeypatch.setattr(module, "_may_tell", lambda arrival, known: True)
    ledger.enter(forged(Text(body="urgent"), GENUINE, id="b1", trust=DeviceTrust.TRUSTED))
    ledger.enter(forged(Displayed(id="b1"), sender=ALICE, own=True, protection=protection))
    assert history.unread(BOB) == (1 if guarded else 0)


@pytest.mark.parametrize(
    "clear", [True, False], ids=["in the clear, by the server", "sealed, by the device"]
)
def test_it_types_nothing(ledger, guarded, clear, monkeypatch):
    """Somebody waits for an answer that "is being written", and does not call."""
    if not guarded:
        monkeypatch.setattr(module, "_may_tell", lambda arrival, known: True)
    protection = Protection.NONE if clear else Protection.OMEMO
    (news,) = ledger.enter(forged(Typing(activity=Activity.COMPOSING), protection=protection))
    assert isinstance(news, Ignored if guarded else Active)


def test_it_corrects_nothing_of_a_device_that_is_as_undecided(ledger, history, guarded):
    """Somebody wrote to us first: nobody decided about their device either."""
    ledger.enter(forged(Text(body="ten drops"), GENUINE, id="b1"))
    ledger.enter(forged(Text(body="ten cups", corrects="b1"), id="x"))
    texts = [message.text for message in history.messages(BOB)][1:]
    assert texts == (["ten drops", "ten cups"] if guarded else ["ten cups"])


def test_its_correction_does_not_swallow_what_comes_after(ledger, history, guarded):
    ledger.enter(forged(Text(body="ten cups", corrects="b1"), id="x"))
    news = ledger.enter(forged(Text(body="ten drops"), GENUINE, id="b1"))
    assert any(isinstance(one, Received) for one in news) is guarded


def test_who_is_trusted_does_all_that(ledger, history):
    trusted = {"trust": DeviceTrust.TRUSTED, "device": GENUINE}
    ledger.enter(forged(Text(body="ten drops"), id="b1", **trusted))
    ledger.enter(forged(Text(body="nine drops", corrects="b1"), id="x", **trusted))
    ledger.enter(forged(Reaction(to="a1", emojis=THUMB), **trusted))
    ledger.enter(forged(Displayed(id="a1"), **trusted))
    typing = forged(Typing(activity=Activity.COMPOSING), **trusted)
    assert ledger.enter(typing) == (Active(BOB, BOB, Activity.COMPOSING),)
    ours, theirs = history.messages(BOB)
    assert (dict(ours.reactions), ours.delivery) == ({BOB: THUMB}, Delivery.DISPLAYED)
    assert theirs.text == "nine drops"
