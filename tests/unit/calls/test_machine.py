"""The call machine: what it orders, in which state, and what it never orders."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securecall.address import parse_address
from securecall.calls import orders as m
from securecall.calls.machine import NEXT, CallMachine, State
from securecall.calls.negotiation import build_answer
from securecall.calls.signaling import (
    Answered,
    DigitAnswered,
    DigitPressed,
    DigitsWelcome,
    Ended,
    Offered,
    Refused,
    Ringing,
    TransferProgress,
    TransferRequested,
    TransferStep,
)
from securecall.calls.video_lines import LocalVideo
from securecall.errors import (
    Busy,
    Cancelled,
    CertificateError,
    ConnectFailed,
    Declined,
    DeviceError,
    DowngradeError,
    EndReason,
    IdentityMismatch,
    Incompatible,
    NoAnswer,
    PeerVanished,
    PolicyRefused,
    ProtocolError,
    Reason,
    SecurityError,
    Unsupported,
    UsageError,
)
from securecall.keys.trust import TrustState
from securecall.media.codecs import is_events
from securecall.media.description import Direction, Fingerprint, Keying
from securecall.policy import (
    Facts,
    Floor,
    Gate,
    IdentityEvidence,
    Policy,
    SecurityLevel,
    floor_for,
)
from tests.unit.calls.test_negotiation import ALICE, BOB, local, offer, with_audio

FIRST_CONTACT = floor_for(Policy(), contact_floor=False, pinned=False, direct=False)


def proven(trust: TrustState = TrustState.PINNED, *, stale: bool = False) -> Facts:
    return Facts(
        keying=Keying.DTLS_SRTP,
        identity=IdentityEvidence(
            root_fp=bytes(64), device_id="d", trust=trust, stale=stale, group="X25519MLKEM768"
        ),
        srtp_profile="SRTP_AEAD_AES_256_GCM",
        sframe=True,
    )


UNPROVEN = Facts(keying=Keying.DTLS_SRTP, srtp_profile="SRTP_AEAD_AES_256_GCM")


def caller(floor: Floor = FIRST_CONTACT, policy: Policy | None = None) -> CallMachine:
    machine = CallMachine(policy or Policy(), floor, outgoing=True)
    assert machine.dial(local(ALICE, 1), now=0.0) == offer_like()
    return machine


def offer_like():
    from securecall.calls.negotiation import build_offer

    return build_offer(local(ALICE, 1))


def callee(floor: Floor = FIRST_CONTACT) -> CallMachine:
    machine = CallMachine(Policy(), floor, outgoing=False)
    assert machine.invited(offer(), now=0.0) == (m.Send(Ringing()),)
    return machine


def connected(floor: Floor = FIRST_CONTACT) -> CallMachine:
    machine = callee(floor)
    machine.accept(local(BOB, 2), now=0.0)
    return machine


def answer():
    return build_answer(offer_like(), local(BOB, 2))[0]


def kinds(outputs: tuple[m.Output, ...]) -> list[type]:
    return [type(o) for o in outputs]


def finish(outputs: tuple[m.Output, ...]) -> m.Finish:
    (found,) = [o for o in outputs if isinstance(o, m.Finish)]
    return found


def test_what_offer_and_answer_left_out_is_said_in_the_state_of_the_call():
    picture = (LocalVideo(("VP8",), ssrc=7, rtx_ssrc=8),)
    machine = CallMachine(Policy(), FIRST_CONTACT, outgoing=True)
    asked = machine.dial(replace(local(ALICE, 1), video=picture), now=0.0)
    said, _ = build_answer(asked, replace(local(BOB, 2), video=picture))
    machine.receive(Answered(replace(said, bundle=("0",))), now=1.0)
    machine.secured(proven(stale=True), now=2.0)
    stale, unbundled = machine.security.warnings
    assert "expired" in stale
    assert "no picture" in unbundled


def test_an_answer_starts_media_with_a_closed_gate():
    outputs = caller().receive(Answered(answer()), now=1.0)
    assert kinds(outputs) == [m.StartMedia]


def test_an_answer_in_an_early_dialog_starts_nothing():
    machine = caller()
    assert kinds(machine.receive(Answered(answer(), final=False), now=1.0)) == [m.Discard]
    assert machine.state is State.DIALLING


def test_evidence_opens_the_gate():
    machine = connected()
    outputs = machine.secured(proven(), now=1.0)
    assert kinds(outputs) == [m.Secured, m.SetGate]
    assert outputs[1] == m.SetGate(Gate.OPEN)
    assert machine.security.level is SecurityLevel.E2EE
    assert machine.security.pq


def test_a_second_answer_changes_nothing():
    machine = caller()
    machine.receive(Answered(answer()), now=1.0)
    assert kinds(machine.receive(Answered(answer()), now=1.0)) == [m.Discard]


def test_no_identity_ends_a_default_call():
    machine = connected()
    over = finish(machine.secured(UNPROVEN, now=1.0))
    assert isinstance(over.error, PolicyRefused)
    assert over.error.reason is Reason.IDENTITY_MISSING
    assert machine.state is State.ENDED


def test_no_identity_towards_a_contact_with_a_floor_is_a_downgrade():
    floor = floor_for(Policy(), contact_floor=True, pinned=True, direct=False)
    assert isinstance(finish(connected(floor).secured(UNPROVEN, now=1.0)).error, DowngradeError)


def test_a_danger_mode_does_not_undercut_the_contacts_floor():
    policy = Policy(danger_plain_dtls=True)
    floor = floor_for(policy, contact_floor=True, pinned=True, direct=False)
    assert isinstance(finish(connected(floor).secured(UNPROVEN, now=1.0)).error, DowngradeError)


def test_danger_mode_takes_plain_dtls_and_says_so():
    policy = Policy(danger_plain_dtls=True)
    floor = floor_for(policy, contact_floor=False, pinned=False, direct=False)
    machine = connected(floor)
    machine.secured(UNPROVEN, now=1.0)
    assert machine.state is State.ACTIVE
    assert machine.security.level is SecurityLevel.HOP_BY_HOP
    assert not machine.security.is_e2ee


DANGER = Policy(danger_plain_dtls=True)
FLOORS = {
    "default": (FIRST_CONTACT, False),
    "pinned": (floor_for(Policy(), contact_floor=True, pinned=True, direct=False), False),
    "danger": (floor_for(DANGER, contact_floor=False, pinned=False, direct=False), True),
    "danger, pinned": (floor_for(DANGER, contact_floor=False, pinned=True, direct=False), True),
    "danger, floor": (floor_for(DANGER, contact_floor=True, pinned=True, direct=False), False),
    "danger, direct": (floor_for(DANGER, contact_floor=False, pinned=False, direct=True), False),
}


@pytest.mark.parametrize(("floor", "taken"), FLOORS.values(), ids=FLOORS)
def test_who_does_not_multiplex_calls_us_only_where_no_identity_is_demanded(floor, taken):
    machine = CallMachine(Policy(), floor, outgoing=False)
    outputs = machine.invited(with_audio(offer(), rtcp_mux=False), now=0.0)
    if not taken:
        assert isinstance(finish(outputs).error, Incompatible)
        return
    (sent, started) = machine.accept(local(BOB, 2), now=0.0)
    assert not sent.signal.description.media[0].rtcp_mux
    assert not started.agreement.rtcp_mux


@pytest.mark.parametrize(("floor", "taken"), FLOORS.values(), ids=FLOORS)
def test_who_does_not_multiplex_answers_us_only_where_no_identity_is_demanded(floor, taken):
    machine = caller(floor)
    outputs = machine.receive(Answered(with_audio(answer(), rtcp_mux=False)), now=1.0)
    if taken:
        (started,) = outputs
        assert not started.agreement.rtcp_mux
    else:
        assert isinstance(finish(outputs).error, Incompatible)


def test_who_does_not_multiplex_is_refused_once_the_call_demands_identity_after_all():
    machine = CallMachine(Policy(), FLOORS["danger"][0], outgoing=False)
    machine.invited(with_audio(offer(), rtcp_mux=False), now=0.0)
    machine.raise_minimum(SecurityLevel.OPPORTUNISTIC)
    outputs = machine.accept(local(BOB, 2), now=0.0)
    assert isinstance(finish(outputs).error, Incompatible)
    assert m.StartMedia not in kinds(outputs)


def test_a_minimum_that_proves_nothing_demands_no_identity():
    floor = replace(FLOORS["danger"][0], minimum=SecurityLevel.NONE)
    machine = CallMachine(Policy(), floor, outgoing=False)
    machine.invited(with_audio(offer(), rtcp_mux=False), now=0.0)
    machine.raise_minimum(SecurityLevel.HOP_BY_HOP)
    assert m.StartMedia in kinds(machine.accept(local(BOB, 2), now=0.0))


def test_a_change_that_would_end_multiplexing_is_refused_and_the_call_goes_on():
    machine = connected()
    machine.secured(proven(), now=1.0)
    outputs = machine.receive(Offered(with_audio(offer(), rtcp_mux=False)), now=2.0)
    assert outputs[0] == m.Send(Refused(488))
    assert kinds(outputs) == [m.Send, m.ChangeRefused]
    assert machine.state is State.ACTIVE


def test_danger_mode_is_refused_on_a_direct_connection():
    floor = floor_for(
        Policy(danger_plain_dtls=True), contact_floor=False, pinned=False, direct=True
    )
    assert isinstance(finish(connected(floor).secured(UNPROVEN, now=1.0)).error, PolicyRefused)


def test_verified_required_opens_only_for_comparing_words():
    policy = Policy(minimum=SecurityLevel.VERIFIED)
    machine = connected(floor_for(policy, contact_floor=False, pinned=True, direct=False))
    outputs = machine.secured(proven(), now=1.0)
    assert outputs[-1] == m.SetGate(Gate.VERIFYING)
    assert machine.state is State.VERIFYING
    outputs = machine.confirm_sas()
    assert outputs[-1] == m.SetGate(Gate.OPEN)
    assert machine.security.level is SecurityLevel.VERIFIED


def test_words_not_compared_in_time_end_the_call():
    policy = Policy(minimum=SecurityLevel.VERIFIED)
    machine = connected(floor_for(policy, contact_floor=False, pinned=True, direct=False))
    machine.secured(proven(), now=1.0)
    over = finish(machine.expire(now=machine.deadline or 0))
    assert isinstance(over.error, SecurityError)
    assert over.error.reason is Reason.VERIFYING_TIMEOUT


def test_a_stale_statement_never_gets_above_opportunistic():
    machine = connected()
    machine.secured(proven(TrustState.VERIFIED, stale=True), now=1.0)
    assert machine.security.level is SecurityLevel.OPPORTUNISTIC
    assert machine.security.warnings


def test_first_contact_is_opportunistic_and_words_raise_it():
    machine = connected()
    machine.secured(proven(TrustState.UNKNOWN), now=1.0)
    assert machine.security.level is SecurityLevel.OPPORTUNISTIC
    machine.confirm_sas()
    assert machine.security.level is SecurityLevel.VERIFIED


def test_words_cannot_be_confirmed_where_none_were_made():
    machine = callee()
    with pytest.raises(UsageError):
        machine.confirm_sas()


def test_require_pq_refuses_a_call_without_the_handshake():
    floor = Floor(minimum=SecurityLevel.HOP_BY_HOP, pinned=False, identity=False, require_pq=True)
    assert isinstance(finish(connected(floor).secured(UNPROVEN, now=1.0)).error, PolicyRefused)


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (EndReason.BUSY, Busy),
        (EndReason.DECLINED, Declined),
        (EndReason.NO_ANSWER, NoAnswer),
        (EndReason.CANCELLED, Cancelled),
        (EndReason.PEER_VANISHED, PeerVanished),
        (EndReason.SECURITY, SecurityError),
    ],
)
def test_the_peers_end_becomes_a_typed_error(reason, error):
    over = finish(caller().receive(Ended(reason), now=1.0))
    assert isinstance(over.error, error)


def test_a_hang_up_in_conversation_is_no_error():
    machine = connected()
    machine.secured(proven(), now=1.0)
    assert finish(machine.receive(Ended(EndReason.HUNG_UP), now=2.0)).error is None


def test_hanging_up_before_the_answer_cancels_and_before_accepting_declines():
    assert m.Send(Ended(EndReason.CANCELLED)) in caller().hang_up()
    assert m.Send(Ended(EndReason.DECLINED)) in callee().hang_up()


def test_nothing_is_ordered_after_the_end():
    machine = caller()
    machine.hang_up()
    assert machine.hang_up() == ()
    assert kinds(machine.receive(Answered(answer()), now=1.0)) == [m.Discard]
    assert machine.media_failed(PolicyRefused("late")) == ()
    assert machine.expire(now=1e9) == ()
    assert kinds(machine.secured(proven(), now=1.0)) == [m.Discard]


def test_ringing_ends_in_no_answer():
    machine = caller()
    over = finish(machine.expire(now=machine.deadline or 0))
    assert isinstance(over.error, NoAnswer)


def test_media_that_never_comes_ends_the_call():
    machine = connected()
    over = finish(machine.expire(now=machine.deadline or 0))
    assert isinstance(over.error, PeerVanished)


def test_a_bad_offer_is_refused_before_it_rings():
    machine = CallMachine(Policy(), FIRST_CONTACT, outgoing=False)
    outputs = machine.invited(with_audio(offer(), keying=Keying.NONE), now=0.0)
    assert m.Send(Ended(EndReason.SECURITY)) in outputs
    assert m.Send(Ringing()) not in outputs


def test_a_hold_is_answered_and_turns_the_direction():
    machine = connected()
    machine.secured(proven(), now=1.0)
    outputs = machine.receive(Offered(with_audio(offer(), direction=Direction.SENDONLY)), now=2.0)
    assert kinds(outputs) == [m.Send, m.SetDirection, m.PeerHolds]
    assert outputs[1:] == (m.SetDirection(Direction.RECVONLY), m.PeerHolds(on=True))


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprints": (Fingerprint("sha-256", bytes(32)),)},
        {"keying": Keying.NONE, "fingerprints": ()},
        {"keying": Keying.SDES, "has_crypto": True},
    ],
    ids=["new fingerprint", "plain RTP", "SDES"],
)
def test_a_change_of_keys_in_mid_call_is_refused_and_the_call_stays(changes):
    machine = connected()
    machine.secured(proven(), now=1.0)
    outputs = machine.receive(Offered(with_audio(offer(), **changes)), now=2.0)
    assert outputs[0] == m.Send(Refused(488))
    assert machine.state is State.ACTIVE
    assert machine.security.level is SecurityLevel.E2EE


EVE = TransferRequested("sip:eve@example.com", parse_address("sip:eve@example.com"), number=7)


def test_a_transfer_is_told_and_whoever_asked_waits():
    machine = connected()
    machine.secured(proven(), now=1.0)
    thinking = TransferProgress(TransferStep.TRYING, number=7)
    assert machine.receive(EVE, now=2.0) == (m.Send(thinking), m.TransferAsked(EVE))
    assert machine.state is State.ACTIVE


def test_a_transfer_before_the_gate_is_open_is_refused():
    no = TransferProgress(TransferStep.FAILED, EndReason.DECLINED, number=7)
    verifying = connected(
        floor_for(Policy.clinical(), contact_floor=False, pinned=True, direct=False)
    )
    _ = verifying.secured(proven(), now=1.0)
    assert verifying.state is State.VERIFYING
    for machine in (callee(), connected(), verifying):
        outputs = machine.receive(EVE, now=2.0)
        assert outputs == (m.Send(no), m.TransferAsked(replace(EVE, number=0)))


def test_a_redirection_is_only_told():
    elsewhere = TransferRequested("sip:eve@example.com")
    assert caller().receive(elsewhere, now=1.0) == (m.TransferAsked(elsewhere),)


def test_only_a_call_in_progress_is_transferred_and_only_one_in_progress_tells():
    told = TransferProgress(TransferStep.RINGING, number=7)
    machine = connected()
    with pytest.raises(UsageError):
        machine.transfer(EVE.address)
    assert machine.tell_transfer(told) == ()
    machine.secured(proven(), now=1.0)
    wish = TransferRequested("sip:eve@example.com", EVE.address, replaces="r")
    assert machine.transfer(EVE.address, replaces="r") == (m.Send(wish),)
    assert machine.tell_transfer(told) == (m.Send(told),)
    assert machine.receive(told, now=2.0) == (m.TransferTold(told),)
    assert machine.state is State.ACTIVE


def spoken_to(facts: Facts, *, events: bool, policy: Policy) -> tuple[CallMachine, m.Output]:
    """A call of ours in progress, with digits within its sound or not; and its last order."""
    floor = floor_for(policy, contact_floor=False, pinned=False, direct=False)
    machine = caller(floor, policy)
    said = answer()
    sound = said.media[0]
    codecs = tuple(c for c in sound.codecs if events or not is_events(c))
    _ = machine.receive(Answered(replace(said, media=(replace(sound, codecs=codecs),))), now=1.0)
    return machine, machine.secured(facts, now=2.0)[-1]


HEARABLE = Policy(danger_plain_dtls=True)


def test_digits_go_by_signalling_where_servers_can_hear_the_call_and_no_other_way_is_there():
    machine, last = spoken_to(UNPROVEN, events=False, policy=HEARABLE)
    assert last == m.Send(DigitsWelcome())
    assert machine.press("5") == (m.Send(DigitPressed("5")),)
    assert machine.receive(DigitPressed("7"), now=3.0) == (m.DigitHeard("7"),)
    assert machine.receive(DigitAnswered(taken=True), now=3.0) == (m.DigitTold(taken=True),)


@pytest.mark.parametrize(
    ("facts", "events", "policy"),
    [(proven(), False, Policy()), (proven(), False, HEARABLE), (UNPROVEN, True, HEARABLE)],
)
def test_elsewhere_they_do_not_and_none_is_believed(facts, events, policy):
    machine, last = spoken_to(facts, events=events, policy=policy)
    assert isinstance(last, m.SetGate)
    with pytest.raises(Unsupported):
        machine.press("5")
    assert kinds(machine.receive(DigitPressed("7"), now=3.0)) == [m.Discard]


def test_no_digit_before_the_gate_is_open():
    for machine in (callee(), connected()):
        with pytest.raises(UsageError):
            machine.press("5")
        assert kinds(machine.receive(DigitPressed("7"), now=3.0)) == [m.Discard]


def test_every_row_of_the_table_leaves_a_state_that_exists():
    assert set(NEXT.values()) <= set(State)
    assert not [row for row in NEXT if row[0] is State.ENDED]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectFailed("no route"), EndReason.UNREACHABLE),
        (DeviceError("no microphone"), EndReason.LOCAL),
        (CertificateError("wrong name"), EndReason.SECURITY),
        (ProtocolError("nonsense"), EndReason.PROTOCOL),
        (Busy(), EndReason.BUSY),
    ],
)
def test_the_kind_of_an_error_names_the_end(error, reason):
    assert finish(caller().media_failed(error)).reason is reason


@pytest.mark.parametrize("minimum", [SecurityLevel.NONE, SecurityLevel.HOP_BY_HOP])
def test_a_minimum_below_any_proof_is_no_minimum(minimum):
    with pytest.raises(UsageError):
        Policy(minimum=minimum)


def test_words_that_differ_end_the_call_at_a_lower_level():
    machine = connected()
    machine.secured(proven(TrustState.VERIFIED), now=1.0)
    outputs = machine.deny_sas()
    assert outputs[0] == m.SetGate(Gate.CLOSED)
    assert isinstance(finish(outputs).error, IdentityMismatch)
    assert machine.security.level is SecurityLevel.OPPORTUNISTIC


def test_words_that_were_never_made_cannot_differ():
    with pytest.raises(UsageError):
        callee().deny_sas()


FORGOTTEN = floor_for(Policy(), contact_floor=True, pinned=False, direct=False)


def test_a_forgotten_key_behind_a_floor_opens_only_for_comparing_words():
    machine = connected(FORGOTTEN)
    assert machine.secured(proven(TrustState.UNKNOWN), now=1.0)[-1] == m.SetGate(Gate.VERIFYING)
    assert machine.confirm_sas()[-1] == m.SetGate(Gate.OPEN)


def test_a_stale_statement_behind_a_floor_is_a_downgrade():
    machine = connected(FORGOTTEN)
    over = finish(machine.secured(proven(TrustState.UNKNOWN, stale=True), now=1.0))
    assert isinstance(over.error, DowngradeError)


BARRED = {
    TrustState.CHANGED: Reason.IDENTITY_CHANGED,
    TrustState.REVOKED: Reason.REVOKED,
    TrustState.DISTRUSTED: Reason.DISTRUSTED,
}


@pytest.mark.parametrize(("trust", "reason"), BARRED.items())
@pytest.mark.parametrize("floor", [floor for floor, _ in FLOORS.values()], ids=FLOORS)
def test_a_barred_key_opens_nothing_under_any_floor(floor, trust, reason):
    machine = connected(floor)
    over = finish(machine.secured(proven(trust), now=1.0))
    assert isinstance(over.error, SecurityError)
    assert over.error.reason is reason
    assert machine.security.level is SecurityLevel.OPPORTUNISTIC
    assert trust.value in machine.security.reason


def test_no_words_are_compared_where_a_gateway_listens_to_them():
    policy = Policy(minimum=SecurityLevel.VERIFIED)
    machine = connected(floor_for(policy, contact_floor=False, pinned=True, direct=False))
    over = finish(machine.secured(replace(proven(), gateway=True), now=1.0))
    assert isinstance(over.error, PolicyRefused)
    assert machine.security.level is SecurityLevel.HOP_BY_HOP


def test_a_demand_on_a_call_that_is_over_changes_nothing():
    machine = callee()
    machine.receive(Ended(EndReason.CANCELLED), now=1.0)
    over = dict(vars(machine))
    machine.raise_minimum(SecurityLevel.VERIFIED)
    assert vars(machine) == over


def test_a_call_is_dialled_once():
    machine = caller()
    with pytest.raises(UsageError):
        machine.dial(local(ALICE, 1), now=1.0)
    with pytest.raises(UsageError):
        callee().dial(local(ALICE, 1), now=1.0)


def test_an_invitation_without_an_offer_is_incompatible():
    machine = CallMachine(Policy(), FIRST_CONTACT, outgoing=False)
    over = finish(machine.invited(None, now=0.0))
    assert isinstance(over.error, Incompatible)
    assert over.reason is EndReason.INCOMPATIBLE


def test_a_peer_that_finds_us_incompatible_is_told_so_by_name():
    over = finish(caller().receive(Ended(EndReason.INCOMPATIBLE), now=1.0))
    assert isinstance(over.error, Incompatible)


@pytest.mark.parametrize("reason", [EndReason.HUNG_UP, EndReason.SECURITY])
def test_who_breaks_off_while_connecting_or_refuses_in_a_call_had_a_reason(reason):
    machine = caller()
    machine.receive(Answered(answer()), now=1.0)
    over = finish(machine.receive(Ended(reason), now=1.0))
    assert over.reason is EndReason.SECURITY
    assert isinstance(over.error, SecurityError)


def test_waiting_has_the_patience_of_the_policy_in_each_state():
    policy = Policy(
        minimum=SecurityLevel.VERIFIED, ring_seconds=30, connect_seconds=7, verifying_seconds=50
    )
    machine = caller(
        floor_for(policy, contact_floor=False, pinned=True, direct=False), policy=policy
    )
    assert machine.deadline == 30.0
    machine.receive(Answered(answer()), now=2.0)
    assert machine.deadline == 9.0
    machine.secured(proven(), now=3.0)
    assert machine.deadline == 53.0
    assert machine.expire(now=52.9) == ()
    machine.confirm_sas()
    assert machine.deadline is None
    assert machine.expire(now=1e9) == ()
    called = CallMachine(policy, machine._floor, outgoing=False)
    called.invited(offer(), now=4.0)
    assert called.deadline == 34.0


def test_a_policy_cannot_ask_for_proof_and_do_without():
    with pytest.raises(UsageError):
        Policy(minimum=SecurityLevel.E2EE, danger_plain_dtls=True)


def test_only_hanging_up_on_a_conversation_is_an_orderly_end():
    def talking(policy: Policy) -> CallMachine:
        machine = connected(floor_for(policy, contact_floor=False, pinned=True, direct=False))
        machine.secured(proven(), now=1.0)
        return machine

    active, verifying = talking(Policy()), talking(Policy(minimum=SecurityLevel.VERIFIED))
    assert finish(active.receive(Ended(EndReason.HUNG_UP), now=2.0)).error is None
    assert verifying.state is State.VERIFYING
    over = finish(verifying.receive(Ended(EndReason.HUNG_UP), now=2.0))
    assert over.reason is EndReason.HUNG_UP
    assert over.error is not None
    over = finish(talking(Policy()).receive(Ended(EndReason.SECURITY), now=2.0))
    assert isinstance(over.error, SecurityError)
    assert "refused to go on" in str(over.error)


def test_what_the_peer_said_at_the_end_is_quoted_and_cut():
    over = finish(
        caller().receive(Ended(EndReason.BUSY, text="in a\nmeeting" + "!" * 200), now=1.0)
    )
    assert isinstance(over.error, Busy)
    assert "('in a\\nmeeting" in str(over.error)
    assert "!" * 108 in str(over.error)
    assert "!" * 109 not in str(over.error)
    over = finish(caller().receive(Ended(EndReason.BUSY), now=1.0))
    assert "(" not in str(over.error)


def test_a_change_before_there_is_a_call_is_put_off():
    for machine in (caller(), callee()):
        sent, told = machine.receive(Offered(offer()), now=1.0)
        assert sent == m.Send(Refused(491)), "request pending (RFC 3261 14.2)"
        assert isinstance(told, m.ChangeRefused)


def test_signals_that_mean_nothing_here_are_dropped_by_name():
    machine = connected()
    for signal in (DigitsWelcome(), Refused(488), Ringing()):
        (dropped,) = machine.receive(signal, now=1.0)
        assert isinstance(dropped, m.Discard)
        assert type(signal).__name__ in dropped.why
    assert machine.state is State.CONNECTING


def test_a_call_is_taken_once_and_its_minimum_is_fixed_with_the_evidence():
    machine = connected()
    with pytest.raises(UsageError, match="connecting"):
        machine.accept(local(BOB, 2), now=0.0)
    with pytest.raises(UsageError):
        caller().accept(local(BOB, 2), now=0.0)
    machine.raise_minimum(SecurityLevel.E2EE)
    machine.secured(proven(), now=1.0)
    with pytest.raises(UsageError, match="fixed"):
        machine.raise_minimum(SecurityLevel.VERIFIED)


def test_ringing_is_told_once_for_each_state_that_is_new():
    machine = caller()
    assert machine.receive(Ringing(), now=1.0) == (m.PeerRings(),)
    assert machine.state is State.RINGING
