from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, canonicalize, fromstring, tostring

import pytest

from securecall.errors import ProtocolError, UsageError
from securecall.xmpp.xml import StreamEnd, StreamHeader, StreamParser, XmlLimits, serialise

OPEN = (
    b"<?xml version='1.0' encoding='utf-8'?><stream:stream xmlns='jabber:client' id='7' "
    b"xmlns:stream='http://etherx.jabber.org/streams' xml:lang='en' version='1.0'>"
)
LIMITS = XmlLimits(stanza_bytes=1000, depth=5, attributes=4, elements=20, namespaces=10)


def opened(limits: XmlLimits | None = None) -> StreamParser:
    parser = StreamParser(limits)
    assert [type(read) for read in parser.feed(OPEN)] == [StreamHeader]
    return parser


def test_a_stream_is_read_from_its_header_to_its_end():
    parser = StreamParser()
    header, stanza, end = parser.feed(OPEN + b"<presence to='a@b'/></stream:stream>")
    assert isinstance(header, StreamHeader)
    assert header.attributes["id"] == "7"
    assert header.attributes["{http://www.w3.org/XML/1998/namespace}lang"] == "en"
    assert isinstance(stanza, Element)
    assert (stanza.tag, stanza.attrib) == ("{jabber:client}presence", {"to": "a@b"})
    assert isinstance(end, StreamEnd)
    assert parser.feed(b"<anything <else") == []


def test_what_follows_the_end_in_the_same_piece_is_nobodys():
    assert isinstance(opened().feed(b"</stream:stream><!-- x -->")[0], StreamEnd)


def test_a_stanza_is_handed_over_with_its_last_byte():
    parser = opened()
    stanza = (
        "<message><body>a &amp; ü\N{GRINNING FACE}</body> tail <x xmlns='y' z='&quot;'/></message>"
    )
    data = stanza.encode()
    for i in range(len(data) - 1):
        assert parser.feed(data[i : i + 1]) == []
        assert not parser.idle
    (read,) = parser.feed(data[-1:])
    assert parser.idle
    assert isinstance(read, Element)
    assert read[0].text == "a & ü\N{GRINNING FACE}"
    assert (read[0].tail, read[1].tag, read[1].get("z")) == (" tail ", "{y}x", '"')


def test_prefixes_mean_nothing():
    (read,) = opened().feed(
        b"<a:message xmlns:a='jabber:client'><b:x xmlns:b='y' b:c='d'/></a:message>"
    )
    assert isinstance(read, Element)
    assert (read.tag, read[0].tag, read[0].attrib) == (
        "{jabber:client}message",
        "{y}x",
        {"{y}c": "d"},
    )


def test_white_space_between_stanzas_keeps_the_line_open():
    assert opened().feed(b" \n ") == []


REFUSED = {
    "a document type": b"<!DOCTYPE a>",
    "an entity declared": b"<!ENTITY a 'b'>",
    "a comment": b"<!-- a -->",
    "a comment within a stanza": b"<message><!-- a --></message>",
    "a processing instruction": b"<?php a?>",
    "a processing instruction within a stanza": b"<message><?a b?></message>",
    "an unknown entity": b"<message>&nbsp;</message>",
    "an unknown entity in an attribute": b"<message a='&nbsp;'/>",
    "an XML declaration within the stream": b"<?xml version='1.0'?>",
    "text between stanzas": b"hello",
    "an unbound prefix": b"<x:message/>",
    "an attribute twice": b"<message a='1' a='2'/>",
    "tags that cross": b"<message><a></message></a>",
    "a bare ampersand": b"<message>&</message>",
    "a forged end of a namespace": b"<message xmlns='jabber:client}x'/>",
    "a control character": b"<message>\x01</message>",
    "a control character by its number": b"<message>&#1;</message>",
    "a surrogate by its number": b"<message>&#xd800;</message>",
    "a noncharacter": "<message>\ufffe</message>".encode(),
    "latin-1": b"<message>\xe4</message>",
    "an overlong slash": b"<message>\xc0\xaf</message>",
    "a surrogate in UTF-8": b"<message>\xed\xa0\x80</message>",
    "beyond Unicode": b"<message>\xf4\x90\x80\x80</message>",
    "half a character": b"<message>\xc3</message>",
}
EMPTIED = {
    "too large": b"x" * 1000,
    "a tag too large": b"<a b='" + b"x" * 1000 + b"'/>",
    "too deep": b"<a>" * 5 + b"</a>" * 5,
    "too many attributes": b"<x a='' b='' c='' d='' e=''/>",
    "too many elements": b"<a/>" * 20,
    "too many namespaces": b"<a xmlns='b'/>" * 11,
}
ENDLESS = {
    "a stanza": b"<message>" + b"x" * 1_100_000,
    "a tag": b"<message a='" + b"x" * 1_100_000,
    "depth": b"<a>" * 20_000,
}


@pytest.mark.parametrize("what", EMPTIED)
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_a_stanza_beyond_a_limit_is_emptied(what, step):
    parser, found = opened(LIMITS), []
    data = b"<message id='1'>" + EMPTIED[what] + b"</message><presence><x/></presence>"
    for i in range(0, len(data), step):
        found += parser.feed(data[i : i + step])
    message, presence = found
    assert (message.tag, message.attrib, len(message)) == ("{jabber:client}message", {"id": "1"}, 0)
    assert message.text is None
    assert len(presence) == parser.emptied == 1


@pytest.mark.parametrize("what", ENDLESS)
def test_a_stanza_without_end_ends_the_stream(what):
    with pytest.raises(ProtocolError):
        opened().feed(ENDLESS[what])


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_what_is_refused_ends_the_stream(what, step):
    parser = opened(LIMITS)
    with pytest.raises(ProtocolError):
        for i in range(0, len(REFUSED[what]), step):
            parser.feed(REFUSED[what][i : i + step])
    assert parser.feed(b"<presence/>") == []


@pytest.mark.parametrize(
    "header",
    [
        b"<?xml version='1.0' encoding='utf-16'?><a/>",
        b"<?xml version='1.0' encoding='iso-8859-1'?>" + OPEN[OPEN.index(b"<stream") :],
        b"<?xml version='1.1'?>" + OPEN[OPEN.index(b"<stream") :],
        b"<message xmlns='jabber:client'/>",
        b"<stream xmlns='jabber:client'>",
        b"HTTP/1.1 400 Bad Request\r\n",
        OPEN.decode().encode("utf-16"),
        b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + OPEN[OPEN.index(b"<stream") :],
    ],
)
def test_what_is_no_stream_is_refused(header):
    with pytest.raises(ProtocolError):
        StreamParser().feed(header)


def test_limits_count_each_stanza_anew():
    parser = opened(LIMITS)
    stanza = b"<message>" + b"<a xmlns='b'/>" * 9 + b"x" * 400 + b"</message>"
    for _ in range(10):
        assert len(parser.feed(stanza * 3)) == 3


def test_new_names_are_forgotten_between_stanzas_and_refused_within_one():
    # expat keeps every name for as long as it lives
    parser = opened()
    for i in range(15_000):
        (found,) = parser.feed(b"<a%d b%d='' xmlns:c%d='d%d'/>" % (i, i, i, i))
        assert found.tag == f"{{jabber:client}}a{i}"
        assert parser._name_bytes < 300_000
    parser.feed(b"<message>")
    with pytest.raises(ProtocolError, match="names"):
        for i in range(60_000):
            parser.feed(b"<a%d/>" % i)


def element(tag: str, text: str = "", **attributes: str) -> Element:
    made = Element(tag, attributes)
    made.text = text or None
    return made


def test_an_element_is_written_so_that_it_reads_the_same():
    made = element("{jabber:client}message", "a<b>&\r\n]]>", to="a'b\"<c>&\t\n")
    made.set("{http://www.w3.org/XML/1998/namespace}lang", "de")
    made.set("{urn:x}y", "z")
    child = SubElement(made, "{urn:other}x")
    child.tail = "tail & more"
    SubElement(child, "{urn:other}same").text = "ü"
    SubElement(child, "bare")
    (read,) = opened().feed(serialise(made))
    assert isinstance(read, Element)
    assert canonicalize(tostring(read)) == canonicalize(tostring(made))


def test_the_default_namespace_is_not_written():
    assert serialise(element("{jabber:client}presence")) == b"<presence/>"
    nested = element("{a}x")
    SubElement(nested, "{a}y")
    assert serialise(nested) == b'<x xmlns="a"><y/></x>'


@pytest.mark.parametrize("bad", ["\0", "\x1b", "\x7f\x00", "\ud800", "\ufffe", "\uffff"])
def test_what_xml_cannot_carry_is_not_written(bad):
    with pytest.raises(UsageError):
        serialise(element("{a}b", f"x{bad}"))
    with pytest.raises(UsageError):
        serialise(element("{a}b", c=f"x{bad}"))


@pytest.mark.parametrize("tag", ["", "{a}", "{a}b c", "{a}b/", "a><b", "{a}1", "{a}x:y", "a}b"])
def test_names_are_names(tag):
    with pytest.raises(UsageError):
        serialise(Element(tag))
    with pytest.raises(UsageError):
        serialise(Element("a", {tag: "b"}))


def test_a_stanza_without_bottom_is_not_written():
    top = below = Element("a")
    for _ in range(100):
        below = SubElement(below, "a")
    with pytest.raises(UsageError, match="deep"):
        serialise(top)


def test_reading_agrees_with_the_standard_library():
    text = "<message xmlns='jabber:client' a='1'>x<b xmlns='c'>y<![CDATA[<&>]]></b>z</message>"
    (read,) = opened().feed(text.encode())
    assert isinstance(read, Element)
    assert tostring(read) == tostring(fromstring(text))
