"""JIDs as servers write them (RFC 7622), in one form that can be compared."""

from __future__ import annotations

import functools
import unicodedata
from dataclasses import dataclass, replace

from securecall.address import Address, Scheme, parse_address
from securecall.errors import ProtocolError

_RULE = "RFC 7622 3.1"
_MOST_BYTES = 1023  # of each part


@dataclass(frozen=True, slots=True)
class Jid:
    """One prepared JID; equal parts mean the same entity.

    `str()` is the form for the wire.

    Attributes:
        local: Of the account, "" for a server.
        domain: In A-labels, as in `Address`.
        resource: Of the device, or the nickname in a room; "" for a bare JID.
    """

    local: str
    domain: str
    resource: str = ""

    def __str__(self) -> str:
        return f"{self.bare}/{self.resource}" if self.resource else self.bare

    @property
    def bare(self) -> str:
        """The account or the room as text, without device or nickname."""
        return f"{self.local}@{_readable(self.domain)}" if self.local else _readable(self.domain)

    @property
    def account(self) -> Jid:
        """The account or the room, without device or nickname."""
        return replace(self, resource="") if self.resource else self

    @property
    def address(self) -> Address:
        """Whose it is.

        Raises:
            ProtocolError: a server's, nobody's.
        """
        if not self.local:
            raise ProtocolError("a server is nobody's address", rule=_RULE)
        return Address(Scheme.XMPP, self.local, self.domain)


@functools.lru_cache(maxsize=1024)
def parse_jid(text: str) -> Jid:
    """Read a JID, prepared for comparison.

    Raises:
        ProtocolError: it is none, or one that has no single form.
    """
    if len(text) > 3 * _MOST_BYTES + 2:
        raise ProtocolError("a JID is too long", rule=_RULE)
    bare, slash, resource = text.partition("/")  # 3.2: first the resource is cut off
    local, at, domain = bare.partition("@")
    if not at:
        local, domain = "", bare
    elif not local:
        raise ProtocolError("a JID has an empty local part", rule=_RULE)
    # the address module decides what a person's address is; a server's name is read by the same
    address = parse_address(f"xmpp:{local or 'x'}@{domain}")
    named = _resource(resource) if slash else ""
    return Jid(address.user if local else "", address.host, named)


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


def _resource(text: str) -> str:
    # OpaqueString of RFC 8265 4.2: spaces become one kind, nothing else is mapped
    mapped = "".join(" " if unicodedata.category(c) == "Zs" else c for c in text)
    resource = unicodedata.normalize("NFC", mapped)
    if not resource or any(unicodedata.category(c) in ("Cc", "Cs") for c in resource):
        raise ProtocolError("a JID's resource is empty, or has control characters", rule=_RULE)
    if len(resource.encode()) > _MOST_BYTES:
        raise ProtocolError("a JID's resource is too long", rule=_RULE)
    return resource


def _readable(domain: str) -> str:
    if "xn--" not in domain:
        return domain
    try:  # 3.2.1: U-labels on the wire
        readable = domain.encode("ascii").decode("idna")
        return readable if readable.encode("idna") == domain.encode("ascii") else domain
    except UnicodeError:
        return domain
