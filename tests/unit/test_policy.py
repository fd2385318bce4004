"""Policy: its defaults, what a level is called and why, and how far it goes where."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from securecall import policy
from securecall.errors import UsageError
from securecall.keys.trust import How, TrustState
from securecall.media.description import Keying
from securecall.policy import (
    Facts,
    IdentityEvidence,
    Policy,
    SecurityLevel,
    security_state,
)
from tests.paths import PROJECT

DEFAULTS = {
    "minimum": None,
    "require_pq": False,
    "passport": False,
    "danger_plain_dtls": False,
    "danger_plaintext_messages": False,
    "ring_seconds": 60.0,
    "connect_seconds": 15.0,
    "verifying_seconds": 120.0,
    "max_calls": 64,
    "call_waiting": True,
    "prefer_codecs": ("opus", "G722", "PCMU", "PCMA"),
    "prefer_video": ("VP8", "H264"),
    "opus_bitrate": 28_000,
    "opus_complexity": 1,
    "ice": True,
    "ip_privacy": policy.IpPrivacy.STRANGERS,
}


def test_a_policy_that_says_nothing_is_the_documented_one():
    ours = Policy()
    assert {f.name: getattr(ours, f.name) for f in fields(Policy)} == DEFAULTS


def test_the_clinical_policy_wants_verified_and_post_quantum():
    assert Policy.clinical() == Policy(minimum=SecurityLevel.VERIFIED, require_pq=True)


def test_levels_are_ordered_and_only_the_two_upper_ones_are_end_to_end():
    assert list(SecurityLevel) == sorted(SecurityLevel)
    assert [level.is_e2ee for level in SecurityLevel] == [False, False, False, True, True]
    assert len({level.words for level in SecurityLevel}) == len(SecurityLevel)
    for level in SecurityLevel:
        assert ("nd-to-end" in level.words) == level.is_e2ee


def evidence(trust: TrustState, **changes) -> IdentityEvidence:
    given = {"root_fp": bytes(64), "device_id": "d", "trust": trust, "group": "X25519MLKEM768"}
    return IdentityEvidence(**(given | changes))


def test_each_way_a_key_became_known_has_its_own_reason():
    assert set(policy._KNOWN_BY) <= {how.value for how in How}
    said = set()
    for how in policy._KNOWN_BY:
        identity = evidence(TrustState.PINNED, how=how)
        state = security_state(Facts(keying=Keying.DTLS_SRTP, identity=identity))
        assert state.level is SecurityLevel.E2EE
        said.add(state.reason)
    assert len(said) == len(policy._KNOWN_BY)


CASES = [
    Facts(keying=Keying.NONE),
    Facts(keying=Keying.SDES),
    Facts(keying=Keying.DTLS_SRTP),
    Facts(keying=Keying.DTLS_SRTP, gateway=True),
    Facts(keying=Keying.DTLS_SRTP, identity=evidence(TrustState.VERIFIED), sas_denied=True),
    Facts(keying=Keying.DTLS_SRTP, identity=evidence(TrustState.VERIFIED, stale=True)),
    Facts(keying=Keying.DTLS_SRTP, identity=evidence(TrustState.VERIFIED)),
    Facts(keying=Keying.DTLS_SRTP, identity=evidence(TrustState.PINNED), sas_confirmed=True),
    Facts(keying=Keying.DTLS_SRTP, identity=evidence(TrustState.PINNED)),
    Facts(keying=Keying.DTLS_SRTP, identity=evidence(TrustState.UNKNOWN)),
    Facts(keying=Keying.DTLS_SRTP, identity=evidence(TrustState.CHANGED)),
]


def test_every_line_of_the_table_gives_another_reason():
    assert len({security_state(facts).reason for facts in CASES}) == len(CASES)


@pytest.mark.parametrize("facts", CASES)
def test_what_was_not_said_is_not_there(facts):
    state = security_state(facts)
    assert not state.sframe
    assert not state.pq, "without frames sealed end to end, the group protects nothing"
    assert state.srtp_profile == ""
    stale = facts.identity is not None and facts.identity.stale
    assert len(state.warnings) == stale


def test_what_people_are_shown_is_what_the_documentation_promises():
    lines = (PROJECT / "docs/levels.md").read_text(encoding="utf-8").splitlines()
    rows = (re.fullmatch(r"\| `(\w+)` \|.*\| \"(.+)\" \|", line) for line in lines)
    promised = {row[1]: row[2] for row in rows if row}
    assert promised == {level.name: level.words for level in SecurityLevel if level}


def test_there_are_words_to_compare_where_the_handshake_ran():
    for identity, words in (
        (None, False),
        (evidence(TrustState.PINNED, group=""), False),
        (evidence(TrustState.PINNED), True),
    ):
        assert Facts(keying=Keying.DTLS_SRTP, identity=identity).words is words


@pytest.mark.parametrize("word", ["relay", "RELAY", None, True])
def test_a_word_hides_no_address(word):
    with pytest.raises(UsageError, match="IpPrivacy"):
        Policy(ip_privacy=word)  # type: ignore[arg-type] # as a careless caller would


def test_an_address_is_hidden_by_a_relay_which_only_ice_knows():
    with pytest.raises(UsageError, match="no relay"):
        Policy(ip_privacy=policy.IpPrivacy.RELAY, ice=False)
    for hidden, ice in (
        (policy.IpPrivacy.RELAY, True),
        (policy.IpPrivacy.STRANGERS, False),
        (policy.IpPrivacy.OPEN, False),
    ):
        assert Policy(ip_privacy=hidden, ice=ice).ip_privacy is hidden


@pytest.mark.parametrize(
    ("trust", "organisation", "warned"),
    [
        (TrustState.UNKNOWN, "Clinic", True),
        (TrustState.UNKNOWN, "", False),
        (TrustState.PINNED, "Clinic", False),
        (TrustState.VERIFIED, "Clinic", False),
    ],
)
def test_a_key_the_organisation_of_its_address_does_not_vouch_for_is_called_so(
    trust, organisation, warned
):
    identity = evidence(trust, organisation=organisation)
    said = security_state(Facts(keying=Keying.DTLS_SRTP, identity=identity)).warnings
    assert said == (("Clinic does not vouch for this key.",) if warned else ())
