"""The command calls: which calls there were, which were missed, and how long that is remembered."""

from __future__ import annotations

import argparse

from securecall.call_history import PastCall
from securecall.cli.commands import open_home
from securecall.cli.output import Output


async def calls(args: argparse.Namespace, output: Output) -> None:
    """List calls, or forget some."""
    async with open_home(args) as client:
        history = client.call_history
        if args.keep is not None:
            history.keep(calls=args.keep[0], days=args.keep[1])
        elif args.clear:
            history.clear()
        elif args.forget is not None:
            history.forget(args.forget)
        else:
            found = [past for past in history.calls() if past.missed or not args.missed]
            for past in reversed(found[: max(args.count, 0)]):
                output.tell("call", **_fields(past))
            if not found:
                output.tell("note", text="No call is remembered here.")
            return
        kept, days = history.kept
        left = len(history.calls())
        text = f"{left} calls are remembered now, {kept} at most, for {days} days."
        output.tell("note", text=text)


def _fields(past: PastCall) -> dict[str, object]:
    return {
        "number": past.number,
        "began": past.began,
        "talked": past.talked,
        "outgoing": past.outgoing,
        "missed": past.missed,
        "peer": past.peer,
        "address": past.address,
        "ended": past.ended.value,
        "level": past.level.name,
        "known": past.known,
    }
