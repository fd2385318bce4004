"""H7: stolen, guessed, expired and diverted tickets, end to end."""

from __future__ import annotations

import asyncio
import time

import pytest

from securecall.errors import Reason, SecurecallError, TicketRefused
from securecall.keys.ticket import build_ticket, parse_ticket
from securecall.media.endpoints import ToneSource
from securecall.policy import Policy, SecurityLevel
from securecall.secret import Secret
from securecall.testing.attacks import redirect_ticket
from securecall.testing.evil_link import Inner
from securecall.testing.mallory import Mallory, Mode
from tests.attacks.calls.cast import ALICE_HERTZ, GUARD_SECONDS, Person, stranger


async def attempt(caller, bob: Person, ticket):
    """One call with a ticket; returns the level reached, or what was raised."""
    async with asyncio.timeout(GUARD_SECONDS):
        answering = asyncio.create_task(bob.answer())
        try:
            async with caller.call(ticket, audio=ToneSource(ALICE_HERTZ)) as call:
                await call.connected()
                level = call.security.level
        except SecurecallError as e:
            await answering
            return e
        await answering
        return level


def forged(ticket, **changes):
    parsed = parse_ticket(ticket, unix=int(time.time()))
    fields = {"uris": parsed.uris, "root_fp": parsed.root_fp, "secret": parsed.secret}
    return build_ticket(type(parsed)(**{**fields, "expiry": parsed.expiry, **changes}))


def test_only_the_first_bearer_ever_gets_through(tmp_path):
    async def run():
        async with (
            stranger(tmp_path, "alice") as alice,
            stranger(tmp_path, "eve") as eve,
            stranger(tmp_path, "bob") as client,
        ):
            bob = Person(client, client.address)
            ticket = await client.ticket(host="127.0.0.1")
            assert await attempt(alice, bob, ticket) is SecurityLevel.E2EE
            stolen = await attempt(eve, bob, ticket)
            assert isinstance(bob.errors[-1], TicketRefused)
            guessed = await attempt(eve, bob, forged(ticket, secret=Secret(bytes(range(32)))))
            assert isinstance(bob.errors[-1], TicketRefused)
            now = int(time.time())
            late = client.contacts.desk.issue(
                parse_ticket(ticket, unix=now).uris,
                root_fp=client.contacts.root_fp,
                expiry=now - 10,
                unix=now - 20,
            )
            expired = await attempt(eve, bob, prolonged(late))
            assert isinstance(bob.errors[-1], TicketRefused)
            # one identical answer, whatever was wrong
            assert {(type(e), str(e)) for e in (stolen, guessed, expired)} == {
                (type(stolen), str(stolen))
            }
            assert isinstance(stolen, SecurecallError)
            assert len({str(e) for e in bob.errors}) == 1
            assert not client.contacts.is_pinned(eve.address)
            assert await attempt(alice, bob, ticket) is SecurityLevel.E2EE  # the bearer, again

    asyncio.run(run())


def prolonged(ticket):
    return build_ticket(
        type(ticket)(
            uris=ticket.uris,
            root_fp=ticket.root_fp,
            secret=ticket.secret,
            expiry=ticket.expiry + 1000,  # the bearer may write what he likes
        )
    )


@pytest.mark.parametrize("inner", list(Inner))
def test_a_diverted_ticket_leads_nowhere_and_is_not_used_up(tmp_path, inner):
    """Mallory read the ticket in transit, and rewrote where it leads: to her."""

    async def run():
        async with (
            Mallory(tmp_path / "m", direct=True, mode=Mode.SWAP, inner=inner) as mallory,
            stranger(tmp_path, "alice") as alice,
            stranger(tmp_path, "bob") as client,
        ):
            bob = Person(client, client.address)
            ticket = await client.ticket(host="127.0.0.1")
            place = parse_ticket(ticket, unix=int(time.time())).targets[0].direct
            mallory.route("*", *place)
            diverted = redirect_ticket(ticket, *mallory.address)
            error = await attempt(alice, bob, diverted)
            assert isinstance(error, SecurecallError)
            assert error.reason in {
                Reason.BINDING_MISMATCH,
                Reason.FINGERPRINT_MISMATCH,
                Reason.IDENTITY_MISSING,
                Reason.IDENTITY_MISMATCH,
                Reason.ADDRESS_NOT_OWNED,
                Reason.IDENTITY_CHANGED,
                Reason.HANDSHAKE_FAILED,
            }
            assert mallory.bytes_decrypted == mallory.decryptable == 0
            assert bob.errors
            # nothing was spent on her: the ticket still takes Alice to Bob
            assert await attempt(alice, bob, ticket) is SecurityLevel.E2EE

    asyncio.run(run())


def test_not_even_the_danger_mode_makes_a_ticket_call_plain(tmp_path):
    """So the control for tickets is the one of A1: the same relay, between accounts."""

    async def run():
        async with (
            Mallory(tmp_path / "m", direct=True, mode=Mode.SWAP) as mallory,
            stranger(tmp_path, "alice", Policy(danger_plain_dtls=True)) as alice,
            stranger(tmp_path, "bob", Policy(danger_plain_dtls=True)) as client,
        ):
            bob = Person(client, client.address)
            ticket = await client.ticket(host="127.0.0.1")
            mallory.route("*", *parse_ticket(ticket, unix=int(time.time())).targets[0].direct)
            outcome = await attempt(alice, bob, redirect_ticket(ticket, *mallory.address))
            assert isinstance(outcome, SecurecallError)
            assert mallory.bytes_decrypted == 0

    asyncio.run(run())
