"""Whatever happens in whatever order, the machine opens nothing without acceptance and evidence."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from securecall.calls import machine as m
from securecall.calls.machine import CallMachine, State
from securecall.calls.negotiation import build_answer, build_offer
from securecall.calls.signaling import Answered, Ended, Offered, Ringing, TransferRequested
from securecall.errors import EndReason, PeerVanished, UsageError
from securecall.keys.trust import TrustState
from securecall.media.description import Keying
from securecall.policy import Gate, Policy, SecurityLevel, floor_for
from tests.unit.calls.test_machine import UNPROVEN, proven
from tests.unit.calls.test_negotiation import ALICE, BOB, local, offer, with_audio

OUR_OFFER = build_offer(local(ALICE, 1))
ANSWER = build_answer(OUR_OFFER, local(BOB, 2))[0]
PLAIN = with_audio(ANSWER, keying=Keying.NONE, fingerprints=())
NEW_KEYS = with_audio(offer(), fingerprints=(BOB,))
Act = Callable[[CallMachine], tuple[m.Output, ...]]

ACTS: dict[str, Act] = {
    "ringing": lambda c: c.receive(Ringing(), now=1.0),
    "answer": lambda c: c.receive(Answered(ANSWER), now=1.0),
    "early answer": lambda c: c.receive(Answered(ANSWER, final=False), now=1.0),
    "plain answer": lambda c: c.receive(Answered(PLAIN), now=1.0),
    "re-offer": lambda c: c.receive(Offered(offer()), now=1.0),
    "re-offer, new keys": lambda c: c.receive(Offered(NEW_KEYS), now=1.0),
    "transfer": lambda c: c.receive(TransferRequested("sip:eve@example.com"), now=1.0),
    "peer ends": lambda c: c.receive(Ended(EndReason.HUNG_UP), now=1.0),
    "accept": lambda c: c.accept(local(BOB, 2), now=1.0),
    "evidence": lambda c: c.secured(proven(), now=1.0),
    "first contact": lambda c: c.secured(proven(TrustState.UNKNOWN), now=1.0),
    "no evidence": lambda c: c.secured(UNPROVEN, now=1.0),
    "confirm": lambda c: c.confirm_sas(),
    "deny": lambda c: c.deny_sas(),
    "media fails": lambda c: c.media_failed(PeerVanished()),
    "deadline": lambda c: c.expire(now=1e9),
    "hang up": lambda c: c.hang_up(),
}


@dataclass
class Watch:
    """Holds a machine to the rules over a sequence of acts."""

    machine: CallMachine
    outgoing: bool
    minimum: SecurityLevel
    agreed: bool = False
    proven: bool = False
    finished: bool = False

    def step(self, name: str) -> None:
        try:
            outputs = ACTS[name](self.machine)
        except UsageError:
            return
        if self.finished:
            assert all(isinstance(o, m.Discard) for o in outputs), name
            return
        for output in outputs:
            self.check(name, output)

    def check(self, name: str, output: m.Output) -> None:
        match output:
            case m.StartMedia():
                assert not self.agreed, "media is started once"
                assert name == ("answer" if self.outgoing else "accept")
                self.agreed = True
            case m.Secured(state=state):
                self.proven = state.identity is not None
            case m.SetGate(gate=Gate.OPEN):
                assert self.agreed
                assert self.proven
                assert self.machine.security.level >= self.minimum
            case m.SetGate(gate=Gate.VERIFYING):
                assert self.agreed
                assert self.proven
                assert self.minimum is SecurityLevel.VERIFIED
            case m.Finish():
                assert self.machine.state is State.ENDED
                assert self.machine.deadline is None
                self.finished = True
            case _:
                pass


def begin(*, outgoing: bool, minimum: SecurityLevel) -> Watch:
    policy = Policy(minimum=minimum)
    floor = floor_for(policy, contact_floor=False, pinned=False, direct=False)
    machine = CallMachine(policy, floor, outgoing=outgoing)
    if outgoing:
        machine.dial(local(ALICE, 1), now=0.0)
    else:
        machine.invited(offer(), now=0.0)
    return Watch(machine, outgoing, minimum)


LEVELS = (SecurityLevel.OPPORTUNISTIC, SecurityLevel.E2EE, SecurityLevel.VERIFIED)


@pytest.mark.parametrize("outgoing", [True, False])
@pytest.mark.parametrize("minimum", LEVELS)
def test_all_orders_of_three_events(outgoing, minimum):
    for names in itertools.product(ACTS, repeat=3):
        watch = begin(outgoing=outgoing, minimum=minimum)
        for name in names:
            watch.step(name)


@pytest.mark.parametrize("outgoing", [True, False])
@pytest.mark.parametrize("minimum", LEVELS)
def test_long_random_orders(outgoing, minimum):
    chance = random.Random(f"{outgoing}{minimum}")
    names = list(ACTS)
    for _ in range(1500):
        watch = begin(outgoing=outgoing, minimum=minimum)
        for _ in range(chance.randint(4, 40)):
            watch.step(chance.choice(names))
            if watch.finished and chance.random() < 0.5:
                break


def test_the_walk_reaches_every_state():
    reached = set()
    chance = random.Random(7)
    for _ in range(3000):
        watch = begin(outgoing=chance.random() < 0.5, minimum=chance.choice(LEVELS))
        for _ in range(8):
            reached.add(watch.machine.state)
            watch.step(chance.choice(list(ACTS)))
    assert reached == set(State)
