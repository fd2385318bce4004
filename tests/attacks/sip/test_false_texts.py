"""Texts nobody vouches for: shown only where somebody asked for them, never by strangers."""

from __future__ import annotations

import pytest

from securecall.sip.limits import SERVER, STRANGER
from securecall.sip.output import Texted
from tests.unit.sip.test_agent import agent, incoming, statuses

pytestmark = pytest.mark.attack


def text_to(a, *, quota, direct):
    request = incoming("MESSAGE", body=b"Your code is 0000", type="text/plain")
    outputs = a.receive(request, flow=1, direct=direct, now=1.0, quota=quota)
    return statuses(outputs), [o.text for o in outputs if isinstance(o, Texted)]


def test_control_a_text_by_the_server_is_taken_where_the_danger_was_accepted():
    a = agent()
    a.take_texts()
    assert text_to(a, quota=SERVER, direct=False) == ([200], ["Your code is 0000"])


@pytest.mark.parametrize("direct", [True, False])
def test_a_strangers_connection_brings_no_text(direct):
    a = agent()
    a.take_texts()
    assert text_to(a, quota=STRANGER, direct=direct) == ([405], [])


def test_nobody_is_shown_a_text_by_default():
    assert text_to(agent(), quota=SERVER, direct=False) == ([405], [])
