"""The examples of the XEPs, as their authors wrote them."""

from __future__ import annotations

import gzip
import json
from functools import cache
from xml.etree.ElementTree import Element, ParseError

from tests.paths import vectors
from tests.stanzas import stanza


@cache
def _rows() -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    path = vectors("xmpp_xep_examples", "xep_examples.jsonl.gz")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            found.setdefault(row["xep"], []).append((row["caption"], row["xml"]))
    return found


def stanzas(xep: str) -> list[tuple[str, Element]]:
    """Caption and stanza of every example of a XEP that is one or more whole stanzas."""
    found = []
    for caption, text in _rows()[xep]:
        try:
            parent = stanza(f"<all>{text}</all>")
        except ParseError:
            continue
        found += [(caption, child) for child in parent]
    return found
