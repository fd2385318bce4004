"""Strangers, servers and peers ask a user agent to call whom they like, as often as they like.

Beside ours stands an agent that does what REFER says, as many do: it calls.
"""

from __future__ import annotations

import pytest

from securecall.address import parse_address
from securecall.calls.machine import CallMachine
from securecall.calls.negotiation import build_answer, build_offer
from securecall.calls.signaling import (
    Answered,
    Ended,
    TransferProgress,
    TransferRequested,
    TransferStep,
)
from securecall.errors import EndReason
from securecall.policy import Gate, Policy, floor_for
from securecall.sip.grammar import parse_name_addr
from securecall.sip.output import Rang, Told
from securecall.sip.transfers import MOST_ASKED
from tests.unit.calls.test_machine import proven
from tests.unit.calls.test_negotiation import ALICE, BOB, local
from tests.unit.sip.test_agent import OFFER, agent, answered, give, incoming, methods, sent

EVE = "<sip:eve@example.com>"
PREMIUM = "<sip:premium@example.com;method=INVITE?Subject=free&Route=%3Csip:eve%40example.com%3E>"
UNKNOWN = "<sip:alice@example.com>;tag=0123456789"


def refer(to, target, number):
    return incoming(
        "REFER",
        body=b"",
        to=to,
        cseq=str(number),
        branch=f"z9hG4bKfalse{number}",
        more=f"Refer-To: {target}\r\n",
    )


class Naive:
    """A user agent as many are: a REFER is a call, whoever sends it and whenever."""

    def __init__(self) -> None:
        self.agent = agent()
        self.session, self.to = answered(self.agent)
        self.called: list[str] = []

    def ask(self, request) -> None:
        addr = parse_name_addr(request.headers.first("refer-to"), "Refer-To")
        _, outputs = self.agent.invite(
            target=addr.uri.text,
            from_uri="sip:alice@example.com",
            offer=OFFER,
            flow=1,
            direct=False,
            now=5.0,
        )
        self.called += [m.target for m in sent(outputs)]


class Ours:
    """The library as far as it goes without a person: agent and call machine."""

    def __init__(self, *, connected: bool = True) -> None:
        self.agent = agent()
        self.session, self.to = answered(self.agent)
        self.called: list[str] = []
        self.told: list[TransferRequested] = []
        floor = floor_for(Policy(), contact_floor=False, pinned=False, direct=False)
        self.machine = CallMachine(Policy(), floor, outgoing=False)
        _ = self.machine.invited(build_offer(local(ALICE, 1)), now=0.0)
        _ = self.machine.accept(local(BOB, 2), now=0.0)
        if connected:
            _ = self.machine.secured(proven(), now=0.0)

    def ask(self, request) -> None:
        outputs = give(self.agent, request, 5.0)
        self.called += [m for m in methods(outputs) if m == "INVITE"]
        for output in outputs:
            if isinstance(output, Told):
                self._tell(output.signal)

    def _tell(self, signal) -> None:
        self.told.append(signal)
        for order in self.machine.receive(signal, now=5.0):
            if hasattr(order, "signal"):
                outputs = self.agent.perform(self.session, order.signal, now=5.0)
                self.called += [m for m in methods(outputs) if m == "INVITE"]


ATTACKS = {
    "by a stranger, outside of any call": lambda a, n: refer("<sip:alice@example.com>", EVE, n),
    "by somebody who guesses at a call": lambda a, n: refer(UNKNOWN, EVE, n),
    "by the peer": lambda a, n: refer(a.to, EVE, n),
    "with more than a call in it": lambda a, n: refer(a.to, PREMIUM, n),
    "to a number that costs": lambda a, n: refer(a.to, "<tel:+449098790000>", n),
    "to a machine": lambda a, n: refer(a.to, "<sip:eve@192.0.2.66:5060>", n),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_nobody_is_called_however_often_it_is_asked(attack):
    ours = Ours()
    for number in range(100, 200):
        ours.ask(attack(ours, number))
    assert ours.called == []
    assert len(ours.told) <= MOST_ASKED  # and nobody is bothered for ever


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_control_an_agent_that_obeys_calls_each_time(attack):
    naive = Naive()
    for number in range(100, 200):
        naive.ask(attack(naive, number))
    assert len(naive.called) == 100


def test_before_it_is_proved_who_asks_nobody_is_even_asked_to_decide():
    ours = Ours(connected=False)
    ours.ask(refer(ours.to, EVE, 100))
    assert [r.number for r in ours.told] == [100]  # told to the machine, which refused at once:
    assert ours.session._transfers.pending is None
    later = TransferProgress(TransferStep.ANSWERED, number=100)
    assert sent(ours.agent.perform(ours.session, later, now=6.0)) == []


def test_a_stranger_that_knows_no_call_replaces_none_and_learns_of_none():
    """Refused alike whether there is a call or not; who guesses one of its names is."""
    busy, idle = Ours(), agent()
    dialog = busy.session.dialog
    known = (dialog.call_id, dialog.local_tag, dialog.remote_tag)
    for wrong in range(3):
        names = [*known]
        names[wrong] = "guessed"
        value = "{};to-tag={};from-tag={}".format(*names)
        changes = {"from": "<sip:eve@example.com>;tag=e", "cseq": str(wrong)}
        invite = incoming(more=f"Replaces: {value}\r\n", branch=f"z9hG4bKr{wrong}", **changes)
        said = [sent(give(a, invite, 5.0))[0].status for a in (busy.agent, idle)]
        assert said == [481, 481]


def test_control_without_the_names_of_a_call_the_same_invite_rings():
    changes = {"from": "<sip:eve@example.com>;tag=e", "cseq": "1"}
    outputs = give(agent(), incoming(branch="z9hG4bKr", **changes), 5.0)
    assert [o for o in outputs if isinstance(o, Rang)]


def stepping_in(a):
    """An INVITE of Eve's that asks to take the place of Alice's call, whose names she overheard."""
    session, _ = answered(a)
    dialog = session.dialog
    names = f"{dialog.call_id};to-tag={dialog.local_tag};from-tag={dialog.remote_tag}"
    changes = {"from": "<sip:eve@example.com>;tag=e", "cseq": "1", "branch": "z9hG4bKeve"}
    outputs = give(a, incoming(more=f"Replaces: {names}\r\nRequire: replaces\r\n", **changes), 5.0)
    (rang,) = [o for o in outputs if isinstance(o, Rang)]
    return session, rang.session, outputs


def test_who_overheard_the_names_of_a_call_rings_and_takes_nothing():
    session, new, outputs = stepping_in(agent())
    assert methods(outputs) == []
    assert (session.state.value, new.state.value) == ("confirmed", "alerting")


def test_control_an_agent_that_does_as_replaces_says_gives_the_call_away():
    a = agent()
    session, new, _ = stepping_in(a)
    outputs = a.perform(new, Answered(OFFER), now=6.0)
    outputs += a.perform(new.replaced, Ended(EndReason.HUNG_UP), now=6.0)
    assert methods(outputs) == ["BYE"]
    assert session.state.value == "closing"


def test_a_transfer_changes_neither_keys_nor_level_nor_where_the_sound_goes():
    """The machine orders nothing but words: no gate, no media, no direction."""
    floor = floor_for(Policy(), contact_floor=False, pinned=False, direct=False)
    machine = CallMachine(Policy(), floor, outgoing=True)
    offer = machine.dial(local(ALICE, 1), now=0.0)
    _ = machine.receive(Answered(build_answer(offer, local(BOB, 2))[0]), now=0.0)
    opened = machine.secured(proven(), now=0.0)
    assert Gate.OPEN in [getattr(o, "gate", None) for o in opened]
    before = {**vars(machine)}
    eve = TransferRequested("sip:eve@example.com", parse_address("sip:eve@example.com"), number=7)
    for signal in (eve, TransferProgress(TransferStep.ANSWERED), TransferRequested("sip:eve@x")):
        outputs = machine.receive(signal, now=1.0)
        assert {type(o).__name__ for o in outputs} <= {"Send", "TransferAsked", "TransferTold"}
        assert vars(machine) == before
