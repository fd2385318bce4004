"""OMEMO in stanzas: both namespaces, as the standard's examples have it, and what is refused."""

from __future__ import annotations

from xml.etree.ElementTree import Element, fromstring

import pytest

from securecall.errors import ProtocolError
from securecall.keys.omemo_values import OMEMO, OMEMO_LEGACY, Bundle, KeyFor, Sealed
from securecall.xmpp.omemo import (
    build_bundle,
    build_devices,
    build_encrypted,
    bundle_node,
    devices_node,
    parse_bundle,
    parse_devices,
    parse_encrypted,
)

TWO = """<encrypted xmlns='urn:xmpp:omemo:2'><header sid='27183'>
  <keys jid='Juliet@capulet.example'><key rid='31415'>aGVs
     bG8=</key></keys>
  <keys jid='romeo@montague.example'><key rid='1337'>aGk=</key>
    <key kex='true' rid='12321'>aG8=</key></keys>
</header><payload> cGF5
 bG9hZA== </payload></encrypted>"""
LEGACY = """<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='27183'>
  <key rid='31415'>aGVsbG8=</key><key prekey='1' rid='12321'>aG8=</key>
  <iv>AAAAAAAAAAAAAAAA</iv></header><payload>cGF5bG9hZA==</payload></encrypted>"""


def test_the_current_version_is_read():
    assert parse_encrypted(fromstring(TWO)) == Sealed(
        namespace=OMEMO,
        sender=27183,
        keys=(
            KeyFor(jid="juliet@capulet.example", id=31415, data=b"hello"),
            KeyFor(jid="romeo@montague.example", id=1337, data=b"hi"),
            KeyFor(jid="romeo@montague.example", id=12321, data=b"ho", kex=True),
        ),
        payload=b"payload",
    )


def test_the_legacy_version_is_read():
    assert parse_encrypted(fromstring(LEGACY)) == Sealed(
        namespace=OMEMO_LEGACY,
        sender=27183,
        keys=(
            KeyFor(jid="", id=31415, data=b"hello"),
            KeyFor(jid="", id=12321, data=b"ho", kex=True),
        ),
        iv=bytes(12),
        payload=b"payload",
    )


@pytest.mark.parametrize("text", [TWO, LEGACY])
def test_what_is_written_is_read_back(text):
    sealed = parse_encrypted(fromstring(text))
    assert parse_encrypted(build_encrypted(sealed)) == sealed


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("encrypted", "decrypted"),
        ("urn:xmpp:omemo:2", "urn:xmpp:omemo:1"),
        ("sid='27183'", ""),
        ("27183", "0"),
        ("27183", "2147483648"),
        ("27183", "-1"),
        ("27183", "٣"),
        ("rid='31415'", ""),
        ("aGk=", ""),
        ("aGk=", "a"),
        ("aGk=", "a_=="),
        ("aGk=", "<b/>"),
        ("aGk=", "A" * 4000),
        ("</payload>", "</payload><payload>aGk=</payload>"),
        ("header", "footer"),
        ("<payload>", "<payload>" + "A" * 600_000),
    ],
)
def test_malformed_messages_are_refused(old, new):
    text = TWO.replace(old, new)
    assert text != TWO
    with pytest.raises(ProtocolError):
        parse_encrypted(fromstring(text))


@pytest.mark.parametrize(
    ("old", "new"),
    [("<iv>AAAAAAAAAAAAAAAA</iv>", ""), ("AAAAAAAAAAAAAAAA", "A" * 40), ("31415", "x")],
)
def test_malformed_legacy_messages_are_refused(old, new):
    with pytest.raises(ProtocolError):
        parse_encrypted(fromstring(LEGACY.replace(old, new)))


def test_too_many_keys_are_refused():
    for keys, most in (("<keys jid='a@b.example'/>", 200), ("<key rid='1'>aGk=</key>", 1000)):
        one = f"<keys jid='a@b.example'>{keys * (most + 1)}</keys>" if "rid" in keys else keys
        text = f"<encrypted xmlns='{OMEMO}'><header sid='1'>{one * (1 if 'rid' in keys else 201)}"
        with pytest.raises(ProtocolError):
            parse_encrypted(fromstring(text + "</header></encrypted>"))


def test_keys_for_somebody_without_a_name_do_not_take_the_others_away():
    text = TWO.replace("Juliet@capulet.example", "@@")
    assert [key.id for key in parse_encrypted(fromstring(text)).keys] == [1337, 12321]


def test_messages_without_content_are_read():
    sealed = Sealed(namespace=OMEMO, sender=1, keys=(KeyFor(jid="a@b.example", id=2, data=b"x"),))
    assert parse_encrypted(build_encrypted(sealed)) == sealed


@pytest.mark.parametrize("namespace", [OMEMO, OMEMO_LEGACY])
def test_device_lists(namespace):
    devices = {12345: "laptop" if namespace == OMEMO else "", 4223: ""}
    assert parse_devices(build_devices(namespace, devices)) == devices
    assert parse_devices(build_devices(namespace, {})) == {}
    with pytest.raises(ProtocolError):
        parse_devices(build_devices(namespace, dict.fromkeys(range(1, 300), "")))
    with pytest.raises(ProtocolError):
        parse_devices(build_devices(namespace, {0: ""}))


def bundle_of(namespace: str) -> Bundle:
    return Bundle(
        namespace=namespace,
        jid="bob@b.example",
        id=17,
        identity_key=bytes(range(32)),
        signed_prekey_id=0,
        signed_prekey=bytes(range(1, 33)),
        signature=bytes(range(64)),
        prekeys={number: bytes([number]) * 32 for number in range(100)},
    )


@pytest.mark.parametrize("namespace", [OMEMO, OMEMO_LEGACY])
def test_bundles_are_read_back(namespace):
    bundle = bundle_of(namespace)
    assert parse_bundle(build_bundle(bundle), "bob@b.example", 17) == bundle


def broken(namespace: str, change) -> Element:
    element = build_bundle(bundle_of(namespace))
    change(element)
    return element


@pytest.mark.parametrize("namespace", [OMEMO, OMEMO_LEGACY])
@pytest.mark.parametrize(
    "change",
    [
        lambda e: e.remove(e[0]),
        lambda e: e.append(e[0]),
        lambda e: e[0].attrib.clear(),
        lambda e: setattr(e[0], "text", "aGk="),
        lambda e: setattr(e[1], "text", "aGk="),
        lambda e: setattr(e[2], "text", "A" * 60),
        lambda e: e[3].append(e[3][0]),
        lambda e: e[3].extend([e[3][0]] * 600),
        lambda e: setattr(e, "tag", "{urn:x}bundle"),
    ],
)
def test_malformed_bundles_are_refused(namespace, change):
    with pytest.raises(ProtocolError):
        parse_bundle(broken(namespace, change), "bob@b.example", 17)


def test_nodes():
    assert devices_node(OMEMO) == "urn:xmpp:omemo:2:devices"
    assert bundle_node(OMEMO, 17) == ("urn:xmpp:omemo:2:bundles", "17")
    assert devices_node(OMEMO_LEGACY) == "eu.siacs.conversations.axolotl.devicelist"
    assert bundle_node(OMEMO_LEGACY, 17) == ("eu.siacs.conversations.axolotl.bundles:17", "current")
