"""Stanzas that others wrote: the examples of the XEPs, and what other projects test with."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError

from tests.paths import vectors
from tests.stanzas import stanza

MESSAGE = "{jabber:client}message"
# What the build of the XEPs left of its entities.
_ENTITIES = {"]]>&eph0;<![CDATA[": "urn:xmpp:ephemeral:0", "]]>&ns;<![CDATA[": "urn:xmpp:sce:1"}


@dataclass(frozen=True)
class Example:
    """One message, and where it stands: XEP or project, number of the example, place in it."""

    source: str
    number: int
    place: int
    message: Element


def _lines(*path: str) -> Iterator[dict[str, object]]:
    with gzip.open(vectors(*path), "rt", encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines)


def xep_examples() -> Iterator[Example]:
    """Every message in every XEP, whatever it is wrapped in."""
    for row in _lines("xmpp_xep_examples", "xep_examples.jsonl.gz"):
        yield from _messages(str(row["xep"]), int(str(row["n"])), str(row["xml"]))


def unit_stanzas(project: str) -> Iterator[Example]:
    """Every message in the unit tests of another project."""
    for number, row in enumerate(_lines("xmpp_unit_stanzas", f"{project}.jsonl.gz")):
        yield from _messages(project, number, str(row["xml"]))


def _messages(source: str, number: int, xml: str) -> Iterator[Example]:
    if "<message" not in xml:
        return
    for entity, meant in _ENTITIES.items():
        xml = xml.replace(entity, meant)
    try:
        root = stanza(f"<all>{xml}</all>")
    except ParseError:  # shortened by its author, or of another format
        return
    yield from (
        Example(source, number, place, message)
        for place, message in enumerate(m for m in root if m.tag == MESSAGE)
    )
