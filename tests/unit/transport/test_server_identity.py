"""Which names a certificate proves (RFC 5922 7), and what is said of it if it does not."""

from __future__ import annotations

import pytest

from securecall.errors import CertificateError, NameNotFound
from securecall.transport.server_identity import (
    canonical_host,
    explain_chain,
    explain_name,
    require_name,
)

DNS, URI, IP = "DNS", "URI", "IP Address"


@pytest.mark.parametrize(
    "names",
    [
        [(DNS, "a.example")],
        [(DNS, "A.EXAMPLE")],
        [(DNS, "b.example"), (DNS, "a.example")],
        [(URI, "sip:a.example")],
        [(URI, "SIP:A.example")],
        [(URI, "sip:a.example:5061")],
        [(URI, "sip:a.example;transport=tls")],
        [(URI, "sip:a.example?x=y")],
        [(URI, "sip:b.example"), (URI, "sip:a.example")],
        [(URI, "sips:b.example"), (DNS, "a.example")],
        [(URI, "sip:alice@b.example"), (DNS, "a.example")],
        [(URI, "https://b.example"), (DNS, "a.example")],
        [("Registered ID", "1.2"), (DNS, "a.example")],
    ],
)
def test_the_domain_is_proved(names):
    require_name(names, "a.example")
    with pytest.raises(CertificateError):  # and none but it
        require_name(names, "c.example")


@pytest.mark.parametrize(
    "names",
    [
        [],
        [(DNS, "")],
        [(DNS, "a.example.")],
        [(DNS, " a.example")],
        [(DNS, "a.example\n")],
        [(DNS, "a.example\0")],
        [(DNS, "a.example\0.b.example")],
        [(DNS, "*.example")],
        [(DNS, ".example")],
        [(DNS, "x.a.example")],
        [(DNS, "\u0430.example")],
        [(URI, "a.example")],
        [(URI, "sips:a.example")],
        [(URI, "sip:*.example")],
        [(URI, "sip://a.example")],
        [(URI, "sip: a.example")],
        [(URI, "sip:a%2eexample")],
        [(URI, "sip:alice@a.example")],
        [(URI, "sip:@a.example")],
        [(URI, "sip:a.example@b.example")],
        [(URI, "sip:a.example;x=@b.example")],
        [(URI, "sip:b.example"), (DNS, "a.example")],
        [(URI, "sip:"), (DNS, "a.example")],
        [("email", "a.example")],
        [(IP, "a.example")],
        [("DirName", "a.example")],
    ],
)
def test_the_domain_is_not_proved(names):
    with pytest.raises(CertificateError, match=r"not for 'a\.example'"):
        require_name(names, "a.example")


def test_an_address_is_proved_by_an_address_in_any_writing():
    require_name([(IP, "192.0.2.1")], "192.0.2.1")
    require_name([(IP, "2001:DB8:0:0:0:0:0:1\n")], "2001:db8::1")
    for kind, value in ((DNS, "192.0.2.1"), (URI, "sip:192.0.2.1"), (IP, "192.0.2.2")):
        with pytest.raises(CertificateError):
            require_name([(kind, value)], "192.0.2.1")
    with pytest.raises(CertificateError):
        require_name([(IP, "<invalid>")], "192.0.2.1")


def test_no_name_is_proved_by_nothing():
    for names in ([], [(DNS, "")], [(URI, "sip:")]):
        with pytest.raises(CertificateError):
            require_name(names, "")


def test_what_an_attacker_wrote_is_cut_and_escaped():
    with pytest.raises(CertificateError) as caught:
        require_name([(DNS, "\x1b[2J\u202e" * 1000)] * 100, "a.example")
    message = str(caught.value)
    assert message.isprintable()
    assert message.isascii()
    assert "and 96 more" in message
    assert len(message) < 2000


@pytest.mark.parametrize(
    ("host", "canonical"),
    [
        ("Clinic.Example.", "clinic.example"),
        ("ä.example", "xn--4ca.example"),
        ("localhost", "localhost"),
        ("_x.a-b.example", "_x.a-b.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("[2001:DB8:0::1]", "2001:db8::1"),
    ],
)
def test_a_host_has_one_form(host, canonical):
    assert canonical_host(host) == canonical


@pytest.mark.parametrize("host", ["", ".", "a..b", "a b", "*.a.example", "a\0", "x" * 64, "a:5061"])
def test_what_is_no_host_is_refused(host):
    with pytest.raises(NameNotFound):
        canonical_host(host)


def test_an_unknown_fault_is_told_in_openssls_words():
    assert explain_chain(9999, "it is odd")[0] == "it is odd"
    assert explain_chain(10, "x")[0] == "it has expired"


def test_a_wildcard_is_said_to_be_none():
    with pytest.raises(CertificateError) as caught:
        require_name([(DNS, "*.a.example")], "sip.a.example")
    assert "no wildcards" in explain_name(str(caught.value))[0]
