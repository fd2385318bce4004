"""Messages that broke other stacks, each once: refused by name, or taken for what it says.

Every case has a harmless twin that is taken, so that a refusal is known to be for the poison.
"""

from __future__ import annotations

import pytest

from securecall.calls.signaling import Ended
from securecall.errors import EndReason
from securecall.sip.agent import Agent
from securecall.sip.limits import MOST_CALLS, MOST_HEADER_BYTES
from securecall.sip.message import Request, Response
from securecall.sip.output import Dropped, Rang, Told
from securecall.sip.sdp import parse_description
from securecall.sip.stream import MessageStream
from tests.unit.sip.test_agent import (
    BODY,
    agent,
    answer,
    answered,
    calling,
    give,
    incoming,
    methods,
    sent,
    statuses,
    told,
)

OFFER = BODY.decode()


def taken(a: Agent, data: bytes, *, flow: int = 1) -> list[int]:
    """What is answered to bytes of a connection; 100 alone is a call that rings."""
    out: list[int] = []
    for message in MessageStream().feed(data):
        out += statuses(give(a, message, flow=flow))
    return out


def call(more: str = "", body: str = OFFER, **changes: str) -> bytes:
    """A call on the wire, which no rule of ours has looked at yet."""
    fields = {
        "from": "<sip:bob@example.com>;tag=b",
        "to": "<sip:alice@example.com>",
        "contact": "<sip:bob@192.0.2.2>",
        "cseq": "7 INVITE",
        "method": "INVITE",
    } | changes
    octets = body.encode()
    return (
        f"{fields['method']} sip:alice@example.com SIP/2.0\r\n"
        f"Via: SIP/2.0/TLS x;branch=z9hG4bK1\r\nFrom: {fields['from']}\r\nTo: {fields['to']}\r\n"
        f"Call-ID: c\r\nCSeq: {fields['cseq']}\r\nContact: {fields['contact']}\r\n"
        f"Max-Forwards: 70\r\n{more}Content-Type: application/sdp\r\n"
        f"Content-Length: {len(octets)}\r\n\r\n"
    ).encode() + octets


def lines(text: str) -> str:
    return OFFER + text


def test_control_the_harmless_twin_rings():
    assert taken(agent(), call()) == [100]


# What stands in the description. A type beyond 127 crashed PJSIP (CVE-2018-1000098), so did a
# fmtp with NUL (CVE-2018-1000099); counts took resiprocate's memory (CVE-2017-11521); ptime broke
# PJSIP's arithmetic (CVE-2026-41416) and ICE credentials its buffers (CVE-2026-25994).
POISON = {
    "a type of 2^32": (OFFER.replace("SAVPF 0", "SAVPF 4294967296"), 400),
    "a type of 2^32 among others": (OFFER.replace("SAVPF 0", "SAVPF 0 4294967296"), 400),
    "a NUL in fmtp": (lines("a=fmtp:0 a\0b\r\n"), 400),
    "an fmtp of 2^32": (lines("a=fmtp:4294967296 a=b\r\n"), 100),  # of no format: nothing to it
    "2^31 ports": (OFFER.replace("audio 4000", "audio 4000/2147483648"), 400),
    "2^31 addresses": (lines("c=IN IP4 224.2.1.1/127/2147483648\r\n"), 100),  # one is used
    "2^31 channels": (lines("a=rtpmap:0 PCMU/8000/2147483648\r\n"), 400),
    "a clock of 2^31": (lines("a=rtpmap:0 PCMU/2147483648\r\n"), 400),
    "a component of 2^31": (lines("a=candidate:1 2147483648 udp 1 h 9 typ host\r\n"), 400),
    "an ssrc of 2^32": (lines("a=ssrc:4294967296 cname:x\r\n"), 400),
    "an origin of a million digits": (OFFER.replace("o=- 1 1", "o=- " + "1" * 60000 + " 1"), 400),
    "a ufrag of nothing": (lines("a=ice-ufrag:\r\na=ice-pwd:\r\n"), 400),
    "a ufrag of 256": (lines("a=ice-ufrag:" + "a" * 256 + "\r\n"), 100),
    "a ufrag of 257": (lines("a=ice-ufrag:" + "a" * 257 + "\r\n"), 400),
    "a password of 4096": (lines("a=ice-pwd:" + "a" * 4096 + "\r\n"), 400),
}


@pytest.mark.parametrize("case", POISON)
def test_a_poisoned_description_is_refused_or_means_nothing(case):
    body, status = POISON[case]
    assert taken(agent(), call(body=body)) == [status]


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("0", 20), ("1", 1), ("1000", 1000), ("1001", 20), ("1000000000", 20), ("-1", 20), ("x", 20)],
)
def test_a_packet_time_nobody_can_mean_is_the_usual_one(text, milliseconds):
    (audio,) = parse_description(lines(f"a=ptime:{text}\r\n").encode()).media
    assert audio.ptime_ms == milliseconds


# Linphone's belle-sip fell over `" \ "` and a From that is none (CVE-2021-33056, CVE-2021-43610,
# CVE-2021-43611), Kamailio over a To that does not end (CVE-2018-8828).
ADDRESSES = {
    "an escaped blank": ('" \\ " <sip:b@example.com>', True),
    "an escape at the end": ('"b\\" <sip:b@example.com>', False),
    "an escape alone": ('"\\"', False),
    "one quote": ('"', False),
    "a quote without an end": ('"b <sip:b@example.com>', False),
    "a bracket without an end": ("<sip:b@example.com", False),
    "brackets the wrong way": (">sip:b@example.com<", False),
    "no address": ("<>", False),
    "a scheme alone": ("<sip:>", False),
    "a tag alone": (";tag=1", False),
    "a tag without an end": ('<sip:b@example.com>;tag="1', False),
    "nothing": ("", False),
}


@pytest.mark.parametrize("field", ["from", "to", "contact"])
@pytest.mark.parametrize("case", ADDRESSES)
def test_a_poisoned_address_is_refused(case, field):
    text, sound = ADDRESSES[case]
    assert taken(agent(), call(**{field: text})) == [100 if sound else 400]


@pytest.mark.parametrize("case", ADDRESSES)
def test_an_asserted_identity_decides_nothing_whatever_it_holds(case):
    assert taken(agent(), call(f"P-Asserted-Identity: {ADDRESSES[case][0]}\r\n")) == [100]


# Asterisk wrote past an array of fifty formats (CVE-2018-7284).
@pytest.mark.parametrize("count", [50, 51, 1000])
@pytest.mark.parametrize("name", ["Accept", "Accept-Encoding", "Allow", "Supported", "Route"])
def test_lists_of_any_length_are_taken(name, count):
    values = {"Accept": "application/sdp", "Route": "<sip:a>"}
    a = agent()
    assert taken(a, call(f"{name}: " + ",".join([values.get(name, "x")] * count) + "\r\n")) == [100]
    subscribe = call(
        "".join(["Accept: x/y\r\n"] * min(count, 200)), method="SUBSCRIBE", cseq="7 SUBSCRIBE"
    )
    assert taken(agent(), subscribe) == [405]


def test_ten_thousand_values_are_beyond_the_header_and_refused():
    assert taken(agent(), call("Accept: " + "a/b," * 10000 + "\r\n")) == [513]


# PJSIP copied the method of CSeq into too little room (CVE-2017-9372).
@pytest.mark.parametrize(
    ("length", "status"), [(1000, 400), (MOST_HEADER_BYTES, 513), (65536, 513)]
)
def test_a_long_method_in_cseq_is_refused(length, status):
    assert taken(agent(), call(cseq="7 " + "I" * length)) == [status]


# Asterisk kept what a caller left behind who called and was gone (CVE-2018-7286, CVE-2020-28327).
def test_callers_who_vanish_leave_nothing_behind():
    a = agent()
    for flow in range(4 * MOST_CALLS):
        assert taken(a, call(), flow=flow) == [100]
        assert [o.signal for o in a.lost(flow, now=1.0) if isinstance(o, Told)] == [
            Ended(EndReason.PEER_VANISHED)
        ]
    assert a.deadline is None


# PJSIP negotiated with an answer that never was, or was there twice (CVE-2021-21375), and used
# dialogs that were gone (CVE-2022-23608).
def test_an_acknowledgement_with_another_description_changes_nothing():
    a = agent()
    _, to = answered(a)
    again = incoming("ACK", to=to, branch="z9hG4bKack2", body=BODY.replace(b"4000", b"6000"))
    assert give(a, again, 4.0) == ()


def test_a_response_to_a_call_that_is_gone_is_dropped():
    a = agent()
    _, invite = calling(a)
    assert isinstance(told(give(a, answer(invite, 486)))[0], Ended)
    _ = a.expire(now=100.0)
    for status in (180, 200, 486):
        (dropped,) = give(a, answer(invite, status, body=BODY), now=101.0)
        assert isinstance(dropped, Dropped)


def test_two_calls_by_the_same_names_are_one():
    a = agent()
    assert taken(a, call()) == [100]
    assert taken(a, call().replace(b"z9hG4bK1", b"z9hG4bK2")) == [482]
    assert taken(a, call(), flow=2) == [482]


# FreeSWITCH gave its password's digest to whoever asked (CVE-2021-41158).
@pytest.mark.parametrize("status", [401, 407])
def test_a_peer_that_asks_for_a_password_gets_none(status):
    a = agent()
    _, invite = calling(a)
    challenge = answer(invite, status)
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    challenge.headers.add(name, 'Digest realm="x", nonce="y"')
    outputs = give(a, challenge)
    assert methods(outputs) == ["ACK"]
    assert not any("authorization" in m.headers for m in sent(outputs))
    assert isinstance(told(outputs)[0], Ended)


# It also showed messages and took subscriptions of anybody (CVE-2021-37624, CVE-2021-41157).
@pytest.mark.parametrize("method", ["MESSAGE", "NOTIFY", "SUBSCRIBE", "PUBLISH", "REGISTER"])
def test_what_strangers_send_besides_calls_is_refused_and_not_told(method):
    a = agent()
    outputs = give(a, incoming(method, type="text/plain", body=b"x"))
    assert statuses(outputs) == [405]
    assert not [o for o in outputs if isinstance(o, (Told, Rang))]
    assert isinstance(sent(outputs)[0], Response)


def test_a_subscription_ended_twice_is_refused_twice():
    # PJSIP freed it twice (CVE-2026-28799)
    a = agent()
    for n in range(2):
        more = "Event: presence\r\nExpires: 0\r\n"
        request = incoming("SUBSCRIBE", body=b"", more=more, branch=f"z9hG4bK{n}")
        assert isinstance(request, Request)
        assert statuses(give(a, request)) == [405]
