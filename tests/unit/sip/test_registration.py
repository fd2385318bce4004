"""One registration: what each answer of a server comes to, and when it is told again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecall.sip.headers import Headers
from securecall.sip.message import Response
from securecall.sip.registration import EXPIRES, Registration, RegistrationState

CONTACT = "sip:token@x.invalid;transport=tls;ob"
INSTANCE = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"


def registration(instance: str = INSTANCE) -> Registration:
    r = Registration(contact=CONTACT, instance=instance, now=0.0)
    _ = r.fields()
    return r


def response(status: int = 200, **fields: str) -> Response:
    return Response(status, "x", Headers((n.replace("_", "-"), v) for n, v in fields.items()))


def granted(**fields: str) -> Registration:
    r = registration()
    r.receive(response(**fields), now=100.0, chance=0.5)
    return r


def test_it_is_due_at_once_and_not_while_one_is_out():
    r = Registration(contact=CONTACT, instance="", now=7.0)
    assert r.due == 7.0
    _ = r.fields()
    assert r.due is None


def test_it_names_contact_instance_and_what_it_understands():
    fields = Registration(contact=CONTACT, instance=INSTANCE, now=0.0).fields()
    contact = fields.first("contact")
    assert contact == (f'<{CONTACT}>;expires={EXPIRES};reg-id=1;+sip.instance="<{INSTANCE}>"')
    assert fields.first("supported") == "path, gruu, outbound"
    plain = Registration(contact=CONTACT, instance="", now=0.0).fields()
    assert "reg-id" not in (plain.first("contact") or "")
    assert "outbound" not in (plain.first("supported") or "")


def test_leaving_asks_for_no_time_at_all():
    fields = registration().fields(remove=True)
    assert fields.first("expires") == "0"
    assert ";expires=0;" in (fields.first("contact") or "")


def test_the_time_granted_is_that_of_our_own_contact():
    others = "<sip:phone@192.0.2.9>;expires=7, <sip:token@x.invalid;transport=tls;ob>;expires=300"
    r = granted(Contact=others, Expires="3600")
    assert r.state is RegistrationState.REGISTERED
    assert r.granted is not None
    assert r.granted.seconds == 300
    assert 100.0 + 150 <= (r.due or 0) <= 100.0 + 270


def test_without_a_contact_of_ours_expires_counts_and_without_it_what_we_asked_for():
    assert granted(Expires="120").granted.seconds == 120
    assert granted().granted.seconds == EXPIRES


@pytest.mark.parametrize("seconds", ["0", "1", "4294967295"])
def test_no_server_makes_us_hammer_it_or_stay_away_for_ever(seconds):
    r = granted(Expires=seconds)
    assert 100.0 + 1 <= (r.due or 0) <= 100.0 + 7 * 86_400


def test_what_the_server_offers_is_taken():
    r = granted(
        Require="outbound",
        Flow_Timer="25",
        Service_Route="<sip:edge.a.example;lr>, <sip:core.a.example;lr>",
        Contact=(
            f"<{CONTACT}>;expires=60"
            ';pub-gruu="sip:alice@a.example;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"'
        ),
    )
    assert r.granted is not None
    assert (r.granted.outbound, r.granted.flow_seconds) == (True, 25)
    assert r.granted.routes == ("<sip:edge.a.example;lr>", "<sip:core.a.example;lr>")
    assert r.granted.gruu.startswith("sip:alice@a.example;gr=")


@pytest.mark.parametrize(
    "fields",
    [
        {"Expires": "soon"},
        {"Service-Route": "<<"},
        {"Contact": "<sip:token@x.invalid;transport=tls;ob>;expires=x"},
        {"Flow-Timer": "-1"},
        {"Require": "a b"},
    ],
)
def test_a_success_that_cannot_be_read_is_tried_again(fields):
    r = registration()
    r.receive(Response(200, "OK", Headers(fields.items())), now=0.0, chance=0.0)
    assert r.state is RegistrationState.CONNECTING
    assert r.due == 0.5


def test_too_brief_an_interval_is_made_longer_at_once():
    r = registration()
    r.receive(response(423, Min_Expires="1800"), now=5.0, chance=0.0)
    assert r.due == 5.0
    assert r.fields().first("expires") == "1800"


@pytest.mark.parametrize("minimum", [None, "x", "0", str(EXPIRES)])
def test_nonsense_about_the_interval_is_no_reason_to_hurry(minimum):
    r = registration()
    fields = {} if minimum is None else {"Min_Expires": minimum}
    r.receive(response(423, **fields), now=5.0, chance=0.0)
    assert r.due is not None
    assert r.due > 5.0


@pytest.mark.parametrize("status", [401, 403, 404, 407, 420, 604])
def test_a_refusal_at_the_first_time_waits_for_a_person(status):
    r = registration()
    r.receive(response(status), now=0.0, chance=0.0)
    assert (r.state, r.due) == (RegistrationState.REFUSED, None)


def test_a_refusal_by_a_server_that_served_us_is_tried_again_later():
    r = granted()
    _ = r.fields()
    r.receive(response(403), now=200.0, chance=0.0)
    assert r.state is RegistrationState.CONNECTING
    assert r.due == 500.0


def test_tries_come_ever_slower_and_never_more_than_ten_in_a_minute():
    r = registration()
    now, tries = 0.0, 0
    while now <= 60.0:
        tries += 1
        r.failed(now=now, chance=0.0)
        assert r.due is not None
        assert r.due > now
        now = r.due
    assert tries <= 10
    for _ in range(50):
        r.failed(now=now, chance=0.999)
        assert r.due is not None
        assert r.due - now <= 60.0


def test_a_server_that_says_when_is_obeyed_within_reason():
    r = registration()
    r.receive(response(503, Retry_After="120 (maintenance);duration=9"), now=0.0, chance=0.0)
    assert r.due == 120.0
    r.receive(response(503, Retry_After="999999999"), now=0.0, chance=0.0)
    assert r.due == 3600.0


def test_success_forgets_the_failures():
    r = registration()
    for _ in range(9):
        r.failed(now=0.0, chance=0.0)
    r.receive(response(), now=0.0, chance=0.0)
    r.failed(now=0.0, chance=0.0)
    assert r.due == 0.5


def test_a_lost_connection_makes_it_due_unless_it_is_over():
    r = granted()
    r.lost(now=150.0)
    assert (r.state, r.due) == (RegistrationState.CONNECTING, 150.0)
    r.refuse()
    r.lost(now=160.0)
    assert (r.state, r.due) == (RegistrationState.REFUSED, None)
    r.end()
    r.lost(now=170.0)
    assert (r.state, r.due) == (RegistrationState.ENDED, None)


@given(
    status=st.integers(200, 699),
    name=st.sampled_from(["Expires", "Contact", "Require", "Retry-After", "Min-Expires"]),
    value=st.text(max_size=40).filter(lambda t: "\r" not in t and "\n" not in t),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_whatever_a_server_answers_it_is_due_later_or_waits_for_a_person(
    status, name, value, chance
):
    r = registration()
    r.receive(Response(status, "x", Headers(((name, value),))), now=10.0, chance=chance)
    if r.state is RegistrationState.REFUSED:
        assert r.due is None
    else:
        assert r.due is not None
        assert r.due > 10.0 or status == 423
