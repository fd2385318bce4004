"""The URIs of relays (RFC 7065): host, port, transport, and nothing that we do not speak."""

from __future__ import annotations

import pytest

from securecall.errors import UsageError
from securecall.transport.turn import parse_turn_uri


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("turn:relay.example", ("relay.example", 3478, "udp", False)),
        ("turn:relay.example:80?transport=tcp", ("relay.example", 80, "tcp", False)),
        ("turn:192.0.2.1?transport=udp", ("192.0.2.1", 3478, "udp", False)),
        ("turns:relay.example", ("relay.example", 5349, "tcp", True)),
        ("turns:[2001:db8::1]:443?transport=tcp", ("2001:db8::1", 443, "tcp", True)),
    ],
)
def test_what_a_relay_s_uri_says(text, expected):
    assert parse_turn_uri(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "relay.example",
        "stun:relay.example",
        "turn:",
        "turn:relay.example:0",
        "turn:relay.example:65536",
        "turn:user@relay.example",
        "turn:relay.example?transport=sctp",
        "turns:relay.example?transport=udp",
        "turn:relay.example\n",
        "turn://relay.example",
    ],
)
def test_what_is_none_or_not_spoken_is_refused(text):
    with pytest.raises(UsageError):
        parse_turn_uri(text)
