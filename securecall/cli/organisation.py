"""`securecall org`: a clinic vouches for its staff; people take its word, or take it no more."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from securecall.address import Address, Scheme, parse_address
from securecall.cli import passphrase
from securecall.cli.commands import open_home
from securecall.cli.output import Output
from securecall.errors import LocalError, UsageError
from securecall.keys.organisation import MAX_SIZE, Countersignature, parse_organisation_code
from securecall.keys.trust import Organisation
from securecall.secret import Secret
from securecall.vouching import VouchingKey


async def organisation(args: argparse.Namespace, output: Output) -> None:
    """Do what `org` was asked to do."""
    action: str = args.action
    issuing: dict[str, Callable[[argparse.Namespace, Output], None]] = {
        "create": _create,
        "vouch": _vouch,
        "withdraw": _withdraw,
        "renew": _renew,
        "show": _show,
    }
    if action in issuing:
        issuing[action](args, output)
        return
    async with open_home(args) as client:
        organisations = client.organisations
        if action == "trust":
            found = organisations.trust(args.code, scanned=args.scanned)
            output.tell("organisation", **_organisation(found.domain, found.root_fp, found.since))
        elif action == "forget":
            organisations.forget(args.domain)
            output.tell("note", text=f"The word of {args.domain} counts no more.")
        elif action == "take":
            for path in args.files:
                _tell_taken(organisations.take(_read(path)), organisations.all(), output)
        else:
            known = organisations.all()
            for each in known:
                output.tell("organisation", **_organisation(each.domain, each.root_fp, each.since))
            if not known:
                output.tell("note", text="You take no organisation's word.")


def _create(args: argparse.Namespace, output: Output) -> None:
    folder = _folder(args)
    with VouchingKey.create(folder, _passphrase(args, new=True), domain=args.domain) as clinic:
        _tell_clinic(clinic, output)


def _vouch(args: argparse.Namespace, output: Output) -> None:
    address, digits = parse_address(args.address), args.key.removeprefix("key:").lower()
    if not re.fullmatch("[0-9a-f]{128}", digits):
        raise UsageError("KEY is 128 hex digits: `root` of the member's `securecall init --json`")
    with _opened(args) as clinic:
        word = clinic.vouch(address, bytes.fromhex(digits), days=args.days)
        _hand_out(address, word, args.out, output)


def _withdraw(args: argparse.Namespace, output: Output) -> None:
    address = parse_address(args.address)
    with _opened(args) as clinic:
        _hand_out(address, clinic.withdraw(address), args.out, output)


def _renew(args: argparse.Namespace, output: Output) -> None:
    folder: Path = args.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise LocalError(f"cannot make the folder {folder}: {e.strerror}") from e
    with _opened(args) as clinic:
        for address, word in clinic.renew():
            name = quote(f"{address.scheme.value}-{address.user}@{address.host}", safe="@")
            _hand_out(address, word, folder / f"{name}.word", output)


def _show(args: argparse.Namespace, output: Output) -> None:
    with _opened(args) as clinic:
        _tell_clinic(clinic, output)
        for issued in clinic.issued():
            output.tell(
                "member",
                address=str(issued.address),
                root=issued.root_fp.hex(),
                until=issued.exp,
                withdrawn=issued.withdrawn,
                lapsed=issued.exp < time.time(),
            )


@contextmanager
def _opened(args: argparse.Namespace) -> Iterator[VouchingKey]:
    with VouchingKey.open(_folder(args), _passphrase(args, new=False)) as clinic:
        yield clinic


def _folder(args: argparse.Namespace) -> Path:
    return Path(args.keys).expanduser()


def _passphrase(args: argparse.Namespace, *, new: bool) -> Secret:
    return passphrase.obtain(
        file=args.passphrase_file, keyring=args.keyring, home=_folder(args), new=new
    )


def _tell_clinic(clinic: VouchingKey, output: Output) -> None:
    root_fp = parse_organisation_code(clinic.code).fingerprint
    output.tell("clinic", domain=clinic.domain, code=clinic.code, root=root_fp.hex())


def _organisation(domain: str, root_fp: bytes, since: int) -> dict[str, object]:
    address = Address(Scheme.KEY, root_fp.hex())
    return {"domain": domain, "root": root_fp.hex(), "short": address.short, "since": since}


def _tell_taken(word: Countersignature, trusted: tuple[Organisation, ...], output: Output) -> None:
    signer = Address(Scheme.KEY, word.organisation_fp.hex())
    output.tell(
        "taken",
        address=str(word.address),
        domain=word.domain,
        root=signer.user,
        short=signer.short,
        trusted=word.organisation_fp in {each.root_fp for each in trusted},
        withdrawn=word.withdrawn,
        until=word.exp,
    )


def _hand_out(address: Address, word: bytes, path: Path | None, output: Output) -> None:
    if path is not None:
        try:
            path.write_bytes(word + b"\n")
        except OSError as e:
            raise LocalError(f"cannot write {path}: {e.strerror}") from e
    output.tell(
        "word",
        address=str(address),
        word="" if path is not None else word.decode("ascii"),
        file=str(path) if path is not None else "",
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SIZE + 2)
    except OSError as e:
        raise LocalError(f"cannot read {path}: {e.strerror}") from e
    if len(data) > MAX_SIZE + 1:
        raise UsageError(f"{path} is no organisation's word: it is too long")
    return data
