"""What somebody publishes at their own account (XEP-0060, XEP-0163, XEP-0223)."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from securecall.errors import ProtocolError, Reason, SecurityError
from securecall.xmpp.forms import FORM, Form, build_form, parse_form
from securecall.xmpp.jid import parse_jid

PUBSUB: Final = "http://jabber.org/protocol/pubsub"
OWNER: Final = f"{PUBSUB}#owner"
EVENTS: Final = f"{PUBSUB}#event"
EVENT: Final = f"{{{EVENTS}}}event"
PUBLISH_OPTIONS: Final = f"{PUBSUB}#publish-options"
_NODE_CONFIG: Final = f"{PUBSUB}#node_config"
_RULE: Final = "XEP-0060"
MAX_ITEMS: Final = 1024  # of one answer or event
_MAX_ID: Final = 1023  # characters


class Access(enum.StrEnum):
    """Who may read a node (XEP-0060 4.5)."""

    OPEN = "open"
    PRESENCE = "presence"
    ROSTER = "roster"
    AUTHORIZE = "authorize"
    WHITELIST = "whitelist"  # at our own account: nobody but us (XEP-0223 3)


class Whose(enum.Enum):
    """Whose events of a node are asked for."""

    OURS = enum.auto()  # a private node: what anybody else sends under its name is nothing
    ANYBODYS = enum.auto()  # each for themselves: the owner is who sent it


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """How a node of ours has to be configured.

    Attributes:
        access: Who may read it.
        max_items: How many items it keeps; 0 for as many as the server lets us.
        send_last: The last item is sent to whoever comes online, where the server does so.
    """

    access: Access
    max_items: int = 1
    send_last: bool = True

    def conditions(self) -> Mapping[str, tuple[str, ...]]:
        """What every publication is on condition of; ejabberd knows no more than these two."""
        return {
            "pubsub#persist_items": ("true",),
            "pubsub#access_model": (self.access.value,),
        }

    def fields(self) -> Mapping[str, tuple[str, ...]]:
        """The fields of a form that asks for it."""
        return {
            **self.conditions(),
            "pubsub#max_items": (str(self.max_items) if self.max_items else "max",),
            "pubsub#send_last_published_item": (
                "on_sub_and_presence" if self.send_last else "never",
            ),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item of a node.

    Attributes:
        id: Its name in the node.
        payload: What was published, None where only the name came.
    """

    id: str
    payload: Element | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEvent:
    """Something happened at a node we asked to hear of.

    Attributes:
        owner: Bare JID whose node it is, as our server vouches for it.
        node: Which node.
        items: Published.
        retracted: Names of items that were taken back.
        emptied: All items are gone: the node was purged or deleted.
    """

    owner: str
    node: str
    items: tuple[Item, ...] = ()
    retracted: tuple[str, ...] = ()
    emptied: bool = False


def parse_event(stanza: Element, *, own: str, nodes: Mapping[str, Whose]) -> NodeEvent | None:
    """Read the event in a message, None where there is none or we did not ask for it.

    Whose node it is says the `from`, and it has to be a bare JID: a message by a person comes from
    a full one, so none can pass for an event of their contact (CVE-2023-28686 was of this kind).

    Args:
        stanza: The message, as our server delivered it; not one out of a carbon or an archive.
        own: Our bare JID.
        nodes: What we ask `+notify` for.

    Raises:
        ProtocolError: somebody made it who has no node, or it is ill-formed.
    """
    event = stanza.find(EVENT)
    if event is None or stanza.get("type") == "error":
        return None
    if len(event) != 1:
        raise ProtocolError("an event is one thing that happened", rule=_RULE)
    child = event[0]
    what, node = child.tag.removeprefix(f"{{{EVENTS}}}"), child.get("node", "")
    whose = nodes.get(node)
    if whose is None or what not in ("items", "purge", "delete"):
        return None
    sender = parse_jid(stanza.get("from") or own)
    if sender.resource or stanza.get("type") == "groupchat":
        raise ProtocolError("an event that no account sent", rule="XEP-0163 4.3")
    if whose is Whose.OURS and sender.bare != own:
        raise ProtocolError("an event of a node of ours from somebody else", rule="XEP-0163 4.3")
    retracted = [_id(c) for c in child.findall(f"{{{EVENTS}}}retract")[:MAX_ITEMS]]
    return NodeEvent(
        owner=sender.bare,
        node=node,
        items=_items(child, EVENTS),
        retracted=tuple(retracted),
        emptied=what != "items",
    )


def build_items_request(node: str, *, ids: Iterable[str] = (), most: int = 0) -> Element:
    """Return the payload that asks for items: all, the named ones, or the last few."""
    pubsub = Element(f"{{{PUBSUB}}}pubsub")
    items = SubElement(pubsub, f"{{{PUBSUB}}}items", {"node": node})
    if most:
        items.set("max_items", str(most))
    for item_id in ids:
        SubElement(items, f"{{{PUBSUB}}}item", {"id": item_id})
    return pubsub


def parse_items(payload: Element | None, node: str) -> tuple[Item, ...]:
    """Read the answer to `build_items_request`.

    Raises:
        ProtocolError: it is none, or of another node.
    """
    items = payload.find(f"{{{PUBSUB}}}items") if payload is not None else None
    if items is None or items.get("node") != node:
        raise ProtocolError("the items of another node were answered", rule="XEP-0060 6.5")
    return _items(items, PUBSUB)


def build_publish(node: str, item_id: str, payload: Element, options: NodeOptions) -> Element:
    """Return the payload that publishes one item, on the condition that the node is as it must be.

    The options are a precondition: a server that knows them refuses what they are not true of
    (XEP-0060 7.1.5). One that does not passes over them; `require_configuration` looks before.
    """
    pubsub = Element(f"{{{PUBSUB}}}pubsub")
    publish = SubElement(pubsub, f"{{{PUBSUB}}}publish", {"node": node})
    SubElement(publish, f"{{{PUBSUB}}}item", {"id": item_id}).append(payload)
    wrapped = SubElement(pubsub, f"{{{PUBSUB}}}publish-options")
    wrapped.append(
        build_form(Form(kind="submit", form_type=PUBLISH_OPTIONS, fields=options.conditions()))
    )
    return pubsub


def build_create(node: str, options: NodeOptions) -> Element:
    """Return the payload that makes a node, configured from its first moment (XEP-0060 8.1.3)."""
    pubsub = Element(f"{{{PUBSUB}}}pubsub")
    SubElement(pubsub, f"{{{PUBSUB}}}create", {"node": node})
    configure = SubElement(pubsub, f"{{{PUBSUB}}}configure")
    configure.append(
        build_form(Form(kind="submit", form_type=_NODE_CONFIG, fields=options.fields()))
    )
    return pubsub


def build_configuration_request(node: str) -> Element:
    """Return the payload that asks how a node of ours is configured."""
    pubsub = Element(f"{{{OWNER}}}pubsub")
    SubElement(pubsub, f"{{{OWNER}}}configure", {"node": node})
    return pubsub


def build_configuration(node: str, options: NodeOptions) -> Element:
    """Return the payload that configures a node of ours anew."""
    pubsub = build_configuration_request(node)
    pubsub[0].append(
        build_form(Form(kind="submit", form_type=_NODE_CONFIG, fields=options.fields()))
    )
    return pubsub


def parse_configuration(payload: Element | None) -> Form:
    """Read how a node of ours is configured.

    Raises:
        ProtocolError: it is no configuration.
    """
    found = payload.find(f"{{{OWNER}}}configure/{FORM}") if payload is not None else None
    if found is None:
        raise ProtocolError("the configuration of a node was expected", rule="XEP-0060 8.2")
    return parse_form(found)


def is_configured(configuration: Form, options: NodeOptions) -> bool:
    """The node is open to those it should be open to, and keeps what is published."""
    persistent = configuration.flag("pubsub#persist_items")
    return (
        configuration.first("pubsub#access_model") == options.access.value
        and persistent is not False
    )


def require_configuration(node: str, configuration: Form, options: NodeOptions) -> None:
    """Refuse to write where others can read what is not for them (CVE-2019-1000021).

    Raises:
        SecurityError: the server keeps the node open to others than it was told.
    """
    if not is_configured(configuration, options):
        found = configuration.first("pubsub#access_model")
        raise SecurityError(
            f"the server keeps {node!r} as {found!r} instead of {options.access.value!r}; "
            "nothing was written there",
            reason=Reason.BELOW_POLICY,
        )


def _items(parent: Element, namespace: str) -> tuple[Item, ...]:
    children = parent.findall(f"{{{namespace}}}item")
    if len(children) > MAX_ITEMS:
        raise ProtocolError(f"more than {MAX_ITEMS} items at once", rule=_RULE)
    if any(len(child) > 1 for child in children):
        raise ProtocolError("an item with two payloads", rule="XEP-0060 7.1.3")
    return tuple(
        Item(id=_id(child), payload=child[0] if len(child) else None) for child in children
    )


def _id(child: Element) -> str:
    item_id = child.get("id", "")
    if len(item_id) > _MAX_ID:
        raise ProtocolError("an item with a name longer than any", rule=_RULE)
    return item_id
