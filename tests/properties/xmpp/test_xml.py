from __future__ import annotations

import gzip
import itertools
import json
import string
from xml.etree.ElementTree import Element, canonicalize, tostring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import ProtocolError
from securecall.xmpp.xml import StreamParser, serialise
from tests.paths import vectors

OPEN = b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff").filter(
        lambda c: c >= " " or c in "\t\n\r"
    ),
    max_size=20,
)
NAME = st.text(string.ascii_letters, min_size=1, max_size=5).filter(
    lambda name: not name.lower().startswith("xml")
)
SPACE = st.sampled_from(["", "jabber:client", "urn:a", "urn:b", "x y<&\"'"])
TAG = st.builds(lambda space, name: f"{{{space}}}{name}" if space else name, SPACE, NAME)


def element(tag: str, attributes: dict[str, str], text: str, tail: str, below: list) -> Element:
    made = Element(tag, attributes)
    made.text, made.tail = text or None, tail or None
    made.extend(below)
    return made


LEAF = st.builds(element, TAG, st.dictionaries(TAG, TEXT, max_size=3), TEXT, TEXT, st.just([]))
ELEMENT = st.recursive(
    LEAF,
    lambda below: st.builds(
        element,
        TAG,
        st.dictionaries(TAG, TEXT, max_size=3),
        TEXT,
        TEXT,
        st.lists(below, max_size=3),
    ),
    max_leaves=10,
)
PIECES = st.sampled_from(
    [
        *(
            b"<message",
            b">",
            b"</message>",
            b"/>",
            b" a='",
            b"'",
            b"<a>",
            b"</a>",
            b"&amp;",
            b"&#1",
        ),
        *(
            b";",
            b"<!--",
            b"-->",
            b"<![CDATA[",
            b"]]>",
            b"<?",
            b"?>",
            b"<!DOCTYPE",
            b"xmlns='",
            b"}",
        ),
        *(b"</stream:stream>", b"\xc3", b"\xa4", b"\xff", b"\0", b" ", b"x", b"stream:", b"{"),
    ]
)


@given(ELEMENT)
def test_what_is_written_is_what_is_read(made):
    made.tail = None
    parser = StreamParser()
    parser.feed(OPEN)
    (read,) = parser.feed(serialise(made))
    assert isinstance(read, Element)
    assert canonicalize(tostring(read)) == canonicalize(tostring(made))
    assert serialise(read) == serialise(made)


@given(st.lists(st.one_of(PIECES, st.binary(max_size=8)), max_size=20), st.booleans())
def test_anything_is_read_or_refused(pieces, opened):
    parser = StreamParser()
    try:
        if opened:
            parser.feed(OPEN)
        for piece in pieces:
            parser.feed(piece)
    except ProtocolError:
        assert parser.feed(b"<a/>") == []


@given(ELEMENT, st.lists(st.integers(0, 200), max_size=5))
def test_where_it_was_cut_makes_no_difference(made, cuts):
    data = serialise(made)
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    parser, found = StreamParser(), []
    parser.feed(OPEN)
    for begin, end in itertools.pairwise(places):
        found += parser.feed(data[begin:end])
    assert [serialise(read) for read in found] == [data]


@pytest.mark.parametrize("folder", ["xmpp_xep_examples", "xmpp_unit_stanzas"])
def test_stanzas_of_others_are_read_or_refused(folder):
    read = 0
    for path in sorted(vectors(folder).glob("*.jsonl.gz")):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            for stanza in stanzas(json.loads(line)["xml"].encode()):
                assert [serialise(e) for e in stanzas(serialise(stanza))] == [serialise(stanza)]
                read += 1
    assert read > 400


def stanzas(data: bytes) -> list[Element]:
    parser = StreamParser()
    parser.feed(OPEN)
    try:
        return [read for read in parser.feed(data) if isinstance(read, Element)]
    except ProtocolError:
        return []
