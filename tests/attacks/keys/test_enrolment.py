"""Slipping a device of one's own under somebody's root, between their two devices.

The control is an enrolment that believes whatever arrives.
"""

from __future__ import annotations

import json

import pytest

from securecall.address import parse_address
from securecall.errors import (
    IdentityMismatch,
    ProtocolError,
    Reason,
    SecurecallError,
    SecurityError,
)
from securecall.keys.encoding import build_base64url, parse_base64url
from securecall.keys.enrolment import build_request, parse_request
from securecall.keys.identity import RootKey
from securecall.keys.statement import build_statement, parse_statement
from securecall.own_identity import OwnIdentity
from securecall.secret import Secret
from securecall.store.sqlite import Store
from securecall.store.vault import MINIMUM_COST
from tests.forge_statement import DAY, NOW, compact, device_key, root_key

HEADER = b'{"alg":"Ed25519","typ":"securecall-device+jws"}'
DESK, MALLORY = root_key(1), root_key(66)
PHONE, EVIL = device_key(2, "phone"), device_key(66, "phone")


@pytest.fixture
def desk(tmp_path):
    store = Store.create(
        tmp_path / "desk", Secret("x"), root=DESK, device_id="desk", cost=MINIMUM_COST
    )
    yield OwnIdentity(store, unix=lambda: NOW)
    store.close()


def asked(device=PHONE, root=DESK, **changes) -> bytes:
    arguments = {
        "caps": ("id1",),
        "not_after": NOW + 300 * DAY,
        "omemo": (),
        "addresses": (),
        "iat": NOW,
    }
    return build_request(root.fingerprint, device, **(arguments | changes))


def signed(payload: dict, *signers) -> bytes:
    body, protected = build_base64url(compact(payload)), build_base64url(HEADER)
    return compact(
        {
            "payload": body,
            "signatures": [
                {
                    "protected": protected,
                    "signature": build_base64url(s.sign(f"{protected}.{body}".encode())),
                }
                for s in signers
            ],
        }
    )


def payload_of(request: bytes) -> bytes:
    return parse_base64url(json.loads(request)["payload"])


def payload(**changes) -> dict:
    return json.loads(payload_of(asked())) | changes


def with_proof_of(other) -> dict:
    """The phone's entry, with a proof by another key."""
    listed = payload()["device"]
    proof = other.proof(DESK.fingerprint, parse_base64url(listed["entry"]))
    return payload(device=listed | {"pop": {"ed25519": build_base64url(proof)}})


def with_another_header(request: bytes, number: int) -> bytes:
    outer = json.loads(request)
    outer["signatures"][number]["protected"] = build_base64url(b'{"alg":"none"}')
    return compact(outer)


FORGED = {
    "signed by another key": signed(payload(), EVIL),
    "proof by another key": signed(with_proof_of(EVIL), EVIL),
    "proof for another root": signed(
        payload(root=build_base64url(DESK.fingerprint))
        | {"device": json.loads(payload_of(asked(root=MALLORY)))["device"]},
        PHONE,
    ),
    "unsigned": signed(payload()),
    "three signatures": signed(payload(), PHONE, PHONE, PHONE),
    "another header of the second": with_another_header(signed(payload(), PHONE, PHONE), 1),
    "another version": signed(payload(v=2), PHONE),
    "one more member": signed(payload(x=1), PHONE),
    "a root too short": signed(payload(root="AAAA"), PHONE),
    "no time": signed(payload(iat=True), PHONE),
    "addresses no list": signed(payload(addrs={}), PHONE),
    "an address not canonical": signed(payload(addrs=["sip:Bob@B.example"]), PHONE),
    "somebody's key address": signed(payload(addrs=[f"key:{MALLORY.fingerprint.hex()}"]), PHONE),
    "not JSON": b"{",
}  # fmt: skip


@pytest.mark.parametrize("data", FORGED.values(), ids=FORGED)
def test_a_forged_request_is_refused_and_nothing_is_signed(desk, data):
    before = desk.statement
    with pytest.raises(SecurecallError) as caught:
        desk.enrol(data)
    assert isinstance(caught.value, (ProtocolError, SecurityError))
    assert desk.statement == before


def test_control_the_same_helper_signed_by_the_phone_is_granted(desk):
    assert desk.enrol(signed(payload(), PHONE))
    assert [d.id for d in desk.devices] == ["desk", "phone"]


def test_a_substituted_request_shows_other_words():
    """The one thing that people compare, and what it is for."""
    assert parse_request(asked()).words != parse_request(asked(device=EVIL)).words
    # control: the name and everything else a person would look at is the same
    assert parse_request(asked()).device.id == parse_request(asked(device=EVIL)).device.id


def test_every_byte_of_a_request_is_in_its_words():
    one = parse_request(asked())
    for other in (asked(iat=NOW + 1), asked(root=MALLORY), asked(caps=("id1", "x"))):
        assert parse_request(other).words != one.words


def test_an_enrolled_device_is_not_replaced_by_another_of_its_name(desk):
    desk.enrol(asked())
    before = desk.statement
    for request in (asked(device=EVIL, iat=NOW + 1), asked(device=EVIL, before=EVIL, iat=NOW + 1)):
        with pytest.raises(IdentityMismatch):
            desk.enrol(request)
    assert desk.statement == before
    # control: the device itself may change its key
    desk.enrol(asked(device=device_key(3, "phone"), before=PHONE, iat=NOW + 1))
    assert desk.known.device("phone").public == device_key(3, "phone").public


def test_control_where_a_name_is_enough_the_phone_is_replaced():
    """A statement as signed by an owner who looks at names alone."""
    devices = {d.id: d for d in (PHONE, EVIL)}
    raw = build_statement(
        DESK, seq=NOW * 1000, iat=NOW, exp=NOW + DAY, addresses=(), devices=[*devices.values()]
    )
    assert parse_statement(raw, unix=NOW).device("phone").public == EVIL.public


def test_an_older_request_is_not_granted_again(desk):
    old = asked(addresses=(parse_address("sip:old@a.example"),))
    desk.enrol(asked(iat=NOW + 10))
    with pytest.raises(SecurityError) as caught:
        desk.enrol(old)
    assert caught.value.reason is Reason.ROLLBACK


@pytest.mark.parametrize(
    "request_",
    [
        asked(root=MALLORY),
        asked(device=device_key(9, "desk")),
        asked(not_after=NOW + 3000 * DAY),
        asked(not_after=NOW - 1),
        asked(iat=NOW + 2 * DAY),
    ],
    ids=["another root", "our own name", "for ever", "over already", "in the future"],
)
def test_a_request_that_does_not_fit_is_refused(desk, request_):
    with pytest.raises((ProtocolError, SecurityError)):
        desk.enrol(request_)


def test_an_invitation_to_mallorys_root_makes_a_device_that_alice_does_not_enrol(desk, tmp_path):
    """Mallory put her own root into what Alice's phone scanned."""
    store = Store.create(
        tmp_path / "phone",
        Secret("x"),
        root=RootKey.known(MALLORY.public),
        device_id="phone",
        cost=MINIMUM_COST,
    )
    phone = OwnIdentity(store, unix=lambda: NOW)
    with pytest.raises(IdentityMismatch):
        desk.enrol(phone.request())
    with pytest.raises(IdentityMismatch):
        phone.take(desk.statement)
    store.close()
