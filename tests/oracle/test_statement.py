"""Statements: ours and the oracle's verdict on anything signed, and what both make of two."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securecall.address import parse_address
from securecall.errors import SecurityError, StatementInvalid
from securecall.keys.device import DeviceKey
from securecall.keys.identity import RootKey
from securecall.keys.statement import build_statement, merge, parse_statement
from securecall.secret import Secret
from tests.oracle import statement as oracle
from tests.oracle.vectors import ALICE, BOB, NOW

SEED, DEVICE = ALICE["root_seed"], ALICE["device_seed"]
PAYLOAD = json.loads(oracle.unb64(json.loads(BOB["statement"])["payload"]))
ENTRY = json.loads(oracle.unb64(PAYLOAD["devices"][0]["entry"]))
for derived in ("ed25519", "p256"):
    del ENTRY[derived]

# What a number, a text or a list may be turned into; many of them stand at a limit.
VALUES = st.one_of(
    st.sampled_from(
        [0, 1, 2, -1, True, None, 1.0, 2**31, 2**31 - 1, 2**53, 2**53 - 1, 0x647A, "", "id1", "ID"]
    ),
    st.sampled_from([NOW + d + e for d in (0, 86_400, 1_209_600) for e in (-1, 0, 1)]),
    st.sampled_from([(NOW + 86_400) * 1000 + e for e in (-1, 0, 1)]),
    st.sampled_from(["a" * 32, "a" * 33, "d" * 64, "d" * 65, "-", "x.y_z-1", "é", "a b", "\ud800"]),
    st.sampled_from(
        [
            *("sip:bob@clinic.example", "sip:bob@Clinic.example", "sips:bob@clinic.example"),
            *("xmpp:bob@clinic.example", "xmpp:Bob@clinic.example", "tel:+441632960000"),
            *(
                "tel:+0441",
                "bob@clinic.example",
                "sip:bob@192.0.2.1",
                "sip:bob@clinic.example:5061",
            ),
            *("sip:anonymous@anonymous.invalid", "key:" + "0" * 128, "sip:b;ob@clinic.example"),
        ]
    ),
    st.sampled_from([[], ["a"], ["a", "a"], [[[[[[1]]]]]], [[[[[1]]]]], {}, {"a": {}}]),
    st.integers(0, 300).map(lambda n: [f"w{i}" for i in range(n)]),
    st.sampled_from([oracle.b64(bytes(n)) for n in (0, 31, 32, 33, 64)]),
)


def places(value, path=()):
    """Every path into a document."""
    yield path
    if isinstance(value, dict):
        for name in value:
            yield from places(value[name], (*path, name))
    elif isinstance(value, list):
        for number in range(len(value)):
            yield from places(value[number], (*path, number))


def edited(document, path, value, act):
    """A document with one place changed, removed, doubled or given a neighbour."""
    document = copy.deepcopy(document)
    if not path:
        return document
    holder = document
    for step in path[:-1]:
        holder = holder[step]
    if act == "remove":
        del holder[path[-1]]
    elif act == "add" and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[path[-1]]))
    elif act == "add":
        holder["x-more"] = value
    else:
        holder[path[-1]] = value
    return document


ACTS = st.sampled_from(["change", "change", "change", "remove", "add"])
TOP = [p for p in places(PAYLOAD) if p[:2] != ("devices", 0)]
INNER = list(places(ENTRY))


def own_payload(entry=None) -> dict:
    """Bob's content under Alice's root."""
    entry = copy.deepcopy(ENTRY) if entry is None else entry
    public = oracle.public_of(SEED)
    root_fp = oracle.root_fingerprint(public)
    listed = oracle.write_device(root_fp, DEVICE, entry, p256_number=7)
    return PAYLOAD | {
        "root": {"ed25519": oracle.b64(public)},
        "devices": [listed],
        "addrs": ["sip:bob@clinic.example", f"key:{root_fp.hex()}"],
    }


def verdicts(data: bytes) -> tuple[object, object]:
    """What each of us makes of a statement: what it says, or that it is refused."""
    try:
        s = parse_statement(data, unix=NOW)
        ours = (s.seq, s.iat, s.exp, [str(a) for a in s.addresses], [d.raw for d in s.devices])
        ours = (*ours, list(s.require), list(s.revoked))
    except StatementInvalid:
        ours = None
    try:
        t = oracle.read(data, now=NOW)
        theirs = (t["seq"], t["iat"], t["exp"], t["addrs"], [d["raw"] for d in t["devices"]])
        theirs = (*theirs, t["require"], t["revoked"])
    except oracle.Refused:
        theirs = None
    return ours, theirs


def write(payload) -> bytes | None:
    """Signed; None where the edit cannot be written down at all."""
    try:
        return oracle.write(SEED, payload)
    except UnicodeEncodeError:
        return None


def test_the_whole_content_is_taken_by_both():
    ours, theirs = verdicts(oracle.write(SEED, own_payload()))
    assert ours == theirs
    assert ours is not None


@given(st.sampled_from(TOP), VALUES, ACTS)
@settings(max_examples=120)
def test_an_edit_of_the_payload_gets_one_verdict(path, value, act):
    data = write(edited(own_payload(), path, value, act))
    if data is not None:
        ours, theirs = verdicts(data)
        assert ours == theirs


@given(st.sampled_from(INNER), VALUES, ACTS)
@settings(max_examples=120)
def test_an_edit_of_a_device_gets_one_verdict(path, value, act):
    entry = edited(ENTRY, path, value, act)
    if "id" not in entry:
        return
    try:
        data = oracle.write(SEED, own_payload(entry))
    except UnicodeEncodeError:
        return
    ours, theirs = verdicts(data)
    assert ours == theirs


@given(st.integers(0, 5000), st.integers(0, 255))
@settings(max_examples=60)
def test_a_changed_byte_gets_one_verdict(at, value):
    data = bytearray(oracle.write(SEED, own_payload()))
    data[at % len(data)] = value
    ours, theirs = verdicts(bytes(data))
    assert ours == theirs


SEEN = st.tuples(
    st.integers(NOW * 1000, NOW * 1000 + 1),
    st.lists(st.sampled_from(["one", "two", "gone"]), max_size=3, unique=True),
    st.lists(st.sampled_from([1, 2, 3]), max_size=3, unique=True),
)


@given(st.lists(SEEN, min_size=1, max_size=4))
@settings(max_examples=40)
def test_statements_of_one_root_are_merged_alike(seen):
    root_fp = oracle.root_fingerprint(oracle.public_of(SEED))
    ours = theirs = None
    for seq, revoked, devices in seen:
        listed = [
            oracle.write_device(
                root_fp, bytes([n]) * 32, {"id": f"d{n}", "caps": [], "not_after": NOW}
            )
            for n in devices
        ]
        data = oracle.write(
            SEED, own_payload() | {"seq": seq, "revoked": revoked, "devices": listed}
        )
        new, said = parse_statement(data, unix=NOW), oracle.read(data, now=NOW)
        try:
            after = merge(ours, new).statement
        except SecurityError:
            with pytest.raises(oracle.Refused):
                oracle.merge(theirs, said)
            continue
        ours, theirs = after, oracle.merge(theirs, said)
        assert sorted(ours.revoked) == sorted(theirs["revoked"])
        assert [d.raw for d in ours.devices] == [d["raw"] for d in theirs["devices"]]


def test_the_oracle_reads_what_we_write():
    root = RootKey.from_seed(Secret(SEED))
    data = build_statement(
        root,
        seq=NOW * 1000,
        iat=NOW,
        exp=NOW + 5,
        addresses=[parse_address("sip:alice@clinic.example")],
        devices=[DeviceKey.from_seed("alice-phone", Secret(DEVICE))],
        require=["id1"],
        revoked=["old"],
    )
    said = oracle.read(data, now=NOW)
    assert said["root_fp"] == root.fingerprint
    assert said["addrs"] == ["sip:alice@clinic.example"]
    assert [d["id"] for d in said["devices"]] == ["alice-phone"]
