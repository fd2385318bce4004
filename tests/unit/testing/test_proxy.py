"""Who may send through the lab server's proxy, where it goes, and what comes back."""

from __future__ import annotations

import pytest

from securecall.sip.message import Response
from securecall.testing.forking import TIMER_C
from securecall.testing.proxy import MOST_REQUESTS
from tests.sip_scripts import again, answer, invite, request, within
from tests.unit.testing.lab_core import HERE, Core, statuses

ALICE, BOB, BOB_TOO, EVE = 1, 2, 3, 9
INSTANCE = '+sip.instance="<urn:uuid:00000000-0000-1000-8000-000a95a0e128>"'
OTHER_INSTANCE = '+sip.instance="<urn:uuid:00000000-0000-1000-8000-000a95a0e129>"'
OUTBOUND = ("Supported", "outbound, gruu")
BOBS = ("Contact", "<sip:bob@bob.invalid>")


def ringing(*phones: int) -> tuple[Core, object, dict]:
    """Alice calls Bob, who has these phones; return core, what she sent, and what each got."""
    core = Core()
    for flow in phones:
        core.register(flow, "bob", f"<sip:bob@phone{flow}.invalid>")
    sent, out = core.invite(ALICE)
    copies = dict(out)
    assert sorted(copies) == sorted(phones)
    return core, sent, copies


def ack_of(sent, response):
    headers = sent.headers.copy()
    headers.replace("To", response.need("to"))
    headers.replace("CSeq", f"{sent.cseq.number} ACK")
    return type(sent)("ACK", sent.target, headers)


# -- who may send ---------------------------------------------------------------------------------


def test_nobody_sends_without_a_password():
    core = Core()
    core.register(BOB, "bob")
    refused = core.ask(EVE, invite())
    assert refused.status == 407
    assert len(refused.headers.all("proxy-authenticate")) == 2


@pytest.mark.parametrize("sender", ["<sip:bob@lab.test>;tag=1", "<sip:alice@other.test>;tag=1"])
def test_nobody_sends_in_another_name(sender):
    core = Core()
    core.register(BOB, "bob")
    _, out = core.prove(ALICE, invite(From=sender), user="alice")
    assert statuses(out) == [(ALICE, 403)]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("sip:bob@other.test", 403),
        ("sip:nobody@lab.test", 404),
        ("sip:bob@lab.test", 480),
        ("sip:bob@lab.test;gr=urn:uuid:1", 480),
        ("sip:nonsense@lab.test;gr", 404),
    ],
)
def test_who_cannot_be_reached_is_answered_so(target, status):
    _, out = Core().prove(ALICE, request("INVITE", target))
    assert statuses(out) == [(ALICE, status)]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (invite(Max_Forwards="0"), 483),
        (request("INVITE", "tel:+123"), 416),
        (invite("bob", ("Proxy-Require", "privacy")), 420),
        (invite("bob", ("Route", f"<sip:1.aaaaaaaaaaaaaaaaaaaaaaaa@{HERE};lr>")), 403),
        (invite(CSeq="1 BYE"), 400),
    ],
)
def test_some_are_refused_before_anybody_is_asked_for_a_password(sent, status):
    core = Core()
    core.proxy.opened(ALICE)
    out = core.proxy.receive(sent, flow=ALICE, now=core.now)
    assert [o.message.status for o in out] == [status]
    if status == 420:
        assert out[0].message.headers.first("unsupported") == "privacy"


def test_a_request_that_was_here_before_is_a_loop():
    core, _, copies = ringing(BOB)
    copies[BOB].headers.remove("route")
    copies[BOB].headers.replace("CSeq", copies[BOB].need("cseq"))
    # what Bob got comes back with the address it once had: nothing has changed on the way
    looped = type(copies[BOB])("INVITE", "sip:bob@lab.test", copies[BOB].headers)
    assert statuses(core.say(BOB, looped)) == [(BOB, 482)]


def test_a_request_that_comes_back_with_another_address_is_none():
    core, _, copies = ringing(BOB)
    spiral = type(copies[BOB])("INVITE", "sip:carol@lab.test", copies[BOB].headers)
    assert statuses(core.say(BOB, spiral)) == [(BOB, 407)]


def test_options_to_the_server_itself_are_answered():
    response = Core().ask(EVE, request("OPTIONS", "sip:lab.test"))
    assert (response.status, "REGISTER" in response.need("allow")) == (200, True)


def test_an_answer_has_our_tag_also_where_to_holds_one_in_a_name():
    response = Core().ask(EVE, request("OPTIONS", "sip:lab.test", To='";tag=x" <sip:lab.test>'))
    assert response.status == 200
    assert response.to.tag


def test_one_connection_has_a_most_of_open_requests():
    core, _, _ = ringing(BOB)
    for _ in range(MOST_REQUESTS - 2):  # the call and the challenge before it are open
        assert core.ask(ALICE, invite()).status == 407
    assert core.ask(ALICE, invite()).status == 503
    assert core.ask(EVE, invite()).status == 407


# -- what goes on ---------------------------------------------------------------------------------


def test_what_goes_on_has_our_via_two_records_one_hop_less_and_no_credentials():
    core = Core()
    core.register(BOB, "bob", "<sip:bob@phone.invalid>")
    service = ("Route", "<sip:lab.test;lr>")
    sent, ((_, copy),) = core.invite(ALICE, "bob", service)
    assert copy.target == "sip:bob@phone.invalid"
    assert (f"{copy.via.host}:{copy.via.port}", len(copy.vias)) == (HERE, 2)
    assert copy.headers.first("max-forwards") == "69"
    assert len(copy.addresses("record-route")) == 2
    assert all(r.uri.param("lr") == "" for r in copy.addresses("record-route"))
    assert "proxy-authorization" in sent.headers
    assert "proxy-authorization" not in copy.headers
    assert "route" not in copy.headers


def test_the_path_of_a_contact_is_the_route_to_it():
    core = Core()
    core.register(BOB, "bob", "<sip:bob@b.invalid>", ("Path", "<sip:edge.test;lr>"))
    _, ((_, copy),) = core.invite(ALICE)
    assert copy.headers.all("route") == ["<sip:edge.test;lr>"]


def test_the_source_of_a_request_is_written_into_its_via():
    core = Core()
    core.proxy.opened(ALICE)
    sent = invite(Via="SIP/2.0/TLS a.invalid;rport;branch=z9hG4bK7")
    (out,) = core.proxy.receive(sent, flow=ALICE, now=core.now, source="192.0.2.7:4321")
    assert out.message.headers.first("via") == (
        "SIP/2.0/TLS a.invalid;branch=z9hG4bK7;rport=4321;received=192.0.2.7"
    )


def test_provisional_answers_pass_without_our_via_and_100_does_not():
    core, _, copies = ringing(BOB)
    assert core.say(BOB, answer(copies[BOB], 100)) == []
    ((flow, passed),) = core.say(BOB, answer(copies[BOB], 180))
    assert (flow, passed.status, len(passed.vias)) == (ALICE, 180, 1)


def test_answers_are_taken_from_the_connection_that_was_asked_and_no_other():
    core, _, copies = ringing(BOB)
    assert core.say(EVE, answer(copies[BOB], 200, BOBS)) == []
    assert statuses(core.say(BOB, answer(copies[BOB], 200, BOBS))) == [(ALICE, 200)]


def answered():
    """A call that stands: core, Bob's INVITE, Alice's 200, and what Alice sent."""
    core, sent, copies = ringing(BOB)
    ((_, ok),) = core.say(BOB, answer(copies[BOB], 200, BOBS))
    return core, copies[BOB], ok, sent


def test_later_requests_take_the_way_of_the_call_in_both_directions():
    core, rung, ok, sent = answered()
    ((to, ack),) = core.say(ALICE, within("ACK", ok, caller=True, number=sent.cseq.number))
    assert (to, ack.method, ack.target) == (BOB, "ACK", "sip:bob@bob.invalid")
    assert "route" not in ack.headers
    ((to, bye),) = core.say(BOB, within("BYE", rung, caller=False, number=1))
    assert (to, bye.method, bye.target) == (ALICE, "BYE", "sip:alice@alice.invalid")
    assert statuses(core.say(ALICE, answer(bye, 200))) == [(BOB, 200)]
    ((to, again_),) = core.say(ALICE, within("INVITE", ok, caller=True, number=90))[1:]
    assert (to, again_.method) == (BOB, "INVITE")
    assert statuses(core.say(BOB, answer(again_, 488))) == [(BOB, "ACK"), (ALICE, 488)]


def test_who_comes_back_on_another_connection_goes_on_with_the_call():
    core, _, ok, _ = answered()
    core.lose(ALICE)
    bye = within("BYE", ok, caller=True, number=90)
    assert statuses(core.say(7, bye)) == [(BOB, "BYE")]


def test_a_connection_that_is_gone_is_a_failed_flow():
    core, rung, _, _ = answered()
    core.lose(ALICE)
    assert statuses(core.say(BOB, within("BYE", rung, caller=False, number=1))) == [(BOB, 430)]


def test_somebody_elses_route_is_no_way_in():
    core, rung, _, _ = answered()
    forged = within("BYE", rung, caller=False, number=1)
    text = forged.headers.all("route")[1].replace(f"<sip:{ALICE}.", f"<sip:{BOB_TOO}.")
    forged.headers.remove("route")
    forged.headers.add("Route", text)
    assert statuses(core.say(EVE, forged)) == [(EVE, 403)]


def test_a_gruu_leads_to_one_instance_and_to_where_it_is_now():
    core = Core()
    ours = core.register(BOB, "bob", f"<sip:bob@one.invalid>;{INSTANCE};reg-id=1", OUTBOUND)
    core.register(BOB_TOO, "bob", f"<sip:bob@two.invalid>;{OTHER_INSTANCE};reg-id=1", OUTBOUND)
    params = dict(ours.contacts[0].params)
    for name in ("pub-gruu", "temp-gruu"):
        gruu = params[name].strip('"')
        _, out = core.prove(ALICE, request("INVITE", gruu, ("Contact", "<sip:a@a.invalid>")))
        assert statuses(out) == [(ALICE, 100), (BOB, "INVITE")]
        assert out[1][1].target == "sip:bob@one.invalid"
    gruu = params["pub-gruu"].strip('"')
    ((_, ok),) = core.say(BOB, answer(out[1][1], 200, ("Contact", f"<{gruu}>")))
    ((to, bye),) = core.say(ALICE, within("BYE", ok, caller=True, number=90))
    assert (to, bye.target) == (BOB, "sip:bob@one.invalid")
    core.lose(BOB)
    core.register(5, "bob", f"<sip:bob@new.invalid>;{INSTANCE};reg-id=1", OUTBOUND)
    ((to, bye),) = core.say(ALICE, within("BYE", ok, caller=True, number=91))
    assert (to, bye.target) == (5, "sip:bob@new.invalid")


# -- forks ----------------------------------------------------------------------------------------


def test_the_first_2xx_wins_and_the_others_are_cancelled():
    core, _, copies = ringing(BOB, BOB_TOO)
    for flow in (BOB, BOB_TOO):
        core.say(flow, answer(copies[flow], 180))
    out = core.say(BOB, answer(copies[BOB], 200, BOBS))
    assert statuses(out) == [(ALICE, 200), (BOB_TOO, "CANCEL")]
    cancel = out[1][1]
    assert cancel.via.branch == copies[BOB_TOO].via.branch
    assert core.say(BOB_TOO, answer(cancel, 200)) == []
    ended = core.say(BOB_TOO, answer(copies[BOB_TOO], 487))
    assert statuses(ended) == [(BOB_TOO, "ACK")]


def test_a_phone_that_has_not_answered_at_all_is_cancelled_once_it_has():
    core, _, copies = ringing(BOB, BOB_TOO)
    assert statuses(core.say(BOB, answer(copies[BOB], 200, BOBS))) == [(ALICE, 200)]
    assert statuses(core.say(BOB_TOO, answer(copies[BOB_TOO], 100))) == [(BOB_TOO, "CANCEL")]
    assert core.say(BOB_TOO, answer(copies[BOB_TOO], 180)) == []


def test_a_second_2xx_passes_too():
    core, _, copies = ringing(BOB, BOB_TOO)
    core.say(BOB, answer(copies[BOB], 200, BOBS))
    late = core.say(BOB_TOO, answer(copies[BOB_TOO], 200, BOBS, tag="too"))
    assert statuses(late) == [(ALICE, 200)]


@pytest.mark.parametrize(
    ("one", "two", "best"),
    [
        (486, 404, 404),
        (486, 480, 480),
        (404, 415, 415),
        (500, 486, 486),
        (302, 404, 302),
        (503, 503, 500),
        (503, 500, 500),
        (486, 603, 603),
    ],
)
def test_of_failures_the_best_is_passed_once_all_are_there(one, two, best):
    core, sent, copies = ringing(BOB, BOB_TOO)
    assert statuses(core.say(BOB, answer(copies[BOB], one))) == [(BOB, "ACK")]
    out = core.say(BOB_TOO, answer(copies[BOB_TOO], two))
    assert statuses(out) == [(BOB_TOO, "ACK"), (ALICE, best)]
    assert core.say(ALICE, ack_of(sent, out[1][1])) == []


def test_challenges_of_all_phones_are_passed_together():
    core, _, copies = ringing(BOB, BOB_TOO)
    core.say(BOB, answer(copies[BOB], 401, ("WWW-Authenticate", 'Digest realm="one"')))
    challenge = ("WWW-Authenticate", 'Digest realm="two"')
    out = core.say(BOB_TOO, answer(copies[BOB_TOO], 401, challenge))
    assert len(out[1][1].headers.all("www-authenticate")) == 2


def test_a_decline_everywhere_cancels_the_others():
    core, _, copies = ringing(BOB, BOB_TOO)
    core.say(BOB_TOO, answer(copies[BOB_TOO], 180))
    out = core.say(BOB, answer(copies[BOB], 603))
    assert statuses(out) == [(BOB, "ACK"), (BOB_TOO, "CANCEL")]
    out = core.say(BOB_TOO, answer(copies[BOB_TOO], 487))
    assert statuses(out) == [(BOB_TOO, "ACK"), (ALICE, 603)]


@pytest.mark.parametrize("failure", ["lost", "430"])
def test_flows_of_one_instance_are_tried_one_after_another(failure):
    core = Core()
    for flow, number in ((BOB, 1), (BOB_TOO, 2)):
        bound = f"<sip:bob@b{number}.invalid>;{INSTANCE};reg-id={number}"
        core.register(flow, "bob", bound, OUTBOUND)
    _, ((first, copy),) = core.invite(ALICE)
    assert first == BOB_TOO
    if failure == "lost":
        ((second, copy),) = core.lose(BOB_TOO)
    else:
        (_, ack), (second, copy) = core.say(BOB_TOO, answer(copy, 430))
        assert ack.method == "ACK"
    assert (second, copy.method, len(copy.vias)) == (BOB, "INVITE", 2)
    assert statuses(core.say(BOB, answer(copy, 200, BOBS))) == [(ALICE, 200)]


# -- the end of a call that never was -------------------------------------------------------------


def cancel_of(sent):
    headers = sent.headers.copy()
    headers.replace("CSeq", f"{sent.cseq.number} CANCEL")
    return type(sent)("CANCEL", sent.target, headers)


def test_a_cancel_is_answered_passed_on_and_ends_with_487():
    core, sent, copies = ringing(BOB)
    core.say(BOB, answer(copies[BOB], 180))
    out = core.say(ALICE, cancel_of(sent))
    assert statuses(out) == [(ALICE, 200), (BOB, "CANCEL")]
    assert len(out[1][1].vias) == 1
    out = core.say(BOB, answer(copies[BOB], 487))
    assert statuses(out) == [(BOB, "ACK"), (ALICE, 487)]


def test_a_cancel_from_another_connection_cancels_nothing():
    core, sent, copies = ringing(BOB)
    core.say(BOB, answer(copies[BOB], 180))
    assert statuses(core.say(EVE, cancel_of(sent))) == [(EVE, 481)]


def test_a_caller_that_is_gone_stops_the_ringing():
    core, _, copies = ringing(BOB)
    core.say(BOB, answer(copies[BOB], 180))
    assert statuses(core.lose(ALICE)) == [(BOB, "CANCEL")]
    assert statuses(core.say(BOB, answer(copies[BOB], 487))) == [(BOB, "ACK")]


def test_a_callee_that_is_gone_is_unavailable():
    core, _, _ = ringing(BOB)
    assert statuses(core.lose(BOB)) == [(ALICE, 480)]


def test_a_phone_that_never_answers_times_out():
    core, _, _ = ringing(BOB)
    core.now = core.proxy.deadline
    assert statuses(core.expire()) == [(ALICE, 408)]


def test_a_phone_that_rings_too_long_is_cancelled_and_given_up():
    core, _, copies = ringing(BOB)
    core.say(BOB, answer(copies[BOB], 180))
    core.now += TIMER_C
    assert statuses(core.expire()) == [(BOB, "CANCEL")]
    core.now = core.proxy.deadline
    assert statuses(core.expire()) == [(ALICE, 487)]


def test_everything_is_forgotten_once_it_is_over():
    core, rung, ok, sent = answered()
    core.say(ALICE, within("ACK", ok, caller=True, number=sent.cseq.number))
    ((_, bye),) = core.say(BOB, within("BYE", rung, caller=False, number=1))
    core.say(ALICE, answer(bye, 200))
    moments = 0
    while core.proxy.deadline is not None:
        core.now = max(core.now, core.proxy.deadline)
        core.expire()
        moments += 1
        assert moments < 100
    # challenges of INVITEs that were never acknowledged are over, too
    assert core.proxy.open_requests == 0


def test_the_same_request_again_is_answered_as_before():
    core, sent, copies = ringing(BOB)
    assert statuses(core.say(ALICE, sent)) == [(ALICE, 100)]
    out = core.say(BOB, answer(copies[BOB], 486))
    assert isinstance(out[1][1], Response)
    assert statuses(core.say(ALICE, sent)) == [(ALICE, 486)]


def test_an_ack_to_nothing_and_a_stray_answer_are_dropped():
    core, _, copies = ringing(BOB)
    assert core.say(EVE, request("ACK", "sip:bob@lab.test")) == []
    stray = answer(again(copies[BOB]), 200, BOBS)
    assert core.say(BOB, stray) == []


def test_calls_can_be_refused_for_tests():
    core = Core()
    core.register(BOB, "bob")
    core.proxy.refuse = 503
    _, out = core.prove(ALICE, invite())
    assert statuses(out) == [(ALICE, 503)]
