"""A chat as plain values for programs: what `--json` prints, and what it reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from securecall.chat.message import Message, SharedFile
from securecall.cli.chat_lines import fingerprint_rows
from securecall.cli.orders import FORMS, Order, require_form
from securecall.errors import UsageError

if TYPE_CHECKING:
    from securecall.chat.conversation import Recipient

_MOST_NUMBER: Final = 1 << 53


def message_fields(message: Message) -> dict[str, object]:
    """A message; keys of files stay inside."""
    return {
        "number": message.number,
        "conversation": str(message.conversation),
        "sender": str(message.sender),
        "own": message.own,
        "id": message.id,
        "sent": message.sent,
        "text": message.text,
        "file": _file_fields(message.file) if message.file is not None else None,
        "reply_to": message.reply_to,
        "edited": message.edited,
        "reactions": {str(who): sorted(emojis) for who, emojis in message.reactions.items()},
        "delivery": message.delivery.value,
        "unread": message.unread,
        "encrypted": bool(message.protection.value),
        "protection": message.protection.value,
        "device": message.device,
        "trust": message.trust.value,
        "unreadable": message.unreadable,
        "expires": message.expires,
    }


def _file_fields(file: SharedFile) -> dict[str, object]:
    return {
        "name": file.name,
        "media_type": file.media_type,
        "size": file.size,
        "seconds": file.seconds,
    }


def device_fields(recipients: Sequence[Recipient]) -> list[dict[str, object]]:
    """Devices, in the order that their numbers (from 1) mean."""
    return [
        {
            "number": place,
            "address": str(each.address),
            "device": each.id,
            "trust": each.trust.value,
            "fingerprint": " ".join(fingerprint_rows(each.fingerprint)),
        }
        for place, each in enumerate(recipients, start=1)
    ]


def parse_json_order(line: str) -> Order:
    """Read `{"type": ORDER, "number": N, "text": "…"}`; "say" sends text, "read" marks as read.

    Raises:
        UsageError: it is no such object.
    """
    try:
        read = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise UsageError('write one JSON object per line: {"type": "say", "text": "…"}') from e
    if not isinstance(read, dict):
        raise UsageError("a line has to be a JSON object")
    name, number, text = read.get("type"), read.get("number", 0), read.get("text", "")
    if not isinstance(text, str) or not _is_number(number):
        raise UsageError("`text` has to be a string, and `number` a number from 1")
    if name == "say":
        return Order("say", text=text)
    if name == "read" and number:
        return Order("read", number)
    if not isinstance(name, str) or name not in FORMS:
        raise UsageError(f"`type` is one of: say, read, {', '.join(FORMS)}")
    return require_form(name, number, text)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_NUMBER
