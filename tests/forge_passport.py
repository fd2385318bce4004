"""PASSporTs as an attacker makes them: any header, any payload, any signature."""

from __future__ import annotations

import base64
import hmac
import json

from securecall.address import parse_address
from securecall.errors import ProtocolError
from securecall.keys.passport import X5U, PassportKey
from securecall.keys.signing import require_p256_signature

ALICE, BOB = parse_address("sip:alice@example.com"), parse_address("sip:bob@example.com")
NOW = 1_790_000_000
ONE, TWO = ("sha-256", bytes(range(32))), ("sha-256", bytes(range(1, 33)))
HEADER = {"alg": "ES256", "typ": "passport", "x5u": X5U}


def digest(value):
    return {"alg": value[0], "dig": value[1].hex().upper()}


PAYLOAD = {
    "dest": {"uri": [str(BOB)]},
    "iat": NOW,
    "mky": [digest(ONE), digest(TWO)],
    "orig": {"uri": str(ALICE)},
}


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def written(value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def forged(key: PassportKey, header: object = None, payload: object = None, sign=None) -> str:
    """A token of these parts; `sign` makes the signature, as ES256 does by default."""
    parts = [encoded(written(HEADER if header is None else header))]
    parts.append(encoded(written(PAYLOAD if payload is None else payload)))
    signed = ".".join(parts).encode()
    return ".".join((*parts, encoded((sign or key.sign)(signed))))


def credulous(token: str, public: bytes, digests) -> bool:
    """A verifier as they are written in haste: does what the header says, reads what it likes."""
    first, second, third = token.split(".")
    raw = [base64.urlsafe_b64decode(t + "==") for t in (first, second, third)]
    header, payload = json.loads(raw[0]), json.loads(raw[1])
    signed = f"{first}.{second}".encode()
    match header["alg"]:
        case "none":
            genuine = True
        case "HS256":
            genuine = hmac.digest(public, signed, "sha256") == raw[2]
        case "ES256":
            try:
                require_p256_signature(public, raw[2], signed)
            except ProtocolError:
                return False
            genuine = True
        case _:
            genuine = raw[2] == b"as if by RSA"
    named = [(d["alg"], bytes.fromhex(d["dig"])) for d in payload.get("mky", [])]
    return genuine and (not named or any(d in named for d in digests)) and int(payload["iat"]) > 0
