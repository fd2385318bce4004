"""Digest: the published examples, and which challenges are answered at all."""

from __future__ import annotations

import pytest

from securecall.errors import LoginRefused, UsageError
from securecall.secret import Secret
from securecall.sip.digest import (
    Authenticator,
    Challenge,
    Login,
    build_credentials,
    challenges_of,
    parse_challenge,
    parse_fields,
)
from securecall.sip.grammar import SipError
from securecall.sip.headers import Headers
from securecall.sip.message import Request, Response

PASSWORD = Secret("zanzibar")
MD5 = 'Digest realm="example.com", nonce="n1", qop="auth", algorithm=MD5'
SHA = 'Digest realm="example.com", nonce="n2", qop="auth", algorithm=SHA-256'


def request(method: str = "INVITE", **fields: str) -> Request:
    headers = Headers(
        (("CSeq", f"1 {method}"), *((n.replace("_", "-"), v) for n, v in fields.items()))
    )
    return Request(method, "sip:bob@example.com", headers)


def challenge(*values: str, status: int = 407) -> Response:
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    return Response(status, "x", Headers((name, value) for value in values))


def authenticator(*realms: str, learns: bool = False) -> Authenticator:
    login = Login(user="alice", password=PASSWORD, realms=realms or ("example.com",), learns=learns)
    return Authenticator(login)


def answered(a: Authenticator, response: Response, *, method: str = "INVITE", times: int = 0):
    header = a.answer(request(method), response, answered=times, cnonce="c")
    if header is None:
        return None
    name, value = header
    return name, parse_fields(value, len("Digest "))


def credentials(c: Challenge, **changes: object) -> dict[str, str]:
    values = {
        "user": "Mufasa",
        "password": Secret("Circle of Life"),
        "method": "GET",
        "uri": "/dir/index.html",
        "body": b"",
        "cnonce": "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        "count": 1,
    } | changes
    return parse_fields(build_credentials(c, **values), len("Digest "))  # type: ignore[arg-type] # by name


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_rfc_7616_come_out(algorithm, expected):
    c = Challenge(
        realm="http-auth@example.org",
        nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        algorithm=algorithm,
        qop="auth",
        opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
    )
    found = credentials(c)
    assert found["response"] == expected
    assert (found["nc"], found["opaque"]) == ("00000001", c.opaque)


def test_the_example_of_rfc_2617_comes_out():
    c = Challenge(
        realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", qop="auth"
    )
    found = credentials(c, password=Secret("Circle Of Life"), cnonce="0a4f113b")
    assert found["response"] == "6629fae49393a05397450978507c4ef1"


def test_a_server_without_qop_gets_what_rfc_2069_says():
    c = Challenge(realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093")
    found = credentials(c, password=Secret("CircleOfLife"), uri="/dir/index.html")
    # the printed value of RFC 2069 is wrong (its erratum 749); this is the corrected one
    assert found["response"] == "1949323746fe6a43ef61f9606e7febea"
    assert "qop" not in found
    assert "cnonce" not in found


def test_auth_int_covers_the_body_and_is_taken_only_where_auth_is_not_offered():
    assert parse_challenge('Digest realm="r", nonce="n", qop="auth-int,auth"').qop == "auth"
    c = parse_challenge('Digest realm="r", nonce="n", qop="auth-int"')
    assert credentials(c, body=b"a")["response"] != credentials(c, body=b"b")["response"]
    plain = parse_challenge('Digest realm="r", nonce="n", qop="auth"')
    assert credentials(plain, body=b"a")["response"] == credentials(plain, body=b"b")["response"]


def test_quotes_in_names_are_escaped_and_read_back():
    c = parse_challenge(r'Digest realm="a \"b\" \\ c", nonce="n"')
    assert c.realm == 'a "b" \\ c'
    assert credentials(c, user='x"y\\')["username"] == 'x"y\\'
    assert credentials(c)["realm"] == c.realm


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Digest",
        "Digest ",
        "Basic realm=x",
        "Bearer realm=x, nonce=y",
        'Digest realm="r"',
        'Digest nonce="n"',
        'Digest realm="r", nonce=""',
        'Digest realm="r", nonce="n", realm="s"',
        'Digest realm="r", nonce="n',
        'Digest realm="r" nonce="n"',
        'Digest realm="r", nonce="n",',
        'Digest realm="r", nonce="n", algorithm=MD4',
        'Digest realm="r", nonce="n", algorithm=SHA-256-sess',
        'Digest realm="r", nonce="n", qop="auth-conf"',
        'Digest realm="r", nonce="n", =x',
        f'Digest realm="r", nonce="{"n" * 2000}"',
    ],
)
def test_what_is_no_challenge_we_know_is_refused(text):
    with pytest.raises(SipError):
        _ = parse_challenge(text)


def test_the_strongest_of_several_challenges_is_answered_whatever_their_order():
    for values in ((MD5, SHA), (SHA, MD5)):
        name, fields = answered(authenticator(), challenge(*values))
        assert (name, fields["algorithm"], fields["nonce"]) == (
            "Proxy-Authorization",
            "SHA-256",
            "n2",
        )


def test_md5_alone_is_answered_where_nothing_better_was_ever_offered():
    _, fields = answered(authenticator(), challenge(MD5))
    assert fields["algorithm"] == "MD5"


def test_a_registrar_is_answered_with_its_own_header():
    name, _ = answered(authenticator(), challenge(MD5, status=401), method="REGISTER")
    assert name == "Authorization"


def test_challenges_that_cannot_be_read_do_not_hide_those_that_can():
    response = challenge("Bearer x=y", "Digest nonsense", MD5)
    assert [c.nonce for c in challenges_of(response)] == ["n1"]
    assert challenges_of(Response(486, "x", Headers())) == []


def test_the_realm_is_compared_without_case():
    assert answered(authenticator(), challenge(MD5.replace("example.com", "Example.COM")))


def test_a_registration_learns_one_realm_of_another_name_and_no_second():
    a = authenticator("example.com", learns=True)
    other = MD5.replace("example.com", "asterisk")
    assert answered(a, challenge(other, status=401), method="REGISTER") is not None
    assert answered(a, challenge(other)) is not None
    third = MD5.replace("example.com", "third")
    assert answered(a, challenge(third, status=401), method="REGISTER") is None


def test_nonces_are_counted():
    a = authenticator()
    counts = [answered(a, challenge(MD5))[1]["nc"] for _ in range(3)]
    assert counts == ["00000001", "00000002", "00000003"]
    assert answered(a, challenge(SHA))[1]["nc"] == "00000001"


def test_a_registration_volunteers_what_it_was_asked_the_last_time_and_no_other_request_does():
    a = authenticator()
    assert a.volunteer(request("REGISTER"), cnonce="c") == []
    _ = answered(a, challenge(MD5))
    assert a.volunteer(request("REGISTER"), cnonce="c") == []
    _ = answered(a, challenge(MD5, status=401), method="REGISTER")
    ((name, value),) = a.volunteer(request("REGISTER"), cnonce="c")
    assert name == "Authorization"
    assert parse_fields(value, len("Digest "))["nc"] == "00000003"


def test_what_was_volunteered_in_vain_is_answered_anew():
    a = authenticator()
    before = request("REGISTER", Authorization="Digest old")
    assert a.answer(before, challenge(MD5, status=401), answered=0, cnonce="c") is not None


def test_a_second_challenge_says_that_the_password_is_wrong():
    before = request("REGISTER", Authorization="Digest old")
    with pytest.raises(LoginRefused):
        _ = authenticator().answer(before, challenge(MD5, status=401), answered=1, cnonce="c")


def test_a_registration_may_meet_a_proxy_and_a_registrar():
    before = request("REGISTER", Proxy_Authorization="Digest old")
    found = authenticator().answer(before, challenge(MD5, status=401), answered=1, cnonce="c")
    assert found is not None
    assert found[0] == "Authorization"


def test_a_users_name_cannot_break_the_header():
    with pytest.raises(UsageError):
        _ = Authenticator(Login(user="a\r\nX: y", password=PASSWORD, realms=()))


def test_the_password_stays_out_of_every_text():
    login = Login(user="alice", password=PASSWORD, realms=("example.com",))
    assert "zanzibar" not in repr(login) + repr(Authenticator(login))
    _, fields = answered(authenticator(), challenge(MD5))
    assert not any("zanzibar" in value for value in fields.values())


def test_a_login_without_md5_never_answers_it():
    """The control: the same challenge is answered where MD5 will do."""
    assert answered(authenticator(), challenge(MD5)) is not None
    login = Login(user="alice", password=PASSWORD, realms=("example.com",), md5=False)
    with pytest.raises(LoginRefused, match="fips"):
        answered(Authenticator(login), challenge(MD5))
    assert answered(Authenticator(login), challenge(MD5, SHA)) is not None
