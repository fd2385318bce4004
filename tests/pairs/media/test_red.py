"""Packets that carry copies of earlier ones: when, how large, and what they are good for."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from securecall.media import opus
from securecall.media.codecs import EVENTS, OPUS, red_beside
from securecall.media.description import Codec
from securecall.media.endpoints import ToneSource
from securecall.media.engine import Gate
from securecall.rtp.packet import split_rtp
from securecall.rtp.red import DISTANCES, parse_red
from tests.pairs.media.two_sessions import Pair, srtp

RED, DIGITS = 63, 110
AGREED = (OPUS, *red_beside((OPUS,), RED), Codec(DIGITS, EVENTS, 48000))

pytestmark = pytest.mark.skipif(not opus.is_available(), reason="no libopus here")


def pair(wire=None, **options):
    options.setdefault("red", RED)
    return Pair(OPUS, receive_codecs=AGREED, events=DIGITS, wire=wire, **options)


def loses(share, seed=1):
    """A wire that loses sound of Alice's, and nothing else."""
    chance = random.Random(seed)

    def wire(sender, datagram):
        is_sound = sender == "alice" and not 192 <= datagram[1] <= 223
        return [] if is_sound and chance.random() < share else [datagram]

    return wire


def numbers(datagrams):
    return [d[1] & 0x7F for d in datagrams if not 192 <= d[1] <= 223]


def test_on_a_clean_path_no_packet_carries_copies():
    talk = pair()
    talk.clock.step(100)
    assert set(numbers(talk.sent["alice"])) == {OPUS.payload_type}


def test_reported_loss_brings_copies_and_they_fill_nearly_all_gaps():
    talk = pair(loses(0.2))
    talk.alice.source = ToneSource(440.0)
    talk.clock.step(150)
    before = talk.bob.statistics()
    talk.clock.step(250)
    after = talk.bob.statistics()
    assert set(numbers(talk.sent["alice"][-240:])) == {RED}
    lost, copied = after.lost - before.lost, after.copied - before.copied
    assert lost > 30
    assert copied > 0.9 * lost
    assert after.malformed == after.unknown == after.forged == 0
    assert set(numbers(talk.sent["bob"])) == {OPUS.payload_type}  # nothing of his was lost


def test_a_peer_that_takes_no_more_copies_gets_none_and_so_it_is_with_digits():
    talk = pair(loses(0.2))
    talk.alice.source = ToneSource(440)
    talk.clock.step(500)
    assert RED in numbers(talk.sent["alice"][-50:])
    talk.alice.press("1")
    talk.clock.step(2)
    assert DIGITS in numbers(talk.sent["alice"][-2:])
    talk.alice.set_companions(events=None, red=None)
    talk.sent["alice"].clear()
    talk.clock.step(500)
    assert set(numbers(talk.sent["alice"])) == {OPUS.payload_type}
    assert talk.alice.takes_digits is False
    talk.alice.set_companions(events=DIGITS, red=RED)  # the control: they come back
    talk.clock.step(500)
    assert RED in numbers(talk.sent["alice"])
    talk.alice.press("1")


def test_the_control_without_copies_guesses_the_same_losses():
    talk = pair(loses(0.2), red=None)
    talk.clock.step(300)
    statistics = talk.bob.statistics()
    assert set(numbers(talk.sent["alice"])) == {OPUS.payload_type}
    assert statistics.copied == 0 < statistics.concealed
    assert talk.bob.statistics().mos < 3.5


def test_every_packet_with_copies_has_one_size_whatever_is_said():
    talk = pair(loses(0.2))
    talk.clock.step(300)  # so that the SFrame counter has its usual length
    before = len(talk.sent["alice"])
    talk.alice.source = ToneSource(440.0)
    talk.clock.step(40)
    talk.alice.muted = True
    talk.clock.step(40)
    talk.alice.muted = False
    talk.alice.press("5")
    talk.clock.step(40)
    talk.alice.source = None
    talk.clock.step(40)
    media = [d for d in talk.sent["alice"][before:] if not 192 <= d[1] <= 223]
    assert set(numbers(media)) == {RED, DIGITS}
    assert len(media) == 160
    assert len(Counter(map(len, media))) == 1


def opened(pair_):
    """What SRTP carries from Alice, by somebody who has its keys, after copies began."""
    tap = srtp("srtp bob", "srtp alice")
    packets = [tap.unprotect(d) for d in pair_.sent["alice"] if not 192 <= d[1] <= 223]
    split = [split_rtp(p) for p in packets]
    return [payload for second, *_, payload in split if second & 0x7F == RED]


def repeats(payloads):
    """Whether 16 bytes of the end of one stand anywhere in a later one."""
    return any(
        old[-16:] in new
        for place, old in enumerate(payloads)
        for new in payloads[place + 1 : place + 1 + max(DISTANCES)]
    )


def test_copies_are_sealed_anew_and_no_ciphertext_comes_twice():
    talk = pair(loses(0.2))
    talk.alice.source = ToneSource(440.0)
    talk.clock.step(200)
    sealed = opened(talk)
    assert len(sealed) > 50
    assert not repeats(sealed)
    control = pair(loses(0.2), sframe=False)  # where the copies stand in the clear
    control.alice.source = ToneSource(440.0)
    control.clock.step(200)
    plain = opened(control)
    assert repeats(plain)
    assert all(len(parse_red(p).copies) == len(DISTANCES) for p in plain)


def test_nothing_of_before_a_closed_gate_is_said_after_it():
    talk = pair(loses(0.2), sframe=False)
    talk.clock.step(200)
    talk.alice.gate = Gate.CLOSED
    talk.alice.gate = Gate.OPEN
    before = len(talk.sent["alice"])
    talk.clock.step(20)
    media = numbers(talk.sent["alice"][before:])
    reach = max(DISTANCES)
    assert media == [OPUS.payload_type] * reach + [RED] * (20 - reach)


def test_copies_that_are_malformed_or_of_no_codec_are_counted():
    for payload, counted in ((b"\xef\x0f\x00\x05\x6f", "malformed"), (b"\x05abc", "unknown")):
        talk = pair(sframe=False)
        talk.clock.step(5)
        header = bytes((0x80, RED)) + (65535).to_bytes(2) + bytes(4) + (0x1005).to_bytes(4)
        talk.bob.receive(srtp("srtp alice", "srtp bob").protect(header + payload))
        assert getattr(talk.bob.statistics(), counted) == 1
