"""NATs, packet by packet: who is mapped to what, who is let in, and that checksums stay right."""

from __future__ import annotations

import struct

import pytest

from securecall.testing.nat import TCP, UDP, Nat, NatKind, number_of, parse_packet

INSIDE, PUBLIC = ("10.0.0.2", 4000), "198.51.100.1"
SERVER, PEER = ("203.0.113.1", 3478), ("203.0.113.9", 5000)
CONE, SYMMETRIC = NatKind.PORT_RESTRICTED, NatKind.SYMMETRIC


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(source, destination, protocol=UDP, payload=b"hello"):
    """An IPv4 packet with right checksums."""
    hosts = struct.pack("!II", number_of(source[0]), number_of(destination[0]))
    ports = struct.pack("!HH", source[1], destination[1])
    if protocol == UDP:
        rest, at = struct.pack("!HH", 8 + len(payload), 0) + payload, 6
    else:
        rest, at = struct.pack("!IIBBHHH", 1, 2, 5 << 4, 16, 1000, 0, 0) + payload, 16
    transport = bytearray(ports + rest)
    pseudo = hosts + struct.pack("!BBH", 0, protocol, len(transport))
    struct.pack_into("!H", transport, at, checksum(pseudo + bytes(transport)))
    head = bytearray(struct.pack("!BBHHHBBH", 69, 0, 20 + len(transport), 7, 0, 64, protocol, 0))
    head += hosts
    struct.pack_into("!H", head, 10, checksum(bytes(head)))
    return bytes(head + transport)


def require_right(raw):
    """Both checksums come out as nothing over what they cover."""
    assert checksum(raw[:20]) == 0
    pseudo = raw[12:20] + struct.pack("!BBH", 0, raw[9], len(raw) - 20)
    assert checksum(pseudo + raw[20:]) == 0


def outside(nat, source, destination, protocol=UDP):
    """Whence a packet seems to come out there."""
    raw = nat.outbound(parse_packet(packet(source, destination, protocol)))
    require_right(raw)
    return parse_packet(raw).source


def comes_in(nat, source, port, protocol=UDP):
    """Where a packet from outside gets to."""
    raw = nat.inbound(parse_packet(packet(source, (PUBLIC, port), protocol)))
    if raw is None:
        return None
    require_right(raw)
    return parse_packet(raw).destination


@pytest.mark.parametrize("protocol", [UDP, TCP])
def test_a_port_restricted_nat_keeps_the_port_and_lets_in_who_was_sent_to(protocol):
    nat = Nat(PUBLIC, CONE)
    host, port = outside(nat, INSIDE, SERVER, protocol)
    assert host == number_of(PUBLIC)
    assert outside(nat, INSIDE, PEER, protocol) == (host, port)
    assert comes_in(nat, PEER, port, protocol) == (number_of(INSIDE[0]), INSIDE[1])
    assert comes_in(nat, (PEER[0], 5001), port, protocol) is None, "another port of the peer"
    assert comes_in(nat, ("203.0.113.8", 5000), port, protocol) is None, "somebody else"
    assert nat.dropped == 2


def test_a_symmetric_nat_takes_another_port_for_each_peer():
    nat = Nat(PUBLIC, SYMMETRIC)
    (_, first), (_, second) = outside(nat, INSIDE, SERVER), outside(nat, INSIDE, PEER)
    assert first != second
    assert outside(nat, INSIDE, SERVER)[1] == first, "the same for the same"
    assert comes_in(nat, PEER, first) is None, "what STUN learnt is of no use to a peer"
    assert comes_in(nat, PEER, second) is not None


def test_two_inside_never_share_a_port_and_protocols_have_their_own():
    nat = Nat(PUBLIC, CONE)
    ports = [outside(nat, (f"10.0.0.{n}", 4000), SERVER)[1] for n in range(2, 20)]
    assert len(set(ports)) == len(ports)
    assert comes_in(nat, SERVER, ports[0], TCP) is None


def test_udp_may_be_blocked_and_tcp_passes():
    nat = Nat(PUBLIC, CONE, udp=False)
    assert nat.outbound(parse_packet(packet(INSIDE, SERVER))) is None
    _, port = outside(nat, INSIDE, SERVER, TCP)
    assert comes_in(nat, SERVER, port, TCP) is not None


def test_a_nat_that_forgets_gives_other_ports_and_lets_nobody_in():
    nat = Nat(PUBLIC, CONE)
    _, port = outside(nat, INSIDE, PEER)
    nat.forget()
    assert comes_in(nat, PEER, port) is None
    assert outside(nat, INSIDE, PEER)[1] != port


def test_a_datagram_without_a_checksum_stays_without():
    raw = bytearray(packet(INSIDE, PEER))
    raw[26:28] = b"\0\0"
    assert Nat(PUBLIC, CONE).outbound(parse_packet(bytes(raw)))[26:28] == b"\0\0"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x45" * 19,
        b"\x60" + bytes(60),
        packet(INSIDE, PEER)[:9] + b"\x01" + packet(INSIDE, PEER)[10:],
        packet(INSIDE, PEER)[:6] + b"\x20\x00" + packet(INSIDE, PEER)[8:],
        b"\x4f" + packet(INSIDE, PEER)[1:],
    ],
    ids=["nothing", "too short", "IPv6", "ICMP", "a fragment", "options beyond its end"],
)
def test_what_is_no_whole_datagram_is_not_looked_at(raw):
    assert parse_packet(raw) is None
