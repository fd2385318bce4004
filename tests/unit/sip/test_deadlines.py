"""The heap of deadlines."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from securecall.sip.deadlines import Deadlines

CHANGES = st.lists(
    st.tuples(st.integers(0, 9), st.none() | st.integers(0, 20).map(float)), max_size=60
)


def test_the_earliest_is_at_hand_and_what_is_due_comes_in_order():
    deadlines = Deadlines[str]()
    assert deadlines.earliest is None
    for name, when in {"late": 9.0, "early": 1.0, "soon": 2.0}.items():
        deadlines.set(name, when)
    assert deadlines.earliest == 1.0
    assert deadlines.pop_due(2.0) == ["early", "soon"]
    assert deadlines.pop_due(2.0) == []
    assert len(deadlines) == 1


def test_a_moved_deadline_counts_once_and_a_lifted_one_never():
    deadlines = Deadlines[str]()
    deadlines.set("moved", 1.0)
    deadlines.set("moved", 5.0)
    deadlines.set("lifted", 2.0)
    deadlines.set("lifted", None)
    assert deadlines.pop_due(4.0) == []
    assert deadlines.earliest == 5.0
    deadlines.set("moved", 1.0)  # back to where a stale entry still lies
    assert deadlines.pop_due(9.0) == ["moved"]
    assert deadlines.earliest is None


def test_deadlines_that_move_for_ever_cost_no_memory():
    deadlines = Deadlines[int]()
    for n in range(5000):
        deadlines.set(n % 7, float(n))
        deadlines.set(-n - 1, 1e9)
        deadlines.set(-n - 1, None)
    assert len(deadlines) == 7
    assert deadlines.entries <= 2 * len(deadlines) + 64


@settings(max_examples=100)
@given(CHANGES, st.integers(0, 20).map(float))
def test_it_agrees_with_looking_at_all_of_them(changes, now):
    deadlines, plain = Deadlines[int](), {}
    for item, when in changes:
        deadlines.set(item, when)
        plain[item] = when
    plain = {item: when for item, when in plain.items() if when is not None}
    assert deadlines.earliest == min(plain.values(), default=None)
    due = deadlines.pop_due(now)
    assert sorted(due) == sorted(i for i, when in plain.items() if when <= now)
    assert [plain[i] for i in due] == sorted(plain[i] for i in due)
