"""Whoever holds the signalling fills a report, so that what it has to tell finds no room.

Pictures that come and go, and changes that are refused, cost a server nothing.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from securecall.calls import orders, report_diary, report_words
from securecall.calls.countersign import Said
from securecall.calls.report import Capability, EventKind, Role
from securecall.calls.report_parties import parties_over
from securecall.media.description import Gate, Kind
from securecall.policy import Facts, security_state
from tests.report_world import ALICE, BOB, reports, way_between
from tests.unit.calls.test_witness import HIDDEN, KNOWN, OPEN, SHOWN, Witness

REFUSED = orders.ChangeRefused("the peer's signalling asked to change the media keys or the peer")
KEYED = KNOWN.state
FACTS = Facts(keying=KEYED.keying, identity=KEYED.identity, srtp_profile=KEYED.srtp_profile)
DENIED = orders.Secured(security_state(replace(FACTS, sas_denied=True)))


def of_pictures(found):
    """What a server could have done with the pictures, stretch by stretch."""
    way = way_between(ALICE, BOB)
    everybody = parties_over(way, found.intervals)
    return {
        party.capability
        for interval, parties in zip(found.intervals, everybody, strict=True)
        for party in parties
        if interval.medium is Kind.VIDEO and party.role is Role.OWN_PROVIDER
    }


def performed(*outputs):
    found = Witness()
    for at, output in enumerate(outputs):
        found.performed(output, at=float(at))
    return found


@pytest.mark.parametrize("times", [0, 1, 100])
@pytest.mark.parametrize("last", [SHOWN, HIDDEN], ids=["shown", "hidden"])
def test_words_that_differ_count_for_pictures_however_often_they_came_and_went(times, last):
    found = performed(KNOWN, OPEN, SHOWN, *[HIDDEN, SHOWN] * times, last)
    assert of_pictures(found) == {Capability.METADATA}  # the control: until then they do not
    found.performed(orders.SetGate(Gate.CLOSED), at=999.0)
    found.performed(DENIED, at=999.0)
    assert of_pictures(found) == {Capability.COULD_SUBSTITUTE}
    assert len(found.intervals) <= 64


def test_pictures_that_passed_are_said_to_however_often_they_came_and_went():
    hidden_last = performed(KNOWN, OPEN, SHOWN, *[HIDDEN, SHOWN] * 15, HIDDEN)
    assert not [i for i in hidden_last.intervals if i.medium is Kind.VIDEO][-1].passed
    found = performed(KNOWN, OPEN, SHOWN, *[HIDDEN, SHOWN] * 100)
    assert [i for i in found.intervals if i.medium is Kind.VIDEO][-1].passed


def recorded_by_the_peer(times):
    """The report of a call in which so many changes were refused, and then the peer recorded."""
    found = performed(KNOWN, OPEN, *[REFUSED] * times)
    found.heard(Said(recorded=True), at=999.0)
    (ours, _) = reports()
    return replace(ours, events=found.events, refused=found.refused, dropped=found.dropped)


@pytest.mark.parametrize("times", [0, 30, 1000])
def test_that_the_other_end_records_is_said_however_much_was_refused(times):
    report = recorded_by_the_peer(times)
    assert EventKind.PEER_RECORDING in {event.kind for event in report.events}
    page = " ".join(report.who_could_have_listened().split())
    assert report_words.EVENTS["peer-recording"] in page


def test_control_where_that_takes_its_turn_it_is_crowded_out(monkeypatch):
    everything = report_diary.PROVOKED | {EventKind.PEER_RECORDING}
    monkeypatch.setattr(report_diary, "PROVOKED", everything)
    report = recorded_by_the_peer(1000)
    assert EventKind.PEER_RECORDING not in {event.kind for event in report.events}
