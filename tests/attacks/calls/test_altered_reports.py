"""A report is altered after the fact, in every kind of field; `verify` says which part it was.

The control of every attack is the same document untouched, or altered by whoever may: the device
that wrote it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest

from securecall.calls.report import ListenerReport
from securecall.calls.report_document import build_file, parse_report
from securecall.calls.report_verify import Verdict, examine, is_countersigned, require_unaltered
from securecall.errors import Reason, SecurityError
from securecall.keys.encoding import build_base64url
from securecall.keys.trust import TrustState
from tests.report_world import (
    ALICE,
    BEGAN,
    BOB,
    MALLORY,
    Person,
    evidence,
    object_of,
    reports,
    resealed,
)

pytestmark = pytest.mark.attack


def false_parts(document: dict) -> set[str]:
    return {f.part for f in examine(document) if f.verdict is Verdict.FALSE}


def put(*path: object) -> Callable[[dict], None]:
    """Set the value at the end of a path of members and indices."""
    *way, last, value = path

    def alter(document: dict) -> None:
        place = document
        for step in way:
            place = place[step]
        place[last] = value

    return alter


def drop_party(document: dict) -> None:
    document["intervals"][0]["parties"].pop()


ALTERATIONS = [
    # what, how, the part that is named
    ("who was called", put("call", "peer", "sip:carol@example.com"), "call"),
    ("which way", put("call", "direction", "incoming"), "call"),
    ("when", put("call", "began", BEGAN - 86_400), "call"),
    ("how long", put("call", "lasted_ms", 3_600_000), "call"),
    ("how much was said", put("call", "sent_ms", 1), "call"),
    ("how it ended", put("call", "ended", "security"), "call"),
    ("what went wrong", put("call", "error", "nothing"), "call"),
    ("the level", put("call", "level", "VERIFIED"), "call"),
    ("the way", put("way", "direct", True), "way"),
    ("a server", put("way", "server", "good.example"), "way"),
    ("the hops", put("way", "hops", []), "way"),
    ("the ticket", put("way", "ticket", "qr"), "way"),
    ("an interval's level", put("intervals", 0, "level", "VERIFIED"), "intervals"),
    ("an interval's length", put("intervals", 0, "until_ms", 1300), "intervals"),
    ("what passed", put("intervals", 0, "passed", False), "intervals"),
    ("the cipher", put("intervals", 0, "srtp_profile", "SRTP_AES128_CM_SHA1_80"), "intervals"),
    ("the trust", put("intervals", 0, "identity", "trust", "verified"), "intervals"),
    ("the peer's root", put("intervals", 0, "identity", "root", "ab" * 64), "intervals"),
    ("the words compared", put("intervals", 0, "sas_confirmed", True), "intervals"),
    ("a warning", put("intervals", 0, "warnings", ["all is well"]), "intervals"),
    ("a party's capability", put("intervals", 0, "parties", 2, "could", "nothing"), "intervals"),
    ("a party's name", put("intervals", 0, "parties", 2, "name", "nobody"), "intervals"),
    ("a party's reason", put("intervals", 0, "parties", 2, "why", "because"), "intervals"),
    ("a party left out", drop_party, "intervals"),
    ("an event left out", put("events", "seen", []), "events"),
    ("an event's time", put("events", "seen", 0, "at_ms", 5), "events"),
    ("refused changes", put("events", "refused", 0), "events"),
    ("the limits", put("limits", ["This report proves that nobody listened."]), "limits"),
    ("why a signature is missing", put("countersignature", "missing", "x"), "countersignature"),
    ("the signature stripped", put("countersignature", "theirs", None), "countersignature"),
    ("the record stripped", put("countersignature", "record", None), "countersignature"),
    ("a statement", put("statements", "theirs", None), "statements"),
    ("the seal's key", put("seal", "key", MALLORY.device.public.hex()), "seal"),
    ("the seal's signature", put("seal", "signature", "00" * 64), "seal"),
    ("a digest", put("seal", "digests", "way", "00" * 64), "seal"),
]


@pytest.fixture(params=[0, 1], ids=["caller", "callee"])
def document(request) -> dict:
    return object_of(reports()[request.param])


def test_an_untouched_report_is_proved_by_both_signatures(document):
    findings = examine(parse_report(build_file(document).encode()))
    require_unaltered(findings)
    assert is_countersigned(findings)


@pytest.mark.parametrize(
    ("alter", "part"), [a[1:] for a in ALTERATIONS], ids=[a[0] for a in ALTERATIONS]
)
def test_an_altered_field_is_found_and_its_part_named(alter, part):
    document = object_of(reports()[0])
    untouched = copy.deepcopy(document)
    alter(document)
    assert document != untouched
    assert part in false_parts(document)
    with pytest.raises(SecurityError, match=part) as caught:
        require_unaltered(examine(document))
    assert caught.value.reason is Reason.INTEGRITY
    assert not false_parts(untouched)


RECORD = [
    ("address", "sip:eve@example.com"),
    ("root", "ab" * 64),
    ("device", "another"),
    ("key", "cd" * 32),
    ("statement", "ab" * 64),
    ("fingerprints", "ab" * 64),
    ("said", {"level": "NONE", "compared": True, "recorded": False, "refused": 0}),
]


@pytest.mark.parametrize("end", ["caller", "callee"])
@pytest.mark.parametrize(("name", "value"), RECORD)
def test_what_both_signed_cannot_be_changed_by_the_one_who_keeps_the_file(end, name, value):
    """Whoever holds the device can seal anything anew, but not sign for the other end."""
    document = object_of(reports()[0])
    put("countersignature", "record", end, name, value)(document)
    assert "their-signature" in false_parts(resealed(document, ALICE))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bind", "ab" * 64), ("began", 1), ("lasted_ds", 1), ("srtp", "SRTP_NULL"), ("group", "x"),
        ("media", ["video"]),
    ],
)  # fmt: skip
def test_nor_what_they_signed_of_the_call_itself(name, value):
    document = object_of(reports()[0])
    put("countersignature", "record", name, value)(document)
    assert "their-signature" in false_parts(resealed(document, ALICE))


def test_a_signature_of_another_call_is_none_of_this_one():
    document, other = (object_of(reports(bind=bytes([n]) * 64)[0]) for n in (1, 2))
    for name, part in (("theirs", "their-signature"), ("ours", "our-signature")):
        moved = copy.deepcopy(document)
        moved["countersignature"][name] = other["countersignature"][name]
        assert part in false_parts(resealed(moved, ALICE))
    whole = copy.deepcopy(document)
    whole["countersignature"] = other["countersignature"]
    assert false_parts(whole) == {"countersignature"}  # the seal; both signatures do fit


def test_swapped_roles_fit_no_signature():
    document = object_of(reports()[0])
    record = document["countersignature"]["record"]
    record["caller"], record["callee"] = record["callee"], record["caller"]
    assert {"our-signature", "their-signature"} <= false_parts(resealed(document, ALICE))
    turned = object_of(reports()[0])
    turned["call"]["direction"] = "incoming"
    assert {"our-signature", "their-signature"} <= false_parts(resealed(turned, ALICE))
    crossed = object_of(reports()[0])
    signed = crossed["countersignature"]
    signed["ours"], signed["theirs"] = signed["theirs"], signed["ours"]
    assert {"our-signature", "their-signature"} <= false_parts(resealed(crossed, ALICE))


def test_a_stripped_signature_without_a_reason_is_false_and_with_one_unproved():
    document = object_of(reports()[0])
    document["countersignature"]["theirs"] = None
    assert "countersignature" in false_parts(resealed(document, ALICE))
    document["countersignature"]["missing"] = "the other end did not answer in time"
    findings = examine(resealed(document, ALICE))
    require_unaltered(findings)
    assert not is_countersigned(findings)


@pytest.mark.parametrize("older", [True, False], ids=["older statement", "somebody else's"])
def test_a_swapped_statement_is_found(older):
    document = object_of(reports()[0])
    other = BOB.stated(seq=BEGAN * 1000 - 1) if older else MALLORY.statement
    document["statements"]["theirs"] = build_base64url(other)
    assert false_parts(resealed(document, ALICE)) == {"statements"}


@pytest.mark.parametrize("end", [0, 1], ids=["caller", "callee"])
@pytest.mark.parametrize("who", [ALICE, BOB], ids=["caller's", "callee's"])
def test_a_statement_that_had_expired_proves_nothing(who, end, monkeypatch):
    """Whoever finds an old device signs with it, and says that its owner was vouched for."""
    dates = {"seq": (BEGAN - 86_400) * 1000, "iat": BEGAN - 86_400}
    for exp, proved in ((BEGAN, True), (BEGAN - 1, False)):  # the first is the control
        monkeypatch.setattr(who, "statement", who.stated(exp=exp, **dates))
        findings = examine(object_of(reports()[end]))
        require_unaltered(findings)
        missing = [f for f in findings if f.verdict is Verdict.MISSING]
        assert is_countersigned(findings) is proved is not bool(missing)
    assert [f.part for f in missing] == ["statements"]
    assert str(who.address) in missing[0].what


def lie(report: ListenerReport, **changes: object) -> dict:
    return object_of(replace(report, **changes))  # type: ignore[arg-type] # test-only freedom


def test_whoever_writes_a_report_cannot_contradict_what_both_signed():
    """The device's own owner lies, and seals the lie: only the countersignature is in the way."""
    report, _ = reports()
    (interval,) = report.intervals
    better = replace(interval, security=evidence(BOB, TrustState.VERIFIED, "sas"))
    for changes, part in (
        ({"intervals": (better,)}, "intervals"),
        ({"refused": 0, "events": report.events[:1]}, "events"),
        ({"began": BEGAN - 86_400}, "call"),
        ({"lasted": 3600.0}, "call"),
        ({"address": str(MALLORY.address)}, "call"),
    ):
        assert part in false_parts(lie(report, **changes)), changes
        assert not false_parts(lie(report))
        alone = lie(report, record=None, **changes)  # the control: one's own word alone
        assert not false_parts(alone)
        assert not is_countersigned(examine(alone))


def test_somebody_else_cannot_seal_the_report_anew():
    document = object_of(reports()[0])
    document["way"]["transport"] = "TLSv1.3"
    assert false_parts(document) == {"way"}
    assert false_parts(resealed(document, MALLORY)) == {"seal"}
    unsigned = object_of(replace(reports()[0], record=None))
    assert false_parts(resealed(unsigned, MALLORY)) == {"seal"}
    assert not false_parts(resealed(unsigned, ALICE))  # the control


def test_one_who_makes_up_both_ends_is_seen_by_the_keys():
    """Nothing forbids a made-up call between made-up keys; the findings name the keys."""
    double = Person("bob", "other.example")
    assert double.root.fingerprint != BOB.root.fingerprint
    report, _ = reports()
    findings = " ".join(f.what for f in examine(object_of(report)))
    assert BOB.root.fingerprint.hex()[:16] in findings
    assert ALICE.root.fingerprint.hex()[:16] in findings
