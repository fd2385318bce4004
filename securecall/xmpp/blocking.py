"""Whom our account does not want to hear of (XEP-0191); the server keeps the list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from securecall.errors import ProtocolError
from securecall.xmpp.jid import parse_jid, sent_by

BLOCKING: Final = "urn:xmpp:blocking"
BLOCK: Final = f"{{{BLOCKING}}}block"
UNBLOCK: Final = f"{{{BLOCKING}}}unblock"
BLOCKLIST: Final = f"{{{BLOCKING}}}blocklist"
_ITEM: Final = f"{{{BLOCKING}}}item"
_RULE: Final = "XEP-0191 3"
MAX_BLOCKED: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockChange:
    """Somebody is blocked now, or not any more.

    Attributes:
        jid: A bare or full JID, or a domain.
        blocked: True for blocked.
    """

    jid: str
    blocked: bool


class Blocklist:
    """The list as the server last told it."""

    def __init__(self, own: str) -> None:
        """Begin empty.

        Args:
            own: Our bare JID.
        """
        self.own = own
        self._jids: frozenset[str] = frozenset()

    @property
    def jids(self) -> frozenset[str]:
        """Everybody on it."""
        return self._jids

    def blocks(self, jid: str) -> bool:
        """This JID is blocked: itself, its bare form, or its domain (XEP-0016 2.1)."""
        parsed = parse_jid(jid)
        return not self._jids.isdisjoint(
            {str(parsed), parsed.bare, parsed.domain, f"{parsed.domain}/{parsed.resource}"}
        )

    def accept_result(self, payload: Element | None) -> tuple[BlockChange, ...]:
        """Take the answer to the request for the list.

        Raises:
            ProtocolError: it is no block list.
        """
        if payload is None or payload.tag != BLOCKLIST:
            raise ProtocolError("a block list was expected", rule=_RULE)
        return self._become(_items(payload))

    def accept_push(self, payload: Element, *, sender: str | None) -> tuple[BlockChange, ...]:
        """Take a change the server tells us of.

        Args:
            payload: `<block/>` or `<unblock/>`.
            sender: The `from` of its IQ, None where there is none.

        Raises:
            ProtocolError: somebody else sent it, or it says nothing.
        """
        if not sent_by(sender, self.own):
            raise ProtocolError("a change of the block list from somebody else", rule=_RULE)
        items = _items(payload)
        if payload.tag == UNBLOCK:
            return self._become(self._jids - items if items else frozenset())
        if payload.tag != BLOCK or not items:
            raise ProtocolError("a block push that names nobody", rule=_RULE)
        return self._become(self._jids | items)

    def _become(self, jids: frozenset[str]) -> tuple[BlockChange, ...]:
        if len(jids) > MAX_BLOCKED:
            raise ProtocolError(f"a block list of more than {MAX_BLOCKED}", rule=_RULE)
        changed, self._jids = self._jids ^ jids, jids
        return tuple(BlockChange(jid=jid, blocked=jid in jids) for jid in sorted(changed))


def build_blocklist_request() -> Element:
    """Return the payload of the request for the list (a get)."""
    return Element(BLOCKLIST)


def build_block(jids: Iterable[str]) -> Element:
    """Return the payload that blocks people (a set)."""
    return _with_items(BLOCK, jids)


def build_unblock(jids: Iterable[str]) -> Element:
    """Return the payload that lets people through again (a set).

    Raises:
        ProtocolError: nobody is named; that would let everybody through.
    """
    return _with_items(UNBLOCK, jids)


def _with_items(tag: str, jids: Iterable[str]) -> Element:
    element = Element(tag)
    for jid in jids:
        SubElement(element, _ITEM, {"jid": str(parse_jid(jid))})
    if not len(element):
        raise ProtocolError("nobody is named", rule=_RULE)
    return element


def _items(payload: Element) -> frozenset[str]:
    children = payload.findall(_ITEM)
    if len(children) > MAX_BLOCKED:
        raise ProtocolError(f"a block list of more than {MAX_BLOCKED}", rule=_RULE)
    return frozenset(str(parse_jid(child.get("jid", ""))) for child in children)
