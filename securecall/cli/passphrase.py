"""Where passphrases, PINs and passwords come from: the terminal, a file, the system's keyring."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from securecall.errors import UsageError
from securecall.keys.signing import Signer
from securecall.secret import Secret
from securecall.store.lock import DEFAULT_COST, Keeper, KeeperKind, Lock, Rounds
from securecall.store.sqlite import Store

if TYPE_CHECKING:
    from securecall.store.token import Token

_TRIES = 3  # to type the same twice


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end a wait for somebody who types.

    In an event loop it would only be noted: `asyncio.run` cancels a task, which blocks right here.
    """
    if threading.current_thread() is not threading.main_thread():  # which has no signals
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        _ = signal.signal(signal.SIGINT, before)


def opener(args: argparse.Namespace, home: Path) -> Lock:
    """Return what opens the home there is: asks for a passphrase only where there is one.

    One that is in a file is given in any case: a home that needs none then does not open.

    Raises:
        UsageError: nobody can be asked, or the token is not named.
        LocalError: the file, the keyring or the token does not give it.
    """
    needs = Store.needs(home)
    keeper = _keeper(args, needs.keeper)
    if not needs.passphrase and args.passphrase_file is None:
        return Lock(keeper=keeper)
    return Lock(passphrase=_obtain(args.passphrase_file, "Passphrase", new=False), keeper=keeper)


def chosen(args: argparse.Namespace) -> Lock:
    """Return what is to open a new home: `--keyring` and `--token` keep all of its key.

    Together with --with-passphrase or --passphrase-file, both are needed.

    Raises:
        UsageError: nobody can be asked, or the two entries differ.
        LocalError: the file, the keyring or the token does not work.
    """
    kept = args.keyring or args.token is not None
    asked = args.with_passphrase or args.passphrase_file is not None or not kept
    kind = KeeperKind.TOKEN if args.token else KeeperKind.NONE
    return _lock(args, KeeperKind.KEYRING if args.keyring else kind, args.passphrase_file, asked)


def changed(args: argparse.Namespace) -> Lock:
    """Return what is to open a home from now on, as `--under` says; raises as `chosen`."""
    words = args.under.split("+")
    kind = next((kind for kind in KeeperKind if kind.name.lower() in words), KeeperKind.NONE)
    return _lock(args, kind, args.new_passphrase_file, "passphrase" in words)


def _lock(args: argparse.Namespace, kind: KeeperKind, file: Path | None, asked: bool) -> Lock:  # noqa: FBT001 - of this module alone
    keeper = _keeper(args, kind)
    secret = _obtain(file, "passphrase", new=True) if asked else None
    return Lock(passphrase=secret, keeper=keeper, cost=Rounds() if args.pbkdf2 else DEFAULT_COST)


def obtain(*, file: Path | None, keyring: bool, home: Path, new: bool) -> Secret:
    """Return the one passphrase of a folder that nothing else opens.

    Args:
        file: Read it from here.
        keyring: It lies in the keyring; for a new folder a random one is put there.
        home: Which folder.
        new: It is being chosen, so it is asked for twice.

    Raises:
        UsageError: nobody can be asked, or the two entries differ.
        LocalError: the file or the keyring does not give it.
    """
    if file is None and keyring:
        from securecall.store.system_keyring import SystemKeyring

        return SystemKeyring().passphrase_of(str(home.resolve()), make=new)
    return _obtain(file, "passphrase" if new else "Passphrase", new=new)


def root_of(args: argparse.Namespace, *, make: bool = False) -> Signer | None:
    """Return the root key that `--root-key` names in the token, None without it.

    Args:
        args: Of the command.
        make: Where the token holds no such key yet, it makes one.

    Raises:
        UsageError: no token is named.
        LocalError: the token does not work, or holds no such key.
    """
    if args.root_key is None:
        return None
    token = _token(args)
    if make and not token.has_root(args.root_key):
        return token.make_root(args.root_key)
    return token.root(args.root_key)


def of_backup(file: Path | None, *, new: bool) -> Secret:
    """Return the passphrase of a backup.

    Raises:
        UsageError: nobody can be asked, or the two entries differ.
        LocalError: the file does not give it.
    """
    what = "passphrase for the backup" if new else "Passphrase of the backup"
    return _obtain(file, what, new=new, option="--backup-passphrase-file")


def _obtain(
    file: Path | None, what: str, *, new: bool, option: str = "--passphrase-file"
) -> Secret:
    if file is not None:
        return Secret.from_file(file)
    if not sys.stdin.isatty():
        raise UsageError(f"there is no terminal to ask for the passphrase; use {option} FILE")
    for _ in range(_TRIES):
        first = _prompt(f"Choose a {what}: " if new else f"{what}: ")
        if not len(first):
            raise UsageError("an empty passphrase protects nothing")
        if not new or first == _prompt("The same again: "):
            return first
        sys.stderr.write("The two entries differ.\n")
    raise UsageError("the two entries differ")


def _keeper(args: argparse.Namespace, kind: KeeperKind) -> Keeper | None:
    if kind is KeeperKind.KEYRING:
        from securecall.store.system_keyring import SystemKeyring

        return SystemKeyring()
    if kind is KeeperKind.TOKEN:
        return _token(args)
    return None


def _token(args: argparse.Namespace) -> Token:
    from securecall.store.token import Token

    if args.token is None:
        raise UsageError("a key of this home lies in a token; name it: --token MODULE LABEL")
    if args.pin is None:  # asked for once
        args.pin = _obtain(args.pin_file, "PIN", new=False, option="--pin-file")
    module, label = args.token
    return Token(Path(module), label=label, pin=args.pin)


def account_password(args: argparse.Namespace) -> Secret | None:
    """Return the password of a SIP account, None where its server asks for none.

    Raises:
        UsageError: nobody can be asked.
        LocalError: the file does not give it.
    """
    if args.password_file is not None:
        return Secret.from_file(args.password_file)
    if args.no_password:
        return None
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask for the account's password; use --password-file FILE, or "
            "--no-password where its server asks for none"
        )
    return _prompt(f"Password of {args.account}: ")


def _prompt(label: str) -> Secret:
    with interruptible():
        return Secret.prompt(label)
