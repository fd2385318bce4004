from __future__ import annotations

from securecall.address import parse_address
from securecall.xmpp.capabilities import Info
from securecall.xmpp.reachability import (
    AUDIO,
    DTLS,
    ICE,
    IDENTITY,
    JINGLE,
    PROPOSALS,
    RTP,
    VIDEO,
    Network,
    reachability,
)  # fmt: skip

XMPP = parse_address("xmpp:bob@b.example")
SIP = parse_address("sip:bob@b.example")
PHONE = Info(features=frozenset({JINGLE, RTP, AUDIO, VIDEO, ICE, DTLS, PROPOSALS}))
CHAT = Info(features=frozenset({f"{IDENTITY}+notify"}))


def test_a_connection_that_takes_calls_is_preferred():
    found = reachability([XMPP, SIP], {"bob@b.example/p": PHONE, "bob@b.example/c": CHAT})
    assert found.network is Network.XMPP
    assert found.connections == ("bob@b.example/p",)
    assert (found.video, found.proposals, found.identity, found.sip) == (True, True, True, SIP)


def test_without_one_it_is_sip_where_the_card_has_it():
    assert reachability([XMPP, SIP], {"bob@b.example/c": CHAT}).network is Network.SIP
    assert reachability([XMPP, SIP], {"bob@b.example/x": None}).network is Network.SIP


def test_else_nobody_can_call():
    assert reachability([XMPP], {}).network is Network.NONE


def test_calls_without_encryption_are_no_calls():
    plain = Info(features=PHONE.features - {DTLS})
    assert reachability([XMPP], {"bob@b.example/p": plain}).network is Network.NONE
