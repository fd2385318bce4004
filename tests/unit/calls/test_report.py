"""What a report says of each party never goes beyond the evidence there is."""

from __future__ import annotations

import pytest

from securecall.calls.report import Capability, Interval, ListenerReport, parties_of
from securecall.calls.signaling import SignalingPath
from securecall.errors import EndReason
from securecall.keys.trust import TrustState
from securecall.media.description import Keying
from securecall.policy import Facts, IdentityEvidence, SecurityState, security_state

SERVER = SignalingPath(
    protocol="SIP", transport="TLSv1.3", direct=False, verified_name="sip.example", remote="x:5061"
)
DIRECT = SignalingPath(
    protocol="SIP", transport="TLSv1.3", direct=True, verified_name="", remote="x:5061"
)


def state(trust: TrustState | None, how: str = "", *, confirmed: bool = False) -> SecurityState:
    evidence = None
    if trust is not None:
        evidence = IdentityEvidence(root_fp=bytes(64), device_id="d", trust=trust, how=how)
    return security_state(
        Facts(keying=Keying.DTLS_SRTP, identity=evidence, sas_confirmed=confirmed, sframe=True)
    )


def who(security: SecurityState | None, path: SignalingPath = SERVER) -> dict[str, Capability]:
    return {p.role: p.capability for p in parties_of(peer="bob", path=path, security=security)}


@pytest.mark.parametrize("path", [SERVER, DIRECT], ids=["server", "direct"])
@pytest.mark.parametrize("trust", [None, TrustState.UNKNOWN], ids=["no identity", "first contact"])
def test_networks_are_not_cleared_by_connections_nobody_here_saw(trust, path):
    """Between servers, and between a server and the peer, anything may have been in the clear."""
    assert who(state(trust), path)["network"] is Capability.COULD_SUBSTITUTE


def test_a_key_believed_since_the_first_call_is_as_good_as_that_call_was():
    found = who(state(TrustState.PINNED, "first-call"))
    assert found["first call"] is Capability.COULD_SUBSTITUTE
    assert found["server"] is found["network"] is Capability.METADATA


@pytest.mark.parametrize(
    "security",
    [
        state(TrustState.PINNED, "first-call", confirmed=True),
        state(TrustState.VERIFIED, "sas"),
        state(TrustState.PINNED, "contact"),
        state(TrustState.UNKNOWN),  # the first call itself: its server is named as such
        None,
    ],
)
def test_nothing_is_said_of_a_first_call_where_the_key_rests_on_more_or_on_nothing(security):
    assert "first call" not in who(security)


def test_without_keys_nobody_could_have_heard_anything():
    assert set(who(None).values()) == {Capability.NOTHING, Capability.METADATA}


@pytest.mark.parametrize("trust", [None, TrustState.PINNED])
def test_an_unsigned_report_denies_proven_identities_only_where_none_were(trust):
    """A server that forges a BYE leaves no time to sign; the proof was there all the same."""
    report = ListenerReport(
        peer="bob",
        outgoing=True,
        began=1_764_000_000,
        lasted=3.0,
        media_seconds=(1.0, 1.0),
        ended=EndReason.HUNG_UP,
        error="",
        intervals=(Interval(since=0.5, security=state(trust, "first-call")),),
        parties=(),
    )
    page = report.who_could_have_listened()
    assert "Not signed" in page
    assert ("no identities were proven" in page) is (trust is None)


def test_whoever_heard_a_call_through_a_conference_is_named():
    report = parties_of(
        peer="bob", path=SERVER, security=state(TrustState.VERIFIED), mixed_with=("carol", "dave")
    )
    let_in = [(p.name, p.capability) for p in report if p.role == "conference"]
    assert let_in == [("carol", Capability.LET_IN), ("dave", Capability.LET_IN)]
    capabilities = [p.capability for p in report]
    assert capabilities.index(Capability.LET_IN) < capabilities.index(Capability.METADATA)
    assert "conference" not in who(state(TrustState.VERIFIED))
