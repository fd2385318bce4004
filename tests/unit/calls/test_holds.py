"""Who holds whom: each of both by itself, whatever else changes, and what of it the other hears."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securecall.calls import orders as o
from securecall.calls.pictures import CAMERA as OF_CAMERA
from securecall.calls.pictures import SCREEN as OF_SCREEN
from securecall.calls.signaling import Answered, Deferred, Offered, Refused
from securecall.media.description import Direction
from tests.unit.calls.test_restarts import gathered, talking
from tests.unit.calls.test_video_lines import CAMERA, SCREEN, over_the_wire

BOTH, OURS, THEIRS = Direction.SENDRECV, Direction.SENDONLY, Direction.RECVONLY
NOTHING = Direction.INACTIVE


def of(kind, outputs):
    return [output for output in outputs if isinstance(output, kind)]


def description(outputs):
    (send,) = of(o.Send, outputs)
    return over_the_wire(send.signal.description)


def ask(one, other, **change):
    """One changes the call; returns what both were ordered, and the two directions of the sound."""
    proposed = one.change(**change)
    told = other.receive(Offered(description(proposed)), now=1.0)
    answered = one.receive(Answered(description(told)), now=1.0)
    (here,), (there,) = of(o.SetDirection, answered), of(o.SetDirection, told)
    return answered, told, here.direction, there.direction


def test_who_is_held_is_told_and_told_again_when_it_is_over():
    alice, bob = talking(CAMERA)
    mine, told, *ways = ask(alice, bob, hold=True)
    assert (ways, of(o.PeerHolds, told), of(o.PeerHolds, mine)) == (
        [OURS, THEIRS],
        [o.PeerHolds(on=True)],
        [],
    )
    assert bob.held
    assert not alice.held
    nothing = o.PicturesAgreed(frozenset({OF_CAMERA}), frozenset())
    assert of(o.PicturesAgreed, told) == of(o.PicturesAgreed, mine) == [nothing]
    mine, told, *ways = ask(alice, bob, hold=False)
    assert (ways, of(o.PeerHolds, told), of(o.PeerHolds, mine)) == (
        [BOTH, BOTH],
        [o.PeerHolds(on=False)],
        [],
    )
    again = o.PicturesAgreed(frozenset({OF_CAMERA}), frozenset({OF_CAMERA}))
    assert of(o.PicturesAgreed, told) == of(o.PicturesAgreed, mine) == [again]


def test_each_takes_back_only_its_own_hold():
    alice, bob = talking(CAMERA)
    ask(alice, bob, hold=True)
    mine, told, *ways = ask(bob, alice, hold=True)
    assert (ways, of(o.PeerHolds, told), of(o.PeerHolds, mine)) == (
        [NOTHING, NOTHING],
        [o.PeerHolds(on=True)],
        [],
    )
    mine, told, *ways = ask(bob, alice, hold=False)
    assert (ways, of(o.PeerHolds, told), of(o.PeerHolds, mine)) == (
        [THEIRS, OURS],
        [o.PeerHolds(on=False)],
        [],
    )
    assert not of(o.SetVideo, (*told, *mine))  # nothing of Alice's is to be seen, as before
    _, told, *ways = ask(alice, bob, hold=False)
    assert (ways, of(o.PeerHolds, told)) == ([BOTH, BOTH], [o.PeerHolds(on=False)])


def test_whom_we_hold_stays_so_whatever_an_offer_in_its_name_asks():
    alice, bob = talking(CAMERA)
    ask(alice, bob, hold=True)
    offer = description(bob.change())
    forged = tuple(replace(line, direction=BOTH) for line in offer.media)
    outputs = alice.receive(Offered(replace(offer, media=forged)), now=2.0)
    assert [m.direction for m in description(outputs).media] == [OURS, NOTHING]
    assert of(o.SetDirection, outputs) == [o.SetDirection(OURS)]
    assert not of(o.SetVideo, outputs)


def test_a_hold_stays_through_another_way_and_through_pictures_that_come_and_go():
    alice, bob = talking(CAMERA)
    alice.welcome((CAMERA, SCREEN))
    bob.welcome((CAMERA, SCREEN))
    ask(alice, bob, hold=True)
    restart = alice.restart(gathered(3))
    assert [m.direction for m in description(restart).media] == [OURS, NOTHING]
    bob.receive(Offered(description(restart)), now=1.0)
    send, *_ = bob.regathered(gathered(4))
    alice.receive(Answered(over_the_wire(send.signal.description)), now=1.0)
    mine, told, *ways = ask(alice, bob, add=SCREEN)
    assert ways == [OURS, THEIRS]
    (video,) = of(o.SetVideo, told)
    assert [v.direction for v in video.video] == [NOTHING, NOTHING]
    both = frozenset({OF_CAMERA, OF_SCREEN})
    assert of(o.PicturesAgreed, mine) == [o.PicturesAgreed(both, frozenset())]
    ask(bob, alice, drop="2")
    _, told, *ways = ask(bob, alice, add=SCREEN)  # theirs, while it is held
    assert ways == [THEIRS, OURS]
    (video,) = of(o.SetVideo, told)
    assert {v.direction for v in video.video} == {NOTHING}
    mine, told, *_ = ask(alice, bob, hold=False)
    assert (
        of(o.PicturesAgreed, told) == of(o.PicturesAgreed, mine) == [o.PicturesAgreed(both, both)]
    )


@pytest.mark.parametrize("answer", [Refused(488), Deferred()], ids=["refused", "met theirs"])
def test_a_hold_that_the_peer_does_not_take_stands_with_us(answer):
    alice, bob = talking(CAMERA)
    alice.change(hold=True)
    alice.receive(answer, now=1.0)
    outputs = alice.receive(Offered(description(bob.change())), now=2.0)
    answered = over_the_wire(of(o.Send, outputs)[0].signal.description)
    assert [m.direction for m in answered.media] == [OURS, NOTHING]


def test_a_resumption_that_is_refused_takes_nobody_back():
    alice, bob = talking()
    ask(alice, bob, hold=True)
    alice.change(hold=False)
    alice.receive(Refused(488), now=1.0)
    outputs = alice.receive(Offered(description(bob.change())), now=2.0)
    assert of(o.SetDirection, outputs) == [o.SetDirection(OURS)]


def test_a_camera_that_the_peer_turns_off_by_signalling_is_told():
    alice, bob = talking(CAMERA)
    offer = description(bob.change())
    media = (offer.media[0], replace(offer.media[1], direction=THEIRS))
    outputs = alice.receive(Offered(replace(offer, media=media)), now=1.0)
    camera = frozenset({OF_CAMERA})
    assert of(o.PicturesAgreed, outputs) == [o.PicturesAgreed(camera, frozenset())]
    bob.receive(Answered(over_the_wire(of(o.Send, outputs)[0].signal.description)), now=1.0)
    mine, _, *_ = ask(alice, bob, drop="1")
    assert of(o.PicturesAgreed, mine) == [o.PicturesAgreed(frozenset(), frozenset())]
    mine, told, *_ = ask(alice, bob)
    assert not of(o.PicturesAgreed, (*mine, *told)), "nothing changed"
