"""The options of `securecall keys`, and those that print a code."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

LOCKS = ("passphrase", "keyring", "token", "passphrase+keyring", "passphrase+token")


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

    def add(name: str, does: str) -> argparse.ArgumentParser:
        return acts.add_parser(
            name,
            help=does,
            description=does[0].upper() + does[1:] + ".",
            parents=[common, home],
            allow_abbrev=False,
        )

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
