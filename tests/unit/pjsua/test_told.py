"""What PJSIP prints of a call, read for SRTP; what it may see of a call that comes in."""

from __future__ import annotations

import pytest

from securecall.media.description import Keying
from securecall.pjsua.told import invite_of, profile_of, require_sound
from securecall.sip.grammar import SipError

# as PJSIP 2.15.1 prints it, shortened
DUMP = """[CONFIRMED] To: {name} <sip:eve@a.example>;tag=b
  Call time: 00h:00m:03s, 1st res in 1 ms, conn in 1ms
  #0 audio speex @16kHz, sendrecv, peer=192.0.2.2:4000
     SRTP status: {status}
     RX pt=96, last update:00h:00m:00.100s ago
"""
ACTIVE = "Active Crypto-suite: AES_CM_128_HMAC_SHA1_80"
INACTIVE = "Not active Crypto-suite: "


def test_the_profile_of_the_stream_is_read():
    dump = DUMP.format(name="Eve", status=ACTIVE)
    assert profile_of(dump, 0) == "AES_CM_128_HMAC_SHA1_80"
    assert profile_of(dump.replace("\n", "\r\n"), 0) == "AES_CM_128_HMAC_SHA1_80"
    assert profile_of(dump, 1) == ""


@pytest.mark.parametrize(
    "name",
    [
        "Eve",
        f'"SRTP status: {ACTIVE}"',
        f'"Eve\n  #0 audio x\n     SRTP status: {ACTIVE}\n"',
        f'"Eve\n  Call time: 0\n  #0 audio x\n     SRTP status: {ACTIVE}\n"',
    ],
)
def test_a_name_that_says_so_protects_nothing(name):
    """The control is the same name over a stream that is protected."""
    assert profile_of(DUMP.format(name=name, status=INACTIVE), 0) == ""
    assert profile_of(DUMP.format(name=name, status=ACTIVE), 0) == "AES_CM_128_HMAC_SHA1_80"


def test_what_is_no_dump_says_nothing():
    assert profile_of("", 0) == ""
    assert profile_of(f"  #0 audio x\n  SRTP status: {ACTIVE}\n", 0) == ""


KEYS = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40 + "\r\n"
FINGERPRINT = "a=setup:actpass\r\na=fingerprint:sha-256 " + ":".join(["AA"] * 32) + "\r\n"
SDES = "m=audio 4000 RTP/SAVP 0\r\n" + KEYS
DTLS = "m=audio 4000 UDP/TLS/RTP/SAVPF 0\r\n" + FINGERPRINT
PLAIN = "m=audio 4000 RTP/AVP 0\r\n"
PICTURES = DTLS.replace("audio", "video")


def invite(*lines, kind="application/sdp"):
    body = "".join(lines)
    if body:
        body = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n" + body
    return (
        "INVITE sip:alice@a.example SIP/2.0\r\nVia: SIP/2.0/TLS a.example;branch=z9hG4bKa\r\n"
        "From: <sip:bob@a.example>;tag=b\r\nTo: <sip:alice@a.example>\r\nCall-ID: c\r\n"
        "CSeq: 1 INVITE\r\nContact: <sip:bob@192.0.2.1>\r\nMax-Forwards: 70\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )


@pytest.mark.parametrize(
    ("lines", "sdes", "dtls"),
    [
        ((), 0, 0),  # PJSIP describes first
        ((SDES,), 0, 488),
        ((PLAIN, SDES), 0, 488),
        ((SDES, PICTURES), 0, 488),
        ((SDES.replace("SAVP", "SAVPF"),), 0, 488),
        ((DTLS,), 488, 0),
        ((DTLS, SDES), 488, 0),
        ((SDES, DTLS), 488, 0),
        ((DTLS.replace("UDP/TLS", "udp/tls"),), 488, 0),
        ((PLAIN,), 488, 488),
        ((PLAIN, KEYS), 488, 488),
        ((PICTURES,), 488, 488),
        ((SDES.replace("4000", "0"),), 488, 488),
        ((SDES.replace("80 inline", "32 inline"),), 488, 488),
        ((SDES.replace("\r\na=crypto", "\r\na=x").replace(KEYS, ""),), 488, 488),
        ((SDES.rstrip() + " UNENCRYPTED_SRTP\r\n",), 488, 488),
        ((SDES.rstrip() + " KDR=2\r\n",), 488, 488),
    ],
)
def test_an_offer_is_let_through_to_pjsip_or_refused(lines, sdes, dtls):
    for keying, status in ((Keying.SDES, sdes), (Keying.DTLS_SRTP, dtls)):
        if not status:
            assert invite_of(invite(*lines), keying).method == "INVITE"
            continue
        with pytest.raises(SipError) as caught:
            invite_of(invite(*lines), keying)
        assert caught.value.status == status


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (invite(SDES, kind="text/plain"), 415),
        (invite(SDES).replace("CSeq: 1 INVITE", "CSeq: none"), 400),
        (invite(SDES).replace("m=audio 4000", "m=audio 4x"), 400),
        ("SIP/2.0 200 OK\r\n" + invite().partition("\r\n")[2], 400),
        ("", 513),
    ],
)
def test_what_our_grammar_does_not_take_pjsip_does_not_see(text, status):
    with pytest.raises(SipError) as caught:
        invite_of(text, Keying.SDES)
    assert caught.value.status == status


CHANGE = "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n" + SDES


@pytest.mark.parametrize(
    "change",
    [
        CHANGE.replace("RTP/SAVP 0", "RTP/SAVP 101") + "a=rtpmap:101 telephone-event/8000\r\n",
        CHANGE.replace("RTP/SAVP 0", "RTP/SAVP 13"),
        CHANGE.replace("c=IN IP4 192.0.2.1", "c=IN IP6 ::1"),
        CHANGE.replace("c=IN IP4 192.0.2.1", "c=IN IP4 999.1.1.1"),
        CHANGE.replace("m=audio 4000", "m=audio 0"),
        CHANGE.replace("m=audio", "m=video"),
        CHANGE.replace("v=0", "v=1"),
    ],
)
def test_a_change_that_leaves_no_sound_is_refused(change):
    require_sound(CHANGE)  # the control
    require_sound(CHANGE.replace("c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0"))  # an old way to hold
    with pytest.raises(SipError):
        require_sound(change)
