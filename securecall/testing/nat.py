"""Address translators (NATs), packet by packet and without I/O (RFC 4787, RFC 5382)."""

from __future__ import annotations

import enum
import ipaddress
import struct
from dataclasses import dataclass
from typing import Final

UDP: Final = 17
TCP: Final = 6
_CHECKSUM_AT: Final = {UDP: 6, TCP: 16}  # in the header of the transport
_FIRST_PORT: Final = 20_000
_FRAGMENT: Final = 0x3FFF  # more fragments, or an offset

Endpoint = tuple[int, int]
"""IPv4 address as a number, and port."""


class NatKind(enum.StrEnum):
    """How a NAT maps (RFC 4787 4.1); both let in only what was sent to, address and port alike."""

    PORT_RESTRICTED = "port-restricted cone"
    SYMMETRIC = "symmetric"


@dataclass(frozen=True, slots=True)
class Packet:
    """An IPv4 packet, as far as a NAT looks into it.

    Attributes:
        raw: All of it.
        protocol: UDP or TCP.
        source, destination: Of the transport.
        start: Where the header of the transport begins.
    """

    raw: bytes
    protocol: int
    source: Endpoint
    destination: Endpoint
    start: int

    @property
    def payload(self) -> bytes:
        """What a datagram carries."""
        return self.raw[self.start + 8 :]

    def rewritten(
        self, *, source: Endpoint | None = None, destination: Endpoint | None = None
    ) -> bytes:
        """Return the packet with other ends, its checksums adjusted (RFC 1624)."""
        data = bytearray(self.raw)
        for at, old, new in ((12, self.source, source), (16, self.destination, destination)):
            if new is None:
                continue
            port_at = self.start + (at - 12) // 2
            address = struct.pack("!I", old[0]), struct.pack("!I", new[0])
            port = struct.pack("!H", old[1]), struct.pack("!H", new[1])
            data[at : at + 4], data[port_at : port_at + 2] = address[1], port[1]
            _adjust(data, 10, address)
            sum_at = self.start + _CHECKSUM_AT[self.protocol]
            if self.protocol == TCP or data[sum_at : sum_at + 2] != b"\0\0":  # UDP may have none
                _adjust(data, sum_at, address)
                _adjust(data, sum_at, port)
        return bytes(data)


def parse_packet(raw: bytes) -> Packet | None:
    """Read an IPv4 packet of UDP or TCP; None for all others, and for fragments."""
    if len(raw) < 28 or raw[0] >> 4 != 4 or raw[9] not in _CHECKSUM_AT:
        return None
    start = 4 * (raw[0] & 15)
    if struct.unpack_from("!H", raw, 6)[0] & _FRAGMENT or len(raw) < start + 8:
        return None
    source, destination = struct.unpack_from("!II", raw, 12)
    ports = struct.unpack_from("!HH", raw, start)
    return Packet(raw, raw[9], (source, ports[0]), (destination, ports[1]), start)


def number_of(address: str) -> int:
    """Return an IPv4 address as a number."""
    return int(ipaddress.IPv4Address(address))


class Nat:
    """One NAT, which may drop all UDP, too.

    Attributes:
        kind: How it maps.
        udp: Whether it lets UDP through at all.
        dropped: Packets from outside that nobody inside had asked for.
    """

    def __init__(self, public: str, kind: NatKind, *, udp: bool = True) -> None:
        """Begin without mappings.

        Args:
            public: Its own address, the one that those outside see.
            kind: How it maps.
            udp: False drops all UDP.
        """
        self.kind = kind
        self.udp = udp
        self.dropped = 0
        self.public = number_of(public)
        self._ports: dict[tuple[int, Endpoint, Endpoint | None], int] = {}
        self._inside: dict[tuple[int, int], Endpoint] = {}
        self._asked: set[tuple[int, int, Endpoint]] = set()
        self._next = _FIRST_PORT

    def outbound(self, packet: Packet) -> bytes | None:
        """Return what leaves for a packet from inside, None for nothing."""
        if packet.protocol == UDP and not self.udp:
            return None
        towards = packet.destination if self.kind is NatKind.SYMMETRIC else None
        key = (packet.protocol, packet.source, towards)
        port = self._ports.get(key)
        if port is None:
            port = self._ports[key] = self._next
            self._next = self._next + 1 if self._next < 65_535 else _FIRST_PORT
            self._inside[packet.protocol, port] = packet.source
        self._asked.add((packet.protocol, port, packet.destination))
        return packet.rewritten(source=(self.public, port))

    def inbound(self, packet: Packet) -> bytes | None:
        """Return what comes in for a packet from outside, None for nothing."""
        port = packet.destination[1]
        inside = self._inside.get((packet.protocol, port))
        asked = (packet.protocol, port, packet.source) in self._asked
        if inside is None or not asked or (packet.protocol == UDP and not self.udp):
            self.dropped += 1
            return None
        return packet.rewritten(destination=inside)

    def forget(self) -> None:
        """Lose all mappings, as at a restart: whoever is inside gets other ports (a rebinding)."""
        self._ports.clear()
        self._inside.clear()
        self._asked.clear()


def _adjust(data: bytearray, at: int, change: tuple[bytes, bytes]) -> None:
    """Adjust a checksum to words that changed (RFC 1624 3, equation 3)."""
    old, new = change
    words = f"!{len(old) // 2}H"
    total = ~struct.unpack_from("!H", data, at)[0] & 0xFFFF
    total += sum(~word & 0xFFFF for word in struct.unpack(words, old))
    total += sum(struct.unpack(words, new))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into("!H", data, at, ~total & 0xFFFF)
