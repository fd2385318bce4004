"""XML that is small and becomes large: refused before it costs anything (RFC 6120 11.1)."""

from __future__ import annotations

import contextlib
import itertools
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from xml.etree.ElementTree import XMLPullParser

import pytest

from securecall.errors import ProtocolError
from securecall.xmpp.xml import StreamEnd, StreamParser
from tests.growth import linear
from tests.paths import vectors

OPEN = b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
LAUGHS = b"".join(
    b'<!ENTITY l%d "%s">' % (i + 1, b"&l%d;" % i * 10 if i else b"ha") for i in range(8)
)
BOMBS = {
    "billion laughs": b'<!DOCTYPE x [<!ENTITY l0 "ha">' + LAUGHS + b"]><x>&l8;</x>",
    "quadratic": b'<!DOCTYPE x [<!ENTITY a "'
    + b"a" * 50_000
    + b'">]><x>'
    + b"&a;" * 5000
    + b"</x>",
    "external": b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
    "parameter entity": b'<!DOCTYPE x [<!ENTITY % a SYSTEM "http://127.0.0.1/"> %a;]><x/>',
    "a foreign document type": b'<!DOCTYPE x SYSTEM "http://127.0.0.1/x.dtd"><x/>',
    "default attributes": b"<!DOCTYPE x [<!ATTLIST x a CDATA '"
    + b"b" * 9000
    + b"'>]>"
    + b"<x/>" * 999,
    "deep": b"<a>" * 200_000,
    "deep with namespaces": b"<a xmlns='b'>" * 100_000,
    "one tag of megabytes": b"<a b='" + b"x" * 4_000_000,
    "one name of megabytes": b"<" + b"a" * 4_000_000,
    "one text of megabytes": b"<a>" + b"x" * 4_000_000,
    "one CDATA of megabytes": b"<a><![CDATA[" + b"x" * 4_000_000,
    "many attributes": b"<a " + b" ".join(b"a%d=''" % i for i in range(20_000)) + b"/>",
    "many prefixes": b"<a " + b" ".join(b"xmlns:a%d='b'" % i for i in range(20_000)) + b"/>",
    "many children": b"<a>" + b"<b/>" * 100_000,
    "a character reference of megabytes": b"<a>&#" + b"0" * 4_000_000 + b"65;</a>",
}


def fed(data: bytes, piece: int = 16_384) -> StreamParser:
    parser = StreamParser()
    for i in range(0, len(data), piece):
        parser.feed(data[i : i + piece])
    return parser


def grown(work: Callable[[], None]) -> int:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def bombs() -> Iterator[bytes]:
    for path in sorted(vectors("xml_attacks").glob("*.xml")):
        yield path.read_bytes()


@pytest.mark.parametrize("after", [b"", OPEN, OPEN + b"<message>"])
def test_every_known_bomb_is_refused_for_nothing(after):
    for document in bombs():

        def refused(document: bytes = document) -> None:
            with pytest.raises(ProtocolError):
                fed(after + document)

        assert grown(refused) < 1_000_000


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("opened", [True, False])
def test_bombs_of_our_own_are_refused_for_little(name, opened):
    data = (OPEN if opened else b"") + BOMBS[name]

    def refused() -> None:
        with contextlib.suppress(ProtocolError):
            assert fed(data).emptied

    # at most what one stanza of the largest size may cost
    assert grown(refused) < 16_000_000


def test_control_a_plain_parser_takes_the_bombs():
    parser = XMLPullParser(("end",))
    parser.feed(OPEN + b"<!-- a --><?a b?>" + b"<a>" * 1000)
    assert len(list(parser.read_events())) == 0
    parser = XMLPullParser(("end",))
    parser.feed(b'<!DOCTYPE x [<!ENTITY a "' + b"a" * 5000 + b'">]><x>' + b"&a;" * 100 + b"</x>")
    ((_, found),) = parser.read_events()
    assert len(found.text) == 500_000


def read(data: bytes, piece: int) -> None:
    parser = StreamParser()
    parser.feed(OPEN)
    for i in range(0, len(data), piece):
        parser.feed(data[i : i + piece])


SHAPES = {
    "many stanzas": lambda n: b"<message to='a@b'><body>hello</body></message>" * (n * 20),
    "many elements": lambda n: (b"<a>" + b"<b c='d'/>" * 1000 + b"</a>") * n,
    "much text": lambda n: (b"<a>" + b"hello &amp; " * 2000 + b"</a>") * n,
    "long tags": lambda n: (b"<a b='" + b"x" * 20_000 + b"'/>") * n,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("piece", [1400, 100_000])
def test_time_grows_as_the_stream_does(shape, piece):
    assert linear(lambda n: partial(read, SHAPES[shape](n), piece), 5)


def new_names(message: int) -> bytes:
    """A message that an honest server passes on, of names that nobody used before."""
    names = b"".join(b"<n%d-%d%b/>" % (message, n, b"x" * 30) for n in range(4000))
    return b"<message from='a@b'>" + names + b"<body>%d</body></message>" % message


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize("piece", [1400, 100_000])
def test_nobody_is_cut_off_by_names_that_nobody_used_before(piece, guarded, monkeypatch):
    """The control keeps one parser for as long as the stream lives, and expat keeps every name."""
    if not guarded:
        monkeypatch.setattr("securecall.xmpp.xml._RENEWED_AT", 1 << 40)
    parser = StreamParser()
    parser.feed(OPEN)
    data = b"".join(map(new_names, range(12))) + b"</stream:stream>"
    found = []
    with pytest.raises(ProtocolError, match="names") if not guarded else contextlib.nullcontext():
        for at in range(0, len(data), piece):
            found += parser.feed(data[at : at + piece])
    if guarded:
        bodies = [message.findtext("{jabber:client}body") for message in found[:-1]]
        assert bodies == [str(number) for number in range(12)]
        assert isinstance(found[-1], StreamEnd)


def test_looking_for_the_end_of_a_stanza_costs_little():
    parser = StreamParser()
    parser.feed(OPEN + new_names(1)[:-10] + new_names(2)[:-10])  # more names than are kept
    parser.feed(b"<a b='" + b">" * 200_000 + b"'/>")  # would be looked at 200,000 times
    assert parser.emptied


def test_a_tag_sent_byte_by_byte_costs_a_bounded_amount():
    parser = StreamParser()
    parser.feed(OPEN + b"<a b='")
    with pytest.raises(ProtocolError, match="pieces"):
        for count in itertools.count():
            parser.feed(b">")  # makes a lazy parser look
            assert count < 40_000
