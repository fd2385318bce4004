"""The identity statement in its node: open to everybody, for it proves itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element

from securecall.errors import ProtocolError
from securecall.keys.statement_content import MAX_SIZE
from securecall.xmpp.pubsub import Access, Item, NodeOptions

IDENTITY: Final = "urn:securecall:identity:1"
OPTIONS: Final = NodeOptions(access=Access.OPEN)
PUBLISH_SECONDS: Final = 86_400.0  # so that who withholds a withdrawal has a day, not a fortnight
_TAG: Final = f"{{{IDENTITY}}}identity"


def build_identity(statement: bytes) -> Element:
    """Return the payload that publishes a statement: its JSON, as it is signed, is the text."""
    element = Element(_TAG)
    element.text = statement.decode("ascii")
    return element


def parse_identity(items: Sequence[Item]) -> bytes:
    """Read the statement out of a node's items, b"" where none is published; it proves nothing yet.

    Raises:
        ProtocolError: something else is published there.
    """
    if not items:
        return b""
    payload = items[-1].payload
    if payload is None or payload.tag != _TAG or len(payload):
        raise ProtocolError("an identity was expected in its node", rule=IDENTITY)
    text = (payload.text or "").strip()
    if not text.isascii() or len(text) > MAX_SIZE:
        raise ProtocolError("an identity of another form", rule=IDENTITY)
    return text.encode("ascii")


class Publication:
    """What of our identity was published when, in this session."""

    def __init__(self) -> None:
        """Begin with nothing published."""
        self._statement = b""
        self._at = 0.0

    def is_due(self, statement: bytes, *, unix: float) -> bool:
        """The statement has to be published (again): it is another one, or a day has passed."""
        return statement != self._statement or not 0 <= unix - self._at < PUBLISH_SECONDS

    def published(self, statement: bytes, *, unix: float) -> None:
        """Our server took it."""
        self._statement, self._at = statement, unix
