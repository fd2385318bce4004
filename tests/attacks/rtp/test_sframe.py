"""SFrame packets replayed, moved, relabelled and replaced by someone who holds the SRTP keys."""

from __future__ import annotations

import pytest

from securecall.rtp.sframe import (
    WINDOW,
    SframeError,
    SframeReceiver,
    SframeSender,
    rtp_metadata,
)
from securecall.secret import Secret

CALLER, CALLEE = Secret(b"r" * 32), Secret(b"e" * 32)
AUDIO, VIDEO = rtp_metadata(111, "0"), rtp_metadata(111, "1")


def pair():
    receiver = SframeReceiver()
    receiver.add_key(0, CALLER)
    return SframeSender(CALLER, 0), receiver


def test_control_the_packet_opens_where_it_belongs():
    sender, receiver = pair()
    assert receiver.open_rtp(sender.seal_rtp(b"sound", AUDIO), AUDIO) == b"sound"


@pytest.mark.parametrize("metadata", [VIDEO, rtp_metadata(0, "0"), rtp_metadata(111, ""), b""])
def test_moved_to_another_mid_or_payload_type_it_does_not_open(metadata):
    sender, receiver = pair()
    with pytest.raises(SframeError, match="authentication"):
        receiver.open_rtp(sender.seal_rtp(b"sound", AUDIO), metadata)


def test_control_without_metadata_the_moved_packet_opens():
    sender, receiver = pair()
    assert receiver.open(sender.seal(b"sound")) == b"sound"


def test_sent_back_to_its_sender_it_does_not_open():
    sender, _ = pair()
    back = SframeReceiver()
    back.add_key(0, CALLEE)
    with pytest.raises(SframeError, match="authentication"):
        back.open_rtp(sender.seal_rtp(b"sound", AUDIO), AUDIO)


def test_relabelled_with_another_kid_it_does_not_open():
    sender, receiver = pair()
    receiver.add_key(1, CALLER)
    sealed = bytearray(sender.seal_rtp(b"sound", AUDIO))
    sealed[1] = 0x10
    with pytest.raises(SframeError, match="authentication"):
        receiver.open_rtp(bytes(sealed), AUDIO)


def test_renumbered_it_does_not_open():
    sender, receiver = pair()
    sealed = bytearray(sender.seal_rtp(b"sound", AUDIO))
    sealed[1] = 0x01
    with pytest.raises(SframeError, match="authentication"):
        receiver.open_rtp(bytes(sealed), AUDIO)


def test_replayed_it_does_not_open_twice():
    sender, receiver = pair()
    sealed = sender.seal_rtp(b"sound", AUDIO)
    receiver.open_rtp(sealed, AUDIO)
    with pytest.raises(SframeError, match="replayed"):
        receiver.open_rtp(sealed, AUDIO)


def test_held_back_beyond_the_window_it_does_not_open():
    sender, receiver = pair()
    sealed = [sender.seal_rtp(b"", AUDIO) for _ in range(WINDOW + 1)]
    receiver.open_rtp(sealed[-1], AUDIO)
    with pytest.raises(SframeError, match="too-old"):
        receiver.open_rtp(sealed[0], AUDIO)
    assert receiver.open_rtp(sealed[1], AUDIO) == b""


def test_a_forged_counter_far_ahead_does_not_move_the_window():
    sender, receiver = pair()
    forged = b"\xe0\x0f" + b"\xff" * 8 + bytes(30)
    for _ in range(3):
        with pytest.raises(SframeError, match="authentication"):
            receiver.open_rtp(forged, AUDIO)
        assert receiver.open_rtp(sender.seal_rtp(b"sound", AUDIO), AUDIO) == b"sound"


def test_plaintext_in_its_place_is_refused_always():
    _, receiver = pair()
    for byte in range(0xE0):
        with pytest.raises(SframeError, match="plaintext"):
            receiver.open_rtp(bytes((byte,)) + b"words of somebody else", AUDIO)
