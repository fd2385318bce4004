"""What a server, or a proxy behind it, can make of its connection breaking again and again."""

from __future__ import annotations

import pytest

from tests.unit.sip.test_agent import agent, incoming, statuses

pytestmark = pytest.mark.attack


@pytest.mark.parametrize("twice", [False, True], ids=["control", "repeated"])
def test_a_call_that_was_repeated_on_the_next_connection_moves_on_with_it(twice):
    a = agent()
    rings = a.receive(incoming(), flow=1, direct=False, now=0.0)
    assert statuses(rings) == [100]
    if twice:  # as a proxy does that heard nothing on the broken connection
        assert statuses(a.receive(incoming(), flow=2, direct=False, now=0.1)) == [482]
    _ = a.moved(1, 2)
    _ = a.moved(2, 3)
    outputs = a.receive(incoming("CANCEL", body=b""), flow=3, direct=False, now=0.2)
    assert statuses(outputs) == [200, 487]
