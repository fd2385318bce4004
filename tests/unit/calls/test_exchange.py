"""Offer and answer in mid-call as a value, without the call around it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securecall.calls import orders as o
from securecall.calls.exchange import Exchange, Proposal
from securecall.calls.negotiation import LocalMedia, build_answer, build_offer
from securecall.calls.signaling import Answered, Offered, Refused, Trickled
from securecall.errors import SecurityError, UsageError
from securecall.media.description import Candidate, Description, Direction, Fingerprint, LocalIce

FOUND = LocalIce(ufrag="ufrag", pwd="password-of-twenty-two-1", candidates=())
ANEW = LocalIce(ufrag="others", pwd="password-of-twenty-two-2", candidates=())


def local(number: int) -> LocalMedia:
    return LocalMedia(
        fingerprint=Fingerprint("sha-256", bytes([number]) * 32),
        host=f"192.0.2.{number}",
        port=40_000 + number,
        codecs=("opus",),
        ice_ufrag=FOUND.ufrag,
        ice_pwd=FOUND.pwd,
        candidates=(Candidate("1", 1, "udp", 1, f"192.0.2.{number}", 40_000 + number, "host"),),
        cname="c",
        ssrc=number,
    )


def begun() -> tuple[Exchange, Description]:
    """Where it stands once we answered, and what the peer had offered."""
    theirs = build_offer(local(2))
    return Exchange().begun(*build_answer(theirs, local(1)))[0], theirs


def test_nothing_is_known_before_the_first_agreement():
    exchange = Exchange()
    assert (exchange.changing, exchange.movable, exchange.trickles, exchange.held) == (False,) * 4
    offer = build_offer(local(2))
    after, outputs = exchange.offered(offer, answers=False, movable=False)
    assert after == exchange
    assert outputs[0] == o.Send(Refused(491))
    with pytest.raises(UsageError, match="nothing"):
        exchange.asked(hold=True)


def test_a_step_leaves_the_value_before_it_as_it_was():
    before, theirs = begun()
    after, outputs = before.offered(held(theirs), answers=False, movable=False)
    assert after.held
    assert not before.held
    assert [type(output) for output in outputs] == [o.Send, o.SetDirection, o.PeerHolds]
    again, outputs = after.offered(held(theirs), answers=False, movable=False)
    assert again.held
    assert o.PeerHolds not in map(type, outputs)


def held(offer: Description) -> Description:
    audio = replace(offer.media[0], direction=Direction.INACTIVE)
    return replace(offer, media=(audio, *offer.media[1:]))


def test_one_change_of_ours_at_a_time_until_it_is_answered_refused_or_settled():
    exchange, _ = begun()
    asked, outputs = exchange.asked(hold=True)
    assert asked.changing
    assert asked.holding
    assert outputs == (o.Send(Offered(asked.proposal.offer)),)
    for step in (lambda: asked.asked(hold=False), lambda: asked.proposed(Proposal(asked.ours))):
        with pytest.raises(UsageError, match="under way"):
            step()
    refused, outputs = asked.refused()
    assert outputs == (o.ChangeRefused("the peer refused the change"),)
    assert not refused.changing
    assert refused.holding, "whatever it refuses"
    assert asked.settled() == refused


def test_our_change_that_met_theirs_is_made_again_of_what_both_have_then():
    exchange, theirs = begun()
    asked, _ = exchange.asked(hold=True)
    refused, outputs = asked.offered(theirs, answers=False, movable=False)
    assert refused == asked
    assert outputs[0] == o.Send(Refused(491))
    after, outputs = asked.deferred().offered(theirs, answers=False, movable=False)
    assert isinstance(outputs[0].signal, Answered)
    assert outputs[-1] == o.Send(Offered(after.proposal.offer))
    assert exchange.deferred() == exchange, "there is nothing to be made again"


def test_an_answer_of_other_keys_raises_and_one_to_nothing_is_ours_to_prevent():
    exchange, theirs = begun()
    asked, _ = exchange.asked(hold=True)
    audio = replace(theirs.media[0], fingerprints=(Fingerprint("sha-256", bytes(32)),))
    with pytest.raises(SecurityError):
        asked.answered(replace(theirs, media=(audio,)))
    with pytest.raises(UsageError, match="nothing"):
        exchange.answered(theirs)


def test_another_way_waits_for_candidates_or_is_refused_without():
    exchange, theirs = begun()
    audio = replace(theirs.media[0], ice_ufrag=ANEW.ufrag, ice_pwd=ANEW.pwd)
    moved = replace(theirs, media=(audio, *theirs.media[1:]))
    same, outputs = exchange.offered(moved, answers=False, movable=False)
    assert same == exchange
    assert outputs[0] == o.Send(Refused(491))
    waiting, outputs = exchange.offered(moved, answers=False, movable=True)
    assert outputs == (o.Regather(),)
    assert waiting.changing
    after, outputs = waiting.regathered(None)
    assert after == exchange
    assert outputs[0] == o.Send(Refused(488))
    after, outputs = waiting.regathered(replace(ANEW, ufrag="ours", candidates=local(1).candidates))
    assert [type(output) for output in outputs[:2]] == [o.Send, o.Reconnect]
    assert after.ours.audio.ice_ufrag == "ours"
    assert exchange.regathered(ANEW)[1] == (o.Discard("candidates that nobody waits for"),)
    taken_back, _ = waiting.refused()
    assert taken_back == exchange


def test_candidates_are_told_once_the_peer_has_our_description_and_once():
    early, outputs = Exchange().gathered(FOUND)
    assert outputs == ()
    exchange, _ = begun()
    agreed = replace(exchange.agreed, trickle=True)
    after, outputs = early.begun(exchange.ours, agreed)
    assert outputs == (o.Send(Trickled(exchange.ours.audio.mid, FOUND)),)
    assert after.found is None
    assert after.gathered(ANEW)[1] == (), "of another generation than we described"
