"""RFC 4475 and RFC 5118: what is well formed is read, what is not is refused."""

from __future__ import annotations

import csv

import pytest

from securecall.sip.grammar import SipError
from securecall.sip.message import Request, build_message, parse_message
from tests.paths import vectors

# What we make of messages for which the RFC leaves the choice. All but one are refused: a UA that
# guesses what a sender meant can be made to guess otherwise than the proxy before it.
CHOICES = {
    "quotbal.dat": 400,
    "ltgtruri.dat": 400,
    "lwsruri.dat": 400,
    "lwsstart.dat": 400,
    "trws.dat": 400,
    "escruri.dat": 400,
    "baddate.dat": 0,  # Date decides nothing here
    "regbadct.dat": 400,
    "badaspec.dat": 400,
    "baddn.dat": 400,
    "badbranch.dat": 400,
    "bcast.dat": 0,  # well formed; matches no transaction, so it is dropped
}
# What RFC 5118 says of each, in the order of its sections; 0 is to be read, 400 to be refused.
IPV6 = {
    "ipv6-good": 0,  # 4.1
    "ipv6-bad": 400,  # 4.2: an address without brackets
    "port-ambiguous": 0,  # 4.3: what looks like a port is the address's last group
    "port-unambiguous": 0,  # 4.4
    "via-received-param-with-delim": 0,  # 4.5: both ways of writing it are in use
    "via-received-param-no-delim": 0,  # 4.5
    "ipv6-in-sdp": 0,  # 4.6
    "mult-ip-in-header": 0,  # 4.7
    "mult-ip-in-sdp": 0,  # 4.8
    "ipv4-mapped-ipv6": 0,  # 4.9
    "ipv6-bug-abnf-3-colons": 0,  # 4.10: RFC 3261's grammar derives it; must be tolerated
    "ipv6-correct-abnf-2-colons": 0,  # 4.10
}


def verdict(data: bytes) -> int:
    """The status a message is refused with, 0 if it is read."""
    try:
        message = parse_message(data)
    except SipError as e:
        return e.status
    again = parse_message(build_message(message))
    assert again.start_line() == message.start_line()
    assert again.headers.items()[:-1] == message.headers.items()[: len(again.headers) - 1]
    assert again.body == message.body
    return 0


def test_every_torture_message_is_classed_as_the_rfc_says():
    with vectors("sip_rfc4475", "expected.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 49
    wrong = {}
    for row in rows:
        got = verdict(vectors("sip_rfc4475", row["file"]).read_bytes())
        if row["class"] == "either":
            right = got == CHOICES[row["file"]]
        else:
            right = (got == 0) is (row["class"] == "accept")
        if not right:
            wrong[row["file"]] = (row["class"], got)
    assert wrong == {}


def test_the_wrong_version_is_answered_with_505():
    assert verdict(vectors("sip_rfc4475", "badvers.dat").read_bytes()) == 505


@pytest.mark.parametrize("name", IPV6)
def test_ipv6_messages_are_classed_as_the_rfc_says(name):
    assert verdict(vectors("sip_rfc5118", name).read_bytes()) == IPV6[name]


def test_both_addresses_of_a_received_parameter_are_kept():
    for name, value in (
        ("via-received-param-with-delim", "[2001:db8::9:255]"),
        ("via-received-param-no-delim", "2001:db8::9:255"),
    ):
        via = parse_message(vectors("sip_rfc5118", name).read_bytes()).via
        assert dict(via.params)["received"] == value


def test_an_ambiguous_port_belongs_to_the_address():
    message = parse_message(vectors("sip_rfc5118", "port-ambiguous").read_bytes())
    assert isinstance(message, Request)
    assert (message.uri.host, message.uri.port) == ("[2001:db8::10:5070]", 0)


def test_unusual_words_are_read_whole():
    message = parse_message(vectors("sip_rfc4475", "intmeth.dat").read_bytes())
    assert isinstance(message, Request)
    assert message.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert message.from_.tag == "_token~1'+`*%!-."
    folded = parse_message(vectors("sip_rfc4475", "wsinv.dat").read_bytes())
    assert [v.transport for v in folded.vias] == ["UDP", "TCP", "UDP"]
    assert folded.to.tag == "1918181833n"
