"""JIDs: who, at which server, on which connection (RFC 7622)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from securecall.address import Address, Scheme, parse_address
from securecall.errors import ProtocolError

_RULE: Final = "RFC 7622 3"
_MAX_PART: Final = 1023  # octets (RFC 7622 3.2 to 3.4)
_NOT_LOCAL: Final = frozenset("\"&'/:<>@\x7f")  # RFC 7622 3.3.1


@dataclass(frozen=True, slots=True)
class Jid:
    """A JID in the form in which two can be compared.

    Attributes:
        local: Who, "" for a server or a service.
        domain: At which server, lower case.
        resource: On which connection, or under which nickname; "" for a bare JID.
    """

    local: str
    domain: str
    resource: str = ""

    def __str__(self) -> str:
        return f"{self.bare}/{self.resource}" if self.resource else self.bare

    @property
    def bare(self) -> str:
        """The JID without its resource."""
        return f"{self.local}@{self.domain}" if self.local else self.domain

    @property
    def address(self) -> Address:
        """The person's address.

        Raises:
            ProtocolError: this is nobody's address, but a server's or a machine's.
        """
        return parse_address(f"xmpp:{self.bare}")


def parse_jid(text: str) -> Jid:
    """Read a JID.

    Raises:
        ProtocolError: the text is none.
    """
    rest, slash, resource = text.partition("/")
    local, at, domain = rest.rpartition("@") if "@" in rest else ("", "", rest)
    local, domain = local.casefold(), domain.lower().removesuffix(".")
    if (at and not local) or (slash and not resource) or not domain:
        raise ProtocolError("a JID with an empty part", rule=_RULE)
    if any(c <= " " or c in _NOT_LOCAL for c in local):
        raise ProtocolError("a local part with a character that none carries", rule=_RULE)
    if any(c <= " " or c in "@\"'&<>\x7f" for c in domain):
        raise ProtocolError("a domain with a character that none carries", rule=_RULE)
    if any(c < " " or c == "\x7f" for c in resource):
        raise ProtocolError("a resource with a control character", rule=_RULE)
    if any(len(part.encode(errors="replace")) > _MAX_PART for part in (local, domain, resource)):
        raise ProtocolError("a JID longer than any", rule=_RULE)
    return Jid(local, domain, resource)


def jid_of(address: Address) -> Jid:
    """Return the bare JID of an `xmpp:` address.

    Raises:
        ProtocolError: it is an address of another network.
    """
    if address.scheme is not Scheme.XMPP:
        raise ProtocolError(f"{address.short} is no XMPP address", rule=_RULE)
    return Jid(address.user, address.host)


def sent_by(text: str | None, allowed: str) -> bool:
    """Say whether a `from` is the given bare JID itself, or is left out as our server may.

    Only for what our own account says: its roster, its block list (RFC 6121 2.1.6).
    """
    if text is None:
        return True
    try:
        return str(parse_jid(text)) == allowed
    except ProtocolError:
        return False
