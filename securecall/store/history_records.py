"""How messages and parcels are written into rows of the history: JSON, what is usual left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from securecall.address import Address
from securecall.chat.history import Parcel
from securecall.chat.message import (
    Delivery,
    DeviceTrust,
    Message,
    Protection,
    SharedFile,
)
from securecall.errors import ProtocolError, StoreCorrupt, UsageError
from securecall.keys.encoding import build_base64url, parse_base64url
from securecall.secret import Secret
from securecall.store.records import build_parts, integer, items, parse_parts, text, texts

# So that the length of a row says little of the length of what somebody wrote.
_PADDING: Final = 64
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Person:
    """What is kept of a conversation beside its messages.

    Attributes:
        address: With whom, or which room.
        retention: Seconds after which messages are deleted, 0 for never.
        swept: Day up to which this was done.
    """

    address: Address
    retention: int = 0
    swept: int = 0


def build_message(message: Message) -> bytes:
    """Write a message, without its number and whether it is unread: columns say so.

    Raises:
        UsageError: it holds a number that is none.
    """
    record: dict[str, object] = {
        "conversation": build_parts(message.conversation),
        "sender": build_parts(message.sender),
        "sent": message.sent,
    }
    usual: dict[str, tuple[object, object]] = {
        "own": (message.own, False),
        "id": (message.id, ""),
        "archive_id": (message.archive_id, ""),
        "text": (message.text, ""),
        "reply_to": (message.reply_to, ""),
        "edited": (message.edited, 0.0),
        "delivery": (message.delivery.value, Delivery.SENT.value),
        "protection": (message.protection.value, Protection.OMEMO.value),
        "device": (message.device, 0),
        "trust": (message.trust.value, DeviceTrust.UNDECIDED.value),
        "unreadable": (message.unreadable, ""),
        "expires": (message.expires, 0),
    }
    record |= {key: value for key, (value, default) in usual.items() if value != default}
    if message.file is not None:
        record["file"] = _file_record(message.file)
    if message.reply_by is not None:
        record["reply_by"] = build_parts(message.reply_by)
    if message.reactions:
        record["reactions"] = [
            [*build_parts(sender), *sorted(emojis)] for sender, emojis in message.reactions.items()
        ]
    data = _build(record)
    return data + b" " * (-len(data) % _PADDING)


def parse_message(data: bytes, *, number: int, unread: bool) -> Message:
    """Read what `build_message` wrote.

    Raises:
        StoreCorrupt: it is something else; a version of ours with a bug wrote it.
    """

    def parse(record: dict[str, object]) -> Message:
        shared = record.get("file")
        return Message(
            number=number,
            unread=unread,
            conversation=parse_parts(record["conversation"]),
            sender=parse_parts(record["sender"]),
            sent=_number(record["sent"]),
            own=_truth(record.get("own", False)),
            id=text(record.get("id", "")),
            archive_id=text(record.get("archive_id", "")),
            text=text(record.get("text", "")),
            file=None if shared is None else _parse_file(_members(shared)),
            reply_to=text(record.get("reply_to", "")),
            reply_by=parse_parts(record["reply_by"]) if "reply_by" in record else None,
            edited=_number(record.get("edited", 0.0)),
            reactions=_parse_reactions(record.get("reactions", [])),
            delivery=Delivery(text(record.get("delivery", Delivery.SENT))),
            protection=Protection(text(record.get("protection", Protection.OMEMO))),
            device=integer(record.get("device", 0)),
            trust=DeviceTrust(text(record.get("trust", DeviceTrust.UNDECIDED))),
            unreadable=text(record.get("unreadable", "")),
            expires=integer(record.get("expires", 0)),
        )

    return _read(data, parse)


def build_person(person: Person) -> bytes:
    """Write what is kept of a conversation."""
    return _build(
        {
            "address": build_parts(person.address),
            "retention": person.retention,
            "swept": person.swept,
        }
    )


def parse_person(data: bytes) -> Person:
    """Read what `build_person` wrote.

    Raises:
        StoreCorrupt: it is something else.
    """
    return _read(
        data,
        lambda record: Person(
            parse_parts(record["address"]), integer(record["retention"]), integer(record["swept"])
        ),
    )


def build_parcel(parcel: Parcel) -> bytes:
    """Write a parcel; its number is its key."""
    return _with_name(
        _build({"id": parcel.id, "to": build_parts(parcel.conversation)}), parcel.stanza
    )


def parse_parcel(data: bytes, *, number: int) -> Parcel:
    """Read what `build_parcel` wrote.

    Raises:
        StoreCorrupt: it is something else.
    """
    name, stanza = _without_name(data)
    return _read(
        name,
        lambda record: Parcel(
            number=number,
            id=text(record["id"]),
            conversation=parse_parts(record["to"]),
            stanza=stanza,
        ),
    )


def build_value(name: str, data: bytes) -> bytes:
    """Write a value with its name, which its key only stands for."""
    return _with_name(name.encode("utf-8", "surrogatepass"), data)


def parse_value(data: bytes) -> tuple[str, bytes]:
    """Read what `build_value` wrote."""
    name, value = _without_name(data)
    return name.decode("utf-8", "surrogatepass"), value


def _file_record(file: SharedFile) -> dict[str, object]:
    return {
        "url": file.url,
        "key": build_base64url(file.key.reveal()),
        "iv": build_base64url(file.iv),
        "cipher": file.cipher,
        "name": file.name,
        "media_type": file.media_type,
        "size": file.size,
        "sha256": build_base64url(file.sha256),
        "cipher_sha256": build_base64url(file.cipher_sha256),
        "seconds": file.seconds,
        "expires": file.expires,
    }


def _parse_file(record: dict[str, object]) -> SharedFile:
    size = record["size"]
    return SharedFile(
        url=text(record["url"]),
        key=Secret(parse_base64url(text(record["key"]))),
        iv=parse_base64url(text(record["iv"])),
        cipher=text(record["cipher"]),
        name=text(record["name"]),
        media_type=text(record["media_type"]),
        size=None if size is None else integer(size),
        sha256=parse_base64url(text(record["sha256"])),
        cipher_sha256=parse_base64url(text(record["cipher_sha256"])),
        seconds=_number(record["seconds"]),
        expires=integer(record["expires"]),
    )


def _parse_reactions(value: object) -> dict[Address, frozenset[str]]:
    found = [texts(item) for item in items(value)]
    return {parse_parts(item[:3]): frozenset(item[3:]) for item in found}


def _build(record: dict[str, object]) -> bytes:
    # Texts from the network may hold lone surrogates, which must not keep it from being kept.
    try:
        written = json.dumps(record, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except ValueError as e:
        raise UsageError("a message holds a number that is none") from e
    return written.encode("utf-8", "surrogatepass")


def _read(data: bytes, parse: Callable[[dict[str, object]], _Value]) -> _Value:
    # Sealed by us: what is wrong here is a bug of ours, not a stranger's work.
    try:
        return parse(_members(json.loads(data.decode("utf-8", "surrogatepass"))))
    except (ProtocolError, KeyError, ValueError, TypeError) as e:
        raise StoreCorrupt("a row of the history cannot be read") from e


def _members(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError("object expected")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("number expected")
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("truth value expected")
    return value


def _with_name(name: bytes, data: bytes) -> bytes:
    return len(name).to_bytes(4, "big") + name + data


def _without_name(data: bytes) -> tuple[bytes, bytes]:
    size = int.from_bytes(data[:4], "big")
    return data[4 : 4 + size], data[4 + size :]
