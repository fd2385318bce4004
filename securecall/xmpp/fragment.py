"""A piece of XML that arrives as bytes of its own: read with everything refused that can harm.

A document type, a processing instruction or a comment is refused (RFC 6120 11.1), and so is more
depth, more elements or more bytes than anything honest has.
"""

from __future__ import annotations

from typing import Final, NoReturn
from xml.etree.ElementTree import Element
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from securecall.errors import ProtocolError

_MAX_DEPTH: Final = 20
_MAX_ELEMENTS: Final = 5000
_XML: Final = "{http://www.w3.org/XML/1998/namespace}"
_RULE: Final = "RFC 6120 11.1"


def parse_fragment(data: bytes, *, most: int) -> Element:
    """Read one element.

    Args:
        data: UTF-8.
        most: How many bytes it may have.

    Raises:
        ProtocolError: it is anything else.
    """
    if len(data) > most:
        raise ProtocolError(f"more than {most} bytes of XML", rule=_RULE)
    return _Reader().read(data)


def build_fragment(element: Element) -> bytes:
    """Write an element, each namespace declared where it begins to hold.

    Raises:
        ProtocolError: an attribute is in a namespace other than `xml:`, or a character is none of
            XML's.
    """
    written: list[str] = []
    _write(element, "", written)
    data = "".join(written)
    try:
        encoded = data.encode("utf-8")
        _Reader().read(encoded)  # control characters have no escape in XML 1.0
    except (UnicodeEncodeError, ProtocolError) as e:
        raise ProtocolError("a character that XML cannot hold", rule="XML 1.0 2.2") from e
    return encoded


class _Reader:
    def __init__(self) -> None:
        self._open: list[Element] = []
        self._last: Element | None = None  # what text follows
        self._root: Element | None = None
        self._count = 0
        parser = expat.ParserCreate("UTF-8", "}")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._refuse
        parser.ProcessingInstructionHandler = self._refuse
        parser.CommentHandler = self._refuse
        self._parser = parser

    def read(self, data: bytes) -> Element:
        try:
            self._parser.Parse(data, True)  # noqa: FBT003 - expat takes no keywords
        except expat.ExpatError as e:
            raise ProtocolError("not well-formed XML", rule="XML 1.0 2.1") from e
        if self._root is None:
            raise ProtocolError("no element", rule="XML 1.0 2.1")
        return self._root

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if len(self._open) >= _MAX_DEPTH or self._count > _MAX_ELEMENTS:
            raise ProtocolError("XML too deep, or with too many elements", rule=_RULE)
        element = Element(_named(tag), {_named(name): text for name, text in attributes.items()})
        if self._open:
            self._open[-1].append(element)
        else:
            self._root = element
        self._open.append(element)
        self._last = None

    def _end(self, _: str) -> None:
        self._last = self._open.pop()

    def _text(self, text: str) -> None:
        if self._last is not None:
            self._last.tail = (self._last.tail or "") + text
        else:
            self._open[-1].text = (self._open[-1].text or "") + text

    def _refuse(self, *_: object) -> NoReturn:
        raise ProtocolError("a document type, instruction or comment", rule=_RULE)


def _named(name: str) -> str:
    return f"{{{name}" if "}" in name else name


def _write(element: Element, inherited: str, written: list[str]) -> None:
    namespace, name = _split(element.tag)
    written.append(f"<{name}")
    if namespace != inherited:
        written.append(f" xmlns={quoteattr(namespace)}")
    for key, text in element.attrib.items():
        if key.startswith("{") and not key.startswith(_XML):
            raise ProtocolError("an attribute in a namespace", rule=_RULE)
        written.append(f" {key.replace(_XML, 'xml:')}={quoteattr(text)}")
    if len(element) or element.text:
        written.append(f">{_escaped(element.text)}")
        for child in element:
            _write(child, namespace, written)
            written.append(_escaped(child.tail))
        written.append(f"</{name}>")
    else:
        written.append("/>")


def _split(tag: str) -> tuple[str, str]:
    if not tag.startswith("{"):
        return "", tag
    namespace, _, name = tag[1:].rpartition("}")
    return namespace, name


def _escaped(text: str | None) -> str:
    return escape(text or "", {"\r": "&#13;"})
