"""The identity handshake, written from docs/spec/identity-handshake.md: no code of ours."""

from __future__ import annotations

import hashlib
import hmac

COMMIT, IDENTITY, NONCE, REVEAL, DONE = range(1, 6)
CALLER, CALLEE = 1, 2


def H(data: bytes) -> bytes:
    return hashlib.sha512(data).digest()


def lp(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def L(text: str) -> bytes:
    return lp(b"securecall-id/1 " + text.encode())


def frame(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def commitment(nonce: bytes) -> bytes:
    return H(L("commit") + nonce)


def bind(outer_exporter: bytes) -> bytes:
    return H(L("bind") + outer_exporter)


def fingerprints(lines: list[str]) -> bytes:
    found = set()
    for line in lines:
        algorithm, digest = line.split()
        found.add(algorithm.lower() + " " + digest.upper())
    return H("\n".join(sorted(found)).encode())


def identity(
    *,
    statement: bytes,
    device_id: str,
    role: int,
    own: str,
    expected: str,
    fp_sent: bytes,
    fp_received: bytes,
    bind: bytes,
    countersignature: bytes = b"",
    proof: bytes = b"",
) -> bytes:
    body = lp(statement) + lp(device_id.encode()) + bytes([role])
    body += lp(own.encode()) + lp(expected.encode())
    body += fp_sent + fp_received + bind
    return body + lp(countersignature) + lp(proof)


def ticket_proof(secret: bytes, bound: bytes) -> bytes:
    return hmac.new(secret, L("ticket") + bound + bytes([CALLER]), "sha512").digest()


def sas(eight: bytes) -> tuple[tuple[int, int, int], str]:
    """Places in the list of words, and the ten digits."""
    x = int.from_bytes(eight, "big")
    return (x >> 53, x >> 42 & 0x7FF, x >> 31 & 0x7FF), str(x % 10**10).rjust(10, "0")


def sframe_context(
    *,
    exporter: bytes,
    nonce_client: bytes,
    nonce_server: bytes,
    caller: bytes,
    callee: bytes,
    role: int,
    stream: int,
) -> bytes:
    """Of the inner exporter, for the base key of one sender and stream; bodies of IDENTITY."""
    both = nonce_client + nonce_server + H(caller) + H(callee)
    return H(L("sframe") + exporter + both + bytes([role, stream]))


def safety_number(one: bytes, other: bytes) -> str:
    digest = H(L("safety-number 1") + min(one, other) + max(one, other))
    groups = (int.from_bytes(digest[at : at + 5], "big") % 100000 for at in range(0, 60, 5))
    return " ".join(f"{group:05}" for group in groups)


def order(callee_is_client: bool) -> list[tuple[str, int]]:
    """Who sends what, as on the wire: C and S are client and server."""
    if callee_is_client:
        sent = [("C", COMMIT), ("C", IDENTITY), ("S", IDENTITY), ("S", NONCE)]
        return [*sent, ("C", REVEAL), ("C", DONE), ("S", DONE)]
    sent = [("C", COMMIT), ("S", IDENTITY), ("S", NONCE), ("C", IDENTITY)]
    return [*sent, ("C", REVEAL), ("C", DONE), ("S", DONE)]
