"""Addresses of people as the URIs of SIP, and back; numbers of the telephone among them."""

from __future__ import annotations

import pytest

from securecall.address import ANONYMOUS, parse_address
from securecall.errors import UsageError
from securecall.sip.grammar import parse_name_addr
from securecall.sip.naming import claimed_address, is_telephone, uri_of

NUMBER = parse_address("tel:+441632960000")


@pytest.mark.parametrize(
    ("text", "address", "telephone"),
    [
        ("<sip:+441632960000@gw.example;user=phone>", "tel:+441632960000", True),
        ("<sip:%2B44-1632-960000@gw.example:5061;user=phone>", "tel:+441632960000", True),
        ("<tel:+44-1632-960000;ext=1>", "tel:+441632960000", True),
        ("<sip:112@gw.example;user=phone>", None, True),
        ("<tel:112;phone-context=gw.example>", None, True),
        ("<sip:+441632960000@gw.example>", "sip:+441632960000@gw.example", False),
        ("<sip:alice@gw.example;user=ip>", "sip:alice@gw.example", False),
        ("<sip:alice@192.0.2.1>", None, False),
    ],
)
def test_whoever_calls_is_a_person_a_number_or_nobody(text, address, telephone):
    caller = parse_name_addr(f"{text};tag=1", "From")
    assert claimed_address(caller) == (ANONYMOUS if address is None else parse_address(address))
    assert is_telephone(caller.uri) is telephone


def test_a_number_is_asked_for_at_the_server_by_its_name():
    assert uri_of(NUMBER, "gw.example") == "sip:+441632960000@gw.example;user=phone"
    with pytest.raises(UsageError):
        uri_of(NUMBER)
