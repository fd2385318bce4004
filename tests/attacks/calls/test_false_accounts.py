"""What a malicious peer cannot have us put our name to."""

from __future__ import annotations

import pytest

from securecall.calls.countersign import Countersigner
from tests.unit.calls.test_countersign import ALICE, BOB, RECORD

BEGAN, LASTED = 1_764_000_000, 3000  # a call of five minutes, by our clock


@pytest.mark.parametrize("backwards", [3600, 23 * 3600, -3600])
def test_a_call_is_not_signed_as_of_another_hour_or_day(backwards):
    alice = Countersigner(RECORD, we_call=True, sign=ALICE.sign)
    bob = Countersigner(RECORD, we_call=False, sign=BOB.sign)
    (lie,) = alice.propose(began=BEGAN - backwards, lasted=LASTED, now=0.0)
    (answer,) = bob.receive(lie, began=BEGAN, lasted=LASTED)
    assert len(answer) == 2  # a refusal holds no signature
    assert bob.outcome is None


def test_clocks_that_differ_as_clocks_do_are_signed():
    alice = Countersigner(RECORD, we_call=True, sign=ALICE.sign)
    bob = Countersigner(RECORD, we_call=False, sign=BOB.sign)
    (proposal,) = alice.propose(began=BEGAN - 120, lasted=LASTED + 20, now=0.0)
    (answer,) = bob.receive(proposal, began=BEGAN, lasted=LASTED)
    assert len(answer) == 66
    assert bob.outcome.theirs is not None
