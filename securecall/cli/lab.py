"""The lab: servers for calls and chat on this computer, people, passwords, commands to paste."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import shlex
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from securecall.cli.output import Output
from securecall.errors import LocalError
from securecall.secret import Secret
from securecall.testing.daemons import Daemon, Site, is_installed, start_kamailio, start_prosody
from securecall.testing.reply import phrase_of
from securecall.testing.sip_server import LabServer, Seen
from securecall.transport.endpoint import endpoint

_DAEMONS: Final[Mapping[str, Callable[[Site], Awaitable[Daemon]]]] = {
    "kamailio": start_kamailio,
    "prosody": start_prosody,
}


async def lab(args: argparse.Namespace, output: Output) -> None:
    """Serve until a signal ends it; SIGTERM ends it as something that went well.

    Raises:
        UsageError: the host is not loopback.
        LocalError: a port, a folder or a program cannot be used.
    """
    received: list[signal.Signals] = []
    main = asyncio.current_task()

    def stop(number: signal.Signals) -> None:
        received.append(number)
        if main is not None and len(received) == 1:  # an impatient second one changes nothing
            main.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop, number)
    try:
        await _serve(args, output)
    except asyncio.CancelledError:
        if signal.SIGINT in received:
            raise KeyboardInterrupt from None
        if not received:
            raise


async def _serve(args: argparse.Namespace, output: Output) -> None:
    users = {name: Secret(password) for name, password in _people(args.user).items()}
    with contextlib.ExitStack() as stack:
        folder = _folder(args.keep, stack)
        server = LabServer(
            folder,
            users,
            domain=args.domain,
            host=args.host,
            port=args.port,
            danger_lan=args.danger_lan,
            algorithms=args.digest or ("SHA-256", "MD5"),
            on_seen=None if args.json else lambda seen: _tell_seen(seen, output),
        )
        async with server, _daemons(_wanted(args), server, users) as daemons:
            output.tell("lab", **_fields(args, server, folder, users, daemons))
            _ = await asyncio.Event().wait()


def _people(listed: list[str]) -> dict[str, str]:
    """Name -> password: alice and bob, and who is named; passwords are made where none is given."""
    given = dict(text.partition(":")[::2] for text in ("alice", "bob", *listed))
    return {name: password or secrets.token_hex(6) for name, password in given.items()}


def _folder(keep: Path | None, stack: contextlib.ExitStack) -> Path:
    if keep is None:
        made = stack.enter_context(tempfile.TemporaryDirectory(prefix="securecall-lab-"))
        return Path(made).resolve()
    try:
        keep.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as e:
        raise LocalError(f"cannot use the folder {keep}: {e.strerror}") from e
    return keep.resolve()


def _wanted(args: argparse.Namespace) -> list[str]:
    """The other servers: what was asked for, and for chat what is installed."""
    chat = args.prosody if args.prosody is not None else is_installed("prosody")
    return ["kamailio"] * bool(args.kamailio) + ["prosody"] * bool(chat)


@contextlib.asynccontextmanager
async def _daemons(
    names: Sequence[str], server: LabServer, users: Mapping[str, Secret]
) -> AsyncIterator[list[Daemon]]:
    async with contextlib.AsyncExitStack() as stack:
        running = []
        for name in names:
            site = Site(
                server.authorities.parent / name,
                server.domain,
                users,
                server.certificate,
                server.authorities,
            )
            running.append(await stack.enter_async_context(await _DAEMONS[name](site)))
        yield running


def _fields(
    args: argparse.Namespace,
    server: LabServer,
    folder: Path,
    users: Mapping[str, Secret],
    daemons: list[Daemon],
) -> dict[str, object]:
    people = []
    for name, secret in users.items():
        password = secret.reveal().decode()
        path = folder / f"{name}.password"
        path.touch(mode=0o600)
        path.chmod(0o600)  # one kept from before may be wider
        _ = path.write_text(password + "\n", encoding="utf-8")
        people.append(
            {
                "name": name,
                "address": f"sip:{name}@{server.domain}",
                "xmpp": f"xmpp:{name}@{server.domain}",
                "password": password,
                "password_file": str(path),
            }
        )
    return {
        "host": server.host,
        "port": server.port,
        "domain": server.domain,
        "folder": str(folder),
        "kept": args.keep is not None,
        "lan": bool(args.danger_lan),
        "authorities": str(server.authorities),
        "people": people,
        "servers": {daemon.name: dict(daemon.ports) for daemon in daemons},
        "commands": {
            "bob": _commands("bob", ["answer"], server, folder),
            "alice": _commands("alice", ["call", f"sip:bob@{server.domain}"], server, folder),
            **{
                f"{name}-chat": _chat_commands(name, other, daemon, server, folder)
                for daemon in daemons
                if "xmpp" in daemon.ports
                for name, other in (("bob", "alice"), ("alice", "bob"))
            },
        },
    }


def _commands(name: str, verb: list[str], server: LabServer, folder: Path) -> list[str]:
    """What this person types, in the folder of the lab."""
    address = f"sip:{name}@{server.domain}"
    init = ["init", "--home", name, "--claim", address]
    place = endpoint(server.host, server.port)
    talk = [*verb, "--home", name, "--account", address, "--server", place]
    return _lines(folder, init, [*talk, *_proofs(name, server)])


def _chat_commands(
    name: str, other: str, daemon: Daemon, server: LabServer, folder: Path
) -> list[str]:
    """What this person types to write to the other."""
    init = ["init", "--home", name]
    place = endpoint("127.0.0.1", daemon.ports["xmpp"])
    chat = ["chat", f"{other}@{server.domain}", "--home", name]
    chat += ["--account", f"{name}@{server.domain}", "--server", place]
    return _lines(folder, init, [*chat, *_proofs(name, server)])


def _proofs(name: str, server: LabServer) -> list[str]:
    return ["--authorities", server.authorities.name, "--password-file", f"{name}.password"]


def _lines(folder: Path, *commands: Sequence[str]) -> list[str]:
    program = _program()
    return [shlex.join(["cd", str(folder)]), *(shlex.join([program, *c]) for c in commands)]


def _program() -> str:
    """The command as it was called, if it is not simply `securecall`."""
    called = Path(sys.argv[0])
    known = any((Path(p) / "securecall").exists() for p in os.get_exec_path())
    return "securecall" if known or called.name != "securecall" else str(called.resolve())


def _tell_seen(seen: Seen, output: Output) -> None:
    """Tell what became of a request."""
    if not seen.incoming and seen.status > 100:
        status = seen.status
        phrase = phrase_of(status)
        output.tell("served", user=seen.user, method=seen.method, status=status, phrase=phrase)
