"""H5: nobody between two callers can steer the words they compare; an exhaustive check.

The model is `securecall.testing.attacks.words`. The control is the early design that was broken in
review, in which the last speaker of a leg chooses a hashed field after it has seen the others.
"""

from __future__ import annotations

from fractions import Fraction

import pytest

from securecall.keys.identity_messages import CallRole
from securecall.testing.attacks.words import (
    CHOOSE,
    LEARN,
    NOTHING,
    ROLE_PAIRS,
    SIZE,
    best_of,
    best_strategy,
    broken_leg_events,
    interleavings,
    leg_events,
    legs,
)


@pytest.mark.parametrize(("last_to_alice", "last_to_bob"), ROLE_PAIRS)
def test_control_where_mallory_speaks_last_the_early_design_is_steered(last_to_alice, last_to_bob):
    best = best_of(
        broken_leg_events(mallory_speaks_last=last_to_alice),
        broken_leg_events(mallory_speaks_last=last_to_bob),
    )
    assert best == (1 if last_to_alice or last_to_bob else Fraction(1, SIZE))


@pytest.mark.parametrize(("alice_is_client", "bob_is_client"), ROLE_PAIRS)
def test_no_strategy_at_all_does_better_than_a_coin(alice_is_client, bob_is_client):
    both = legs(alice_is_client=alice_is_client, bob_is_client=bob_is_client)
    assert {best_strategy(order) for order in interleavings(*both)} == {Fraction(1, 2)}


def test_control_some_strategy_against_the_early_design_always_wins():
    last = broken_leg_events(mallory_speaks_last=True)
    assert max(best_strategy(order) for order in interleavings(last, last)) == 1


@pytest.mark.parametrize("honest_is_client", [True, False])
@pytest.mark.parametrize("role", CallRole)
def test_a_leg_has_three_nonce_messages_and_mallory_chooses_before_she_learns(
    honest_is_client, role
):
    events = leg_events(honest_is_client=honest_is_client, honest_role=role)
    assert sorted(events) == sorted([CHOOSE, LEARN, NOTHING])
    assert events.index(CHOOSE) < events.index(LEARN)
