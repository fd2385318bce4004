"""What a report says of each party, and what it tells of the call."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securecall.calls.report import CallEvent, Capability, EventKind, Interval, Role
from securecall.calls.report_document import parse_report
from securecall.calls.report_parties import parties_of, way_of
from securecall.calls.report_shape import MAX_SIZE
from securecall.calls.report_verify import examine, require_unaltered
from securecall.calls.signaling import SignalingPath
from securecall.keys.trust import TrustState
from securecall.media.description import Keying
from securecall.policy import UNSECURED, Facts, SecurityState, security_state
from tests.report_world import ALICE, BOB, PATH, evidence, object_of, reports, way_between

DIRECT = SignalingPath(protocol="SIP", transport="TLSv1.3", direct=True, remote="192.0.2.1:5061")
HOP = security_state(Facts(keying=Keying.DTLS_SRTP))
SDES = security_state(Facts(keying=Keying.SDES))


def state(trust: TrustState | None, how: str = "", *, confirmed: bool = False) -> SecurityState:
    return HOP if trust is None else evidence(BOB, trust, how, confirmed=confirmed)


def who(security: SecurityState | None, path: SignalingPath | None = PATH, **more: object):
    """Role -> the strongest that any party of that role could have done."""
    way = replace(way_between(ALICE, BOB, path), **more)  # type: ignore[arg-type] # test-only freedom
    interval = Interval(since=0.0, security=security or UNSECURED, passed=security is not None)
    found: dict[Role, Capability] = {}
    for party in parties_of(way, interval):
        found.setdefault(party.role, party.capability)
    return found


@pytest.mark.parametrize("path", [PATH, DIRECT], ids=["server", "direct"])
@pytest.mark.parametrize("trust", [None, TrustState.UNKNOWN], ids=["no identity", "first contact"])
def test_networks_are_not_cleared_by_connections_nobody_here_saw(trust, path):
    """Between servers, and between a server and the peer, anything may have been in the clear."""
    assert who(state(trust), path)[Role.NETWORK] is Capability.COULD_SUBSTITUTE


@pytest.mark.parametrize(
    ("how", "role"),
    [
        ("first-call", Role.FIRST_CALL),
        ("card", Role.FIRST_CALL),
        ("user", Role.FIRST_CALL),
        ("a word of the future", Role.FIRST_CALL),
        ("link", Role.TICKET),
        ("bearer", Role.TICKET),
        ("directory", Role.DIRECTORY),
        ("organisation", Role.ORGANISATION),
    ],
)
def test_a_key_is_as_good_as_the_word_it_is_believed_on(how, role):
    found = who(state(TrustState.PINNED, how))
    assert found[role] is Capability.COULD_SUBSTITUTE
    assert found[Role.OWN_PROVIDER] is found[Role.NETWORK] is Capability.METADATA
    for better in (
        state(TrustState.PINNED, how, confirmed=True),
        state(TrustState.VERIFIED, "sas"),
        state(TrustState.PINNED, "contact"),
    ):
        assert role not in who(better)


def test_who_vouches_is_named_by_the_domain_it_vouches_for():
    way = way_between(ALICE, BOB)
    for how, name in (("directory", "other.example"), ("organisation", "clinic.example")):
        interval = Interval(since=0.0, security=state(TrustState.PINNED, how), passed=True)
        assert [p.name for p in parties_of(way, interval) if p.role == how] == [name]


def test_without_keys_nobody_could_have_heard_anything():
    assert set(who(None).values()) == {Capability.NOTHING, Capability.METADATA}


def test_servers_are_told_apart_by_the_domains_of_the_two_addresses():
    interval = Interval(since=0.0, security=HOP, passed=True)
    found = {p.name: p.role for p in parties_of(way_between(ALICE, BOB), interval)}
    assert found["example.com"] is found["edge.example.com"] is Role.OWN_PROVIDER
    assert found["sip.other.example"] is Role.PEER_PROVIDER
    assert found["proxy.transit.example"] is Role.PROXY
    lookalike = replace(PATH, hops=("evilexample.com", "example.com.evil.test"))
    found = {p.name: p.role for p in parties_of(way_between(ALICE, BOB, lookalike), interval)}
    assert found["evilexample.com"] is found["example.com.evil.test"] is Role.PROXY
    assert found["other.example"] is Role.PEER_PROVIDER  # named though no hop told of it


def test_one_provider_of_both_is_named_once():
    same = replace(PATH, hops=())
    way = way_of(peer="ann", path=same, own=ALICE.address, other=ALICE.address)
    servers = [
        p for p in parties_of(way, Interval(since=0.0, security=HOP)) if "provider" in p.role
    ]
    assert [(p.role, p.name) for p in servers] == [(Role.OWN_PROVIDER, "example.com")]
    assert "serves both" in servers[0].why


def test_a_server_that_saw_the_keys_held_them():
    assert who(SDES)[Role.PROXY] is who(SDES)[Role.PEER_PROVIDER] is Capability.HELD_KEY


def test_media_that_passed_without_keys_was_open_to_everybody():
    found = who(security_state(Facts(keying=Keying.NONE)), relays=("turn.example",))
    assert {found[r] for r in (Role.NETWORK, Role.OWN_PROVIDER, Role.RELAY)} == {
        Capability.HELD_KEY
    }


def test_a_gateway_opens_every_call_whatever_keys_there_were():
    found = who(state(TrustState.VERIFIED, "sas"), gateways=("gw.carrier.example",))
    assert found[Role.GATEWAY] is Capability.HELD_KEY
    assert found[Role.OWN_PROVIDER] is Capability.HELD_KEY


def test_a_page_can_cheat_even_in_a_verified_call():
    found = who(state(TrustState.VERIFIED, "sas"), page="https://clinic.example")
    assert found[Role.PAGE] is Capability.COULD_SUBSTITUTE
    assert found[Role.OWN_PROVIDER] is Capability.METADATA


def test_a_relay_sees_no_more_than_metadata_of_an_end_to_end_call():
    relayed = {"relays": ("turn.example",)}
    assert who(state(TrustState.PINNED), **relayed)[Role.RELAY] is Capability.METADATA
    assert who(state(TrustState.UNKNOWN), **relayed)[Role.RELAY] is Capability.COULD_SUBSTITUTE


def test_a_relay_of_a_telephone_call_saw_what_was_locked_and_never_its_keys():
    keyed = replace(state(TrustState.UNKNOWN), keying=Keying.SDES)
    way = way_between(ALICE, BOB, relays=("turn.example",), gateway=True)
    found = parties_of(way, Interval(since=0.0, security=keyed, passed=True))
    (relay,) = (p for p in found if p.role is Role.RELAY)
    assert relay.capability is Capability.METADATA
    assert "the keys went by the servers" in relay.why
    held = {p.role for p in found if p.capability is Capability.HELD_KEY}
    assert {Role.OWN_PROVIDER, Role.GATEWAY} <= held


def test_whoever_heard_a_call_through_a_conference_is_named():
    way = way_between(ALICE, BOB, mixed_with=("carol", "dave"))
    found = parties_of(way, Interval(since=0.0, security=state(TrustState.VERIFIED)))
    let_in = [(p.name, p.capability) for p in found if p.role is Role.CONFERENCE]
    assert let_in == [("carol", Capability.LET_IN), ("dave", Capability.LET_IN)]
    capabilities = [p.capability for p in found]
    assert capabilities.index(Capability.LET_IN) < capabilities.index(Capability.METADATA)
    assert Role.CONFERENCE not in who(state(TrustState.VERIFIED))


def stretch(since: float, security: SecurityState) -> Interval:
    return Interval(since=since, security=security, passed=True)


def test_words_that_were_compared_speak_of_the_keys_since_they_were_made():
    report, _ = reports()
    first = stretch(1.0, evidence(BOB, TrustState.UNKNOWN))
    compared = stretch(9.0, evidence(BOB, TrustState.UNKNOWN, confirmed=True))
    found = {p.capability for p in replace(report, intervals=(first, compared)).parties}
    assert found == {Capability.HELD_KEY, Capability.METADATA}
    differed = stretch(9.0, replace(first.security, reason="you read different words"))
    known = stretch(1.0, evidence())
    page = str(replace(report, intervals=(known, differed)))
    assert "Somebody in the middle could have listened" in page


def test_a_report_says_the_worst_of_all_keys_of_a_call():
    """Comparing words under new keys tells nothing about the keys before."""
    report, _ = reports()
    first = stretch(1.0, evidence(BOB, TrustState.UNKNOWN))
    other = stretch(9.0, evidence(ALICE, confirmed=True))
    assert "Only the two of you" in str(replace(report, intervals=(other,)))
    both = replace(report, intervals=(first, other))
    assert Capability.COULD_SUBSTITUTE in {p.capability for p in both.parties}
    assert "Somebody in the middle could have listened" in str(both)


@pytest.mark.parametrize("trust", [None, TrustState.PINNED])
def test_an_unsigned_report_denies_proven_identities_only_where_none_were(trust):
    """A server that forges a BYE leaves no time to sign; the proof was there all the same."""
    report, _ = reports()
    interval = Interval(since=0.5, security=state(trust, "first-call"), passed=True)
    page = replace(report, record=None, intervals=(interval,)).who_could_have_listened()
    assert "Not signed" in page
    assert ("no identities were proven" in page) is (trust is None)


def test_a_missing_countersignature_is_stated_with_its_reason():
    report, _ = reports()
    alone = replace(
        report,
        record=replace(report.record, theirs=None, why="the other end did not answer in time"),
    )
    assert "Signed by you only: the other end did not answer in time." in str(alone)
    differed = replace(
        report, record=None, events=(CallEvent(3.0, EventKind.WORDS_DIFFER),), intervals=()
    )
    assert "Not signed: the words were not the same" in str(differed)


def test_a_call_without_keys_and_one_that_was_stopped_say_so():
    report, _ = reports()
    bare = replace(report, record=None, events=(), refused=0, intervals=())
    assert "No keys were made, and no sound was sent." in str(bare)
    assert "who talked to whom" in str(bare)  # who watches metadata is named all the same
    stopped = replace(bare, intervals=(Interval(since=1.0, security=HOP),))
    assert "stopped before any sound" in str(stopped)


def test_names_from_the_wire_are_made_visible():
    path = replace(PATH, hops=("a\u202egnp.exe", "x\x1b[31m", "<script>alert(1)</script>"))
    report, _ = reports()
    report = replace(report, way=way_between(ALICE, BOB, path))
    for text in (str(report), report.to_json(), report.to_html()):
        assert not {"\u202e", "\x1b"} & set(text)
    assert "<script>" not in report.to_html()
    assert "&lt;script&gt;" in report.to_html()


def test_the_largest_report_that_others_can_cause_is_still_read_and_holds():
    """A hundred hops fill the header of a message; nobody may make our own report too large."""
    hops = tuple(f"{number}.{'h' * 150}.example" for number in range(100))
    report, _ = reports()
    events = (CallEvent(2.0, EventKind.CHANGE_REFUSED, "x" * 1000),) * 64
    way = way_between(ALICE, BOB, replace(PATH, hops=hops))
    states = (state(TrustState.UNKNOWN), state(TrustState.UNKNOWN, confirmed=True), HOP)
    report = replace(
        report, record=None, events=events, refused=64, error="e" * 9000, way=way,
        intervals=tuple(stretch(float(n), s) for n, s in enumerate(states)),
    )  # fmt: skip
    data = report.to_json().encode()
    assert len(data) < MAX_SIZE / 2
    require_unaltered(examine(parse_report(data)))
    too_many = replace(report, way=replace(way, hops=tuple(str(n) for n in range(140))))
    assert object_of(too_many)["way"]["hops"][-1] == "41 more"


def test_the_page_is_one_file_that_loads_nothing():
    html = reports()[0].to_html()
    for forbidden in ("<script", "src=", "href=", "url(", "@import", "http:", "https:"):
        assert forbidden not in html
