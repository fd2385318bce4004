from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, mldsa

from securecall.address import ANONYMOUS, parse_address
from securecall.errors import (
    IdentityMismatch,
    Reason,
    Revoked,
    SecurityError,
    StatementInvalid,
    UsageError,
)
from securecall.keys.encoding import build_base64url
from securecall.keys.identity import root_fingerprint
from securecall.keys.statement import (
    StatementChange,
    build_statement,
    merge,
    next_seq,
    parse_statement,
)
from tests.forge_statement import (
    DAY,
    HEADER,
    NOW,
    compact,
    device_key,
    entry_of,
    forged,
    jws,
    p256_member,
    parsed,
    payload_of,
    root_key,
    signed,
    statement,
    with_entry,
)

ROOT = root_key()
SMALL = build_base64url(b"\x01" + bytes(31))
OMEMO = {"ns": "urn:xmpp:omemo:2", "id": 7, "ik": build_base64url(b"\x09" * 32)}


def change(**members: object):
    return lambda payload: payload.update(members)


def without(name: str):
    return lambda payload: payload.pop(name)


def devices(count: int, **fixed: str):
    def edit(payload: dict[str, Any]) -> None:
        payload["devices"] = [
            entry_of(device_key(n + 1), ROOT, lambda entry: entry.update(fixed))
            for n in range(count)
        ]

    return edit


def addresses(*texts: str):
    return change(addrs=list(texts))


def two_devices(edit_both):
    def edit(payload: dict[str, Any]) -> None:
        payload["devices"] = [entry_of(device_key(n), ROOT, edit_both) for n in (1, 2)]

    return edit


def same_key_twice(payload: dict[str, Any]) -> None:
    payload["devices"] = [
        entry_of(device_key(1, "one"), ROOT),
        entry_of(device_key(1, "two"), ROOT),
    ]


def root_as_device(payload: dict[str, Any]) -> None:
    from securecall.keys.device import DeviceKey

    payload["devices"] = [entry_of(DeviceKey.from_seed("root", ROOT.seed), ROOT)]


def proof_of_other_device(payload: dict[str, Any]) -> None:
    payload["devices"][0]["pop"] = entry_of(device_key(2), ROOT)["pop"]


def proof_under_other_root(payload: dict[str, Any]) -> None:
    payload["devices"] = [entry_of(device_key(), root_key(2))]


def proof_missing(payload: dict[str, Any]) -> None:
    del payload["devices"][0]["pop"]["ed25519"]


def no_proof(payload: dict[str, Any]) -> None:
    del payload["devices"][0]["pop"]


def p256_without_proof(payload: dict[str, Any]) -> None:
    p256_member(ROOT)(payload)
    del payload["devices"][0]["pop"]["p256"]


def p256_proof_without_key(payload: dict[str, Any]) -> None:
    payload["devices"][0]["pop"]["p256"] = build_base64url(bytes(64))


def padded_key(payload: dict[str, Any]) -> None:
    payload["root"]["ed25519"] += "="


def loose_key(payload: dict[str, Any]) -> None:
    # the last character's low bits are not part of the 32 bytes
    text = payload["root"]["ed25519"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    payload["root"]["ed25519"] = text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1]


REFUSED_PAYLOADS = {
    "unknown version": change(v=2),
    "version true": change(v=True),
    "version 1.0": change(v=1.0),
    "version missing": without("v"),
    "root missing": without("root"),
    "seq missing": without("seq"),
    "iat missing": without("iat"),
    "exp missing": without("exp"),
    "addrs missing": without("addrs"),
    "devices missing": without("devices"),
    "require missing": without("require"),
    "revoked missing": without("revoked"),
    "unknown member": change(x=1),
    "root is text": change(root="x"),
    "root key small order": change(root={"ed25519": SMALL}),
    "root key not canonical": change(root={"ed25519": build_base64url(b"\xff" * 31 + b"\x7f")}),
    "root key short": change(root={"ed25519": build_base64url(b"\x05" * 31)}),
    "root of someone else": change(root={"ed25519": build_base64url(root_key(2).public)}),
    "root member unknown": change(root={"ed25519": build_base64url(ROOT.public), "x": 1}),
    "base64 padded": padded_key,
    "base64 not canonical": loose_key,
    "seq true": change(seq=True),
    "seq float": change(seq=1.5e12),
    "seq negative": change(seq=-1),
    "seq text": change(seq="1"),
    "seq 2^53": change(seq=2**53),
    "seq huge": change(seq=10**400),
    "seq a day and more ahead": change(seq=(NOW + DAY) * 1000 + 1),
    "iat a day and more ahead": change(iat=NOW + DAY + 1, exp=NOW + 2 * DAY),
    "iat null": change(iat=None),
    "exp over 14 days": change(exp=NOW + 14 * DAY + 1),
    "exp at iat": change(exp=NOW),
    "exp before iat": change(exp=NOW - 1),
    "17 addresses": change(addrs=[f"sip:a{n}@a.example" for n in range(17)]),
    "17 devices": devices(17),
    "address twice": addresses("sip:a@a.example", "sip:a@a.example"),
    "address upper-case host": addresses("sip:a@A.example"),
    "address with port": addresses("sip:a@a.example:5061"),
    "address with parameter": addresses("sip:a@a.example;transport=tls"),
    "address with needless escape": addresses("sip:%61@a.example"),
    "address sips": addresses("sips:a@a.example"),
    "address without scheme": addresses("a@a.example"),
    "address with IP host": addresses("sip:a@192.0.2.1"),
    "address full JID": addresses("xmpp:a@a.example/phone"),
    "address tel not E.164": addresses("tel:+44-1632-960000"),
    "address anonymous": addresses("sip:anonymous@anonymous.invalid"),
    "address key of another root": addresses("key:" + root_key(2).fingerprint.hex()),
    "address key upper-case": addresses("key:" + ROOT.fingerprint.hex().upper()),
    "address number": change(addrs=[1]),
    "addresses object": change(addrs={}),
    "require not text": change(require=[1]),
    "require bad word": change(require=["ID1 "]),
    "require word twice": change(require=["id1", "id1"]),
    "revoked bad id": change(revoked=["a b"]),
    "revoked id too long": change(revoked=["a" * 65]),
    "revoked id twice": change(revoked=["a", "a"]),
    "device without proof object": no_proof,
    "device proof missing": proof_missing,
    "device proof by another device": proof_of_other_device,
    "device proof under another root": proof_under_other_root,
    "device member unknown": lambda payload: payload["devices"][0].update(x=1),
    "device entry not base64": lambda payload: payload["devices"][0].update(entry="{}"),
    "device entry not JSON": lambda payload: payload["devices"][0].update(entry="AAAA"),
    "entry id missing": with_entry(without("id")),
    "entry key missing": with_entry(without("ed25519")),
    "entry caps missing": with_entry(without("caps")),
    "entry not_after missing": with_entry(without("not_after")),
    "entry id empty": with_entry(change(id="")),
    "entry id 65": with_entry(change(id="a" * 65)),
    "entry id with space": with_entry(change(id="a b")),
    "entry id with line break": with_entry(change(id="a\n")),
    "entry caps text": with_entry(change(caps="id1")),
    "entry not_after true": with_entry(change(not_after=True)),
    "entry not_after float": with_entry(change(not_after=1.0)),
    "entry key small order": with_entry(change(ed25519=SMALL)),
    "entry p256 short": with_entry(change(p256=build_base64url(b"\x04" * 64))),
    "entry p256 compressed": with_entry(change(p256=build_base64url(b"\x02" + bytes(64)))),
    "entry p256 without proof": p256_without_proof,
    "entry p256 proven by another key": p256_member(
        ROOT, prove_with=ec.derive_private_key(99, ec.SECP256R1())
    ),
    "p256 proof without key": p256_proof_without_key,
    "entry hpke without hash": with_entry(change(hpke={"kem": 25722})),
    "entry hpke short hash": with_entry(change(hpke={"kem": 25722, "sha256": "AAAA"})),
    "entry omemo id 0": with_entry(change(omemo=[OMEMO | {"id": 0}])),
    "entry omemo id 2^31": with_entry(change(omemo=[OMEMO | {"id": 2**31}])),
    "entry omemo key short": with_entry(change(omemo=[OMEMO | {"ik": "AAAA"}])),
    "entry omemo name with space": with_entry(change(omemo=[OMEMO | {"ns": "a b"}])),
    "entry omemo no list": with_entry(change(omemo=OMEMO)),
    "entry too deep": with_entry(change(x=[[[[[[1]]]]]])),
    "entry lone surrogate in an unknown member": with_entry(change(x="\ud800")),
    "device ids twice": two_devices(change(id="same")),
    "device keys twice": same_key_twice,
    "root key as device key": root_as_device,
    "OMEMO device twice": with_entry(change(omemo=[OMEMO, OMEMO])),
    "OMEMO key of two devices": two_devices(change(omemo=[OMEMO])),
    "HPKE key of two devices": two_devices(
        change(hpke={"kem": 25722, "sha256": build_base64url(bytes(32))})
    ),
    "payload too deep": change(x=[[[[[[1]]]]]]),
}


@pytest.mark.parametrize("name", REFUSED_PAYLOADS)
def test_a_correctly_signed_statement_that_breaks_a_rule_is_refused(name):
    with pytest.raises(StatementInvalid) as caught:
        parse_statement(forged(REFUSED_PAYLOADS[name]), unix=NOW)
    assert caught.value.reason is Reason.STATEMENT_INVALID


def test_the_payload_that_the_rows_edit_is_accepted():
    assert parse_statement(forged(lambda payload: None), unix=NOW).require == ("id1",)


def raw_payload(old: bytes, new: bytes) -> bytes:
    data = compact(payload_of(ROOT))
    assert old in data
    return signed(data.replace(old, new, 1), ROOT)


REFUSED_BYTES = {
    "duplicate member": raw_payload(b'"v":1', b'"v":1,"v":1'),
    "duplicate member spelled otherwise": raw_payload(b'"v":1', b'"v":1,"\\u0076":1'),
    "NaN": raw_payload(b'"v":1', b'"v":NaN'),
    "Infinity": raw_payload(b'"v":1', b'"v":Infinity'),
    "exponent": raw_payload(b'"v":1', b'"v":1e0'),
    "minus zero": raw_payload(b'"v":1', b'"v":-0'),
    "lone surrogate": raw_payload(b"sip:alice", b"sip:\\ud800"),
    "invalid UTF-8": raw_payload(b"sip:alice", b"sip:\xff"),
    "byte order mark": signed(b"\xef\xbb\xbf" + compact(payload_of(ROOT)), ROOT),
    "trailing text": signed(compact(payload_of(ROOT)) + b"{}", ROOT),
    "payload is a list": signed(b"[]", ROOT),
    "payload empty": signed(b"", ROOT),
    "deep bomb": signed(b"[" * 9000, ROOT),
    "empty": b"",
    "not JSON": b"securecall",
    "a list": b"[]",
    "over 24 KiB": statement() + b" " * 24 * 1024,
    "member unknown": compact(jws(compact(payload_of(ROOT)), ROOT) | {"x": 1}),
    "flattened": compact(
        {"payload": jws(b"{}", ROOT)["payload"]} | jws(b"{}", ROOT)["signatures"][0]
    ),
}


def edited_jws(edit) -> bytes:
    value = jws(compact(payload_of(ROOT)), ROOT)
    edit(value)
    return compact(value)


OTHER_SIGNATURE = jws(compact(payload_of(ROOT)), root_key(2))["signatures"]
REFUSED_BYTES |= {
    "no signature": edited_jws(lambda value: value.update(signatures=[])),
    "signature twice": edited_jws(lambda value: value.update(signatures=value["signatures"] * 2)),
    "signature of another root": edited_jws(lambda value: value.update(signatures=OTHER_SIGNATURE)),
    "unprotected header": edited_jws(lambda value: value["signatures"][0].update(header={})),
    "signature empty": edited_jws(lambda value: value["signatures"][0].update(signature="")),
    "header alg none": signed(
        compact(payload_of(ROOT)), ROOT, header=compact(HEADER | {"alg": "none"})
    ),
    "header alg EdDSA": signed(
        compact(payload_of(ROOT)), ROOT, header=compact(HEADER | {"alg": "EdDSA"})
    ),
    "header other type": signed(
        compact(payload_of(ROOT)), ROOT, header=compact(HEADER | {"typ": "securecall-org+jws"})
    ),
    "header with more": signed(
        compact(payload_of(ROOT)), ROOT, header=compact(HEADER | {"crit": []})
    ),
    "header with space": signed(
        compact(payload_of(ROOT)), ROOT, header=json.dumps(HEADER).encode()
    ),
}


@pytest.mark.parametrize("name", REFUSED_BYTES)
def test_bytes_that_are_no_such_document_are_refused(name):
    with pytest.raises(StatementInvalid):
        parse_statement(REFUSED_BYTES[name], unix=NOW)


def test_what_was_built_is_read_back():
    people = [
        parse_address(text)
        for text in ("sip:alice@a.example", "xmpp:alice@x.example", "tel:+441632960000")
    ] + [parse_address("key:" + ROOT.fingerprint.hex())]
    found = parsed(addresses=people, devices=[device_key(1), device_key(2)], require=["id1"])
    assert (found.root_public, found.root_fp) == (ROOT.public, ROOT.fingerprint)
    assert found.addresses == tuple(people)
    assert [entry.id for entry in found.devices] == ["device-1", "device-2"]
    assert found.device("device-2").public == device_key(2).public
    assert (found.seq, found.iat, found.exp) == (NOW * 1000, NOW, NOW + 7 * DAY)
    assert (found.require, found.revoked, found.stale) == (("id1",), (), False)


def test_sixteen_devices_and_sixteen_addresses_fit():
    people = [parse_address(f"sip:person-{n}@clinic.example") for n in range(16)]
    found = parsed(addresses=people, devices=[device_key(n + 1) for n in range(16)])
    assert (len(found.addresses), len(found.devices)) == (16, 16)


def test_optional_members_of_an_entry_are_read_and_unknown_ones_ignored():
    hpke = {"kem": 25722, "sha256": build_base64url(b"\x07" * 32)}
    legacy = OMEMO | {"ns": "eu.siacs.conversations.axolotl"}
    extra = change(hpke=hpke, omemo=[OMEMO, legacy], later={"a": [1, "é"]})
    entry = parse_statement(forged(with_entry(extra)), unix=NOW).device("device-1")
    assert entry.hpke_sha256 == b"\x07" * 32
    assert [key.id for key in entry.omemo] == [7, 7]


def test_a_p256_key_with_its_own_proof_is_accepted():
    entry = parse_statement(forged(p256_member(ROOT)), unix=NOW).device("device-1")
    assert len(entry.p256) == 65


def test_an_expired_statement_is_read_and_marked_stale():
    late = NOW + 7 * DAY
    assert not parse_statement(statement(), unix=late).stale
    assert parse_statement(statement(), unix=late + 1).stale


def test_a_withdrawn_device_is_refused_even_while_it_is_listed():
    with pytest.raises(Revoked) as caught:
        parsed(revoked=["device-1"]).device("device-1")
    assert caught.value.reason is Reason.REVOKED


def test_a_device_past_its_time_is_refused():
    found = parsed(not_after=NOW + 10)
    assert found.device("device-1", unix=NOW + 10).id == "device-1"
    with pytest.raises(Revoked):
        found.device("device-1", unix=NOW + 11)
    with pytest.raises(Revoked):
        parsed(not_after=NOW + 10, unix=NOW + 11).device("device-1")


def test_an_unlisted_device_is_a_mismatch():
    with pytest.raises(IdentityMismatch):
        parsed().device("device-9")


def test_building_what_every_receiver_refuses_is_our_own_mistake():
    for wrong in (
        {"exp": NOW + 14 * DAY + 1},
        {"exp": NOW},
        {"addresses": [ANONYMOUS]},
        {"devices": [device_key(n + 1) for n in range(17)]},
    ):
        with pytest.raises(UsageError):
            statement(**wrong)


def test_sequence_numbers_grow_even_when_the_clock_does_not():
    assert next_seq(0, unix_ms=5) == 5
    assert next_seq(5, unix_ms=5) == 6
    assert next_seq(9, unix_ms=5) == 10


# ------------------------------------------------------------------ what was seen before


def test_the_first_statement_stands():
    seen = parsed()
    assert merge(None, seen).statement is seen


def test_a_newer_statement_replaces_but_withdrawn_devices_stay_withdrawn():
    known = parsed(revoked=["device-1"])
    verdict = merge(known, parsed(seq=NOW * 1000 + 1))
    assert verdict.change is StatementChange.NEWER
    with pytest.raises(Revoked):
        verdict.statement.device("device-1")


def test_an_older_statement_is_a_rollback():
    with pytest.raises(SecurityError) as caught:
        merge(parsed(), parsed(seq=NOW * 1000 - 1))
    assert caught.value.reason is Reason.ROLLBACK


def test_the_same_statement_again_changes_nothing():
    verdict = merge(parsed(), parsed())
    assert verdict.change is StatementChange.SAME
    assert verdict.statement.devices == parsed().devices


def test_a_fork_leaves_only_what_both_list_and_nothing_either_withdrew():
    one = parsed(devices=[device_key(1), device_key(2)], revoked=["device-8"])
    two = parsed(devices=[device_key(2), device_key(3)], revoked=["device-9"])
    for first, second in ((one, two), (two, one)):
        verdict = merge(first, second)
        assert verdict.change is StatementChange.FORK
        assert [entry.id for entry in verdict.statement.devices] == ["device-2"]
        assert set(verdict.statement.revoked) == {"device-8", "device-9"}
        again = merge(verdict.statement, first)
        assert [entry.id for entry in again.statement.devices] == ["device-2"]
        assert [entry.id for entry in merge(again.statement, second).statement.devices] == [
            "device-2"
        ]


def test_withdrawals_are_remembered_within_bounds():
    known = parsed()
    with pytest.raises(StatementInvalid):
        for number in range(1, 40):
            names = [f"{number}-{n}" for n in range(150)]
            known = merge(known, parsed(seq=NOW * 1000 + number, revoked=names)).statement
    assert len(known.revoked) <= 4096


def test_as_many_as_anybody_has_are_remembered():
    names = tuple(f"d{n}" for n in range(4095))
    known = parsed().narrowed(revoked=names, devices=None)
    both = merge(known, parsed(seq=NOW * 1000 + 1, revoked=["one"])).statement
    assert len(both.revoked) == 4096
    with pytest.raises(StatementInvalid):
        merge(known, parsed(seq=NOW * 1000 + 1, revoked=["one", "two"]))


def test_statements_of_different_roots_do_not_mix():
    with pytest.raises(UsageError):
        merge(parsed(), parsed(root_key(2)))


# ------------------------------------------------------------------ roots with a second key


PQ = mldsa.MLDSA65PrivateKey.from_seed_bytes(b"\x05" * 32)


def hybrid(edit=lambda value: None) -> bytes:
    """A statement of a root with two keys, and the JWS edited before it is written."""
    raw = PQ.public_key().public_bytes_raw()
    payload = payload_of(ROOT)
    payload["root"]["mldsa65"] = build_base64url(raw)
    fingerprint = root_fingerprint(ROOT.public, raw)
    device = device_key()
    entry = device.entry(("id1",), NOW + DAY)
    payload["devices"] = [
        {
            "entry": build_base64url(entry),
            "pop": {"ed25519": build_base64url(device.proof(fingerprint, entry))},
        }
    ]
    value = jws(compact(payload), ROOT)
    protected = build_base64url(compact(HEADER | {"alg": "ML-DSA-65"}))
    signature = PQ.sign(f"{protected}.{value['payload']}".encode())
    value["signatures"].append({"protected": protected, "signature": build_base64url(signature)})
    edit(value)
    return compact(value)


def test_a_root_with_two_keys_needs_both_signatures():
    found = parse_statement(hybrid(), unix=NOW)
    assert found.root_fp == root_fingerprint(ROOT.public, PQ.public_key().public_bytes_raw())
    assert found.root_fp != ROOT.fingerprint
    for edit in (
        lambda value: value["signatures"].pop(),
        lambda value: value["signatures"].pop(0),
        lambda value: value["signatures"].reverse(),
        lambda value: value["signatures"][1].update(signature=build_base64url(bytes(3309))),
    ):
        with pytest.raises(StatementInvalid):
            parse_statement(hybrid(edit), unix=NOW)


def test_build_statement_takes_no_positional_slip():
    with pytest.raises(TypeError):
        build_statement(ROOT, NOW)  # type: ignore[misc]  # the slip itself


def test_an_omemo_device_has_any_number_it_may_have():
    for number in (1, 2**31 - 1):
        data = forged(with_entry(change(omemo=[OMEMO | {"id": number}])))
        (entry,) = parse_statement(data, unix=NOW).devices
        assert [key.id for key in entry.omemo] == [number]
