"""Any bytes and any elements to OMEMO's grammar and to the envelope: read, or ProtocolError."""

from __future__ import annotations

from contextlib import suppress
from xml.etree.ElementTree import Element

from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import ProtocolError, UsageError
from securecall.keys.omemo_values import OMEMO, OMEMO_LEGACY, KeyFor, Sealed
from securecall.xmpp.envelope import parse_envelope
from securecall.xmpp.fragment import parse_fragment
from securecall.xmpp.omemo import build_encrypted, parse_bundle, parse_devices, parse_encrypted
from securecall.xmpp.xml import serialise

NAMES = st.sampled_from(
    [
        "encrypted",
        "header",
        "keys",
        "key",
        "iv",
        "payload",
        "devices",
        "list",
        "device",
        "bundle",
        "spk",
        "spks",
        "ik",
        "prekeys",
        "pk",
        "signedPreKeyPublic",
        "signedPreKeySignature",
        "identityKey",
        "preKeyPublic",
        "envelope",
    ]
)
TAGS = st.builds(
    lambda namespace, name: f"{{{namespace}}}{name}",
    st.sampled_from([OMEMO, OMEMO_LEGACY, "urn:xmpp:sce:1"]),
    NAMES,
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["id", "sid", "rid", "jid", "kex", "prekey", "preKeyId", "signedPreKeyId"]),
    st.sampled_from(["1", "0", "-1", "true", "x", "2147483648", "a@b.example", ""]),
    max_size=4,
)
TEXTS = st.sampled_from([None, "", "aGk=", "a", "A" * 44, "A" * 88, " aGk = ", "BQ" + "A" * 42])


def _element(tag: str, attributes: dict[str, str], text: str | None, children: list[Element]):
    element = Element(tag, attributes)
    element.text = text
    element.extend(children)
    return element


ELEMENTS = st.recursive(
    st.builds(_element, TAGS, ATTRIBUTES, TEXTS, st.just([])),
    lambda inner: st.builds(_element, TAGS, ATTRIBUTES, TEXTS, st.lists(inner, max_size=5)),
    max_leaves=20,
)


@given(ELEMENTS)
def test_any_element_is_read_or_refused(element):
    for parse in (
        parse_encrypted,
        parse_devices,
        lambda e: parse_bundle(e, "bob@b.example", 1),
        lambda e: parse_envelope(serialise(e, within="")),
    ):
        with suppress(ProtocolError):
            parse(element)


@given(st.binary(max_size=500))
def test_any_bytes_are_read_or_refused(data):
    for parse in (parse_envelope, lambda d: parse_fragment(d, most=1000)):
        with suppress(ProtocolError):
            parse(data)


@given(st.text(max_size=200))
def test_text_is_written_as_it_is_or_refused(text):
    element = Element("{urn:a}b", {"c": text})
    element.text = text
    try:
        data = serialise(element, within="")
    except UsageError:
        return
    found = parse_fragment(data, most=10_000)
    assert (found.text or "", found.get("c")) == (text, text)


IDS = st.integers(1, 2**31 - 1)
JIDS = st.sampled_from(["alice@a.example", "bob@b.example"])


@given(
    st.builds(
        Sealed,
        namespace=st.just(OMEMO),
        sender=IDS,
        keys=st.lists(
            st.builds(KeyFor, jid=JIDS, id=IDS, data=st.binary(min_size=1), kex=st.booleans()),
            max_size=10,
        ).map(lambda keys: tuple(sorted(keys, key=lambda key: key.jid))),
        payload=st.binary(max_size=300),
    )
)
def test_sealed_messages_come_back(sealed):
    assert parse_encrypted(build_encrypted(sealed)) == sealed
