"""An ICE restart in mid-call: both credentials change or none, and no keys do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securecall.calls import orders as o
from securecall.calls.machine import CallMachine
from securecall.calls.negotiation import build_answer, build_offer
from securecall.calls.signaling import Answered, Deferred, Offered, Refused
from securecall.errors import EndReason, UsageError
from securecall.keys.trust import TrustState
from securecall.media.description import Candidate, Direction, Fingerprint, Keying, LocalIce
from securecall.policy import Facts, Gate, IdentityEvidence, Policy, floor_for
from tests.unit.calls.test_video_lines import CAMERA, SCREEN, local, over_the_wire


def gathered(number):
    host = f"192.0.2.{number}"
    candidates = (Candidate("1", 1, "udp", 1, host, 5000 + number, "host"),)
    return LocalIce(
        ufrag=f"fragment{number}", pwd=f"passwordOfNumber{number}000000", candidates=candidates
    )


def with_ice(media, number):
    ice = gathered(number)
    return replace(media, ice_ufrag=ice.ufrag, ice_pwd=ice.pwd, candidates=ice.candidates)


def talking(*video):
    """Two machines in a call, and what each said last."""
    policy = Policy()
    floor = floor_for(policy, contact_floor=False, pinned=False, direct=False)
    alice = CallMachine(policy, floor, outgoing=True)
    bob = CallMachine(policy, floor, outgoing=False)
    offer = alice.dial(with_ice(local(1, *video), 1), now=0.0)
    bob.invited(over_the_wire(offer), now=0.0)
    send, *_ = bob.accept(with_ice(local(2, *video), 2), now=0.0)
    alice.receive(Answered(over_the_wire(send.signal.description)), now=0.0)
    identity = IdentityEvidence(
        root_fp=bytes(64), device_id="d", trust=TrustState.PINNED, group="X25519MLKEM768"
    )
    facts = Facts(
        keying=Keying.DTLS_SRTP,
        identity=identity,
        srtp_profile="SRTP_AEAD_AES_256_GCM",
        sframe=True,
    )
    for machine in (alice, bob):
        assert o.SetGate(Gate.OPEN) in machine.secured(facts, now=0.0)
    return alice, bob


def offered(outputs):
    (send,) = outputs
    assert isinstance(send.signal, Offered)
    return over_the_wire(send.signal.description)


def test_both_find_the_way_that_both_described_and_keys_and_gate_are_not_touched():
    alice, bob = talking(CAMERA)
    offer = offered(alice.restart(gathered(3)))
    assert bob.receive(Offered(offer), now=1.0) == (o.Regather(),)
    assert bob.changing
    send, theirs, *rest = bob.regathered(gathered(4))
    assert not bob.changing
    ours, *more = alice.receive(Answered(over_the_wire(send.signal.description)), now=1.0)
    for order, number in ((theirs, 3), (ours, 4)):
        assert isinstance(order, o.Reconnect)
        agreed, ice = order.agreement, gathered(number)
        assert (agreed.ice_ufrag, agreed.ice_pwd) == (ice.ufrag, ice.pwd)
        assert agreed.candidates == ice.candidates
        assert (agreed.host, agreed.port) == ice.default
        assert [v.local for v in agreed.video] == [CAMERA]
    assert not [order for order in (*rest, *more) if isinstance(order, o.SetGate | o.StartMedia)]
    for line in offer.media:  # the picture rides along
        assert (line.host, line.port) == gathered(3).default
        assert line.ice_ufrag == gathered(3).ufrag
        assert line.fingerprints == (local(1).fingerprint,)


def test_a_hold_after_a_restart_says_the_new_way():
    alice, bob = talking()
    bob.receive(Offered(offered(alice.restart(gathered(3)))), now=1.0)
    send, *_ = bob.regathered(gathered(4))
    alice.receive(Answered(over_the_wire(send.signal.description)), now=1.0)
    offer = offered(alice.change(hold=True))
    assert offer.audio.ice_ufrag == gathered(3).ufrag
    send, *_ = bob.receive(Offered(offer), now=2.0)
    assert send.signal.description.audio.ice_ufrag == gathered(4).ufrag, "no restart: as it was"


@pytest.mark.parametrize(
    "change",
    [
        {"ice_ufrag": "another"},
        {"ice_pwd": "anotherPassword0000000000"},
        {"fingerprints": (Fingerprint("sha-256", bytes(32)),)},
        {"keying": Keying.NONE},
        {"has_crypto": True},
    ],
    ids=["name alone", "password alone", "other keys", "no keys", "keys for servers"],
)
def test_half_a_restart_or_one_that_changes_keys_is_refused(change):
    alice, bob = talking()
    offer = offered(alice.restart(gathered(3)))
    audio = offer.media[0]
    if "ice_ufrag" in change or "ice_pwd" in change:  # the other one as it was
        audio = with_ice(audio, 1)
    offer = replace(offer, media=(replace(audio, **change),))
    send, refused = bob.receive(Offered(offer), now=1.0)
    assert send == o.Send(Refused(488))
    assert isinstance(refused, o.ChangeRefused)
    assert not bob.changing


def test_an_answer_that_does_not_restart_or_does_unasked_changes_nothing():
    alice, bob = talking()
    offer = offered(alice.restart(gathered(3)))
    bob.receive(Offered(offer), now=1.0)
    send, *_ = bob.regathered(gathered(4))
    answer = over_the_wire(send.signal.description)
    stays = replace(answer, media=(with_ice(answer.media[0], 2),))
    (refused,) = alice.receive(Answered(stays), now=1.0)
    assert isinstance(refused, o.ChangeRefused)
    alice.change(hold=True)
    (refused,) = alice.receive(Answered(answer), now=2.0)
    assert isinstance(refused, o.ChangeRefused)
    assert "nobody asked" in refused.why


def test_an_answer_under_other_keys_ends_the_call():
    alice, bob = talking()
    bob.receive(Offered(offered(alice.restart(gathered(3)))), now=1.0)
    send, *_ = bob.regathered(gathered(4))
    answer = over_the_wire(send.signal.description)
    evil = replace(answer.media[0], fingerprints=(Fingerprint("sha-256", bytes(32)),))
    *_, finish = alice.receive(Answered(replace(answer, media=(evil,))), now=1.0)
    assert finish.reason is EndReason.SECURITY


def test_one_thing_at_a_time():
    alice, bob = talking()
    offer = offered(alice.restart(gathered(3)))
    for again in (lambda: alice.restart(gathered(5)), lambda: alice.change(hold=True)):
        with pytest.raises(UsageError, match="under way"):
            again()
    bob.receive(Offered(offer), now=1.0)
    with pytest.raises(UsageError, match="under way"):
        bob.restart(gathered(5))
    assert bob.receive(Offered(offer), now=1.0)[0] == o.Send(Refused(491))


def test_whoever_found_nothing_says_so_and_what_is_taken_back_is_forgotten():
    alice, bob = talking()
    offer = offered(alice.restart(gathered(3)))
    bob.receive(Offered(offer), now=1.0)
    send, refused = bob.regathered(None)
    assert send == o.Send(Refused(488))
    assert isinstance(refused, o.ChangeRefused)
    bob.receive(Offered(offer), now=2.0)
    (refused,) = bob.receive(Refused(487), now=2.1)
    assert isinstance(refused, o.ChangeRefused)
    (dropped,) = bob.regathered(gathered(4))
    assert isinstance(dropped, o.Discard)
    (refused,) = alice.receive(Refused(488), now=2.0)
    assert isinstance(refused, o.ChangeRefused)
    assert not alice.changing


def test_a_wish_the_peer_takes_back_takes_nothing_of_ours_that_waits_along():
    alice, bob = talking()
    offer = offered(alice.restart(gathered(3)))
    held = bob.change(hold=True)
    assert bob.receive(Deferred(), now=1.0) == ()
    assert bob.receive(Offered(offer), now=1.1) == (o.Regather(),)
    (refused,) = bob.receive(Refused(487), now=1.2)
    assert "took back" in refused.why
    assert bob.changing
    assert offered(held).audio.direction is Direction.SENDONLY
    (refused,) = bob.receive(Refused(488), now=2.0)
    assert "refused the change" in refused.why
    assert not bob.changing
    (dropped,) = bob.receive(Deferred(), now=3.0)
    assert isinstance(dropped, o.Discard)


def test_a_restart_that_waits_is_taken_back_once_the_peer_found_the_way():
    alice, bob = talking()
    _ = bob.restart(gathered(6))
    _ = bob.receive(Deferred(), now=1.0)
    assert bob.receive(Offered(offered(alice.restart(gathered(3)))), now=1.1) == (o.Regather(),)
    answered, moved, *_, back = bob.regathered(gathered(4))
    assert isinstance(answered.signal, Answered)
    assert isinstance(moved, o.Reconnect)
    assert back == o.Send(Refused(487))
    assert not bob.changing


def test_the_sound_is_told_of_what_a_change_leaves_beside_it():
    alice, bob = talking()
    offer = offered(alice.change(hold=True))
    codecs = tuple(c for c in offer.audio.codecs if c.name.lower() == "opus")
    formats = tuple(str(c.payload_type) for c in codecs)
    less = replace(offer, media=(replace(offer.media[0], codecs=codecs, formats=formats),))
    before = bob._exchange.agreed
    assert None not in (before.events, before.red)
    assert o.SetCompanions(None, None) in bob.receive(Offered(less), now=1.0)
    assert o.SetCompanions(before.events, before.red) in bob.receive(Offered(offer), now=2.0)
    kinds = {type(order) for order in bob.receive(Offered(offer), now=3.0)}
    assert o.SetCompanions not in kinds


def test_a_picture_that_waits_finds_room_however_many_lines_the_peer_adds():
    alice, bob = talking()
    _ = bob.change(add=CAMERA)
    _ = bob.receive(Deferred(), now=1.0)
    offer = offered(alice.change(add=SCREEN))
    more = tuple(replace(offer.media[1], mid=f"m{n}") for n in range(6))
    full = replace(offer, media=(*offer.media, *more), bundle=("0",))
    answered, *_, again = bob.receive(Offered(full), now=1.1)
    assert [m.refused for m in answered.signal.description.media] == [False, *[True] * 7]
    assert [m.refused for m in again.signal.description.media] == [False, False, *[True] * 6]


@pytest.mark.parametrize("welcome", [True, False])
def test_whoever_adds_a_picture_hears_that_the_peer_takes_none(welcome):
    alice, bob = talking()
    bob.welcome((CAMERA,) if welcome else ())
    offer = offered(alice.change(add=CAMERA))
    answered, *_ = bob.receive(Offered(offer), now=1.0)
    outputs = alice.receive(Answered(over_the_wire(answered.signal.description)), now=1.1)
    refused = [order.why for order in outputs if isinstance(order, o.ChangeRefused)]
    shown = [order for order in outputs if isinstance(order, o.SetVideo)]
    assert refused == ([] if welcome else ["the peer takes no such picture"])
    assert len(shown) == welcome
    assert not alice.changing


def test_no_other_way_before_the_first_and_none_without_ice():
    policy = Policy()
    floor = floor_for(policy, contact_floor=False, pinned=False, direct=False)
    alice = CallMachine(policy, floor, outgoing=True)
    with pytest.raises(UsageError, match="no way"):
        alice.restart(gathered(3))
    offer = alice.dial(with_ice(local(1), 1), now=0.0)
    answer, _ = build_answer(over_the_wire(offer), with_ice(local(2), 2))
    alice.receive(Answered(over_the_wire(answer)), now=0.0)
    assert not alice.movable, "keys come first"
    theirs = build_offer(replace(with_ice(local(2), 4)))
    send, _ = alice.receive(Offered(over_the_wire(theirs)), now=0.0)
    assert send == o.Send(Refused(491))
