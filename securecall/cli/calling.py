"""The commands that talk: call and answer."""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import replace

from securecall.cli.commands import make_ticket, open_home
from securecall.cli.conversation import Sound, Wishes, converse
from securecall.cli.desk import Board, named, ring_fields, tell_of_transfer
from securecall.cli.failures import fields, what_happened
from securecall.cli.handed import MOST_TEXT, read_text
from securecall.cli.output import Output
from securecall.cli.passphrase import account_password, interruptible
from securecall.cli.sight import names_of, require_pictures
from securecall.client import Client, IncomingCall
from securecall.errors import SecurecallError, UsageError
from securecall.events import (
    HoldChanged,
    PeerRecords,
    PictureAsked,
    PicturesChanged,
    RegistrationChanged,
    SoundDeviceLost,
    SoundFailed,
    TransferProgressed,
    TransferRequested,
)
from securecall.policy import IpPrivacy, Policy, SecurityLevel
from securecall.secret import Secret
from securecall.transport.tls import PemPair
from securecall.transport.turn import TurnServer, parse_turn_uri


def _policy(args: argparse.Namespace) -> Policy:
    if args.danger_plain_dtls and args.require:
        raise UsageError("--danger-plain-dtls and --require contradict each other; give one")
    privacy = IpPrivacy.RELAY if args.hide else IpPrivacy.STRANGERS
    return Policy(danger_plain_dtls=args.danger_plain_dtls, ip_privacy=privacy)


def _relays(args: argparse.Namespace) -> list[TurnServer]:
    """Return the relays to ask.

    Raises:
        UsageError: nobody said how they know us.
        LocalError: the password cannot be read.
    """
    found = []
    for uri in args.relay:
        if not args.relay_user or args.relay_password_file is None:
            raise UsageError("a relay asks who you are: --relay-user and --relay-password-file")
        host, port, transport, tls = parse_turn_uri(uri)
        found.append(
            TurnServer(
                host=host,
                port=port,
                username=args.relay_user,
                password=Secret.from_file(args.relay_password_file),
                transport=transport,
                tls=tls,
                authorities=args.authorities,
            )
        )
    return found


def _required(args: argparse.Namespace) -> SecurityLevel | None:
    """Return what each call must reach; it goes to the call, where it only adds to the policy."""
    return SecurityLevel[args.require] if args.require else None


def _wishes(args: argparse.Namespace, *, until_played: bool) -> Wishes:
    return Wishes(
        play=args.play,
        loop=args.seconds is not None,
        record=args.record,
        seconds=args.seconds,
        until_played=until_played and not (args.mic or args.microphone or args.text),
        confirm=args.confirm == "ask",
        mic=args.mic or bool(args.microphone),
        microphone=args.microphone,
        loudspeaker=args.loudspeaker,
        raw=args.raw,
        gain=args.gain,
        speaker=args.speaker or bool(args.loudspeaker),
        report=args.report,
        video=args.video,
        watch=args.watch,
        pictures=require_pictures(video=args.video, watch=args.watch, record=args.record),
        text=args.text,
    )


async def call(args: argparse.Namespace, output: Output) -> None:
    """Place one call and follow it to its end."""
    target, wishes = _target(args.target), _wishes(args, until_played=True)
    relays = _relays(args)
    # one terminal leads one conversation: who calls meanwhile hears that it is busy
    async with open_home(args, replace(_policy(args), call_waiting=False)) as client:
        client.use_relay(*relays)
        await _sign_in(client, args)
        board = Board(client, output, text=wishes.text, require=_required(args))
        sound = Sound(wishes)
        placed = client.call(
            named(client, target),
            audio=sound.source,
            video=sound.shows,
            text=wishes.text,
            scanned=args.scanned,
            require=_required(args),
        )
        following = asyncio.create_task(follow_call(client, board))
        try:
            async with board:
                await converse(placed, wishes, sound, board)
        finally:
            _ = following.cancel()


async def answer(args: argparse.Namespace, output: Output) -> None:
    """Wait for calls and take them, one after the other."""
    wishes = _wishes(args, until_played=False)  # what is missing for them is told before waiting
    relays = _relays(args)
    # one terminal leads one conversation: who calls meanwhile hears that it is busy
    async with open_home(args, replace(_policy(args), call_waiting=False)) as client:
        client.use_relay(*relays)
        await _sign_in(client, args)
        board = Board(
            client,
            output,
            text=wishes.text,
            require=_required(args),
            takes_all=args.auto_accept,
        )
        following = [
            asyncio.create_task(_follow_account(client, output)),
            asyncio.create_task(follow_call(client, board)),
        ]
        try:
            if args.ticket:
                await make_ticket(client, args, output)
            elif not args.account:
                host, port = await client.listen(args.host or "0.0.0.0", args.port)  # noqa: S104 - see Client.listen
                output.tell("listening", host=host, port=port)
            output.tell("ready", account=args.account)
            await _serve(board, args, wishes)
        finally:
            for task in following:
                _ = task.cancel()


async def follow_call(client: Client, board: Board) -> None:
    """Tell what else happens in calls: a hold, a device that failed, somebody handed over."""
    output = board.output
    async for event in client.events():
        match event:
            case SoundFailed(error=error):
                output.tell("note", text=f"The call goes on without it: {what_happened(error)}")
            case SoundDeviceLost(error=error):
                output.tell("note", text=f"{error}.")
            case HoldChanged(call=call, held=held):
                output.tell("hold", peer=call.peer, held=held)
            case PeerRecords(call=call):
                output.tell("peer_records", peer=call.peer)
            case PicturesChanged(call=call, shown=shown, seen=seen):
                output.tell(
                    "shown",
                    peer=call.peer,
                    shown=names_of(shown),
                    seen=names_of(seen),
                    on_hold=call.held or call.on_hold,
                )
            case PictureAsked(call=call, what=what):
                output.tell("picture_asked", peer=call.peer, what=names_of(frozenset({what}))[0])
            case TransferRequested() | TransferProgressed():
                tell_of_transfer(event, board)
            case _:
                pass


async def _follow_account(client: Client, output: Output) -> None:
    """Tell of the account: whether calls can reach us is what whoever waits wants to know."""
    async for event in client.events():
        if isinstance(event, RegistrationChanged):
            output.tell(
                "registration",
                account=str(event.address),
                state=event.state.value,
                why=what_happened(event.error) if event.error is not None else "",
            )


async def _serve(board: Board, args: argparse.Namespace, wishes: Wishes) -> None:
    while True:
        error = await _take(board, args, wishes)
        if args.once:
            if error is not None:
                raise error
            return
        if error is not None:
            board.output.tell("failed", **fields(error))


async def _take(board: Board, args: argparse.Namespace, wishes: Wishes) -> SecurecallError | None:
    """Wait for a call and lead it; returns what went wrong with it."""
    output, ring = board.output, await board.client.next_call()
    output.tell("incoming", **ring_fields(ring, board.require), replaces="")
    if not args.auto_accept and not await _accepted(ring, output):
        over = ring.over
        await ring.decline()
        output.tell("note", text="The caller gave up." if over else "You declined the call.")
        return None
    try:
        sound = Sound(wishes)
    except SecurecallError as e:  # nothing to talk with: nobody is left ringing
        await ring.decline()
        return e
    try:
        taken = ring.accept(
            audio=sound.source, video=sound.shows, text=wishes.text, require=_required(args)
        )
        async with board:
            await converse(taken, wishes, sound, board)
    except SecurecallError as e:
        return e
    return None


async def _accepted(ring: IncomingCall, output: Output) -> bool:
    """Ask, for as long as it rings."""
    asking = asyncio.ensure_future(output.ask("Take the call?", "accept", "decline"))
    going = asyncio.ensure_future(ring.gone())
    try:
        _ = await asyncio.wait((asking, going), return_when=asyncio.FIRST_COMPLETED)
        return asking.done() and bool(asking.result()) and not ring.over
    finally:
        for task in (asking, going):
            _ = task.cancel()
        _ = await asyncio.gather(asking, going, return_exceptions=True)


async def _sign_in(client: Client, args: argparse.Namespace) -> None:
    if not args.account:
        if args.provider_mode != "proxy" or args.engine != "native":
            raise UsageError("--provider-mode and --engine are those of an account: give --account")
        return
    listen = getattr(args, "listen", None)
    certificate = None
    if listen is not None:
        if args.certificate is None or args.key is None:
            raise UsageError("--listen needs --certificate and --key")
        certificate = PemPair(certificate=args.certificate, key=args.key)
    _ = await client.sign_in(
        args.account,
        password=None if listen is not None else account_password(args),
        user=args.user,
        server=args.server,
        server_name=args.server_name,
        authorities=args.authorities,
        listen=listen,
        certificate=certificate,
        provider_mode=args.provider_mode,
        engine=args.engine,
    )


def _target(text: str) -> str:
    """Return a ticket or an address, from the argument, a file (@path) or standard input (-)."""
    if text == "-":
        if sys.stdin.isatty():
            _ = sys.stderr.write("Paste the ticket, or write an address:\n")
        with interruptible():
            return sys.stdin.readline(MOST_TEXT).strip()
    if not text.startswith("@"):
        return text
    return "".join(read_text(text[1:]).split())  # mail breaks long lines
