"""Replayed, forged, late and colliding SRTP; each beside a receiver without the protection."""

from __future__ import annotations

import io
import random
import zipfile

import pytest
from pylibsrtp import Policy, Session

from securecall.rtp.packet import rtp_header
from securecall.rtp.srtp import WINDOW, Rejection, SrtpError, SrtpProfile, SrtpSession
from securecall.secret import Secret
from tests.paths import vectors

PROFILE = SrtpProfile.SRTP_AEAD_AES_256_GCM
THERE, BACK = b"a" * 44, b"b" * 44


def pair(profile=PROFILE):
    size = profile.key_length + profile.salt_length
    there, back = Secret(b"a" * size), Secret(b"b" * size)
    return SrtpSession(profile, there, back), SrtpSession(profile, back, there)


def packet(sequence, ssrc=7, payload=b"sound"):
    return rtp_header(0, sequence & 0xFFFF, 0, ssrc) + payload


def audio_continues(alice, bob, sequence):
    return bob.unprotect(alice.protect(packet(sequence))) == packet(sequence)


def test_a_replayed_packet_is_dropped():
    alice, bob = pair()
    sent = [alice.protect(packet(n)) for n in range(50)]
    for one in sent:
        bob.unprotect(one)
    for one in sent:
        with pytest.raises(SrtpError, match="replayed"):
            bob.unprotect(one)
    assert audio_continues(alice, bob, 50)


@pytest.mark.parametrize("profile", SrtpProfile)
def test_what_was_recorded_under_a_key_is_no_news_when_the_peer_returns_to_it(profile):
    """A gateway that plays music on hold under another key, and then goes on as before."""
    alice, bob = pair(profile)
    size = profile.key_length + profile.salt_length
    back, music = Secret(b"b" * size), Secret(b"m" * size)
    first, again = Secret(b"a" * size), Secret(b"a" * size)  # read out of two descriptions
    recorded = [alice.protect(packet(n)) for n in (*range(30_000, 65_536, 500), 65_540)]
    for one in recorded:  # to beyond a rollover
        bob.unprotect(one)
    late = alice.protect(packet(65_541))
    hold = SrtpSession(profile, music, back)
    bob.renew(profile, send_key=None, receive_key=music, received_with=first)
    assert audio_continues(hold, bob, 1)
    with pytest.raises(SrtpError, match="authentication"):
        bob.unprotect(late)
    bob.renew(profile, send_key=None, receive_key=again, received_with=music)
    for one in recorded:
        with pytest.raises(SrtpError):
            bob.unprotect(one)
    assert bob.unprotect(late) == packet(65_541)
    assert audio_continues(alice, bob, 65_542)  # the rollover counter goes on as well
    bob.renew(profile, send_key=None, receive_key=Secret(b"m" * size), received_with=again)
    with pytest.raises(SrtpError):
        bob.unprotect(SrtpSession(profile, music, back).protect(packet(1)))
    assert audio_continues(hold, bob, 2)


def test_control_a_receiver_that_begins_anew_under_an_old_key_takes_the_replay():
    alice, bob = pair()
    recorded = alice.protect(packet(1))
    bob.unprotect(recorded)
    anew = SrtpSession(PROFILE, Secret(BACK), Secret(THERE))
    assert anew.unprotect(recorded) == packet(1)


def test_control_a_receiver_of_plain_rtp_takes_the_replay():
    taken = []
    for _ in range(2):
        taken.append(packet(1)[12:])
    assert taken == [b"sound", b"sound"]


@pytest.mark.parametrize("profile", SrtpProfile)
def test_every_forged_byte_is_refused(profile):
    alice, bob = pair(profile)
    sent = alice.protect(packet(1))
    for place in range(len(sent)):
        forged = bytearray(sent)
        forged[place] ^= 1
        with pytest.raises(SrtpError):
            bob.unprotect(bytes(forged))
    for size in range(len(sent)):
        with pytest.raises(SrtpError):
            bob.unprotect(sent[:size])
    assert bob.unprotect(sent) == packet(1)


def test_a_packet_behind_the_window_is_dropped_and_one_inside_is_taken():
    alice, bob = pair()
    sent = [alice.protect(packet(n)) for n in range(WINDOW + 1)]
    bob.unprotect(sent[-1])
    with pytest.raises(SrtpError, match="too-old"):
        bob.unprotect(sent[0])
    assert bob.unprotect(sent[1]) == packet(1)


def test_control_a_default_window_drops_what_ours_takes():
    receiver = Session(
        Policy(
            key=THERE,
            ssrc_type=Policy.SSRC_ANY_INBOUND,
            srtp_profile=Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
        )
    )
    alice, _ = pair()
    sent = [alice.protect(packet(n)) for n in range(WINDOW + 1)]
    receiver.unprotect(sent[-1])
    with pytest.raises(Exception, match="too old"):
        receiver.unprotect(sent[1])


def test_plaintext_rtp_after_the_start_is_dropped():
    alice, bob = pair()
    assert audio_continues(alice, bob, 1)
    with pytest.raises(SrtpError):
        bob.unprotect(packet(2, payload=bytes(160)))
    assert audio_continues(alice, bob, 2)


def test_an_unauthenticated_bye_is_dropped():
    _, bob = pair()
    with pytest.raises(SrtpError):
        bob.unprotect_rtcp(bytes.fromhex("81cb000100000007"))
    with pytest.raises(SrtpError):
        bob.unprotect_rtcp(bytes.fromhex("81cb000100000007") + bytes(16) + b"\x80\0\0\1")


def test_a_replayed_rtcp_packet_is_dropped():
    alice, bob = pair()
    sent = alice.protect_rtcp(bytes.fromhex("80c9000100000007"))
    bob.unprotect_rtcp(sent)
    with pytest.raises(SrtpError, match="replayed"):
        bob.unprotect_rtcp(sent)


def test_our_own_packets_reflected_are_refused():
    alice, _ = pair()
    with pytest.raises(SrtpError):
        alice.unprotect(alice.protect(packet(1)))


def test_control_one_key_both_ways_takes_the_reflection():
    both = {"key": THERE, "srtp_profile": Policy.SRTP_PROFILE_AEAD_AES_256_GCM}
    sender = Session(Policy(ssrc_type=Policy.SSRC_ANY_OUTBOUND, **both))
    receiver = Session(Policy(ssrc_type=Policy.SSRC_ANY_INBOUND, **both))
    assert receiver.unprotect(sender.protect(packet(1))) == packet(1)


def test_forged_sequence_jumps_do_not_move_the_rollover_counter():
    alice, bob = pair()
    for sequence in range(0, 140_000, 700):
        real = alice.protect(packet(sequence))
        for jump in (0x7FFF, 0x8000, 0xFFFF):
            forged = packet(sequence + jump, payload=bytes(21))
            with pytest.raises(SrtpError):
                bob.unprotect(forged)
        assert bob.unprotect(real) == packet(sequence)


def test_forged_sources_cost_no_place_among_the_sources():
    alice, bob = pair()
    for ssrc in range(1000):
        with pytest.raises(SrtpError, match="authentication"):
            bob.unprotect(packet(1, ssrc=ssrc, payload=bytes(30)))
    assert audio_continues(alice, bob, 1)
    assert bob.counters.refused[Rejection.AUTHENTICATION] == 1000


def test_two_sources_with_the_same_sequence_numbers_do_not_disturb_each_other():
    alice, bob = pair()
    for sequence in range(100):
        for ssrc in (1, 2):
            one = packet(sequence, ssrc=ssrc)
            assert bob.unprotect(alice.protect(one)) == one


def test_raw_noise_is_refused_and_the_call_goes_on():
    alice, bob = pair()
    with zipfile.ZipFile(io.BytesIO(vectors("fuzz_srtp", "libsrtp_corpus.zip").read_bytes())) as z:
        noise = [z.read(name) for name in z.namelist()[:400] if not name.endswith("/")]
    assert noise
    dice = random.Random(1)
    for data in noise:
        start = dice.randrange(len(data) + 1)
        for refuse in (bob.unprotect, bob.unprotect_rtcp):
            with pytest.raises(SrtpError):
                refuse(data[start : start + 1500])
    assert audio_continues(alice, bob, 1)


def test_a_flood_of_forgeries_and_replays_gets_nothing_through():
    alice, bob = pair()
    honest = [alice.protect(packet(n)) for n in range(200)]
    for one in honest:
        bob.unprotect(one)
    accepted = 0
    for number in range(20_000):
        forged = packet(200 + number, payload=number.to_bytes(180))
        for attack in (forged, honest[number % 200]):
            try:
                bob.unprotect(attack)
            except SrtpError:
                continue
            accepted += 1
    assert accepted == 0
    assert bob.counters.total == 40_000
    assert audio_continues(alice, bob, 200)
