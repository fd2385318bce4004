from __future__ import annotations

import copy
import pickle

import pytest

from securecall.errors import ProtocolError, Unsupported, UsageError
from securecall.rtp import srtp as srtp_module
from securecall.rtp.packet import MAX_PACKET, rtp_header
from securecall.rtp.srtp import MAX_SOURCES, Rejection, SrtpError, SrtpProfile, SrtpSession
from securecall.secret import Secret

lib = srtp_module.lib
RTCP = bytes.fromhex("80c90001cafebabe")


def pair(profile=SrtpProfile.SRTP_AEAD_AES_256_GCM):
    size = profile.key_length + profile.salt_length
    there, back = Secret(b"a" * size), Secret(b"b" * size)
    return SrtpSession(profile, there, back), SrtpSession(profile, back, there)


def packet(sequence=1, ssrc=7, payload=b"sound"):
    return rtp_header(0, sequence, 0, ssrc) + payload


@pytest.mark.parametrize("profile", SrtpProfile)
def test_both_directions_carry_rtp_and_rtcp(profile):
    alice, bob = pair(profile)
    for sender, receiver in ((alice, bob), (bob, alice)):
        assert receiver.unprotect(sender.protect(packet())) == packet()
        assert receiver.unprotect_rtcp(sender.protect_rtcp(RTCP)) == RTCP
    assert bob.counters.total == 0


def test_the_longest_packet_passes_and_a_longer_one_is_the_callers_mistake():
    alice, bob = pair()
    longest = packet(payload=bytes(MAX_PACKET - 12 - 16))
    assert bob.unprotect(alice.protect(longest)) == longest
    with pytest.raises(UsageError):
        alice.protect(bytes(MAX_PACKET + 1))
    with pytest.raises(SrtpError):
        bob.unprotect(bytes(MAX_PACKET + 1))


def test_a_sequence_number_is_never_protected_twice():
    alice, _ = pair()
    alice.protect(packet(5))
    with pytest.raises(UsageError, match="sent before"):
        alice.protect(packet(5, payload=b"other"))


@pytest.mark.parametrize("data", [b"", b"\x80", bytes(11), b"\x9f" + bytes(20)])
def test_what_is_no_packet_is_refused_on_both_sides(data):
    alice, bob = pair()
    for refuse in (bob.unprotect, bob.unprotect_rtcp):
        with pytest.raises(SrtpError):
            refuse(data)
    with pytest.raises(UsageError):
        alice.protect(data)


def test_refusals_are_counted_by_cause_and_are_protocol_errors():
    alice, bob = pair()
    sent = alice.protect(packet())
    bob.unprotect(sent)
    with pytest.raises(ProtocolError, match="replayed") as caught:
        bob.unprotect(sent)
    assert caught.value.rejection is Rejection.REPLAYED
    assert bob.counters.refused[Rejection.REPLAYED] == bob.counters.total == 1
    assert "replayed=1" in repr(bob)


def test_a_peer_opens_no_more_than_its_number_of_sources():
    alice, bob = pair()
    for ssrc in range(MAX_SOURCES):
        bob.unprotect(alice.protect(packet(ssrc=ssrc)))
    with pytest.raises(SrtpError, match="too-many-sources"):
        bob.unprotect(alice.protect(packet(ssrc=MAX_SOURCES)))
    bob.unprotect(alice.protect(packet(2, ssrc=0)))


@pytest.mark.parametrize("size", [0, 43, 45])
def test_keys_of_another_length_are_refused(size):
    with pytest.raises(UsageError):
        SrtpSession(SrtpProfile.SRTP_AEAD_AES_256_GCM, Secret(bytes(size)), Secret(b"b" * 44))


def test_the_same_key_both_ways_is_refused():
    with pytest.raises(UsageError):
        SrtpSession(SrtpProfile.SRTP_AEAD_AES_128_GCM, Secret(b"a" * 28), Secret(b"a" * 28))


def test_other_keys_take_over_both_ways_and_one_of_ours_may_stay():
    profile, other = SrtpProfile.SRTP_AEAD_AES_256_GCM, SrtpProfile.SRTP_AEAD_AES_128_GCM
    first, second = Secret(b"a" * 44), Secret(b"b" * 44)
    alice, bob = SrtpSession(profile, first, second), SrtpSession(profile, second, first)
    with pytest.raises(UsageError, match="profile"):
        alice.renew(other, send_key=None, receive_key=Secret(b"c" * 28), received_with=second)
    assert alice.profile is profile
    ours, theirs = Secret(b"c" * 28), Secret(b"d" * 28)
    alice.renew(other, send_key=ours, receive_key=theirs, received_with=second)
    bob.renew(other, send_key=theirs, receive_key=ours, received_with=first)
    assert (alice.profile, bob.profile) == (other, other)
    for one, another in ((alice, bob), (bob, alice)):
        packet = rtp_header(0, 7, 160, 9) + b"sound"
        assert another.unprotect(one.protect(packet)) == packet
    with pytest.raises(UsageError, match="bytes"):
        bob.renew(other, send_key=None, receive_key=Secret(b"e" * 44), received_with=ours)


def test_a_closed_session_neither_sends_nor_takes():
    alice, _ = pair()
    alice.close()
    alice.close()
    for function in (alice.protect, alice.unprotect, alice.protect_rtcp, alice.unprotect_rtcp):
        with pytest.raises(UsageError):
            function(packet())


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_session_is_not_duplicated(duplicate):
    with pytest.raises(UsageError):
        duplicate(pair()[0])


def test_a_hundred_thousand_packets_roll_the_sequence_number_over():
    alice, bob = pair()
    for number in range(0, 200_000, 500):
        one = packet(number & 0xFFFF, payload=number.to_bytes(4))
        assert bob.unprotect(alice.protect(one)) == one


class Crippled:
    """libsrtp as a build without some of it."""

    def __init__(self, **without):
        self._without = without

    def __getattr__(self, name):
        return self._without.get(name) or getattr(lib, name)


@pytest.mark.parametrize(
    "missing",
    [
        "srtp_crypto_policy_set_from_profile_for_rtp",
        "srtp_crypto_policy_set_from_profile_for_rtcp",
        "srtp_create",
    ],
)
def test_a_library_that_lacks_a_profile_is_told_as_unsupported(monkeypatch, missing):
    monkeypatch.setattr(srtp_module, "lib", Crippled(**{missing: lambda *_: 1}))
    profile = SrtpProfile.SRTP_AEAD_AES_256_GCM
    with pytest.raises(Unsupported):
        SrtpSession(profile, Secret(bytes(range(44))), Secret(bytes(range(1, 45))))


def test_one_source_is_one_whatever_stands_behind_its_number():
    alice, bob = pair()
    for number in range(2 * MAX_SOURCES):
        report = bytes.fromhex("80c80006cafebabe") + bytes([number]) * 20
        assert bob.unprotect_rtcp(alice.protect_rtcp(report)) == report
        sound = packet(sequence=number + 1, payload=bytes([number]) * 5)
        assert bob.unprotect(alice.protect(sound)) == sound
    assert bob.counters.total == 0
