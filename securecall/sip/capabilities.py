"""What this user agent can do, as every message that has to say so says it."""

from __future__ import annotations

from typing import Final

from securecall.sip.body import ACCEPT as ACCEPT
from securecall.sip.fragment import PACKAGE
from securecall.sip.grammar import SipError, split_tokens
from securecall.sip.message import Message

ALLOW: Final = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, REFER, NOTIFY"
# what a peer may insist on; 199 only tells that we understand that status (RFC 6228 4)
_REQUIRABLE: Final = ("100rel", "timer", "replaces", "norefersub", PACKAGE)
SUPPORTED: Final = ", ".join((*_REQUIRABLE, "199"))
# the packages of INFO that we take, and what says that we take none (RFC 6086 4.2.3)
PACKAGES: Final = ("Recv-Info", PACKAGE)
NO_PACKAGES: Final = ("Recv-Info", "")
# of every message that begins or changes a session, and of every 2xx to one; Allow besides
SESSION_FIELDS: Final = (("Supported", SUPPORTED), ("Accept", ACCEPT), PACKAGES)


def require_supported(message: Message) -> None:
    """Refuse a request that needs an extension we do not have (RFC 3261 8.2.2.3).

    Raises:
        SipError: answered with 420 and the names of what is missing.
    """
    # Proxy-Require is for proxies, and we are none (RFC 3261 20.29)
    missing = [t for t in tokens(message, "require") if t.lower() not in _REQUIRABLE]
    if missing:
        raise SipError(
            "a required extension is not supported",
            status=420,
            fields=(("Unsupported", ", ".join(missing)),),
        )


def tokens(message: Message, key: str) -> list[str]:
    """Every token of a list field such as "require", as it stands."""
    return [token for text in message.headers.all(key) for token in split_tokens(text, key)]


def supports(message: Message, option: str) -> bool:
    """Whether the sender of a message knows an extension; what it requires it knows."""
    names = tokens(message, "supported") + tokens(message, "require")
    return option in (name.lower() for name in names)
