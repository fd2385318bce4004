"""The options of `securecall keys` and `securecall org`, and those that print a code."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

LOCKS = ("passphrase", "keyring", "token", "passphrase+keyring", "passphrase+token")

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - argparse has no other name for it


def add_command(
    commands: Commands,
    parents: Sequence[argparse.ArgumentParser],
    name: str,
    does: str,
    *,
    epilog: str | None = None,
) -> argparse.ArgumentParser:
    """Add a command, or a word that follows on one; `does` says what it is for."""
    return commands.add_parser(
        name,
        help=does,
        description=does[0].upper() + does[1:] + ".",
        parents=parents,
        allow_abbrev=False,
        epilog=epilog,
    )


def add_code(command: argparse.ArgumentParser) -> None:
    """What is shown can be a QR code, too."""
    command.add_argument("--qr", action="store_true", help="show it as a QR code")
    command.add_argument("--png", type=Path, metavar="FILE", help="save the QR code here")
    command.add_argument("--svg", type=Path, metavar="FILE", help="save the QR code here")


def add_lock(command: argparse.ArgumentParser) -> None:
    """What opens a home that is made, or is to open it from now on."""
    command.add_argument(
        "--with-passphrase", action="store_true", help="beside keyring or token, a passphrase, too"
    )
    _add_pbkdf2(command)


def _add_pbkdf2(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--pbkdf2", action="store_true", help="PBKDF2 where Argon2id is not approved; weaker"
    )


def add_verify(command: argparse.ArgumentParser) -> None:
    """Whom to compare keys with, and what came of it."""
    command.add_argument("contact", nargs="?", help="an address, or the first digits of a key")
    command.add_argument("--confirm", action="store_true", help="you compared: mark as verified")
    command.add_argument("--code", metavar="TEXT", help="what you scanned from the other's screen")
    add_code(command)


def add_keys(
    command: argparse.ArgumentParser,
    common: argparse.ArgumentParser,
    home: argparse.ArgumentParser,
) -> None:
    """Everything about keys and devices of one's own."""
    acts = command.add_subparsers(dest="act", required=True, metavar="WHAT")

    add = partial(add_command, acts, (common, home))
    add("show", "list your devices and what is known of the keys of others")
    add("phrase", "write down your 24 recovery words, on a terminal only")
    restore = add("from-phrase", "make your identity again from its 24 words")
    restore.add_argument("--phrase-file", type=Path, metavar="FILE", help="the words are here")
    restore.add_argument(
        "--statement", metavar="TEXT", help="your last statement, from another device (or @FILE)"
    )
    _add_name(restore)
    add_lock(restore)
    hold = add("hold", "put the root key on this device, too, from its 24 words")
    hold.add_argument("--phrase-file", type=Path, metavar="FILE", help="the words are here")
    add_code(add("invite", "begin to add a device: what to show to it"))
    join = add("join", "make this a device of an identity you have")
    join.add_argument("invitation", help="what the other device shows, or @FILE, or -")
    _add_name(join)
    add_lock(join)
    add_code(join)
    add_code(add("request", "ask the device with the root key for what this one needs"))
    enrol = add("enrol", "let another device of yours speak for you")
    enrol.add_argument("request", help="what the other device shows, or @FILE, or -")
    add_code(enrol)
    add_code(add("statement", "show your identity statement, for your devices and contacts"))
    take = add("take", "take a statement, of your own identity or of a contact")
    take.add_argument("statement", help="the text, or @FILE, or -")
    revoke = add("revoke", "withdraw a device of yours, for ever")
    revoke.add_argument("device", help="its name, as `keys show` lists it")
    add_code(revoke)
    add("rotate", "give this device a new key now")
    add_code(add("succeed", "replace your root key by a new one"))
    add_verify(add("verify", "compare keys with a contact, once for all calls"))
    _add_backups(add)


def add_organisation(
    commands: Commands,
    common: argparse.ArgumentParser,
    home: argparse.ArgumentParser,
) -> None:
    """Everything about clinics that vouch for the keys of their staff."""
    top = add_command(commands, (), "org", "let a clinic vouch for the keys of its staff")
    actions = top.add_subparsers(dest="action", required=True, metavar="ACTION")
    keys = argparse.ArgumentParser(add_help=False)
    keys.add_argument(
        "--keys",
        default="~/.securecall-organisation",
        help="folder of the clinic's key (%(default)s)",
    )
    keys.add_argument("--passphrase-file", type=Path, metavar="FILE", help="read it from here")
    keys.add_argument("--keyring", action="store_true", help="keep the passphrase in the keyring")

    def add(name: str, does: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return add_command(actions, (common, *parents), name, does)

    create = add("create", "the clinic: make its key, in a folder of its own", keys)
    create.add_argument("domain", metavar="DOMAIN", help="of its addresses: clinic.example")
    vouch = add("vouch", "the clinic: say that a key is a member's", keys)
    vouch.add_argument("address", metavar="ADDRESS", help="the member's: bob@clinic.example")
    vouch.add_argument("key", metavar="KEY", help="their root: 128 hex digits, see their `init`")
    vouch.add_argument("--days", type=int, default=14, help="it holds so long (%(default)s)")
    withdraw = add("withdraw", "the clinic: take that back, for ever", keys)
    withdraw.add_argument("address", metavar="ADDRESS", help="the member's")
    for one in (vouch, withdraw):
        one.add_argument("--out", type=Path, metavar="FILE", help="write it here")
    renew = add("renew", "the clinic: say all of it again, one file for each member", keys)
    renew.add_argument("folder", type=Path, metavar="FOLDER", help="write the files in here")
    _ = add("show", "the clinic: its code, and for whom it vouches", keys)
    trust = add("trust", "take a clinic's word from now on", home)
    trust.add_argument("code", metavar="CODE", help="its code: securecall:org:1:…")
    trust.add_argument("--scanned", action="store_true", help="you scanned it at the clinic")
    forget = add("forget", "take a clinic's word no more", home)
    forget.add_argument("domain", metavar="DOMAIN")
    take = add("take", "take what a clinic says of you, or takes back of others", home)
    take.add_argument("files", nargs="+", type=Path, metavar="FILE")
    _ = add("list", "list the clinics whose word you take", home)


def _add_backups(add: Callable[[str, str], argparse.ArgumentParser]) -> None:
    for name, does in (
        ("backup", "write everything you would miss into one encrypted file"),
        ("check", "read a backup from end to end, and change nothing"),
        ("restore", "make a new device of yours out of a backup"),
    ):
        act = add(name, does)
        act.add_argument("file", type=Path, metavar="FILE", help="the backup")
        act.add_argument(
            "--backup-passphrase-file", type=Path, metavar="FILE", help="read its passphrase here"
        )
        if name == "restore":
            add_lock(act)
    lock = add("lock", "change what opens your keys; nothing else is written anew")
    lock.add_argument("--under", choices=LOCKS, default="passphrase", help="(%(default)s)")
    lock.add_argument("--new-passphrase-file", type=Path, metavar="FILE", help="read it from here")
    _add_pbkdf2(lock)


def _add_name(command: argparse.ArgumentParser) -> None:
    command.add_argument("--name", default="", help="name of this device, e.g. phone")
