from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import PhraseInvalid, UsageError
from securecall.keys.phrase import build_phrase, parse_phrase, require_word, similar_words
from securecall.keys.wordlist import words
from securecall.secret import Secret

SEED = Secret(bytes(range(32)))
PHRASE = build_phrase(SEED).reveal().decode().split()


@given(st.binary(min_size=32, max_size=32))
def test_every_seed_comes_back(seed):
    assert parse_phrase(build_phrase(Secret(seed))) == Secret(seed)


def test_four_letters_capitals_and_line_breaks_are_enough():
    typed = "\n".join(word[:4].upper() for word in PHRASE)
    assert parse_phrase(Secret(typed)) == SEED


@pytest.mark.parametrize(
    ("typed", "places", "says"),
    [
        (PHRASE[:23], (), "24 words, not 23"),
        ([*PHRASE, "zoo"], (), "24 words, not 25"),
        (["secrecy", *PHRASE[1:22], "bob", "eve"], (1, 23, 24), "number 1, 23, 24"),
        ([PHRASE[1], PHRASE[0], *PHRASE[2:]], (), "wrong order"),
        (["zoo", *PHRASE[1:]], (), "replaced"),
        (["x"] * 2000, (), "24 words"),
        (
            ["\udcff".encode("utf-8", "surrogatepass").decode("latin1")] * 24,
            tuple(range(1, 25)),
            "number 1, 2",
        ),
    ],
)
def test_what_is_wrong_is_said_without_a_word_of_it(typed, places, says):
    with pytest.raises(PhraseInvalid, match=says) as caught:
        parse_phrase(Secret(" ".join(typed)))
    assert caught.value.places == places
    said = set(str(caught.value).replace(",", " ").replace(";", " ").split())
    assert not said & {w for w in typed if len(w) > 4} - {"word"}


def test_one_wrong_word_is_noticed_nearly_always():
    """The checksum has 8 bits: of all words in one place, one in 256 fits."""
    fitting = 0
    for word in words():
        try:
            parse_phrase(Secret(" ".join([word, *PHRASE[1:]])))
        except PhraseInvalid:
            continue
        fitting += 1
    assert 1 <= fitting <= 24


def test_each_word_can_be_asked_back():
    phrase = build_phrase(SEED)
    for place, word in enumerate(PHRASE, start=1):
        require_word(phrase, place, word)
        require_word(phrase, place, word[:4].upper())
        with pytest.raises(PhraseInvalid):
            require_word(phrase, place, "zoo" if word != "zoo" else "abandon")
        with pytest.raises(PhraseInvalid):
            require_word(phrase, place, "")
        with pytest.raises(PhraseInvalid):
            require_word(phrase, place, "zzzz")  # four letters that begin no word


def test_a_word_that_was_misread_finds_its_likeness():
    assert "hamster" in similar_words("hampster")
    assert similar_words("1234567") == ()


def test_only_a_root_seed_has_a_phrase():
    with pytest.raises(UsageError):
        build_phrase(Secret(bytes(16)))
