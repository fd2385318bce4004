"""What registers, for how long, on which connection."""

from __future__ import annotations

import pytest

from securecall.testing.location import MOST_BINDINGS, MOST_TEMPORARY
from tests.sip_scripts import again, register, request
from tests.unit.testing.lab_core import Core

INSTANCE = '+sip.instance="<urn:uuid:00000000-0000-1000-8000-000a95a0e128>"'
OUTBOUND = ("Supported", "path, outbound")
GRUU = ("Supported", "gruu")


def contact(name, *params):
    return ";".join((f"<sip:alice@{name}.invalid>", *params))


def answered(core, message, flow=1):
    """The answer to a proven REGISTER."""
    _, ((_, response),) = core.prove(flow, message)
    return response


def hosts(response):
    return [c.uri.host.partition(".")[0] for c in response.contacts]


def test_contacts_are_listed_with_the_seconds_left():
    core = Core()
    core.register(1, "alice", contact("one", "expires=100"))
    core.now += 40
    response = core.register(2, "alice", contact("two"))
    assert [(c.uri.host, dict(c.params)["expires"]) for c in response.contacts] == [
        ("one.invalid", "60"),
        ("two.invalid", "300"),
    ]


@pytest.mark.parametrize(
    ("param", "header", "granted"),
    [
        ("", "", 300),
        (";expires=120", "", 120),
        ("", "90", 90),
        (";expires=120", "90", 120),
        (";expires=999999", "", 3600),
    ],
)
def test_seconds_are_those_asked_for_within_the_terms(param, header, granted):
    sent = register(
        "alice", f"<sip:a@x.invalid>{param}", *([("Expires", header)] if header else [])
    )
    (bound,) = answered(Core(), sent).contacts
    assert dict(bound.params)["expires"] == str(granted)


def test_what_is_too_brief_is_refused_with_the_least():
    core = Core()
    refused = answered(core, register("alice", contact("one", "expires=59")))
    assert (refused.status, refused.headers.first("min-expires")) == (423, "60")
    assert core.location.of("alice", now=core.now) == []


def test_a_binding_ends_when_its_time_is_over():
    core = Core()
    core.register(1, "alice", contact("one", "expires=60"))
    core.now += 60
    assert core.location.of("alice", now=core.now) == []


def test_a_register_without_contact_lists_what_there_is():
    core = Core()
    core.register(1, "alice", contact("one"))
    assert hosts(core.register(1, "alice", "none")) == ["one"]


def test_expires_0_removes_one_and_a_star_all():
    core = Core()
    for name in ("one", "two", "three"):
        core.register(1, "alice", contact(name))
    assert hosts(core.register(1, "alice", contact("two", "expires=0"))) == ["one", "three"]
    assert hosts(core.register(1, "alice", "*", ("Expires", "0"))) == []


@pytest.mark.parametrize("fields", [(), (("Expires", "60"),), (("Expires", "0"), ("Contact", "*"))])
def test_a_star_stands_alone_with_expires_0(fields):
    core = Core()
    core.register(1, "alice", contact("one"))
    assert answered(core, register("alice", "*", *fields)).status == 400
    assert len(core.location.of("alice", now=core.now)) == 1


def test_the_same_contact_is_replaced_however_it_is_written():
    core = Core()
    core.register(1, "alice", "<sip:alice@one.invalid;transport=tls;x=1>")
    assert len(core.register(1, "alice", "<sip:alice@ONE.invalid;x=1;Transport=TLS>").contacts) == 1


def test_an_older_register_changes_nothing():
    core = Core()
    sent, _ = core.prove(1, register("alice", contact("one"), CSeq="9 REGISTER"))
    stale = register("alice", contact("one", "expires=0"), CSeq="8 REGISTER", Call_ID=sent.call_id)
    assert answered(core, stale).status == 500
    assert len(core.location.of("alice", now=core.now)) == 1


def test_there_is_a_most_of_contacts():
    core = Core()
    for n in range(MOST_BINDINGS):
        core.register(1, "alice", contact(f"n{n}"))
    assert answered(core, register("alice", contact("more"))).status == 503
    assert len(core.location.of("alice", now=core.now)) == MOST_BINDINGS


def test_what_was_registered_on_a_connection_goes_with_it():
    core = Core()
    core.register(1, "alice", contact("one"))
    core.register(2, "alice", contact("two"))
    core.lose(1)
    assert hosts(core.register(2, "alice", "none")) == ["two"]


# -- RFC 5626 -------------------------------------------------------------------------------------


def test_one_flow_for_each_instance_and_reg_id():
    core = Core()
    first = core.register(1, "alice", contact("one", INSTANCE, "reg-id=1"), OUTBOUND)
    assert first.headers.first("require") == "outbound"
    assert first.headers.first("flow-timer") == "120"
    core.register(2, "alice", contact("two", INSTANCE, "reg-id=2"), OUTBOUND)
    third = core.register(3, "alice", contact("three", INSTANCE, "reg-id=1"), OUTBOUND)
    assert sorted(hosts(third)) == ["three", "two"]
    flows = {b.key[1]: b.flow for b in core.location.of("alice", now=core.now)}
    assert flows == {"1": 3, "2": 2}


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        ((INSTANCE, "reg-id=1"), ()),
        (("reg-id=1",), (OUTBOUND,)),
        ((INSTANCE,), (OUTBOUND,)),
    ],
)
def test_without_one_of_the_three_it_is_an_ordinary_contact(params, fields):
    response = Core().register(1, "alice", contact("one", *params), *fields)
    assert "require" not in response.headers
    assert "flow-timer" not in response.headers


def test_several_contacts_with_a_reg_id_are_refused():
    both = f"{contact('one', INSTANCE, 'reg-id=1')}, {contact('two', INSTANCE, 'reg-id=2')}"
    assert answered(Core(), register("alice", both, OUTBOUND)).status == 400


@pytest.mark.parametrize(
    ("path", "status"), [("", 439), ("<sip:edge.test;lr>", 439), ("<sip:edge.test;lr;ob>", 200)]
)
def test_a_first_hop_has_to_know_outbound(path, status):
    fields = [OUTBOUND, ("Via", "SIP/2.0/TLS phone;branch=z9hG4bKx")]
    fields += [("Path", path)] if path else []
    sent = register("alice", contact("one", INSTANCE, "reg-id=1"), *fields)
    assert answered(Core(), sent).status == status


@pytest.mark.parametrize(
    "value", ['"<urn:x\\"y>"', '"<a b>"', '"<urn:x;lr>"', '"<urn:' + "x" * 300]
)
def test_an_instance_that_would_end_an_address_is_refused(value):
    value = value if value.endswith('"') else value + '>"'
    sent = register("alice", contact("one", f"+sip.instance={value}"), GRUU)
    assert answered(Core(), sent).status == 400


# -- RFC 5627, RFC 3327, RFC 3608 -----------------------------------------------------------------


def test_gruus_are_given_to_who_asks_for_them():
    response = Core().register(1, "alice", contact("one", INSTANCE), GRUU)
    params = dict(response.contacts[0].params)
    assert params["pub-gruu"] == (
        '"sip:alice@lab.test;gr=urn:uuid:00000000-0000-1000-8000-000a95a0e128"'
    )
    assert params["temp-gruu"].endswith('@lab.test;gr"')
    assert "alice" not in params["temp-gruu"]


@pytest.mark.parametrize(("params", "fields"), [((), (GRUU,)), ((INSTANCE,), ())])
def test_no_gruu_without_an_instance_or_without_asking(params, fields):
    response = Core().register(1, "alice", contact("one", *params), *fields)
    assert "gruu" not in response.need("contact")


def temporary(response):
    return dict(response.contacts[0].params)["temp-gruu"].strip('"')[4:].partition("@")[0]


def test_temporary_gruus_last_while_the_call_id_stays():
    core = Core()
    sent, ((_, first),) = core.prove(1, register("alice", contact("one", INSTANCE), GRUU))
    tokens = [temporary(first)]
    for _ in range(2):
        sent, ((_, response),) = core.prove(1, _without_credentials(again(sent)))
        tokens.append(temporary(response))
    assert len(set(tokens)) == 3
    assert all(core.location.owner(token) for token in tokens)
    last = temporary(core.register(1, "alice", contact("one", INSTANCE), GRUU))
    assert [core.location.owner(token) for token in tokens] == [None] * 3
    assert core.location.owner(last) is not None
    core.lose(1)
    assert core.location.owner(last) is None


def test_there_is_a_most_of_temporary_gruus():
    core = Core()
    sent, ((_, first),) = core.prove(1, register("alice", contact("one", INSTANCE), GRUU))
    for _ in range(MOST_TEMPORARY):
        sent, _ = core.prove(1, _without_credentials(again(sent)))
    assert core.location.owner(temporary(first)) is None


def _without_credentials(sent):
    sent.headers.remove("authorization")
    return sent


def test_path_and_service_route_are_told():
    core = Core()
    core.terms.service_route = "<sip:lab.test;lr>"
    response = core.register(1, "alice", contact("one"), ("Path", "<sip:edge.test;lr>"))
    assert response.headers.first("path") == "<sip:edge.test;lr>"
    assert response.headers.first("service-route") == "<sip:lab.test;lr>"


# -- who may --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request("REGISTER", "sip:other.test"), 404),
        (request("REGISTER", "sip:bob@lab.test"), 404),
        (register("alice", "", ("Require", "100rel")), 420),
    ],
)
def test_some_are_refused_before_anybody_is_asked_for_a_password(sent, status):
    response = Core().ask(1, sent)
    assert response.status == status
    assert response.headers.first("unsupported") == ("100rel" if status == 420 else None)


def test_nobody_registers_for_somebody_else():
    core = Core()
    sent = register("bob", "<sip:eve@eve.invalid>")
    _, ((_, response),) = core.prove(1, sent, user="alice")
    assert response.status == 403
    assert core.location.everything(now=core.now) == []


@pytest.mark.parametrize("text", ["<mailto:a@b.c>", "<tel:+123>"])
def test_a_contact_is_a_sip_address(text):
    assert answered(Core(), register("alice", text)).status == 400


def test_registrations_can_be_refused_for_tests():
    core = Core()
    core.terms.refuse = 503
    assert answered(core, register()).status == 503
