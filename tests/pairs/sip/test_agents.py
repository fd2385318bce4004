"""Two agents without I/O: every flow of a call between two of us, and who is told what."""

from __future__ import annotations

import gc

import pytest

from securecall.calls.signaling import Answered, Deferred, Ended, Offered, Refused, Ringing
from securecall.errors import EndReason
from securecall.media.description import Direction
from securecall.sip.body import read_description
from securecall.sip.message import Request, Response
from securecall.sip.output import Send
from securecall.sip.transaction import ClientTransaction
from tests.sip_wire import ANSWER, OFFER, End, Wire, directed, edited, rekeyed, reliable


def offerless(message):
    """A PBX that asks for our offer instead of making one."""
    if isinstance(message, Request) and message.method == "INVITE" and message.to.tag:
        return Request(message.method, message.target, edited(message, Content_Type=None).headers)
    return message


# -- beginnings -----------------------------------------------------------------------------------


def test_a_reliable_ringing_is_acknowledged_and_the_call_answered():
    wire = Wire()
    wire.hand = reliable
    wire.dial()
    wire.settle()
    wire.say(wire.bob, Ringing())
    wire.settle()
    assert wire.alice.take() == [Ringing()]
    assert wire.alice.requests() == ["INVITE", "PRACK"]
    assert wire.bob.statuses("PRACK") == [200]
    wire.advance(60.0)
    assert wire.bob.statuses("INVITE") == [100, 180]  # nothing is repeated any more
    wire.say(wire.bob, Answered(ANSWER))
    wire.settle()
    assert wire.alice.take() == [Answered(ANSWER)]
    wire.hang_up()
    assert wire.bob.take() == [Ended(EndReason.HUNG_UP)]


def test_a_reliable_ringing_nobody_acknowledges_fails_the_call_with_504():
    wire = Wire()
    wire.hand = lambda m: None if isinstance(m, Request) and m.method == "PRACK" else reliable(m)
    wire.dial()
    wire.settle()
    wire.say(wire.bob, Ringing())
    wire.advance(31.9)
    assert wire.bob.statuses("INVITE") == [100] + [180] * 7  # T1 and then twice as long each time
    assert wire.alice.take() == [Ringing()]  # of seven, one was looked at
    wire.advance(0.2)
    assert wire.bob.statuses("INVITE")[-1] == 504
    assert wire.bob.take() == [Ended(EndReason.PEER_VANISHED, 504)]
    assert wire.alice.take() == [Ended(EndReason.UNREACHABLE, 504, "Server Time-out")]
    wire.require_over()


def test_an_answer_before_the_prack_is_taken_and_the_late_prack_too():
    wire = Wire()
    wire.hand = reliable
    wire.dial()
    wire.settle()
    wire.say(wire.bob, Ringing())
    wire.say(wire.bob, Answered(ANSWER))
    wire.settle()
    assert wire.alice.take() == [Ringing(), Answered(ANSWER)]
    assert wire.bob.statuses("PRACK") == [200]
    wire.hang_up()


def test_an_answer_crosses_a_cancel_and_is_hung_up():
    wire = Wire()
    wire.dial()
    wire.settle()
    wire.say(wire.bob, Answered(ANSWER))
    wire.say(wire.alice, Ended(EndReason.CANCELLED))
    wire.settle()
    assert wire.alice.requests() == ["INVITE", "CANCEL", "ACK", "BYE"]
    assert wire.bob.statuses("CANCEL") == [200]
    assert wire.bob.take() == [Ended(EndReason.HUNG_UP)]
    wire.require_over()


def test_a_cancel_before_the_answer_ends_both():
    wire = Wire()
    wire.dial()
    wire.settle()
    wire.say(wire.alice, Ended(EndReason.CANCELLED))
    wire.settle()
    assert wire.bob.take() == [Ended(EndReason.CANCELLED, 487)]
    wire.require_over()


def test_an_interval_that_is_too_small_is_asked_for_again_once():
    wire = Wire()
    refused: list[Request] = []

    def hand(message):
        if isinstance(message, Request) and message.method == "INVITE" and not refused:
            refused.append(message)
            return edited(message, Session_Expires="60")
        if isinstance(message, Response) and message.status == 422:
            return edited(message, Min_SE="2000")
        return message

    wire.hand = hand
    wire.dial()
    wire.settle()
    first, second = (m for m in wire.alice.sent if isinstance(m, Request) and m.method == "INVITE")
    assert (second.cseq.number, second.call_id) == (first.cseq.number + 1, first.call_id)
    assert second.headers.first("session-expires") == "2000"
    assert second.headers.first("min-se") == "2000"
    assert second.via.branch != first.via.branch
    wire.say(wire.bob, Answered(ANSWER))
    wire.settle()
    assert wire.alice.take() == [Answered(ANSWER)]
    wire.hang_up()


# -- the middle -----------------------------------------------------------------------------------


def test_offers_that_cross_are_tried_again_and_both_get_through():
    wire = Wire(seed=3)
    wire.connect()
    mine, theirs = directed(OFFER, Direction.SENDONLY), directed(ANSWER, Direction.INACTIVE)
    wire.say(wire.alice, Offered(mine))
    wire.say(wire.bob, Offered(theirs))
    wire.settle()
    assert wire.alice.statuses("INVITE") == wire.bob.statuses("INVITE") == [491]
    assert wire.alice.take() == wire.bob.take() == [Deferred()]
    wire.advance(2.05)  # the one that did not make the Call-ID comes first
    assert wire.alice.take() == [Offered(theirs)]
    wire.say(wire.alice, Answered(OFFER))
    wire.settle()
    assert wire.bob.take() == [Answered(OFFER)]
    wire.advance(3.0)
    assert wire.bob.take() == [Offered(mine)]
    wire.say(wire.bob, Refused(488))
    wire.settle()
    assert wire.alice.take() == [Refused(488)]
    wire.hang_up()


def test_a_second_offer_before_the_first_is_answered_is_refused_for_some_seconds():
    wire = Wire()
    wire.connect()
    wire.say(wire.alice, Offered(directed(OFFER, Direction.SENDONLY)))
    wire.settle()
    dialog = wire.alice.session.dialog
    assert dialog is not None
    for method in ("INVITE", "UPDATE"):
        again = dialog.request(method, via=wire.alice.agent.via())
        again.headers.add("Content-Type", "application/sdp")
        again.body = wire.alice.last("INVITE").body
        outputs = wire.bob.agent.receive(again, flow=1, direct=True, now=wire.now)
        (response,) = (o.message for o in outputs if hasattr(o, "message"))
        assert response.status == 500
        assert 0 <= int(response.headers.first("retry-after") or "") <= 10
    wire.say(wire.bob, Answered(ANSWER))
    wire.settle()
    assert wire.alice.take() == [Answered(ANSWER)]
    wire.hang_up()


def test_an_offerless_reinvite_gets_our_description_unchanged_and_the_same_answer_tells_nobody():
    wire = Wire()
    wire.connect()
    first = wire.bob.session.descriptions.body
    wire.hand = offerless
    wire.say(wire.alice, Offered(OFFER))
    wire.deliver(wire.bob)
    (ok,) = (m for m in wire.bob.sent if isinstance(m, Response))
    assert (ok.status, ok.body) == (200, first)
    wire.hand = lambda m: with_answer(m, wire.alice.session.descriptions.body)
    wire.settle()
    assert wire.bob.take() == []
    assert wire.bob.requests() == []
    wire.hang_up()


def with_answer(message, body):
    if isinstance(message, Request) and message.method == "ACK":
        message.headers.add("Content-Type", "application/sdp")
        message.body = body
    return message


def answered_offerless(answer) -> Wire:
    """Bob was asked for his offer by re-INVITE, and the ACK brings this answer."""
    from securecall.sip.sdp import build_description

    wire = Wire()
    wire.connect()
    wire.hand = offerless
    wire.say(wire.alice, Offered(OFFER))
    wire.deliver(wire.bob)
    body = build_description(answer, session_id=1, version=9) if answer is not None else b""
    wire.hand = lambda m: with_answer(m, body) if body else m
    wire.settle()
    return wire


def test_an_offerless_reinvite_holds_the_call_and_takes_it_back():
    held = directed(OFFER, Direction.SENDONLY)
    wire = answered_offerless(held)
    assert wire.bob.take() == [Offered(held, answers=True)]  # judged like any change of the peer's
    wire.bob.sent.clear()
    wire.say(wire.bob, Answered(directed(ANSWER, Direction.RECVONLY)))
    assert wire.bob.sent == []
    wire.hand = offerless
    wire.say(wire.alice, Offered(OFFER))
    wire.deliver(wire.bob)
    (ok,) = (m for m in wire.bob.sent if isinstance(m, Response))
    offer = read_description(ok)
    assert offer is not None
    assert offer.media[0].direction is Direction.SENDRECV
    wire.hand = lambda m: with_answer(m, wire.alice.session.descriptions.body)
    wire.settle()
    assert wire.bob.take() == [Offered(OFFER, answers=True)]
    wire.hang_up()


def offer_asked_of(wire: Wire, end: End) -> Direction:
    """What an end offers in its answer to a re-INVITE without an offer."""
    other = wire.other(end)
    end.sent.clear()
    wire.hand = offerless
    wire.say(other, Offered(OFFER))
    _ = wire.deliver(end)
    (ok,) = (m for m in end.sent if isinstance(m, Response))
    offer = read_description(ok)
    assert offer is not None
    body = other.session.descriptions.body
    wire.hand = lambda m: with_answer(m, body)
    wire.settle()
    wire.hand = lambda m: m
    return offer.media[0].direction


@pytest.mark.parametrize(
    ("who", "direction"), [("bob", Direction.SENDRECV), ("alice", Direction.SENDONLY)]
)
def test_who_was_held_offers_to_talk_again_and_who_holds_goes_on_holding(who, direction):
    wire = Wire()
    wire.connect()
    wire.say(wire.alice, Offered(directed(OFFER, Direction.SENDONLY)))
    wire.settle()
    wire.say(wire.bob, Answered(directed(ANSWER, Direction.RECVONLY)))
    wire.settle()
    assert offer_asked_of(wire, getattr(wire, who)) is direction
    wire.hang_up()


def test_an_answer_with_other_keys_is_judged_and_refused_and_the_call_goes_on():
    other = rekeyed(OFFER)
    wire = answered_offerless(other)
    assert wire.bob.take() == [Offered(other, answers=True)]
    wire.bob.sent.clear()
    wire.say(wire.bob, Refused(488))
    wire.settle()
    assert wire.bob.sent == []
    assert wire.bob.session.descriptions.theirs == OFFER  # what was authenticated
    wire.hand = lambda m: m
    wire.say(wire.bob, Offered(ANSWER))  # and another change is possible
    wire.settle()
    assert wire.alice.take()[-1] == Offered(ANSWER)
    wire.hang_up()


def test_an_offerless_reinvite_without_an_answer_leaves_the_call_as_it_was():
    wire = answered_offerless(None)
    assert (wire.bob.take(), wire.bob.requests()) == ([], [])
    assert wire.bob.session.descriptions.theirs == OFFER
    wire.hand = lambda m: m
    wire.say(wire.bob, Offered(ANSWER))  # and another change is possible
    wire.settle()
    assert wire.alice.take()[-1] == Offered(ANSWER)
    wire.hang_up()


def test_a_refused_reinvite_leaves_the_target_and_an_accepted_one_moves_it():
    wire = Wire()
    wire.connect()
    dialog = wire.bob.session.dialog
    assert dialog is not None
    before = dialog.target

    def hand(message):
        if isinstance(message, Request) and message.method == "INVITE":
            return edited(message, Contact="<sip:elsewhere@moved.invalid>")
        return message

    wire.hand = hand
    for signal, target in (
        (Refused(488), before),
        (Answered(ANSWER), "sip:elsewhere@moved.invalid"),
    ):
        wire.say(wire.alice, Offered(directed(OFFER, Direction.SENDONLY)))
        wire.settle()
        assert dialog.target == before
        wire.say(wire.bob, signal)
        assert dialog.target == target
        wire.settle()
    wire.hang_up()


# -- ends -----------------------------------------------------------------------------------------


def test_goodbyes_that_cross_end_both_quietly():
    wire = Wire()
    wire.connect()
    wire.say(wire.alice, Ended(EndReason.HUNG_UP))
    wire.say(wire.bob, Ended(EndReason.HUNG_UP))
    wire.settle()
    assert wire.alice.statuses("BYE") == wire.bob.statuses("BYE") == [200]
    assert wire.alice.take() == wire.bob.take() == []
    wire.require_over()


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "REFER"])
def test_what_comes_after_our_goodbye_gets_481(method):
    wire = Wire()
    wire.connect()
    dialog = wire.alice.session.dialog
    assert dialog is not None
    late = dialog.request(method, via=wire.alice.agent.via())
    wire.say(wire.bob, Ended(EndReason.HUNG_UP))
    (refused, *_) = wire.bob.agent.receive(late, flow=1, direct=True, now=wire.now)
    assert isinstance(refused, Send)
    assert isinstance(refused.message, Response)
    assert refused.message.status == 481
    wire.settle()
    wire.require_over()
    assert wire.bob.take() == []


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_goodbye_ends_a_change_that_is_on_its_way(who):
    wire = Wire()
    wire.connect()
    wire.say(wire.alice, Offered(directed(OFFER, Direction.SENDONLY)))
    wire.settle()
    wire.say(getattr(wire, who), Ended(EndReason.HUNG_UP))
    wire.settle()
    assert wire.bob.statuses("INVITE") == [487]
    wire.require_over()


def test_a_lost_ack_is_sent_again_and_a_peer_that_never_acknowledges_is_hung_up():
    wire = Wire()
    lost = 2

    def hand(message):
        nonlocal lost
        if isinstance(message, Request) and message.method == "ACK" and lost:
            lost -= 1
            return None
        return message

    wire.hand = hand
    wire.dial()
    wire.settle()
    wire.say(wire.bob, Answered(ANSWER))
    wire.advance(10.0)
    assert wire.bob.statuses("INVITE") == [100, 200, 200, 200]
    assert wire.bob.take() == []
    wire.hang_up()
    lost = 100
    wire.dial()
    wire.settle()
    wire.say(wire.bob, Answered(ANSWER))
    wire.advance(40.0)
    assert wire.bob.take()[-1] == Ended(EndReason.PEER_VANISHED, 408)
    wire.require_over()


def test_an_answer_after_we_gave_up_waiting_changes_nothing():
    wire = Wire()
    wire.dial()
    wire.settle()
    held: list[Request] = []
    wire.hand = lambda m: held.append(m) if isinstance(m, Request) else m
    wire.say(wire.alice, Ended(EndReason.CANCELLED))
    wire.advance(33.0)
    assert wire.alice.finished == wire.alice.sessions
    wire.say(wire.bob, Answered(ANSWER))
    wire.settle()
    assert wire.alice.take() == []
    assert wire.alice.dropped != []
    wire.require_over()


# -- session timers -------------------------------------------------------------------------------


def test_a_call_lives_as_long_as_it_is_refreshed_by_update():
    wire = Wire()
    wire.connect()
    wire.advance(3 * 3600.0)
    assert wire.alice.requests() == ["UPDATE"] * 12  # the caller, at half time
    assert wire.bob.requests() == []
    assert wire.alice.take() == wire.bob.take() == []
    wire.hang_up()


def test_a_long_call_holds_no_more_than_a_short_one():
    def held() -> int:
        _ = gc.collect()
        return sum(isinstance(o, ClientTransaction) for o in gc.get_objects())

    wire = Wire()
    wire.connect()
    wire.advance(1000.0)
    after_one = held()
    wire.advance(50 * 900.0)
    assert held() <= after_one
    wire.hang_up()


def test_the_callee_refreshes_where_the_caller_asks_it_to():
    wire = Wire()
    wire.hand = lambda m: (
        edited(m, Session_Expires="200;refresher=uas")
        if isinstance(m, Request) and m.method == "INVITE"
        else m
    )
    wire.connect()
    wire.advance(1000.0)
    assert wire.bob.requests() == ["UPDATE"] * 10
    assert wire.alice.requests() == []
    wire.hang_up()


def test_without_update_the_refresh_is_a_reinvite_that_changes_nothing():
    wire = Wire()
    wire.hand = lambda m: edited(m, Allow="INVITE, ACK, BYE, CANCEL") if "allow" in m.headers else m
    wire.connect()
    description = wire.alice.session.descriptions.body
    wire.advance(901.0)
    invite = wire.alice.last("INVITE")
    assert invite.body == description
    # Bob's call model is asked, as by any re-INVITE
    (offered,) = wire.bob.take()
    assert offered == Offered(OFFER)
    wire.say(wire.bob, Answered(ANSWER))
    wire.settle()
    assert wire.alice.take() == []  # nothing changed, so nothing is told
    wire.advance(800.0)
    wire.hang_up()


def test_an_update_that_is_not_done_there_gives_way_to_a_reinvite():
    wire = Wire()
    wire.connect()

    def hand(message):
        if isinstance(message, Request) and message.method == "UPDATE":
            return Request(
                "FROB", message.target, edited(message, CSeq=f"{message.cseq.number} FROB").headers
            )
        if isinstance(message, Response) and message.cseq.method == "FROB":
            return edited(message, CSeq=f"{message.cseq.number} UPDATE")
        return message

    wire.hand = hand
    wire.advance(901.0)
    assert wire.alice.requests() == ["UPDATE", "INVITE"]
    wire.say(wire.bob, Answered(ANSWER))
    wire.settle()
    wire.advance(901.0)
    assert wire.alice.requests().count("UPDATE") == 1
    wire.say(wire.bob, Answered(ANSWER))
    wire.hang_up()


def test_a_peer_that_stops_refreshing_is_hung_up_with_a_reason():
    wire = Wire()
    wire.connect()
    wire.hand = lambda m: None if isinstance(m, Request) and m.method == "UPDATE" else m
    wire.advance(899.0)
    wire.alice.agent.lost(1, now=wire.now)  # it forgot everything
    wire.advance(860.0)
    assert wire.bob.take() == []
    wire.advance(40.0)
    assert wire.bob.take() == [Ended(EndReason.PEER_VANISHED, 408)]
    bye = wire.bob.last("BYE")
    assert bye.headers.first("reason") == 'SIP;cause=408;text="Session expired"'


def test_a_refresh_nobody_answers_ends_the_call():
    wire = Wire()
    wire.connect()
    wire.hand = lambda m: None if isinstance(m, Request) and m.method == "UPDATE" else m
    wire.advance(900.0 + 33.0)
    assert wire.alice.take() == [Ended(EndReason.PEER_VANISHED, 408)]
    wire.require_over()


def test_a_peer_without_timers_talks_for_hours():
    wire = Wire()
    wire.hand = lambda m: (
        edited(m, Supported=None, Session_Expires=None, Min_SE=None)
        if isinstance(m, Request) and m.method == "INVITE"
        else m
    )
    wire.connect()
    wire.advance(5 * 3600.0)
    assert wire.alice.take() == wire.bob.take() == []
    wire.hang_up()
