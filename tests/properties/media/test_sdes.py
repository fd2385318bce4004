"""For all texts: an a=crypto line is read or refused; what is read is written back."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from securecall.errors import ProtocolError
from securecall.media.sdes import SUITES, CryptoLine, build_crypto, parse_crypto
from securecall.secret import Secret

LINE = "1 AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd"
SUITE = st.sampled_from(list(SUITES.values()))


@given(
    st.one_of(st.text(), st.text(alphabet="019 |:;=^inleA_/+"), st.from_regex(r"1 \w+ inline:.*"))
)
@example(LINE)
def test_any_text_is_a_line_or_a_protocol_error(text):
    try:
        line = parse_crypto(text)
    except ProtocolError:
        return
    assert len(line.key) == line.suite.size
    assert parse_crypto(build_crypto(line)) == line


@given(SUITE.flatmap(lambda s: st.tuples(st.just(s), st.binary(min_size=s.size, max_size=s.size))))
def test_any_key_of_the_right_length_survives(pair):
    suite, key = pair
    line = CryptoLine(1, suite, Secret(key))
    assert parse_crypto(build_crypto(line)).key == line.key


@given(st.integers(0, len(LINE) - 1), st.characters())
def test_one_other_character_is_never_another_suite(place, character):
    try:
        line = parse_crypto(LINE[:place] + character + LINE[place + 1 :])
    except ProtocolError:
        return
    assert line.suite.name == "AES_CM_128_HMAC_SHA1_80"
    assert len(line.key) == 30
