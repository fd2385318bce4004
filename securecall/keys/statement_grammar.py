"""Reads identity statements: every rule a statement can break is refused here."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Final

from securecall.address import ANONYMOUS, Address, Scheme, parse_address
from securecall.errors import ProtocolError, StatementInvalid
from securecall.keys.device import DEVICE_ID, device_proof_input
from securecall.keys.encoding import build_base64url, parse_base64url, parse_json, sha512
from securecall.keys.signed_json import (
    exact_bytes,
    integer,
    items,
    mapping,
    open_jws,
    refused,
    require_dates,
    require_members,
    require_root_signatures,
    require_unique,
    root_keys,
    text,
)
from securecall.keys.signing import require_ed25519_signature, require_p256_signature
from securecall.keys.statement_content import (
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_REVOKED,
    MAX_SIZE,
    PROTECTED,
    PROTECTED_MLDSA,
    DeviceEntry,
    OmemoKey,
    Statement,
)
from securecall.keys.succession import MAX_CHAIN, Succession, parse_chain

_TOKEN: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
_NAMESPACE: Final = re.compile(r"[!-~]{1,128}")
_KEM: Final = 0x647A  # MLKEM768-X25519, the one whose hash is used
_MEMBERS: Final = ("v", "root", "seq", "iat", "exp", "addrs", "devices", "require", "revoked")


def parse_statement(data: bytes, *, unix: int) -> Statement:
    """Read a statement and check all of it.

    An expired one is returned with `stale` set; everything else that is wrong is refused.

    Args:
        data: The JWS, from anywhere.
        unix: Unix seconds now.

    Raises:
        StatementInvalid: a rule is broken or a signature does not hold.
    """
    try:
        return _parse(data, unix)
    except ProtocolError as e:
        raise StatementInvalid(f"the identity statement is not valid: {e}") from e


def _parse(data: bytes, unix: int) -> Statement:
    body, payload, members, signatures = open_jws(data, max_size=MAX_SIZE, max_depth=MAX_DEPTH)
    require_members(members, _MEMBERS)
    root = root_keys(members["root"])
    require_root_signatures(signatures, body, (root,), (PROTECTED, PROTECTED_MLDSA))
    root_fp = root.fingerprint
    seq, iat, exp = (integer(members[name]) for name in ("seq", "iat", "exp"))
    require_dates(seq=seq, iat=iat, exp=exp, unix=unix)
    addresses = tuple(_address(item, root_fp) for item in items(members["addrs"], MAX_ITEMS))
    require_unique(addresses, "an address")
    devices = tuple(
        parse_listed_device(item, root_fp) for item in items(members["devices"], MAX_ITEMS)
    )
    _require_distinct_keys(devices, root.ed25519)
    return Statement(
        root_public=root.ed25519,
        root_fp=root_fp,
        seq=seq,
        iat=iat,
        exp=exp,
        addresses=addresses,
        devices=devices,
        require=_words(members["require"], MAX_ITEMS, _token),
        revoked=_words(members["revoked"], MAX_REVOKED, _device_id),
        checked_at=unix,
        raw=bytes(data),
        payload_hash=sha512(payload),
        successions=_successions(devices, root_fp, unix),
    )


def _successions(
    devices: tuple[DeviceEntry, ...], root_fp: bytes, unix: int
) -> tuple[Succession, ...]:
    """The chain that a device carries. One that does not hold is none: nobody follows it."""
    for device in devices:
        if device.successions:
            with contextlib.suppress(StatementInvalid):
                return parse_chain(device.successions, root_fp, unix=unix)
    return ()


def _carried(value: object) -> tuple[bytes, ...]:
    # A member that readers of version 1 may not know: what is wrong with it is no fault of the rest
    try:
        return tuple(parse_base64url(text(item)) for item in items(value, MAX_CHAIN))
    except ProtocolError:
        return ()


def parse_listed_device(value: object, root_fp: bytes) -> DeviceEntry:
    """Read one item of `devices`, the proofs of which must hold for this root.

    Raises:
        ProtocolError: a rule is broken or a proof does not hold.
    """
    listed = mapping(value)
    require_members(listed, ("entry", "pop"))
    raw = parse_base64url(text(listed["entry"]))
    entry = parse_json(raw, max_size=MAX_SIZE, max_depth=MAX_DEPTH)
    for name in ("id", "ed25519", "caps", "not_after"):
        if name not in entry:
            raise refused(f"a device entry without {name}")
    public = exact_bytes(entry["ed25519"], 32)
    p256 = exact_bytes(entry["p256"], 65) if "p256" in entry else b""
    pop = mapping(listed["pop"])
    require_members(pop, ("ed25519", "p256") if p256 else ("ed25519",))
    signed = device_proof_input(root_fp, raw)
    proof = exact_bytes(pop["ed25519"], 64)
    require_ed25519_signature(public, proof, signed)
    p256_proof = exact_bytes(pop["p256"], 64) if p256 else b""
    if p256:
        require_p256_signature(p256, p256_proof, signed)
    return DeviceEntry(
        id=_device_id(entry["id"]),
        public=public,
        caps=_words(entry["caps"], MAX_ITEMS, _token),
        not_after=integer(entry["not_after"]),
        p256=p256,
        hpke_sha256=_hpke(entry["hpke"]) if "hpke" in entry else b"",
        omemo=tuple(_omemo(item) for item in items(entry.get("omemo", []), MAX_ITEMS)),
        raw=raw,
        proof=proof,
        p256_proof=p256_proof,
        successions=_carried(entry.get("successions", [])),
    )


def build_listed_device(entry: DeviceEntry) -> dict[str, object]:
    """Return one item of `devices`, as it was read."""
    proofs = {"ed25519": build_base64url(entry.proof)}
    if entry.p256_proof:
        proofs["p256"] = build_base64url(entry.p256_proof)
    return {"entry": build_base64url(entry.raw), "pop": proofs}


def _hpke(value: object) -> bytes:
    hpke = mapping(value)
    require_members(hpke, ("kem", "sha256"))
    digest = exact_bytes(hpke["sha256"], 32)
    return digest if integer(hpke["kem"]) == _KEM else b""


def _omemo(value: object) -> OmemoKey:
    omemo = mapping(value)
    require_members(omemo, ("ns", "id", "ik"))
    namespace = text(omemo["ns"])
    number = integer(omemo["id"])
    if not _NAMESPACE.fullmatch(namespace) or not 1 <= number < 2**31:
        raise refused("an OMEMO key without proper name and number")
    return OmemoKey(namespace=namespace, id=number, identity_key=exact_bytes(omemo["ik"], 32))


def _address(value: object, root_fp: bytes) -> Address:
    found = text(value)
    address = parse_address(found)
    if str(address) != found:
        raise refused("an address that is not in canonical form")
    if address == ANONYMOUS:
        raise refused("the anonymous address belongs to nobody")
    if address.scheme is Scheme.KEY and address.user != root_fp.hex():
        raise refused("the key: address of another root")
    return address


def _require_distinct_keys(devices: tuple[DeviceEntry, ...], root: bytes) -> None:
    require_unique([entry.id for entry in devices], "a device id")
    require_unique([root, *(entry.public for entry in devices)], "an Ed25519 key")
    require_unique([entry.p256 for entry in devices if entry.p256], "a P-256 key")
    require_unique([entry.hpke_sha256 for entry in devices if entry.hpke_sha256], "an HPKE key")
    require_unique(
        [(key.namespace, key.id) for entry in devices for key in entry.omemo], "an OMEMO device"
    )
    # One device may use one identity key for both versions of OMEMO; two devices may not share it.
    require_unique(
        [key for entry in devices for key in {omemo.identity_key for omemo in entry.omemo}],
        "an OMEMO identity key",
    )


def _words(value: object, limit: int, parse_word: Callable[[object], str]) -> tuple[str, ...]:
    words = tuple(parse_word(item) for item in items(value, limit))
    require_unique(words, "a word")
    return words


def _token(value: object) -> str:
    found = text(value)
    if not _TOKEN.fullmatch(found):
        raise refused("a word of another form")
    return found


def _device_id(value: object) -> str:
    found = text(value)
    if not DEVICE_ID.fullmatch(found):
        raise refused("a device id of another form")
    return found
