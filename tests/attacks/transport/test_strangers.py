"""Datagrams from addresses that are not the peer's; beside a socket that takes from anybody."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from securecall.transport.candidate import Candidate
from securecall.transport.ice import IcePath
from securecall.transport.udp import UdpPath
from tests.pairs.transport.test_ice import LOOPBACK, gathered
from tests.pairs.transport.test_ice import pair as ice_pair
from tests.pairs.transport.test_udp import DTLS, RTP, Inbox, run, stranger  # noqa: F401
from tests.pairs.transport.test_udp import pair as udp_pair

PAIRS = {"udp": udp_pair, "ice": ice_pair}


@pytest.mark.parametrize("kind", PAIRS)
def test_a_stranger_s_datagrams_never_arrive(run, kind):  # noqa: F811
    async def main():
        alice, bob = await PAIRS[kind]()
        inbox = Inbox(bob)
        with contextlib.closing(stranger()) as mallory:
            for datagram in (RTP, DTLS, b"\x00\x01stun", b""):
                mallory.sendto(datagram, bob.local)
            alice.send(b"\x80honest")
            await inbox.wait(1)
        assert inbox.media == [b"\x80honest"]
        assert inbox.dtls == []
        await alice.close()
        await bob.close()

    run(main())


def test_control_a_socket_without_a_peer_takes_the_stranger_s():
    with contextlib.closing(stranger()) as victim, contextlib.closing(stranger()) as mallory:
        mallory.sendto(RTP, victim.getsockname())
        assert victim.recv(100) == RTP


@pytest.mark.parametrize("kind", PAIRS)
def test_media_is_never_sent_to_whoever_sends_first(kind):
    async def main():
        alice, bob = await PAIRS[kind]()
        Inbox(bob)
        at_alice = Inbox(alice)
        with contextlib.closing(stranger()) as mallory:
            mallory.settimeout(0)
            mallory.sendto(RTP, bob.local)
            await asyncio.sleep(0)
            bob.send(RTP)
            await at_alice.wait(1)
            with pytest.raises(BlockingIOError):
                mallory.recv(100)
        await alice.close()
        await bob.close()

    asyncio.run(main())


def test_a_stranger_s_dtls_before_ice_completes_is_dropped_afterwards():
    async def main():
        alice, ours = await gathered(controlling=True)
        bob, theirs = await gathered(controlling=False)
        inbox = Inbox(bob)
        with contextlib.closing(stranger()) as mallory:
            for _ in range(5):
                mallory.sendto(DTLS, bob.local)
            await asyncio.sleep(0)
            await asyncio.gather(
                alice.connect(bob.ufrag, bob.pwd, theirs),
                bob.connect(alice.ufrag, alice.pwd, ours),
            )
        alice.send(RTP)
        await inbox.wait(1)
        assert inbox.dtls == []
        assert bob.counters.foreign == 5
        await alice.close()
        await bob.close()

    asyncio.run(main())


def test_a_stranger_s_dtls_before_connect_is_dropped_afterwards():
    async def main():
        alice, bob = await UdpPath.open("127.0.0.1"), await UdpPath.open("127.0.0.1")
        alice.connect(*bob.local)
        with contextlib.closing(stranger()) as mallory:
            mallory.sendto(DTLS, bob.local)
        bob.connect(*alice.local)
        inbox = Inbox(bob)
        alice.send(RTP)
        await inbox.wait(1)
        assert inbox.dtls == []
        assert bob.counters.foreign == 1
        await alice.close()
        await bob.close()

    asyncio.run(main())


def test_a_wrong_password_never_connects():
    async def main():
        alice, ours = await gathered(controlling=True)
        mallory, theirs = await gathered(controlling=False)
        results = await asyncio.gather(
            alice.connect(mallory.ufrag, "x" * 24, theirs, timeout=0.3),
            mallory.connect(alice.ufrag, "y" * 24, ours, timeout=0.3),
            return_exceptions=True,
        )
        assert [type(r).__name__ for r in results] == ["ConnectFailed"] * 2
        await alice.close()
        await mallory.close()

    asyncio.run(main())


def test_names_of_the_peer_are_never_resolved(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError(f"resolved {args}")

    async def main():
        path = IcePath(controlling=True)
        await path.gather(LOOPBACK)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        monkeypatch.setattr("aioice.ice.get_or_create_mdns_protocol", refuse)
        names = ("4a8b.local", "tracker.example", "localhost")
        theirs = [Candidate("1", 1, "udp", 1, name, 9, "host") for name in names]
        with pytest.raises(Exception, match="no pair"):
            await path.connect("abcd", "p" * 22, theirs)
        await path.close()

    asyncio.run(main())


def test_a_million_candidates_are_cut_short():
    async def main():
        path, _ = await gathered(controlling=True)
        one = Candidate("1", 1, "udp", 1, "a.local", 9, "host")
        with pytest.raises(Exception, match="no pair"):
            await path.connect("abcd", "p" * 22, (one for _ in range(200_000)))
        await path.close()

    asyncio.run(main())
