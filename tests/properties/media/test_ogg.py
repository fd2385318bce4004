"""Recordings in Ogg, whatever is in them."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import ProtocolError
from securecall.media.ogg import OggWriter, OpusHead, packet_samples, parse_ogg_opus
from tests.unit.media.test_ogg import HEAD, TAGS, page

PACKETS = st.lists(st.binary(max_size=700).map(lambda b: b"\x48" + b), min_size=1, max_size=80)


def ogg(packets, head, granule):
    writer = OggWriter(head, serial=9)
    return b"".join(writer.add(p) for p in packets) + writer.finish(granule=granule)


@given(PACKETS, st.integers(1, 2), st.integers(0, 5000), st.integers(0, 1 << 40))
def test_what_was_written_is_read(packets, channels, skip, granule):
    head = OpusHead(channels, skip)
    found = parse_ogg_opus(ogg(packets, head, granule), most_seconds=60)
    assert (found.head, found.packets) == (head, tuple(packets))
    assert found.samples == max(0, min(granule, 960 * len(packets)) - skip)


@given(st.binary(max_size=600))
def test_any_bytes_parse_or_are_refused(data):
    with contextlib.suppress(ProtocolError):
        parse_ogg_opus(data, most_seconds=60)
    with contextlib.suppress(ProtocolError):
        assert 0 < packet_samples(data[:3]) <= 5760


@given(PACKETS, st.data())
def test_any_change_of_one_byte_is_refused(packets, data):
    whole = bytearray(ogg(packets, OpusHead(), 1 << 40))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ProtocolError):
        parse_ogg_opus(bytes(whole), most_seconds=60)
        raise AssertionError("a damaged recording was read")


BODIES = st.tuples(st.binary(max_size=400), st.binary(max_size=6), st.integers(0, 7),
                   st.integers(-(1 << 63), (1 << 63) - 1), st.integers(0, 3))  # fmt: skip


@given(st.lists(BODIES, max_size=5), st.booleans())
def test_any_pages_with_good_checksums_parse_or_are_refused(bodies, headed):
    data = page(HEAD, flags=2) + page(TAGS, sequence=1) if headed else b""
    for i, (body, lacing, flags, granule, wrong) in enumerate(bodies):
        cut = body[: sum(lacing)].ljust(sum(lacing), b"\x48")
        data += page(
            cut, lacing=lacing, flags=flags, granule=granule, sequence=i + 2 * headed + wrong // 3
        )
    with contextlib.suppress(ProtocolError):
        found = parse_ogg_opus(data, most_seconds=60)
        assert 0 <= found.samples <= 5760 * len(found.packets)
