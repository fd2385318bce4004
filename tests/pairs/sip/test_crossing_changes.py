"""Two change a call at the same moment: SIP agents and call machines of both (RFC 3261 14.1)."""

from __future__ import annotations

import pytest

from securecall.calls import orders as o
from securecall.calls.signaling import Offered
from securecall.media.description import Direction
from tests.sip_wire import Wire
from tests.unit.calls.test_restarts import gathered, talking
from tests.unit.calls.test_video_lines import CAMERA, SCREEN


class Pair:
    """A call whose machines stand behind the two agents of a wire."""

    def __init__(self, seed, *video):
        self.wire = Wire(seed=seed)
        self.wire.connect()
        self.alice, self.bob = talking(*video)
        self.ends = {self.alice: self.wire.alice, self.bob: self.wire.bob}
        self.orders = {self.alice: [], self.bob: []}
        self.places = 10

    def perform(self, machine, outputs):
        self.orders[machine] += outputs
        for output in outputs:
            if isinstance(output, o.Send):
                self.wire.say(self.ends[machine], output.signal)
            elif isinstance(output, o.Regather):
                self.perform(machine, machine.regathered(self.place()))

    def place(self):
        self.places += 1
        return gathered(self.places)

    def cross(self, ours, theirs):
        """Both say it before anything arrives, then what comes of it; seconds until all is done."""
        began = self.wire.now
        self.perform(self.alice, ours)
        self.perform(self.bob, theirs)
        while self.alice.changing or self.bob.changing:
            assert self.wire.now < began + 32, "they never agree"
            self.wire.advance(0.05)
            for machine, end in self.ends.items():
                for signal in end.take():
                    self.perform(machine, machine.receive(signal, now=self.wire.now))
        for machine in (self.alice, self.bob):
            assert not self.ordered(machine, o.ChangeRefused)
            assert not self.ordered(machine, o.Finish)
        return self.wire.now - began

    def ordered(self, machine, kind):
        return [order for order in self.orders[machine] if isinstance(order, kind)]

    def refusals(self):
        return self.wire.alice.statuses("INVITE"), self.wire.bob.statuses("INVITE")


def agreed(machine):
    return machine._exchange.agreed


@pytest.mark.parametrize("seed", range(8))
def test_holds_that_cross_are_both_taken_after_one_refusal_each(seed):
    pair = Pair(seed)
    took = pair.cross(pair.alice.change(hold=True), pair.bob.change(hold=True))
    for statuses in pair.refusals():
        assert sorted(statuses) == [200, 491]
    assert took < 4.2  # whose Call-ID it is waits 2.1 to 4 s, the other at most 2
    for machine in (pair.alice, pair.bob):  # neither lets go of the other's hold
        assert agreed(machine).direction is Direction.INACTIVE


@pytest.mark.parametrize("seed", range(4))
def test_what_was_put_off_is_made_of_what_the_peer_changed_meanwhile(seed):
    pair = Pair(seed, CAMERA)
    (mid,) = (video.mid for video in agreed(pair.alice).video)
    pair.alice.welcome((SCREEN,))
    _ = pair.cross(pair.alice.change(drop=mid), pair.bob.change(add=SCREEN))
    for machine in (pair.alice, pair.bob):
        assert [video.local.content for video in agreed(machine).video] == ["slides"]
    sent = [order.signal for order in pair.ordered(pair.alice, o.Send)]
    offer = [signal for signal in sent if isinstance(signal, Offered)][-1]
    assert [m.refused for m in offer.description.media] == [False, True, False]


@pytest.mark.parametrize("seed", range(4))
def test_of_two_who_move_at_once_one_is_followed_and_nobody_moves_twice(seed):
    pair = Pair(seed)
    _ = pair.cross(pair.alice.restart(pair.place()), pair.bob.restart(pair.place()))
    ways = [pair.ordered(machine, o.Reconnect) for machine in (pair.alice, pair.bob)]
    assert [len(way) for way in ways] == [1, 1]
    for machine, other in ((pair.alice, pair.bob), (pair.bob, pair.alice)):
        assert agreed(machine).ice_ufrag == other._exchange.ours.audio.ice_ufrag
    pair.wire.advance(10.0)
    assert not pair.wire.alice.take() and not pair.wire.bob.take()


def test_a_move_that_waits_comes_after_a_hold_and_a_hold_after_a_move():
    pair = Pair(1)
    _ = pair.cross(pair.alice.restart(pair.place()), pair.bob.change(hold=True))
    assert agreed(pair.alice).ice_ufrag == pair.bob._exchange.ours.audio.ice_ufrag
    assert agreed(pair.bob).direction is Direction.SENDONLY
    _ = pair.cross(pair.alice.change(hold=True), pair.bob.restart(pair.place()))
    assert agreed(pair.alice).direction is Direction.INACTIVE  # and he holds her still
    assert agreed(pair.bob).ice_ufrag == pair.alice._exchange.ours.audio.ice_ufrag
    assert pair.alice._exchange.ours.audio.ice_ufrag == f"fragment{pair.places}"
