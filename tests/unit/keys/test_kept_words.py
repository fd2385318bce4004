"""Words that stand in files, documents, counters or on the wire: they stay what they are."""

from __future__ import annotations

import json

import pytest

from securecall.calls.machine import State
from securecall.keys.encoding import build_base64url
from securecall.keys.enrolment import WORDS
from securecall.keys.identity_messages import CallRole, MessageType
from securecall.keys.inner_tls import _NAME
from securecall.keys.omemo_trust import DeviceAct, DeviceHow
from securecall.keys.omemo_values import DeviceTrust
from securecall.keys.statement import StatementChange
from securecall.keys.statement_content import OmemoKey
from securecall.keys.trust_record import Act, Floor, How, TrustState
from securecall.keys.verification import VerificationCode, build_verification_code
from securecall.rtp.sframe import SframeFailure
from securecall.rtp.srtp import Rejection
from securecall.store.lock import KeeperKind
from tests.forge_statement import NOW, device_key, root_key

KEPT = {
    DeviceAct: "first-write trust verify distrust restore",
    DeviceHow: "wrote digits qr user",
    DeviceTrust: "undecided trusted verified distrusted",
    StatementChange: "first same newer fork",
    TrustState: "unknown pinned verified changed revoked distrusted",
    Floor: "none e2ee",
    Act: (
        "pin verify unverify change accept keep forget distrust restore revoke succeed add-to-card"
        " raise-floor lift-floor pin-organisation forget-organisation"
    ),
    How: (
        "first-call contact card directory link bearer qr digits sas import organisation"
        " outgoing-call user owner succession"
    ),
    State: "dialling ringing alerting connecting verifying active ended",
    MessageType: "1 2 3 4 5",
    CallRole: "1 2",
    KeeperKind: "0 1 2",
    Rejection: "authentication replayed too-old malformed too-many-sources other",
    SframeFailure: "plaintext malformed unknown-key replayed too-old authentication",
}


@pytest.mark.parametrize("kind", KEPT, ids=lambda kind: kind.__name__)
def test_the_words_of(kind):
    assert " ".join(str(member.value) for member in kind) == KEPT[kind]


def test_eight_words_are_compared_where_a_device_joins():
    assert WORDS == 8


def test_the_inner_certificate_has_everybodys_name():
    assert _NAME.rfc4514_string() == "CN=securecall"


def test_a_verification_code_is_written_as_it_always_was():
    code = VerificationCode(own=root_key(1).fingerprint, peer=root_key(2).fingerprint)
    own, peer = build_base64url(code.own), build_base64url(code.peer)
    assert build_verification_code(code) == f"securecall:verify:1:{own}:{peer}"


def test_the_members_of_a_device_entry_keep_their_names():
    key = OmemoKey(namespace="urn:xmpp:omemo:2", id=7, identity_key=bytes(31) + b"\x01")
    entry = json.loads(device_key().entry(["id1"], NOW, [key], bytes(65), successions=[b"s"]))
    assert list(entry) == ["id", "ed25519", "caps", "not_after", "p256", "omemo", "successions"]
    ik = build_base64url(key.identity_key)
    assert entry["omemo"] == [{"ns": "urn:xmpp:omemo:2", "id": 7, "ik": ik}]
