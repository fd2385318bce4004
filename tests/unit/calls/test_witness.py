"""What is taken down of a call: levels, recording, pins, and what we say of ourselves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securecall.calls import orders
from securecall.calls.countersign import Said
from securecall.calls.report import Consent, EventKind
from securecall.calls.report_diary import MOST_EVENTS, MOST_PROVOKED
from securecall.calls.signaling import TransferRequested
from securecall.calls.text_lines import LocalText, TextAgreement
from securecall.calls.video_lines import LocalVideo, VideoAgreement
from securecall.calls.witness import Witness
from securecall.errors import EndReason
from securecall.keys.trust import TrustState
from securecall.media.description import Codec, Direction, Gate
from securecall.policy import SecurityLevel
from tests.report_world import BOB, evidence

KNOWN = orders.Secured(evidence())
CONFIRMED = orders.Secured(evidence(confirmed=True))
OPEN, CLOSED = orders.SetGate(Gate.OPEN), orders.SetGate(Gate.CLOSED)
OVER = orders.Finish(EndReason.HUNG_UP, None)


def witness(*performed: orders.Output) -> Witness:
    found = Witness()
    for at, output in enumerate(performed):
        found.performed(output, at=float(at))
    return found


def kinds(found: Witness) -> list[EventKind]:
    return [event.kind for event in found.events]


def test_a_stretch_has_passed_something_only_once_the_gate_was_open():
    assert [i.passed for i in witness(KNOWN, CLOSED, OVER).intervals] == [False]
    assert [i.passed for i in witness(KNOWN, OPEN).intervals] == [True]
    assert [i.passed for i in witness(KNOWN, orders.SetGate(Gate.VERIFYING)).intervals] == [True]
    both = witness(KNOWN, OPEN, CONFIRMED)
    assert [(i.since, i.passed) for i in both.intervals] == [(0.0, True), (2.0, True)]
    assert [i.passed for i in witness(KNOWN, OPEN, CLOSED, CONFIRMED).intervals] == [True, False]


def test_the_same_level_told_twice_is_one_stretch():
    assert len(witness(KNOWN, OPEN, KNOWN, KNOWN).intervals) == 1


def test_recording_counts_from_the_moment_something_can_be_recorded():
    found = Witness()
    found.recorder(added=True, at=0.0)
    found.performed(KNOWN, at=1.0)
    assert not found.said.recorded
    found.performed(OPEN, at=2.0)
    found.recorder(added=True, at=3.0)
    found.recorder(added=False, at=4.0)  # one goes on
    found.performed(OVER, at=5.0)
    assert [(e.kind, e.at) for e in found.events[1:]] == [
        (EventKind.RECORDING_STARTED, 2.0),
        (EventKind.RECORDING_STOPPED, 5.0),
    ]
    assert found.said.recorded  # for good: what was recorded stays recorded


@pytest.mark.parametrize(
    ("trust", "how", "since", "outgoing", "pinned"),
    [
        (TrustState.UNKNOWN, "", 0, True, True),
        (TrustState.PINNED, "link", 0, True, True),
        (TrustState.PINNED, "first-call", 1000, True, False),  # it was before
        (TrustState.UNKNOWN, "", 0, False, False),  # a call that comes in pins nothing
        (TrustState.PINNED, "bearer", 0, False, True),  # but for the bearer of our ticket
    ],
)
def test_a_pin_is_told_when_one_was_made(trust, how, since, outgoing, pinned):
    identity = replace(evidence(BOB, trust, how).identity, since=since)
    found = Witness()
    for _ in range(2):
        found.learnt(identity, outgoing=outgoing, at=1.0)
    assert (kinds(found) == [EventKind.KEY_PINNED]) is pinned
    assert len(found.events) == pinned


def test_we_say_of_ourselves_what_the_report_says():
    found = witness(KNOWN, OPEN, CONFIRMED, orders.ChangeRefused("x"), orders.ChangeRefused("y"))
    assert found.said == Said(level=SecurityLevel.VERIFIED, compared=True, refused=2)
    assert Witness().said == Said()


def test_a_peer_that_records_is_told_of_once_and_never_taken_back():
    found = Witness()
    told = [found.heard(Said(recorded=it), at=1.0) for it in (False, True, False, True)]
    assert told == [False, True, False, False]
    assert kinds(found) == [EventKind.PEER_RECORDING]


def test_others_cannot_crowd_out_what_we_did():
    found = witness(
        KNOWN, *[orders.TransferAsked(TransferRequested(str(n))) for n in range(10_000)]
    )
    found.consent(Consent.REFUSED, at=1.0, by="Bob")
    assert kinds(found).count(EventKind.TRANSFER_ASKED) == MOST_PROVOKED
    assert found.events[-1].kind is EventKind.CONSENT_REFUSED
    assert found.dropped == 10_000 - MOST_PROVOKED
    for n in range(1000):
        found.consent(Consent.ASKED, at=float(n), by="")
    assert len(found.events) == MOST_EVENTS


def test_each_person_of_a_conference_is_told_of_once():
    found = Witness()
    for names in (["carol"], ["carol", "dave"], ["dave"]):
        found.mixed(names, at=1.0)
    assert found.mixed_with == ("carol", "dave")
    assert kinds(found) == [EventKind.CONFERENCE_JOINED] * 2


SHOWN = orders.SetVideo((VideoAgreement(
    local=LocalVideo(("VP8",), ssrc=1, rtx_ssrc=2), mid="1", codec=Codec(96, "VP8", 90_000),
    rtx=97, receive=(), receive_rtx=(), direction=Direction.SENDRECV,
),))  # fmt: skip
HIDDEN = orders.SetVideo(())


def stretches(found: Witness) -> list[tuple[str, float, bool]]:
    return [(i.medium.value, i.since, i.passed) for i in found.intervals]


def test_pictures_have_stretches_of_their_own():
    found = witness(SHOWN, KNOWN, OPEN, OVER)
    assert stretches(found) == [("audio", 1.0, True), ("video", 1.0, True)]
    found = witness(KNOWN, OPEN, SHOWN, SHOWN, HIDDEN, SHOWN)
    assert stretches(found) == [
        ("audio", 0.0, True),
        ("video", 2.0, True),
        ("video", 4.0, False),
        ("video", 5.0, True),
    ]


WRITTEN = orders.SetText(TextAgreement(
    local=LocalText(1), mid="1", codec=Codec(105, "red", 1000), t140=106, receive=106,
    receive_red=105, direction=Direction.SENDRECV,
))  # fmt: skip
UNWRITTEN = orders.SetText(None)


def test_text_has_stretches_of_its_own_and_passes_only_while_the_gate_is_open():
    found = witness(WRITTEN, KNOWN, orders.SetGate(Gate.VERIFYING))
    assert stretches(found) == [("audio", 1.0, True), ("text", 1.0, False)]
    found.performed(OPEN, at=9.0)
    assert stretches(found)[1:] == [("text", 1.0, True)]
    found = witness(KNOWN, OPEN, WRITTEN, SHOWN, WRITTEN, UNWRITTEN, HIDDEN)
    assert stretches(found) == [
        ("audio", 0.0, True),
        ("text", 2.0, True),
        ("video", 3.0, True),
        ("text", 5.0, False),
        ("video", 6.0, False),
    ]


def test_while_words_are_compared_no_picture_passes():
    found = witness(SHOWN, KNOWN, orders.SetGate(Gate.VERIFYING))
    assert stretches(found) == [("audio", 1.0, True), ("video", 1.0, False)]
    found.performed(CONFIRMED, at=9.0)
    found.performed(OPEN, at=9.0)
    assert stretches(found)[2:] == [("audio", 9.0, True), ("video", 9.0, True)]


def test_pictures_that_come_and_go_for_ever_leave_room_in_the_report():
    found = witness(KNOWN, OPEN, *([SHOWN, HIDDEN] * 100))
    assert len(found.intervals) == 33
