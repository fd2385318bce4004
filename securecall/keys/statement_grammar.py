"""Reads identity statements: every rule a statement can break is refused here."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection
from typing import Final

from securecall.address import ANONYMOUS, Address, Scheme, parse_address
from securecall.errors import ProtocolError, StatementInvalid
from securecall.keys.device import DEVICE_ID, device_proof_input
from securecall.keys.encoding import build_base64url, parse_base64url, parse_json, sha512
from securecall.keys.identity import root_fingerprint
from securecall.keys.signing import (
    require_ed25519_signature,
    require_mldsa65_signature,
    require_p256_signature,
)
from securecall.keys.statement_content import (
    MAX_AHEAD,
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_LIFETIME,
    MAX_REVOKED,
    MAX_SIZE,
    PROTECTED,
    PROTECTED_MLDSA,
    DeviceEntry,
    OmemoKey,
    Statement,
)
from securecall.keys.succession import MAX_CHAIN, Succession, parse_chain

_RULE: Final = "identity statement"
_TOKEN: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
_NAMESPACE: Final = re.compile(r"[!-~]{1,128}")
_KEM: Final = 0x647A  # MLKEM768-X25519, the one whose hash is used
_MLDSA65_PUBLIC_SIZE: Final = 1952
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
    outer = parse_json(data, max_size=MAX_SIZE, max_depth=MAX_DEPTH)
    _require_members(outer, ("payload", "signatures"))
    body = _text(outer["payload"])
    payload = parse_base64url(body)
    members = parse_json(payload, max_size=MAX_SIZE, max_depth=MAX_DEPTH)
    # The version first: what else stands in another version is not ours to judge.
    if _integer(members.get("v")) != 1:
        raise _refused("another version")
    _require_members(members, _MEMBERS)
    root = _mapping(members["root"])
    _require_members(root, ("ed25519",), optional=("mldsa65",))
    public = _bytes(root["ed25519"], 32)
    mldsa = _bytes(root["mldsa65"], _MLDSA65_PUBLIC_SIZE) if "mldsa65" in root else b""
    _require_signatures(outer["signatures"], body, public, mldsa)

    root_fp = root_fingerprint(public, mldsa)
    seq, iat, exp = (_integer(members[name]) for name in ("seq", "iat", "exp"))
    if seq > (unix + MAX_AHEAD) * 1000:
        raise _refused("seq lies more than a day ahead")
    if iat > unix + MAX_AHEAD:
        raise _refused("iat lies more than a day ahead")
    if not iat < exp <= iat + MAX_LIFETIME:
        raise _refused("exp does not lie within 14 days after iat")
    addresses = tuple(_address(item, root_fp) for item in _items(members["addrs"], MAX_ITEMS))
    _require_unique(addresses, "an address")
    devices = tuple(
        parse_listed_device(item, root_fp) for item in _items(members["devices"], MAX_ITEMS)
    )
    _require_distinct_keys(devices, public)
    return Statement(
        root_public=public,
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
        return tuple(parse_base64url(_text(item)) for item in _items(value, MAX_CHAIN))
    except ProtocolError:
        return ()


def _require_signatures(value: object, body: str, public: bytes, mldsa: bytes) -> None:
    signatures = _items(value, 2)
    expected = [PROTECTED, PROTECTED_MLDSA] if mldsa else [PROTECTED]
    if len(signatures) != len(expected):
        raise _refused("it must have one signature per root key")
    for item, header in zip(signatures, expected, strict=True):
        signature = _mapping(item)
        _require_members(signature, ("protected", "signature"))
        protected = _text(signature["protected"])
        if parse_base64url(protected) != header:
            raise _refused("another protected header")
        signed = f"{protected}.{body}".encode("ascii")
        raw = parse_base64url(_text(signature["signature"]))
        if header is PROTECTED:
            require_ed25519_signature(public, raw, signed)
        else:
            require_mldsa65_signature(mldsa, raw, signed)


def parse_listed_device(value: object, root_fp: bytes) -> DeviceEntry:
    """Read one item of `devices`, the proofs of which must hold for this root.

    Raises:
        ProtocolError: a rule is broken or a proof does not hold.
    """
    listed = _mapping(value)
    _require_members(listed, ("entry", "pop"))
    raw = parse_base64url(_text(listed["entry"]))
    entry = parse_json(raw, max_size=MAX_SIZE, max_depth=MAX_DEPTH)
    for name in ("id", "ed25519", "caps", "not_after"):
        if name not in entry:
            raise _refused(f"a device entry without {name}")
    public = _bytes(entry["ed25519"], 32)
    p256 = _bytes(entry["p256"], 65) if "p256" in entry else b""
    pop = _mapping(listed["pop"])
    _require_members(pop, ("ed25519", "p256") if p256 else ("ed25519",))
    signed = device_proof_input(root_fp, raw)
    proof = _bytes(pop["ed25519"], 64)
    require_ed25519_signature(public, proof, signed)
    p256_proof = _bytes(pop["p256"], 64) if p256 else b""
    if p256:
        require_p256_signature(p256, p256_proof, signed)
    return DeviceEntry(
        id=_device_id(entry["id"]),
        public=public,
        caps=_words(entry["caps"], MAX_ITEMS, _token),
        not_after=_integer(entry["not_after"]),
        p256=p256,
        hpke_sha256=_hpke(entry["hpke"]) if "hpke" in entry else b"",
        omemo=tuple(_omemo(item) for item in _items(entry.get("omemo", []), MAX_ITEMS)),
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
    hpke = _mapping(value)
    _require_members(hpke, ("kem", "sha256"))
    digest = _bytes(hpke["sha256"], 32)
    return digest if _integer(hpke["kem"]) == _KEM else b""


def _omemo(value: object) -> OmemoKey:
    omemo = _mapping(value)
    _require_members(omemo, ("ns", "id", "ik"))
    namespace = _text(omemo["ns"])
    number = _integer(omemo["id"])
    if not _NAMESPACE.fullmatch(namespace) or not 1 <= number < 2**31:
        raise _refused("an OMEMO key without proper name and number")
    return OmemoKey(namespace=namespace, id=number, identity_key=_bytes(omemo["ik"], 32))


def _address(value: object, root_fp: bytes) -> Address:
    text = _text(value)
    address = parse_address(text)
    if str(address) != text:
        raise _refused("an address that is not in canonical form")
    if address == ANONYMOUS:
        raise _refused("the anonymous address belongs to nobody")
    if address.scheme is Scheme.KEY and address.user != root_fp.hex():
        raise _refused("the key: address of another root")
    return address


def _require_distinct_keys(devices: tuple[DeviceEntry, ...], root: bytes) -> None:
    _require_unique([entry.id for entry in devices], "a device id")
    _require_unique([root, *(entry.public for entry in devices)], "an Ed25519 key")
    _require_unique([entry.p256 for entry in devices if entry.p256], "a P-256 key")
    _require_unique([entry.hpke_sha256 for entry in devices if entry.hpke_sha256], "an HPKE key")
    _require_unique(
        [(key.namespace, key.id) for entry in devices for key in entry.omemo], "an OMEMO device"
    )
    # One device may use one identity key for both versions of OMEMO; two devices may not share it.
    _require_unique(
        [key for entry in devices for key in {omemo.identity_key for omemo in entry.omemo}],
        "an OMEMO identity key",
    )


def _require_unique(items: Collection[object], what: str) -> None:
    if len(set(items)) != len(items):
        raise _refused(f"{what} stands twice")


def _require_members(
    value: dict[str, object], names: tuple[str, ...], *, optional: tuple[str, ...] = ()
) -> None:
    if not set(names) <= value.keys() <= {*names, *optional}:
        raise _refused("a member is missing or unknown")


def _words(value: object, limit: int, parse_word: Callable[[object], str]) -> tuple[str, ...]:
    words = tuple(parse_word(item) for item in _items(value, limit))
    _require_unique(words, "a word")
    return words


def _token(value: object) -> str:
    text = _text(value)
    if not _TOKEN.fullmatch(text):
        raise _refused("a word of another form")
    return text


def _device_id(value: object) -> str:
    text = _text(value)
    if not DEVICE_ID.fullmatch(text):
        raise _refused("a device id of another form")
    return text


def _bytes(value: object, size: int) -> bytes:
    data = parse_base64url(_text(value))
    if len(data) != size:
        raise _refused(f"a value of {len(data)} bytes instead of {size}")
    return data


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _refused("text expected")
    return value


def _integer(value: object) -> int:
    if type(value) is not int:  # True is an instance of int, too
        raise _refused("an integer expected")
    return value


def _mapping(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _refused("an object expected")
    return value


def _items(value: object, limit: int) -> list[object]:
    if not isinstance(value, list):
        raise _refused("a list expected")
    if len(value) > limit:
        raise _refused(f"more than {limit} items")
    return value


def _refused(why: str) -> ProtocolError:
    return ProtocolError(why, rule=_RULE)
