from __future__ import annotations

import pytest

from securecall.errors import ProtocolError
from securecall.xmpp.capabilities import (
    CAPS,
    DISCO,
    MAX_CACHED,
    CapabilityCache,
    Caps,
    Identity,
    Info,
    OwnCapabilities,
    build_hash,
    build_info,
    parse_caps,
    parse_info,
)
from securecall.xmpp.forms import Form
from tests.stanzas import stanza

PC = Identity("client", "pc")


def info(*features: str, forms: tuple[Form, ...] = ()) -> Info:
    return Info(identities=(PC,), features=frozenset(features), forms=forms)


def caps_of(what: Info) -> Caps:
    return Caps(node="n", ver=build_hash(what))


def query(inside: str) -> str:
    return f"<query xmlns='{DISCO}'>{inside}</query>"


def test_an_answer_survives_the_way():
    form = Form(kind="result", form_type="a", fields={"os": ("Mac", "Linux")})
    what = Info(
        identities=(PC, Identity("client", "phone", "de", "Ä")),
        features=frozenset({"b", "a"}),
        forms=(form,),
    )
    assert parse_info(build_info(what)) == what
    assert what.is_a("client", "phone")
    assert not what.is_a("server")


def test_an_answer_of_the_announced_hash_is_shared():
    cache, what = CapabilityCache(), info("a", "b")
    assert cache.find(caps_of(what)) is None
    assert cache.learn(caps_of(what), build_info(what)) == what
    assert cache.find(Caps(node="another maker", ver=build_hash(what))) == what


def test_an_answer_of_another_hash_is_kept_for_nobody():
    cache = CapabilityCache()
    with pytest.raises(ProtocolError):
        cache.learn(caps_of(info("a")), build_info(info("a", "b")))
    assert cache.find(caps_of(info("a"))) is None


def test_the_cache_forgets_what_was_used_longest_ago():
    cache = CapabilityCache()
    every = [info(str(n)) for n in range(MAX_CACHED + 1)]
    for what in every[:-1]:
        cache.learn(caps_of(what), build_info(what))
    assert cache.find(caps_of(every[0])) is not None
    cache.learn(caps_of(every[-1]), build_info(every[-1]))
    assert cache.find(caps_of(every[0])) is not None
    assert cache.find(caps_of(every[1])) is None


@pytest.mark.parametrize(
    "text",
    [
        "<query xmlns='other'/>",
        query("<feature var='a'/><feature var='a'/>"),
        query("<identity category='client' type='pc'/>" * 2),
        query(
            "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'>"
            "<value>t</value></field></x>" * 2
        ),
        query("".join(f"<feature var='{n}'/>" for n in range(513))),
        query(f"<feature var='{'a' * 1025}'/>"),
        query(f"<identity category='client' type='pc' name='{'a' * 1025}'/>"),
    ],
)
def test_ill_formed_answers_are_refused(text):
    with pytest.raises(ProtocolError):
        parse_info(stanza(text))


@pytest.mark.parametrize(
    "what",
    [
        info("a<b"),
        Info(identities=(Identity("client/pc", "x"),)),
        Info(identities=(Identity("http:", "", "jabber.org", "protocol/caps"),)),
        info("a", forms=(Form(kind="result", form_type="t", fields={"v": ("x<y",)}),)),
    ],
)
def test_words_that_could_be_cut_otherwise_have_no_hash(what):
    with pytest.raises(ProtocolError):
        build_hash(what)


@pytest.mark.parametrize(
    "c",
    ["", f"<c xmlns='{CAPS}' node='n' ver='0.9'/>",
     f"<c xmlns='{CAPS}' hash='md5' node='n' ver='x'/>",
     f"<c xmlns='{CAPS}' hash='sha-1' node='' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/>"],
)  # fmt: skip
def test_caps_that_prove_nothing_are_none(c):
    assert parse_caps(stanza(f"<presence from='a@b.example/c'>{c}</presence>")) is None


def test_ours_are_answered_for_us_and_for_their_node_and_name_no_product():
    ours = OwnCapabilities(["urn:xmpp:receipts", "urn:securecall:identity:1+notify"])
    for text in (query(""), f"<query xmlns='{DISCO}' node='{ours.caps.disco_node}'/>"):
        answer = ours.answer(stanza(text))
        assert answer is not None
        assert build_hash(parse_info(answer)) == ours.caps.ver
        assert all(not identity.name for identity in parse_info(answer).identities)
    assert ours.answer(stanza(f"<query xmlns='{DISCO}' node='rooms'/>")) is None
