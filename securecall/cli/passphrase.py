"""Where passphrase and password come from: the terminal, a file, or the system's keyring."""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path

from securecall.errors import LocalError, Unsupported, UsageError
from securecall.secret import Secret

_SERVICE = "securecall"


def obtain(*, file: Path | None, keyring: bool, home: Path, new: bool) -> Secret:
    """Return the passphrase of a home; never from an argument or an environment variable.

    Args:
        file: Read it from here.
        keyring: Ask the keyring; a new home gets a random one that only the keyring knows.
        home: Whose passphrase.
        new: It is being chosen, so it is asked for twice.

    Raises:
        UsageError: nobody can be asked, or the two entries differ.
        LocalError: the file or the keyring does not give it.
    """
    if file is not None:
        return Secret.from_file(file)
    if keyring:
        return _from_keyring(str(home.resolve()), new=new)
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask for the passphrase; use --passphrase-file FILE"
        )
    first = Secret.prompt("Choose a passphrase: " if new else "Passphrase: ")
    if not len(first):
        raise UsageError("an empty passphrase protects nothing")
    if new and first != Secret.prompt("The same again: "):
        raise UsageError("the two entries differ")
    return first


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
    return Secret.prompt(f"Password of {args.account}: ")


def _from_keyring(name: str, *, new: bool) -> Secret:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError as e:
        raise Unsupported("the keyring needs an extra: pip install 'securecall[keyring]'") from e
    try:
        kept = keyring.get_password(_SERVICE, name)
        if kept is None and new:
            kept = secrets.token_urlsafe(32)
            keyring.set_password(_SERVICE, name, kept)
    except KeyringError as e:
        raise LocalError(f"the keyring did not work: {type(e).__name__}") from e
    if kept is None:
        raise LocalError(f"the keyring holds no passphrase for {name}")
    return Secret(kept)
