"""SDP: what is kept of a description, and which ones are refused."""

from __future__ import annotations

import pytest

from securecall.media.description import Candidate, Direction, Keying, Kind, Setup
from securecall.sip.grammar import SipError
from securecall.sip.limits import MOST_CANDIDATES, MOST_MEDIA
from securecall.sip.sdp import build_description, parse_description

HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n"
PRINT = "a=fingerprint:SHA-256 00:aB\r\n"


def parsed(text: str):
    return parse_description((HEAD + text).encode())


def test_everything_a_call_needs_is_kept():
    found = parsed(
        "a=group:BUNDLE 0\r\na=ice-lite\r\na=fingerprint:sha-1 0A\r\n"
        "m=audio 4000 UDP/TLS/RTP/SAVPF 111 0 101\r\nc=IN IP6 2001:db8::1\r\na=mid:0\r\n"
        "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 MinPTime=10;useinbandfec=1\r\n"
        "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:40\r\na=sendonly\r\n"
        + PRINT
        + "a=setup:actpass\r\na=rtcp-mux\r\na=ice-ufrag:abcd\r\na=ice-pwd:secret\r\n"
        "a=candidate:f 1 UDP 7 192.0.2.9 9 typ srflx raddr 10.0.0.1 rport 8 generation 0\r\n"
        "a=end-of-candidates\r\na=x-securecall-id:1\r\na=ssrc:7 cname:x\r\na=frobnicate:1\r\n"
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
    )
    audio, other = found.media
    assert found.audio is audio
    assert (found.bundle, found.ice_lite) == (("0",), True)
    assert [str(f) for f in found.all_fingerprints] == ["sha-1 0A", "sha-256 00:AB"]
    assert audio.fingerprints == found.all_fingerprints[1:]
    assert (audio.host, audio.port, audio.ptime_ms) == ("2001:db8::1", 4000, 40)
    assert audio.direction is Direction.SENDONLY
    assert (audio.keying, audio.setup) == (Keying.DTLS_SRTP, Setup.ACTPASS)
    assert [(c.payload_type, c.name, c.channels) for c in audio.codecs] == [
        (111, "opus", 2),
        (0, "PCMU", 1),
        (101, "telephone-event", 1),
    ]
    assert audio.codecs[0].parameters == (("minptime", "10"), ("useinbandfec", "1"))
    assert audio.candidates == (
        Candidate("f", 1, "UDP", 7, "192.0.2.9", 9, "srflx", "10.0.0.1", 8),
    )
    assert (audio.identity_hint, audio.ssrc, audio.cname) == ("1", 7, "x")
    assert audio.rtcp_mux
    assert audio.end_of_candidates
    assert (other.kind, other.media, other.formats) == (
        None,
        "application",
        ("webrtc-datachannel",),
    )
    assert "secret" not in repr(found)


def test_a_description_is_written_and_read_back_alike():
    text = HEAD + (
        "m=audio 4000 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 192.0.2.1\r\na=mid:0\r\n"
        + PRINT
        + "a=setup:active\r\na=ice-ufrag:abcd\r\na=ice-pwd:efgh\r\n"
        "a=candidate:1 1 udp 7 192.0.2.9 9 typ host\r\nm=video 0 RTP/AVP 31\r\n"
    )
    found = parse_description(text.encode())
    again = parse_description(build_description(found, session_id=5, version=1))
    assert again.media[0] == found.media[0]
    assert again.all_fingerprints == found.all_fingerprints
    assert (again.media[1].kind, again.media[1].port) == (Kind.VIDEO, 0)


@pytest.mark.parametrize("mux", [True, False])
def test_without_a_port_shared_by_rtcp_we_say_that_there_is_no_rtcp(mux):
    attribute = "a=rtcp-mux\r\n" if mux else ""
    found = parsed(f"m=audio 9 RTP/AVP 0\r\na=mid:0\r\n{attribute}m=video 0 RTP/AVP 31\r\n")
    assert found.media[0].rtcp_mux is mux
    written = build_description(found, session_id=5, version=1).decode()
    none = "\r\nc=IN IP4 0.0.0.0\r\nb=RS:0\r\nb=RR:0\r\na="  # their place: RFC 8866 5
    assert written.count(none) == written.count("b=R") / 2 == (not mux)
    assert ("a=rtcp-mux\r\n" in written) is mux


def test_what_we_write_names_nobody():
    text = build_description(parsed("m=audio 9 RTP/AVP 0\r\n"), session_id=77, version=2).decode()
    assert text.startswith("v=0\r\no=- 77 2 IN IP4 0.0.0.0\r\ns=-\r\n")


@pytest.mark.parametrize(
    ("protocol", "lines", "keying"),
    [
        ("UDP/TLS/RTP/SAVPF", PRINT, Keying.DTLS_SRTP),
        ("UDP/TLS/RTP/SAVP", PRINT, Keying.DTLS_SRTP),
        ("UDP/TLS/RTP/SAVPF", "", Keying.NONE),
        ("UDP/TLS/RTP/SAVPF", "a=crypto:1 x inline:y\r\n", Keying.NONE),
        ("RTP/SAVPF", PRINT, Keying.DTLS_SRTP),
        ("RTP/SAVP", "a=crypto:1 x inline:y\r\n", Keying.SDES),
        ("RTP/SAVP", "a=crypto:1 x inline:y\r\n" + PRINT, Keying.SDES),
        ("RTP/SAVP", "", Keying.NONE),
        ("RTP/AVP", PRINT, Keying.NONE),
        ("RTP/AVP", "a=crypto:1 x inline:y\r\n", Keying.NONE),
        ("RTP/AVPF", "", Keying.NONE),
    ],
)
def test_keying_is_what_protocol_and_attributes_amount_to(protocol, lines, keying):
    (media,) = parsed(f"m=audio 9 {protocol} 0\r\n{lines}").media
    assert media.keying is keying
    assert media.has_crypto is ("crypto" in lines)


AUDIO = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"
REFUSED = {
    "a port above 65535": "m=audio 65536 RTP/AVP 0\r\n",
    "a port of 2^32": "m=audio 4294967296 RTP/AVP 0\r\n",
    "a negative port": "m=audio -1 RTP/AVP 0\r\n",
    "2^31 ports": "m=audio 9/2147483648 RTP/AVP 0\r\n",
    "no formats": "m=audio 9 RTP/AVP\r\n",
    "a payload type above 127": "m=audio 9 RTP/AVP 128\r\n",
    "other digits": "m=audio \u0669 RTP/AVP 0\r\n",
    "too many media": AUDIO * (MOST_MEDIA + 1),
    "too many candidates": AUDIO
    + "a=candidate:1 1 udp 7 192.0.2.9 9 typ host\r\n" * (MOST_CANDIDATES + 1),
    "two setups": AUDIO + "a=setup:active\r\na=setup:passive\r\n",
    "two directions": AUDIO + "a=sendonly\r\na=recvonly\r\n",
    "two ufrags": AUDIO + "a=ice-ufrag:abcd\r\na=ice-ufrag:efgh\r\n",
    "a ufrag with a blank": AUDIO + "a=ice-ufrag:ab cd\r\n",
    "an empty fingerprint": AUDIO + "a=fingerprint:sha-256 \r\n",
    "a fingerprint of odd digits": AUDIO + "a=fingerprint:sha-256 0:1\r\n",
    "a candidate without type": AUDIO + "a=candidate:1 1 udp 7 192.0.2.9 9\r\n",
    "a candidate of priority 2^32": AUDIO
    + "a=candidate:1 1 udp 4294967296 192.0.2.9 9 typ host\r\n",
    "a clock of zero": AUDIO + "a=rtpmap:0 PCMU/0\r\n",
    "a clock of 2^31": AUDIO + "a=rtpmap:0 PCMU/2147483648\r\n",
    "an ssrc of 2^32": AUDIO + "a=ssrc:4294967296 cname:x\r\n",
    "an unknown letter": AUDIO + "x=1\r\n",
    "a session line among media": AUDIO + "t=0 0\r\n",
    "no equals sign": AUDIO + "a\r\n",
    "a connection of words": AUDIO + "c=IN IP9 x\r\n",
    "a NUL": AUDIO + "a=mid:\0\r\n",
    "a lone CR": AUDIO + "a=mid:0\rm=audio 1 RTP/AVP 0\r\n",
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_malformed_description_is_refused(case):
    with pytest.raises(SipError):
        parsed(REFUSED[case])


@pytest.mark.parametrize(
    "text",
    ["", "v=1\r\n", "v=0\r\ns=-\r\no=- 1 1 IN IP4 x\r\n", "v=0\r\no=- x 1 IN IP4 x\r\ns=-\r\n"],
)
def test_a_description_begins_as_it_must(text):
    with pytest.raises(SipError):
        parse_description(text.encode())


def test_line_feeds_alone_are_tolerated():
    assert parse_description((HEAD + AUDIO).replace("\r\n", "\n").encode()).audio is not None
