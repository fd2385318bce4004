"""Two SIP adapters on loopback TLS: every way a call begins, changes and ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from securecall.address import ANONYMOUS, Address, Scheme
from securecall.calls.signaling import (
    Answered,
    Ended,
    Offered,
    Refused,
    Ringing,
    Route,
    Signal,
    Trickled,
)
from securecall.errors import EndReason
from securecall.media.description import (
    Candidate,
    Codec,
    Description,
    Fingerprint,
    Keying,
    Kind,
    LocalIce,
    MediaDescription,
    Setup,
)
from securecall.sip.leg import SipLeg
from securecall.sip.signaling import SipSignaling

BOB = Address(Scheme.KEY, "b0" * 64)
PRINT = Fingerprint("sha-256", bytes(range(32)))


def description(port: int = 4000) -> Description:
    media = MediaDescription(
        kind=Kind.AUDIO,
        media="audio",
        protocol="UDP/TLS/RTP/SAVPF",
        port=port,
        host="127.0.0.1",
        formats=("111",),
        mid="0",
        codecs=(Codec(111, "opus", 48000, 2, (("useinbandfec", "1"),)),),
        keying=Keying.DTLS_SRTP,
        fingerprints=(PRINT,),
        setup=Setup.ACTPASS,
        rtcp_mux=True,
    )
    return Description(media=(media,), all_fingerprints=(PRINT,))


@dataclass
class Ear:
    """What one end of a call hears."""

    leg: SipLeg
    heard: asyncio.Queue[Signal] = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self.leg.listen(self.heard.put_nowait)

    async def next(self) -> Signal:
        async with asyncio.timeout(5):
            return await self.heard.get()


@asynccontextmanager
async def two() -> AsyncIterator[tuple[SipSignaling, SipSignaling, asyncio.Queue[Ear]]]:
    rings: asyncio.Queue[Ear] = asyncio.Queue()
    alice = await SipSignaling.open()
    bob = await SipSignaling.open(listen=("127.0.0.1", 0))
    bob.on_incoming(lambda leg: rings.put_nowait(Ear(leg)))  # type: ignore[arg-type] # the adapter's own class
    try:
        yield alice, bob, rings
    finally:
        await alice.close()
        await bob.close()
        left = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        assert left == []


async def ring(alice: SipSignaling, bob: SipSignaling, rings: asyncio.Queue[Ear]):
    caller = Ear(await alice.dial(Route(BOB, bob.listening), description()))  # type: ignore[arg-type] # the adapter's own class
    async with asyncio.timeout(5):
        callee = await rings.get()
    return caller, callee


async def connected(alice: SipSignaling, bob: SipSignaling, rings: asyncio.Queue[Ear]):
    caller, callee = await ring(alice, bob, rings)
    callee.leg.send(Answered(description(5000)))
    assert isinstance(await caller.next(), Answered)
    return caller, callee


def test_a_call_rings_is_answered_and_hung_up_by_the_caller():
    async def main() -> None:
        async with two() as (alice, bob, rings):
            caller, callee = await ring(alice, bob, rings)
            assert callee.leg.remote == ANONYMOUS
            assert callee.leg.offer == description()
            callee.leg.send(Ringing())
            assert await caller.next() == Ringing()
            callee.leg.send(Answered(description(5000)))
            assert await caller.next() == Answered(description(5000))
            path = caller.leg.path
            assert (path.protocol, path.direct, path.verified_name) == ("SIP", True, "")
            assert path.transport.startswith("TLSv1.3 TLS_")
            caller.leg.send(Ended(EndReason.HUNG_UP))
            assert await callee.next() == Ended(EndReason.HUNG_UP)
            async with asyncio.timeout(5):
                await caller.leg.closed()
                await callee.leg.closed()

    asyncio.run(main())


def test_the_callee_hangs_up_on_the_same_connection():
    async def main() -> None:
        async with two() as (alice, bob, rings):
            caller, callee = await connected(alice, bob, rings)
            callee.leg.send(Ended(EndReason.HUNG_UP))
            assert await caller.next() == Ended(EndReason.HUNG_UP)
            async with asyncio.timeout(5):
                await caller.leg.closed()
                await callee.leg.closed()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("said", "heard", "status"),
    [
        (EndReason.BUSY, EndReason.BUSY, 486),
        (EndReason.DECLINED, EndReason.DECLINED, 603),
        (EndReason.SECURITY, EndReason.INCOMPATIBLE, 488),
        (EndReason.INCOMPATIBLE, EndReason.INCOMPATIBLE, 488),
        (EndReason.NO_ANSWER, EndReason.NO_ANSWER, 480),
        (EndReason.NOT_FOUND, EndReason.NOT_FOUND, 404),
    ],
)
def test_a_refusal_keeps_its_meaning(said, heard, status):
    async def main() -> None:
        async with two() as (alice, bob, rings):
            caller, callee = await ring(alice, bob, rings)
            callee.leg.send(Ended(said))
            end = await caller.next()
            assert isinstance(end, Ended)
            assert (end.reason, end.status) == (heard, status)
            async with asyncio.timeout(5):
                await caller.leg.closed()
                await callee.leg.closed()

    asyncio.run(main())


def test_a_caller_who_gives_up_cancels():
    async def main() -> None:
        async with two() as (alice, bob, rings):
            caller, callee = await ring(alice, bob, rings)
            caller.leg.send(Ended(EndReason.CANCELLED))
            end = await callee.next()
            assert isinstance(end, Ended)
            assert end.reason is EndReason.CANCELLED
            async with asyncio.timeout(5):
                await caller.leg.closed()
                await callee.leg.closed()
            assert caller.heard.empty()

    asyncio.run(main())


def test_either_side_changes_the_call_by_a_new_offer():
    async def main() -> None:
        async with two() as (alice, bob, rings):
            caller, callee = await connected(alice, bob, rings)
            for asker, asked, port in ((caller, callee, 6000), (callee, caller, 7000)):
                asker.leg.send(Offered(description(port)))
                assert await asked.next() == Offered(description(port))
                asked.leg.send(Answered(description(port + 1)))
                assert await asker.next() == Answered(description(port + 1))
            caller.leg.send(Offered(description(8000)))
            assert await callee.next() == Offered(description(8000))
            callee.leg.send(Refused(488))
            assert await caller.next() == Refused(488)
            caller.leg.send(Ended(EndReason.HUNG_UP))
            assert await callee.next() == Ended(EndReason.HUNG_UP)

    asyncio.run(main())


def test_options_is_answered():
    async def main() -> None:
        async with two() as (alice, bob, _):
            assert await alice.options(Route(BOB, bob.listening)) == 200

    asyncio.run(main())


def test_candidates_found_later_go_both_ways_once_both_have_the_other_s_description():
    def trickling(port):
        return replace(description(port), trickle=True)

    def found(port):
        relay = Candidate("1", 1, "udp", 1, "192.0.2.1", port, "relay", "0.0.0.0", 9)
        ice = LocalIce(ufrag="abcd", pwd="p" * 22, candidates=(relay,), complete=True)
        return Trickled("0", ice)

    async def main() -> None:
        async with two() as (alice, bob, rings):
            caller = Ear(await alice.dial(Route(BOB, bob.listening), trickling(4000)))  # type: ignore[arg-type] # the adapter's own class
            async with asyncio.timeout(5):
                callee = await rings.get()
            assert callee.leg.offer == trickling(4000)
            callee.leg.send(Answered(trickling(5000)))
            callee.leg.send(found(5001))
            assert await caller.next() == Answered(trickling(5000))
            assert await caller.next() == found(5001)
            caller.leg.send(found(4001))
            assert await callee.next() == found(4001)
            callee.leg.send(Offered(trickling(5002)))
            assert await caller.next() == Offered(trickling(5002))
            caller.leg.send(Answered(trickling(4002)))
            caller.leg.send(found(4003))
            assert await callee.next() == Answered(trickling(4002))
            assert await callee.next() == found(4003)
            caller.leg.send(Ended(EndReason.HUNG_UP))
            assert await callee.next() == Ended(EndReason.HUNG_UP)

    asyncio.run(main())
