"""Whatever element somebody makes, what reads it returns a value or refuses it."""

from __future__ import annotations

import contextlib
from xml.etree.ElementTree import Element

from hypothesis import given, settings
from hypothesis import strategies as st

from securecall.errors import ProtocolError
from securecall.keys.omemo_fingerprint import curve25519_form, parse_code, parse_fingerprint
from securecall.xmpp.blocking import Blocklist
from securecall.xmpp.capabilities import (
    CapabilityCache,
    Caps,
    Identity,
    Info,
    build_hash,
    build_info,
    parse_caps,
    parse_info,
)
from securecall.xmpp.external_services import parse_services, stun_servers, turn_servers
from securecall.xmpp.forms import Form, build_form, parse_form
from securecall.xmpp.presence import Presence, Presences, parse_presence
from securecall.xmpp.pubsub import Whose, parse_configuration, parse_event, parse_items
from securecall.xmpp.roster import Roster, parse_roster
from tests.stanzas import OWN

NAMESPACES = (
    "jabber:client", "jabber:iq:roster", "jabber:x:data", "urn:xmpp:blocking",
    "urn:xmpp:extdisco:2", "http://jabber.org/protocol/disco#info",
    "http://jabber.org/protocol/caps", "http://jabber.org/protocol/pubsub",
    "http://jabber.org/protocol/pubsub#event", "http://jabber.org/protocol/pubsub#owner",
    "http://jabber.org/protocol/muc#user",
)  # fmt: skip
NAMES = (
    "presence", "message", "query", "item", "group", "x", "field", "value", "blocklist", "block",
    "unblock", "services", "credentials", "service", "identity", "feature", "c", "pubsub", "items",
    "event", "retract", "configure", "show", "status", "priority", "error", "purge", "delete",
)  # fmt: skip
ATTRIBUTES = (
    "from", "to", "type", "jid", "name", "subscription", "ask", "approved", "ver", "node", "hash",
    "var", "category", "host", "port", "transport", "username", "expires", "restricted", "id",
)  # fmt: skip
WORDS = st.one_of(
    st.sampled_from(
        [OWN, "bob@b.example", "bob@b.example/x", "b.example", "@", "available", "error",
         "headline", "subscribe", "both", "remove", "turn", "udp", "1", "sha-1", "open", "submit",
         "form", "FORM_TYPE", "hidden", "QgayPKawpkPSDYmwT/WM94uAlu0=", "2025-11-25T12:00:00Z"]
    ),
    st.text(max_size=24),
)  # fmt: skip


@st.composite
def element(draw, depth: int = 2) -> Element:
    tag = f"{{{draw(st.sampled_from(NAMESPACES))}}}{draw(st.sampled_from(NAMES))}"
    made = Element(tag, draw(st.dictionaries(st.sampled_from(ATTRIBUTES), WORDS, max_size=5)))
    made.text = draw(st.one_of(st.none(), WORDS))
    if depth:
        made.extend(draw(st.lists(element(depth - 1), max_size=3)))
    return made


READERS = {
    "form": parse_form,
    "roster": parse_roster,
    "push": lambda e: Roster(OWN).accept_push(e, sender=None),
    "presence": parse_presence,
    "caps": parse_caps,
    "info": parse_info,
    "cache": lambda e: CapabilityCache().learn(Caps(node="n", ver="v"), e),
    "blocked": lambda e: Blocklist(OWN).accept_result(e),
    "block": lambda e: Blocklist(OWN).accept_push(e, sender=OWN),
    "event": lambda e: parse_event(e, own=OWN, nodes={"open": Whose.ANYBODYS, "": Whose.OURS}),
    "items": lambda e: parse_items(e, "open"),
    "configuration": parse_configuration,
    "services": lambda e: (
        turn_servers(parse_services(e), unix=0.0),
        stun_servers(parse_services(e), unix=0.0),
    ),
}


@settings(max_examples=60)
@given(made=element())
def test_any_element_is_read_or_refused(made):
    broken = {}
    for name, reader in READERS.items():  # to make one costs more than to have it read by all
        try:
            reader(made)
        except ProtocolError:
            continue
        except Exception as e:  # each reader that fails is named
            broken[name] = e
    assert broken == {}


@given(st.text())
def test_any_text_is_a_code_or_refused(text):
    for read in (parse_code, parse_fingerprint, lambda t: parse_code(f"xmpp:a@b.example?{t}")):
        with contextlib.suppress(ProtocolError):
            read(text)


@given(st.binary(min_size=32, max_size=32))
def test_any_32_bytes_are_a_key_of_one_form_or_refused(key):
    try:
        form = curve25519_form(key)
    except ProtocolError:
        return
    assert curve25519_form(bytes([*key[:31], key[31] ^ 0x80])) == form


words = st.text(
    st.characters(codec="ascii", exclude_characters="/<", categories=("L", "N")),
    min_size=1,
    max_size=6,
)
forms = st.builds(
    lambda kind, fields: Form(kind="result", form_type=kind, fields=fields),
    words,
    st.dictionaries(words.filter(lambda w: w != "FORM_TYPE"), st.tuples(words), max_size=3),
)
infos = st.builds(
    lambda identities, features, found: Info(
        identities=tuple(identities),
        features=frozenset(features),
        forms=tuple({form.form_type: form for form in found}.values()),
    ),
    st.sets(st.builds(Identity, words, words, words, words), max_size=3),
    st.sets(words, max_size=5),
    st.lists(forms, max_size=2),
)


@given(info=infos)
def test_answers_survive_the_way_and_so_does_their_hash(info):
    read = parse_info(build_info(info))
    assert (set(read.identities), read.features, {f.form_type for f in read.forms}) == (
        set(info.identities), info.features, {f.form_type for f in info.forms},
    )  # fmt: skip
    assert build_hash(read) == build_hash(info)


@given(one=infos, other=infos)
def test_a_shared_answer_is_that_of_whoever_announced_it(one, other):
    """Nobody can put another answer under somebody's hash, by cutting its words otherwise."""
    cache = CapabilityCache()
    caps = Caps(node="n", ver=build_hash(one))
    try:
        cache.learn(caps, build_info(other))
    except ProtocolError:
        assert cache.find(caps) is None
    else:
        assert cache.find(caps) in (None, other)
        assert other.features >= one.features or cache.find(caps) is None


@given(
    kept=st.lists(
        st.tuples(st.sampled_from("abcd"), st.booleans(), st.integers(-128, 127)), max_size=30
    )
)
def test_who_is_there_is_who_said_so_last(kept):
    there, model = Presences(), {}
    from securecall.xmpp.jid import parse_jid

    for resource, available, priority in kept:
        jid = parse_jid(f"bob@b.example/{resource}")
        there.accept(
            Presence(jid=jid, available=available, priority=priority), known={"bob@b.example"}
        )
        model.pop(resource, None)
        if available:
            model[resource] = priority
    assert {r: p.priority for r, p in there.of("bob@b.example").items()} == model
    best = there.best("bob@b.example")
    assert (best is None) == (not model)
    assert best is None or best.priority == max(model.values())


@given(form=forms)
def test_forms_survive_the_way(form):
    assert parse_form(build_form(form)) == form
