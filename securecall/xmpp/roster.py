"""The roster: whom our account knows, as the server keeps it (RFC 6121 2, XEP-0237)."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from securecall.errors import ProtocolError
from securecall.keys.encoding import build_json, parse_json
from securecall.xmpp.jid import parse_jid, sent_by

ROSTER: Final = "jabber:iq:roster"
QUERY: Final = f"{{{ROSTER}}}query"
VERSIONING: Final = "{urn:xmpp:features:rosterver}ver"  # the stream feature that allows `version`
_ITEM: Final = f"{{{ROSTER}}}item"
_GROUP: Final = f"{{{ROSTER}}}group"
_RULE: Final = "RFC 6121 2"
MAX_ROSTER: Final = 10_000  # people
_MAX_NAME: Final = 1023  # characters; longer names are cut, not refused
_MAX_GROUPS: Final = 64  # of one person
_MAX_KEPT: Final = 64 * 1024 * 1024  # bytes


class Subscription(enum.StrEnum):
    """Who of the two sees whether the other is there (RFC 6121 2.1.2.5)."""

    NONE = "none"
    TO = "to"  # we see them
    FROM = "from"  # they see us
    BOTH = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterItem:
    """One person on the roster.

    Attributes:
        jid: Bare, mostly.
        name: What we call them, "" for nothing.
        subscription: Who sees whom.
        asked: We asked to see them and were not answered yet.
        approved: They may see us as soon as they ask (RFC 6121 3.4).
        groups: Ours, in no order.
    """

    jid: str
    name: str = ""
    subscription: Subscription = Subscription.NONE
    asked: bool = False
    approved: bool = False
    groups: tuple[str, ...] = ()

    @property
    def sees_us(self) -> bool:
        """They are told when we are there."""
        return self.subscription in (Subscription.FROM, Subscription.BOTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterChange:
    """A person came onto the roster, changed there, or left it.

    Attributes:
        before: As it was, None for who is new.
        after: As it is, None for who is gone.
    """

    before: RosterItem | None
    after: RosterItem | None


class Roster:
    """The roster as the server last told it."""

    def __init__(self, own: str, *, version: str = "", items: Iterable[RosterItem] = ()) -> None:
        """Begin, with what an earlier session kept if there is any.

        Args:
            own: Our bare JID.
            version: Of the items, as the server named it.
            items: Kept with this version.
        """
        self.own = own
        self.version = version
        self._items = {item.jid: item for item in items}

    @property
    def items(self) -> Mapping[str, RosterItem]:
        """Everybody on it, by JID."""
        return MappingProxyType(self._items)

    def sees_us(self, bare: str) -> bool:
        """This person is told when we are there, because we allowed it."""
        item = self._items.get(bare)
        return item is not None and item.sees_us

    def request(self, *, versioning: bool) -> Element:
        """Return the payload of the request for the roster.

        Args:
            versioning: The server offered it (`VERSIONING`).
        """
        return Element(QUERY, {"ver": self.version} if versioning else {})

    def accept_result(self, payload: Element | None) -> tuple[RosterChange, ...]:
        """Take the answer to the request; None means that what we had is still so, pushes follow.

        Raises:
            ProtocolError: it is no roster; what we had stays.
        """
        if payload is None:
            return ()
        version, items = parse_roster(payload)
        before, self._items = self._items, {item.jid: item for item in items}
        self.version = version
        changed = [
            jid for jid in {**before, **self._items} if before.get(jid) != self._items.get(jid)
        ]
        return tuple(
            RosterChange(before=before.get(jid), after=self._items.get(jid)) for jid in changed
        )

    def accept_push(self, payload: Element, *, sender: str | None) -> tuple[RosterChange, ...]:
        """Take a change the server tells us of.

        Args:
            payload: The `<query/>`.
            sender: The `from` of its IQ, None where there is none.

        Raises:
            ProtocolError: somebody else sent it (RFC 6121 2.1.6), or it is no push.
        """
        if not sent_by(sender, self.own):
            raise ProtocolError("a roster push from somebody else than our account", rule=_RULE)
        children = payload.findall(_ITEM)
        if payload.tag != QUERY or len(children) != 1:
            raise ProtocolError("a roster push has exactly one item", rule="RFC 6121 2.1.6")
        item = _parse_item(children[0], removal=True)
        jid = str(parse_jid(children[0].get("jid", "")))
        before = self._items.get(jid)
        if item is None:
            self._items.pop(jid, None)
        elif before is None and len(self._items) >= MAX_ROSTER:
            raise ProtocolError(f"a roster of more than {MAX_ROSTER} people", rule=_RULE)
        else:
            self._items[jid] = item
        self.version = payload.get("ver", self.version)
        return () if before == item else (RosterChange(before=before, after=item),)


def parse_roster(payload: Element) -> tuple[str, tuple[RosterItem, ...]]:
    """Read a whole roster: its version and its items; one whose JID is none is left out.

    Raises:
        ProtocolError: it is no roster, or has more people than we keep.
    """
    if payload.tag != QUERY:
        raise ProtocolError("a roster was expected", rule=_RULE)
    children = payload.findall(_ITEM)
    if len(children) > MAX_ROSTER:
        raise ProtocolError(f"a roster of more than {MAX_ROSTER} people", rule=_RULE)
    items: dict[str, RosterItem] = {}
    for child in children:
        try:
            item = _parse_item(child, removal=False)
        except ProtocolError:
            continue  # one entry that some gateway put there must not cost us all the others
        if item is not None:
            items[item.jid] = item
    return payload.get("ver", ""), tuple(items.values())


def build_kept(version: str, items: Iterable[RosterItem]) -> bytes:
    """Write a roster, to be kept until the next session."""
    return build_json(
        {
            "version": version,
            "items": [
                [i.jid, i.name, i.subscription.value, i.asked, i.approved, list(i.groups)]
                for i in items
            ],
        }
    )


def parse_kept(data: bytes) -> tuple[str, tuple[RosterItem, ...]]:
    """Read what `build_kept` wrote.

    Raises:
        ProtocolError: it is something else.
    """
    kept = parse_json(data, max_size=_MAX_KEPT, max_depth=5)
    match kept:
        case {"version": str(version), "items": list(items)}:
            return version, tuple(_kept_item(item) for item in items)
        case _:
            raise ProtocolError("a roster that was not kept by us", rule=_RULE)


def _kept_item(item: object) -> RosterItem:
    match item:
        case [str(jid), str(name), str(subscription), bool(asked), bool(approved), list(groups)]:
            return RosterItem(
                jid=jid,
                name=name,
                subscription=Subscription(subscription),
                asked=asked,
                approved=approved,
                groups=tuple(group for group in groups if isinstance(group, str)),
            )
        case _:
            raise ProtocolError("a roster that was not kept by us", rule=_RULE)


def build_roster_set(jid: str, *, name: str = "", groups: Iterable[str] = ()) -> Element:
    """Return the payload that puts a person on the roster, or renames one (RFC 6121 2.3)."""
    query = Element(QUERY)
    item = SubElement(query, _ITEM, {"jid": str(parse_jid(jid))})
    if name:
        item.set("name", name)
    for group in groups:
        SubElement(item, _GROUP).text = group
    return query


def build_roster_remove(jid: str) -> Element:
    """Return the payload that takes a person off; both subscriptions end (RFC 6121 2.5)."""
    query = Element(QUERY)
    SubElement(query, _ITEM, {"jid": str(parse_jid(jid)), "subscription": "remove"})
    return query


def _parse_item(child: Element, *, removal: bool) -> RosterItem | None:
    jid = str(parse_jid(child.get("jid", "")))
    subscription = child.get("subscription", "none")
    if subscription == "remove" and removal:
        return None
    try:
        known = Subscription(subscription)
    except ValueError as e:
        raise ProtocolError("an unknown kind of subscription", rule="RFC 6121 2.1.2.5") from e
    groups = dict.fromkeys(group.text or "" for group in child.findall(_GROUP)[:_MAX_GROUPS])
    return RosterItem(
        jid=jid,
        name=child.get("name", "")[:_MAX_NAME],
        subscription=known,
        asked=child.get("ask") == "subscribe",
        approved=child.get("approved") in ("true", "1"),
        groups=tuple(group[:_MAX_NAME] for group in groups if group),
    )
