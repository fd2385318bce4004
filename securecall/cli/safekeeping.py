"""The commands that keep keys safe: back up, look at a backup, restore it, change the lock."""

from __future__ import annotations

import argparse
import asyncio

from securecall.cli import passphrase
from securecall.cli.commands import home_of, open_home
from securecall.cli.output import Output
from securecall.errors import LocalError
from securecall.store.backup import Backup, check_backup, restore


async def _back_up(args: argparse.Namespace, output: Output) -> None:
    async with open_home(args) as client:
        secret = passphrase.of_backup(args.backup_passphrase_file, new=True)
        backup = await client.back_up(args.file, passphrase=secret)
    output.tell("backup", file=str(args.file), **_fields(backup))


async def _check(args: argparse.Namespace, output: Output) -> None:
    secret = passphrase.of_backup(args.backup_passphrase_file, new=False)
    backup = await asyncio.to_thread(check_backup, args.file, secret)
    output.tell("checked", file=str(args.file), **_fields(backup))


async def _restore(args: argparse.Namespace, output: Output) -> None:
    home = home_of(args)
    if home.exists() and any(home.iterdir()):  # asked before anybody types two passphrases
        raise LocalError(f"{home} is not empty; name a new folder with --home, or move it away")
    saved = passphrase.of_backup(args.backup_passphrase_file, new=False)
    _ = await asyncio.to_thread(check_backup, args.file, saved)
    lock = passphrase.chosen(args)
    backup = await asyncio.to_thread(
        restore,
        args.file,
        home,
        backup_passphrase=saved,
        passphrase=lock.passphrase,
        keeper=lock.keeper,
        root=passphrase.root_of(args),
        cost=lock.cost,
    )
    output.tell("restored", home=str(home), **_fields(backup))


async def _lock(args: argparse.Namespace, output: Output) -> None:
    async with open_home(args) as client:
        lock = passphrase.changed(args)
        await client.set_lock(lock)
    output.tell(
        "locked",
        home=str(home_of(args)),
        passphrase=lock.passphrase is not None,
        keeper="" if lock.keeper is None else lock.keeper.kind.name.lower(),
    )


COMMANDS = {"backup": _back_up, "check": _check, "restore": _restore, "lock": _lock}


def _fields(backup: Backup) -> dict[str, object]:
    return {
        "made": backup.made,
        "root": backup.root_fp.hex(),
        "device": backup.device,
        "contacts": backup.contacts,
        "messages": backup.messages,
        "calls": backup.calls,
    }
