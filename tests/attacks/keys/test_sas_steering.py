"""H5: nobody between two callers can steer the words they compare; an exhaustive check.

The model is `securecall.testing.attacks.words`; here it is played once more, over
1-bit strings, by brute force over every strategy there is. The control is the early design that was
broken in review, in which the last speaker of a leg chooses a hashed field after it has seen the
others.
"""

from __future__ import annotations

import itertools
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
    broken_leg_events,
    interleavings,
    leg_events,
    legs,
)


def best_strategy(events: list[tuple[int, str]]) -> Fraction:
    """As `best_chance`: honest nonces are drawn first, strategies are whole tables."""
    decisions = [n for n, (_, event) in enumerate(events) if event == CHOOSE]
    seen = {n: [leg for leg, e in events[:n] if e == LEARN] for n in decisions}
    tables = [list(itertools.product((0, 1), repeat=2 ** len(seen[n]))) for n in decisions]
    best = Fraction(0)
    for strategy in itertools.product(*tables):
        wins = 0
        for honest in itertools.product((0, 1), repeat=2):
            string = [honest[0], honest[1]]
            for table, n in zip(strategy, decisions, strict=True):
                history = 0
                for leg in seen[n]:
                    history = 2 * history + honest[leg]
                string[events[n][0]] ^= table[history]
            wins += string[0] == string[1]
        best = max(best, Fraction(wins, 4))
    return best


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
