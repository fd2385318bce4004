"""The commands that place no call: init, ticket, contacts, verify."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import securecall
from securecall import qr
from securecall.address import Address, Scheme, parse_address
from securecall.cli import passphrase
from securecall.cli.failures import NoIdentity
from securecall.cli.options import DEFAULT_HOME
from securecall.cli.output import Output
from securecall.client import Client
from securecall.clock import unix_now
from securecall.contacts import Contact
from securecall.errors import Unsupported, UsageError
from securecall.keys.ticket import parse_ticket
from securecall.keys.trust import How
from securecall.keys.verification import (
    VerificationCode,
    build_verification_code,
    parse_verification_code,
    require_verification_code,
)
from securecall.policy import Policy
from securecall.qr import write_private
from securecall.store.sqlite import FILE

DEFAULT_PORT = 5061
_ENOUGH_OF_A_KEY = 8  # hex digits that name a contact on the command line


def open_home(args: argparse.Namespace, policy: Policy | None = None) -> Client:
    """Return the client of the home the arguments name; enter it to open it.

    Raises:
        NoIdentity: there is no identity in that folder.
    """
    home = home_of(args)
    if not is_made(home):
        at = "" if args.home == DEFAULT_HOME else f" --home {shlex.quote(args.home)}"
        raise NoIdentity(f"there is no identity in {home} yet", make=f"securecall init{at}")
    lock = passphrase.opener(args, home)
    return securecall.open(
        home,
        passphrase=lock.passphrase,
        keeper=lock.keeper,
        root=passphrase.root_of(args),
        policy=policy,
    )


def home_of(args: argparse.Namespace) -> Path:
    """The folder of keys that the arguments name."""
    return Path(args.home).expanduser()


def is_made(home: Path) -> bool:
    """There is an identity in it."""
    return (home / FILE).exists()


async def init(args: argparse.Namespace, output: Output) -> None:
    """Make an identity, or show the one there is."""
    home = home_of(args)
    new = not is_made(home)
    lock = passphrase.chosen(args) if new else passphrase.opener(args, home)
    async with securecall.open(
        home,
        passphrase=lock.passphrase,
        keeper=lock.keeper,
        root=passphrase.root_of(args, make=new),
        cost=lock.cost,
        create=new,
    ) as client:
        for address in args.claim:
            client.contacts.own_address(parse_address(address))
        output.tell(
            "identity",
            home=str(home),
            created=new,
            address=client.address.short,
            root=client.contacts.root_fp.hex(),
        )


async def ticket(args: argparse.Namespace, output: Output) -> None:
    """Make a ticket that `answer` will serve."""
    async with open_home(args) as client:
        await make_ticket(client, args, output)
    home = "" if args.home == DEFAULT_HOME else f" --home {shlex.quote(args.home)}"
    port = "" if args.port == DEFAULT_PORT else f" --port {args.port}"
    output.tell("note", text=f"Now wait for the call:   securecall answer{home}{port}")


async def make_ticket(client: Client, args: argparse.Namespace, output: Output) -> None:
    """Make a ticket, write it to --out if asked to, and tell it."""
    seconds = round(args.minutes * 60)
    text = await client.ticket(host=args.host, port=args.port, valid_seconds=seconds)
    leads_to = parse_ticket(text, unix=unix_now()).targets[0].direct
    host, port = leads_to or await client.listen()  # which listens since
    if args.out is not None:
        write_private(args.out, text.encode("ascii") + b"\n")
    output.tell(
        "ticket",
        ticket=text,
        host=host,
        port=port,
        expires=unix_now() + seconds,
        file=str(args.out) if args.out is not None else "",
        picture=picture(text, args) if args.qr or args.png or args.svg else "",
    )


async def contacts(args: argparse.Namespace, output: Output) -> None:
    """List everybody with a key; put an address on a card, or forget a key."""
    async with open_home(args) as client:
        if args.add:
            person, address = args.add
            contact = client.contacts.add_address(
                find(client, person).address, parse_address(address)
            )
            output.tell("contact", **_contact_fields(contact))
            return
        if args.forget:
            contact = find(client, args.forget)
            client.contacts.forget(contact.address)
            output.tell("note", text=f"Forgot the key of {contact.address.short}.")
            return
        known = client.contacts.all()
        for contact in known:
            output.tell("contact", **_contact_fields(contact))
        if not known:
            output.tell("nobody")


async def verify(args: argparse.Namespace, output: Output) -> None:
    """Show the safety number of a contact, and mark the contact verified if it was compared."""
    if args.contact is None and args.code is None:
        raise UsageError("say whose key: an address, or --code with what you scanned")
    async with open_home(args) as client:
        if args.contact is None:
            contact = client.contacts.by_code(args.code)
        else:
            contact = find(client, args.contact)
        own, peer = client.contacts.root_fp, contact.root_fp
        if args.code is not None:
            require_verification_code(parse_verification_code(args.code), own=own, peer=peer)
            contact = client.contacts.verify(contact.address, How.QR, root_fp=peer)
        elif args.confirm:
            contact = client.contacts.verify(contact.address, How.DIGITS, root_fp=peer)
        code = build_verification_code(VerificationCode(own=own, peer=peer))
        output.tell(
            "number",
            **_contact_fields(contact),
            number=client.contacts.safety_number(contact.address),
            code=code,
            addresses=[str(a) for a in contact.addresses],
            picture=picture(code, args),
        )


def find(client: Client, text: str) -> Contact:
    """Return the contact with this address, or whose key begins with these digits.

    Raises:
        UsageError: nobody, or more than one.
    """
    digits = text.removeprefix("key:").rstrip("…").lower()
    if len(digits) >= _ENOUGH_OF_A_KEY and not digits.strip("0123456789abcdef"):
        found = [c for c in client.contacts.all() if _is_key(c.address, digits)]
        if len(found) == 1:
            return found[0]
    else:
        contact = client.contacts.find(parse_address(text))
        if contact.root_fp:
            return contact
    raise UsageError(f"no contact of that name has a key: {text[:40]}; see: securecall contacts")


def _is_key(address: Address, digits: str) -> bool:
    return address.scheme is Scheme.KEY and address.user.startswith(digits)


def _contact_fields(contact: Contact) -> dict[str, object]:
    return {
        "address": str(contact.address),
        "short": contact.address.short,
        "state": contact.state.name,
        "root": contact.root_fp.hex(),
        "since": contact.since,
        "how": contact.how,
        "floor": contact.floor,
    }


def picture(text: str, args: argparse.Namespace) -> str:
    """Save the code of a text where --png or --svg says; return it drawn for a terminal.

    It is "" with --json, and without the package that draws it where nobody asked for the code.
    """
    for path in (args.png, args.svg):
        if path is not None:
            qr.save(text, path)
    if args.json:
        return ""
    try:
        return qr.draw(text)
    except Unsupported:
        if args.qr:
            raise
        return ""
