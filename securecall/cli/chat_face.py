"""Where a chat is seen, and what is known of its other side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from securecall.chat.message import Message
from securecall.cli.chat_lines import Part
from securecall.errors import SecurecallError

if TYPE_CHECKING:
    from securecall.chat.conversation import Recipient

Rows = Sequence[Sequence[Part]]


class Face(Protocol):
    """Where a chat is seen: a screen, lines, or JSON."""

    def arrived(self, message: Message) -> None:
        """Somebody wrote."""
        ...

    def changed(self, message: Message | None) -> None:
        """A message is not what it was; None for: look at all of them."""
        ...

    def notice(self, rows: Rows) -> None:
        """Say something that is no message."""
        ...

    def found(self, messages: Sequence[Message]) -> None:
        """Show what was searched for, oldest first."""
        ...

    def earlier(self, count: int) -> None:
        """Show more of what was written before."""
        ...

    def devices(self, recipients: Sequence[Recipient]) -> None:
        """Show devices, numbered from 1."""
        ...

    def progress(self, what: str, done: int, of: int) -> None:
        """A file is under way; done when both are the same."""
        ...

    def failed(self, error: SecurecallError) -> None:
        """What was asked for did not work; the chat goes on."""
        ...

    def standing(self) -> None:
        """Presence, typing, connection or keys of the other side changed."""
        ...


@dataclass(slots=True)
class Standing:
    """What is known of the other side just now.

    Attributes:
        name: As we call them.
        presence: available, away, … "" while nothing is known.
        status: What they say about it.
        typing: They write.
        offline: Our own connection is gone: why, "" while it is there.
        recipients: Their devices.
    """

    name: str = ""
    presence: str = ""
    status: str = ""
    typing: bool = False
    offline: str = ""
    recipients: tuple[Recipient, ...] = ()
