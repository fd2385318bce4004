"""U4: forged, stripped, stale and rolled-back identity statements.

The control is a verifier as one writes it in an hour: parse, check the signature, go.
"""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from securecall.errors import Reason, Revoked, SecurityError, StatementInvalid
from securecall.keys.encoding import build_base64url
from securecall.keys.statement import StatementChange, merge, parse_statement
from tests.forge_statement import (
    DAY,
    HEADER,
    NOW,
    compact,
    device_key,
    entry_of,
    forged,
    jws,
    parsed,
    payload_of,
    root_key,
    signed,
)

ROOT, MALLORY = root_key(1), root_key(66)
IDENTITY_POINT = b"\x01" + bytes(31)


def naive(data: bytes) -> dict:
    """Accepts what the signature covers, and believes it."""

    def unpadded(text: str) -> bytes:
        return base64.urlsafe_b64decode(text + "==")

    outer = json.loads(data)
    payload = json.loads(unpadded(outer["payload"]))
    first = outer["signatures"][0]
    key = Ed25519PublicKey.from_public_bytes(unpadded(payload["root"]["ed25519"]))
    key.verify(unpadded(first["signature"]), f"{first['protected']}.{outer['payload']}".encode())
    return payload


def borrowed_device(payload: dict) -> None:
    """Mallory lists the key of Alice's device as hers, with the proof Alice published."""
    payload["devices"] = [entry_of(device_key(), ROOT)]


def unproven_device(payload: dict) -> None:
    payload["devices"] = [entry_of(device_key(5), MALLORY) | {"pop": {}}]


def weak_root() -> bytes:
    """A root of small order: R = identity, s = 0 is a signature of everything."""
    payload = payload_of(ROOT)
    payload["root"]["ed25519"] = build_base64url(IDENTITY_POINT)
    value = jws(compact(payload), ROOT)
    value["signatures"][0]["signature"] = build_base64url(IDENTITY_POINT + bytes(32))
    return compact(value)


def two_readings() -> bytes:
    """Which sequence number counts depends on who reads."""
    data = compact(payload_of(ROOT))
    return signed(data.replace(b'"v":1', b'"seq":1,"v":1', 1), ROOT)


ACCEPTED_BY_THE_NAIVE = {
    "root of small order signs everything": weak_root(),
    "someone else's device listed": forged(borrowed_device, MALLORY),
    "device without proof of possession": forged(unproven_device, MALLORY),
    "duplicate member": two_readings(),
    "true for 1": forged(lambda payload: payload.update(v=True)),
    "1.0 for 1": forged(lambda payload: payload.update(v=1.0)),
    "lives for years": forged(lambda payload: payload.update(exp=NOW + 900 * DAY)),
    "from the future, so that nothing newer ever comes": forged(
        lambda payload: payload.update(seq=2**52)
    ),
    "another document under the same key": signed(
        compact(payload_of(ROOT)), ROOT, header=compact(HEADER | {"typ": "securecall-org+jws"})
    ),
    "white space in the header": signed(
        compact(payload_of(ROOT)), ROOT, header=json.dumps(HEADER).encode()
    ),
}


@pytest.mark.parametrize("name", ACCEPTED_BY_THE_NAIVE)
def test_a_forgery_is_refused(name):
    with pytest.raises(StatementInvalid):
        parse_statement(ACCEPTED_BY_THE_NAIVE[name], unix=NOW)


@pytest.mark.parametrize("name", ACCEPTED_BY_THE_NAIVE)
def test_control_a_verifier_that_checks_only_the_signature_takes_it(name):
    assert naive(ACCEPTED_BY_THE_NAIVE[name])["v"] == 1


def test_an_old_statement_is_a_rollback_and_the_withdrawn_device_stays_out():
    old = parsed(devices=[device_key(1), device_key(2)])
    new = parsed(seq=NOW * 1000 + 5, devices=[device_key(2)], revoked=["device-1"])
    known = merge(old, new).statement
    with pytest.raises(SecurityError) as caught:
        merge(known, old)
    assert caught.value.reason is Reason.ROLLBACK
    # control: without memory of the newer one, the old one lets the lost device in
    assert merge(None, old).statement.device("device-1")


def test_a_thief_of_the_root_who_signs_beside_the_owner_gains_no_device():
    owner = parsed(devices=[device_key(1)])
    thief = parsed(devices=[device_key(1), device_key(66)])
    for first, second in ((owner, thief), (thief, owner)):
        verdict = merge(first, second)
        assert verdict.change is StatementChange.FORK
        with pytest.raises(SecurityError):
            verdict.statement.device("device-66")
    # control: alone, it would be taken
    assert thief.device("device-66")


def test_a_later_statement_cannot_take_back_a_withdrawal():
    known = parsed(revoked=["device-1"])
    later = parsed(seq=NOW * 1000 + 9, revoked=[])
    with pytest.raises(Revoked):
        merge(known, later).statement.device("device-1")
    assert later.device("device-1")  # control


def test_an_expired_statement_is_marked_and_an_expired_device_refused():
    late = parsed(unix=NOW + 8 * DAY, not_after=NOW + DAY)
    assert late.stale
    with pytest.raises(Revoked):
        late.device("device-1")
    assert parsed(not_after=NOW + DAY).device("device-1")  # control
