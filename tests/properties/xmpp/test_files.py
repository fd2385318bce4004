"""Elements, slots and links, whatever is in them."""

from __future__ import annotations

import contextlib
from xml.etree.ElementTree import Element, SubElement, fromstring, tostring

from hypothesis import given
from hypothesis import strategies as st

from securecall.chat.message import SharedFile
from securecall.chat.sealing import GCM_256, Opener
from securecall.errors import ProtocolError
from securecall.secret import Secret
from securecall.xmpp.files import build_link, build_sharing, parse_link, parse_sharing
from securecall.xmpp.upload import parse_items, parse_service, parse_slot

XML = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn", "Co")), max_size=40).map(
    str.strip
)
BYTES = st.binary(min_size=32, max_size=32)
SHARED = st.builds(
    SharedFile,
    url=st.integers(0, 10**9).map("https://u.example/{}.bin".format),
    key=BYTES.map(Secret),
    iv=st.binary(min_size=12, max_size=12),
    cipher=st.just(GCM_256),
    name=XML,
    media_type=st.sampled_from(["", "image/png", "audio/ogg; codecs=opus"]),
    size=st.integers(0, 1 << 32),
    sha256=BYTES,
    cipher_sha256=st.one_of(st.just(b""), BYTES),
    seconds=st.integers(0, 10**7).map(lambda ms: ms / 1000),
    expires=st.integers(0, 1 << 33),
)


@given(SHARED)
def test_an_element_says_what_was_put_into_it(shared):
    assert parse_sharing(fromstring(tostring(build_sharing(shared)))) == shared


NAMES = st.sampled_from(
    ["{urn:xmpp:sfs:0}file-sharing", "{urn:xmpp:sfs:0}sources", "{urn:xmpp:file:metadata:0}file",
     "{urn:xmpp:file:metadata:0}size", "{urn:xmpp:esfs:0}encrypted", "{urn:xmpp:esfs:0}key",
     "{urn:xmpp:esfs:0}iv", "{urn:xmpp:hashes:2}hash", "{urn:securecall:expiry:0}expiry",
     "{http://jabber.org/protocol/url-data}url-data", "{urn:xmpp:http:upload:0}slot",
     "{urn:xmpp:http:upload:0}put", "{urn:xmpp:http:upload:0}get", "{urn:xmpp:http:upload:0}header",
     "{http://jabber.org/protocol/disco#items}query", "{http://jabber.org/protocol/disco#info}query",
     "{http://jabber.org/protocol/disco#info}feature", "{jabber:x:data}x", "{jabber:x:data}field"]
)  # fmt: skip
VALUES = st.one_of(
    XML,
    st.sampled_from(
        ["", "0", "-1", "AAAA", "A" * 43 + "=", "A" * 16, "sha-256", GCM_256, "https://u.example/x",
         "urn:xmpp:http:upload:0", "max-file-size", "FORM_TYPE", "Cookie",
         "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2030-01-01T00:00:00Z"]
    ),
)  # fmt: skip
KEYS = st.sampled_from(["at", "cipher", "algo", "target", "url", "name", "var", "jid", "node"])


@st.composite
def elements(draw, depth=3):
    element = Element(draw(NAMES), draw(st.dictionaries(KEYS, VALUES, max_size=3)))
    element.text = draw(st.one_of(st.none(), VALUES))
    if depth:
        element.extend(draw(st.lists(elements(depth=depth - 1), max_size=3)))
    return element


@given(elements())
def test_any_element_parses_or_is_refused(element):
    for parse in (parse_sharing, parse_slot, parse_items, lambda e: parse_service("x", e)):
        with contextlib.suppress(ProtocolError):
            parse(element)


@given(SHARED, st.data())
def test_any_change_of_a_good_element_parses_to_what_can_be_opened_or_is_refused(shared, data):
    element = build_sharing(shared)
    target = data.draw(st.sampled_from(list(element.iter())))
    change = data.draw(st.sampled_from(["text", "attribute", "child", "tag"]))
    if change == "text":
        target.text = data.draw(VALUES)
    elif change == "attribute":
        target.set(data.draw(KEYS), data.draw(VALUES))
    elif change == "child":
        SubElement(target, data.draw(NAMES)).text = data.draw(VALUES)
    else:
        target.tag = data.draw(NAMES)
    with contextlib.suppress(ProtocolError):
        found = parse_sharing(element)
        Opener(found)
        assert found.url.startswith("https://")


LINK = f"aesgcm://u.example/1.bin#{'0' * 88}"


@given(st.one_of(XML, st.data()))
def test_any_text_is_a_link_or_refused(drawn):
    text = drawn
    if not isinstance(drawn, str):
        at = drawn.draw(st.integers(0, len(LINK)))
        text = (
            LINK[:at] + drawn.draw(st.text(max_size=3)) + LINK[at + drawn.draw(st.integers(0, 3)) :]
        )
    with contextlib.suppress(ProtocolError):
        found = parse_link(text)
        Opener(found)
        assert parse_link(build_link(found)) == found
