"""Two UDP paths on loopback, on the fast path, the slow path and uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from securecall.errors import ConnectFailed, UsageError
from securecall.transport.udp import MAX_BURST, MAX_HELD, UdpPath

RTP, RTCP, DTLS = b"\x80rtp", b"\x80\xc8rtcp", b"\x16dtls"


class NoReaders(asyncio.SelectorEventLoop):
    """Like Windows' proactor loop."""

    def add_reader(self, *args):
        raise NotImplementedError

    remove_reader = add_reader


def uvloop_factory():
    return pytest.importorskip("uvloop").new_event_loop()


FACTORIES = {
    "selector": asyncio.SelectorEventLoop,
    "no add_reader": NoReaders,
    "uvloop": uvloop_factory,
}


@pytest.fixture(params=FACTORIES)
def run(request):
    def call(main):
        with asyncio.Runner(loop_factory=FACTORIES[request.param]) as runner:
            return runner.run(main)

    return call


class Inbox:
    def __init__(self, path):
        self.dtls, self.media = [], []
        self._came = asyncio.Event()
        path.listen(self._put(self.dtls), self._put(self.media))

    def _put(self, where):
        def put(datagram):
            where.append(datagram)
            self._came.set()

        return put

    async def wait(self, count):
        async with asyncio.timeout(10):
            while len(self.dtls) + len(self.media) < count:
                self._came.clear()
                await self._came.wait()


async def pair():
    alice, bob = await UdpPath.open("127.0.0.1"), await UdpPath.open("127.0.0.1")
    alice.connect(*bob.local)
    bob.connect(*alice.local)
    return alice, bob


def stranger():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def test_datagrams_arrive_sorted(run):
    async def main():
        alice, bob = await pair()
        inbox = Inbox(bob)
        for datagram in (RTP, DTLS, RTCP, b"\x40turn", b""):
            alice.send(datagram)
        alice.send(RTP)
        await inbox.wait(4)
        assert (inbox.media, inbox.dtls) == ([RTP, RTCP, RTP], [DTLS])
        assert bob.counters.unclassified in (1, 2)  # uvloop and proactor swallow the empty one
        await alice.close()
        await bob.close()

    run(main())


def test_what_comes_early_is_held_and_delivered_in_order(run):
    async def main():
        alice, bob = await UdpPath.open("127.0.0.1"), await UdpPath.open("127.0.0.1")
        alice.connect(*bob.local)
        for number in range(MAX_HELD):
            alice.send(b"\x16" + bytes((number,)))
        with contextlib.closing(stranger()) as mallory:
            mallory.sendto(b"\x16mallory", bob.local)
        await asyncio.sleep(0)
        bob.connect(*alice.local)
        inbox = Inbox(bob)
        await inbox.wait(MAX_HELD)
        assert inbox.dtls == [b"\x16" + bytes((n,)) for n in range(MAX_HELD)]
        await alice.close()
        await bob.close()

    run(main())


def test_listening_before_connecting_is_the_same(run):
    async def main():
        alice, bob = await UdpPath.open("127.0.0.1"), await UdpPath.open("127.0.0.1")
        inbox = Inbox(bob)
        alice.connect_plain(*bob.local)
        alice.send(DTLS)
        await asyncio.sleep(0)
        assert inbox.dtls == []
        bob.connect_plain(*alice.local)
        alice.send(RTP)
        await inbox.wait(2)
        assert (inbox.dtls, inbox.media) == ([DTLS], [RTP])
        await alice.close()
        await bob.close()

    run(main())


def test_no_more_than_the_limit_is_held(run):
    async def main():
        alice, bob = await UdpPath.open("127.0.0.1"), await UdpPath.open("127.0.0.1")
        alice.connect(*bob.local)
        for number in range(3 * MAX_HELD):
            alice.send(b"\x16" + bytes((number,)))
        async with asyncio.timeout(10):
            while bob.counters.unheld < 2 * MAX_HELD:  # noqa: ASYNC110 (counters tell nobody)
                await asyncio.sleep(0)
        bob.connect(*alice.local)
        inbox = Inbox(bob)
        await inbox.wait(MAX_HELD)
        assert [d[1] for d in inbox.dtls] == list(range(MAX_HELD))
        await alice.close()
        await bob.close()

    run(main())


def test_a_burst_arrives_whole(run):
    async def main():
        alice, bob = await pair()
        inbox = Inbox(bob)
        count = 2 * MAX_BURST + 10
        for number in range(count):
            alice.send(b"\x80" + bytes((number,)))
        await inbox.wait(count)
        assert [d[1] for d in inbox.media] == list(range(count))
        await alice.close()
        await bob.close()

    run(main())


def test_an_icmp_error_is_counted_and_the_path_goes_on():
    async def main():
        alice, bob = await pair()
        await bob.close()
        async with asyncio.timeout(10):
            while not alice.counters.unreachable:
                alice.send(RTP)
                await asyncio.sleep(0)
        revived = await UdpPath.open(*bob.local)
        revived.connect(*alice.local)
        inbox = Inbox(revived)
        alice.send(RTP)
        alice.send(RTP)
        await inbox.wait(1)
        await alice.close()
        await revived.close()

    asyncio.run(main())


def test_the_peer_may_move(run):
    async def main():
        alice, bob = await pair()
        moved = await UdpPath.open("127.0.0.1")
        moved.connect(*bob.local)
        bob.connect(*moved.local)
        inbox = Inbox(bob)
        alice.send(b"\x80old")
        moved.send(b"\x80new")
        await inbox.wait(1)
        assert inbox.media == [b"\x80new"]
        for path in (alice, bob, moved):
            await path.close()

    run(main())


def test_sending_nowhere_is_counted(run):
    async def main():
        path = await UdpPath.open("127.0.0.1")
        path.send(RTP)
        await path.close()
        await path.close()
        path.send(RTP)
        assert path.counters.unsent == 2
        with pytest.raises(UsageError):
            path.connect("127.0.0.1", 9)
        with pytest.raises(UsageError):
            path.listen(print, print)
        assert "closed" in repr(path)

    run(main())


def test_an_oversized_datagram_is_counted_not_raised():
    async def main():
        alice, bob = await pair()
        alice.send(bytes(70_000))
        assert alice.counters.unsent == 1
        await alice.close()
        await bob.close()

    asyncio.run(main())


@pytest.mark.parametrize("host", ["localhost", "", "256.0.0.1"])
def test_names_are_refused(host):
    async def main():
        with pytest.raises(UsageError):
            await UdpPath.open(host)
        path = await UdpPath.open("127.0.0.1")
        with pytest.raises(ConnectFailed):
            path.connect(host, 9)
        await path.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("host", "port"),
    [("0.0.0.0", 9), ("224.0.0.1", 9), ("255.255.255.255", 9), ("::1", 9), ("127.0.0.1", 0)],
)
def test_no_peer_sends_us_to_an_address_that_is_nobodys(host, port):
    async def main():
        path = await UdpPath.open("127.0.0.1")
        try:
            with pytest.raises(ConnectFailed):
                path.connect(host, port)
        finally:
            await path.close()

    asyncio.run(main())


def test_an_address_that_is_not_ours_is_a_failure():
    async def main():
        with pytest.raises(ConnectFailed):
            await UdpPath.open("192.0.2.1")

    asyncio.run(main())


def test_no_task_or_socket_is_left(run):
    async def main():
        alice, bob = await pair()
        Inbox(bob)
        alice.send(RTP)
        await alice.close()
        await bob.close()
        assert len(asyncio.all_tasks()) == 1

    run(main())
