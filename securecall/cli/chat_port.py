"""What the commands need of a client about the people of an account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from securecall.address import Address
from securecall.errors import Unsupported


@dataclass(frozen=True, slots=True)
class PresenceChanged:
    """Somebody came or went."""

    address: Address


@dataclass(frozen=True, slots=True)
class ContactRequested:
    """Somebody asks to see our presence."""

    address: Address
    text: str


class Person(Protocol):
    """Somebody on the account's list of contacts, or who asks to be."""

    @property
    def address(self) -> Address:
        """Theirs."""
        ...

    @property
    def name(self) -> str:
        """As we call them, "" for no name."""
        ...

    @property
    def subscription(self) -> str:
        """Who sees whose presence: none, to, from, both."""
        ...

    @property
    def presence(self) -> str:
        """Where they are: available, away, …, offline."""
        ...

    @property
    def status(self) -> str:
        """What they say about it."""
        ...

    @property
    def requests(self) -> bool:
        """They ask to see our presence."""
        ...


@runtime_checkable
class People(Protocol):
    """A client with a list of contacts."""

    def people(self) -> Sequence[Person]:
        """The contacts, and who asks to be one."""
        ...

    async def add_contact(self, address: Address, name: str = "") -> None:
        """Ask somebody to be a contact."""
        ...

    async def accept_contact(self, address: Address) -> None:
        """Let somebody who asked see our presence."""
        ...

    async def decline_contact(self, address: Address) -> None:
        """Say no to somebody who asked."""
        ...

    async def remove_contact(self, address: Address) -> None:
        """Drop a contact."""
        ...

    async def block(self, address: Address) -> None:
        """Hear nothing from somebody any more."""
        ...

    async def unblock(self, address: Address) -> None:
        """Hear from them again."""
        ...


def people_of(client: object) -> Sequence[Person]:
    """Everybody on the list, nobody where there is none."""
    return client.people() if isinstance(client, People) else ()


def require_people(client: object) -> People:
    """The client, if it has a list of contacts.

    Raises:
        Unsupported: it has none.
    """
    if not isinstance(client, People):
        raise Unsupported("this build of securecall keeps no list of contacts with the server yet")
    return client
