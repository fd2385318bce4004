"""Keys in the description: who offers them, what is agreed, how a gateway brings new ones."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from securecall.calls import orders as m
from securecall.calls.changes import answer_change, propose, read_change, same_association
from securecall.calls.machine import CallMachine, State
from securecall.calls.negotiation import (
    build_answer,
    build_offer,
    read_answer,
    require_acceptable_offer,
)
from securecall.calls.sdes import MOST_RENEWALS, SdesKeys, choose, taken, with_secrets_of
from securecall.calls.signaling import Answered, Offered, Refused, Ringing
from securecall.calls.video_lines import LocalVideo
from securecall.errors import (
    DowngradeError,
    Incompatible,
    PolicyRefused,
    Reason,
    SecurityError,
    UsageError,
)
from securecall.media.description import Description, Direction, Keying
from securecall.media.sdes import SUITES, CryptoLine
from securecall.policy import GATEWAY_WORDS, Facts, Floor, Gate, Policy, SecurityLevel, floor_for
from securecall.secret import Secret
from securecall.sip.sdp import build_description, parse_description
from tests.unit.calls.test_negotiation import ALICE, BOB, local, with_audio

CAMERA = LocalVideo(("VP8",), ssrc=11, rtx_ssrc=12)


def keys(seed: int, *names: str) -> tuple[CryptoLine, ...]:
    chance = random.Random(seed)
    suites = [s for s in SUITES.values() if not names or s.name in names]
    return tuple(
        CryptoLine(tag, s, Secret(chance.randbytes(s.size))) for tag, s in enumerate(suites, 1)
    )


OURS = replace(local(ALICE, 40_000), crypto=keys(1))
THEIRS = replace(local(BOB, 40_002), crypto=keys(2))
OFFER = build_offer(OURS)


def wired(description: Description) -> Description:
    return parse_description(build_description(description, session_id=1, version=1))


# -- offer and answer -----------------------------------------------------------------------------


def test_an_offer_with_keys_has_no_fingerprint_no_hint_and_no_picture():
    offer = build_offer(replace(OURS, video=(CAMERA,)))
    text = build_description(offer, session_id=1, version=1).decode()
    assert "m=audio 40000 RTP/SAVP " in text
    assert text.count("a=crypto:") == 3
    assert not any(word in text for word in ("fingerprint", "setup", "securecall", "m=video"))


@pytest.mark.parametrize("suite", SUITES)
def test_both_ends_agree_on_each_suite_and_on_each_others_keys(suite):
    answer, callees = build_answer(wired(OFFER), replace(THEIRS, crypto=keys(2, suite)))
    callers = read_answer(OFFER, wired(answer))
    assert callers.keying is callees.keying is Keying.SDES
    assert callers.sdes is not None and callees.sdes is not None
    assert callers.sdes.profile == callees.sdes.profile == SUITES[suite].profile
    assert callers.sdes.ours.key == callees.sdes.theirs.key
    assert callees.sdes.ours.key == callers.sdes.theirs.key
    assert len(answer.media[0].crypto) == 1
    assert answer.media[0].fingerprints == answer.all_fingerprints == ()


def test_the_best_suite_of_both_is_taken_whatever_its_place():
    audio = OFFER.media[0]
    _, agreed = build_answer(with_audio(OFFER, crypto=tuple(reversed(audio.crypto))), THEIRS)
    assert agreed.sdes is not None
    assert agreed.sdes.ours.suite.name == "AEAD_AES_256_GCM"
    assert agreed.sdes.ours.tag == 1


def test_lines_that_are_not_taken_stand_beside_one_that_is():
    text = build_description(OFFER, session_id=1, version=1)
    odd = b"a=crypto:9 AES_CM_128_HMAC_SHA1_32 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd\r\n"
    _, agreed = build_answer(parse_description(text + odd), THEIRS)
    assert agreed.sdes is not None


ODD = "inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd"


@pytest.mark.parametrize(
    "line",
    [
        f"1 AES_CM_128_HMAC_SHA1_32 {ODD}",
        f"1 AES_CM_128_HMAC_SHA1_80 {ODD} UNENCRYPTED_SRTP",
        f"1 AES_CM_128_HMAC_SHA1_80 {ODD} UNENCRYPTED_SRTCP",
        f"1 AES_CM_128_HMAC_SHA1_80 {ODD} UNAUTHENTICATED_SRTP",
        f"1 AES_CM_128_HMAC_SHA1_80 {ODD} KDR=1",
        f"1 AES_CM_128_HMAC_SHA1_80 {ODD}|2^10",
        f"1 AES_CM_128_HMAC_SHA1_80 {ODD}|1:1",
        f"1 F8_128_HMAC_SHA1_80 {ODD}",
        f"1 NULL_HMAC_SHA1_80 {ODD}",
        "nonsense",
    ],
)
def test_an_offer_of_nothing_that_is_taken_is_refused(line):
    bare = build_description(with_audio(OFFER, crypto=()), session_id=1, version=1)
    offer = parse_description(bare + f"a=crypto:{line}\r\n".encode())
    with pytest.raises(SecurityError) as caught:
        require_acceptable_offer(offer, gateway=True)
    assert caught.value.reason is Reason.WEAK_SUITE


def test_keys_are_refused_everywhere_else():
    with pytest.raises(SecurityError, match="SDES"):
        require_acceptable_offer(OFFER)
    with pytest.raises(SecurityError, match="SDES"):
        build_answer(OFFER, local(BOB, 1))
    answer, _ = build_answer(OFFER, THEIRS)
    with pytest.raises(SecurityError, match="SDES"):
        read_answer(build_offer(local(ALICE, 1)), answer)


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprints": (ALICE,)},
        {"crypto": ()},
        {"crypto": (OFFER.media[0].crypto[0], replace(OFFER.media[0].crypto[1], tag=1))},
        {"crypto": (THEIRS.crypto[0],)},  # our own key comes back
        {"keying": Keying.NONE},
        {"keying": Keying.DTLS_SRTP},
    ],
)
def test_an_offer_that_is_not_quite_one_with_keys_is_refused(changes):
    with pytest.raises(SecurityError):
        build_answer(with_audio(OFFER, **changes), THEIRS)


def test_an_ordinary_offer_is_answered_by_dtls_on_a_gateway_account_too():
    answer, agreed = build_answer(build_offer(local(ALICE, 1)), THEIRS)
    assert agreed.keying is Keying.DTLS_SRTP
    assert answer.media[0].crypto == ()
    assert answer.media[0].fingerprints == (BOB,)


@pytest.mark.parametrize(
    "how", ["two", "other tag", "other suite", "ours", "dtls", "plain", "both"]
)
def test_an_answer_takes_exactly_one_key_that_was_offered(how):
    answer, _ = build_answer(OFFER, THEIRS)
    line = answer.media[0].crypto[0]
    other = keys(3)[1]
    changes = {
        "two": {"crypto": (line, replace(other, tag=2))},
        "other tag": {"crypto": (replace(line, tag=9),)},
        "other suite": {"crypto": (replace(other, tag=1),)},
        "ours": {"crypto": (OURS.crypto[0],)},
        "dtls": {
            "crypto": (), "has_crypto": False, "keying": Keying.DTLS_SRTP, "fingerprints": (BOB,)
        },
        "plain": {"crypto": (), "has_crypto": False, "keying": Keying.NONE},
        "both": {"fingerprints": (BOB,)},
    }[how]  # fmt: skip
    with pytest.raises(SecurityError):
        read_answer(OFFER, with_audio(answer, **changes))


ONE, OTHER = "AEAD_AES_256_GCM", "AES_CM_128_HMAC_SHA1_80"


def test_two_ends_without_a_suite_in_common_agree_on_nothing():
    with pytest.raises(SecurityError, match="fits") as caught:
        choose(with_audio(OFFER, crypto=keys(1, ONE)).media[0], keys(2, OTHER))
    assert caught.value.reason is Reason.WEAK_SUITE


@pytest.mark.parametrize(
    "changes",
    [{"fingerprints": (ALICE,)}, {"keying": Keying.NONE}, {"crypto": (keys(4)[0], keys(4)[0])}],
    ids=["a certificate as well", "no keying", "one name twice"],
)
def test_whoever_reads_keys_judges_the_line_they_stand_in(changes):
    for line in (replace(OFFER.media[0], **changes), replace(OFFER.media[0], crypto=())):
        with pytest.raises(SecurityError):
            choose(line, keys(2))
    answer, _ = build_answer(OFFER, THEIRS)
    line = replace(answer.media[0], **{k: v for k, v in changes.items() if k != "crypto"})
    if line != answer.media[0]:
        with pytest.raises(SecurityError):
            taken(OURS.crypto, line)


def test_a_key_said_again_stays_in_its_one_secret_and_another_in_its_own():
    now = SdesKeys(keys(1)[0], keys(2)[0])
    again = replace(now, theirs=keys(2)[0])
    assert again.theirs.key is not now.theirs.key
    assert with_secrets_of(now, again).theirs.key is now.theirs.key
    other = replace(now, theirs=keys(3)[0])
    assert with_secrets_of(now, other).theirs.key is other.theirs.key


# -- in mid-call ----------------------------------------------------------------------------------


def agreed():
    answer, callees = build_answer(OFFER, THEIRS)
    return answer, callees


def test_a_hold_that_repeats_its_keys_keeps_them():
    ours, before = agreed()
    hold = with_audio(OFFER, direction=Direction.SENDONLY)
    assert same_association(before, hold)
    answer, after = answer_change(ours, hold, before)
    assert after.sdes == before.sdes
    assert answer.media[0].crypto == ours.media[0].crypto
    assert answer.media[0].direction is Direction.RECVONLY


def test_an_offer_of_new_keys_gets_a_new_one_of_ours():
    ours, before = agreed()
    offer = with_audio(OFFER, crypto=keys(4))
    answer, after = answer_change(ours, offer, before, fresh=keys(5))
    assert after.sdes is not None and before.sdes is not None
    assert after.sdes.theirs.key == keys(4)[0].key
    assert after.sdes.ours.key == keys(5)[0].key
    assert answer.media[0].crypto == (after.sdes.ours,)
    with pytest.raises(Incompatible):
        answer_change(ours, offer, before)


def test_no_key_of_ours_comes_again_from_either_end():
    ours, before = agreed()
    answer, after = answer_change(ours, with_audio(OFFER, crypto=keys(4)), before, fresh=keys(5))
    first = before.sdes.ours
    with pytest.raises(Incompatible):  # our own, used before
        answer_change(answer, with_audio(OFFER, crypto=keys(6)), after, fresh=(first,))
    with pytest.raises(SecurityError) as caught:  # the same from the peer
        answer_change(answer, with_audio(OFFER, crypto=(first,)), after, fresh=keys(7))
    assert caught.value.reason is Reason.SELF_IDENTITY
    offer = propose(answer, after, hold=True)
    theirs = replace(first, tag=after.sdes.ours.tag)
    with pytest.raises(SecurityError):
        read_change(offer, with_audio(OFFER, crypto=(theirs,)), after)


def test_a_gateway_that_never_rests_is_refused_in_the_end():
    ours, now = agreed()
    with pytest.raises(Incompatible):
        for seed in range(100, 200, 2):
            offer = with_audio(OFFER, crypto=keys(seed))
            ours, now = answer_change(ours, offer, now, fresh=keys(seed + 1))
    assert len(now.sdes.past) == MOST_RENEWALS


def test_answers_that_never_rest_are_refused_in_the_end_and_going_back_counts():
    ours, now = agreed()
    offer = propose(ours, now, hold=True)
    tag = now.sdes.ours.tag
    with pytest.raises(Incompatible, match="too often"):
        for place in range(100):
            line = replace(keys(6 + place % 2)[0], tag=tag)
            for _ in range(3):  # said again it is no other
                now = read_change(offer, with_audio(OFFER, crypto=(line,)), now)
                assert now.sdes.changes == place + 1
    assert now.sdes.changes == MOST_RENEWALS


def test_an_answer_with_another_key_changes_what_we_hear_alone():
    ours, before = agreed()
    offer = propose(ours, before, hold=True)
    assert before.sdes is not None
    assert offer.media[0].crypto == (before.sdes.ours,)
    assert offer.media[0].setup is None
    line = replace(keys(6)[0], tag=before.sdes.ours.tag)
    answer = with_audio(OFFER, crypto=(line,), direction=Direction.RECVONLY)
    after = read_change(offer, answer, before)
    assert after.sdes is not None
    assert after.sdes.ours == before.sdes.ours
    assert after.sdes.theirs == line
    answer, told = answer_change(ours, answer, before, answers=True)
    assert told.sdes == after.sdes


def test_a_change_to_another_keying_is_none():
    _, before = agreed()
    for other in (
        build_offer(local(BOB, 1)),
        with_audio(OFFER, keying=Keying.NONE, crypto=()),
        with_audio(OFFER, fingerprints=(BOB,)),
    ):
        assert not same_association(before, other)


def test_a_gateway_shows_and_gets_no_picture():
    ours, before = agreed()
    with pytest.raises(UsageError, match="sound alone"):
        propose(ours, before, add=CAMERA)


# -- the machine ----------------------------------------------------------------------------------


def floor(policy: Policy | None = None, **known: bool) -> Floor:
    facts = {"contact_floor": False, "pinned": False, "direct": False, "trunk": True, "sdes": True}
    return floor_for(policy or Policy(), **(facts | known))


def active() -> CallMachine:
    machine = CallMachine(Policy(), floor(), outgoing=False)
    assert machine.invited(OFFER, now=0.0) == (m.Send(Ringing()),)
    machine.accept(THEIRS, now=0.0)
    machine.secured(Facts(keying=Keying.SDES, srtp_profile="x"), now=0.0)
    return machine


def test_a_call_through_a_gateway_is_hop_by_hop_and_says_who_hears_it():
    state = active().security
    assert state.level is SecurityLevel.HOP_BY_HOP
    assert not state.is_e2ee
    assert state.words == GATEWAY_WORDS
    assert "provider and the phone network can hear" in state.words
    assert "end-to-end" not in f"{state.words} {state.reason} {state.level.words}".lower()
    assert SecurityLevel.HOP_BY_HOP.is_e2ee is False


def test_new_keys_close_the_gate_until_they_are_in_use():
    machine = active()
    machine.bring(keys(5))
    outputs = machine.receive(Offered(with_audio(OFFER, crypto=keys(4))), now=1.0)
    told = [o for o in outputs if isinstance(o, (m.SetGate, m.Rekey, m.Send))]
    assert isinstance(told[0], m.Send) and isinstance(told[0].signal, Answered)
    assert told[1] == m.SetGate(Gate.CLOSED)
    assert isinstance(told[2], m.Rekey) and told[2].keys.ours.key == keys(5)[0].key
    assert told[3] == m.SetGate(Gate.OPEN)
    assert machine.state is State.ACTIVE
    again = machine.receive(Offered(with_audio(OFFER, crypto=keys(7))), now=1.0)
    assert m.Send(Refused(488)) in again  # no key is used twice


def test_new_keys_before_the_first_were_judged_open_nothing():
    machine = CallMachine(Policy(), floor(), outgoing=False)
    machine.invited(OFFER, now=0.0)
    sent, *_ = machine.accept(THEIRS, now=0.0)
    ours = sent.signal.description.audio.crypto[0]
    other = replace(keys(6)[0], tag=ours.tag)
    offer = with_audio(OFFER, crypto=(other,))
    outputs = machine.receive(Offered(offer, answers=True), now=0.5)
    (rekey,) = [o for o in outputs if isinstance(o, m.Rekey)]
    assert (rekey.keys.ours.key, rekey.keys.theirs.key) == (ours.key, other.key)
    assert not any(isinstance(o, (m.SetGate, m.Secured)) for o in outputs)
    assert machine.state is State.CONNECTING
    facts = Facts(keying=Keying.SDES, srtp_profile="x")
    assert m.SetGate(Gate.OPEN) in machine.secured(facts, now=1.0)


def test_a_hold_moves_no_key():
    machine = active()
    outputs = machine.receive(Offered(with_audio(OFFER, direction=Direction.SENDONLY)), now=1.0)
    assert not any(isinstance(o, (m.SetGate, m.Rekey)) for o in outputs)
    assert m.SetDirection(Direction.RECVONLY) in outputs


@pytest.mark.parametrize(
    ("known", "policy", "error"),
    [
        ({"contact_floor": True, "pinned": True}, Policy(), DowngradeError),
        ({"contact_floor": True}, Policy(danger_plain_dtls=True), DowngradeError),
        ({"pinned": True}, Policy(), PolicyRefused),
        ({}, Policy(minimum=SecurityLevel.OPPORTUNISTIC), PolicyRefused),
        ({}, Policy.clinical(), PolicyRefused),
        ({}, Policy(require_pq=True), PolicyRefused),
        ({"trunk": False, "gateway": True}, Policy(), PolicyRefused),
    ],
)
def test_whoever_asks_for_more_gets_no_call_through_a_gateway(known, policy, error):
    asked = floor(policy, **known)
    with pytest.raises(error):
        CallMachine(policy, asked, outgoing=True).dial(OURS, now=0.0)
    outputs = CallMachine(policy, asked, outgoing=False).invited(OFFER, now=0.0)
    assert isinstance(outputs[-1], m.Finish) and isinstance(outputs[-1].error, error)


def test_more_that_is_asked_for_later_ends_it_before_anything_is_said():
    machine = CallMachine(Policy(), floor(), outgoing=False)
    machine.invited(OFFER, now=0.0)
    machine.raise_minimum(SecurityLevel.E2EE)
    outputs = machine.accept(THEIRS, now=0.0)
    assert not any(isinstance(o, m.StartMedia) for o in outputs)
    assert isinstance(outputs[-1], m.Finish) and isinstance(outputs[-1].error, PolicyRefused)


def test_keys_are_offered_and_taken_where_the_floor_says_so_alone():
    for asked in (floor(sdes=False), floor(trunk=False), floor_for(
        Policy(danger_plain_dtls=True), contact_floor=False, pinned=False, direct=False
    )):  # fmt: skip
        assert not asked.sdes
        refused = CallMachine(Policy(), asked, outgoing=False).invited(OFFER, now=0.0)
        assert isinstance(refused[-1], m.Finish) and isinstance(refused[-1].error, SecurityError)
    with pytest.raises(UsageError):
        CallMachine(Policy(), floor(sdes=False), outgoing=True).dial(OURS, now=0.0)


def test_what_signalling_says_late_is_heard():
    policy = Policy(danger_plain_dtls=True)
    asked = floor_for(policy, contact_floor=False, pinned=False, direct=False)
    machine = CallMachine(policy, asked, outgoing=True)
    offer = machine.dial(local(ALICE, 1), now=0.0)
    machine.through_gateway()
    answer, _ = build_answer(offer, local(BOB, 2))
    machine.receive(Answered(answer), now=0.0)
    machine.secured(Facts(keying=Keying.DTLS_SRTP), now=0.0)
    assert machine.security.words == GATEWAY_WORDS
