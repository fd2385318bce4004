"""Whoever carries the signalling names addresses of its own as candidates that are found later.

It reads the credentials, as it always could, so it can name addresses as if a peer had. What it
cannot: have anybody reached before a call is accepted, by a generation that is gone, or in numbers;
and make somebody tell addresses who hides them.
"""

from __future__ import annotations

import asyncio
import re

import aioice
import pytest

import securecall as sc
from securecall.calls.report_document import parse_report
from securecall.calls.signaling import Answered, Trickled
from securecall.calls.way import MOST_RELAYS
from securecall.media.description import Candidate, LocalIce
from securecall.testing.bus import SignalBus
from securecall.transport.candidate import MAX_CANDIDATES
from securecall.transport.ice import IcePath
from tests.pairs.calls.test_client import BOB, people
from tests.pairs.calls.test_ip_privacy import HIDDEN, OPEN, on_loopback  # noqa: F401 (a fixture)
from tests.pairs.calls.test_trickle import descriptions, talk, trickled, two
from tests.pairs.transport.fake_servers import Server


class Target(asyncio.DatagramProtocol):
    """Somebody who has nothing to do with the call, and counts what is sent there."""

    @classmethod
    async def open(cls):
        loop = asyncio.get_running_loop()
        transport, target = await loop.create_datagram_endpoint(cls, local_addr=("127.0.0.1", 0))
        target.transport, target.hit = transport, asyncio.Event()
        target.port = transport.get_extra_info("sockname")[1]
        return target

    def datagram_received(self, _data, _addr):
        self.hit.set()

    def named_by(self, ufrag, pwd):
        candidate = Candidate("1", 1, "udp", 2**31 - 1, "127.0.0.1", self.port, "host")
        return Trickled("0", LocalIce(ufrag=ufrag, pwd=pwd, candidates=(candidate,)))


def test_nobody_is_made_to_send_before_acceptance_nor_by_another_generation(tmp_path):
    """The control is a third address, named as the peer itself could: it is checked."""

    async def main():
        target, control = await Target.open(), await Target.open()
        # without the answer the call finds no way, and goes on checking what it knows of
        bus = SignalBus(mutate=lambda signal, _: None if isinstance(signal, Answered) else signal)
        async with people(tmp_path, bus) as (alice, bob):
            async with alice.call(BOB, policy=OPEN):
                ring = await bob.next_call()
                _, callee = bus.legs
                offer = callee.offer.audio
                callee.inject(target.named_by(offer.ice_ufrag, offer.ice_pwd))
                async with ring.accept():
                    for ufrag, pwd in (
                        ("another0", offer.ice_pwd),
                        (offer.ice_ufrag, "p" * 24),
                        ("", ""),
                    ):
                        callee.inject(target.named_by(ufrag, pwd))
                    callee.inject(control.named_by(offer.ice_ufrag, offer.ice_pwd))
                    async with asyncio.timeout(10):
                        await control.hit.wait()
                    await asyncio.sleep(0.1)
            assert not target.hit.is_set()
        target.transport.close()
        control.transport.close()

    asyncio.run(main())


def test_a_flood_of_candidates_makes_nobody_check_more_than_a_few():
    """A million datagrams to others for one INFO each is what it would be good for."""
    flood = [
        [Candidate("1", 1, "udp", 1, f"192.0.2.{n}", 1000 + m, "host") for m in range(100)]
        for n in range(1, 100)
    ]

    async def main():
        path = IcePath(controlling=False)
        await path.gather(("127.0.0.1",))
        with pytest.raises(sc.ConnectFailed):
            await path.connect("peer", "p" * 22, (), timeout=0.01)
        plain = aioice.Connection(ice_controlling=False)
        for many in flood:
            path.trickled("peer", "p" * 22, many)
            for c in many[:2]:
                await plain.add_remote_candidate(
                    aioice.Candidate("1", 1, "udp", 1, c.host, c.port, "host")
                )
        assert len(path._used.agent._remote_candidates) == MAX_CANDIDATES
        assert len(plain.remote_candidates) == 2 * len(flood)  # the control
        await path.close()
        await plain.close()

    asyncio.run(main())


@pytest.mark.parametrize(("names", "told"), [(3, 3), (400, MOST_RELAYS)])
def test_a_flood_of_relays_leaves_a_report_that_can_be_read(tmp_path, names, told):
    """Three are all named, which is the control; a report has room for a hundred."""
    answers = []

    def watch(signal, _):
        if isinstance(signal, Answered):
            answers.append(signal.description.audio)
        return signal

    async def main():
        bus = SignalBus(mutate=watch)
        async with people(tmp_path, bus) as (alice, bob):
            async with alice.call(BOB, policy=OPEN) as call:
                async with (await bob.next_call()).accept():
                    await call.connected()
                    ufrag, pwd = answers[0].ice_ufrag, answers[0].ice_pwd
                    for n in range(names):
                        relay = Candidate("1", 1, "udp", 1, f"192.0.2.{n}", 9, "relay")
                        ice = LocalIce(ufrag=ufrag, pwd=pwd, candidates=(relay,))
                        bus.legs[0].inject(Trickled("0", ice))
            return call.report.to_json().encode()

    report = asyncio.run(main())
    assert len(set(re.findall(rb"192\.0\.2\.\d+", report))) == told
    assert parse_report(report)


@pytest.mark.parametrize(("policy", "shown"), [(HIDDEN, {"relay"}), (OPEN, {"host", "srflx"})])
def test_who_hides_tells_of_relays_alone_however_late(tmp_path, policy, shown):
    """The second is the control: there sockets are named, and what the STUN server saw, later."""

    async def main():
        async with two(tmp_path, Server, Server) as (alice, bob, said):
            bob.policy = policy
            await talk(alice, bob, policy=policy)
        told = [c for d in descriptions(said) for c in d.audio.candidates]
        told += [c for _, later in trickled(said) for c in later.ice.candidates]
        kinds = {c.type for c in told}
        assert kinds == shown if policy is HIDDEN else kinds >= shown

    asyncio.run(main())
