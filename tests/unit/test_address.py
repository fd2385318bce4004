"""Addresses have one canonical form, and what has none is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecall.address import Address, Scheme, parse_address
from securecall.errors import ProtocolError

ROOT = "0123456789abcdef" * 8

CANONICAL = {
    "sip:alice@example.com": "sip:alice@example.com",
    "alice@example.com": "sip:alice@example.com",
    "SIP:alice@EXAMPLE.com.": "sip:alice@example.com",
    "sips:alice@example.com": "sip:alice@example.com",
    "sip:%61lice@example.com": "sip:alice@example.com",
    "sip:a%3Bb@example.com": "sip:a%3Bb@example.com",
    "sip:a%3fb@example.com": "sip:a%3Fb@example.com",
    "sip:a%40b@example.com": "sip:a%40b@example.com",
    "sip:jörg@example.com": "sip:j%C3%B6rg@example.com",
    "sip:alice@bücher.example": "sip:alice@xn--bcher-kva.example",
    "xmpp:Alice@Example.com": "xmpp:alice@example.com",
    "xmpp:JÖRG@example.com": "xmpp:jörg@example.com",
    "xmpp:jo\u0308rg@example.com": "xmpp:jörg@example.com",
    "xmpp:管野@BÜCHER.example": "xmpp:管野@xn--bcher-kva.example",
    "xmpp:groß@example.com": "xmpp:groß@example.com",
    "xmpp:\uff21lice@example.com": "xmpp:alice@example.com",
    "tel:+44 (1632) 960-000": "tel:+441632960000",
    "sip:+441632960000@gw.example;user=phone": "tel:+441632960000",
    "SIPS:+44-1632-960000@gw.example;USER=Phone": "tel:+441632960000",
    "+441632960000@gw.example;user=phone": "tel:+441632960000",
    "sip:%2B441632960000@gw.example;user=phone": "tel:+441632960000",
    "sip:+441632960000@gw.example": "sip:+441632960000@gw.example",
    f"key:{ROOT}": f"key:{ROOT}",
}


@pytest.mark.parametrize(("text", "canonical"), CANONICAL.items())
def test_every_spelling_has_one_canonical_form(text, canonical):
    assert str(parse_address(text)) == canonical
    assert parse_address(canonical) == parse_address(text)


REFUSED = [
    "",
    "alice",
    "@example.com",
    "sip:@example.com",
    "sip:alice@",
    "sip:alice@192.0.2.1",
    "sip:alice@192.0.2.1.",
    "xmpp:alice@192.0.2.1.",
    "sip:alice@[2001:db8::1]",
    "sip:alice@example.com:5061",
    "sip:alice@example.com;transport=tls",
    "sip:alice;x=1@example.com",
    "sip:alice:secret@example.com",
    "sip:al ice@example.com",
    "sip:alice@exa mple.com",
    "sip:alice@-example.com",
    "sip:%ff@example.com",
    "xmpp:alice/phone@example.com",
    "xmpp:ju\u017ftin@example.com",  # the long s
    "xmpp:al\u200bice@example.com",
    "xmpp:al\u202eice@example.com",
    "xmpp:\u212aevin@example.com",  # the Kelvin sign
    "xmpp:alice@straße.example",  # IDNA 2003 says strasse.example, IDNA 2008 does not
    "xmpp:alice@ex\u200dample.com",
    "xmpp:alice@example\u3002com",
    "tel:112",
    "sip:112@gw.example;user=phone",
    "sip:alice@gw.example;user=phone",
    "sip:+441632960000@gw.example;user=phone;x=1",
    "sip:+441632960000@gw.example;x=1;user=phone",
    "sip:+441632960000@gw.example;user=ip",
    "sip:+441632960000@192.0.2.1;user=phone",
    "sip:+441632960000@;user=phone",
    "xmpp:+441632960000@gw.example;user=phone",
    "tel:+0123",
    "key:abc",
    f"key:{ROOT.upper()}",
    "mailto:alice@example.com",
    "sip:" + "a" * 10 + "@" + "b" * 300,
]


@pytest.mark.parametrize("text", REFUSED)
def test_what_names_no_person_is_refused(text):
    with pytest.raises(ProtocolError):
        parse_address(text)


def test_the_refusal_does_not_repeat_an_endless_text():
    with pytest.raises(ProtocolError) as refused:
        parse_address("x" * 10_000)
    assert len(str(refused.value)) < 300


@given(st.text(min_size=1, max_size=30))
def test_any_user_part_survives_writing_and_reading(user):
    try:
        user.encode()
    except UnicodeEncodeError:
        return
    address = Address(Scheme.SIP, user, "example.com")
    assert parse_address(str(address)) == address


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused(text):
    try:
        address = parse_address(text)
    except ProtocolError:
        return
    assert parse_address(str(address)) == address


def test_a_key_is_shortened_for_people():
    assert parse_address(f"key:{ROOT}").short == "key:0123456789abcdef…"
    assert parse_address("tel:+441632960000").short == "+441632960000"
