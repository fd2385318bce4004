"""Pages of folded words, so that a search unseals hundreds of rows and not every message.

A page holds the words of the messages whose numbers share all but their last nine bits, one line
for each: number "," conversation TAB, then each word behind a space. It is made when its numbers
have passed, dropped in the transaction that changes or deletes a message of it, and made again by
the next search: it never knows anything that the messages do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

SIZE: Final = 512

Line = tuple[int, int, list[str]]  # number, conversation, words


def page_of(number: int) -> int:
    """Return the page a message is in."""
    return number // SIZE


def build_page(lines: Iterable[Line]) -> bytes:
    """Write a page, of lines in the order of their numbers."""
    written = (
        f"{number},{conversation}\t " + " ".join(there)
        for number, conversation, there in lines
        if there
    )
    return "\n".join(written).encode()


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
