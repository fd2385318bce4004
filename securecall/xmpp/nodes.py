"""Nodes in practice: publish so that the right people can read it, fetch what others published."""

from __future__ import annotations

from typing import Final, Literal, Protocol
from xml.etree.ElementTree import Element

from securecall.errors import XmppRefused
from securecall.xmpp.pubsub import (
    Item,
    NodeOptions,
    build_configuration,
    build_configuration_request,
    build_create,
    build_items_request,
    build_publish,
    is_configured,
    parse_configuration,
    parse_items,
    require_configuration,
)

CURRENT: Final = "current"  # the one item of a node that holds one (XEP-0060 12.20)


class Asks(Protocol):
    """What those need of a session who ask servers and people."""

    async def request(
        self, payload: Element, *, to: str = "", kind: Literal["get", "set"] = "get"
    ) -> Element | None:
        """Ask, and return the answer's payload."""
        ...


class Nodes:
    """The nodes of our account, and those of others."""

    def __init__(self, session: Asks) -> None:
        """Work over a session."""
        self._session = session
        self._checked: set[str] = set()

    async def publish(self, node: str, item: str, payload: Element, options: NodeOptions) -> None:
        """Publish an item; nothing is written into a node whose configuration was not seen first.

        Servers are told the options with each item (XEP-0060 7.1.5), but some pass over what they
        do not know: a private node was public then (CVE-2019-1000021).

        Raises:
            XmppRefused: the server does not do it.
            SecurityError: the node cannot be configured as it has to be.
            ConnectFailed: no answer came.
        """
        if node not in self._checked:
            await self._configure(node, options)
            self._checked.add(node)
        try:
            await self._set(build_publish(node, item, payload, options))
        except XmppRefused as e:
            if e.condition != "conflict":  # the precondition is not met: another client changed it
                raise
            await self._configure(node, options)
            await self._set(build_publish(node, item, payload, options))

    async def _configure(self, node: str, options: NodeOptions) -> None:
        try:
            found = await self._session.request(build_configuration_request(node))
        except XmppRefused as e:
            if e.condition != "item-not-found":
                raise
            await self._create(node, options)
            found = await self._session.request(build_configuration_request(node))
        configuration = parse_configuration(found)
        if not is_configured(configuration, options):
            await self._set(build_configuration(node, options))
            found = await self._session.request(build_configuration_request(node))
            configuration = parse_configuration(found)
        require_configuration(node, configuration, options)

    async def _create(self, node: str, options: NodeOptions) -> None:
        try:
            await self._set(build_create(node, options))
        except XmppRefused as e:
            if (
                e.condition != "conflict"
            ):  # another device of ours made it just now (XEP-0060 8.1.2)
                raise

    async def _set(self, payload: Element) -> None:
        _ = await self._session.request(payload, kind="set")

    async def fetch(self, owner: str, node: str, *ids: str, most: int = 0) -> tuple[Item, ...]:
        """What somebody published there; nothing, where there is no such node.

        Raises:
            XmppRefused: it may not be read.
            ProtocolError: it cannot be understood.
            ConnectFailed: no answer came.
        """
        try:
            found = await self._session.request(
                build_items_request(node, ids=ids, most=most), to=owner
            )
        except XmppRefused as e:
            if e.condition == "item-not-found":
                return ()
            raise
        return parse_items(found, node)
