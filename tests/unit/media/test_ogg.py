"""Packets into pages of Ogg, and out of them again."""

from __future__ import annotations

import struct

import pytest

from securecall.errors import ProtocolError, UsageError
from securecall.media.ogg import (
    OggWriter,
    OpusHead,
    packet_samples,
    page_crc,
    parse_ogg_opus,
)

FRAME = 960
PACKET = bytes([0x48]) + bytes(69)  # SILK wide band, 20 ms


MONO = OpusHead()


def ogg(packets, *, head=MONO, serial=7, granule=1 << 40):
    writer = OggWriter(head, serial=serial)
    return b"".join(writer.add(p) for p in packets) + writer.finish(granule=granule)


def pages(data):
    found = []
    while data:
        size = 27 + data[26] + sum(data[27 : 27 + data[26]])
        found.append(data[:size])
        data = data[size:]
    return found


def page(body, *, flags=0, granule=0, serial=7, sequence=0, lacing=None):
    lacing = bytes([len(body)]) if lacing is None else lacing
    made = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, serial, sequence, 0, len(lacing))
    made += lacing + body
    return made[:22] + struct.pack("<I", page_crc(made)) + made[26:]


def with_crc(made):
    made = made[:22] + bytes(4) + made[26:]
    return made[:22] + struct.pack("<I", page_crc(made)) + made[26:]


HEAD = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 312, 48000, 0, 0)
TAGS = b"OpusTags" + bytes(8)


def recording(*more, head=HEAD, tags=TAGS):
    return page(head, flags=2) + page(tags, sequence=1) + b"".join(more)


def test_what_was_written_is_read():
    packets = [PACKET, b"\x48" * 300, b"\x48" * 255, b"\x48"] * 40
    found = parse_ogg_opus(ogg(packets, head=OpusHead(2, 100, 44100, -3)), most_seconds=60)
    assert found.head == OpusHead(2, 100, 44100, -3)
    assert found.packets == tuple(packets)
    assert found.samples == 160 * FRAME - 100


def test_the_end_is_where_the_last_position_says():
    found = parse_ogg_opus(ogg([PACKET] * 3, granule=312 + 2000), most_seconds=60)
    assert (found.samples, found.seconds) == (2000, 2000 / 48000)


def test_a_page_holds_a_second_and_the_headers_stand_alone():
    found = pages(ogg([PACKET] * 120))
    assert [p[26] for p in found] == [1, 1, 50, 50, 20]
    assert [p[5] for p in found] == [2, 0, 0, 0, 4]
    assert [struct.unpack_from("<q", p, 6)[0] for p in found] == [0, 0, 48000, 96000, 115200]
    assert [struct.unpack_from("<I", p, 18)[0] for p in found] == [0, 1, 2, 3, 4]


def test_large_packets_fill_pages_sooner():
    found = pages(ogg([b"\x48" * 1275] * 100))
    assert max(p[26] for p in found) <= 255
    assert len(parse_ogg_opus(b"".join(found), most_seconds=60).packets) == 100


def test_nothing_is_said_of_who_made_it():
    assert pages(ogg([PACKET]))[1][28:] == b"OpusTags" + bytes(8)


def test_the_checksum_is_that_of_the_standard():
    # RFC 3533 6: polynomial 0x04c11db7, initial value and final XOR 0 (as in CRC-32/MPEG-2 but 0)
    assert page_crc(b"123456789") == 0x89A1897F


@pytest.mark.parametrize(
    ("packet", "samples"),
    [(b"\x00", 480), (b"\x08", 960), (b"\x10", 1920), (b"\x18", 2880), (b"\x60", 480),
     (b"\x68", 960), (b"\x80", 120), (b"\x98", 960), (b"\x99", 1920), (b"\x9a", 1920),
     (b"\x9b\x06", 5760), (b"\x83\x30", 5760)],
)  # fmt: skip
def test_how_long_a_packet_lasts(packet, samples):
    assert packet_samples(packet) == samples


@pytest.mark.parametrize(
    "packet", [b"", b"\x03", b"\x03\x00", b"\x9b\x07", b"\x83\x31", b"\x1b\x3f"]
)
def test_packets_of_no_or_too_long_a_time_are_refused(packet):
    with pytest.raises(ProtocolError):
        packet_samples(packet)
    with pytest.raises(ProtocolError):
        OggWriter(OpusHead(), serial=1).add(packet)


def test_a_packet_larger_than_a_page_is_not_written():
    with pytest.raises(UsageError):
        OggWriter(OpusHead(), serial=1).add(b"\x48" * 65025)


def test_a_packet_over_two_pages_is_read():
    long = b"\x48" * 300
    data = recording(
        page(long[:255], sequence=2, granule=-1, lacing=b"\xff"),
        page(long[255:] + PACKET, sequence=3, flags=1 | 4, granule=1920, lacing=b"\x2d\x46"),
    )
    assert parse_ogg_opus(data, most_seconds=9).packets == (long, PACKET)


@pytest.mark.parametrize("granule", [-5, 1 << 60, -(1 << 62)])
def test_positions_that_cannot_be_tell_nothing(granule):
    data = recording(page(PACKET, sequence=2, granule=granule, flags=4))
    assert parse_ogg_opus(data, most_seconds=9).samples == 960 - 312


def test_a_recording_without_an_end_mark_is_taken_as_it_is():
    assert (
        parse_ogg_opus(recording(page(PACKET, sequence=2, granule=960)), most_seconds=9).samples
        == 648
    )


def test_a_recording_shorter_than_its_beginning_is_empty():
    data = recording(page(PACKET, sequence=2, granule=100, flags=4))
    assert parse_ogg_opus(data, most_seconds=9).samples == 0


SOUND = page(PACKET, sequence=2, granule=960, flags=4)
BROKEN = {
    "nothing": b"",
    "text": b"hello, this is no recording of anything, and never was",
    "RIFF": b"RIFF" + bytes(60),
    "half a page": recording(SOUND)[:-1],
    "half a page head": recording(SOUND) + b"OggS",
    "half a lacing": page(HEAD, flags=2)[:27],
    "only a head": page(HEAD, flags=2),
    "no tags": page(HEAD, flags=2) + page(PACKET, sequence=1),
    "Vorbis": recording(head=b"\x01vorbis" + bytes(23)),
    "short head": recording(head=HEAD[:18]),
    "head of the future": recording(head=HEAD[:8] + b"\x10" + HEAD[9:]),
    "no channels": recording(head=HEAD[:9] + b"\0" + HEAD[10:]),
    "three channels": recording(head=HEAD[:9] + b"\3" + HEAD[10:]),
    "surround": recording(head=HEAD[:18] + b"\1" + b"\1\1\0\1"),
    "version 1 of Ogg": with_crc(b"OggS\1" + page(HEAD, flags=2)[5:]),
    "damaged": recording(SOUND)[:-1] + b"\xff",
    "wrong checksum": page(HEAD, flags=2)[:22] + bytes(4) + page(HEAD, flags=2)[26:],
    "another stream beside": recording(page(PACKET, sequence=2, serial=8)),
    "page lost": recording(page(PACKET, sequence=3, granule=960)),
    "page twice": recording(page(PACKET, sequence=2), page(PACKET, sequence=2)),
    "begins again": recording(page(HEAD, flags=2, sequence=2)),
    "no beginning": page(HEAD) + page(TAGS, sequence=1) + SOUND,
    "continued from nothing": recording(page(PACKET, sequence=2, flags=1)),
    "not continued": recording(
        page(b"\x48" * 255, sequence=2, lacing=b"\xff"), page(PACKET, sequence=3)
    ),
    "does not end": recording(page(b"\x48" * 255, sequence=2, lacing=b"\xff", flags=4)),
    "something after the end": recording(SOUND, page(PACKET, sequence=3)),
    "chained": recording(SOUND) + recording(SOUND),
    "empty packet": recording(page(b"", sequence=2, lacing=b"\0")),
    "packet of no time": recording(page(b"\x03\x00", sequence=2)),
    "huge packet": recording(
        *[
            page(b"\x48" * 65025, sequence=i, flags=i > 2, lacing=b"\xff" * 255, granule=-1)
            for i in range(2, 6)
        ]
    ),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_is_no_whole_recording_is_refused(data):
    with pytest.raises(ProtocolError):
        parse_ogg_opus(data, most_seconds=9)


def test_the_table_breaks_what_was_whole():
    assert parse_ogg_opus(recording(SOUND), most_seconds=9).packets == (PACKET,)


def test_a_recording_that_lasts_too_long_is_refused():
    data = ogg([b"\x9b\x06"] * 100)  # 12 seconds in 200 bytes
    assert parse_ogg_opus(data, most_seconds=12).samples
    with pytest.raises(ProtocolError, match="10 seconds"):
        parse_ogg_opus(data, most_seconds=10)
