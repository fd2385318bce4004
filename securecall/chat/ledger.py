"""How what was said changes a conversation: doubles, corrections, receipts, and who may do what.

Whatever order and however often the same things arrive in, the same conversation comes of it: they
come live, as copies of other devices, out of the archive, and again after a lost connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from securecall.address import Address
from securecall.chat.history import History
from securecall.chat.message import (
    Activity,
    Again,
    Arrival,
    Bounced,
    Delivered,
    Delivery,
    DeviceTrust,
    Displayed,
    Message,
    Named,
    Protection,
    Reaction,
    Text,
    Typing,
    Unreadable,
)
from securecall.chat.receipts import Receipts

_MOST_EARLIER: Final = 1000  # messages of ours that one "seen up to here" can move
_FAR: Final = (
    Delivery.FAILED,
    Delivery.PENDING,
    Delivery.SENT,
    Delivery.DELIVERED,
    Delivery.DISPLAYED,
)
_STANDING: Final = (
    DeviceTrust.DISTRUSTED,
    DeviceTrust.UNDECIDED,
    DeviceTrust.TRUSTED,
    DeviceTrust.VERIFIED,
)
_BELIEVED: Final = (DeviceTrust.TRUSTED, DeviceTrust.VERIFIED)
_STRENGTH: Final = (Protection.NONE, Protection.OMEMO_LEGACY, Protection.OMEMO)
_PAGE: Final = 100
_LATE: Final = 20  # messages that may tell by what a conversation is protected


@dataclass(frozen=True, slots=True)
class Received:
    """A message of somebody else's, or of another device of ours, is new here."""

    message: Message


@dataclass(frozen=True, slots=True)
class Changed:
    """A message is not what it was: corrected, reacted to, or further on its way."""

    message: Message


@dataclass(frozen=True, slots=True)
class Active:
    """Somebody writes, or stopped."""

    conversation: Address
    sender: Address
    activity: Activity


@dataclass(frozen=True, slots=True)
class ReadElsewhere:
    """Another device of ours showed this message; everything up to it is read."""

    message: Message


@dataclass(frozen=True, slots=True)
class Ignored:
    """Something was said that must not, or cannot, change anything.

    Attributes:
        why: In plain words.
    """

    conversation: Address
    sender: Address
    why: str


News = Received | Changed | Active | ReadElsewhere | Ignored


class Ledger:
    """Enters what was said into a history; to be used inside one of its transactions.

    Attributes:
        receipts: Those that we owe for what was entered.
    """

    def __init__(self, history: History, own: Address) -> None:
        """Take the history and our own address, which receipts are for."""
        self.receipts = Receipts(history, own)
        self._history = history
        self._own = own

    # -- what others say, and other devices of ours -----------------------------------------------

    def enter(self, arrival: Arrival, *, plaintext: bool = False) -> tuple[News, ...]:
        """Enter one thing; nothing comes of what was entered before.

        Args:
            arrival: Checked as to who said it.
            plaintext: The user wishes to talk to this contact without encryption.
        """
        said = arrival.said
        if isinstance(said, Text | Reaction) and not arrival.protection and not plaintext:
            return _ignored(arrival, "it was not encrypted")
        match said:
            case Text():
                enter = self._correction if said.corrects else self._text
                return enter(arrival, said)
            case Unreadable():
                return self._unreadable(arrival, said)
            case Again():
                known = self._known(arrival)
                return () if known is None else self._archived(arrival, known)
            case Reaction():
                return self._reaction(arrival, said)
            case Typing():
                return self._typing(arrival, said, plaintext=plaintext)
            case _:
                return self._signal(arrival, said)

    def _typing(self, arrival: Arrival, said: Typing, *, plaintext: bool) -> tuple[News, ...]:
        if arrival.own:
            return ()
        known = self._telling(arrival.conversation)
        if not plaintext and known is not None and not _may_tell(arrival, known):
            return _ignored(arrival, "a typing notification that a server could have written")
        return (Active(arrival.conversation, arrival.sender, said.activity),)

    def _telling(self, conversation: Address) -> Message | None:
        """A late message that tells what their devices can seal, None where none does.

        What we wrote goes by all of their devices, what they wrote by the one they wrote it on.
        """
        late = self._history.messages(conversation, count=_LATE)
        ours = (m for m in reversed(late) if m.own and m.trust in _BELIEVED)
        theirs = (m for m in reversed(late) if not m.own and m.trust in _BELIEVED)
        return next(ours, None) or next(theirs, None)

    def _signal(self, arrival: Arrival, said: Delivered | Displayed | Bounced) -> tuple[News, ...]:
        """What says something about messages."""
        match said:
            case Delivered(id=name):
                return self._receipt(arrival, name, Delivery.DELIVERED)
            case Displayed(id=name):
                if arrival.own:
                    return self._read_elsewhere(arrival, name)
                return self._receipt(arrival, name, Delivery.DISPLAYED)
            case Bounced():
                return self._bounce(arrival, said)

    def _text(self, arrival: Arrival, said: Text) -> tuple[News, ...]:
        known = self._known(arrival)
        if known is not None and _opens(known, arrival):
            # shown where it stands in the order of what can be read; who follows gets it then
            self._history.remove(known.number)
        elif known is not None and _usurps(known, arrival):
            self._history.replace(replace(known, id="", edited=0.0))
        elif known is not None and (_says(known, said) or known.edited):
            return self._archived(arrival, known)
        if said.wants_receipt and arrival.id and not arrival.own and not arrival.room:
            self.receipts.owe(arrival.conversation, arrival.id)
        return (Received(self._history.add(self._written(_arrived(arrival), arrival, said))),)

    def _written(self, message: Message, arrival: Arrival, said: Text) -> Message:
        reply_to, reply_by = said.reply_to, None
        if arrival.room and reply_to:
            known = self._spoken_of(arrival, reply_to, said.answers)
            if known is not None:
                reply_to, reply_by = known.id, known.sender
            elif said.answers is not None:
                reply_to, reply_by = said.answers.id, said.answers.by
        return replace(
            message,
            text=said.body,
            file=said.file,
            reply_to=reply_to,
            reply_by=reply_by,
            expires=said.expires,
        )

    def _known(self, arrival: Arrival) -> Message | None:
        """The message this is a double of, as far as names tell."""
        if arrival.archive_id:
            known = self._history.find_archived(arrival.conversation, arrival.archive_id)
            if known is not None:
                return known
        if not arrival.id:
            return None
        return self._history.find(arrival.conversation, arrival.sender, arrival.id)

    def _archived(self, arrival: Arrival, known: Message) -> tuple[News, ...]:
        """Learn a double's name in the archive; what is there, the server has taken."""
        delivery = known.delivery
        if known.own and delivery is Delivery.PENDING:
            delivery = Delivery.SENT
        after = replace(known, delivery=delivery, archive_id=known.archive_id or arrival.archive_id)
        if after == known:
            return ()
        self._history.replace(after)
        return (Changed(after),) if delivery is not known.delivery else ()

    def _correction(self, arrival: Arrival, said: Text) -> tuple[News, ...]:
        known = self._history.find(arrival.conversation, arrival.sender, said.corrects)
        if known is None or _weaker(arrival, known):
            return self._stray_correction(arrival, said, known)
        if known.edited > arrival.sent or (known.edited and _says(known, said)):
            return ()
        after = replace(known, text=said.body, file=said.file, edited=arrival.sent, unreadable="")
        self._history.replace(after)
        return (Changed(after),)

    def _stray_correction(
        self, arrival: Arrival, said: Text, known: Message | None
    ) -> tuple[News, ...]:
        """A correction of what is not here, or by a device worth less than the original's.

        It is shown as a message of its own. In the first case it takes the original's name, so that
        the original, should it come late, is a double of it.
        """
        if known is not None and arrival.protection is Protection.NONE and known.protection:
            return _ignored(arrival, "an unencrypted correction of an encrypted message")
        name = said.corrects if known is None else arrival.id
        if known is not None and self._known(arrival) is not None:
            return ()
        if known is not None and not name:
            return _ignored(arrival, "a correction by a device that is trusted less")
        edited = arrival.sent if known is None else 0.0
        message = replace(_arrived(arrival), id=name, edited=edited)
        return (Received(self._history.add(self._written(message, arrival, said))),)

    def _unreadable(self, arrival: Arrival, said: Unreadable) -> tuple[News, ...]:
        known = self._known(arrival)
        if known is not None:
            return self._archived(arrival, known)
        message = replace(_arrived(arrival), unreadable=said.why)
        return (Received(self._history.add(message)),)

    def _reaction(self, arrival: Arrival, said: Reaction) -> tuple[News, ...]:
        known = self._spoken_of(arrival, said.to, said.of)
        if known is None:
            return _ignored(arrival, "a reaction to a message that is not here")
        if known.protection and not arrival.protection:
            return _ignored(arrival, "an unencrypted reaction to an encrypted message")
        if known.protection and arrival.trust not in _BELIEVED:
            # nothing shows whose device a reaction is of: a server could have listed it
            return _ignored(arrival, "a reaction by a device that nobody decided about")
        return self._react(known, arrival.sender, said.emojis)

    def _react(self, known: Message, who: Address, emojis: frozenset[str]) -> tuple[News, ...]:
        reactions = {**known.reactions, who: emojis}
        if not emojis:
            del reactions[who]
        if reactions == dict(known.reactions):
            return ()
        after = replace(known, reactions=reactions)
        self._history.replace(after)
        return (Changed(after),)

    def _spoken_of(self, arrival: Arrival, name: str, meant: Named | None = None) -> Message | None:
        """The message somebody names: by its id, in rooms by its name in the archive.

        A room may tell each of us another one: who says whose message they mean is believed.
        """
        if arrival.room and meant is not None:
            return self._history.find(arrival.conversation, meant.by, meant.id)
        if arrival.room:
            return self._history.find_archived(arrival.conversation, name)
        return self._history.find(
            arrival.conversation, arrival.conversation, name
        ) or self._history.find(arrival.conversation, self._own, name)

    def _receipt(self, arrival: Arrival, name: str, far: Delivery) -> tuple[News, ...]:
        if arrival.own or arrival.room:
            return ()
        known = self._history.find(arrival.conversation, self._own, name)
        if known is None or not known.own:
            return _ignored(arrival, "a receipt for a message that was not sent there")
        if not _may_tell(arrival, known):
            return _ignored(arrival, "a receipt that a server could have written")
        changes = list(self._advance(known, far))
        if far is Delivery.DISPLAYED and changes:  # else it moved the earlier ones before
            for earlier in self._earlier(known):
                changes += self._advance(earlier, far)
        return tuple(changes)

    def _earlier(self, known: Message) -> Iterator[Message]:
        """Messages of ours before this one that were not seen yet, newest first."""
        number = known.number
        for _ in range(_MOST_EARLIER // _PAGE):
            page = self._history.messages(known.conversation, count=_PAGE, before=number)
            for message in reversed(page):
                if message.own and message.delivery is Delivery.DISPLAYED:
                    return
                if message.own and message.delivery in (Delivery.SENT, Delivery.DELIVERED):
                    yield message
            if len(page) < _PAGE:
                return
            number = page[0].number

    def _advance(self, known: Message, far: Delivery) -> tuple[News, ...]:
        if _FAR.index(known.delivery) >= _FAR.index(far):
            return ()
        after = replace(known, delivery=far)
        self._history.replace(after)
        return (Changed(after),)

    def _read_elsewhere(self, arrival: Arrival, name: str) -> tuple[News, ...]:
        known = self._spoken_of(arrival, name)
        if known is None or known.own:
            return ()
        if not _may_tell(arrival, known):
            return _ignored(arrival, "a mark of our own that a server could have written")
        self._history.mark_read(arrival.conversation, known.number)
        return (ReadElsewhere(known),)

    def _bounce(self, arrival: Arrival, said: Bounced) -> tuple[News, ...]:
        known = self._history.find(arrival.conversation, self._own, said.id)
        if known is None or known.delivery not in (Delivery.PENDING, Delivery.SENT):
            return _ignored(arrival, "an error about a message that is not on its way")
        after = replace(known, delivery=Delivery.FAILED)
        self._history.replace(after)
        return (Changed(after),)

    # -- what we say ------------------------------------------------------------------------------

    def compose(
        self,
        conversation: Address,
        said: Text | Reaction,
        *,
        name: str,
        unix: float,
        protection: Protection,
        device: int,
    ) -> Message:
        """Enter what we are about to send; returns the message that it makes or changes.

        Args:
            conversation: Where.
            said: What.
            name: Its id.
            unix: Now.
            protection: The weakest that it is sent under.
            device: Our OMEMO id.

        Raises:
            LookupError: the message it corrects or reacts to is not here.
        """
        if isinstance(said, Reaction):
            known = self.named(conversation, said.to, said.of)
            _ = self._react(known, self._own, said.emojis)
            return self.named(conversation, said.to, said.of)
        if said.corrects:
            known = self.named(conversation, said.corrects)
            after = replace(known, text=said.body, file=said.file, edited=unix)
            self._history.replace(after)
            return after
        return self._history.add(
            Message(
                conversation=conversation,
                sender=self._own,
                own=True,
                id=name,
                sent=unix,
                text=said.body,
                file=said.file,
                reply_to=said.reply_to,
                reply_by=said.answers.by if said.answers is not None else None,
                delivery=Delivery.PENDING,
                protection=protection,
                device=device,
                trust=DeviceTrust.TRUSTED,
                expires=said.expires,
            )
        )

    def named(self, conversation: Address, name: str, meant: Named | None = None) -> Message:
        """The message of a conversation that was named so; by the one who is meant, if anybody is.

        Raises:
            LookupError: it is not here.
        """
        found = (
            self._history.find(conversation, meant.by, meant.id)
            if meant is not None
            else self._find(conversation, name)
        )
        if found is None:
            raise LookupError("that message is not in this conversation")
        return found

    def _find(self, conversation: Address, name: str) -> Message | None:
        return (
            self._history.find(conversation, self._own, name)
            or self._history.find(conversation, conversation, name)
            or self._history.find_archived(conversation, name)
        )

    def failed(self, conversation: Address, name: str, why: str = "") -> tuple[News, ...]:
        """Note that a message of ours will not be sent; one that arrived is left alone.

        With a reason, it is told of a correction or a reaction, too, which stand here as if sent.
        """
        known = self._history.find(conversation, self._own, name)
        if known is None and why:
            what = f"a correction or reaction of ours was not sent: {why}"
            return (Ignored(conversation, self._own, what),)
        if known is None or known.delivery not in (Delivery.PENDING, Delivery.SENT):
            return ()
        after = replace(known, delivery=Delivery.FAILED)
        self._history.replace(after)
        return (Changed(after),)

    def taken(self, conversation: Address, name: str) -> tuple[News, ...]:
        """Our server has a message of ours."""
        known = self._history.find(conversation, self._own, name)
        if known is None or known.delivery is Delivery.FAILED:
            return ()  # it may have taken it and sent it back, and said so first
        return self._advance(known, Delivery.SENT)


def _arrived(arrival: Arrival) -> Message:
    return Message(
        conversation=arrival.conversation,
        sender=arrival.sender,
        own=arrival.own,
        id=arrival.id,
        archive_id=arrival.archive_id,
        sent=arrival.sent,
        unread=not arrival.own,
        protection=arrival.protection,
        device=arrival.device,
        trust=arrival.trust,
    )


def _ignored(arrival: Arrival, why: str) -> tuple[News, ...]:
    return (Ignored(arrival.conversation, arrival.sender, why),)


def _says(known: Message, said: Text) -> bool:
    """Whether a message says just that: two under one name may be two (some clients count)."""
    return (
        known.text == said.body
        and (known.file.url if known.file else "") == (said.file.url if said.file else "")
        and not known.unreadable
    )


def _opens(known: Message, arrival: Arrival) -> bool:
    """Whether this is what could not be read before: it came again, behind what it needed."""
    return (
        bool(known.unreadable)
        and known.own is arrival.own
        and (known.sender, known.id) == (arrival.sender, arrival.id)
        and _STRENGTH.index(known.protection) <= _STRENGTH.index(arrival.protection)
    )


def _usurps(known: Message, arrival: Arrival) -> bool:
    """A correction has the name of what it came before, and is worth less.

    Otherwise a server that lists a device of its own could keep any message from being shown, by
    letting a "correction" through first.
    """
    return known.edited == known.sent and (
        _STRENGTH.index(known.protection) < _STRENGTH.index(arrival.protection)
        or _STANDING.index(known.trust) < _STANDING.index(arrival.trust)
        or (known.trust not in _BELIEVED and known.device != arrival.device)
    )


def _may_tell(arrival: Arrival, known: Message) -> bool:
    """Whether a mark about a message, or who answers it, is by whom it says, and no server's.

    What OMEMO 2 protected is told of under OMEMO 2, by a device that somebody decided about: a
    server can list devices of its own. Legacy OMEMO cannot hide marks; see decision 0080.
    """
    if known.protection is not Protection.OMEMO:
        return True
    return arrival.protection is Protection.OMEMO and arrival.trust in _BELIEVED


def _weaker(arrival: Arrival, known: Message) -> bool:
    """What came is worth less than what it would change."""
    if known.own is not arrival.own:
        return True
    if arrival.trust not in _BELIEVED and arrival.device != known.device:
        return True  # both undecided, but one may be the person's and the other a server's
    return _STRENGTH.index(arrival.protection) < _STRENGTH.index(known.protection) or (
        _STANDING.index(arrival.trust) < _STANDING.index(known.trust)
    )
