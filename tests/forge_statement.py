"""Builds identity statements that break one rule at a time, correctly signed where possible."""

from __future__ import annotations

import json
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from securecall.address import parse_address
from securecall.keys.device import DeviceKey, device_proof_input
from securecall.keys.encoding import build_base64url
from securecall.keys.identity import RootKey
from securecall.keys.statement import Statement, build_statement, parse_statement
from securecall.secret import Secret

NOW = 1_764_000_000
DAY = 86_400
HEADER = {"alg": "Ed25519", "typ": "securecall-identity+jws"}

Json = dict  # a payload, an entry or a JWS on its way to be broken
Edit = Callable[[Json], object]


def root_key(number: int = 1) -> RootKey:
    """The same root for the same number."""
    return RootKey.from_seed(Secret(bytes([number]) * 31 + b"R"))


def device_key(number: int = 1, name: str = "") -> DeviceKey:
    """The same device for the same number."""
    return DeviceKey.from_seed(name or f"device-{number}", Secret(bytes([number]) * 31 + b"D"))


def statement(root: RootKey | None = None, **changes: object) -> bytes:
    """A statement without fault, with changes to the arguments of `build_statement`."""
    arguments: Json = {
        "seq": NOW * 1000,
        "iat": NOW,
        "exp": NOW + 7 * DAY,
        "addresses": [parse_address("sip:alice@a.example")],
        "devices": [device_key()],
    }
    return build_statement(root or root_key(), **(arguments | changes))


def parsed(root: RootKey | None = None, *, unix: int = NOW, **changes: object) -> Statement:
    """The same, checked."""
    return parse_statement(statement(root, **changes), unix=unix)


def compact(value: object) -> bytes:
    """JSON without white space."""
    return json.dumps(value, separators=(",", ":")).encode()


def entry_of(device: DeviceKey, root: RootKey, edit: Edit = lambda entry: None) -> Json:
    """A listed device whose proof fits the edited entry."""
    entry: Json = json.loads(device.entry(("id1",), NOW + DAY))
    edit(entry)
    raw = compact(entry)
    proof = device.proof(root.fingerprint, raw)
    return {"entry": build_base64url(raw), "pop": {"ed25519": build_base64url(proof)}}


def payload_of(root: RootKey) -> Json:
    """A payload without fault."""
    return {
        "v": 1,
        "root": {"ed25519": build_base64url(root.public)},
        "seq": NOW * 1000,
        "iat": NOW,
        "exp": NOW + 7 * DAY,
        "addrs": ["sip:alice@a.example"],
        "devices": [entry_of(device_key(), root)],
        "require": ["id1"],
        "revoked": [],
    }


def signed(payload: bytes, root: RootKey, *, header: bytes = b"") -> bytes:
    """A JWS over any payload bytes, with the root's true signature."""
    return compact(jws(payload, root, header=header))


def jws(payload: bytes, root: RootKey, *, header: bytes = b"") -> Json:
    """The same, still open to edits."""
    protected = build_base64url(header or compact(HEADER))
    body = build_base64url(payload)
    signature = root.sign(f"{protected}.{body}".encode())
    return {
        "payload": body,
        "signatures": [{"protected": protected, "signature": build_base64url(signature)}],
    }


def forged(edit: Edit, root: RootKey | None = None) -> bytes:
    """A correctly signed statement with an edited payload."""
    root = root or root_key()
    payload = payload_of(root)
    edit(payload)
    return signed(compact(payload), root)


def with_entry(edit: Edit) -> Edit:
    """An edit of the payload that replaces its device by an edited one."""

    def change(payload: Json) -> None:
        payload["devices"] = [entry_of(device_key(), root_key(), edit)]

    return change


def p256_member(root: RootKey, *, prove_with: ec.EllipticCurvePrivateKey | None = None) -> Edit:
    """An edit that gives the device a P-256 key, proven by itself or by another key."""
    key = ec.derive_private_key(0x1234567, ec.SECP256R1())
    point = key.public_key().public_numbers()
    raw = b"\x04" + point.x.to_bytes(32, "big") + point.y.to_bytes(32, "big")

    def change(payload: Json) -> None:
        device = device_key()
        entry: Json = json.loads(device.entry(("id1",), NOW + DAY))
        entry["p256"] = build_base64url(raw)
        data = compact(entry)
        to_sign = device_proof_input(root.fingerprint, data)
        der = (prove_with or key).sign(to_sign, ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(der)
        payload["devices"] = [
            {
                "entry": build_base64url(data),
                "pop": {
                    "ed25519": build_base64url(device.sign(to_sign)),
                    "p256": build_base64url(r.to_bytes(32, "big") + s.to_bytes(32, "big")),
                },
            }
        ]

    return change
