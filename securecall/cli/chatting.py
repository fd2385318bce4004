"""The commands that write: chat, send-file, voice-message, inbox, forget-chats, and contacts."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from securecall.address import Address, Scheme, parse_address
from securecall.chat.conversation import Conversation, Recipient
from securecall.chat.message import Message
from securecall.cli import voice
from securecall.cli.chat_fields import device_fields, message_fields, parse_json_order
from securecall.cli.chat_lines import file_words, presence_words
from securecall.cli.chat_plain import (
    SETTLE_SECONDS,
    JsonFace,
    PlainFace,
    chat_in_lines,
    show_progress,
)
from securecall.cli.chat_session import Chat, own_fingerprints
from securecall.cli.commands import open_home
from securecall.cli.lines import Lines
from securecall.cli.orders import parse_duration, parse_order
from securecall.cli.output import Output, PeopleOutput
from securecall.cli.passphrase import account_password
from securecall.cli.terminal import Terminal
from securecall.client import Client
from securecall.clock import unix_now
from securecall.errors import LocalError, UsageError
from securecall.people import Person

QUIET_SECONDS = 0.4  # in which nothing more comes: what the server had for us is here
_PATIENCE_SECONDS: Final = 5.0
_ENOUGH_OF_A_KEY: Final = 8  # hex digits that name a device

_FORGET: Final = """\
This deletes, for good, from this device:
  - every message of every conversation, also what you have not read,
  - what you wrote and the server has not taken yet,
  - the keys that chat encrypts with. You become a new device in chat: what was sent to this one
    before cannot be read here, and contacts who hold no key of yours are asked about the new
    device before it gets anything.
It keeps your identity, your contacts, what you verified and trusted, files that you saved, and the
calls there were. What others have of the conversations stays with them. If you have a backup,
"securecall keys restore" into another --home brings its messages back instead.
Delete all conversations?"""


async def chat(args: argparse.Namespace, output: Output) -> None:
    """Write with somebody: on the whole terminal, in lines, or in JSON."""
    async with _signed_in(args) as client, _chat(client, args.target) as told:
        if args.json:
            json_face = told.face = JsonFace(told, output)
            await chat_in_lines(told, json_face, Lines(), parse_json_order)
        elif not _has_screen(args) or not await _on_screen(told, output):
            person, seen = sys.stdin.isatty(), sys.stdout.isatty()
            face = told.face = PlainFace(told, Terminal(), person=person, seen=seen)
            await chat_in_lines(told, face, Lines(), parse_order)


def _has_screen(args: argparse.Namespace) -> bool:
    terminals = sys.stdin.isatty() and sys.stdout.isatty()
    return terminals and not args.plain and not args.debug and os.environ.get("TERM") != "dumb"


async def _on_screen(told: Chat, output: Output) -> bool:
    """Chat on the whole terminal; False without the package that draws it."""
    try:
        from securecall.cli.chat_screen import ScreenFace, chat_on_screen
    except ImportError:
        output.tell(
            "note",
            text='For the whole screen: pip install "securecall[cli]". Lines go without it.',
        )
        return False
    from securecall.cli.keyboard import Keyboard

    face = told.face = ScreenFace(told, colour=not os.environ.get("NO_COLOR"))
    await chat_on_screen(told, face, Keyboard())
    return True


async def send_file(args: argparse.Namespace, output: Output) -> None:
    """Send one file, and wait until the server took the message."""
    expires = _expiry(args.expires)
    _require_file(args.file)
    async with _signed_in(args) as client, _sending(client, args.target) as told:
        progress = _Progress(output, args.file.name)
        message = await told.conversation.send_file(
            args.file, expires=expires, progress=progress.tell
        )
        await _tell_sent(told, message, output)
        if args.text:
            text = await told.conversation.send(args.text, expires=expires)
            await _tell_sent(told, text, output)


def _require_file(path: Path) -> None:
    """Say at once what would end it after a password was typed, and the server reached."""
    if not path.is_file():
        raise LocalError(f"there is no file {path}")


async def voice_message(args: argparse.Namespace, output: Output) -> None:
    """Send a voice message from the microphone, or made of a WAV file."""
    expires = _expiry(args.expires)
    if args.file is not None:
        _require_file(args.file)
    async with _signed_in(args) as client, _sending(client, args.target) as told:
        with tempfile.TemporaryDirectory(prefix="securecall-voice-") as made:
            if args.file is not None:
                path, seconds = await voice.from_file(args.file, Path(made))
            else:
                output.tell("note", text="Recording. Ctrl-C gives it up.")
                stop = asyncio.Event()
                path, seconds = await voice.record(args.seconds, stop, Path(made))
            progress = _Progress(output, "voice message")
            message = await told.conversation.send_voice(
                path, seconds=seconds, expires=expires, progress=progress.tell
            )
        await _tell_sent(told, message, output)


async def inbox(args: argparse.Namespace, output: Output) -> None:
    """Show what nobody read yet, save its files if asked to, and mark it as read."""
    async with _signed_in(args) as client:
        await _quiet(client)
        count = 0
        for conversation in client.conversations():
            unread = [m for m in conversation.messages(count=conversation.unread) if m.unread]
            for message in unread:
                await _show_unread(conversation, message, args, output)
            if unread and not args.keep_unread:
                await conversation.mark_read(unread[-1], tell=sys.stdout.isatty())
            count += len(unread)
        if not count and not args.json:
            output.tell("note", text="Nothing unread.")


async def _show_unread(
    conversation: Conversation, message: Message, args: argparse.Namespace, output: Output
) -> None:
    output.tell("message", **message_fields(message))
    if args.save is not None and message.file is not None:
        progress = _Progress(output, file_words(message.file))
        path = await conversation.save_file(message, args.save, progress=progress.tell)
        output.tell("saved", number=message.number, path=str(path))


async def forget_chats(args: argparse.Namespace, output: Output) -> None:
    """Give up every conversation that is kept here."""
    async with open_home(args) as client:
        sure = await output.ask(_FORGET, "forget", "keep")
        if not sure:
            raise UsageError("nothing was forgotten")
        await client.forget_conversations()
        output.tell("forgotten", holds_root=client.contacts.identity.holds_root)


async def people(args: argparse.Namespace, output: Output) -> None:
    """List the contacts of an account, or do one thing with one of them."""
    if not args.account:
        raise UsageError("say of which account: --account alice@clinic.example")
    async with _signed_in(args) as client:
        if not await _act(client, args, output):
            await _quiet(client)
            asks = [ask for account in client.chat_accounts for ask in account.people.asks.values()]
            for person in client.people():
                output.tell("person", **_person_fields(person))
            for ask in asks:
                output.tell("request", address=f"xmpp:{ask.bare}", text=ask.status)
            if not asks and not client.people():
                output.tell("note", text="Nobody yet. Ask somebody: --invite ADDRESS")


def _person_fields(person: Person) -> dict[str, object]:
    there = person.presence
    return {
        "address": str(person.address),
        "name": person.item.name,
        "subscription": person.item.subscription,
        "presence": presence_words(there),
        "status": there.status if there is not None else "",
        "blocked": person.blocked,
        "calls": person.reachability.network.value,
        "sip": str(person.reachability.sip or ""),
    }


async def _act(client: Client, args: argparse.Namespace, output: Output) -> bool:
    """Do what was asked for; False if it was to list everybody."""
    for name, done in _DONE.items():
        if (text := getattr(args, name)) is not None:
            address = chat_address(text)
            await _ACTS[name](client, address)
            output.tell("note", text=f"{address.short}: {done}.")
            return True
    if args.devices is not None:
        await _tell_devices(client, chat_address(args.devices), output)
        return True
    if args.trust is not None:
        address, digits = args.trust
        device = await _device(client.conversation(chat_address(address)), digits)
        decide = client.devices.verify_device if args.compared else client.devices.trust_device
        _ = decide(device.address, device.identity_key)
    elif args.distrust is not None:
        address, digits = args.distrust
        device = await _device(client.conversation(chat_address(address)), digits)
        _ = client.devices.distrust_device(device.address, device.identity_key)
    else:
        return False
    await _tell_devices(client, chat_address(address), output)
    return True


_DONE: Final = {
    "invite": "asked to be a contact",
    "accept": "sees when you are there",
    "decline": "declined",
    "remove": "removed",
    "block": "blocked: you hear nothing from there",
    "unblock": "not blocked any more",
}
_ACTS: Final[Mapping[str, Callable[[Client, Address], Awaitable[None]]]] = {
    "invite": lambda client, who: client.add_contact(who),
    "accept": lambda client, who: client.accept_contact(who),
    "decline": lambda client, who: client.decline_contact(who),
    "remove": lambda client, who: client.remove_contact(who),
    "block": lambda client, who: client.block(who),
    "unblock": lambda client, who: client.unblock(who),
}


async def _tell_devices(client: Client, address: Address, output: Output) -> None:
    conversation = client.conversation(address)
    devices = device_fields(await conversation.recipients())
    output.tell(
        "devices", address=str(conversation.address), devices=devices, own=own_fingerprints(client)
    )


async def _device(conversation: Conversation, digits: str) -> Recipient:
    """The one device whose fingerprint begins with these digits.

    Raises:
        UsageError: too few digits, or not exactly one device.
    """
    wanted = "".join(digits.split()).lower()
    if len(wanted) < _ENOUGH_OF_A_KEY:
        raise UsageError(f"give the first {_ENOUGH_OF_A_KEY} digits of the fingerprint, or more")
    found = [
        each
        for each in await conversation.recipients()
        if each.fingerprint.replace(" ", "").lower().startswith(wanted)
    ]
    if len(found) != 1:
        raise UsageError(f"{len(found)} devices have a fingerprint that begins so; see --devices")
    return found[0]


def chat_address(text: str) -> Address:
    """An address of a chat; without a scheme it is one of XMPP.

    Raises:
        ProtocolError: it is no address.
        UsageError: it belongs to another network.
    """
    address = parse_address(text if ":" in text else f"xmpp:{text}")
    if address.scheme is not Scheme.XMPP:
        raise UsageError(f"chats go by XMPP; {address.short} is an address of {address.scheme}")
    return address


def _expiry(text: str | None) -> int:
    seconds = parse_duration(text) if text else 0
    return unix_now() + seconds if seconds else 0


@contextlib.asynccontextmanager
async def _signed_in(args: argparse.Namespace) -> AsyncIterator[Client]:
    """The client of the home, connected with its account."""
    account = chat_address(args.account)
    secret = account_password(args)
    if secret is None:  # invariant: there is no --no-password here
        raise UsageError("an XMPP account needs its password")
    async with open_home(args) as client:
        _ = await client.sign_in(
            xmpp=str(account),
            password=secret,
            server=args.server,
            server_name=args.server_name,
            authorities=args.authorities,
        )
        yield client


@contextlib.asynccontextmanager
async def _chat(client: Client, target: str) -> AsyncIterator[Chat]:
    conversation = client.conversation(chat_address(target))
    with tempfile.TemporaryDirectory(prefix="securecall-chat-") as folder:
        yield Chat(client, conversation, voice=voice.record, folder=Path(folder))


@contextlib.asynccontextmanager
async def _sending(client: Client, target: str) -> AsyncIterator[Chat]:
    """A chat in which one thing is sent; leaving waits until the server took it."""
    async with _chat(client, target) as told:
        told.face = JsonFace(told, _Deaf())
        following = asyncio.create_task(told.follow())
        try:
            yield told
        finally:
            _ = following.cancel()
            await told.leave()


class _Deaf:
    """Where nothing is told and nobody answers: what matters is told at the end."""

    def tell(self, kind: str, /, **fields: object) -> None:
        """Say nothing."""

    @property
    def hears(self) -> bool:
        """Nobody does."""
        return False

    async def ask(
        self,
        question: str,
        yes: str,
        no: str,
        *,
        orders: Callable[[str], None] | None = None,
        text: Callable[[str], None] | None = None,
    ) -> bool | None:
        """Know no answer."""
        return None

    async def line(self) -> str | None:
        """Hear nothing."""
        return None

    def entry(self) -> contextlib.AbstractContextManager[object]:
        """Have none."""
        return contextlib.nullcontext()


async def _tell_sent(told: Chat, message: Message, output: Output) -> None:
    await told.settle(SETTLE_SECONDS)
    (now,) = told.conversation.messages(count=1, before=message.number + 1)
    output.tell("sent", **message_fields(now))


class _Progress:
    """Tells how far a file is: a live line for people, an object for each tenth for programs."""

    def __init__(self, output: Output, what: str) -> None:
        self._output = output
        self._what = what
        self._tenth = -1

    def tell(self, done: int, of: int) -> None:
        """Be told of bytes done, and of bytes in all."""
        if isinstance(self._output, PeopleOutput):
            show_progress(self._output.terminal, self._what, done, of)
            return
        tenth = 10 * done // of if of else 10
        if tenth != self._tenth:
            self._tenth = tenth
            self._output.tell("progress", what=self._what, done=done, of=of)


async def _quiet(client: Client) -> None:
    """Wait until the server has nothing more for us: presences, messages of the time between."""
    events = client.events()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                _ = await asyncio.wait_for(anext(events), QUIET_SECONDS)
