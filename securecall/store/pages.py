"""Pages of folded words, so that a search unseals hundreds of rows and not every message.

A page holds the words of the messages of 512 numbers, one line for each: number, comma,
conversation, tab, then each word behind a space. It is made when its numbers have passed, and
amended in the transaction that changes or deletes a message of it: it never knows what the messages
do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

SIZE: Final = 512

Line = tuple[int, int, list[str]]  # number, conversation, words


def page_of(number: int) -> int:
    """Return the page a message is in."""
    return number // SIZE


def numbers_of(page: int) -> range:
    """Return the numbers a page is for."""
    return range(page * SIZE, (page + 1) * SIZE)


def build_page(lines: Iterable[Line]) -> bytes:
    """Write a page, of lines in the order of their numbers."""
    return "\n".join(_write(line) for line in lines if line[2]).encode()


def amend_page(page: bytes, changes: Mapping[int, Line | None]) -> bytes:
    """Write other lines for some messages of a page, or none."""
    lines = {int(line.partition(",")[0]): line for line in page.decode().split("\n") if line}
    for number, line in changes.items():
        lines.pop(number, None)
        if line is not None and line[2]:
            lines[number] = _write(line)
    return "\n".join(lines[number] for number in sorted(lines)).encode()


def scan(page: bytes, wanted: list[str], conversation: int | None) -> Iterator[int]:
    """Yield the numbers of the messages that hold all these beginnings of words, newest first."""
    text = page.decode()
    begins = [f" {begin}" for begin in wanted]
    if not all(begin in text for begin in begins):
        return
    of = None if conversation is None else f",{conversation}\t"
    for line in reversed(text.split("\n")):
        if all(begin in line for begin in begins) and (of is None or of in line):
            yield int(line.partition(",")[0])


def _write(line: Line) -> str:
    number, conversation, there = line
    return f"{number},{conversation}\t " + " ".join(there)
