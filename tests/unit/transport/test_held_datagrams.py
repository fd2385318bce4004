"""What came before there was an answer: delivered in order, but for a handshake begun twice."""

from __future__ import annotations

from securecall.transport.udp import Deliverer

PEER, OTHER = ("192.0.2.1", 1), ("192.0.2.2", 2)
RTP = b"\x80rtp"


def hello(mark: int, *, offset: int = 0, epoch: int = 0, kind: int = 1) -> bytes:
    """A datagram of DTLS with one handshake fragment."""
    record = b"\x16\xfe\xfd" + epoch.to_bytes(2, "big") + bytes(6) + b"\0\x20"
    return record + bytes((kind,)) + bytes(5) + offset.to_bytes(3, "big") + bytes((0, 0, 20, mark))


def delivered(*held: tuple[tuple[str, int], bytes]) -> list[bytes]:
    deliverer, found = Deliverer(), []
    deliverer.dtls = deliverer.media = found.append
    for source, datagram in held:
        deliverer.hold(source, datagram)
    deliverer.release({PEER}.__contains__)
    return found


def test_of_a_handshake_begun_twice_the_second_beginning_counts():
    found = delivered((PEER, hello(1)), (PEER, RTP), (PEER, hello(2)), (PEER, hello(2, offset=20)))
    assert found == [RTP, hello(2), hello(2, offset=20)]


def test_fragments_and_later_flights_begin_nothing():
    parts = [hello(1), hello(1, offset=20), hello(2, epoch=1), hello(3, kind=2), b"\x16"]
    assert delivered(*((PEER, part) for part in parts)) == parts


def test_nobody_else_begins_a_handshake_for_the_peer():
    assert delivered((PEER, hello(1)), (OTHER, hello(2))) == [hello(1)]


def test_an_empty_datagram_is_nothing():
    assert delivered((PEER, b""), (PEER, hello(1)), (PEER, RTP)) == [hello(1), RTP]
