"""For all texts: a PASSporT is read or refused, and what is built is read back."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import ProtocolError
from securecall.keys import passport as p
from securecall.keys.encoding import build_base64url
from securecall.sip.identity import build_identity, passports_of
from securecall.testing.attacks.passports import ALICE, BOB, HEADER, PAYLOAD, forged

KEY = p.PassportKey.generate()
GOOD = forged(KEY)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)
SIZES = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
DIGESTS = st.sampled_from(sorted(SIZES)).flatmap(
    lambda name: st.binary(min_size=SIZES[name], max_size=SIZES[name]).map(lambda d: (name, d))
)


@given(
    st.sets(DIGESTS, min_size=1, max_size=8), st.integers(0, 2**40), st.sampled_from(["", "rsp"])
)
def test_what_is_built_is_read_back_through_the_header(digests, unix, kind):
    token = p.build_passport(KEY, kind=kind, orig=ALICE, dest=BOB, digests=digests, unix=unix)
    assert passports_of((build_identity(token),)) == (token,)
    read = p.parse_passport(token)
    read.require_about(kind=kind, orig=ALICE, dest=BOB, digests=digests, unix=unix)
    read.require_genuine([KEY.public])


@given(st.text(max_size=40) | st.text("AZaz09._-=", max_size=40))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(ProtocolError):
        p.parse_passport(text)
    for value in (text, f"{GOOD};{text}", f"{GOOD};info=<{text}>"):
        with contextlib.suppress(ProtocolError):
            passports_of((value,))


@given(JSON, JSON)
def test_any_json_is_read_or_refused(header, payload):
    for parts in ((header, PAYLOAD), (HEADER, payload), (header, payload)):
        with contextlib.suppress(ProtocolError):
            p.parse_passport(forged(KEY, *parts))


@given(st.sampled_from(sorted(PAYLOAD)), JSON)
def test_any_value_of_a_claim_is_read_or_refused(name, value):
    with contextlib.suppress(ProtocolError):
        p.parse_passport(forged(KEY, None, PAYLOAD | {name: value}))


@given(st.binary(max_size=100), st.integers(0, 2))
def test_any_bytes_in_a_part_are_read_or_refused(data, place):
    parts = GOOD.split(".")
    parts[place] = build_base64url(data)
    with contextlib.suppress(ProtocolError):
        p.parse_passport(".".join(parts))
