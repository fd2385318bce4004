"""The page can be read by somebody of twelve years: measured, sentence by sentence.

Flesch-Kincaid grade: 0.39 words per sentence + 11.8 syllables per word - 15.59 (Kincaid et al.
1975). Grade 7 is the school year of children of twelve.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import product

from securecall.calls.report import Interval
from securecall.calls.report_diary import EventKind
from securecall.calls.report_parties import Role, Way, parties_of
from securecall.calls.report_words import EVENTS, FIXED, MARKS, ROLES
from securecall.keys.trust import TrustState
from securecall.media.description import Keying
from securecall.policy import IdentityEvidence, SecurityLevel, SecurityState

GRADE = 7.0
LONGEST = 25  # words of one sentence


def syllables(word: str) -> int:
    """Groups of vowels, without the silent e at the end and that of -es, -ed."""
    word = word.lower().removesuffix("'s")
    if re.search(r"[^td]ed$|[^scxzgh]es$|[^lyaeiou]e$|[aeiouy]le$", word) and len(word) > 3:
        word = word[:-2] if word.endswith(("ed", "es")) else word[:-1]
    return max(1, len(re.findall(r"[aeiouy]+", word)))


def sentences(text: str) -> list[list[str]]:
    return [w for s in re.split(r"[.:!?]", text) if (w := re.findall(r"[A-Za-z']+", s))]


def grade(text: str) -> float:
    found = sentences(text)
    words = [word for sentence in found for word in sentence]
    return 0.39 * len(words) / len(found) + 11.8 * sum(map(syllables, words)) / len(words) - 15.59


@cache
def reasons() -> set[str]:
    """Every reason that can stand beside a party."""
    found = set()
    ways = (
        Way(
            peer="bob", protocol="SIP", server="a", own_domain="a", peer_domain="a", page="p",
            relays=("t",), gateways=gateways, ticket=ticket, mixed_with=("c",), direct=direct,
        )
        for gateways, ticket, direct in product(((), ("g",)), ("", "link", "bearer"), (False, True))
    )  # fmt: skip
    hows = ("", "first-call", "card", "directory", "organisation", "link", "bearer")
    for way, keying, level, how in product(ways, Keying, SecurityLevel, hows):
        for trust, passed in product((None, TrustState.UNKNOWN, TrustState.PINNED), (False, True)):
            identity = None
            if trust is not None:
                identity = IdentityEvidence(root_fp=b"", device_id="", trust=trust, how=how)
            state = SecurityState(level=level, reason="", keying=keying, identity=identity)
            parties = parties_of(way, Interval(since=0.0, security=state, passed=passed))
            found |= {party.why for party in parties}
    return found


def test_the_formula_knows_easy_words_from_hard_ones():
    assert [syllables(w) for w in ("key", "called", "server", "ended", "phone", "network")] == [
        1, 1, 2, 2, 1, 2,
    ]  # fmt: skip
    assert grade("The cat sat on the mat. It was big.") < 1
    hard = (
        "Cryptographic authentication of interlocutors necessitates the unadulterated transmission "
        "of certificate fingerprints notwithstanding intermediary infrastructure."
    )
    assert grade(hard) > 15  # the control: a text no child reads does not pass


def test_the_fixed_sentences_are_for_readers_of_twelve():
    assert grade(" ".join((*FIXED, *reasons()))) <= GRADE


def test_no_sentence_is_long_and_no_paragraph_hard():
    texts = {*FIXED, *reasons()}
    assert [text for text in texts if max(map(len, sentences(text))) > LONGEST] == []
    # one short line alone swings widely
    assert [text for text in texts if grade(text) > GRADE + 1] == []


def test_the_page_says_could_and_never_did():
    for text in (*FIXED, *reasons()):
        for party in ("server", "provider", "network", "organisation"):
            assert not re.search(
                rf"{party}s? (listened|heard|read|decrypted|changed)", text.lower()
            )
    assert "does not say who did" in " ".join(FIXED)


def test_every_role_capability_and_event_has_words():
    assert set(ROLES) == set(Role)
    assert set(EVENTS) == {kind.value for kind in EventKind}
    assert len(set(MARKS.values())) == len(MARKS)
