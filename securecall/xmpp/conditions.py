"""What went wrong, as XMPP says it: errors of streams (RFC 6120 4.9) and of stanzas (8.3)."""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element, SubElement

from securecall.errors import ProtocolError, XmppRefused
from securecall.xmpp.xml import CLIENT, STREAMS, serialise

OF_STREAMS: Final = "urn:ietf:params:xml:ns:xmpp-streams"
OF_STANZAS: Final = "urn:ietf:params:xml:ns:xmpp-stanzas"
SEE_OTHER_HOST: Final = "see-other-host"
_UNDEFINED: Final = "undefined-condition"
_MOST_TEXT: Final = 200
_MOST_CONDITION: Final = 40
# What comes again: another client took our place (RFC 6120 4.9.3.3), or we are not wanted.
# Reconnecting would begin a fight, or be one more try at what is refused.
_FINAL: Final = frozenset({"conflict", "not-authorized", "host-unknown", "host-gone"})


def parse_stream_error(error: Element) -> XmppRefused:
    """What a server says as it ends the stream; of see-other-host, the text is the host."""
    return _parse(error, OF_STREAMS)


def parse_stanza_error(stanza: Element) -> XmppRefused:
    """What a stanza of type error says."""
    return _parse(stanza.find(f"{{{CLIENT}}}error"), OF_STANZAS)


def build_stanza_error(answer: Element, refused: XmppRefused) -> None:
    """Make an answer one of type error."""
    answer.set("type", "error")
    error = SubElement(answer, f"{{{CLIENT}}}error", type="cancel")
    _ = SubElement(error, f"{{{OF_STANZAS}}}{refused.condition}")
    if refused.text:
        SubElement(error, f"{{{OF_STANZAS}}}text").text = refused.text


def build_stream_error(why: ProtocolError) -> bytes:
    """Tell a server which kind of rule it broke; the end of our stream goes with it."""
    error = Element(f"{{{STREAMS}}}error")
    _ = SubElement(error, f"{{{OF_STREAMS}}}{_BROKEN.get(why.rule, 'policy-violation')}")
    return serialise(error) + b"</stream:stream>"


def is_final(refused: XmppRefused) -> bool:
    """Whether a stream that ended so is not to be opened again."""
    return refused.condition in _FINAL


_BROKEN: Final = {
    "RFC 6120 11.1": "restricted-xml",
    "RFC 6120 11.3": "not-well-formed",
    "RFC 6120 11.6": "unsupported-encoding",
    "XEP-0198 4": _UNDEFINED,
}


def _parse(error: Element | None, namespace: str) -> XmppRefused:
    conditions: list[str] = []
    text = ""
    for child in error if error is not None else ():
        space, _, name = child.tag.rpartition("}")
        if space[1:] != namespace:
            continue
        if name != "text":
            conditions.append(name[:_MOST_CONDITION])
        if name in ("text", SEE_OTHER_HOST):
            text = (child.text or "")[:_MOST_TEXT]
    return XmppRefused(conditions[0] if len(conditions) == 1 else _UNDEFINED, text)
