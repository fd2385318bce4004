"""The examples of the XEPs are what they are examples of; other projects' stanzas harm nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from securecall.errors import ProtocolError
from securecall.xmpp.jid import parse_jid
from securecall.xmpp.said import (
    clear_payload,
    legacy_payload,
    parse_bounced,
    parse_said,
    sealed_payload,
)
from securecall.xmpp.unwrap import unwrap
from securecall.xmpp.unwrapped import Discarded, Notice, Room, Unwrapped
from tests.around import AROUND, NOW
from tests.vectors.xmpp.corpus import Example, unit_stanzas, xep_examples

# What the messages of these XEPs say, in the order of their examples.
SAY = {
    "0085": "Text+Typing*2 Typing Text+Typing*3 Text Typing*3 Text+Typing*2 Typing*2 Text+Typing "
    "Typing Text+Typing*2",
    "0184": "Text Delivered",
    "0203": "Text*2",
    "0280": "Text*2 carbon-not-ours Text*4",
    "0308": "Text*2",
    "0313": "Text result-of-others Text*4",
    "0333": "Text Displayed Text Displayed",
    "0334": "Text",
    "0359": "strange-room*2",
    "0380": "Unreadable*2",
    "0420": "nothing*2",
    "0428": "strange-room",
    "0444": "Text Reaction*3 Text Reaction Bounced",
    "0461": "Text*3",
    "0466": "Text*3 nothing Text",
}
REASONS = {
    "0280": "Tybalt's copy is the attack that the XEP shows",
    "0313": "what a witch wrote to Macbeth stands in the archive of Juliet, who is neither",
    "0359": "as they go out, to a room: nobody gets them so",
    "0420": "encrypted by a method that exists only in that XEP, and not named by EME",
    "0428": "as it goes out, to a room: nobody gets it so",
    "0466": "the timer alone, which changes no message",
}


def received(example: Example) -> Unwrapped | Notice | Discarded:
    """As whoever the example is for would take it, in the room it is said in."""
    message = example.message
    own = parse_jid(message.get("to") or "somebody@example.com/r")
    own = own if own.resource and own.local else replace(own, resource="r")
    around = replace(AROUND, own=own, names_messages={own.account})
    source = parse_jid(message.get("from") or own.bare)
    result = message.find("{urn:xmpp:mam:2}result")
    if result is not None:
        around = replace(around, queries={result.get("queryid", ""): source})
    if message.get("type") == "groupchat" and "from" in message.attrib:
        around = replace(around, rooms={source.account: Room(nick="nobody")})
    return unwrap(message, around)


def says(example: Example) -> str:
    outcome = received(example)
    if isinstance(outcome, Discarded):
        return outcome.why.value
    if isinstance(outcome, Notice):
        return outcome.kind.value
    if outcome.error:
        return type(parse_bounced(outcome.message, outcome.id)).__name__
    said = parse_said(clear_payload(outcome.message), now=NOW).said
    return "+".join(type(one).__name__ for one in said) or "nothing"


def spelled_out(words: str) -> list[str]:
    pairs = [word.partition("*") for word in words.split()]
    return [what for what, _, times in pairs for _ in range(int(times or 1))]


@pytest.mark.parametrize("xep", SAY)
def test_every_example_says_what_its_xep_means(xep):
    # only examples, as far as they are such: schemas and discovery hold no message
    found = [says(example) for example in xep_examples() if example.source == xep]
    assert found == spelled_out(SAY[xep])


def test_what_is_refused_or_says_nothing_has_a_reason():
    odd = {xep for xep, words in SAY.items() if any(c.islower() for c in _firsts(words))}
    assert odd == set(REASONS)


def _firsts(words: str) -> str:
    return "".join(word[0] for word in words.split())


CORPORA = {
    "xeps": (xep_examples, 850),
    "moxxmpp": (lambda: unit_stanzas("PapaTutuWawa+moxxmpp"), 10),
    "Smack": (lambda: unit_stanzas("igniterealtime+Smack"), 25),
}


@pytest.mark.parametrize("corpus", CORPORA)
def test_nothing_undeclared_is_raised_by_anybodys_stanzas(corpus):
    examples, least = CORPORA[corpus]
    became: Counter[str] = Counter()
    for example in examples():
        try:
            outcome = received(example)
        except ProtocolError:  # an address of the example itself is none, so nobody gets it
            became["unaddressed"] += 1
            continue
        became[type(outcome).__name__] += 1
        if isinstance(outcome, Discarded):
            continue
        for payload in (
            clear_payload(outcome.message),
            sealed_payload(outcome.message),
            legacy_payload(outcome.message, "text"),
        ):
            try:
                parse_said(payload, now=NOW)
            except ProtocolError as e:
                became[f"refused: {e.rule}"] += 1
    assert became.total() >= least, became
    assert became["Unwrapped"] > became.total() / 4, became
