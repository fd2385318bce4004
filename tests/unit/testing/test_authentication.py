"""Digest authentication as a server asks for it."""

from __future__ import annotations

import pytest

from securecall.sip.grammar import SipError
from securecall.testing.authentication import (
    MOST_FAILURES,
    MOST_NONCES,
    digest_answer,
    parse_credentials,
)
from tests.sip_scripts import again, challenge_of, credentials, register
from tests.unit.testing.lab_core import PASSWORDS, Core

MUFASA = {
    "user": "Mufasa",
    "realm": "http-auth@example.org",
    "password": b"Circle of Life",
    "method": "GET",
    "uri": "/dir/index.html",
    "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    "count": "00000001",
    "client_nonce": "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
}


@pytest.mark.parametrize(
    ("algorithm", "answer"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_answers_are_those_of_rfc_7616_3_9_1(algorithm, answer):
    assert digest_answer(algorithm, **MUFASA) == answer


def test_the_answer_is_that_of_rfc_7616_3_9_2_as_its_erratum_4897_has_it():
    answer = digest_answer(
        "SHA-512-256",
        user="Jäsøn Doe",
        realm="api@example.org",
        password=b"Secret, or not?",
        method="GET",
        uri="/doe.json",
        nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",
        count="00000001",
        client_nonce="NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
    )
    assert answer == "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"


def test_challenges_offer_every_algorithm_the_best_first():
    core = Core()
    refused = core.ask(1, register())
    assert refused.status == 401
    fields = refused.headers.all("www-authenticate")
    assert ["SHA-256" in fields[0], "MD5" in fields[1], len(fields)] == [True, True, 2]
    for field in fields:
        assert field.startswith('Digest realm="lab.test", nonce="')
        assert 'qop="auth"' in field
        assert "opaque=" in field
        assert "stale" not in field
    assert challenge_of(refused)["nonce"] != challenge_of(core.ask(1, register()))["nonce"]


@pytest.mark.parametrize("algorithm", ["SHA-256", "MD5"])
def test_the_right_password_is_proof_with_every_algorithm(algorithm):
    core = Core()
    sent = register()
    challenge = challenge_of(core.ask(1, sent), algorithm)
    fresh = again(sent)
    fresh.headers.add(*credentials(challenge, fresh, PASSWORDS["alice"]))
    assert core.ask(1, fresh).status == 200


def proven(core, *, sent=None, password=PASSWORDS["alice"], user="alice", flow=1, **replaced):
    """Answer a challenge with something replaced; return the answer."""
    sent = sent or register()
    challenge = challenge_of(core.ask(flow, sent))
    fresh = again(sent)
    fresh.headers.add(*credentials(challenge, fresh, password, user=user, **replaced))
    return core.ask(flow, fresh)


def shape(response):
    """An answer without what is random in it."""
    values = [challenge_of(response, name) for name in ("SHA-256", "MD5")]
    for value in values:
        value["nonce"] = len(value["nonce"])
    return response.start_line(), [name for name, _ in response.headers.items()], values


def test_nobody_learns_whether_a_user_exists():
    wrong = proven(Core(), password="guess")
    unknown = proven(Core(), password="guess", user="carol")
    assert wrong.status == 401
    assert shape(wrong) == shape(unknown)


def test_another_users_password_is_none():
    assert proven(Core(), password=PASSWORDS["bob"]).status == 401


@pytest.mark.parametrize(
    ("replaced", "status"),
    [
        ({"qop": ""}, 401),
        ({"qop": "auth-int"}, 401),
        ({"algorithm": "SHA-512"}, 401),
        ({"opaque": "other"}, 401),
        ({"opaque": ""}, 401),
        ({"realm": "other.test"}, 401),
        ({"nonce": ""}, 400),
        ({"response": ""}, 400),
        ({"username": ""}, 400),
        ({"response": "0" * 64}, 401),
        ({"uri": "sip:other.test"}, 400),
        ({"nc": "1"}, 400),
        ({"nc": ""}, 400),
    ],
)
def test_incomplete_or_altered_credentials_prove_nothing(replaced, status):
    assert proven(Core(), **replaced).status == status


def test_an_answer_cannot_be_sent_a_second_time():
    core = Core()
    sent, first = core.prove(1, register())
    assert first[0][1].status == 200
    twice = core.ask(2, again(sent))
    assert twice.status == 401
    assert challenge_of(twice)["stale"] == "true"


def test_a_nonce_goes_on_with_a_higher_count_and_not_with_a_lower():
    core = Core()
    sent = register()
    challenge = challenge_of(core.ask(1, sent))
    answers = []
    for count in (1, 3, 2, 3, 4):
        sent = again(sent)
        fresh = again(sent)
        fresh.headers.add(*credentials(challenge, fresh, PASSWORDS["alice"], count=count))
        answers.append(core.ask(1, fresh).status)
    assert answers == [200, 200, 401, 401, 200]


def test_an_old_nonce_is_stale_where_the_password_is_right_and_just_wrong_elsewhere():
    core = Core(nonce_seconds=60)
    for password, stale in ((PASSWORDS["alice"], "true"), ("guess", None)):
        sent = register()
        challenge = challenge_of(core.ask(1, sent))
        core.now += 60
        fresh = again(sent)
        fresh.headers.add(*credentials(challenge, fresh, password))
        refused = core.ask(1, fresh)
        assert (refused.status, challenge_of(refused).get("stale")) == (401, stale)


def test_a_nonce_of_the_clients_own_making_is_stale():
    refused = proven(Core(), nonce="f" * 32)
    assert (refused.status, challenge_of(refused)["stale"]) == (401, "true")


def test_forgotten_nonces_are_stale():
    core = Core()
    sent = register()
    challenge = challenge_of(core.ask(1, sent))
    core.authenticator.forget_nonces()
    fresh = again(sent)
    fresh.headers.add(*credentials(challenge, fresh, PASSWORDS["alice"]))
    refused = core.ask(1, fresh)
    assert (refused.status, challenge_of(refused)["stale"]) == (401, "true")


def test_the_oldest_nonce_goes_when_there_are_too_many():
    core = Core()
    sent = register()
    challenge = challenge_of(core.ask(1, sent))
    for _ in range(MOST_NONCES):
        core.authenticator.challenges(stale=False, now=core.now)
    fresh = again(sent)
    fresh.headers.add(*credentials(challenge, fresh, PASSWORDS["alice"]))
    assert challenge_of(core.ask(1, fresh))["stale"] == "true"


def test_who_guesses_too_often_is_not_asked_again_and_others_are():
    core = Core()
    guesses = [proven(core, password=f"guess {n}").status for n in range(MOST_FAILURES)]
    assert guesses == [401] * MOST_FAILURES
    assert core.ask(1, register()).status == 403
    assert core.ask(2, register()).status == 401


@pytest.mark.parametrize(
    "text",
    [
        "Basic YWxpY2U6cHc=",
        "Digest",
        "Digest username",
        'Digest username="a", username="b"',
        'Digest username="a" realm="b"',
        'Digest username="a',
        'Digest username="a\\", realm="b", nonce="c", uri="d", response="e"',
    ],
)
def test_malformed_credentials_are_refused_without_repeating_them(text):
    with pytest.raises(SipError) as refused:
        parse_credentials(text)
    assert "YWxpY2U6cHc" not in str(refused.value)


def test_credentials_are_read_with_quotes_and_escapes():
    text = r'Digest username="a\"b", realm="x, y" ,nonce=c,uri="d",response="e",nc=00000001'
    assert parse_credentials(text) == {
        "username": 'a"b',
        "realm": "x, y",
        "nonce": "c",
        "uri": "d",
        "response": "e",
        "nc": "00000001",
    }
