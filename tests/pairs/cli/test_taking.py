"""Somebody is asked whether to take a call."""

from __future__ import annotations

import argparse
import asyncio

from securecall.cli import calling
from securecall.cli.desk import Board
from tests.pairs.calls.test_client import BOB, people


class Nobody:
    """A screen whose question nobody answers."""

    hears = False

    def __init__(self):
        self.asked = asyncio.Event()
        self.told = []

    def tell(self, kind, **fields):
        self.told.append((kind, fields))

    async def ask(self, question, yes, no):
        self.asked.set()
        await asyncio.Event().wait()


def test_the_question_ends_when_the_caller_gives_up(tmp_path):
    async def main():
        async with people(tmp_path) as (alice, bob):
            screen = Nobody()
            board, args = Board(bob, screen), argparse.Namespace(auto_accept=False)
            taking = asyncio.create_task(calling._take(board, args, None))
            async with alice.call(BOB):
                await screen.asked.wait()
            assert await asyncio.wait_for(taking, 20) is None
            assert screen.told[-1] == ("note", {"text": "The caller gave up."})

    asyncio.run(main())
