"""No report claims more than its evidence: every combination of facts there can be is tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product

import pytest

from securecall.calls import report_parties
from securecall.calls.report_parties import SERVERS, Capability, Interval, Role, Way, parties_of
from securecall.keys.trust import TrustState
from securecall.media.description import Keying
from securecall.policy import IdentityEvidence, SecurityLevel, SecurityState

SERVER = Way(
    peer="bob", protocol="SIP", server="a.example", hops=("p.example", "sip.b.example"),
    own_domain="a.example", peer_domain="b.example",
)  # fmt: skip
WAYS = (
    SERVER,
    replace(SERVER, ticket="link", relays=("turn.example",)),
    replace(SERVER, gateways=("gw.example",), page="https://b.example"),
    Way(peer="bob", protocol="SIP", direct=True, ticket="bearer", relays=("turn.example",)),
    Way(peer="bob"),
)
HOWS = ("", "card", "directory", "organisation", "link", "contact")
WORTH = {could: worth for worth, could in enumerate(reversed(list(Capability)))}


def facts() -> Iterator[tuple[Way, Interval]]:
    """Also those that `security_state` never makes, such as a high level without evidence."""
    for trust, how, stale in product((None, *TrustState), HOWS, (False, True)):
        identity = None
        if trust is not None:
            identity = IdentityEvidence(
                root_fp=bytes(64), device_id="d", trust=trust, how=how, stale=stale
            )
        elif how or stale:
            continue
        for keying, level, confirmed, passed in product(
            Keying, SecurityLevel, (False, True), (False, True)
        ):
            security = SecurityState(
                level=level, reason="", keying=keying, identity=identity, sas_confirmed=confirmed
            )
            for way in WAYS:
                yield way, Interval(since=0.0, security=security, passed=passed)


def least(way: Way, interval: Interval, role: Role) -> Capability:
    """What a party could have done at least, said once more in other words than the code's."""
    s, identity = interval.security, interval.security.identity
    if s.keying is Keying.NONE:
        return Capability.HELD_KEY if interval.passed else Capability.METADATA
    if role is Role.GATEWAY:
        return Capability.HELD_KEY
    if role is Role.OWN_PROVIDER and way.gateways:
        return Capability.HELD_KEY
    if role in SERVERS and s.keying is Keying.SDES:
        return Capability.HELD_KEY
    if role is Role.RELAY and s.keying is Keying.SDES:
        return Capability.METADATA
    proven = identity is not None and not identity.stale
    believed = s.sas_confirmed or (
        identity is not None and identity.trust.value in ("pinned", "verified")
    )
    cleared = (
        s.keying is Keying.DTLS_SRTP and proven and believed and s.level >= 3 and not way.gateways
    )
    if cleared and role is not Role.PAGE:
        return Capability.METADATA
    return Capability.COULD_SUBSTITUTE


def expected_roles(way: Way, interval: Interval) -> set[Role]:
    roles = {Role.YOU, Role.PEER, Role.NETWORK}
    if way.server:
        roles |= SERVERS
    carriers = ((way.relays, Role.RELAY), (way.gateways, Role.GATEWAY), (way.page, Role.PAGE))
    roles |= {role for names, role in carriers if names}
    s, identity = interval.security, interval.security.identity
    keys = s.keying is not Keying.NONE
    if not keys or identity is None or s.sas_confirmed or identity.trust == "verified":
        return roles
    pinned = identity.trust == "pinned"
    if way.ticket or (pinned and identity.how == "link"):
        roles |= {Role.TICKET}
    if pinned and identity.how not in ("link", "contact"):
        word = identity.how in ("directory", "organisation")
        roles |= {Role(identity.how) if word else Role.FIRST_CALL}
    return roles


def too_much() -> Iterator[tuple[Way, Interval]]:
    """The cases in which a party is left out, or could have done more than is said."""
    for way, interval in facts():
        parties = parties_of(way, interval)
        others = [p for p in parties if p.role not in (Role.YOU, Role.PEER)]
        if {p.role for p in parties} != expected_roles(way, interval) or any(
            WORTH[p.capability] < WORTH[least(way, interval, p.role)] for p in others
        ):
            yield way, interval


def test_no_party_is_ever_said_to_have_been_able_to_do_less_than_it_was():
    assert next(too_much(), None) is None


Closed = Callable[[Way, SecurityState], bool]
MUTANTS: dict[str, Callable[[Closed], Closed]] = {
    "believes the level": lambda _: lambda w, s: s.level >= SecurityLevel.E2EE,
    "believes the evidence": lambda _: (
        lambda w, s: s.identity is not None and s.identity.trust is TrustState.PINNED
    ),
    "forgets that statements expire": lambda real: (
        lambda w, s: real(w, replace(s, identity=s.identity and replace(s.identity, stale=False)))
    ),
    "forgets gateways": lambda real: lambda w, s: real(replace(w, gateways=()), s),
    "trusts keys that nobody knows": lambda real: (
        lambda w, s: real(w, replace(s, sas_confirmed=True))
    ),
    "forgets how keys were made": lambda real: (
        lambda w, s: real(w, replace(s, keying=Keying.DTLS_SRTP))
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_property_sees_a_judge_who_is_too_kind(mutant, monkeypatch):
    monkeypatch.setattr(report_parties, "is_closed", MUTANTS[mutant](report_parties.is_closed))
    assert next(too_much(), None) is not None
