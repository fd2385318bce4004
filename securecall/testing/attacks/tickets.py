"""H7: stolen, guessed, expired and diverted tickets, end to end."""

from __future__ import annotations

import asyncio
import hmac
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from securecall.client import Client
from securecall.errors import Reason, SecurecallError, TicketRefused, UsageError
from securecall.keys.ticket import Ticket, build_ticket, parse_ticket, proof
from securecall.media.endpoints import ToneSource
from securecall.policy import SecurityLevel
from securecall.secret import Secret
from securecall.testing.attacks.outcome import Attack, Outcome, control, named, ours
from securecall.testing.attacks.stage import ALICE_HERTZ, GUARD_SECONDS, PLAIN, Person, stranger
from securecall.testing.edits import redirect_ticket
from securecall.testing.evil_link import Inner
from securecall.testing.evil_provider import Mallory, Mode

_REFUSALS: Final = {
    Reason.BINDING_MISMATCH,
    Reason.FINGERPRINT_MISMATCH,
    Reason.IDENTITY_MISSING,
    Reason.IDENTITY_MISMATCH,
    Reason.ADDRESS_NOT_OWNED,
    Reason.IDENTITY_CHANGED,
    Reason.HANDSHAKE_FAILED,
}


async def attempt(caller: Client, bob: Person, ticket: str) -> SecurityLevel | SecurecallError:
    """One call with a ticket; returns the level reached, or what was raised."""
    async with asyncio.timeout(GUARD_SECONDS):
        answering = asyncio.create_task(bob.answer())
        try:
            async with caller.call(ticket, audio=ToneSource(ALICE_HERTZ)) as call:
                _ = await call.connected()
                level = call.security.level
        except SecurecallError as e:
            await answering
            return e
        await answering
        return level


def _parsed(ticket: str) -> Ticket:
    return parse_ticket(ticket, unix=int(time.time()))


async def _naive_desk(folder: Path) -> Outcome:  # noqa: ARG001
    """A desk that only asks whether the secret is right, whoever shows it, however often."""
    secret, shown = Secret(b"ticket" * 5 + b"!!"), 0
    for leg in (b"a" * 64, b"b" * 64):
        shown += hmac.compare_digest(proof(secret, leg, 1), proof(secret, leg, 1))
    moved = proof(secret, b"a" * 64, 1)  # a proof without its leg in it is good anywhere
    outcome = Outcome(got=f"the thief gets in after the bearer; the desk let {shown} of 2 in")
    outcome.demand(shown == 2, "the second bearer was refused")
    outcome.demand(moved != proof(secret, b"b" * 64, 1), "proofs do not depend on the leg")
    return outcome


async def _stolen(folder: Path) -> Outcome:
    """Used by its bearer, then stolen, guessed, and one that was late; then its bearer again."""
    async with (
        stranger(folder, "alice") as alice,
        stranger(folder, "eve") as eve,
        stranger(folder, "bob") as client,
    ):
        bob, outcome = Person(client, client.address), Outcome()
        ticket = await client.ticket(host="127.0.0.1")
        outcome.demand(
            await attempt(alice, bob, ticket) is SecurityLevel.E2EE, "its bearer is refused"
        )
        now = int(time.time())
        late = client.contacts.desk.issue(
            _parsed(ticket).uris, root_fp=client.contacts.root_fp, expiry=now - 10, unix=now - 20
        )
        guess = replace(_parsed(ticket), secret=Secret(bytes(range(32))))
        thefts = {
            "stolen": ticket,
            "guessed": build_ticket(guess),
            # the bearer may write there what he likes
            "expired": build_ticket(replace(late, expiry=late.expiry + 1000)),
        }
        said: set[str] = set()
        for what, text in thefts.items():
            answer = await attempt(eve, bob, text)
            if not isinstance(answer, SecurecallError):
                outcome.problems.append(f"{what}: let in")
                continue
            # not its words: whether DTLS or signalling brings the news first is chance
            said.add(named(answer))
            outcome.demand(
                bool(bob.errors) and isinstance(bob.errors[-1], TicketRefused),
                f"{what}: the callee was told nothing",
            )
        outcome.demand(len(said) == 1, f"answers differ: {sorted(said)}")
        outcome.demand(
            len({str(e) for e in bob.errors}) == 1, "the callee is told different things"
        )
        outcome.demand(not client.contacts.is_pinned(eve.address), "the thief's key is pinned")
        again = await attempt(alice, bob, ticket)
        outcome.demand(again is SecurityLevel.E2EE, "the bearer is locked out")
        outcome.refusals = tuple(sorted({named(e) for e in bob.errors}))
        outcome.got = f"{len(thefts)} thefts, one answer; the bearer gets through before and after"
    return outcome


async def _diverted(folder: Path, *, inner: Inner) -> Outcome:
    """Mallory read the ticket in transit, and rewrote where it leads: to her."""
    async with (
        Mallory(folder / "m", direct=True, mode=Mode.SWAP, inner=inner) as mallory,
        stranger(folder, "alice") as alice,
        stranger(folder, "bob") as client,
    ):
        bob, outcome = Person(client, client.address), Outcome()
        ticket = await client.ticket(host="127.0.0.1")
        place = _parsed(ticket).targets[0].direct
        if place is not None:
            mallory.route("*", *place)
        answer = await attempt(alice, bob, redirect_ticket(ticket, *mallory.address))
        if isinstance(answer, SecurecallError):
            outcome.refusals = tuple(dict.fromkeys(map(named, (answer, *bob.errors))))
            reason = getattr(answer, "reason", None)
            outcome.demand(reason in _REFUSALS, f"another reason: {reason}")
        else:
            outcome.problems.append("connected through her")
        outcome.readable = max(mallory.bytes_decrypted, mallory.decryptable)
        outcome.demand(bob.errors, "the callee was told nothing")
        again = await attempt(alice, bob, ticket)
        outcome.demand(again is SecurityLevel.E2EE, f"the ticket was used up: {again!r}")
        outcome.got = "the ticket still takes its bearer to Bob"
    return outcome


async def _in_danger_mode(folder: Path) -> Outcome:
    """Where no proof is asked for, a ticket would be good for nothing: neither side gets so far."""
    async with (
        Mallory(folder / "m", direct=True, mode=Mode.SWAP, inner=Inner.STRIP) as mallory,
        stranger(folder, "alice", PLAIN) as alice,
        stranger(folder, "bob") as bob,
    ):
        outcome, refusals = Outcome(got="she sees no connection at all"), list[str]()
        ticket = redirect_ticket(await bob.ticket(host="127.0.0.1"), *mallory.address)
        try:
            _ = alice.call(ticket)
            outcome.problems.append("Alice calls")
        except UsageError as e:
            refusals.append(named(e))
        bob.policy = PLAIN
        try:
            _ = await bob.ticket(host="127.0.0.1")
            outcome.problems.append("Bob makes a ticket")
        except UsageError as e:
            refusals.append(named(e))
        outcome.demand(not mallory.proxy.transcript, "Alice connected to her")
        outcome.readable = max(mallory.bytes_decrypted, mallory.decryptable)
        outcome.refusals = tuple(dict.fromkeys(refusals))
    return outcome


H7: Final[Attack] = (
    control("a desk that only asks for the secret", _naive_desk),
    ours("stolen after use, guessed, expired", _stolen),
    *(ours(f"diverted, {inner.value}", partial(_diverted, inner=inner)) for inner in Inner),
    ours("diverted, danger mode", _in_danger_mode),
)
