"""The history of conversations on this disk: `history [COUNT]`, 100,000 messages unless said.

Prints milliseconds of wall clock: `open`, `last` 50 messages, `search` (the slowest of several),
`expire`; and how many transactions a second became durable, one message, two values and a parcel
in each: `single`, and `batched` 64 to a transaction. Disks differ, and this one has other users.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from securecall.address import parse_address
from securecall.chat.history import Parcel
from tests.bench.measure import answer
from tests.forge_history import DAY, NOW, message, open_history

PEOPLE = [parse_address(f"xmpp:somebody{place}@bench.example") for place in range(50)]
SEARCHES = ("rare common", "common frequent usual", "nowhere", "r", "rare3 rare77")


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        history = open_history(folder)
        chance = random.Random(1)
        single = rate(history, chance, 1)
        batched = rate(history, chance, 64)
        for begun in range(0, count, 1000):
            with history.transaction():
                for place in range(begun, begun + 1000):
                    history.add(some_message(chance, place))
        history.close()
        opened, history = milliseconds(lambda: open_history(folder))
        last, _ = milliseconds(lambda: history.messages(PEOPLE[3]))
        searches = [milliseconds(lambda text=text: history.search(text))[0] for text in SEARCHES]
        there = [
            milliseconds(lambda text=text: history.search(text, conversation=PEOPLE[3]))[0]
            for text in SEARCHES
        ]
        history.retain(PEOPLE[3], DAY)
        expire, _ = milliseconds(lambda: history.expire(NOW + 60 * count))
        history.close()
        size = sum(path.stat().st_size for path in folder.iterdir())
    answer(
        open_ms=opened,
        last_ms=last,
        search_ms=max(searches + there),
        expire_ms=expire,
        single=single,
        batched=batched,
        bytes_each=size / count,
    )


def some_message(chance: random.Random, place: int):
    """A message of about 120 characters, of words some of which are in nearly all."""
    words = chance.choices(("common", "frequent", "usual", "often", "now"), k=6)
    words += [f"rare{chance.randrange(20_000)}" for _ in range(chance.randrange(1, 15))]
    who = PEOPLE[place % len(PEOPLE)]
    names = {"id": f"id-{place}", "archive_id": f"archive-{place}"}
    return message(" ".join(words), conversation=who, sent=NOW + 60 * place, **names)


def rate(history, chance: random.Random, batch: int, count: int = 2048) -> float:
    """Durable changes a second, so many to a transaction."""
    begun = time.perf_counter()
    for first in range(0, count, batch):
        with history.transaction():
            for place in range(first, first + batch):
                with history.transaction():
                    kept = history.add(some_message(chance, place))
                    history.set_value(f"ratchet/{place % 50}", os.urandom(1500))
                    history.set_value(f"cursor/{place % 50}", b"%d" % place)
                    stanza = Parcel(id=kept.id, conversation=kept.conversation, stanza=bytes(800))
                    history.post(stanza)
    taken = time.perf_counter() - begun
    with history.transaction():
        for one in history.parcels():
            history.taken(one.number)
    return count / taken


def milliseconds(act: Callable[[], object]):
    """How long it takes, once, and what it returned."""
    begun = time.perf_counter()
    outcome = act()
    return (time.perf_counter() - begun) * 1000, outcome


if __name__ == "__main__":
    main()
