"""What an account is told, and what of it makes no sense."""

from __future__ import annotations

import pytest

from securecall.account import ProviderMode, SignIn, parse_server
from securecall.address import parse_address
from securecall.errors import UsageError
from securecall.secret import Secret
from securecall.sip.connections import SipServer

ALICE = parse_address("sip:alice@clinic.example")


@pytest.mark.parametrize(
    ("text", "host", "port", "path"),
    [
        ("sip.clinic.example", "sip.clinic.example", 0, ""),
        ("sip.clinic.example:5061", "sip.clinic.example", 5061, ""),
        ("192.0.2.1:5061", "192.0.2.1", 5061, ""),
        ("[2001:db8::1]", "2001:db8::1", 0, ""),
        ("[2001:db8::1]:443", "2001:db8::1", 443, ""),
        ("wss://clinic.example", "clinic.example", 0, "/"),
        ("wss://clinic.example/sip?x=1", "clinic.example", 0, "/sip?x=1"),
        ("wss://clinic.example:8443/ws", "clinic.example", 8443, "/ws"),
    ],
)
def test_a_server_is_named_by_host_port_or_websocket(text, host, port, path):
    assert parse_server(text) == (host, port, path)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":5061", "host:", "host:x", "host:65536", "ws://host", "http://host", "sips:host"),
        *("a b", "host/path", "2001:db8::1", "wss://host/a b", "wss://", "host\r\n"),
    ],
)
def test_what_names_no_server_or_one_without_tls_is_refused(text):
    with pytest.raises(UsageError):
        _ = parse_server(text)


def test_without_more_the_server_is_that_of_the_address():
    assert SignIn(address=ALICE).where == SipServer(
        host="clinic.example", port=0, name="clinic.example"
    )


def test_wherever_the_server_is_it_proves_the_addresss_own_name():
    for server in (("192.0.2.1", 5061), "sip.elsewhere.example", "wss://elsewhere.example/"):
        assert SignIn(address=ALICE, server=server).where.name == "clinic.example"


@pytest.mark.parametrize(
    "fields",
    [
        {"address": parse_address("xmpp:alice@clinic.example")},
        {"listen": ("127.0.0.1", 0)},
        {"user": "alice"},
        {"realm": "clinic.example"},
    ],
)
def test_what_cannot_be_meant_is_refused(fields):
    with pytest.raises(UsageError):
        _ = SignIn(**({"address": ALICE} | fields))


def test_the_password_is_not_printed():
    assert "pw" not in repr(SignIn(address=ALICE, password=Secret("pw")))


def test_the_fips_profile_has_no_gateway():
    assert SignIn(address=ALICE, provider_mode=ProviderMode.GATEWAY).provider_mode == "gateway"
    with pytest.raises(UsageError, match="telephone"):
        SignIn(address=ALICE, provider_mode=ProviderMode.GATEWAY_DTLS, approved=True)
