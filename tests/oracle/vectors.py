"""Makes the test vectors of docs/spec/vectors from the oracles alone.

    python -m tests.oracle.vectors           compare with the files
    python -m tests.oracle.vectors --write   write them, where a version is new

The vectors of version 1 are frozen: they change only together with the token `securecall-id/1`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from tests.oracle import identity, sframe, srtp, statement

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "spec" / "vectors"
NOW = 1_764_000_000


def pattern(name: str, size: int = 32) -> bytes:
    """Bytes by a name, always the same."""
    return hashlib.shake_256(f"securecall vector {name}".encode()).digest(size)


def hexed(value: object) -> object:
    """Bytes as hex, at any depth."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: hexed(item) for name, item in value.items()}
    return [hexed(item) for item in value] if isinstance(value, (list, tuple)) else value


def person(name: str, address: str, **entry) -> dict:
    """A root, a device, and the statement over both."""
    root, device = pattern(f"{name} root"), pattern(f"{name} device")
    public = statement.public_of(root)
    root_fp = statement.root_fingerprint(public)
    number = entry.pop("p256_number", 0)
    described = {"id": f"{name}-phone", "caps": ["id1", "sframe5"], "not_after": NOW + 31_536_000}
    payload = {
        "v": 1,
        "root": {"ed25519": statement.b64(public)},
        "seq": NOW * 1000,
        "iat": NOW,
        "exp": NOW + 14 * statement.DAY,
        "addrs": [address, f"key:{root_fp.hex()}"],
        "devices": [statement.write_device(root_fp, device, described | entry, number)],
        "require": ["id1"],
        "revoked": ["lost-phone"],
    }
    return {
        "root_seed": root,
        "root_public": public,
        "root_fp": root_fp,
        "device_id": f"{name}-phone",
        "device_seed": device,
        "device_public": statement.public_of(device),
        "address": address,
        "statement": statement.write(root, payload).decode(),
    }


ALICE = person("alice", "sip:alice@clinic.example")
BOB = person(
    "bob",
    "xmpp:bob@clinic.example",
    p256_number=int.from_bytes(pattern("bob p256", 31), "big"),
    hpke={"kem": 0x647A, "sha256": statement.b64(pattern("bob hpke"))},
    omemo=[{"ns": "urn:xmpp:omemo:2", "id": 27, "ik": statement.b64(pattern("bob omemo"))}],
)


def statements() -> dict:
    """Statements that hold, and statements with one fault each, signed all the same."""
    root, public = ALICE["root_seed"], ALICE["root_public"]
    payload = json.loads(statement.unb64(json.loads(ALICE["statement"])["payload"]))
    faults = {
        "another version": {"v": 2},
        "true for 1": {"v": True},
        "lives a second too long": {"exp": NOW + 14 * statement.DAY + 1},
        "lives no second": {"exp": NOW},
        "seq a day and a millisecond ahead": {"seq": (NOW + statement.DAY) * 1000 + 1},
        "iat a day and a second ahead": {
            "iat": NOW + statement.DAY + 1,
            "exp": NOW + 2 * statement.DAY,
        },
        "an integer of 2^53": {"seq": 2**53},
        "an unknown member": {"more": 1},
        "an address twice": {"addrs": [ALICE["address"]] * 2},
        "an address that is not canonical": {"addrs": ["sip:alice@Clinic.example"]},
        "the anonymous address": {"addrs": ["sip:anonymous@anonymous.invalid"]},
        "the key address of another": {"addrs": [f"key:{BOB['root_fp'].hex()}"]},
        "a device twice": {"devices": payload["devices"] * 2},
        "a device of another root": {
            "devices": json.loads(statement.unb64(json.loads(BOB["statement"])["payload"]))[
                "devices"
            ]
        },
        "a word in capitals": {"require": ["ID1"]},
        "257 withdrawn": {"revoked": [f"d{n}" for n in range(257)]},
    }
    edge = {"exp": NOW + 14 * statement.DAY, "seq": (NOW + statement.DAY) * 1000}
    return {
        "now": NOW,
        "accepted": {
            "alice": ALICE["statement"],
            "bob, with every member": BOB["statement"],
            "alice, at every limit": statement.write(root, payload | edge).decode(),
        },
        "refused": {
            name: statement.write(root, payload | change).decode()
            for name, change in faults.items()
        }
        | {
            "a signature by another root": statement.write(BOB["root_seed"], payload).decode(),
            "no signature": statement.compact(
                {"payload": json.loads(ALICE["statement"])["payload"], "signatures": []}
            ).decode(),
        },
        "root_fp": {"ed25519": public, "root_fp": ALICE["root_fp"]},
        "safety_number": {
            "root_fps": [ALICE["root_fp"], BOB["root_fp"]],
            "digits": identity.safety_number(ALICE["root_fp"], BOB["root_fp"]),
        },
    }


def handshake() -> dict:
    """One call of Alice to Bob, twice: once the callee is the TLS client, once the caller is."""
    exporter = pattern("outer exporter", 64)
    nonces = {"C": pattern("client nonce"), "S": pattern("server nonce")}
    secret = pattern("ticket secret")
    offered = ["sha-256 " + pattern("offer").hex(":").upper()]
    answered = ["SHA-512 " + pattern("answer", 64).hex(":"), "sha-256 " + ":".join(["AB"] * 32)]
    fps = identity.fingerprints(offered), identity.fingerprints(answered)
    bound = identity.bind(exporter)
    bodies = {}
    for me, peer, role in ((ALICE, BOB, identity.CALLER), (BOB, ALICE, identity.CALLEE)):
        sent, received = fps if role == identity.CALLER else fps[::-1]
        bodies[role] = identity.identity(
            statement=me["statement"].encode(),
            device_id=me["device_id"],
            role=role,
            own=me["address"],
            expected=peer["address"],
            fp_sent=sent,
            fp_received=received,
            bind=bound,
            proof=identity.ticket_proof(secret, bound) if role == identity.CALLER else b"",
        )
    runs = []
    for callee_is_client in (True, False):
        client = identity.CALLEE if callee_is_client else identity.CALLER
        roles = {"C": client, "S": 3 - client}
        body = {
            identity.COMMIT: lambda who: identity.commitment(nonces["C"]),
            identity.IDENTITY: lambda who, roles=roles: bodies[roles[who]],
            identity.NONCE: lambda who: nonces["S"],
            identity.REVEAL: lambda who: nonces["C"],
            identity.DONE: lambda who: b"",
        }
        runs.append(
            {
                "callee_is_tls_client": callee_is_client,
                "frames": [
                    {"from": who, "frame": identity.frame(kind, body[kind](who))}
                    for who, kind in identity.order(callee_is_client)
                ],
            }
        )
    eight = bytes.fromhex("0123456789abcdef")
    return {
        "now": NOW,
        "caller": {k: v for k, v in ALICE.items() if k != "statement"},
        "callee": {k: v for k, v in BOB.items() if k != "statement"},
        "outer_exporter": exporter,
        "bind": bound,
        "nonce_client": nonces["C"],
        "nonce_server": nonces["S"],
        "fingerprint_lines": {"offer": offered, "answer": answered},
        "fingerprint_hashes": {"offer": fps[0], "answer": fps[1]},
        "ticket_secret": secret,
        "ticket_proof": identity.ticket_proof(secret, bound),
        "runs": runs,
        "sframe_contexts": [
            {
                "role": role,
                "stream": stream,
                "context": identity.sframe_context(
                    exporter=exporter,
                    nonce_client=nonces["C"],
                    nonce_server=nonces["S"],
                    caller=bodies[identity.CALLER],
                    callee=bodies[identity.CALLEE],
                    role=role,
                    stream=stream,
                ),
            }
            for role in (identity.CALLER, identity.CALLEE)
            for stream in (0, 7)
        ],
        "sas_context": nonces["C"] + nonces["S"],
        "sas": [
            {"secret": s, "words": identity.sas(s)[0], "digits": identity.sas(s)[1]}
            for s in (eight, bytes(8), b"\xff" * 8, pattern("sas", 8))
        ],
    }


def media() -> dict:
    """SFrame as it travels in RTP, and SRTP around it."""
    base = pattern("sframe base key")
    sealed = [
        {
            "kid": kid,
            "counter": counter,
            "payload_type": payload_type,
            "mid": mid,
            "plain": plain,
            "rtp_payload": sframe.rtp_payload(
                base, kid, counter, plain, payload_type=payload_type, mid=mid
            ),
        }
        for kid, counter, payload_type, mid, plain in (
            (0, 0, 111, "0", b""),
            (0, 7, 111, "0", b"seven"),
            (0, 8, 111, "audio", b"eight"),
            (7, 255, 0, "", bytes(160)),
            (3, 256, 96, "0", pattern("frame", 80)),
        )
    ]
    packets = []
    for name, size, salt_size, aead in (
        ("SRTP_AEAD_AES_256_GCM", 32, 12, True),
        ("SRTP_AEAD_AES_128_GCM", 16, 12, True),
        ("SRTP_AES128_CM_SHA1_80", 16, 14, False),
    ):
        key, salt = pattern(f"{name} key", size), pattern(f"{name} salt", salt_size)
        oracle = srtp.Oracle(key, salt, aead=aead)
        for sequence in (1, 2):
            plain = bytes([0x80, 111]) + sequence.to_bytes(2, "big") + bytes(4) + b"SSRC"
            plain += sealed[1]["rtp_payload"]
            packets.append(
                {
                    "profile": name,
                    "master_key": key,
                    "master_salt": salt,
                    "rtp": plain,
                    "srtp": oracle.protect(plain),
                }
            )
    return {"sframe_base_key": base, "sframe": sealed, "srtp": packets}


FILES = {"statements": statements, "handshake": handshake, "media": media}


def text(name: str) -> str:
    """The contents of a file of vectors."""
    note = "Vectors for securecall-id/1, version 1, frozen; bytes in hex. See ../README.md."
    made = {"note": note, **FILES[name]()}
    return json.dumps(hexed(made), indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Compare, or write."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    differ = 0
    for name in FILES:
        path = FOLDER / f"{name}.json"
        if "--write" in sys.argv:
            path.write_text(text(name), encoding="utf-8")
        elif path.read_text(encoding="utf-8") != text(name):
            print(f"{path.name} is not what the oracles make")
            differ = 1
    return differ


if __name__ == "__main__":
    sys.exit(main())
