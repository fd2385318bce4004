"""Payloads of another implementation, and a film by its encoder."""

from __future__ import annotations

import random

import pytest

from securecall.rtp.frames import FrameBuffer, ReceivedFrame, Resend
from securecall.rtp.h264 import IDR, PPS, SPS, H264Depacketiser, H264Packetiser, split_annex_b
from tests.paths import vectors


def payload(number: int) -> bytes:
    return vectors("rtp_rtcp_sctp_aiortc", f"h264_{number:04}.bin").read_bytes()


def test_payloads_of_each_kind_are_put_together():
    h264 = H264Depacketiser()
    packets = [payload(number) for number in range(4)]
    assert [h264.begins_keyframe(p) for p in packets] == [True, True, False, False]
    sets, idr, slices = (h264.assemble(p) for p in (packets[:1], packets[1:3], packets[3:]))
    assert [(unit[0] & 0x1F, len(unit)) for unit in split_annex_b(sets)] == [(SPS, 14), (PPS, 4)]
    *known, unit = split_annex_b(idr)
    assert known == list(split_annex_b(sets))  # put in front of what comes without them
    assert unit == b"\x65" + packets[1][2:] + packets[2][2:]
    assert unit[0] & 0x1F == IDR
    assert slices == b"\x00\x00\x00\x01" + packets[3]


def test_a_film_arrives_on_a_path_that_loses_and_reorders():
    av = pytest.importorskip("av", reason="PyAV is not installed")
    film = av.open(str(vectors("video", "bigbuckbunny.mp4")))
    to_annex_b = av.BitStreamFilterContext("h264_mp4toannexb", film.streams.video[0])
    access_units = [
        bytes(unit)
        for packet in film.demux(video=0)
        for unit in to_annex_b.filter(packet)
        if unit.size
    ]
    film.close()
    assert len(access_units) > 100
    chance = random.Random(7)
    buffer, packetiser = FrameBuffer(H264Depacketiser()), H264Packetiser()
    sent: dict[int, tuple[int, bytes, bool]] = {}
    got: list[ReceivedFrame] = []

    def perform(outputs, now):
        for output in outputs:
            if isinstance(output, ReceivedFrame):
                got.append(output)
            elif isinstance(output, Resend):
                for missing in output.sequences:
                    timestamp, again, marker = sent[missing]
                    perform(buffer.push(missing, timestamp, again, marker=marker, now=now), now)

    sequence = 60000
    for number, unit in enumerate(access_units):
        now = number / 25
        payloads = packetiser.packetise(unit)
        batch = []
        for index, each in enumerate(payloads, start=1):
            sent[sequence] = number * 3600, each, index == len(payloads)
            batch.append(sequence)
            sequence = sequence + 1 & 0xFFFF
        if len(batch) > 2 and chance.random() < 0.3:
            batch[0], batch[1] = batch[1], batch[0]
        for each in batch:
            if chance.random() > 0.05:
                timestamp, data, marker = sent[each]
                perform(buffer.push(each, timestamp, data, marker=marker, now=now), now)
        while buffer.deadline < now + 0.04:
            perform(buffer.poll(buffer.deadline), now)
    assert buffer.counters.recovered > 20
    assert [list(split_annex_b(f.data)) for f in got] == [
        list(split_annex_b(u)) for u in access_units[: len(got)]
    ]
    assert len(got) >= len(access_units) - 1
    decoder = av.CodecContext.create("h264", "r")
    pictures = [p for f in got for p in decoder.decode(av.Packet(f.data))] + decoder.decode(None)
    assert len(pictures) == len(got)
    assert (pictures[0].width, pictures[0].height) == (1280, 720)
