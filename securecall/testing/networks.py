"""A small internet in this process: machines in network namespaces, joined by a router of ours.

Linux alone, where network namespaces and TUN devices can be made (root, or an unprivileged user
namespace). Nothing reaches a real network:

    internet = Internet(delay=0.01)
    internet.here("203.0.113.1")                     # for servers, in the namespace we are in
    command = [*host_command(fd, "10.0.1.2/24"), "/usr/bin/python3", "-m", "phone"]
    ...                                              # started in a namespace of its own
    internet.attach(receive_device(end), nat=Nat("198.51.100.1", NatKind.SYMMETRIC))
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Final

from securecall.errors import LocalError
from securecall.testing.daemon import program
from securecall.testing.nat import UDP, Nat, Packet, number_of, parse_packet

DEVICE: Final = "net0"
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
_BURST: Final = 64  # packets of one device before the others get their turn

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Site:
    """Where one machine is attached.

    Attributes:
        nat: What it is behind, None for nothing; may be exchanged, as whoever moves does.
        up: Whether packets pass, both ways.
        udp: Whether UDP passes, both ways; a NAT has a switch of its own.
        sent, received: Packets that passed.
    """

    def __init__(self, device: int, nat: Nat | None) -> None:
        """Made by `Internet`."""
        self.nat = nat
        self.up = True
        self.udp = True
        self.sent = self.received = 0
        self._device = device

    def deliver(self, raw: bytes) -> None:
        """Hand a packet to the machine; what it cannot take now is lost."""
        self.received += 1
        with contextlib.suppress(OSError):
            _ = os.write(self._device, raw)

    def close(self) -> None:
        """Take the device away."""
        os.close(self._device)


class Internet:
    """The router between the sites.

    Attributes:
        tap: Called with every UDP packet on its way between sites, as those outside see it.
    """

    def __init__(self, *, delay: float = 0.0) -> None:
        """Begin without sites.

        Args:
            delay: Seconds that every packet takes.
        """
        self.tap: Callable[[Packet], None] | None = None
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._sites: dict[int, Site] = {}  # by device
        self._at: dict[Address, Site] = {}

    def here(self, *addresses: str) -> Site:
        """Attach the machine (the namespace) that we run in, for servers."""
        device = open_device([f"{a}/{ipaddress.ip_address(a).max_prefixlen}" for a in addresses])
        return self.attach(device, *addresses)

    def attach(self, device: int, *addresses: str, nat: Nat | None = None) -> Site:
        """Attach a machine by its device, as `receive_device` gives it.

        Args:
            device: A file descriptor; closed with the internet.
            addresses: Where it is, if it is not behind a NAT.
            nat: What it is behind.
        """
        os.set_blocking(device, False)
        site = self._sites[device] = Site(device, nat)
        self.place(site, *addresses)
        self._loop.add_reader(device, self._read, device, site)
        return site

    def place(self, site: Site, *addresses: str) -> None:
        """Say where a site is from now on; one behind a NAT is where that is."""
        self._at = {a: s for a, s in self._at.items() if s is not site}
        for address in addresses:
            self._at[ipaddress.ip_address(address)] = site
        if site.nat is not None:
            self._at[ipaddress.IPv4Address(site.nat.public)] = site

    def move(self, site: Site, nat: Nat) -> None:
        """Put a site behind another NAT: what was mapped by the old one is gone."""
        site.nat = nat
        self.place(site)

    def close(self) -> None:
        """Take all devices away."""
        for device, site in self._sites.items():
            _ = self._loop.remove_reader(device)
            site.close()
        self._sites.clear()
        self._at.clear()

    def _read(self, device: int, site: Site) -> None:
        try:
            for _ in range(_BURST):
                self._route(os.read(device, 65_535), site)
        except OSError:  # there is no more, or the device went with its namespace
            return

    def _route(self, raw: bytes, site: Site) -> None:
        if not site.up:
            return
        if raw[0] >> 4 == 6:
            destination: Address = ipaddress.IPv6Address(raw[24:40])
            passes = site.udp or raw[6] != UDP
            packet = None
        else:
            packet = parse_packet(raw)
            if packet is None:
                return
            passes = site.udp or packet.protocol != UDP
            if site.nat is not None:
                translated = site.nat.outbound(packet)
                packet = parse_packet(translated) if translated is not None else None
                if packet is None:
                    return
            destination = ipaddress.IPv4Address(packet.destination[0])
        there = self._at.get(destination)
        if there is None or not passes:
            return
        site.sent += 1
        if packet is not None and packet.protocol == UDP and self.tap is not None:
            self.tap(packet)
        if self._delay:
            _ = self._loop.call_later(self._delay, self._arrive, raw, packet, there)
        else:
            self._arrive(raw, packet, there)

    def _arrive(self, raw: bytes, packet: Packet | None, there: Site) -> None:
        if not there.up:
            return
        if packet is None:
            if there.udp or raw[6] != UDP:
                there.deliver(raw)
            return
        if packet.protocol == UDP and not there.udp:
            return
        data = packet.raw if there.nat is None else there.nat.inbound(packet)
        if data is not None:
            there.deliver(data)


def open_device(addresses: Iterable[str]) -> int:
    """Make a TUN device in the namespace we are in, up, with addresses and the default routes.

    Args:
        addresses: With the length of their prefix, as "10.0.0.2/24".

    Raises:
        LocalError: nobody lets us.
    """
    import fcntl  # of POSIX alone

    ip = program("ip", "iproute2")
    try:
        device = os.open("/dev/net/tun", os.O_RDWR)
        wanted = struct.pack("16sH", DEVICE.encode(), _IFF_TUN | _IFF_NO_PI)
        _ = fcntl.ioctl(device, _TUNSETIFF, wanted)
        _run(ip, "link", "set", "lo", "up")
        _run(ip, "link", "set", DEVICE, "up", "mtu", "1400")
        set_addresses(addresses)
    except (OSError, subprocess.CalledProcessError) as e:
        raise LocalError(f"this machine lets nobody make a network: {e}") from e
    return device


def set_addresses(addresses: Iterable[str]) -> None:
    """Have these addresses, and no others, in the namespace we are in; takes effect at once."""
    ip, wanted = program("ip", "iproute2"), tuple(addresses)
    _run(ip, "address", "flush", "dev", DEVICE, "scope", "global")
    for address in wanted:
        extra = ["nodad"] if ":" in address else []
        _run(ip, "address", "add", address, "dev", DEVICE, *extra)
    for family, marks in (("-4", "."), ("-6", ":")):
        if any(marks in address for address in wanted):
            _run(ip, family, "route", "replace", "default", "dev", DEVICE)


def host_command(channel: int, *addresses: str) -> list[str]:
    """Return what starts a command in a namespace of its own, before that command.

    Args:
        channel: A UNIX socket, inherited; the other end is for `receive_device`.
        addresses: As of `open_device`.
    """
    unshare = program("unshare", "util-linux")
    own = [sys.executable, "-m", "securecall.testing.networks", str(channel), ",".join(addresses)]
    return [unshare, "--net", *own]


def receive_device(channel: socket.socket) -> int:
    """Wait for the device of a machine that `host_command` started.

    Raises:
        LocalError: it could not be made.
    """
    _, devices, _, _ = socket.recv_fds(channel, 16, 1)
    if not devices:
        raise LocalError("this machine lets nobody make a network")
    return devices[0]


def _run(*command: str) -> None:
    _ = subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - fixed words, and addresses of a test


def _become(channel: int, addresses: str, command: list[str]) -> None:
    device = open_device(addresses.split(","))
    with socket.socket(fileno=channel) as to_router:
        _ = socket.send_fds(to_router, [b"device"], [device])
    os.close(device)
    os.execv(command[0], command)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2], sys.argv[3:])

__all__ = [
    "DEVICE",
    "Internet",
    "Site",
    "host_command",
    "number_of",
    "open_device",
    "receive_device",
    "set_addresses",
]
