"""`securecall keys`: devices, recovery words, withdrawal and succession of one's own keys."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

import securecall
from securecall.cli import passphrase
from securecall.cli.commands import home_of, is_made, open_home, picture, verify
from securecall.cli.handed import read_text
from securecall.cli.output import Output
from securecall.cli.phrase_screen import PhraseScreen
from securecall.clock import unix_now
from securecall.contacts import Contact, Contacts
from securecall.errors import LocalError, UsageError
from securecall.keys.enrolment import (
    build_invitation,
    build_request_text,
    build_statement_text,
    parse_request_text,
    parse_statement_text,
    request_words,
)
from securecall.keys.statement import parse_statement
from securecall.restoring import join_identity, restore_from_phrase
from securecall.secret import Secret
from securecall.store.lock import Lock

_WRITTEN = "phrase-written"  # setting: Unix seconds when the words were asked back


async def show(args: argparse.Namespace, output: Output) -> None:
    """List our devices, and what is known of the keys of others."""
    async with open_home(args) as client:
        output.tell("keys", **_own_fields(client.contacts))
        for fields in _other_fields(client.contacts):
            output.tell("contact_keys", **fields)


async def phrase(args: argparse.Namespace, output: Output) -> None:
    """Show the 24 words on the terminal, and ask them back."""
    screen = _screen(args)
    async with open_home(args) as client:
        words = client.contacts.identity.phrase()
        try:
            await asyncio.to_thread(screen.show, words)
        finally:
            words.wipe()
        _written(client.contacts)
    output.tell(
        "note",
        text="Every word is right. Keep the paper where your passport is: whoever reads it can be "
        "you.",
    )


async def from_phrase(args: argparse.Namespace, output: Output) -> None:
    """Make an identity again from its words."""
    words, lock = await _words(args), _new_lock(args)
    try:
        await asyncio.to_thread(
            restore_from_phrase,
            home_of(args),
            passphrase=lock.passphrase,
            keeper=lock.keeper,
            cost=lock.cost,
            phrase=words,
            statement=parse_statement_text(_text(args.statement)) if args.statement else b"",
            device_id=args.name,
        )
    finally:
        words.wipe()
    async with securecall.open(
        home_of(args), passphrase=lock.passphrase, keeper=lock.keeper
    ) as client:
        _written(client.contacts)
        output.tell("keys", **_own_fields(client.contacts))
    output.tell(
        "note",
        text="Your contacts are not in the words: they are pinned again as you call them. Enrol "
        "your other devices again: securecall keys enrol",
    )


async def hold(args: argparse.Namespace, output: Output) -> None:
    """Put the root key on this device, too."""
    async with open_home(args) as client:
        words = await _words(args)
        try:
            client.contacts.identity.hold_root(words)
        finally:
            words.wipe()
        _written(client.contacts)
        output.tell("keys", **_own_fields(client.contacts))


async def invite(args: argparse.Namespace, output: Output) -> None:
    """Show what a new device has to know."""
    async with open_home(args) as client:
        _tell_code(
            args,
            output,
            "invitation",
            build_invitation(client.contacts.identity.root_public),
            then="On the new device:   securecall keys join TEXT",
        )


async def join(args: argparse.Namespace, output: Output) -> None:
    """Make this a device of an identity whose root another device holds."""
    lock = _new_lock(args)
    data = await asyncio.to_thread(
        join_identity,
        home_of(args),
        passphrase=lock.passphrase,
        keeper=lock.keeper,
        cost=lock.cost,
        invitation=_text(args.invitation),
        device_id=args.name,
    )
    _tell_request(args, output, data)


async def request(args: argparse.Namespace, output: Output) -> None:
    """Show what this device needs signed."""
    async with open_home(args) as client:
        _tell_request(args, output, client.contacts.identity.request())


def _tell_request(args: argparse.Namespace, output: Output, data: bytes) -> None:
    _tell_code(
        args,
        output,
        "request",
        build_request_text(data),
        words=request_words(data),
        then="On the device with the root key:   securecall keys enrol TEXT",
    )


async def enrol(args: argparse.Namespace, output: Output) -> None:
    """Sign for another device of ours, if its words are the same."""
    data = parse_request_text(_text(args.request))
    async with open_home(args) as client:
        identity = client.contacts.identity
        asked = identity.read_request(data)
        output.tell(
            "device_request",
            device=asked.device.id,
            words=list(asked.words),
            addresses=[str(address) for address in asked.addresses],
            known=asked.device.id in {device.id for device in identity.devices},
        )
        same = await output.ask("Does the other device show the same words?", "same", "different")
        if not same:
            raise UsageError(
                "nothing was signed: without the same words it may be anybody's device"
            )
        statement = identity.enrol(data)
        _tell_statement(args, output, statement, then="On the other device")


async def statement(args: argparse.Namespace, output: Output) -> None:
    """Show our statement."""
    async with open_home(args) as client:
        _tell_statement(args, output, client.contacts.statement, then="On another device")


async def take(args: argparse.Namespace, output: Output) -> None:
    """Take a statement: of our own identity, or of somebody we know."""
    raw = parse_statement_text(_text(args.statement))
    async with open_home(args) as client:
        contacts = client.contacts
        seen = parse_statement(raw, unix=unix_now())
        known = {contact.root_fp for contact in contacts.all()}
        lineage = {seen.root_fp, *(each.old for each in seen.successions)}
        if contacts.root_fp not in lineage and lineage & known:
            _ = contacts.take_statement(raw)
            for fields in _other_fields(contacts):
                if fields["root"] == seen.root_fp.hex():
                    output.tell("contact_keys", **fields)
            return
        _ = contacts.identity.take(raw)
        output.tell("keys", **_own_fields(contacts))


async def revoke(args: argparse.Namespace, output: Output) -> None:
    """Withdraw a device of ours."""
    async with open_home(args) as client:
        raw = client.contacts.identity.revoke(args.device)
        _tell_statement(args, output, raw, then="On each other device, and for contacts")


async def rotate(args: argparse.Namespace, output: Output) -> None:
    """Give this device a new key."""
    async with open_home(args) as client:
        _ = client.contacts.identity.rotate()
        output.tell("keys", **_own_fields(client.contacts))


async def succeed(args: argparse.Namespace, output: Output) -> None:
    """Replace our root."""
    async with open_home(args) as client:
        sure = await output.ask(
            "Replace your root key? Your 24 words become void, your other devices have to join "
            "again, and everybody who verified you has to compare again.",
            "replace",
            "keep",
        )
        if not sure:
            raise UsageError("your root key stays as it is")
        raw = client.contacts.succeed()
        client.contacts.store.save_setting(_WRITTEN, None)
        _tell_statement(args, output, raw, then="On each other device, and for contacts")
    output.tell("note", text="Write the new words down: securecall keys phrase")


COMMANDS: dict[str, Callable[[argparse.Namespace, Output], Awaitable[None]]] = {
    "show": show,
    "phrase": phrase,
    "from-phrase": from_phrase,
    "hold": hold,
    "invite": invite,
    "join": join,
    "request": request,
    "enrol": enrol,
    "statement": statement,
    "take": take,
    "revoke": revoke,
    "rotate": rotate,
    "succeed": succeed,
    "verify": verify,
}


# -- what is told ----------------------------------------------------------------------------------


def _tell_statement(args: argparse.Namespace, output: Output, raw: bytes, *, then: str) -> None:
    text = build_statement_text(raw)
    _tell_code(args, output, "statement", text, then=f"{then}:   securecall keys take TEXT")


def _tell_code(
    args: argparse.Namespace,
    output: Output,
    what: str,
    text: str,
    *,
    words: tuple[str, ...] = (),
    then: str,
) -> None:
    drawn = picture(text, args) if args.qr or args.png or args.svg else ""
    output.tell("code", what=what, text=text, words=list(words), then=then, picture=drawn)


def _own_fields(contacts: Contacts) -> dict[str, object]:
    identity = contacts.identity
    known, written = identity.known, contacts.store.setting(_WRITTEN)
    return {
        "root": identity.root_fp.hex(),
        "address": identity.key_address.short,
        "holds_root": identity.holds_root,
        "phrase_written": int(written or b"0"),
        "seq": known.seq if known is not None else 0,
        "expires": known.exp if known is not None else 0,
        "stale": known is not None and known.exp < time.time(),
        "withdrawn": identity.withdrawn,
        "request_due": identity.request_due,
        "devices": [
            {
                "id": device.id,
                "here": device.here,
                "not_after": device.not_after,
                "omemo": list(device.omemo),
            }
            for device in identity.devices
        ],
        "revoked": list(identity.revoked),
        "addresses": [str(address) for address in identity.addresses],
        "successions": identity.successions,
    }


def _other_fields(contacts: Contacts) -> list[dict[str, object]]:
    """One entry for each key of somebody else."""
    found: dict[bytes, list[Contact]] = {}
    for contact in contacts.all():
        found.setdefault(contact.root_fp, []).append(contact)
    listed: list[dict[str, object]] = []
    for root_fp, cards in found.items():
        known = contacts.statements.known(root_fp)
        listed.append(
            {
                "root": root_fp.hex(),
                "addresses": [str(card.address) for card in cards],
                "state": cards[0].state.name,
                "seq": known.seq if known is not None else 0,
                "expires": known.exp if known is not None else 0,
                "stale": known is not None and known.stale,
                "forked": bool(contacts.store.forked_statement(root_fp)),
                "devices": [] if known is None else [d.id for d in known.devices],
                "revoked": [] if known is None else list(known.revoked),
            }
        )
    return listed


# -- what is read ----------------------------------------------------------------------------------


def _screen(args: argparse.Namespace) -> PhraseScreen:
    """Where words are shown and typed; never a pipe, a file or a program.

    Raises:
        UsageError: there is no terminal.
    """
    if args.json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("recovery words are shown and typed on a terminal alone")
    return PhraseScreen(sys.stdout, input)


async def _words(args: argparse.Namespace) -> Secret:
    if args.phrase_file is not None:
        return Secret.from_file(args.phrase_file)
    return await asyncio.to_thread(_screen(args).read)


def _new_lock(args: argparse.Namespace) -> Lock:
    home = home_of(args)
    if is_made(home):
        raise LocalError(f"there is an identity in {home} already; use another --home")
    if args.root_key is not None:
        raise UsageError("a root key that comes as words, or stays elsewhere, is in no token here")
    return passphrase.chosen(args)


def _written(contacts: Contacts) -> None:
    """Note that our user has the words on paper: they were asked back, or given."""
    contacts.store.save_setting(_WRITTEN, str(unix_now()).encode())


def _text(argument: str) -> str:
    """Return a text given as such, as @FILE, or on standard input.

    Raises:
        LocalError: the file cannot be read.
    """
    if argument == "-":
        return sys.stdin.read(1 << 20)
    if not argument.startswith("@"):
        return argument
    return read_text(argument[1:])
