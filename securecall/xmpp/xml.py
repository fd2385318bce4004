"""The XML of a stream: read piece by piece, and nothing of XML that XMPP forbids (RFC 6120 11.1).

A document type, an entity beside the five, a processing instruction or a comment ends the stream.
A stanza that is too large, too deep or too much is emptied: its own tag stays, nothing within. For
whoever sends one through an honest server could else cut us off from it, again and again.
"""

from __future__ import annotations

import codecs
import functools
import re
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from securecall.errors import ProtocolError, UsageError

CLIENT: Final = "jabber:client"
STREAMS: Final = "http://etherx.jabber.org/streams"
XML: Final = "http://www.w3.org/XML/1998/namespace"
LANG: Final = f"{{{XML}}}lang"
# XML 1.0 2.2; tab and line ends are characters
NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_RESTRICTED: Final = "RFC 6120 11.1"
MOST_STANZA_BYTES: Final = 256 * 1024
MOST_DEPTH: Final = 64
MOST_ELEMENTS: Final = 16_384
MOST_ATTRIBUTES: Final = 64
_ELEMENT_BYTES: Final = 200  # of memory
_ATTRIBUTE_BYTES: Final = 100
_MOST_NAME: Final = 1024
_MOST_NAME_BYTES: Final = 1024 * 1024  # expat keeps every name it ever saw, for good
_RENEWED_AT: Final = _MOST_NAME_BYTES // 4  # between two stanzas; the next may bring some, too
_ROOT: Final = re.compile(rb"<([^\s/>]+)")
_PIECE: Final = 16 * 1024  # expat makes lists of a whole tag before we are asked
MOST_BYTES: Final = 1024 * 1024  # of a stanza that is emptied; then it is the server's fault
_MOST_DEPTH_EMPTIED: Final = 16_384
_MOST_RESCANNED: Final = 256 * 1024 * 1024  # bytes of one stanza's unfinished tags, looked at anew


@dataclass(frozen=True, slots=True, kw_only=True)
class XmlLimits:
    """How much of a stranger's XML is taken; a stanza beyond one of these is emptied.

    Attributes:
        stanza_bytes: One stanza, as it was sent.
        depth: Elements within each other, the stanza's own among them.
        attributes: Of one element.
        elements: Of one stanza.
        namespaces: Declarations in one stanza.
    """

    stanza_bytes: int = MOST_STANZA_BYTES
    depth: int = MOST_DEPTH
    attributes: int = MOST_ATTRIBUTES
    elements: int = MOST_ELEMENTS
    namespaces: int = 2048


@dataclass(frozen=True, slots=True)
class StreamHeader:
    """The opening tag of a stream.

    Attributes:
        attributes: By name, as `Element.attrib` has them.
    """

    attributes: dict[str, str]


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The closing tag of a stream."""


Read = Element | StreamHeader | StreamEnd


class StreamParser:
    """One stream in one direction, from its header to its end; a restarted stream needs a new one.

    Attributes:
        trailing: White space came after the last stanza.
        emptied: How many stanzas lost what was within them.
    """

    def __init__(self, limits: XmlLimits | None = None) -> None:
        """Begin before the header."""
        self._limits = limits or XmlLimits()
        self._names: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        self._known = 0
        self._name_bytes = 0
        self._fed = 0
        self._stanza_at = 0
        self._rescanned = 0
        self._depth = 0
        self._elements = 0
        self._namespaces = 0
        self._builder: TreeBuilder | None = None
        self._found: list[Read] = []
        self._ended = False
        self.trailing = False
        self.emptied = 0
        self._head = Element("none")
        self._declared: dict[str, str] = {}  # in the header: prefix -> namespace
        self._root = b""  # its name, as it was written
        self._utf8 = codecs.getincrementaldecoder("utf-8")("strict")
        self._parser = self._made()

    def feed(self, data: bytes) -> list[Read]:
        """Read some more.

        Raises:
            ProtocolError: this is not the XML of a stream. Nothing further can be read.
        """
        for at in range(0, len(data), _PIECE):
            self._feed_piece(data[at : at + _PIECE])
        found, self._found = self._found, []
        return found

    def _feed_piece(self, data: bytes) -> None:
        """Read it; tag by tag where the end of a stanza is looked for, to begin anew there."""
        while data and not self._ended:
            cut = len(data)
            if self._name_bytes > _RENEWED_AT:
                if self._depth == 1 and not self._unread():
                    self._renew()
                else:  # one within a value must not have that looked at again and again
                    cut = data.find(b">", self._unread()) + 1 or cut
            self._feed(data[:cut])
            data = data[cut:]

    def _renew(self) -> None:
        """Go on in another parser, without the names of stanzas that are done with.

        Anybody can send us names that nobody used before, and an honest server passes them on.
        """
        declared = "".join(
            f' xmlns{":" if prefix else ""}{prefix}="{_escaped(uri, _VALUE)}"'
            for prefix, uri in self._declared.items()
        )
        header = b"<%b%b>" % (self._root, declared.encode())
        self._names, self._tags = {}, {}
        self._known = self._name_bytes = self._depth = 0
        self._parser, self._fed = self._made(), len(header)
        _ = self._parser.Parse(header, False)  # noqa: FBT003 - it takes no keywords
        del self._found[-1]  # it was handed on before

    def _feed(self, data: bytes) -> None:
        try:
            _ = self._utf8.decode(data)  # expat lets some of what is no UTF-8 pass
            self._fed += len(data)
            _ = self._parser.Parse(data, False)  # noqa: FBT003 - it takes no keywords
        except UnicodeDecodeError as e:
            self._fail()
            raise ProtocolError("the stream is not UTF-8", rule="RFC 6120 11.6") from e
        except expat.ExpatError as e:
            if not self._ended:  # what follows the end is nobody's
                self._fail()
                raise ProtocolError(
                    f"the stream is not well-formed: {expat.ErrorString(e.code)}",
                    rule="RFC 6120 11.3",
                ) from e
        except ProtocolError:
            if not self._ended:
                self._fail()
                raise
        self._bound()

    @property
    def idle(self) -> bool:
        """Whether no stanza is half read."""
        return self._depth <= 1 and not self._unread()

    def _made(self) -> expat.XMLParserType:
        parser = expat.ParserCreate("UTF-8", "}", intern=self._names)
        deferral = getattr(parser, "SetReparseDeferralEnabled", None)
        if deferral is not None:
            deferral(False)  # noqa: FBT003 - a whole stanza is wanted at once; see _MOST_RESCANNED
        parser.ordered_attributes = True
        parser.buffer_text = True
        parser.XmlDeclHandler = self._declaration
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartNamespaceDeclHandler = self._namespace
        parser.StartDoctypeDeclHandler = _refusing("document type")
        parser.EntityDeclHandler = _refusing("entity")
        parser.CommentHandler = _refusing("comment")
        parser.ProcessingInstructionHandler = _refusing("processing instruction")
        parser.SkippedEntityHandler = _refusing("unknown entity")
        parser.ExternalEntityRefHandler = _refusing("external entity")
        return parser

    def _fail(self) -> None:
        self._ended = True
        self._found = []
        self._builder = None

    def _unread(self) -> int:
        # positions are 32 bits wide on some systems
        at = self._parser.CurrentByteIndex
        return (self._fed - at) & 0xFFFFFFFF if at >= 0 or self._fed else 0

    def _bound(self) -> None:
        """Bound what is held of an unfinished stanza, and how often its bytes are looked at."""
        if self._ended:
            return
        unread = self._unread()
        self._rescanned += unread
        begun = self._fed - self._stanza_at if self._depth != 1 else unread
        if begun > self._limits.stanza_bytes:
            self._empty()
        if begun > MOST_BYTES or (self._depth <= 1 and unread > MOST_BYTES // 2):
            self._fail()
            raise ProtocolError("a stanza has no end", rule="RFC 6120 4.9.3.14")
        if self._rescanned > _MOST_RESCANNED:
            self._fail()
            raise ProtocolError("a tag came in too many pieces", rule="RFC 6120 4.9.3.14")

    def _declaration(self, version: str, encoding: str | None, _: int) -> None:
        if version != "1.0" or (encoding is not None and encoding.upper() != "UTF-8"):
            raise ProtocolError("a stream is XML 1.0 in UTF-8", rule="RFC 6120 11.5")

    def _namespace(self, prefix: str | None, uri: str | None) -> None:
        self._namespaces += 1
        if not self._depth:
            self._declared[prefix or ""] = uri or ""
        if self._namespaces > self._limits.namespaces:
            self._empty()
        if uri and "}" in uri:
            raise ProtocolError("a namespace is no such name", rule="RFC 6120 11.3")
        self._remember(prefix or "", uri or "")

    def _start(self, name: str, pairs: list[str]) -> None:
        self._depth += 1
        limits = self._limits
        self._remember(name, *pairs[::2])
        if self._depth > limits.depth + 1:
            self._empty()
            if self._depth > _MOST_DEPTH_EMPTIED:
                raise ProtocolError("a stanza has no bottom", rule="RFC 6120 4.9.3.14")
        tag = self._qualified(name)
        most = min(len(pairs), 2 * limits.attributes)
        attributes = {self._qualified(pairs[i]): pairs[i + 1] for i in range(0, most, 2)}
        if self._depth == 1:
            if tag != f"{{{STREAMS}}}stream":
                raise ProtocolError("this is no XMPP stream", rule="RFC 6120 4.8.1")
            found = _ROOT.match(self._parser.GetInputContext() or b"")
            self._root = found[1] if found is not None else b""
            self._found.append(StreamHeader(attributes))
            return
        if self._depth == 2:
            self._builder = TreeBuilder()
            self._head = Element(tag, attributes)
            self._stanza_at = self._fed - self._unread()
            self._elements = self._namespaces = 0
        self._elements += 1
        if self._elements > limits.elements or most < len(pairs):
            self._empty()
        if self._builder is not None:
            _ = self._builder.start(tag, attributes)

    def _empty(self) -> None:
        """Take nothing more of this stanza."""
        if self._builder is not None:
            self._builder = None
            self.emptied += 1

    def _end(self, name: str) -> None:
        self._depth -= 1
        if self._builder is not None:
            _ = self._builder.end(self._tags[name])
        if self._depth == 1:
            if self._fed - self._unread() - self._stanza_at > self._limits.stanza_bytes:
                self._empty()
            self._found.append(self._head if self._builder is None else self._builder.close())
            self._builder = None
            self._rescanned = 0
            self.trailing = False
        elif self._depth == 0:
            self._ended = True
            self._found.append(StreamEnd())

    def _text(self, text: str) -> None:
        if self._builder is not None:
            self._builder.data(text)
        elif self._depth == 1:
            self.trailing = True
            if not text.isspace():
                raise ProtocolError("text stands between stanzas", rule="RFC 6120 4.9.3.1")

    def _qualified(self, name: str) -> str:
        known = self._tags.get(name)
        if known is None:
            known = "{" + name if "}" in name else name
            self._tags[name] = known
        return known

    def _remember(self, *names: str) -> None:
        """Bound what expat and we keep of names for as long as the stream lives."""
        if len(self._names) == self._known:
            return
        self._known = len(self._names)
        for name in names:
            self._name_bytes += len(name)
            if len(name) > _MOST_NAME or self._name_bytes > _MOST_NAME_BYTES:
                raise ProtocolError("the stream has too many names", rule="RFC 6120 4.9.3.14")


class _Refuses(Protocol):
    def __call__(self, *what: object) -> NoReturn: ...


def _refusing(what: str) -> _Refuses:
    def refuse(*_: object) -> NoReturn:
        raise ProtocolError(f"XMPP allows no {what}", rule=_RESTRICTED)

    return refuse


_NAME: Final = re.compile(r"[^\W\d][\w.\-]*")
_MARKUP: Final = re.compile('[&<>"\t\n\r]')  # what a table below may replace
_TEXT: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_VALUE: Final = str.maketrans(
    {
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        '"': "&quot;",
        "\t": "&#9;",
        "\n": "&#10;",
        "\r": "&#13;",
    }
)


def weight(element: Element) -> int:
    """Bytes of memory that an element takes, nearly."""
    return sum(
        _ELEMENT_BYTES
        + len(e.text or "")
        + len(e.tail or "")
        + sum(_ATTRIBUTE_BYTES + len(value) for value in e.attrib.values())
        for e in element.iter()
    )


def serialise(element: Element, *, within: str = CLIENT) -> bytes:
    """Write an element as it stands within a stream; the inverse of reading it.

    Args:
        element: Without its tail.
        within: The default namespace of where it is written to.

    Raises:
        UsageError: it holds what XML cannot (control characters, say), or is too deep.
    """
    parts: list[str] = []
    _write(element, within, parts, 1)
    return "".join(parts).encode()


def _write(element: Element, within: str, parts: list[str], depth: int) -> None:
    if depth > MOST_DEPTH:
        raise UsageError("a stanza is too deep to be sent")
    namespace, name = _split(element.tag)
    parts.append(f"<{name}")
    if namespace != within:
        parts.append(f' xmlns="{_escaped(namespace, _VALUE)}"')
    for index, (key, value) in enumerate(element.attrib.items()):
        space, attribute = _split(key)
        if space == XML:
            attribute = f"xml:{attribute}"
        elif space:
            parts.append(f' xmlns:a{index}="{_escaped(space, _VALUE)}"')
            attribute = f"a{index}:{attribute}"
        parts.append(f' {attribute}="{_escaped(value, _VALUE)}"')
    if not len(element) and not element.text:
        parts.append("/>")
        return
    parts.append(">")
    if element.text:
        parts.append(_escaped(element.text, _TEXT))
    for child in element:
        _write(child, namespace, parts, depth + 1)
        if child.tail:
            parts.append(_escaped(child.tail, _TEXT))
    parts.append(f"</{name}>")


@functools.lru_cache(maxsize=512)
def _split(tag: str) -> tuple[str, str]:
    namespace, _, name = tag.rpartition("}")
    if not _NAME.fullmatch(name) or (namespace and not namespace.startswith("{")):
        raise UsageError(f"{tag[:80]!r} is no name of an element or attribute")
    return namespace[1:], name


def _escaped(text: str, table: dict[int, str]) -> str:
    if NOT_XML.search(text):
        raise UsageError("a stanza holds a character that XML cannot carry")
    return text.translate(table) if _MARKUP.search(text) else text
