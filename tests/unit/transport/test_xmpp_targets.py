"""Where an XMPP domain takes clients (RFC 6120 3.2, XEP-0368)."""

from __future__ import annotations

import asyncio

import pytest

from securecall.errors import ConnectFailed, NameNotFound
from securecall.transport.resolver import Resolver
from tests.dns_server import Answer, serving

HOSTS = {
    ("a.example", "A"): ["192.0.2.9"],
    ("one.example", "A"): ["192.0.2.1"],
    ("two.example", "A"): ["192.0.2.2"],
}
DIRECT, STARTTLS = "_xmpps-client._tcp.a.example", "_xmpp-client._tcp.a.example"


def looked_up(table: dict[tuple[str, str], Answer], host: str = "a.example", **options):
    async def main():
        async with serving(HOSTS | table) as server:
            resolver = Resolver(nameservers=[server.address], timeout=1)
            found = await resolver.xmpp_targets(host, **options)
            return [(t.host, t.port, t.transport) for t in found]

    return asyncio.run(main())


ITSELF = [("192.0.2.9", 5222, "starttls")]
CASES = {
    "TLS from the first byte comes first": (
        {(DIRECT, "SRV"): ["9 0 443 two.example."], (STARTTLS, "SRV"): ["1 0 5222 one.example."]},
        [("192.0.2.2", 443, "tls"), ("192.0.2.1", 5222, "starttls")],
    ),
    "priorities": (
        {(STARTTLS, "SRV"): ["20 0 5222 one.example.", "10 0 5223 two.example."]},
        [("192.0.2.2", 5223, "starttls"), ("192.0.2.1", 5222, "starttls")],
    ),
    "no records": ({}, ITSELF),
    "no TLS at once": ({(DIRECT, "SRV"): ["0 0 0 ."]}, ITSELF),
    "only TLS at once": (
        {(DIRECT, "SRV"): ["0 0 5223 one.example."], (STARTTLS, "SRV"): ["0 0 0 ."]},
        [("192.0.2.1", 5223, "tls")],
    ),
    "a name server that does not know these": (
        {(DIRECT, "SRV"): "SERVFAIL", (STARTTLS, "SRV"): "SERVFAIL"},
        ITSELF,
    ),
    "one question is lost": (
        {(DIRECT, "SRV"): "SERVFAIL", (STARTTLS, "SRV"): ["0 0 5222 one.example."]},
        [("192.0.2.1", 5222, "starttls")],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_targets(case):
    table, targets = CASES[case]
    assert looked_up(table) == targets


def test_a_domain_that_serves_no_clients():
    with pytest.raises(NameNotFound, match="no XMPP"):
        looked_up({(STARTTLS, "SRV"): ["0 0 0 ."]})
    with pytest.raises(ConnectFailed):
        looked_up({}, "nowhere.example")


@pytest.mark.parametrize(
    ("host", "port", "target"),
    [
        ("a.example", 5269, ("192.0.2.9", 5269, "starttls")),
        ("a.example", 5223, ("192.0.2.9", 5223, "tls")),
        ("192.0.2.7", 443, ("192.0.2.7", 443, "tls")),
        ("192.0.2.7", 0, ("192.0.2.7", 5222, "starttls")),
        ("[2001:db8::1]", 0, ("2001:db8::1", 5222, "starttls")),
    ],
)
def test_what_was_named_is_taken_as_it_is(host, port, target):
    assert looked_up({(DIRECT, "SRV"): ["0 0 5223 one.example."]}, host, port=port) == [target]
