"""H5: nobody between two callers can steer the words they compare; an exhaustive check.

Model: Mallory sits between Alice and Bob and runs the handshake with each. The exporters are
fixed before any nonce is out, so on each leg the short authentication string is a function of
the two nonces alone. All interleavings of the two legs' nonce messages (20) are played for all
pairs of TLS roles (4), with the order of messages taken from the code's own `DIALOGUE`. Mallory
plays perfectly: she remembers everything and chooses each nonce of hers for the best outcome.

Once over 8-bit strings by backward induction, once over 1-bit strings by brute force over every
strategy there is. The control is the early design that was broken in review, in which the last
speaker of a leg chooses a hashed field after it has seen the others.
"""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest

from securecall.keys.identity_dialogue import DIALOGUE
from securecall.keys.identity_messages import CallRole, MessageType

COMMIT, NONCE, REVEAL = MessageType.COMMIT, MessageType.NONCE, MessageType.REVEAL
CHOOSE, LEARN, NOTHING = "Mallory fixes her nonce", "Mallory learns the honest one", "nothing"


def wire_order(honest_is_client: bool, honest_role: CallRole) -> list[tuple[bool, MessageType]]:
    """(sent by the client?, message), as two ends that follow DIALOGUE put them on the wire."""
    scripts = {
        True: list(DIALOGUE[True, honest_role if honest_is_client else honest_role.other]),
        False: list(DIALOGUE[False, honest_role.other if honest_is_client else honest_role]),
    }
    order, waiting = [], []

    def say(client: bool, kinds: tuple[MessageType, ...]) -> None:
        waiting.extend((client, kind) for kind in kinds)

    for client in (True, False):
        say(client, scripts[client].pop(0)[1])
    while waiting:
        client, kind = waiting.pop(0)
        order.append((client, kind))
        awaited, answers = scripts[not client].pop(0)
        assert awaited is kind
        say(not client, answers)
    assert scripts == {True: [], False: []}
    return order


def leg_events(honest_is_client: bool, honest_role: CallRole) -> list[str]:
    """What each of the three nonce messages of a leg means to Mallory."""
    meaning = {
        # honest client: commits to its own, sees Mallory's, reveals
        (True, True, COMMIT): NOTHING,
        (True, False, NONCE): CHOOSE,
        (True, True, REVEAL): LEARN,
        # honest server: holds Mallory's commitment when it shows its own
        (False, True, COMMIT): CHOOSE,
        (False, False, NONCE): LEARN,
        (False, True, REVEAL): NOTHING,
    }
    return [
        meaning[honest_is_client, client, kind]
        for client, kind in wire_order(honest_is_client, honest_role)
        if kind in (COMMIT, NONCE, REVEAL)
    ]


def broken_leg_events(mallory_speaks_last: bool) -> list[str]:
    """The early design: both fields are shown openly, and hashed; who comes last has seen all."""
    return [LEARN, CHOOSE] if mallory_speaks_last else [CHOOSE, LEARN]


def interleavings(first: list[str], second: list[str]):
    """Every order of the two legs' events, as (leg, event)."""
    size = len(first) + len(second)
    for places in itertools.combinations(range(size), len(first)):
        legs = (iter(first), iter(second))
        yield [(0, next(legs[0])) if n in places else (1, next(legs[1])) for n in range(size)]


# -- 8 bits, backward induction ------------------------------------------------------------------

SIZE = 256
# A string of two nonces: for either nonce fixed, the other still decides it evenly. (Uneven hash
# functions only blur what is counted here.)
STRING = [bytes((5 * mallory ^ honest) & 255 for honest in range(SIZE)) for mallory in range(SIZE)]


def best_chance(events: list[tuple[int, str]]) -> Fraction:
    """The probability that both legs show one string, with Mallory at her best."""
    relevant = [event for event in events if event[1] != NOTHING]

    def play(step: int, chosen: dict[int, int], learned: dict[int, int]) -> Fraction:
        if step == len(relevant):
            same = STRING[chosen[0]][learned[0]] == STRING[chosen[1]][learned[1]]
            return Fraction(int(same))
        leg, event = relevant[step]
        last = step == len(relevant) - 1
        other = 1 - leg
        if last:  # one nonce is open, three are known: count instead of playing each
            target = STRING[chosen[other]][learned[other]]
            if event == LEARN:
                return Fraction(STRING[chosen[leg]].count(target), SIZE)
            column = bytes(row[learned[leg]] for row in STRING)
            return Fraction(int(target in column))
        # Renaming all of a nonce's values renames the string, so a few values stand for all.
        values = (0, 1, 127, 255)
        if event == CHOOSE:
            return max(play(step + 1, chosen | {leg: v}, learned) for v in values)
        results = [play(step + 1, chosen, learned | {leg: v}) for v in values]
        return sum(results, Fraction(0)) / len(values)

    return play(0, {}, {})


ROLE_PAIRS = list(itertools.product((True, False), repeat=2))


@pytest.mark.parametrize(("alice_is_client", "bob_is_client"), ROLE_PAIRS)
def test_in_every_order_mallory_has_exactly_one_guess(alice_is_client, bob_is_client):
    alice = leg_events(alice_is_client, CallRole.CALLER)
    bob = leg_events(bob_is_client, CallRole.CALLEE)
    orders = list(interleavings(alice, bob))
    assert len(orders) == 20
    assert {best_chance(order) for order in orders} == {Fraction(1, SIZE)}


@pytest.mark.parametrize(("last_to_alice", "last_to_bob"), ROLE_PAIRS)
def test_control_where_mallory_speaks_last_the_early_design_is_steered(last_to_alice, last_to_bob):
    orders = interleavings(broken_leg_events(last_to_alice), broken_leg_events(last_to_bob))
    best = max(best_chance(order) for order in orders)
    assert best == (1 if last_to_alice or last_to_bob else Fraction(1, SIZE))


# -- 1 bit, every strategy -----------------------------------------------------------------------


def best_strategy(events: list[tuple[int, str]]) -> Fraction:
    """The same by brute force: honest nonces are drawn first, strategies are whole tables."""
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


@pytest.mark.parametrize(("alice_is_client", "bob_is_client"), ROLE_PAIRS)
def test_no_strategy_at_all_does_better_than_a_coin(alice_is_client, bob_is_client):
    alice = leg_events(alice_is_client, CallRole.CALLER)
    bob = leg_events(bob_is_client, CallRole.CALLEE)
    assert {best_strategy(order) for order in interleavings(alice, bob)} == {Fraction(1, 2)}


def test_control_some_strategy_against_the_early_design_always_wins():
    orders = interleavings(broken_leg_events(True), broken_leg_events(True))
    assert max(best_strategy(order) for order in orders) == 1


# -- what the model assumes ----------------------------------------------------------------------


@pytest.mark.parametrize("honest_is_client", [True, False])
@pytest.mark.parametrize("role", CallRole)
def test_a_leg_has_three_nonce_messages_and_mallory_chooses_before_she_learns(
    honest_is_client, role
):
    events = leg_events(honest_is_client, role)
    assert sorted(events) == sorted([CHOOSE, LEARN, NOTHING])
    assert events.index(CHOOSE) < events.index(LEARN)
