"""Direct calls with tickets between two clients, over real TLS on loopback."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest

import securecall as sc
from securecall.calls.report import Capability
from securecall.keys.ticket import build_ticket, parse_ticket
from securecall.keys.trust import TrustState
from tests.paths import PROJECT

PASSPHRASE = sc.Secret("correct horse battery staple")


@asynccontextmanager
async def people(folder: Path, *names: str) -> AsyncIterator[list[sc.Client]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                sc.open(folder / name, passphrase=PASSPHRASE, create=True)
            )
            for name in names
        ]


async def answer(client: sc.Client, tries: int = 1) -> list[sc.Call]:
    """Take calls until they end, whatever comes of them."""
    taken = []
    for _ in range(tries):
        async with (await client.next_call()).accept() as call:
            taken.append(call)
            try:
                await call.ended()
            except sc.SecurecallError:
                continue
    return taken


def test_a_ticket_call_is_end_to_end_for_both_and_remembers_both(tmp_path):
    async def main() -> None:
        async with people(tmp_path, "alice", "bob") as (alice, bob):
            ticket = await bob.ticket(host="127.0.0.1")
            taking = asyncio.create_task(answer(bob))
            async with alice.call(ticket) as call:
                assert (await call.connected()).level is sc.E2EE
            (taken,) = await taking
            assert taken.security.level is sc.E2EE
            assert taken.peer == alice.address.short
            assert alice.contacts.find(bob.address).state is TrustState.PINNED
            assert bob.contacts.find(alice.address).state is TrustState.PINNED
            channels = [
                p for p in call.report.parties if p.capability is Capability.COULD_SUBSTITUTE
            ]
            assert [p.role for p in channels] == ["ticket-channel"]

    asyncio.run(main())


def test_a_scanned_ticket_is_verified_at_once(tmp_path):
    async def main() -> None:
        async with people(tmp_path, "alice", "bob") as (alice, bob):
            ticket = await bob.ticket(host="127.0.0.1")
            taking = asyncio.create_task(answer(bob))
            async with alice.call(ticket, scanned=True, require=sc.VERIFIED) as call:
                assert (await call.connected()).level is sc.VERIFIED
            await taking
            assert alice.contacts.find(bob.address).state is TrustState.VERIFIED

    asyncio.run(main())


def test_the_first_bearer_may_come_again_and_nobody_else(tmp_path):
    async def main() -> None:
        async with people(tmp_path, "alice", "bob", "eve") as (alice, bob, eve):
            ticket = await bob.ticket(host="127.0.0.1")
            taking = asyncio.create_task(answer(bob, tries=3))
            for _ in range(2):
                async with alice.call(ticket) as call:
                    assert (await call.connected()).level is sc.E2EE
            async with eve.call(ticket) as call:
                with pytest.raises(sc.SecurityError):
                    await call.connected()
            taken = await taking
            assert taken[2].security.level is sc.SecurityLevel.NONE
            assert bob.contacts.find(eve.address).state is TrustState.UNKNOWN

    asyncio.run(main())


def test_somebody_else_at_the_tickets_address_is_noticed_before_anything_is_said(tmp_path):
    async def main() -> None:
        async with people(tmp_path, "alice", "bob", "mallory") as (alice, bob, mallory):
            ticket = parse_ticket(await bob.ticket(host="127.0.0.1"), unix=0)
            place = await mallory.listen("127.0.0.1", 0)
            stolen = type(ticket)(
                uris=(f"tls:{place[0]}:{place[1]}",),
                root_fp=ticket.root_fp,
                secret=ticket.secret,
                expiry=ticket.expiry,
            )
            taking = asyncio.create_task(answer(mallory))
            async with alice.call(stolen) as call:
                with pytest.raises(sc.SecurityError):
                    await call.connected()
                assert call.statistics() is None
            (taken,) = await taking
            assert taken.security.level is sc.SecurityLevel.NONE
            assert alice.contacts.all() == ()

    asyncio.run(main())


def test_a_ticket_outlives_the_program_that_made_it(tmp_path):
    async def main() -> None:
        async with people(tmp_path, "bob") as (bob,):
            ticket = await bob.ticket(host="127.0.0.1")
        async with people(tmp_path, "alice", "bob") as (alice, bob):
            await bob.listen("127.0.0.1")
            taking = asyncio.create_task(answer(bob))
            async with alice.call(ticket) as call:
                assert (await call.connected()).level is sc.E2EE
            await taking

    asyncio.run(main())


def test_a_friend_is_called_again_without_a_ticket(tmp_path):
    async def main() -> None:
        async with people(tmp_path, "alice", "bob", "carol") as (alice, bob, carol):
            ticket = await bob.ticket(host="127.0.0.1")
            taking = asyncio.create_task(answer(bob, tries=2))
            async with alice.call(ticket) as call:
                await call.connected()
            async with alice.call(bob.address) as call:  # another ticket may be open meanwhile
                assert (await call.connected()).level is sc.E2EE
            for end in (call, (await taking)[1]):  # the key is still no better than the ticket was
                assert "ticket-channel" in {p.role for p in end.report.parties}
            with pytest.raises(sc.UsageError):
                carol.call(bob.address)

    asyncio.run(main())


def test_whoever_listens_there_now_has_to_be_the_key_that_is_called(tmp_path):
    async def main() -> None:
        async with people(tmp_path, "alice", "bob", "mallory") as (alice, bob, mallory):
            place = await mallory.listen("127.0.0.1")
            taking = asyncio.create_task(answer(mallory))
            async with alice.call(bob.address, direct=place) as call:
                with pytest.raises(sc.SecurityError):
                    await call.connected()
                assert call.statistics() is None
            await taking

    asyncio.run(main())


def test_a_stranger_without_a_ticket_is_refused_while_one_is_open(tmp_path):
    async def main() -> None:
        async with people(tmp_path, "bob", "eve") as (bob, eve):
            ticket = parse_ticket(await bob.ticket(host="127.0.0.1"), unix=0)
            guessed = build_ticket(
                type(ticket)(
                    uris=ticket.uris,
                    root_fp=ticket.root_fp,
                    secret=sc.Secret(bytes(32)),
                    expiry=ticket.expiry,
                )
            )
            taking = asyncio.create_task(answer(bob))
            async with eve.call(guessed) as call:
                with pytest.raises(sc.SecurityError):
                    await call.connected()
            (taken,) = await taking
            with pytest.raises(sc.TicketRefused):
                await taken.ended()

    asyncio.run(main())


def test_an_expired_ticket_is_refused_before_dialling(tmp_path):
    async def main() -> None:
        async with people(tmp_path, "alice", "bob") as (alice, bob):
            ticket = await bob.ticket(host="127.0.0.1", valid_seconds=0)
            await asyncio.sleep(1.1)  # the one thing here that wall time decides
            with pytest.raises(sc.TicketRefused):
                alice.call(ticket)

    asyncio.run(main())


def test_nobody_at_the_address_is_a_network_error(tmp_path):
    async def main() -> None:
        async with people(tmp_path, "alice", "bob") as (alice, bob):
            ticket = await bob.ticket(host="127.0.0.1")
            parsed = parse_ticket(ticket, unix=0)
            with socket.socket() as unused:
                unused.bind(("127.0.0.1", 0))
                port = unused.getsockname()[1]
            nowhere = type(parsed)(
                uris=(f"tls:127.0.0.1:{port}",),
                root_fp=parsed.root_fp,
                secret=parsed.secret,
                expiry=parsed.expiry,
            )
            with pytest.raises(sc.ConnectFailed):
                async with alice.call(nowhere):
                    pass

    asyncio.run(main())


def test_a_wrong_passphrase_and_a_damaged_store_are_told_apart(tmp_path):
    async def main() -> None:
        async with sc.open(tmp_path / "alice", passphrase=PASSPHRASE, create=True):
            pass
        with pytest.raises(sc.WrongPassphrase):
            async with sc.open(tmp_path / "alice", passphrase=sc.Secret("wrong")):
                pass
        (file,) = [p for p in (tmp_path / "alice").iterdir() if p.suffix not in (".lock", "")]
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(sc.StoreCorrupt):
            async with sc.open(tmp_path / "alice", passphrase=PASSPHRASE):
                pass

    asyncio.run(main())


PEER = """
import asyncio, sys
import securecall as sc

async def main():
    secret = sc.Secret("correct horse battery staple")
    async with sc.open(sys.argv[1], passphrase=secret, create=True) as me:
        if sys.argv[2:]:
            call = me.call(sys.argv[2])
        else:
            print(await me.ticket(host="127.0.0.1"), flush=True)
            call = (await me.next_call()).accept()
        async with call:
            await call.connected()
            print("connected", flush=True)
            await asyncio.sleep(60)

asyncio.run(main())
"""


@contextmanager
def peer(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Another process with a client in it; killed at the end, if not before."""
    with subprocess.Popen(
        [sys.executable, "-c", PEER, *arguments], stdout=subprocess.PIPE, text=True, cwd=PROJECT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def said(process: subprocess.Popen[str]) -> str:
    """The next line another process prints."""
    return (await asyncio.to_thread(process.stdout.readline)).strip()


async def lose(call: sc.Call, process: subprocess.Popen[str]) -> None:
    """Kill the peer in the middle of a call and see how the call ends."""
    async with call:
        await call.connected()
        assert await said(process) == "connected"
        process.kill()
        with pytest.raises(sc.PeerVanished):
            await call.ended()
    assert call.report.record is None


def test_a_callee_killed_in_mid_call_has_vanished(tmp_path):
    async def main() -> None:
        async with people(tmp_path, "left") as (left,):
            with peer(str(tmp_path / "gone")) as process:
                await lose(left.call(await said(process)), process)

    asyncio.run(main())


def test_a_caller_killed_in_mid_call_has_vanished(tmp_path):
    async def main() -> None:
        async with people(tmp_path, "left") as (left,):
            ticket = await left.ticket(host="127.0.0.1")
            with peer(str(tmp_path / "gone"), ticket) as process:
                await lose((await left.next_call()).accept(), process)

    asyncio.run(main())


def test_an_option_that_could_not_take_effect_is_refused(tmp_path):
    async def main() -> None:
        async with people(tmp_path, "alice", "bob") as (alice, bob):
            ticket = await bob.ticket(host="127.0.0.1")
            _, port = await bob.listen("127.0.0.1")
            with pytest.raises(sc.UsageError):
                alice.call(ticket, direct=("127.0.0.1", port))
            with pytest.raises(sc.UsageError):
                alice.call(bob.address, direct=("127.0.0.1", port), scanned=True)
            with pytest.raises(sc.UsageError):
                await bob.ticket(host="127.0.0.1", port=port % 60_000 + 1)

    asyncio.run(main())


def test_a_direct_call_without_proof_of_identity_is_refused_at_once(tmp_path):
    """No server vouches for anybody there: the key is all that tells who answers."""
    plain = sc.Policy(danger_plain_dtls=True)

    async def main():
        async with people(tmp_path, "alice", "bob") as (alice, bob):
            ticket = await bob.ticket(host="127.0.0.1")
            place = await bob.listen("127.0.0.1")
            for who, direct in ((ticket, None), (str(bob.contacts.own_key_address), place)):
                with pytest.raises(sc.UsageError, match="danger_plain_dtls"):
                    alice.call(who, direct=direct, policy=plain)
            bob.policy = plain  # too late to say so by an error: the call is refused
            with pytest.raises(sc.SecurecallError):
                async with alice.call(ticket) as call:
                    await call.connected()
            assert not bob.calls
            alice.policy = plain
            for act in (alice.listen, alice.ticket):
                with pytest.raises(sc.UsageError, match="danger_plain_dtls"):
                    await act(host="127.0.0.1")
            assert not alice.contacts.has_open_tickets()
            bob.policy = sc.Policy()  # the control, which offers a proof after all
            async with alice.call(ticket, require=sc.E2EE) as call:
                async with (await bob.next_call()).accept():
                    assert (await call.connected()).level is sc.E2EE

    asyncio.run(main())
