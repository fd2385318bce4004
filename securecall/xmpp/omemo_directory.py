"""Device lists and bundles in nodes (XEP-0384 5.3): the directory that OMEMO asks."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from securecall.errors import (
    ConnectFailed,
    NetworkError,
    NoDevices,
    ProtocolError,
    XmppRefused,
)
from securecall.keys.omemo_values import OMEMO, Bundle, Sealed
from securecall.xmpp.jid import Jid, parse_jid
from securecall.xmpp.nodes import CURRENT, Nodes
from securecall.xmpp.omemo import (
    build_bundle,
    build_devices,
    build_encrypted,
    bundle_node,
    devices_node,
    parse_bundle,
    parse_devices,
)
from securecall.xmpp.outbox import MESSAGE
from securecall.xmpp.pubsub import Access, NodeOptions
from securecall.xmpp.saying import STORE

_ONE: Final = NodeOptions(access=Access.OPEN)
_MANY: Final = NodeOptions(access=Access.OPEN, max_items=0)
# What a server answers for an account it does not have, or whose server it does not reach: for us
# the same as one without devices.
_NOBODY: Final = frozenset({"item-not-found", "service-unavailable", "remote-server-not-found"})

_CONTACTS_ONLY: Final = frozenset({"forbidden", "not-authorized"})


class OmemoDirectory:
    """Fits `keys.omemo_ports.Directory`."""

    def __init__(self, nodes: Nodes, *, carry: Callable[[Jid, Element], Awaitable[None]]) -> None:
        """Ask and publish in these nodes; `carry` sends a message to somebody."""
        self._nodes = nodes
        self._carry = carry

    async def fetch_devices(self, namespace: str, jid: str) -> Mapping[int, str]:
        """Device id -> label; empty where there is no list.

        Raises:
            NetworkError: no answer, or a refusal.
            ProtocolError: the list cannot be read.
        """
        try:
            items = await self._nodes.fetch(jid, devices_node(namespace), most=1)
        except XmppRefused as e:
            if e.condition in _NOBODY:
                return {}
            if e.condition in _CONTACTS_ONLY:
                raise NoDevices(
                    f"{jid} never signed in to chat, shows its keys to contacts only, or does not "
                    "exist"
                ) from e
            raise _refused(jid, e) from e
        payload = items[-1].payload if items else None
        return {} if payload is None else parse_devices(payload)

    async def fetch_bundle(self, namespace: str, jid: str, device_id: int) -> Bundle:
        """The keys of a device.

        Raises:
            NetworkError: no answer, or a refusal.
            ProtocolError: there are none, or they cannot be read.
        """
        node, item = bundle_node(namespace, device_id)
        # Other clients of the legacy namespace name that one item as they like.
        ids, most = ((item,), 0) if namespace == OMEMO else ((), 1)
        try:
            items = await self._nodes.fetch(jid, node, *ids, most=most)
        except XmppRefused as e:
            raise _refused(jid, e) from e
        payload = items[-1].payload if items else None
        if payload is None:
            raise ProtocolError(f"device {device_id} of {jid} has no keys", rule="XEP-0384 5.3.2")
        return parse_bundle(payload, jid, device_id)

    async def publish_devices(self, namespace: str, devices: Mapping[int, str]) -> None:
        """Replace our own list.

        Raises:
            NetworkError: no answer, or a refusal.
        """
        payload = build_devices(namespace, devices)
        await self._publish(devices_node(namespace), CURRENT, payload, _ONE)

    async def publish_bundle(self, bundle: Bundle) -> None:
        """Replace our own keys.

        Raises:
            NetworkError: no answer, or a refusal.
        """
        node, item = bundle_node(bundle.namespace, bundle.id)
        options = _MANY if bundle.namespace == OMEMO else _ONE
        await self._publish(node, item, build_bundle(bundle), options)

    async def _publish(self, node: str, item: str, payload: Element, options: NodeOptions) -> None:
        try:
            await self._nodes.publish(node, item, payload, options)
        except XmppRefused as e:
            raise _refused("our own server", e) from e

    async def send(self, sealed: Sealed, jid: str) -> None:
        """Send a message that carries nothing but keys.

        Raises:
            LocalError: it could not be kept until the server has it.
        """
        stanza = Element(MESSAGE, {"to": jid, "type": "chat", "id": str(uuid.uuid4())})
        stanza.append(build_encrypted(sealed))
        _ = SubElement(stanza, STORE)
        await self._carry(parse_jid(jid), stanza)


def _refused(who: str, error: XmppRefused) -> NetworkError:
    return ConnectFailed(f"{who} does not give or take keys: {error}")
