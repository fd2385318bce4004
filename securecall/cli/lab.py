"""The lab: a SIP server on this computer, with people, passwords, and commands to paste."""

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
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from securecall.cli.output import Output
from securecall.errors import LocalError
from securecall.secret import Secret
from securecall.testing.daemons import Daemon, Site, start_kamailio, start_prosody
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
        async with server, _daemons(args, server, users) as daemons:
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


@contextlib.asynccontextmanager
async def _daemons(
    args: argparse.Namespace, server: LabServer, users: Mapping[str, Secret]
) -> AsyncIterator[list[Daemon]]:
    """The other servers that were asked for."""
    async with contextlib.AsyncExitStack() as stack:
        running = []
        for name, start in _DAEMONS.items():
            if getattr(args, name):
                site = Site(
                    server.authorities.parent / name,
                    server.domain,
                    users,
                    server.certificate,
                    server.authorities,
                )
                running.append(await stack.enter_async_context(await start(site)))
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
        },
    }


def _commands(name: str, verb: list[str], server: LabServer, folder: Path) -> list[str]:
    """What this person types, in the folder of the lab."""
    address = f"sip:{name}@{server.domain}"
    program = _program()
    init = [program, "init", "--home", name, "--claim", address]
    place = endpoint(server.host, server.port)
    talk = [program, *verb, "--home", name, "--account", address, "--server", place]
    talk += ["--authorities", server.authorities.name, "--password-file", f"{name}.password"]
    return [shlex.join(["cd", str(folder)]), shlex.join(init), shlex.join(talk)]


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
