"""The attacker's edits do what they say, and nothing else."""

from __future__ import annotations

import time

from securecall.keys.ticket import Ticket, build_ticket, parse_ticket
from securecall.media.description import Keying
from securecall.secret import Secret
from securecall.sip.sdp import parse_description
from securecall.testing import edits

SDP = "\r\n".join(
    [
        "v=0",
        "o=- 1 1 IN IP4 192.0.2.1",
        "s=-",
        "c=IN IP4 192.0.2.1",
        "t=0 0",
        "m=audio 4000 UDP/TLS/RTP/SAVPF 111 0",
        "a=rtpmap:111 opus/48000/2",
        "a=fingerprint:sha-256 " + ":".join(["AA"] * 32),
        "a=setup:actpass",
        "a=mid:0",
        "a=rtcp-mux",
        "a=ice-ufrag:abcd",
        "a=ice-pwd:abcdefghijklmnopqrstuv",
        "a=candidate:1 1 udp 2130706431 192.0.2.1 4000 typ host",
        "a=end-of-candidates",
        "a=x-securecall-id:1",
        "m=video 0 UDP/TLS/RTP/SAVPF 96",
        "",
    ]
)


def audio(sdp):
    return parse_description(sdp.encode()).audio


def test_redirected_media_has_one_way_only():
    moved = audio(edits.redirect("127.0.0.1", 5)(SDP))
    assert (moved.host, moved.port) == ("127.0.0.1", 5)
    assert moved.candidates == ()
    assert moved.ice_ufrag == ""
    assert moved.fingerprints == audio(SDP).fingerprints


def test_a_refused_line_stays_refused():
    assert "m=video 0 " in edits.redirect("127.0.0.1", 5)(SDP)


def test_fingerprints_are_replaced_added_and_taken_away():
    wrong = edits.random_fingerprint()
    assert edits.fingerprints_of(edits.fingerprints(wrong)(SDP)) == (wrong,)
    both = edits.fingerprints_of(edits.add_fingerprints(wrong)(SDP))
    assert both == (*edits.fingerprints_of(SDP), wrong)
    assert edits.fingerprints_of(edits.strip_fingerprint(SDP)) == ()
    conflicting = parse_description(edits.session_fingerprint(wrong)(SDP).encode())
    assert len(conflicting.all_fingerprints) == 2


def test_less_is_asked_for_in_every_way():
    assert audio(edits.plain_rtp(SDP)).keying is Keying.NONE
    assert audio(edits.sdes(bytes(30))(SDP)).keying is Keying.SDES
    assert audio(edits.crypto_beside(bytes(30))(SDP)).has_crypto
    assert audio(edits.strip_hint(SDP)).identity_hint == ""


def test_a_redirected_ticket_keeps_everything_but_its_way():
    now = int(time.time())
    ticket = build_ticket(
        Ticket(
            uris=("tls:192.0.2.1:5061",),
            root_fp=bytes(range(64)),
            secret=Secret(bytes(range(32))),
            expiry=now + 60,
        )
    )
    moved = parse_ticket(edits.redirect_ticket(ticket, "127.0.0.1", 9), unix=now)
    assert moved.targets[0].direct == ("127.0.0.1", 9)
    assert moved.root_fp == bytes(range(64))
    assert moved.secret == Secret(bytes(range(32)))
