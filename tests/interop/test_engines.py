"""The same calls with either engine, through Kamailio over TLS, each person a process of its own.

PJSIP comes from the wheel of pjsua2-python: SDES alone, so every call here is HOP_BY_HOP.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.interop.engines import ALICE, BOB, Person, need_pjsua2, over, refused
from tests.interop.people import sip

HOP = ("HOP_BY_HOP", "sdes", False)
PAIRS = [
    ("pjsua2", "pjsua2"),
    ("native", "pjsua2"),
    ("pjsua2", "native"),
    ("native", "native"),
]

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize(
    ("python", "why"),
    [
        (Path(sys.executable), r"no wheel for Python 3\.\d+\.\d+ on \w+ \(they end at 3\.12"),
        (Path("nowhere/python"), "dev.py interop makes it"),
    ],
)
def test_where_there_is_no_wheel_the_reason_is_said(python, why):
    """This very environment has none: the binding is under the GPL, and stays out of it."""
    with pytest.raises(pytest.skip.Exception, match=why):
        need_pjsua2(python)


def persons(tmp_path_factory, engines, proxy):
    """Alice and Bob, registered."""
    folder = tmp_path_factory.mktemp("engines")
    made = []
    try:
        for name, engine in zip(("alice", "bob"), engines, strict=True):
            made.append(Person(name, engine, folder))
            assert made[-1].sign_in(proxy) == {"state": "registered"}
        yield tuple(made)
    finally:
        codes = [person.close() for person in made]
    assert codes == [0, 0], [person.said() for person in made]  # no abort of PJSIP's at the end


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def pair(request, tmp_path_factory, proxy):
    """Who calls, and who is called, for as many tests as there are."""
    yield from persons(tmp_path_factory, request.param, proxy)


def talk(alice, bob):
    """Alice calls, Bob takes it; the numbers both know the call by."""
    dialling = alice.begin("call", who=sip("bob"), hertz=ALICE)
    ring = bob.do("next")
    assert ring["caller"] == sip("alice")
    a = alice.wait(dialling)["call"]
    alice.do("ringing", call=a)
    b = bob.do("accept", ring=ring["ring"], hertz=BOB)["call"]
    for person, call in ((alice, a), (bob, b)):
        found = person.do("connected", call=call)
        level = tuple(found[key] for key in ("level", "keying", "identity"))
        assert level == HOP and found["profile"], found
    return a, b


def hear_each_other(alice, a, bob, b):
    hearing = alice.begin("hear", call=a, hertz=BOB), bob.begin("hear", call=b, hertz=ALICE)
    assert min(alice.wait(hearing[0])["heard"], bob.wait(hearing[1])["heard"]) >= 1.0


def test_a_call_is_heard_both_ways_counted_and_hung_up_by_the_caller(pair):
    alice, bob = pair
    a, b = talk(alice, bob)
    hear_each_other(alice, a, bob, b)
    counted = alice.do("statistics", call=a)
    assert counted["packets_sent"] > 40 and counted["packets_received"] > 40
    assert counted["sent_seconds"] > 0.9 and counted["received_seconds"] > 0.9
    alice.do("hang_up", call=a)
    assert over(bob, b) == "hung-up"
    report = alice.do("report", call=a)["text"]
    assert "Others held the key" in report
    assert ("PJSIP carried this call" in report) is (alice.engine == "pjsua2")


def test_the_callee_hangs_up_and_digits_and_holds_go_both_ways(pair):
    alice, bob = pair
    a, b = talk(alice, bob)
    for one, mine, other, theirs in ((alice, a, bob, b), (bob, b, alice, a)):
        one.do("press", call=mine, digits="19#")
        assert other.do("digits", call=theirs, count=3)["digits"] == "19#"
        assert one.do("hold", call=mine) == {"held": True}
        quiet = one.begin("hear_for", call=mine, hertz=BOB if one is alice else ALICE, seconds=0.5)
        heard = other.do("hear_for", call=theirs, hertz=ALICE if one is alice else BOB, seconds=0.5)
        assert one.wait(quiet)["heard"] <= 0.2 and heard["heard"] <= 0.2
        assert one.do("resume", call=mine) == {"held": False}
    hear_each_other(alice, a, bob, b)
    bob.do("hang_up", call=b)
    assert over(alice, a) == "hung-up"


@pytest.mark.parametrize(("how", "error"), [("decline", "Declined"), ("busy", "Busy")])
def test_a_refusal_is_heard_as_what_it_is(pair, how, error):
    alice, bob = pair
    dialling = alice.begin("call", who=sip("bob"))
    ring = bob.do("next")["ring"]
    a = alice.wait(dialling)["call"]
    bob.do(how, ring=ring)
    assert refused(alice, "connected", call=a) == error
    alice.do("hang_up", call=a)


def test_giving_up_while_it_rings_ends_the_ringing(pair):
    alice, bob = pair
    dialling = alice.begin("call", who=sip("bob"))
    ring = bob.do("next")["ring"]
    a = alice.wait(dialling)["call"]
    alice.do("hang_up", call=a)
    assert bob.do("gone", ring=ring)["gone"]
    assert refused(bob, "accept", ring=ring)


def test_nobody_is_there(pair):
    alice, _ = pair
    a = alice.do("call", who=sip("carol"))["call"]
    assert refused(alice, "connected", call=a) in ("NoAnswer", "Unreachable")
    alice.do("hang_up", call=a)


def test_more_than_hop_by_hop_is_refused_before_anything_is_sent(pair):
    alice, bob = pair
    for policy in ({"require": 2}, {"require": 3}):
        assert refused(alice, "call", who=sip("bob"), **policy) == "PolicyRefused"
    dialling = alice.begin("call", who=sip("bob"))
    ring = bob.do("next")["ring"]
    a = alice.wait(dialling)["call"]
    b = bob.do("accept", ring=ring, require=3)["call"]
    assert refused(bob, "connected", call=b) == "PolicyRefused"
    assert refused(alice, "connected", call=a)
    assert alice.do("statistics", call=a).get("received_seconds", 0.0) == 0.0
    alice.do("hang_up", call=a)
    bob.do("hang_up", call=b)


def test_four_calls_at_once(pair):
    alice, bob = pair
    calls = [talk(alice, bob) for _ in range(4)]
    hearing = [alice.begin("hear", call=a, hertz=BOB) for a, _ in calls]
    hearing_too = [bob.begin("hear", call=b, hertz=ALICE) for _, b in calls]
    assert all(alice.wait(number)["heard"] >= 1.0 for number in hearing)
    assert all(bob.wait(number)["heard"] >= 1.0 for number in hearing_too)
    if alice.engine == "pjsua2":  # the wheel has room for four
        assert refused(alice, "call", who=sip("bob")) == "Unsupported"
    elif bob.engine == "pjsua2":  # which refuses a fifth by itself
        a = alice.do("call", who=sip("bob"))["call"]
        assert refused(alice, "connected", call=a) == "Busy"
        alice.do("hang_up", call=a)
    for a, b in calls:
        alice.do("hang_up", call=a)
        assert over(bob, b) == "hung-up"
    assert alice.do("measure")["calls"] == bob.do("measure")["calls"] == 0


def test_ten_calls_in_a_row_leave_nothing_and_no_thread_of_others_reached_the_application(pair):
    alice, bob = pair
    for person in pair:
        person.do("forget")
    before = [person.do("measure") for person in pair]
    for _ in range(5):
        a, b = talk(alice, bob)
        alice.do("hang_up", call=a)
        assert over(bob, b) == "hung-up"
    for person in pair:
        person.do("forget")
    after = [person.do("measure") for person in pair]
    for earlier, later in zip(before, after, strict=True):
        assert later["calls"] == 0
        assert later["threads"] <= earlier["threads"] + 1  # of the executor, for the collector
    assert [person.do("foreign")["threads"] for person in pair] == [0, 0]
