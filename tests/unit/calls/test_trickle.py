"""Candidates that are found later (RFC 8838): who is told of them when, and whose are taken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securecall.calls import orders as o
from securecall.calls.machine import CallMachine
from securecall.calls.signaling import Answered, Ended, Offered, Refused, Trickled
from securecall.errors import EndReason
from securecall.media.description import Candidate
from securecall.policy import Policy, floor_for
from tests.unit.calls.test_restarts import gathered, talking, with_ice
from tests.unit.calls.test_video_lines import CAMERA, local

RELAY = Candidate("2", 1, "udp", 1, "192.0.2.99", 6000, "relay")
POLICY = Policy()
FLOOR = floor_for(POLICY, contact_floor=False, pinned=False, direct=False)


def more(number, *, complete=True):
    """What a generation has once its relay answered."""
    ice = gathered(number)
    return replace(ice, candidates=(*ice.candidates, RELAY), complete=complete)


def machines(*video, offered=lambda offer: offer):
    alice = CallMachine(POLICY, FLOOR, outgoing=True)
    bob = CallMachine(POLICY, FLOOR, outgoing=False)
    offer = alice.dial(replace(with_ice(local(1, *video), 1), complete=False), now=0.0)
    bob.invited(offered(offer), now=0.0)
    return alice, bob, offer


def accept(bob, *video):
    send, *rest = bob.accept(replace(with_ice(local(2, *video), 2), complete=False), now=0.0)
    return send.signal.description, rest


def sent(outputs):
    return [order.signal for order in outputs if isinstance(order, o.Send)]


def test_an_offer_says_that_more_may_follow_and_that_it_is_not_all():
    _, bob, offer = machines()
    assert offer.trickle
    assert not offer.audio.end_of_candidates
    answer, _ = accept(bob)
    assert answer.trickle
    assert not answer.audio.end_of_candidates


def test_the_caller_s_wait_for_the_answer_and_the_callee_s_do_not():
    alice, bob, _ = machines(CAMERA)
    assert alice.gathered(more(1, complete=False)) == ()
    assert alice.gathered(more(1)) == ()
    answer, _ = accept(bob, CAMERA)
    assert sent(bob.gathered(more(2))) == [Trickled("0", more(2))]
    start, *rest = alice.receive(Answered(answer), now=1.0)
    assert isinstance(start, o.StartMedia)
    assert sent(rest) == [Trickled("0", more(1))]  # all of it, once
    assert alice.receive(Trickled("0", more(2)), now=1.0) == (o.CheckAlso(more(2)),)


def test_what_was_found_before_the_answer_was_given_follows_it():
    _, bob, _ = machines()
    assert not sent(bob.gathered(more(2)))
    _, rest = accept(bob)
    assert sent(rest) == [Trickled("0", more(2))]


def test_a_peer_that_takes_none_is_told_none():
    def plain(description):
        return replace(description, trickle=False)

    alice, bob, _ = machines(offered=plain)
    answer, _ = accept(bob)
    assert not answer.trickle
    assert not sent(bob.gathered(more(2)))
    alice.receive(Answered(plain(answer)), now=1.0)
    assert alice.gathered(more(1)) == ()
    for machine in (alice, bob):
        assert not machine.trickles
        (dropped,) = machine.receive(Trickled("0", more(1)), now=1.0)
        assert isinstance(dropped, o.Discard)


def test_nothing_is_taken_before_the_call_was_accepted_nor_after_its_end():
    alice, bob, _ = machines()
    assert isinstance(bob.receive(Trickled("0", more(1)), now=0.5)[0], o.Discard)
    assert isinstance(alice.receive(Trickled("0", more(2)), now=0.5)[0], o.Discard)
    accept(bob)
    assert bob.receive(Trickled("0", more(1)), now=0.5) == (o.CheckAlso(more(1)),)  # the control
    bob.receive(Ended(EndReason.HUNG_UP), now=1.0)
    assert isinstance(bob.receive(Trickled("0", more(1)), now=1.5)[0], o.Discard)
    assert not sent(bob.gathered(more(2)))


@pytest.mark.parametrize(
    "told",
    [
        Trickled("0", replace(more(1), ufrag="another")),
        Trickled("0", replace(more(1), pwd="p" * 22)),
        Trickled("0", more(2)),  # our own
        Trickled("1", more(1)),
    ],
)
def test_of_another_generation_or_line_none_is_taken(told):
    _, bob, _ = machines()
    accept(bob)
    (dropped,) = bob.receive(told, now=1.0)
    assert isinstance(dropped, o.Discard)


def test_a_restart_trickles_once_the_peer_has_its_description():
    alice, bob = talking(CAMERA)
    early = replace(gathered(3), complete=False)
    (send,) = alice.restart(early)
    offer = send.signal.description
    assert not any(line.end_of_candidates for line in offer.media)
    assert offer.trickle
    assert alice.gathered(more(3)) == ()
    assert bob.receive(Offered(offer), now=1.0) == (o.Regather(),)
    answered = bob.regathered(replace(gathered(4), complete=False))
    (answer,) = sent(answered)
    assert bob.receive(Trickled("0", more(1)), now=1.0)[0] != o.CheckAlso(more(1))  # the old one
    assert sent(bob.gathered(more(4))) == [Trickled("0", more(4))]
    outputs = alice.receive(answer, now=1.0)
    assert sent(outputs) == [Trickled("0", more(3))]
    assert bob.receive(Trickled("0", more(3)), now=1.0) == (o.CheckAlso(more(3)),)
    assert alice.receive(Trickled("0", more(4)), now=1.0) == (o.CheckAlso(more(4)),)


def test_what_a_refused_restart_found_is_never_told():
    alice, _ = talking()
    alice.restart(replace(gathered(3), complete=False))
    assert alice.gathered(more(3)) == ()
    alice.receive(Refused(488), now=1.0)
    assert alice.gathered(more(3)) == ()
