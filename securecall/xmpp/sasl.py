"""The login's elements (RFC 6120 6), and what a server offers for it (XEP-0440)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from securecall.errors import ConnectFailed, LoginRefused, ProtocolError

NAMESPACE: Final = "urn:ietf:params:xml:ns:xmpp-sasl"
BINDINGS: Final = "urn:xmpp:sasl-cb:0"
_MOST_OFFERED: Final = 64


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server takes.

    Attributes:
        mechanisms: Their names.
        bindings: The types of channel binding; None if it does not say.
    """

    mechanisms: tuple[str, ...]
    bindings: tuple[str, ...] | None


def parse_offer(features: Mapping[str, Element]) -> Offer:
    """Read the stream features.

    Raises:
        ProtocolError: it offers without end.
    """
    listed = features.get(f"{{{NAMESPACE}}}mechanisms")
    names = [child.text or "" for child in listed] if listed is not None else []
    bound = features.get(f"{{{BINDINGS}}}sasl-channel-binding")
    types = [child.get("type", "") for child in bound] if bound is not None else None
    if len(names) > _MOST_OFFERED or len(types or ()) > _MOST_OFFERED:
        raise ProtocolError("the server offers too many ways to log in", rule="RFC 6120 6.3.3")
    return Offer(tuple(names), None if types is None else tuple(types))


def build_auth(mechanism: str, message: bytes) -> Element:
    """Begin a login."""
    auth = Element(f"{{{NAMESPACE}}}auth", mechanism=mechanism)
    auth.text = base64.b64encode(message).decode()
    return auth


def build_response(message: bytes) -> Element:
    """Answer a challenge."""
    response = Element(f"{{{NAMESPACE}}}response")
    response.text = base64.b64encode(message).decode() or None
    return response


def parse_answer(element: Element, *wanted: str) -> bytes:
    """What a challenge or a success carries.

    Raises:
        LoginRefused: it is a failure.
        ConnectFailed: it is one that time may mend.
        ProtocolError: it is something else than what is due.
    """
    if element.tag == f"{{{NAMESPACE}}}failure":
        raise _refused(element)
    if element.tag not in [f"{{{NAMESPACE}}}{name}" for name in wanted]:
        raise ProtocolError("the server does not keep to the login", rule="RFC 6120 6.4")
    text = element.text or ""
    try:
        return b"" if text == "=" else base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as e:
        raise ProtocolError("a message of the login is not base64", rule="RFC 6120 6.4") from e


def _refused(failure: Element) -> LoginRefused | ConnectFailed:
    names = [child.tag.rpartition("}")[2] for child in failure]
    condition = next((name for name in names if name != "text"), "no reason")[:40]
    if condition == "temporary-auth-failure":
        return ConnectFailed("the server cannot check passwords now; try again later")
    why = _FAILURES.get(condition, "the server refuses the login")
    return LoginRefused(f"{why} ({condition})")


_FAILURES: Final = {
    "not-authorized": "the user or the password is wrong",
    "account-disabled": "the account was disabled; ask the server's operator",
    "credentials-expired": "the password has expired; set a new one",
}
