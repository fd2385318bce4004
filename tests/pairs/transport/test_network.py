"""Changes of this machine's network are told, once for each group, by a kernel or by looking."""

from __future__ import annotations

import asyncio
import socket

import pytest

from securecall.transport import network, route
from securecall.transport.network import NetworkWatch
from tests.pairs.transport.test_ice_restart import until


def test_what_the_kernel_tells_in_a_group_is_told_once(monkeypatch):
    ours, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.settimeout(0)
    monkeypatch.setattr(network, "_kernel", lambda: ours)

    async def main():
        told = []
        watch = NetworkWatch(lambda: told.append(1))
        for _ in range(5):
            kernel.send(b"an address came")
        await until(lambda: told)
        assert told == [1]
        kernel.send(b"an address went")
        await until(lambda: len(told) == 2)
        await watch.close()
        await watch.close()

    with kernel:
        asyncio.run(main())


def test_where_no_kernel_tells_it_is_looked(monkeypatch):
    hosts = [("192.0.2.1",)]
    monkeypatch.setattr(network, "_kernel", lambda: None)
    monkeypatch.setattr(network, "LOOK_SECONDS", 0.001)

    async def own_hosts(_towards):
        await asyncio.sleep(0)
        return hosts[-1]

    monkeypatch.setattr(network, "own_hosts", own_hosts)

    async def main():
        told = []
        watch = NetworkWatch(lambda: told.append(1))
        await asyncio.sleep(0.02)
        assert told == []
        hosts.append(("192.0.2.2",))
        await until(lambda: told)
        assert told == [1]
        await watch.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("towards", "ways", "expected"),
    [
        ("127.0.0.1", {}, ("127.0.0.1",)),
        ("", {route.ELSEWHERE: "192.0.2.7", "": "192.0.2.7"}, ("192.0.2.7",)),
        (
            "198.51.100.1",
            {
                "198.51.100.1": "10.8.0.2",
                route.ELSEWHERE: "192.0.2.7",
                route.ELSEWHERE_6: "2001:db8::7",
            },
            ("2001:db8::7", "10.8.0.2", "192.0.2.7"),
        ),
        ("198.51.100.1", {route.ELSEWHERE_6: "2001:db8::7"}, ("2001:db8::7",)),
        ("198.51.100.1", {}, ("127.0.0.1",)),
    ],
    ids=["this machine", "IPv4 alone", "a tunnel to the server", "IPv6 alone", "no network"],
)
def test_which_addresses_are_for_a_call(monkeypatch, towards, ways, expected):
    async def own_host_towards(remote):
        return ways.get(remote, "127.0.0.1")

    monkeypatch.setattr(route, "own_host_towards", own_host_towards)
    assert asyncio.run(route.own_hosts(towards)) == expected


def test_an_address_is_ours_or_not():
    assert route.is_ours("127.0.0.1")
    assert not route.is_ours("192.0.2.9")
    assert not route.is_ours("nowhere.example")
    assert not route.is_ours("")
