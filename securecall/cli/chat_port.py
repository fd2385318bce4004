"""What the commands of chat need of a client, and the values it tells them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from securecall.address import Address
from securecall.chat.conversation import Conversation, Recipient
from securecall.chat.message import Activity, Message
from securecall.contacts import Contacts
from securecall.errors import Unsupported
from securecall.secret import Secret


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """Somebody wrote."""

    message: Message


@dataclass(frozen=True, slots=True)
class MessageChanged:
    """A message got further, was edited, or reacted to."""

    message: Message


@dataclass(frozen=True, slots=True)
class TypingChanged:
    """Somebody writes, or stopped."""

    conversation: Address
    sender: Address
    activity: Activity


@dataclass(frozen=True, slots=True)
class PresenceChanged:
    """Somebody came or went."""

    address: Address


@dataclass(frozen=True, slots=True)
class ContactRequested:
    """Somebody asks to see our presence."""

    address: Address
    text: str


@dataclass(frozen=True, slots=True)
class NewDevice:
    """Somebody has a device that was not there before."""

    address: Address
    recipient: Recipient


@dataclass(frozen=True, slots=True)
class ChatStateChanged:
    """The connection of an account came, went, or was refused."""

    address: Address
    state: str
    error: Exception | None


ChatEvent = (
    MessageReceived
    | MessageChanged
    | TypingChanged
    | PresenceChanged
    | ContactRequested
    | NewDevice
    | ChatStateChanged
)


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
class ChatClient(Protocol):
    """A client that is signed in for chat."""

    @property
    def contacts(self) -> Contacts:
        """Keys of people."""
        ...

    async def sign_in(
        self,
        sip: str = "",
        *,
        xmpp: str = "",
        password: Secret | None = None,
        server: tuple[str, int] | str | None = None,
        server_name: str = "",
        authorities: Path | None = None,
    ) -> object:
        """Connect an account."""
        ...

    def conversation(self, address: str | Address) -> Conversation:
        """What is written with one person or in one room."""
        ...

    def conversations(self) -> tuple[Conversation, ...]:
        """Every one, newest first."""
        ...

    def people(self) -> Sequence[Person]:
        """The account's contacts, and who asks to be one."""
        ...

    async def add_contact(self, address: str | Address, name: str = "") -> None:
        """Ask somebody to be a contact."""
        ...

    async def accept_contact(self, address: str | Address) -> None:
        """Let somebody who asked see our presence."""
        ...

    async def decline_contact(self, address: str | Address) -> None:
        """Say no to somebody who asked."""
        ...

    async def remove_contact(self, address: str | Address) -> None:
        """Drop a contact."""
        ...

    async def block(self, address: str | Address) -> None:
        """Hear nothing from somebody any more."""
        ...

    async def unblock(self, address: str | Address) -> None:
        """Hear from them again."""
        ...

    def trust_device(
        self, address: str | Address, identity_key: bytes, *, verified: bool = False
    ) -> None:
        """Encrypt for a device from now on."""
        ...

    def distrust_device(self, address: str | Address, identity_key: bytes) -> None:
        """Encrypt for it no more."""
        ...

    def events(self) -> AsyncIterator[object]:
        """Everything that happens from now on."""
        ...


def require_chat(client: object) -> ChatClient:
    """The client, if it can chat.

    Raises:
        Unsupported: it cannot.
    """
    if not isinstance(client, ChatClient):
        raise Unsupported("this build of securecall has calls only, no chat yet")
    return client
