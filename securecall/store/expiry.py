"""Deletes messages past their time, looking only at the days that could hold one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from securecall.chat.message import Message
from securecall.errors import StoreCorrupt
from securecall.store.history_file import Row, whole
from securecall.store.history_records import Person
from securecall.store.message_rows import MessageRows, day_of


def expire(rows: MessageRows, unix: float) -> tuple[Message, ...]:
    """Delete, inside a transaction, what expired by itself or is too old for its conversation.

    Returns:
        What went, in its order.
    """
    gone = {message.number: message for message in _expire_own(rows, unix)}
    for conversation, person in rows.people():
        if person.retention:
            for message in _expire_old(rows, conversation, person, unix):
                gone[message.number] = message
    return tuple(gone[number] for number in sorted(gone))


def _expire_own(rows: MessageRows, unix: float) -> Iterator[Message]:
    swept, today = rows.file.head.swept, day_of(unix)
    there = whole(rows.file.rows("SELECT count(*) FROM messages WHERE due!=0")[0][0])
    if today - swept > there:
        found = rows.select("WHERE due!=0")
        past: list[Row] = []
    else:
        found = rows.select("WHERE due=? AND due!=0", rows.due(max(swept, today)))
        past = [
            row
            for day in range(swept, today)
            for row in rows.select("WHERE due=? AND due!=0", rows.due(day))
        ]
    yield from _remove(rows, past, found, lambda message: 0 < message.expires <= unix)
    if today > swept:
        rows.file.advance(swept=today)


def _expire_old(
    rows: MessageRows, conversation: int, person: Person, unix: float
) -> Iterator[Message]:
    swept, last = person.swept, day_of(unix - person.retention)
    there = rows.file.rows("SELECT count(*) FROM messages WHERE conversation=?", conversation)
    if last - swept > whole(there[0][0]):
        found = rows.select("WHERE conversation=?", conversation)
        past: list[Row] = []
    else:
        found = rows.select("WHERE day=?", rows.sent_on(conversation, max(swept, last)))
        past = [
            row
            for day in range(swept, last)
            for row in rows.select("WHERE day=?", rows.sent_on(conversation, day))
        ]
    if last > swept:  # before the last message goes, and the conversation with it
        rows.keep_person(replace(person, swept=last))
    yield from _remove(rows, past, found, lambda message: message.sent + person.retention <= unix)


def _remove(
    rows: MessageRows, past: list[Row], found: list[Row], over: Callable[[Message], bool]
) -> Iterator[Message]:
    """Delete those whose time is over; of a day that is past, also those that cannot be read."""
    for row in past + found:
        try:
            message = rows.unsealed(row)
        except StoreCorrupt:
            if row not in past:
                continue
            message = rows.shown(row)
        else:
            if not over(message):
                continue
        rows.remove(row)
        yield message
