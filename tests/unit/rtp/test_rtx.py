from __future__ import annotations

import pytest

from securecall.errors import ProtocolError
from securecall.rtp.rtx import SentPacket, SentPackets, build_rtx, restore_rtx


def packet(sequence: int, size: int = 100) -> SentPacket:
    return SentPacket(sequence, 3000, True, bytes((sequence & 0xFF,)) * size)


def sent(*sequences: int, **limits) -> SentPackets:
    history = SentPackets(**limits)
    for sequence in sequences:
        history.keep(packet(sequence), now=0.0)
    return history


def asked(history: SentPackets, *sequences: int, now: float, round_trip: float = 0.1):
    answers = history.answer(sequences, now=now, round_trip=round_trip)
    return [answer.sequence for answer in answers]


def test_a_retransmission_is_the_sequence_number_and_the_payload():
    assert build_rtx(packet(0x1234, 2)) == b"\x12\x34\x34\x34"
    assert restore_rtx(b"\x12\x34ab") == (0x1234, b"ab")
    assert restore_rtx(b"\x12\x34") == (0x1234, b"")


def test_padding_restores_to_nothing_and_half_an_osn_is_refused():
    assert restore_rtx(b"") is None
    with pytest.raises(ProtocolError):
        restore_rtx(b"\x12")


def test_packets_are_answered_in_the_order_asked():
    history = sent(65534, 65535, 0, 1)
    assert asked(history, 0, 65535, now=0.1) == [0, 65535]
    assert history.answered == 2


def test_a_packet_is_answered_once_in_a_round_trip():
    history = sent(1, 2)
    assert asked(history, 1, 1, now=0.10) == [1]
    assert asked(history, 1, 2, now=0.15) == [2]
    assert asked(history, 1, now=0.20) == [1]
    assert history.premature == 2


def test_asked_for_twice_at_once_it_is_answered_once_on_the_fastest_path():
    assert asked(sent(1), 1, 1, now=0.1, round_trip=0.0) == [1]


def test_what_was_never_sent_or_is_too_old_is_not_answered():
    history = sent(1, max_age=1.0)
    history.keep(packet(2), now=0.5)
    assert asked(history, 1, 2, 3, now=1.2) == [2]
    assert (history.forgotten, history.octets, len(history)) == (2, 100, 1)


def test_the_oldest_go_where_there_is_no_room():
    history = sent(*range(10), max_bytes=300)
    assert (len(history), history.octets) == (3, 300)
    assert asked(history, *range(10), now=0.0) == [7, 8, 9]


def test_a_number_used_again_names_the_newer_packet():
    history = sent(1, 2)
    history.keep(packet(1, 50), now=0.1)
    assert history.octets == 150
    (answer,) = history.answer([1], now=0.1, round_trip=0.1)
    assert len(answer.payload) == 50


def test_all_is_forgotten_on_demand():
    history = sent(1, 2)
    history.clear()
    assert (len(history), history.octets) == (0, 0)
    assert asked(history, 1, now=0.0) == []


def test_payloads_are_not_printed():
    assert "payload" not in repr(packet(1))
