"""What comes in is kept in order, and the place in the archive passes over nothing unread."""

from __future__ import annotations

import asyncio

import pytest

from securecall.chat.committer import Committer
from securecall.chat.ledger import Ledger
from securecall.intake import Intake
from securecall.xmpp.archive import Place
from tests.around import AROUND, NOW, OWN, message
from tests.memory_history import MemoryHistory


def live(name):
    return message(
        f"<body>x</body><stanza-id xmlns='urn:xmpp:sid:0' by='{OWN.account}' id='{name}'/>"
    )


async def taken(intake, *stanzas):
    """Put what comes live; wait until it is kept."""
    done = asyncio.Event()
    left = list(stanzas)

    def one_less():
        left.pop()
        if not left:
            done.set()

    for stanza in stanzas:
        intake.put(stanza, one_less)
    async with asyncio.timeout(10):
        await done.wait()


@pytest.mark.parametrize("whole", [True, False])
def test_what_comes_live_moves_the_place_only_behind_an_archive_that_was_read(whole):
    async def run():
        history = MemoryHistory()
        intake = Intake(
            history,
            Committer(history, undone=lambda: None),
            Ledger(history, OWN.address),
            read=lambda found, now: (),
            surroundings=lambda: AROUND,
            plaintext=lambda _: False,
            handle=lambda _: None,
            disk_failed=lambda e: None,
        )
        running = asyncio.create_task(intake.run())
        await intake.keep((), Place("read so far", 1.0), OWN.bare)
        intake.release(OWN.bare, whole=whole)
        await taken(intake, live("new"))
        expected = Place("new", NOW) if whole else Place("read so far", 1.0)
        assert intake.place(OWN.bare) == expected
        running.cancel()

    asyncio.run(run())
