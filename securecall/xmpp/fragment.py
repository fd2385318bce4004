"""A piece of XML that arrives as bytes of its own: read with everything refused that can harm.

A document type, a processing instruction or a comment is refused (RFC 6120 11.1), and so is more
depth, more elements or more bytes than anything honest has. `xml.serialise` is the inverse.
"""

from __future__ import annotations

from typing import Final, NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from securecall.errors import ProtocolError

_MAX_DEPTH: Final = 20
_MAX_ELEMENTS: Final = 5000
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


class _Reader:
    def __init__(self) -> None:
        self._builder = TreeBuilder()
        self._depth = 0
        self._count = 0
        parser = expat.ParserCreate("UTF-8", "}")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._builder.data
        parser.StartDoctypeDeclHandler = self._refuse
        parser.ProcessingInstructionHandler = self._refuse
        parser.CommentHandler = self._refuse
        self._parser = parser

    def read(self, data: bytes) -> Element:
        try:
            self._parser.Parse(data, True)  # noqa: FBT003 - expat takes no keywords
        except expat.ExpatError as e:
            raise ProtocolError("not well-formed XML", rule="XML 1.0 2.1") from e
        return self._builder.close()

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._count += 1
        if self._depth > _MAX_DEPTH or self._count > _MAX_ELEMENTS:
            raise ProtocolError("XML too deep, or with too many elements", rule=_RULE)
        named = {_named(name): text for name, text in attributes.items()}
        _ = self._builder.start(_named(tag), named)

    def _end(self, tag: str) -> None:
        self._depth -= 1
        _ = self._builder.end(_named(tag))

    def _refuse(self, *_: object) -> NoReturn:
        raise ProtocolError("a document type, instruction or comment", rule=_RULE)


def _named(name: str) -> str:
    return f"{{{name}" if "}" in name else name
