"""A caller's address passes for another's where people read it, or acts on their screen and log.

What is escaped in a SIP address (RFC 3261 19.1.2) can be any character.
"""

from __future__ import annotations

import io
import logging
import re
import unicodedata

import pytest

from securecall.address import parse_address
from securecall.cli.output import PeopleOutput
from securecall.cli.terminal import Terminal, safe
from securecall.logs import logger
from tests.attacks.cli.test_words_on_a_terminal import acts

PARTS = ".".join(letter * 60 for letter in "abc")
ADDRESSES = {
    "another host, and room behind it": f"sip:bob%40good.example{'%20' * 200}@evil.example",
    "the same without spaces": f"sip:bob%40good.example{'%E2%A0%80' * 200}@evil.example",
    "an @ that is none": "sip:bob%EF%BC%A0good.example%C2%A0%C2%A0@evil.example",
    "another direction": "sip:bob%40good.example%E2%80%AE@evil.example",
    "clears the screen": "sip:%1bc%1b%5B2J@evil.example",
    "a line of its own": "sip:x%0AINFO%20verified@evil.example",
    "a host that ends further on": f"sip:bob@good.example.{PARTS}.evil.example",
}
EACH = pytest.mark.parametrize("text", ADDRESSES.values(), ids=ADDRESSES)


def deceives(shown):
    """Whether who reads this takes it for another's, or it does more than being read."""
    hosts = re.split("[@\uff20]", shown)[1:]
    hidden = any(unicodedata.category(c) in ("Cc", "Cf", "Zs", "Zl", "Zp") for c in shown)
    return hidden or len(hosts) != 1 or not hosts[0].endswith("evil.example")


@EACH
def test_an_address_for_people_is_one_word_of_its_own_host(text):
    short = parse_address(text).short
    assert not deceives(short)
    assert len(short) < 200
    assert not acts(short)


@EACH
def test_control_as_it_is_it_deceives(text):
    address = parse_address(text)
    as_it_is = f"{address.user}@{address.host}"
    assert acts(as_it_is) or deceives(safe(as_it_is))


@EACH
def test_the_command_says_whose_call_it_is(text):
    out = io.StringIO()
    PeopleOutput(Terminal(out, {})).tell("state", state="connected", peer=parse_address(text).short)
    assert not deceives(out.getvalue().strip().removeprefix("connected "))


@EACH
def test_it_says_so_while_the_call_rings_and_when_somebody_is_handed_over(text):
    out, address = io.StringIO(), parse_address(text)
    screen = PeopleOutput(Terminal(out, {}))
    screen.tell("incoming", caller=str(address), known=False, replaces="")
    screen.tell("transfer", target=text, address=str(address), asked=True)
    for line in out.getvalue().splitlines()[:2]:
        (who,) = [word for word in line.split() if "@" in word or "%40" in word]
        assert not deceives(who)


@EACH
def test_a_line_of_a_log_stays_one_line(text, caplog):
    with caplog.at_level(logging.INFO):
        logger("securecall.call").info("<Call from %s, active> rings", parse_address(text).short)
    assert not acts(caplog.messages[0])
    assert "\n" not in caplog.messages[0]


@pytest.mark.parametrize("user", ["bob", "b.o-b_1+x", "bob'(2)", "zoë", "张伟", "हिन्दी"])
def test_ordinary_names_stay_as_they_are(user):
    assert parse_address(f"sip:{user}@example.com").short == f"{user}@example.com"
