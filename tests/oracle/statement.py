"""Identity statements, written from docs/spec/identity-statement.md: no code of ours.

Reads ASCII addresses only; what it says of others is not compared.
"""

from __future__ import annotations

import base64
import json
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from tests.oracle.identity import H, L, lp

DAY = 86_400
HEADER = b'{"alg":"Ed25519","typ":"securecall-identity+jws"}'
HEADER_PQ = b'{"alg":"ML-DSA-65","typ":"securecall-identity+jws"}'
P = 2**255 - 19
ORDER_EIGHT = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
WEAK = {0, 1, P - 1, ORDER_EIGHT, P - ORDER_EIGHT}


class Refused(Exception):
    """Why a statement is refused."""


def need(holds: object, why: str) -> None:
    if not holds:
        raise Refused(why)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unb64(text: object, size: int | None = None) -> bytes:
    need(type(text) is str and re.fullmatch("[A-Za-z0-9_-]*", text), "base64url")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as e:
        raise Refused("base64url") from e
    need(b64(data) == text, "canonical base64url")
    need(size is None or len(data) == size, "size")
    return data


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


# -- reading ------------------------------------------------------------------------------------


def document(data: bytes) -> dict:
    """One JSON object under the strict rules."""
    need(len(data) <= 24 * 1024, "size")

    def unique(pairs):
        need(len({name for name, _ in pairs}) == len(pairs), "a member twice")
        return dict(pairs)

    def integer(text):
        need(not text.startswith("-") and len(text) < 17 and int(text) < 2**53, "integer")
        return int(text)

    def no(text):
        raise Refused("number")

    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=unique,
            parse_int=integer,
            parse_float=no,
            parse_constant=no,
        )
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate has no UTF-8
    except (ValueError, RecursionError) as e:
        raise Refused("JSON") from e
    need(type(value) is dict, "object")
    need(depth(value) <= 6, "depth")
    return value


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def members(value: object, *names: str, maybe: tuple[str, ...] = ()) -> dict:
    need(type(value) is dict, "object")
    need(set(names) <= set(value) <= {*names, *maybe}, "members")
    return value


def listed(value: object, most: int) -> list:
    need(type(value) is list and len(value) <= most, "list")
    return value


def number(value: object) -> int:
    need(type(value) is int, "integer")
    return value


def words(value: object, most: int, form: str) -> list[str]:
    for word in listed(value, most):
        need(type(word) is str and re.fullmatch(form, word), "word")
    need(len(set(value)) == len(value), "a word twice")
    return value


TOKEN, DEVICE_ID = "[a-z0-9][a-z0-9._-]{0,31}", "[A-Za-z0-9_-]{1,64}"
LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
ADDRESS = re.compile(
    rf"(?:sip:[A-Za-z0-9\-_.!~*'()&=+$,/]+@|xmpp:[a-z0-9\-_.!~*()=+$,]+@){LABEL}(?:\.{LABEL})*"
    r"|tel:\+[1-9][0-9]{1,14}|key:[0-9a-f]{128}"
)


def address(value: object, root_fp: bytes) -> str:
    need(type(value) is str and ADDRESS.fullmatch(value), "address")
    need(not re.search(r"@[0-9.]+$", value), "a host by number")
    need(value != "sip:anonymous@anonymous.invalid", "anonymous")
    need(not value.startswith("key:") or value == "key:" + root_fp.hex(), "the key of another")
    return value


def check_ed25519(public: bytes, signature: bytes, data: bytes) -> None:
    y = int.from_bytes(public, "little") % 2**255
    need(y < P and y not in WEAK, "Ed25519 key")
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError) as e:
        raise Refused("Ed25519") from e


def check_p256(public: bytes, signature: bytes, data: bytes) -> None:
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        need(public[0] == 4, "P-256 point")
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
        key.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError) as e:
        raise Refused("P-256") from e


def root_fingerprint(public: bytes, post_quantum: bytes = b"") -> bytes:
    return H(L("root") + lp(public) + lp(post_quantum))


def read(data: bytes, *, now: int) -> dict:
    """Check a statement; returns its payload with the entries of its devices read."""
    outer = members(document(data), "payload", "signatures")
    body = outer["payload"]
    payload = document(unb64(body))
    need(number(payload.get("v")) == 1, "version")
    names = ("v", "root", "seq", "iat", "exp", "addrs", "devices", "require", "revoked")
    members(payload, *names)
    root = members(payload["root"], "ed25519", maybe=("mldsa65",))
    public = unb64(root["ed25519"], 32)
    second = unb64(root["mldsa65"], 1952) if "mldsa65" in root else b""
    headers = [HEADER, HEADER_PQ] if second else [HEADER]
    signatures = listed(outer["signatures"], 2)
    need(len(signatures) == len(headers), "signatures")
    for item, header in zip(signatures, headers, strict=True):
        members(item, "protected", "signature")
        need(unb64(item["protected"]) == header, "header")
        signed, signature = f"{item['protected']}.{body}".encode(), unb64(item["signature"])
        if header == HEADER:
            check_ed25519(public, signature, signed)
        else:
            try:
                mldsa.MLDSA65PublicKey.from_public_bytes(second).verify(signature, signed)
            except (InvalidSignature, ValueError) as e:
                raise Refused("ML-DSA-65") from e
    seq, iat, exp = (number(payload[name]) for name in ("seq", "iat", "exp"))
    need(seq <= (now + DAY) * 1000 and iat <= now + DAY, "ahead")
    need(iat < exp <= iat + 14 * DAY, "lifetime")
    root_fp = root_fingerprint(public, second)
    addresses = [address(a, root_fp) for a in listed(payload["addrs"], 16)]
    need(len(set(addresses)) == len(addresses), "an address twice")
    devices = [device(d, root_fp) for d in listed(payload["devices"], 16)]
    distinct(devices, public)
    words(payload["require"], 16, TOKEN)
    words(payload["revoked"], 256, DEVICE_ID)
    return payload | {"root_fp": root_fp, "devices": devices}


def device(value: object, root_fp: bytes) -> dict:
    members(value, "entry", "pop")
    raw = unb64(value["entry"])
    entry = document(raw)
    need({"id", "ed25519", "caps", "not_after"} <= set(entry), "entry")
    proofs = members(value["pop"], "ed25519", *(["p256"] if "p256" in entry else []))
    signed = L("pop") + root_fp + H(raw)
    check_ed25519(unb64(entry["ed25519"], 32), unb64(proofs["ed25519"], 64), signed)
    if "p256" in entry:
        check_p256(unb64(entry["p256"], 65), unb64(proofs["p256"], 64), signed)
    need(type(entry["id"]) is str and re.fullmatch(DEVICE_ID, entry["id"]), "id")
    words(entry["caps"], 16, TOKEN)
    number(entry["not_after"])
    if "hpke" in entry:
        members(entry["hpke"], "kem", "sha256")
        number(entry["hpke"]["kem"])
        unb64(entry["hpke"]["sha256"], 32)
    for omemo in listed(entry.get("omemo", []), 16):
        members(omemo, "ns", "id", "ik")
        need(type(omemo["ns"]) is str and re.fullmatch("[!-~]{1,128}", omemo["ns"]), "ns")
        need(1 <= number(omemo["id"]) < 2**31, "OMEMO id")
        unb64(omemo["ik"], 32)
    return entry | {"raw": raw}


def distinct(devices: list[dict], root: bytes) -> None:
    once = [[d["id"] for d in devices], [b64(root), *(d["ed25519"] for d in devices)]]
    once.append([d["p256"] for d in devices if "p256" in d])
    known = [d["hpke"] for d in devices if "hpke" in d]
    once.append([h["sha256"] for h in known if h["kem"] == 0x647A])
    once.append([(o["ns"], o["id"]) for d in devices for o in d.get("omemo", [])])
    once.append([ik for d in devices for ik in {o["ik"] for o in d.get("omemo", [])}])
    need(all(len(set(items)) == len(items) for items in once), "twice")


# -- merging ------------------------------------------------------------------------------------


def merge(known: dict | None, seen: dict) -> dict:
    """What holds of two statements of one root: `revoked` and `devices` by it."""
    if known is None:
        return seen
    need(seen["seq"] >= known["seq"], "rollback")
    revoked = sorted({*known["revoked"], *seen["revoked"]})
    need(len(revoked) <= 4096, "too many withdrawn")
    devices = seen["devices"]
    if seen["seq"] == known["seq"]:
        before = {d["raw"] for d in known["devices"]}
        devices = [d for d in devices if d["raw"] in before]
    return seen | {"revoked": revoked, "devices": devices}


# -- writing ------------------------------------------------------------------------------------


def write(root_seed: bytes, payload: dict) -> bytes:
    """Sign a payload whose root and devices are complete."""
    body, protected = b64(compact(payload)), b64(HEADER)
    key = ed25519.Ed25519PrivateKey.from_private_bytes(root_seed)
    signature = b64(key.sign(f"{protected}.{body}".encode()))
    return compact(
        {"payload": body, "signatures": [{"protected": protected, "signature": signature}]}
    )


def public_of(seed: bytes) -> bytes:
    return ed25519.Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def write_device(root_fp: bytes, seed: bytes, entry: dict, p256_number: int = 0) -> dict:
    """List a device with its proofs; `p256_number` is the private key of its P-256 key."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    second = ec.derive_private_key(p256_number, ec.SECP256R1()) if p256_number else None
    if second is not None:
        point = second.public_key().public_numbers()
        raw = b"\x04" + point.x.to_bytes(32, "big") + point.y.to_bytes(32, "big")
        entry = entry | {"p256": b64(raw)}
    data = compact({"id": entry["id"], "ed25519": b64(key.public_key().public_bytes_raw())} | entry)
    signed = L("pop") + root_fp + H(data)
    proofs = {"ed25519": b64(key.sign(signed))}
    if second is not None:
        algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        r, s = decode_dss_signature(second.sign(signed, algorithm))
        proofs["p256"] = b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    return {"entry": b64(data), "pop": proofs}
