"""Records to targets: only TLS, by priority and lot, families in turn."""

from __future__ import annotations

import pytest

from securecall.transport import srv
from securecall.transport.srv import (
    Naptr,
    Service,
    Srv,
    Target,
    alternate_families,
    lay_out,
    not_offered,
    order_servers,
    select_services,
)


def naptr(service, order=10, preference=10, flags="s", regexp="", to="_sips._tcp.a.example"):
    return Naptr(order, preference, flags, service, regexp, to)


@pytest.mark.parametrize(
    "record",
    [
        naptr("SIP+D2U", to="_sip._udp.a.example"),
        naptr("SIP+D2T", to="_sip._tcp.a.example"),
        naptr("SIP+D2W", to="_sip._ws.a.example"),
        naptr("SIP+D2S"),
        naptr("SIPS+D2S"),
        naptr("SIPS+D2U"),
        naptr("E2U+sip"),
        naptr("SIPS+D2T", flags="u"),
        naptr("SIPS+D2T", flags=""),
        naptr("SIPS+D2T", regexp="!^.*$!sip:mallory@evil.example!"),
        naptr("SIPS+D2T", to=""),
        naptr("SIPS+D2T", to="a b.example"),
    ],
    ids=str,
)
def test_a_record_that_leads_to_no_tls_is_passed_over(record):
    assert select_services([record]) == ()
    assert select_services([record, naptr("sips+d2t", flags="S")]) == (
        Service("_sips._tcp.a.example", "tls"),
    )


def test_services_come_by_order_then_preference_and_none_twice():
    records = [
        naptr("SIPS+D2T", 20, 1, to="third.example"),
        naptr("SIPS+D2T", 10, 9, to="second.example"),
        naptr("SIPS+D2W", 10, 1, to="first.example"),
        naptr("SIPS+D2T", 30, 1, to="second.example"),
    ]
    assert select_services(records) == (
        Service("first.example", "wss"),
        Service("second.example", "tls"),
        Service("third.example", "tls"),
    )
    many = [naptr("SIPS+D2T", to=f"{n}.example") for n in range(100)]
    assert len(select_services(many)) == srv.MOST_SERVICES


def test_lower_priorities_come_first_whatever_the_weights():
    records = [Srv(20, 65535, 5061, "c"), Srv(10, 0, 5061, "a"), Srv(15, 1, 5061, "b")]
    assert [r.host for r in order_servers(records, [0.99] * 3)] == ["a", "b", "c"]


# Running sums are 0, 1, 4 of weights 0, 1, 3; the lot is a whole number from 0 to 4.
@pytest.mark.parametrize(
    ("lot", "first"), [(0, "none"), (1, "one"), (2, "three"), (3, "three"), (4, "three")]
)
def test_the_lot_falls_on_the_first_running_sum_that_reaches_it(lot, first):
    records = [Srv(1, 1, 5061, "one"), Srv(1, 3, 5061, "three"), Srv(1, 0, 5061, "none")]
    ordered = order_servers(records, [(lot + 0.5) / 5, 0, 0])
    assert ordered[0].host == first
    assert sorted(r.host for r in ordered) == ["none", "one", "three"]


@pytest.mark.parametrize(
    "record",
    [Srv(0, 0, 0, "a"), Srv(0, 0, 65536, "a"), Srv(0, 0, 5061, ""), Srv(0, 0, 5061, "a\\032b")],
)
def test_a_record_without_host_or_port_is_no_server(record):
    assert order_servers([record, Srv(9, 9, 5061, "b")], [0.5, 0.5]) == (Srv(9, 9, 5061, "b"),)


def test_only_the_root_alone_says_that_there_is_no_service():
    assert not_offered([Srv(0, 0, 0, "")])
    assert not not_offered([])
    assert not not_offered([Srv(0, 0, 0, ""), Srv(0, 0, 5061, "a")])


def test_families_take_turns_and_the_systems_favourite_begins():
    six, four = ["2001:db8::1", "2001:db8::2", "2001:db8::3"], ["192.0.2.1", "192.0.2.2"]
    assert alternate_families(six + four) == (six[0], four[0], six[1], four[1], six[2])
    assert alternate_families(four + six)[:3] == (four[0], six[0], four[1])
    assert alternate_families([*four, *four]) == tuple(four)
    assert alternate_families([]) == ()
    assert len(alternate_families(f"192.0.2.{n}" for n in range(250))) == srv.MOST_ADDRESSES


def test_addresses_of_two_servers_do_not_mix_and_none_comes_twice():
    one, two = Srv(1, 0, 5061, "one"), Srv(2, 0, 443, "two")
    addresses = {"one": ("2001:db8::1", "192.0.2.1"), "two": ("192.0.2.1",)}
    targets = lay_out([(one, "tls"), (two, "wss"), (one, "tls")], addresses)
    assert [(t.host, t.port, t.transport, t.name) for t in targets] == [
        ("2001:db8::1", 5061, "tls", "one"),
        ("192.0.2.1", 5061, "tls", "one"),
        ("192.0.2.1", 443, "wss", "two"),
    ]
    flood = [(Srv(1, 0, port, "one"), "tls") for port in range(1, 1000)]
    assert len(lay_out(flood, addresses)) == srv.MOST_TARGETS


def test_a_target_names_itself_for_people():
    assert str(Target(host="::1", port=5061, transport="tls", name="a")) == "a ([::1]:5061)"
    assert str(Target(host="192.0.2.1", port=1, transport="tls", name="")) == "192.0.2.1:1"
