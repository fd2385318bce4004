from __future__ import annotations

import pytest

from securecall.transport.candidate import (
    Candidate,
    CandidateKind,
    Foundations,
    LocalIce,
    candidate_priority,
    hidden_related,
    is_usable,
)


def candidate(host="192.0.2.1", port=5000, component=1, transport="udp", kind="host"):
    return Candidate("1", component, transport, 1, host, port, kind)


@pytest.mark.parametrize(
    "unusable",
    [
        candidate("0.0.0.0"),
        candidate("::"),
        candidate("224.0.0.251"),
        candidate("ff02::fb"),
        candidate("255.255.255.255"),
        candidate("127.0.0.1"),
        candidate("127.9.9.9"),
        candidate("::1"),
        candidate("::ffff:127.0.0.1"),
        candidate("fe80::1%eth0"),
        candidate("4a8b.local"),
        candidate("peer.example"),
        candidate("192.0.2.1 "),
        candidate(port=0),
        candidate(port=70_000),
        candidate(component=2),
        candidate(transport="tcp"),
        candidate(kind="other"),
    ],
)
def test_addresses_that_are_not_a_peer_s_are_not_checked(unusable):
    assert not is_usable(unusable, loopback=False)


def test_loopback_counts_where_we_offered_it():
    assert is_usable(candidate("127.0.0.1"), loopback=True)
    assert is_usable(candidate("192.0.2.1"), loopback=False)
    assert is_usable(candidate("2001:db8::1"), loopback=False)


def test_foundations_are_small_numbers_in_order_of_meeting():
    foundations = Foundations()
    host = foundations.of(CandidateKind.HOST, "192.168.1.17")
    other = foundations.of(CandidateKind.SERVER_REFLEXIVE, "192.168.1.17", "stun.example")
    assert (host, other) == ("1", "2")
    assert foundations.of(CandidateKind.HOST, "192.168.1.17") == "1"


def test_priorities_are_the_recommended_ones():
    assert candidate_priority(CandidateKind.HOST, 65535) == 2130706431
    assert candidate_priority(CandidateKind.RELAYED, 0) == 255


def test_the_related_address_is_hidden_in_its_own_family():
    assert hidden_related("198.51.100.9") == ("0.0.0.0", 9)
    assert hidden_related("2001:db8::1") == ("::", 9)


@pytest.mark.parametrize(
    ("hosts", "default"),
    [
        (("2001:db8::1", "192.0.2.1", "192.0.2.2"), "192.0.2.1"),
        (("2001:db8::1", "2001:db8::2"), "2001:db8::1"),
    ],
)
def test_media_without_ice_goes_by_ipv4_where_there_is_any(hosts, default):
    ours = LocalIce(ufrag="u", pwd="p", candidates=tuple(map(candidate, hosts)))
    assert ours.default == (default, 5000)
