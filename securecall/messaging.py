"""Writing for one XMPP account: encrypted and kept, all at once or not at all, and then sent."""

from __future__ import annotations

import mimetypes
import secrets
import time
import uuid
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

from securecall.address import Address
from securecall.chat.committer import Committer
from securecall.chat.conversation import Enclosure, Progress, Recipient
from securecall.chat.file_name import shown_name
from securecall.chat.history import History, Parcel
from securecall.chat.ledger import Ledger
from securecall.chat.message import (
    Delivered,
    Displayed,
    Message,
    Named,
    Protection,
    Reaction,
    Said,
    SharedFile,
    Text,
    Typing,
)
from securecall.dispatch import Dispatch
from securecall.errors import RoomClosed, UsageError
from securecall.keys.omemo import Omemo
from securecall.keys.omemo_values import Recipients
from securecall.readers import Membership, Readers
from securecall.xmpp.envelope import MAX_PADDING
from securecall.xmpp.jid import jid_of
from securecall.xmpp.outbox import Outbox, protections, weakest
from securecall.xmpp.saying import Answered
from securecall.xmpp.sharing import Sharing
from securecall.xmpp.xml import serialise


class Messaging:
    """What carries the conversations of one account; fits `chat.conversation.Courier`."""

    def __init__(
        self,
        own: Address,
        history: History,
        omemo: Omemo,
        readers: Readers,
        dispatch: Dispatch,
        rooms: Membership,
        sharing: Sharing,
        *,
        committer: Committer,
        ledger: Ledger,
        folder: Path,
    ) -> None:
        """Prepare.

        Args:
            own: Our address.
            history: Where everything is kept first.
            omemo: Encrypts.
            readers: For whom.
            dispatch: Sends what was kept.
            rooms: Ours.
            sharing: Puts files on our server, and gets those of others.
            committer: Of the history.
            ledger: Enters what is written.
            folder: A private one, for files on their way.
        """
        self._own = own
        self._history = history
        self._omemo = omemo
        self._readers = readers
        self._dispatch = dispatch
        self._rooms = rooms
        self._sharing = sharing
        self._committer = committer
        self._ledger = ledger
        self._folder = folder
        self._outbox = Outbox(omemo)

    @property
    def own(self) -> Address:
        """Our address there."""
        return self._own

    # -- write ------------------------------------------------------------------------------------

    async def write(self, to: Address, said: Text | Reaction, *, plain: bool) -> Message:
        """Keep, encrypt and send; returns the message as kept.

        Raises:
            UntrustedDevices: nobody there can be written to before a person decided.
            NoDevices: they have no device that OMEMO reaches.
            UsageError: it corrects or answers what is not here.
            RoomClosed: it is for a room that does not want us any more.
            NetworkError: their keys have to be fetched, and cannot be now.
            LocalError: the disk refused; nothing was sent.
        """
        self._require_open(to)
        recipients = None if plain else await self._readers.prepare(to)
        name = str(uuid.uuid4())

        def work() -> tuple[Message, Parcel]:
            now = time.time()
            protection = Protection.NONE if recipients is None else weakest(recipients)
            device = 0 if recipients is None else self._omemo.device_id
            try:
                answered = self._answered(to, said, plain=recipients is None)
                wire = self._as_named(to, said)
                message = self._ledger.compose(
                    to, said, name=name, unix=now, protection=protection, device=device
                )
            except LookupError as e:
                raise UsageError(str(e)) from e
            stanza = self._stanza(to, wire, recipients, name=name, now=now, answered=answered)
            return message, self._post(to, name, stanza)

        message, parcel = await self._committer.commit(work)
        self._dispatch.ship(parcel)
        return message

    async def tell(self, to: Address, said: Typing | Displayed | Delivered) -> None:
        """Send what is not kept; without a connection it is not sent at all.

        What may be read by servers on the way goes unencrypted only to those whose OMEMO cannot
        hide it; see `Outbox.build`.

        Nothing overtakes what waits: a ratchet opens nothing that a thousand others should have
        come before (XEP-0384 4.3). A mark waits behind it; that somebody writes is old by then.
        """
        if not self._dispatch.ready or self._rooms.members(to) is not None:
            return
        if self._dispatch.behind and isinstance(said, Typing):
            return
        recipients = await self._readers.willing(to)
        if recipients is None:
            return
        name = str(uuid.uuid4())

        def work() -> Parcel:
            now = time.time()
            stanza = self._stanza(to, said, recipients, name=name, now=now, answered=None)
            if self._dispatch.behind:
                return self._post(to, name, stanza)
            return Parcel(id=name, conversation=to, stanza=serialise(stanza))

        made = await self._committer.commit(work)
        if made.number:
            self._dispatch.ship(made)
        else:
            self._dispatch.send_once(made)

    async def carry(self, to: Address, stanza: Element) -> None:
        """Send what says nothing, and moves a ratchet on: kept, and behind all that waits.

        Raises:
            LocalError: the disk refused.
        """
        name = stanza.get("id", "")
        self._dispatch.ship(await self._committer.commit(lambda: self._post(to, name, stanza)))

    def creditors(self) -> tuple[Address, ...]:
        """Who waits for receipts of ours."""
        return self._ledger.receipts.creditors()

    async def acknowledge(self, to: Address) -> None:
        """Tell somebody that we have the messages they wait to hear of, each once.

        Somebody none of whose devices is trusted is told nothing, not even that we are here.

        Raises:
            NetworkError: their keys have to be fetched, and cannot be now; it stays owed.
            LocalError: the disk refused; it stays owed.
        """
        receipts = self._ledger.receipts
        if not receipts.owed(to):
            return
        recipients = await self._readers.willing(to)

        def work() -> list[Parcel]:
            names = receipts.owed(to)
            receipts.settle(to)
            if recipients is None:
                return []
            return [self._receipt(to, name, recipients) for name in names]

        for parcel in await self._committer.commit(work):
            self._dispatch.ship(parcel)

    def _receipt(self, to: Address, name: str, recipients: Recipients) -> Parcel:
        said, own_name = Delivered(id=name), str(uuid.uuid4())
        stanza = self._stanza(to, said, recipients, name=own_name, now=time.time(), answered=None)
        return self._post(to, own_name, stanza)

    def _stanza(
        self,
        to: Address,
        said: Said,
        recipients: Recipients | None,
        *,
        name: str,
        now: float,
        answered: Answered | None,
    ) -> Element:
        if recipients is None:
            return self._outbox.danger_build_plain(to, said, name=name, now=now, answered=answered)
        return self._outbox.build(
            to,
            said,
            recipients,
            name=name,
            now=now,
            padding=secrets.token_urlsafe(MAX_PADDING)[: secrets.randbelow(MAX_PADDING)],
            room=self._rooms.members(to) is not None,
            answered=answered,
        )

    def _answered(self, to: Address, said: Text | Reaction, *, plain: bool) -> Answered | None:
        if isinstance(said, Reaction) or not said.reply_to:
            return None
        known = self._ledger.named(to, said.reply_to, said.answers)
        # what came encrypted is not read out to every server because our user writes in the clear
        quote = "" if plain and known.protection else known.text
        return Answered(author=jid_of(known.sender), quote=quote)

    def _as_named(self, to: Address, said: Text | Reaction) -> Text | Reaction:
        """The message that is meant by the name others know it by: in rooms by two."""
        if self._rooms.members(to) is None:
            if isinstance(said, Reaction):
                return replace(said, of=None)
            return replace(said, answers=None)
        if isinstance(said, Reaction):
            return replace(said, to=self._name_in_room(to, said.to, said.of))
        if not said.reply_to:
            return said
        return replace(said, reply_to=self._name_in_room(to, said.reply_to, said.answers))

    def _name_in_room(self, room: Address, name: str, meant: Named | None) -> str:
        known = self._ledger.named(room, name, meant)
        if not known.archive_id:
            raise UsageError("the room has no name for that message, or not yet")
        return known.archive_id

    def _post(self, to: Address, name: str, stanza: Element) -> Parcel:
        return self._history.post(Parcel(id=name, conversation=to, stanza=serialise(stanza)))

    async def recipients(self, to: Address) -> tuple[Recipient, ...]:
        """The devices of the other side, as their server lists them now."""
        return await self._readers.recipients(to)

    # -- files ------------------------------------------------------------------------------------

    async def lay_up(self, to: Address, enclosure: Enclosure, *, progress: Progress) -> SharedFile:
        """Encrypt a file and put it on our server, in a form that they can read.

        A bare link has no room for the true size, so for who reads only those nothing is padded.
        """
        self._require_open(to)
        link = Protection.OMEMO_LEGACY in protections(await self._readers.prepare(to))
        guessed = mimetypes.guess_type(enclosure.name)[0] or "application/octet-stream"
        return await self._sharing.upload(
            enclosure.path,
            self._folder,
            name=enclosure.name,
            media_type=enclosure.media_type or guessed,
            seconds=enclosure.seconds,
            expires=enclosure.expires,
            link=link,
            progress=progress,
        )

    async def fetch(self, file: SharedFile, folder: Path, *, progress: Progress) -> Path:
        """Get a file and decrypt it into a folder, under a name that is safe there."""
        return await self._sharing.download(
            file, _free_path(folder, shown_name(file.name)), progress=progress
        )

    async def changed(self) -> None:
        """Wait until something in the history changes."""
        await self._committer.changed()

    def _require_open(self, to: Address) -> None:
        if why := self._rooms.closed(to):
            raise RoomClosed(f"{to.short} takes nothing of ours: {why}")


def _free_path(folder: Path, name: str) -> Path:
    """A path in the folder where nothing is yet."""
    path, number = folder / name, 1
    while path.exists():
        number += 1
        path = folder / f"{Path(name).stem} ({number}){Path(name).suffix}"
    return path
