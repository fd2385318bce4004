from __future__ import annotations

import copy
import pickle

import pytest

from securecall.errors import ProtocolError, UsageError
from securecall.rtp.sframe import (
    WINDOW,
    SframeError,
    SframeFailure,
    SframeReceiver,
    SframeSender,
    build_header,
    parse_header,
    rtp_metadata,
)
from securecall.secret import Secret

KEY = Secret(b"k" * 32)
AUDIO = rtp_metadata(111, "0")


def pair(kid=0):
    receiver = SframeReceiver()
    receiver.add_key(kid, KEY)
    return SframeSender(KEY, kid), receiver


@pytest.mark.parametrize("kid", [0, 7, 8, 2**64 - 1])
def test_what_is_sealed_opens(kid):
    sender, receiver = pair(kid)
    for number in range(300):  # over each length of the counter up to two bytes
        payload = bytes(number)
        sealed = sender.seal_rtp(payload, AUDIO)
        assert receiver.open_rtp(sealed, AUDIO) == payload
        header = len(build_header(kid, number))
        assert len(sealed) == 1 + header + number + 16
    assert (sender.sealed, receiver.opened) == (300, 300)


def test_the_payload_is_not_in_the_packet():
    sender, _ = pair()
    assert b"secret words" not in sender.seal_rtp(b"secret words", AUDIO)


def test_metadata_is_payload_type_and_mid():
    assert rtp_metadata(0x80 | 111, "vidéo") == b"\x6fvid\xc3\xa9o"


def test_reserved_descriptor_bits_are_ignored():
    sender, receiver = pair()
    sealed = sender.seal_rtp(b"a", AUDIO)
    assert receiver.open_rtp(b"\xff" + sealed[1:], AUDIO) == b"a"


REFUSED = {
    "nothing": b"",
    "descriptor alone": b"\xe0",
    "header beyond": b"\xe0\x0f\1\2",
    "KID beyond": b"\xe0\xf0\1\2",
    "no tag": b"\xe0\x00",
    "half a tag": b"\xe0\x00" + bytes(8),
    "unknown KID": b"\xe0\x10" + bytes(16),
    "plaintext": b"\x00sound",
    "two of three bits": b"\xc0\x00" + bytes(16),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_was_not_sealed_is_refused_and_counted(name):
    _, receiver = pair()
    with pytest.raises(SframeError) as caught:
        receiver.open_rtp(REFUSED[name], AUDIO)
    assert receiver.failures[caught.value.failure] == 1
    assert receiver.opened == 0
    assert caught.value.failure.value in str(caught.value)


def test_a_kid_is_given_a_key_once():
    _, receiver = pair()
    with pytest.raises(UsageError):
        receiver.add_key(0, KEY)
    with pytest.raises(UsageError):
        receiver.add_key(2**64, KEY)
    for kid in range(1, 256):
        receiver.add_key(kid, KEY)
    with pytest.raises(UsageError):
        receiver.add_key(256, KEY)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_neither_end_is_duplicated(duplicate):
    for end in pair():
        with pytest.raises(UsageError):
            duplicate(end)


def test_the_counter_cannot_be_set():
    sender, _ = pair()
    with pytest.raises(AttributeError):
        sender.sealed = 0


def one_second(receiver, sender, *, good, bad, replayed=0):
    for _ in range(good):
        last = sender.seal(b"a")
        receiver.open(last)
    for _ in range(bad):
        with pytest.raises(SframeError):
            receiver.open(b"\x00" + bytes(16))
    for _ in range(replayed):
        with pytest.raises(SframeError):
            receiver.open(last)


def test_the_alarm_goes_off_above_five_percent_of_a_second():
    sender, receiver = pair()
    sender.seal(b"")  # counter 0 is left for the forgeries
    assert receiver.check_integrity(now=10.0) is None
    one_second(receiver, sender, good=95, bad=5)
    assert receiver.check_integrity(now=10.5) is None
    assert receiver.check_integrity(now=11.0) is None
    one_second(receiver, sender, good=94, bad=6)
    alarm = receiver.check_integrity(now=12.0)
    assert alarm is not None
    assert (alarm.failed, alarm.opened, alarm.seconds) == (6, 94, 1.0)
    assert receiver.check_integrity(now=13.0) is None


def test_replays_do_not_ring_the_alarm():
    sender, receiver = pair()
    receiver.check_integrity(now=0.0)
    one_second(receiver, sender, good=10, bad=0, replayed=50)
    assert receiver.check_integrity(now=1.0) is None
    assert receiver.failures[SframeFailure.REPLAYED] == 50


def test_headers_that_end_early_are_refused():
    for header in (b"", b"\x80", b"\x08", b"\xff" + bytes(15)):
        with pytest.raises(ProtocolError):
            parse_header(header)
    assert parse_header(b"\xff" + bytes(16)) == (0, 0, 17)


def test_nothing_in_the_window_opens_twice_and_nothing_behind_it_at_all():
    sender, receiver = pair()
    sealed = [sender.seal_rtp(b"%d" % n, AUDIO) for n in range(WINDOW + 3)]
    late = sealed.pop(10)
    for packet in sealed:
        receiver.open_rtp(packet, AUDIO)
    assert receiver.open_rtp(late, AUDIO) == b"10"
    for packet in (*sealed, late):
        with pytest.raises(SframeError):
            receiver.open_rtp(packet, AUDIO)
    assert receiver.failures[SframeFailure.TOO_OLD] == 3
    assert receiver.failures[SframeFailure.REPLAYED] == WINDOW
    assert receiver.opened == WINDOW + 3


def test_after_a_gap_longer_than_the_window_only_what_is_new_opens():
    sender, receiver = pair()
    first = sender.seal_rtp(b"first", AUDIO)
    receiver.open_rtp(first, AUDIO)
    for _ in range(WINDOW - 1):
        last = sender.seal_rtp(b"last", AUDIO)
    receiver.open_rtp(last, AUDIO)
    with pytest.raises(SframeError, match="replayed"):
        receiver.open_rtp(first, AUDIO)
    newer = [sender.seal_rtp(b"newer", AUDIO) for _ in range(WINDOW)]
    receiver.open_rtp(newer[-1], AUDIO)
    for packet in (last, newer[-1]):
        with pytest.raises(SframeError):
            receiver.open_rtp(packet, AUDIO)
    assert receiver.open_rtp(newer[0], AUDIO) == b"newer"


def test_a_stream_opens_though_it_begins_after_the_base_keys_were_wiped():
    bases = {kid: Secret(bytes([kid + 1]) * 32) for kid in range(3)}
    senders = {kid: SframeSender(base, kid) for kid, base in bases.items()}
    receiver = SframeReceiver()
    for kid, base in bases.items():
        receiver.add_key(kid, base)
        base.wipe()
    forged = bytearray(senders[2].seal(b"forged"))
    forged[-1] ^= 1
    with pytest.raises(SframeError) as refused:
        receiver.open(bytes(forged))
    assert refused.value.failure is SframeFailure.AUTHENTICATION
    for _ in range(2):
        for kid, sender in senders.items():
            assert receiver.open(sender.seal(bytes([kid]))) == bytes([kid])
    assert "kids=[0, 1, 2]" in repr(receiver)


def test_a_kid_has_one_key_whether_or_not_something_came_under_it():
    receiver = SframeReceiver()
    receiver.add_key(0, KEY)
    with pytest.raises(UsageError, match="never reused"):
        receiver.add_key(0, KEY)
    assert receiver.open(SframeSender(KEY, 0).seal(b"first")) == b"first"
    with pytest.raises(UsageError, match="never reused"):
        receiver.add_key(0, KEY)
