"""H5, the model: what whoever sits between two callers can do about the words they compare.

Mallory runs the handshake with each of the two. The exporters are fixed before any nonce is out, so
on each leg the short authentication string is a function of the two nonces alone. Every order of
the two legs' nonce messages is played for all pairs of TLS roles, with the order of messages taken
from the code's own `DIALOGUE`. Mallory plays perfectly: she remembers everything and chooses each
nonce of hers for the best outcome, over 8-bit strings, by backward induction.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from typing import Final

from securecall.keys.identity_dialogue import DIALOGUE
from securecall.keys.identity_messages import CallRole, MessageType
from securecall.testing.attacks.outcome import AttackSucceeded

ROLE_PAIRS: Final = list(itertools.product((True, False), repeat=2))
COMMIT, NONCE, REVEAL = MessageType.COMMIT, MessageType.NONCE, MessageType.REVEAL
CHOOSE, LEARN, NOTHING = "Mallory fixes her nonce", "Mallory learns the honest one", "nothing"


def wire_order(*, honest_is_client: bool, honest_role: CallRole) -> list[tuple[bool, MessageType]]:
    """(sent by the client?, message), as two ends that follow DIALOGUE put them on the wire."""
    scripts = {
        True: list(DIALOGUE[True, honest_role if honest_is_client else honest_role.other]),
        False: list(DIALOGUE[False, honest_role.other if honest_is_client else honest_role]),
    }
    order: list[tuple[bool, MessageType]] = []
    waiting: list[tuple[bool, MessageType]] = []
    for client in (True, False):
        waiting += [(client, kind) for kind in scripts[client].pop(0)[1]]
    while waiting:
        client, kind = waiting.pop(0)
        order.append((client, kind))
        awaited, answers = scripts[not client].pop(0)
        if awaited is not kind:
            raise AttackSucceeded(f"{kind.name} where {awaited} is awaited")
        waiting += [(not client, kind) for kind in answers]
    if any(scripts.values()):
        raise AttackSucceeded("the dialogue is not over")
    return order


def leg_events(*, honest_is_client: bool, honest_role: CallRole) -> list[str]:
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
        for client, kind in wire_order(honest_is_client=honest_is_client, honest_role=honest_role)
        if kind in (COMMIT, NONCE, REVEAL)
    ]


def legs(*, alice_is_client: bool, bob_is_client: bool) -> tuple[list[str], list[str]]:
    """Both legs' events, of the code's own dialogue."""
    return (
        leg_events(honest_is_client=alice_is_client, honest_role=CallRole.CALLER),
        leg_events(honest_is_client=bob_is_client, honest_role=CallRole.CALLEE),
    )


def broken_leg_events(*, mallory_speaks_last: bool) -> list[str]:
    """The early design: both fields are shown openly, and hashed; who comes last has seen all."""
    return [LEARN, CHOOSE] if mallory_speaks_last else [CHOOSE, LEARN]


def interleavings(first: list[str], second: list[str]) -> Iterator[list[tuple[int, str]]]:
    """Every order of the two legs' events, as (leg, event)."""
    size = len(first) + len(second)
    for places in itertools.combinations(range(size), len(first)):
        one, other = iter(first), iter(second)
        yield [(0, next(one)) if n in places else (1, next(other)) for n in range(size)]


SIZE: Final = 256
# A string of two nonces: for either nonce fixed, the other still decides it evenly. (Uneven hash
# functions only blur what is counted here.)
STRING: Final = [
    bytes((5 * mallory ^ honest) & 255 for honest in range(SIZE)) for mallory in range(SIZE)
]


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


def best_of(first: list[str], second: list[str]) -> Fraction:
    """The best chance over all orders of two legs' events."""
    return max(best_chance(order) for order in interleavings(first, second))
