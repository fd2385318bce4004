from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import ProtocolError
from securecall.xmpp.management import Management

WRAP = 2**32


@given(st.integers(0, 3), st.lists(st.integers(0, 6), max_size=60))
def test_what_the_server_took_is_called_once_and_in_order(near, steps):
    kept = Management(resume_id="x")
    kept._acked = WRAP - near  # close to where the counter begins anew
    sent, called = 0, []
    taken = WRAP - near
    for step in steps:
        if step < 4:
            kept.sending(b"x", lambda n=sent: called.append(n))
            sent += 1
        else:
            count = min(step - 3, kept.waiting)
            taken += count
            for call in kept.receive_ack(str(taken % WRAP)):
                call()
            with pytest.raises(ProtocolError):
                kept.receive_ack(str((taken + kept.waiting + 1) % WRAP))
    assert called == list(range(sent - kept.waiting))
    assert kept.sent == (WRAP - near + sent) % WRAP


@given(st.permutations(range(1, 20)), st.integers(0, 19))
def test_only_what_is_done_without_a_gap_counts(order, cut):
    kept = Management(resume_id="x")
    for number in range(1, 20):
        assert kept.arrived(str(number)) == (number, True)
    for number in order[:cut]:
        kept.done(number)
        kept.done(number)
    done = set(order[:cut])
    handled = next((n for n in range(20) if n + 1 not in done), 20)
    assert kept.handled == handled
    assert kept.resuming() == handled
    for number in range(handled + 1, 20):  # sent again
        assert kept.arrived(str(number)) == (number, False)
    assert kept.arrived("new") == (20, True)
    for number in order[cut:]:
        kept.done(number)
    kept.done(20)
    assert kept.handled == 20
    assert kept.undone == 0


@given(st.text(max_size=12))
def test_any_counter_is_taken_or_refused(text):
    kept = Management()
    try:
        assert kept.receive_ack(text) == ()
    except ProtocolError:
        return
    assert int(text) == 0
