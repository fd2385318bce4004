"""All conversations of one person: which account carries each, and what is kept of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from securecall.address import Address, Scheme, parse_address
from securecall.chat.attachments import sweep
from securecall.chat.committer import Committer
from securecall.chat.conversation import (
    Conversation,
    Courier,
    Enclosure,
    Progress,
    Recipient,
    incoming,
)
from securecall.chat.message import Displayed, Message, Reaction, SharedFile, Text, Typing
from securecall.contacts import Contact, Contacts
from securecall.devices import Devices
from securecall.errors import DowngradeError, LocalError, UsageError
from securecall.events import Event, MessageExpired
from securecall.logs import logger
from securecall.secret import Secret
from securecall.transport.turn import IceHelpers

if TYPE_CHECKING:  # XMPP and OMEMO are imported by whoever signs in
    from securecall.chat_account import ChatAccount
    from securecall.store.history import ChatHistory

EXPIRE_SECONDS: Final = 60.0
_A_PAGE: Final = 200
_NOBODY: Final = "sign in to an XMPP account first: await client.sign_in(xmpp=...)"

log = logger(__name__)


class Chatting:
    """The conversations of one person, over all their XMPP accounts.

    Attributes:
        accounts: Those that are signed in.
        devices: What the OMEMO devices of others are to us.
    """

    def __init__(self, contacts: Contacts, tell: Callable[[Event], None], folder: Path) -> None:
        """Begin without an account; the history is opened when it is first needed.

        Args:
            contacts: Whom we know.
            tell: Told what happens.
            folder: A private one, for files on their way.
        """
        self.accounts: list[ChatAccount] = []
        self.devices = Devices(contacts)
        self._contacts = contacts
        self._tell = tell
        self._folder = folder
        self._kept: tuple[ChatHistory, Committer] | None = None
        self._plain: set[Address] = set()
        self._expiring: asyncio.Task[None] | None = None

    async def sign_in(
        self,
        address: Address,
        password: Secret,
        *,
        server: tuple[str, int] | str | None,
        server_name: str,
        authorities: Path | None,
    ) -> ChatAccount:
        """Use an XMPP address; see `Client.sign_in`."""
        from securecall.chat_account import ChatAccount
        from securecall.xmpp.session import XmppLogin

        if any(account.address == address for account in self.accounts):
            raise UsageError(f"{address.short} is signed in already")
        history, committer = self._open
        account = await ChatAccount.open(
            XmppLogin(
                address=address,
                password=password,
                server=server,
                server_name=server_name,
                authorities=authorities,
            ),
            history=history,
            committer=committer,
            contacts=self._contacts,
            devices=self.devices,
            plaintext=self._plain.__contains__,
            folder=self._folder,
            tell=self._tell,
        )
        self.accounts.append(account)
        return account

    async def sign_out(self, account: ChatAccount) -> None:
        """Leave one server."""
        if account in self.accounts:
            self.accounts.remove(account)
            await account.close()

    async def close(self) -> None:
        """Leave every server."""
        if self._expiring is not None:
            _ = self._expiring.cancel()
        for account in self.accounts:
            await account.close()
        self.accounts.clear()

    @property
    def _open(self) -> tuple[ChatHistory, Committer]:
        if self._kept is None:
            history = self._contacts.store.open_history()
            sweep(self._folder)  # what a crash left of files on their way
            # OMEMO reads again what a lost transaction changed; see the head of `keys.omemo`
            self._kept = history, Committer(history, undone=lambda: None)
            self._expiring = asyncio.get_running_loop().create_task(self._expire())
        return self._kept

    def forget(self) -> None:
        """See `Client.forget_conversations`."""
        if self.accounts:
            raise UsageError("sign out of chat first: what is being written would be kept anew")
        if self._expiring is not None:
            _ = self._expiring.cancel()
        self._kept = self._expiring = None
        self._contacts.identity.retire_omemo()
        self._contacts.store.forget_history()
        sweep(self._folder)

    def account_for(self, address: Address) -> ChatAccount:
        """Our account that deals with somebody: in the room, at their own server, or the first.

        Raises:
            UsageError: there is none.
        """
        for account in self.accounts:
            if address in account.rooms.all():
                return account
        for account in self.accounts:  # a room that was left must not be written to as a person
            if account.rooms.members(address) is not None:
                return account
        alike = (a for a in self.accounts if a.address.host == address.host)
        return next(alike, self.first)

    @property
    def first(self) -> ChatAccount:
        """The account we signed in to first.

        Raises:
            UsageError: there is none.
        """
        if not self.accounts:
            raise UsageError(_NOBODY)
        return self.accounts[0]

    async def helpers(self) -> IceHelpers:
        """What the first of our servers that names relays has for a call (XEP-0215)."""
        for account in self.accounts:
            found = await account.helpers()
            if found != IceHelpers():
                return found
        return IceHelpers()

    # -- what is kept -----------------------------------------------------------------------------

    async def _expire(self) -> None:
        """Delete what is past its time, and go on doing so."""
        while True:
            try:
                await self._expire_once()
            except LocalError as e:
                log.warning("what is past its time could not be deleted: %s", e)
            await asyncio.sleep(EXPIRE_SECONDS)

    async def _expire_once(self) -> None:
        history, committer = self._open
        for message in await committer.commit(lambda: history.expire(time.time())):
            self._tell(MessageExpired(message))

    # -- conversations ----------------------------------------------------------------------------

    def conversation(
        self, who: str | Address | Contact, *, danger_plaintext_chat: bool = False
    ) -> Conversation:
        """See `Client.conversation`."""
        address = self.address_of(who)
        if danger_plaintext_chat:
            self._require_no_floor(address)
            self._plain.add(address)
        else:
            self._plain.discard(address)
        return self._conversation(address, plain=danger_plaintext_chat)

    def _conversation(self, address: Address, *, plain: bool) -> Conversation:
        history, committer = self._open
        courier: Courier = _Nobody(committer)
        if self.accounts:
            courier = self.account_for(address).messaging
        return Conversation(address, courier, history, danger_plaintext_chat=plain)

    def _require_no_floor(self, address: Address) -> None:
        if self._contacts.has_floor(address) or self._was_encrypted(address):
            raise DowngradeError(
                f"{address.short} was reached end-to-end encrypted before; what servers can read "
                "is not sent there"
            )

    def _was_encrypted(self, address: Address) -> bool:
        """Whether anything there was; the last message alone could be one that a server made up."""
        before = 0
        while page := self._open[0].messages(address, count=_A_PAGE, before=before):
            if any(message.protection for message in page):
                return True
            before = page[0].number
        return False

    def conversations(self) -> tuple[Conversation, ...]:
        """Every conversation that has messages, the one with the newest first."""
        kept = self._open[0].conversations()
        return tuple(self._conversation(address, plain=False) for address in kept)

    async def messages(self, *, after: int | None = None) -> AsyncIterator[Message]:
        """See `Client.messages`."""
        history, committer = self._open
        place = history.last_number if after is None else after
        async for message in incoming(history, committer.changed, after=place):
            yield message

    def search(self, words: str, *, count: int) -> tuple[Message, ...]:
        """Messages of all conversations that hold all these words; newest first."""
        return self._open[0].search(words, count=count)

    def address_of(self, who: str | Address | Contact) -> Address:
        """The XMPP address of somebody.

        Raises:
            ProtocolError: the text names nobody.
            UsageError: they have none.
        """
        if isinstance(who, Contact):
            candidates = (who.address, *who.addresses)
        else:
            address = who if isinstance(who, Address) else parse_address(_with_scheme(who))
            candidates = (address, *self._contacts.find(address).addresses)
        for address in candidates:
            if address.scheme is Scheme.XMPP:
                return address
        raise UsageError(f"{candidates[0].short} has no XMPP address that we know")


class _Nobody:
    """Stands for the courier while there is no account: conversations can be read."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer

    @property
    def own(self) -> Address:
        raise UsageError(_NOBODY)

    async def write(self, to: Address, said: Text | Reaction, *, plain: bool) -> Message:
        raise UsageError(_NOBODY)

    async def tell(self, to: Address, said: Typing | Displayed) -> None:
        return None

    async def lay_up(self, to: Address, enclosure: Enclosure, *, progress: Progress) -> SharedFile:
        raise UsageError(_NOBODY)

    async def fetch(self, file: SharedFile, folder: Path, *, progress: Progress) -> Path:
        raise UsageError(_NOBODY)

    async def recipients(self, to: Address) -> tuple[Recipient, ...]:
        raise UsageError(_NOBODY)

    async def changed(self) -> None:
        await self._committer.changed()


def _with_scheme(text: str) -> str:
    return text if ":" in text else f"xmpp:{text}"
