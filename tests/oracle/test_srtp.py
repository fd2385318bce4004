"""RFC == oracle, and oracle == ours: libsrtp cannot be given the RFC's session keys directly."""

from __future__ import annotations

import hashlib
import json

import pytest

from securecall.rtp.packet import rtp_header
from securecall.rtp.srtp import SrtpProfile, SrtpSession
from securecall.secret import Secret
from tests.oracle.srtp import Oracle, aes_cm, gcm_rtcp, gcm_rtp, session_key
from tests.paths import vectors

RTCP = bytes.fromhex("81c8000c" + "cafebabe") + bytes(44)


def data():
    return json.loads(vectors("security", "srtp", "srtp-vectors.json").read_text())


def keys(profile: SrtpProfile, seed: bytes) -> tuple[bytes, bytes]:
    stream = hashlib.sha512(seed).digest()
    return stream[: profile.key_length], stream[40 : 40 + profile.salt_length]


def ours(profile: SrtpProfile, key: bytes, salt: bytes) -> tuple[SrtpSession, SrtpSession]:
    there, back = Secret(key + salt), Secret(bytes(len(key + salt)))
    return SrtpSession(profile, there, back), SrtpSession(profile, back, there)


def test_oracle_makes_the_key_stream_of_rfc_3711_b2():
    v = data()["rfc3711"]["B.2"]
    iv = int(v["session_salt"], 16) << 16
    expected = bytes.fromhex(v["keystream"])
    # The published excerpt has blocks 0 to 2.
    assert aes_cm(bytes.fromhex(v["session_key"]), iv, 48)[:32] == expected[:32]


def test_oracle_derives_the_keys_of_rfc_3711_b3():
    v = data()["rfc3711"]["B.3"]
    key, salt = bytes.fromhex(v["master_key"]), bytes.fromhex(v["master_salt"])
    assert session_key(key, salt, 0, 16).hex().upper() == v["cipher_key"]
    assert session_key(key, salt, 2, 14).hex().upper() == v["cipher_salt"]
    assert session_key(key, salt, 1, 94).hex().upper() == v["auth_key"]


@pytest.mark.parametrize("number", range(4))
def test_oracle_makes_the_packets_of_rfc_7714(number):
    v = data()["rfc7714"][number]
    key, salt = bytes.fromhex(v["session_key"]), bytes.fromhex(v["session_salt"])
    plain = bytes.fromhex(v["plaintext"])
    made = (
        gcm_rtp(key, salt, plain, v["roc"])
        if v["kind"] == "SRTP"
        else gcm_rtcp(key, salt, plain, v["srtcp_index"])
    )
    assert made.hex() == v["protected"]


def test_the_published_aes_cm_packet_is_ours():
    v = data()["libsrtp"]["AES_CM_128_HMAC_SHA1_80_packet"]
    key, salt = bytes.fromhex(v["master_key"]), bytes.fromhex(v["master_salt"])
    alice, bob = ours(SrtpProfile.SRTP_AES128_CM_SHA1_80, key, salt)
    plain, protected = bytes.fromhex(v["plaintext"]), bytes.fromhex(v["protected"])
    assert Oracle(key, salt, aead=False).protect(plain) == protected
    assert alice.protect(plain) == protected
    assert bob.unprotect(protected) == plain


@pytest.mark.parametrize("profile", SrtpProfile)
def test_ours_is_the_oracle_s_byte_for_byte(profile):
    key, salt = keys(profile, b"oracle")
    oracle = Oracle(key, salt, aead=profile is not SrtpProfile.SRTP_AES128_CM_SHA1_80)
    alice, bob = ours(profile, key, salt)
    for number in range(65_530, 65_540):  # over the roll of the sequence number
        sequence, roc = number & 0xFFFF, number >> 16
        packet = rtp_header(96, sequence, number, 0xDECAFBAD) + bytes(range(number % 200))
        protected = alice.protect(packet)
        assert protected == oracle.protect(packet, roc)
        assert bob.unprotect(protected) == packet
    extended = b"\x92" + packet[1:2] + b"\0\x09" + packet[4:12] + bytes(8)
    extended += b"\xbe\xde\0\1\x10a\0\0payload"
    assert alice.protect(extended) == oracle.protect(extended, 1)
    for index in (1, 2):
        protected = alice.protect_rtcp(RTCP)
        assert protected == oracle.protect_rtcp(RTCP, index)
        assert bob.unprotect_rtcp(protected) == RTCP
