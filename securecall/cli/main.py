"""The securecall command: arguments, dispatch, and one place where errors become exit codes."""

from __future__ import annotations

import argparse
import asyncio
import io
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NoReturn, TextIO

from securecall.cli import failures
from securecall.cli.options import parser
from securecall.cli.output import JsonOutput, Output, PeopleOutput
from securecall.cli.terminal import Terminal
from securecall.hardening import forbid_core_dumps

# Returns the exit code where that is not 0 though nothing was raised.
Command = Callable[[argparse.Namespace, Output], Awaitable[int | None]]

_PEOPLE = (
    "invite", "accept", "decline", "remove", "block", "unblock", "devices", "trust", "distrust",
)  # fmt: skip
_CHATTING = ("chat", "send-file", "voice-message", "inbox", "forget-chats")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and leave with its exit code."""
    _require_streams()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def _require_streams() -> None:
    """Have somewhere to write to, whatever started us: a stream may be closed, or ASCII alone."""
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:  # closed
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for as long as we run
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def run(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    if not arguments:  # whoever types the name alone wants to know what there is
        parser().print_help()
        return failures.USAGE
    try:
        args = parser().parse_args(arguments)
    except failures.Misused as e:
        json = "--json" in arguments
        return _explain(e, JsonOutput() if json else PeopleOutput(), json=json)
    if args.debug:
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    else:
        _ = forbid_core_dumps()
    output: Output = JsonOutput() if args.json else PeopleOutput()
    try:
        _require_shown(args)
        code = asyncio.run(_run(_command(args), args, output))
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            sys.stderr.write("\n")  # below the ^C
        return failures.INTERRUPTED
    except BrokenPipeError:  # whoever read us is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return failures.LOCAL
    except Exception as e:  # ours or a bug: nobody who calls gets a traceback
        if args.debug:
            raise
        return _explain(e, output, json=args.json, command=_named(args))
    return code or failures.OK


async def _run(command: Command, args: argparse.Namespace, output: Output) -> int | None:
    return await command(args, output)


def _require_shown(args: argparse.Namespace) -> None:
    """Refuse a code that cannot be shown, before there is something that only it would show."""
    named = vars(args)
    pictures = [path for path in (named.get("png"), named.get("svg")) if path is not None]
    if not pictures and not named.get("qr") and named.get("out") is None:
        return
    from securecall import qr

    if pictures or (named.get("qr") and not args.json):
        qr.require_possible(*pictures)
    if named.get("out") is not None:
        qr.require_folder(args.out)


def _named(args: argparse.Namespace) -> str:
    """The command that was run, with its second word where it has one."""
    second = getattr(args, "act", None) or getattr(args, "action", None)
    return " ".join(word for word in ("securecall", args.command, second) if word)


def _explain(error: Exception, output: Output, *, json: bool, command: str = "securecall") -> int:
    if json:
        output.tell("error", **failures.fields(error, command))
    else:
        output.tell("error")
        _print_error(error, command)
    return failures.exit_code(error)


def _print_error(error: BaseException, command: str) -> None:
    screen = Terminal(sys.stderr)
    screen.say(screen.paint(f"securecall: {failures.what_happened(error)}", "red"))
    screen.say(f"            {failures.what_to_do(error, command)}")


def _command(args: argparse.Namespace) -> Command:
    """Return the command; each is imported when it is used, so that --help is quick."""
    name: str = args.command
    if name == "demo":
        from securecall.cli.demo import demo

        return demo
    if name == "lab":
        from securecall.cli.lab import lab

        return lab
    if name == "report":
        from securecall.cli.report import report

        return report
    if name == "attack":
        from securecall.cli.attack import attack

        return attack
    if name in ("doctor", "sound"):  # what may be wrong with an account, or with a microphone
        from securecall.cli import doctor, sound_devices

        return doctor.doctor if name == "doctor" else sound_devices.sound
    if name == "org":
        from securecall.cli.organisation import organisation

        return organisation
    if name in ("call", "answer"):
        from securecall.cli import calling

        return calling.call if name == "call" else calling.answer
    if name == "keys":
        from securecall.cli import keys_command, safekeeping

        return {**keys_command.COMMANDS, **safekeeping.COMMANDS}[args.act]
    if name in _CHATTING or (name == "contacts" and _is_about_people(args)):
        from securecall.cli import chatting

        return {
            "chat": chatting.chat,
            "send-file": chatting.send_file,
            "voice-message": chatting.voice_message,
            "inbox": chatting.inbox,
            "forget-chats": chatting.forget_chats,
            "contacts": chatting.people,
        }[name]
    from securecall.cli import call_history, commands

    return {
        "calls": call_history.calls,
        "init": commands.init,
        "ticket": commands.ticket,
        "contacts": commands.contacts,
        "verify": commands.verify,
    }[name]


def _is_about_people(args: argparse.Namespace) -> bool:
    return bool(args.account) or any(getattr(args, name) is not None for name in _PEOPLE)
