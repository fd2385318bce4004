"""What people write to each other, as values: what is said, how it came, how far it got."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from securecall.address import Address
from securecall.keys.omemo_values import DeviceTrust as DeviceTrust
from securecall.secret import Secret

_NOTHING: Final[Mapping[Address, frozenset[str]]] = MappingProxyType({})


class Via(enum.StrEnum):
    """By which way a message came to this device."""

    LIVE = "live"
    CARBON = "carbon"  # a copy of what another device of ours sent or got (XEP-0280)
    ARCHIVE = "archive"  # the server's archive (XEP-0313)


class Protection(enum.StrEnum):
    """How a message was encrypted on its way."""

    OMEMO = "urn:xmpp:omemo:2"
    OMEMO_LEGACY = "eu.siacs.conversations.axolotl"
    NONE = ""


class Delivery(enum.StrEnum):
    """How far a message of ours got."""

    PENDING = "pending"  # kept here, to be sent; survives a crash
    SENT = "sent"  # our server took it
    DELIVERED = "delivered"  # a device of theirs has it (XEP-0184)
    DISPLAYED = "displayed"  # a person saw it (XEP-0333)
    FAILED = "failed"  # given up; the application was told


class Activity(enum.StrEnum):
    """What somebody does in a conversation (XEP-0085)."""

    ACTIVE = "active"
    COMPOSING = "composing"
    PAUSED = "paused"
    INACTIVE = "inactive"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFile:
    """An encrypted file on a server, and everything needed to open it.

    Attributes:
        url: https, where the ciphertext lies.
        key: AES-256, 32 bytes.
        iv: 12 bytes; 16 from some older senders.
        cipher: Namespace of XEP-0448, "" for a bare `aesgcm:` link (XEP-0454).
        name: As the sender called it; never a path, never used as one.
        media_type: As the sender says.
        size: Of the plaintext in bytes, None where it was not said.
        sha256: Of the plaintext, b"" where it was not said.
        cipher_sha256: Of the ciphertext, b"" where it was not said.
        seconds: Length of a voice message, 0 for other files.
        expires: Unix seconds after which it is deleted, 0 for never.
    """

    url: str = field(repr=False)
    key: Secret = field(repr=False)
    iv: bytes = field(repr=False)
    cipher: str = "urn:xmpp:ciphers:aes-256-gcm-nopadding:0"
    name: str = field(default="", repr=False)
    media_type: str = ""
    size: int | None = None
    sha256: bytes = b""
    cipher_sha256: bytes = b""
    seconds: float = 0.0
    expires: int = 0


# -- what one message says ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Named:
    """A message by its writer and the name they sealed with it, which no room can give to another.

    Attributes:
        by: Who wrote it.
        id: As they named it.
    """

    by: Address
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Words, a file, or both.

    Attributes:
        body: What a person reads.
        corrects: Id of the message this takes the place of (XEP-0308), "" for none.
        reply_to: Id of the message this answers (XEP-0461), "" for none.
        answers: The same message, in rooms, whose own names for messages prove nothing.
        file: What is attached.
        expires: Unix seconds after which both ends delete it, 0 for never.
        wants_receipt: The sender asks to be told of its delivery (XEP-0184).
        markable: The sender asks to be told when it was seen (XEP-0333).
    """

    body: str = field(repr=False)
    corrects: str = ""
    reply_to: str = ""
    answers: Named | None = None
    file: SharedFile | None = None
    expires: int = 0
    wants_receipt: bool = False
    markable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """All the emojis of one sender for one message; they replace the earlier ones (XEP-0444).

    Attributes:
        to: Id of the message.
        emojis: For it.
        of: The same message, in rooms.
    """

    to: str
    emojis: frozenset[str]
    of: Named | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A receipt: a device of theirs has this message (XEP-0184)."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Displayed:
    """A marker: seen up to and including this message (XEP-0333)."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Typing:
    """Somebody writes, or stopped."""

    activity: Activity


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounced:
    """The server, or somebody's device, says that this message of ours went nowhere."""

    id: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A message that could not be decrypted; said, never hidden.

    Attributes:
        why: In plain words, for a person.
    """

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """A message that was opened before: nothing of it may be shown or kept a second time."""


Said = Text | Reaction | Delivered | Displayed | Typing | Bounced | Unreadable | Again


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One thing that was said, checked and decrypted, with where it comes from.

    Attributes:
        conversation: The other person's address, or the room's.
        sender: The person's address (bare JID); in a room the occupant's real one.
        own: Another device of ours said it.
        id: As its sender named it; the same again when it comes a second time. "" if unnamed.
        archive_id: Its name in the archive of `conversation`'s keeper (XEP-0359), "" for none.
        sent: Unix seconds; the server's word for what was stored, else the time of arrival.
        via: By which way.
        room: It was said in a room.
        protection: How it was encrypted.
        device: OMEMO id of the sending device, 0 without OMEMO.
        trust: What that device is to us, at the time of arrival.
        said: What.
    """

    conversation: Address
    sender: Address
    own: bool = False
    id: str = ""
    archive_id: str = ""
    sent: float
    via: Via = Via.LIVE
    room: bool = False
    protection: Protection = Protection.NONE
    device: int = 0
    trust: DeviceTrust = DeviceTrust.UNDECIDED
    said: Said


# -- what is kept ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a conversation, as it is kept and shown.

    Attributes:
        number: Its place: conversations are read in this order. Given by the history, from 1.
        conversation: The other person's address, or the room's.
        sender: Who wrote it.
        own: We did, on this device or another.
        id: As its sender named it.
        archive_id: Its name in the archive, "" for none.
        sent: Unix seconds.
        text: What a person reads.
        file: What is attached.
        reply_to: Id of the message this answers.
        reply_by: Who wrote that, None where it was not said.
        edited: Unix seconds of the last correction, 0 for none.
        reactions: Sender -> emojis.
        delivery: How far it got; SENT for other people's.
        unread: Somebody else wrote it, and it was not marked as read.
        protection: How it was encrypted.
        device: OMEMO id of the sending device, 0 without.
        trust: What that device was to us when it came.
        unreadable: Why it could not be decrypted, "" for what could.
        expires: Unix seconds after which it is deleted, 0 for never.
    """

    number: int = 0
    conversation: Address
    sender: Address
    own: bool = False
    id: str = ""
    archive_id: str = ""
    sent: float
    text: str = field(default="", repr=False)
    file: SharedFile | None = None
    reply_to: str = ""
    reply_by: Address | None = None
    edited: float = 0.0
    reactions: Mapping[Address, frozenset[str]] = field(default_factory=lambda: _NOTHING)
    delivery: Delivery = Delivery.SENT
    unread: bool = False
    protection: Protection = Protection.OMEMO
    device: int = 0
    trust: DeviceTrust = DeviceTrust.UNDECIDED
    unreadable: str = ""
    expires: int = 0
