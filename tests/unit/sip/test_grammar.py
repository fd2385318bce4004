"""Words of SIP: what each pattern takes and refuses."""

from __future__ import annotations

import pytest

from securecall.sip import grammar
from securecall.sip.grammar import SipError
from securecall.sip.headers import Headers
from securecall.sip.message import Request, Response, build_message, parse_message


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("sip:alice@Example.COM", "alice", "example.com", 0),
        ("sips:alice:pw@example.com:5061;transport=tcp?subject=x", "alice:pw", "example.com", 5061),
        ("sip:[2001:db8::1]:5060", "", "[2001:db8::1]", 5060),
        ("sip:%61lice;x=y@a.b", "%61lice;x=y", "a.b", 0),
        ("SIP:a@b;lr;maddr=[::1]", "a", "b", 0),
    ],
)
def test_a_sip_uri_is_taken_apart(text, user, host, port):
    uri = grammar.parse_uri(text)
    assert (uri.user, uri.host, uri.port, str(uri)) == (user, host, port, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip:",
        "alice@example.com",
        "sip:a@b:65536",
        "sip:a@b:",
        "sip:a@",
        "sip:a b@c",
        "sip:a@b c",
        "sip:%4@b",
        "sip:a@[::1",
        "sip:a@[1.2.3]",
        "sip:a@[:::]",
        "sip:a@b>",
        "sip:a@b\r\nX: y",
        "sip:a@b;",
        "sip:a@b;=x",
        "sip:ä@b",
        "1:x",
        "http:",
        "sip:a@-b",
    ],
)
def test_what_is_no_uri_is_refused(text):
    with pytest.raises(SipError):
        grammar.parse_uri(text)


@pytest.mark.parametrize(
    ("host", "taken"),
    [
        ("[2001:db8:::192.0.2.1]", True),
        ("[1:2:3:4:5:::192.0.2.1]", True),
        ("[:::192.0.2.1]", True),
        ("[2001:db8::192.0.2.1]", True),
        ("[2001:db8:::10]", False),
        ("[2001:db8::::192.0.2.1]", False),
        ("[2001:db8::1:::192.0.2.1]", False),
        ("[2001:db8:::1:192.0.2.1]", False),
        ("[:::ffff:192.0.2.1]", False),
    ],
)
def test_a_third_colon_may_stand_before_an_embedded_ipv4_address_only(host, taken):
    # what RFC 3261's grammar derives and RFC 5118 4.10 wants tolerated, and nothing more
    if taken:
        assert grammar.parse_uri(f"sip:a@{host}").host == host
    else:
        with pytest.raises(SipError):
            grammar.parse_uri(f"sip:a@{host}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        '"a <sip:a@b>',
        '"a" "b" <sip:a@b>',
        "a, b <sip:a@b>",
        "<sip:a@b",
        "sip:a@b>",
        "<>",
        "<sip:a@b> x",
        "<sip:a@b>;",
        "<sip:a@b>;tag=",
        "<sip:a@b>;tag=a b",
        "<sip:a@b>, <sip:c@d>",
        '"\\" <sip:a@b>',
        "<sip:a@b>\r\nX: y",
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(SipError):
        grammar.parse_name_addr(text, "From")


def test_parameters_within_quotes_do_not_pass_for_others():
    addr = grammar.parse_name_addr('<sip:a@b>;x=";tag=evil" ; TAG = real', "From")
    assert addr.tag == "real"
    assert addr.params == (("x", '";tag=evil"'), ("tag", "real"))
    (via,) = grammar.parse_via_list('SIP/2.0/TLS a;x=";branch=evil";branch=z9hG4bKgood')
    assert via.branch == "z9hG4bKgood"
    assert grammar.parse_name_addr("<sip:a@b>;tagged=1", "From").tag == ""


@pytest.mark.parametrize(
    "text", ["", "1", "INVITE 1", "2147483648 INVITE", "-1 INVITE", "1 IN VITE", "\u0661 A"]
)
def test_what_is_no_cseq_is_refused(text):
    with pytest.raises(SipError):
        grammar.parse_cseq(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SIP/2.0/TLS",
        "SIP/3.0/TLS a",
        "SIP/2.0/TLS a;;",
        "SIP/2.0/TLS a,",
        "SIP/2.0/TLS a:99999",
        "SIP/2.0/TLS [x]",
        "SIP/2.0/TLS a b",
        "\u017fIP/2.0/TLS a",
        "SIP/2.0/TL\u017f a",
        "SIP/2.0/TLS \u212aa",  # a Kelvin sign is no k
        "SIP/2.0/TLS a;x=\u017f",
    ],
)
def test_what_is_no_via_is_refused(text):
    with pytest.raises(SipError):
        grammar.parse_via_list(text)


def test_a_line_break_cannot_be_written():
    with pytest.raises(SipError):
        Headers((("Subject", "a\r\nVia: b"),))
    for message in (Request("A\r\nB", "sip:a@b", Headers()), Response(200, "x\ny", Headers())):
        with pytest.raises(SipError):
            build_message(message)


def test_lone_line_ends_and_orphan_folds_are_refused():
    good = (
        b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TLS a\r\nFrom: <sip:a@b>;tag=1\r\n"
        b"To: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nSubject: x\r\n\r\n"
    )
    assert isinstance(parse_message(good), Request)
    for bad in (b"x\ny: z", b"x\ry: z", b"x\r\r\n"):
        with pytest.raises(SipError):
            parse_message(good.replace(b"Subject: x", b"Subject: " + bad))
    with pytest.raises(SipError):
        parse_message(good.replace(b"SIP/2.0\r\nVia", b"SIP/2.0\r\n Via"))


def test_headers_keep_order_and_count():
    headers = Headers((("v", "1"), ("Via", "2"), ("X-Other", "3"), ("via", "4")))
    assert headers.all("via") == ["1", "2", "4"]
    headers.replace("VIA", "0")
    headers.insert("Via", "first")
    assert headers.all("via") == ["first", "0", "2", "4"]
    headers.remove("x-other")
    assert headers.items() == [("Via", "first"), ("Via", "0"), ("Via", "2"), ("Via", "4")]
    assert "Via: 0\r\n" in headers.build()
