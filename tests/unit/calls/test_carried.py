"""The life of a call whose engine makes offers and answers, and what it can reach."""

from __future__ import annotations

import pytest

from securecall.calls import orders
from securecall.calls.carried import (
    NOTHING,
    CarriedConnection,
    CarriedMachine,
    Engine,
    sound,
)
from securecall.calls.connection import ConnectionEvents
from securecall.calls.machine import State
from securecall.calls.signaling import Answered, Ended, Offered, Refused, Ringing
from securecall.errors import DowngradeError, EndReason, PolicyRefused, Unsupported, UsageError
from securecall.keys.trust_record import TrustState
from securecall.media.description import Direction, Keying
from securecall.policy import (
    Facts,
    Floor,
    Gate,
    IdentityEvidence,
    IpPrivacy,
    Policy,
    SecurityLevel,
    security_state,
)

ENGINE = Engine("PJSIP", Keying.SDES)
HOP = Floor(minimum=SecurityLevel.HOP_BY_HOP, pinned=False, identity=False)
PROOF = Floor(minimum=SecurityLevel.OPPORTUNISTIC, pinned=False, identity=True)
PINNED = Floor(minimum=SecurityLevel.HOP_BY_HOP, pinned=True, identity=True)


def machine(floor=HOP, *, outgoing=True):
    return CarriedMachine(Policy(danger_plain_dtls=True), floor, outgoing=outgoing, engine=ENGINE)


def active():
    call = machine()
    _ = call.dial(NOTHING, now=0.0)
    assert orders.AwaitKeys() in call.receive(Answered(sound()), now=1.0)
    assert orders.SetGate(Gate.OPEN) in call.secured(ENGINE.facts, now=2.0)
    assert call.state is State.ACTIVE
    return call


def test_it_reaches_hop_by_hop_and_says_why():
    call = active()
    assert call.security.level is SecurityLevel.HOP_BY_HOP
    assert any("PJSIP" in warning for warning in call.security.warnings)


@pytest.mark.parametrize("keying", [Keying.SDES, Keying.DTLS_SRTP])
def test_no_evidence_lifts_an_engine_above_hop_by_hop(keying):
    evidence = IdentityEvidence(
        root_fp=b"", device_id="", trust=TrustState.VERIFIED, group="X25519MLKEM768"
    )
    facts = Facts(keying=keying, identity=evidence, engine="PJSIP", sframe=True)
    assert security_state(facts).level is SecurityLevel.HOP_BY_HOP
    ours = Facts(keying=Keying.DTLS_SRTP, identity=evidence, sframe=True)
    assert security_state(ours).level is SecurityLevel.VERIFIED  # the control


@pytest.mark.parametrize(("floor", "error"), [(PROOF, PolicyRefused), (PINNED, DowngradeError)])
def test_what_needs_more_is_refused_before_anything_is_sent(floor, error):
    with pytest.raises(error):
        _ = machine(floor).dial(NOTHING, now=0.0)
    outputs = machine(floor, outgoing=False).invited(sound(), now=0.0)
    assert not any(isinstance(o, orders.Send) and isinstance(o.signal, Ringing) for o in outputs)
    assert orders.Send(Ended(EndReason.SECURITY)) in outputs
    assert isinstance(outputs[-1].error, error)


def test_an_engine_that_shows_our_address_makes_no_calls_where_it_is_hidden():
    """The control are all other tests: without that wish the same calls are made, and ring."""
    policy = Policy(danger_plain_dtls=True, ip_privacy=IpPrivacy.RELAY)
    calls = [
        CarriedMachine(policy, HOP, outgoing=outgoing, engine=ENGINE) for outgoing in (True, False)
    ]
    with pytest.raises(PolicyRefused, match="IP address"):
        _ = calls[0].dial(NOTHING, now=0.0)
    outputs = calls[1].invited(sound(), now=0.0)
    assert not any(isinstance(o, orders.Send) and isinstance(o.signal, Ringing) for o in outputs)
    assert isinstance(outputs[-1].error, PolicyRefused)


class DigitLeg:
    def hear_digits(self, sink):
        self.pressed = sink


def test_digits_of_an_engine_pass_an_open_gate_alone():
    """PJSIP takes them by INFO in any call, ringing ones too."""
    heard, leg = [], DigitLeg()
    nothing = dict.fromkeys(("secured", "failed", "guess_burned", "sound_failed", "peer_said"))
    connection = CarriedConnection(
        ConnectionEvents(**nothing, digit=heard.append),
        policy=Policy(),
        identity=None,
        strict=False,
        clock=None,
        towards="",
        outgoing=False,
    )
    connection.follow(leg)
    leg.pressed("1")
    connection.gate = Gate.OPEN
    leg.pressed("2")
    connection.gate = Gate.CLOSED
    leg.pressed("3")
    assert heard == ["2"]


def test_a_call_that_came_in_is_held_to_what_is_required_at_acceptance():
    call = machine(outgoing=False)
    assert call.invited(sound(), now=0.0) == (orders.Send(Ringing()),)
    call.raise_minimum(SecurityLevel.E2EE)
    assert isinstance(call.accept(NOTHING, now=1.0)[-1].error, PolicyRefused)
    taken = machine(outgoing=False)
    _ = taken.invited(sound(), now=0.0)
    assert taken.accept(NOTHING, now=1.0) == (orders.Send(Answered(sound())), orders.AwaitKeys())


def test_an_engine_that_gets_no_keys_ends_the_call_in_time():
    call = machine()
    _ = call.dial(NOTHING, now=0.0)
    _ = call.receive(Answered(sound()), now=1.0)
    assert call.deadline == 1.0 + Policy().connect_seconds
    assert isinstance(call.expire(now=call.deadline)[-1], orders.Finish)


def test_holds_go_both_ways():
    call = active()
    assert call.change(hold=True) == (orders.Send(Offered(sound(Direction.SENDONLY))),)
    with pytest.raises(UsageError):
        call.change(hold=True)
    answered = call.receive(Answered(sound()), now=3.0)
    assert answered == (orders.SetDirection(Direction.SENDONLY),)
    _ = call.change(hold=False)
    assert isinstance(call.receive(Refused(491), now=4.0)[0], orders.ChangeRefused)
    held = call.receive(Offered(sound(Direction.SENDONLY)), now=5.0)
    assert held == (orders.SetDirection(Direction.RECVONLY), orders.PeerHolds(on=True))
    both = call.receive(Offered(sound(Direction.INACTIVE)), now=6.0)
    assert both == (orders.SetDirection(Direction.INACTIVE),)
    back = call.receive(Offered(sound(Direction.RECVONLY)), now=7.0)
    assert back == (orders.SetDirection(Direction.SENDONLY), orders.PeerHolds(on=False))
    assert not call.held


def test_it_has_no_pictures_no_text_and_one_beginning():
    call = active()
    with pytest.raises(Unsupported, match="PJSIP carries sound alone"):
        call.require_text()
    with pytest.raises(Unsupported):
        call.change(drop="1")
    with pytest.raises(Unsupported):
        call.welcome(("a picture",))
    with pytest.raises(UsageError):
        call.dial(NOTHING, now=6.0)
    assert isinstance(call.receive(Answered(sound()), now=6.0)[0], orders.Discard)
    with pytest.raises(UsageError):
        machine().change(hold=True)
    with pytest.raises(UsageError):
        machine().accept(NOTHING, now=0.0)
