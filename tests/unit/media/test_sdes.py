"""a=crypto lines: what is taken, and everything that is not."""

from __future__ import annotations

import base64

import pytest

from securecall.errors import ProtocolError
from securecall.media.sdes import SUITES, CryptoLine, build_crypto, parse_crypto
from securecall.rtp.srtp import SrtpProfile
from securecall.secret import Secret

CM, GCM = "AES_CM_128_HMAC_SHA1_80", "AEAD_AES_256_GCM"
KEY = base64.b64encode(bytes(range(30))).decode()  # 30 bytes: no padding
LONG = base64.b64encode(bytes(range(44))).decode()


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_a_line_is_read_back_as_it_was_written(suite):
    line = CryptoLine(7, suite, Secret(bytes(range(suite.size))))
    assert parse_crypto(build_crypto(line)) == line


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_a_suite_is_the_srtp_profile_it_names(suite):
    profile = SrtpProfile[suite.profile]
    assert suite.size == profile.key_length + profile.salt_length


def test_the_example_of_rfc_4568_is_read_without_its_identifier():
    key = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
    line = parse_crypto(f"1 {CM} inline:{key}|2^31")
    assert (line.tag, line.suite.name) == (1, CM)
    assert line.key == Secret(b"YS___semctl () {\t220;}\n}\nunles")
    with pytest.raises(ProtocolError):
        parse_crypto(f"1 {CM} inline:{key}|2^31|1:4")


@pytest.mark.parametrize("power", [30, 31, 48, 49])
def test_both_spellings_of_a_lifetime_have_the_same_ends(power):
    for lifetime in (f"2^{power}", str(2**power)):
        text = f"1 {CM} inline:{KEY}|{lifetime}"
        if 31 <= power <= 48:
            assert parse_crypto(text).tag == 1
        else:
            with pytest.raises(ProtocolError, match="lifetime"):
                parse_crypto(text)


def test_a_line_can_be_looked_up_and_shows_no_key():
    line = parse_crypto(f"1 {CM} inline:{KEY}")
    assert hash(line) == hash(CryptoLine(1, line.suite, Secret(bytes(30))))
    assert "Secret" not in repr(line)


@pytest.mark.parametrize(
    "text",
    [
        f"1 {CM} inline:{KEY}|2^48",
        f"1 {CM} inline:{KEY}|2147483648",
        f"999999999 {CM}  inline:{KEY}",
        f"1 {GCM} inline:{LONG.rstrip('=')}",
    ],
)
def test_what_means_the_same_is_taken(text):
    assert parse_crypto(text).suite.name in text


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"1 {CM}",
        f"{CM} inline:{KEY}",
        f"1234567890 {CM} inline:{KEY}",
        f"x {CM} inline:{KEY}",
        f"1 AES_CM_128_HMAC_SHA1_32 inline:{KEY}",
        f"1 F8_128_HMAC_SHA1_80 inline:{KEY}",
        f"1 NULL_HMAC_SHA1_80 inline:{KEY}",
        f"1 AES_256_CM_HMAC_SHA1_80 inline:{KEY}",
        f"1 {CM.lower()} inline:{KEY}",
        f"1 {CM} uri:https://keys.example",
        f"1 {CM} inline:",
        f"1 {CM} inline:{KEY[:-4]}",
        f"1 {CM} inline:{KEY}AAAA",
        f"1 {CM} inline:{KEY[:-1]}*",
        f"1 {CM} inline:{KEY}=",
        f"1 {GCM} inline:{LONG[:-2]}B=",  # bits that mean nothing
        f"1 {GCM} inline:{KEY}",
        f"1 {CM} inline:{KEY}|2^20",
        f"1 {CM} inline:{KEY}|2^49",
        f"1 {CM} inline:{KEY}|4096",
        f"1 {CM} inline:{KEY}|1:4",
        f"1 {CM} inline:{KEY}|2^31|1:4",
        f"1 {CM} inline:{KEY}|",
        f"1 {CM} inline:{KEY};inline:{KEY}",
        f"1 {CM} inline:{KEY} KDR=3",
        f"1 {CM} inline:{KEY} UNENCRYPTED_SRTP",
        f"1 {CM} inline:{KEY} UNENCRYPTED_SRTCP",
        f"1 {CM} inline:{KEY} UNAUTHENTICATED_SRTP",
        f"1 {CM} inline:{KEY} -UNENCRYPTED_SRTP",
        f"1 {CM} inline:{KEY} FEC_ORDER=FEC_SRTP",
        f"1 {CM} inline:{KEY} WSH=64",
        f" 1 {CM} inline:{KEY}",
        f"1 {CM} inline:{KEY} ",
        f"1 {CM} inline:{KEY}\n",
        f"１ {CM} inline:{KEY}",  # noqa: RUF001 - a digit of another alphabet, on purpose
    ],
)
def test_what_is_not_taken_is_refused_and_never_quoted(text):
    with pytest.raises(ProtocolError) as caught:
        parse_crypto(text)
    assert KEY[:8] not in str(caught.value)


def test_a_line_never_shows_its_key():
    line = parse_crypto(f"1 {CM} inline:{KEY}")
    assert KEY[:8] not in f"{line!r} {line}"
    assert bytes(range(30)).hex() not in repr(line)


def test_lines_of_equal_tag_and_suite_are_told_apart_by_their_keys():
    one = parse_crypto(f"1 {CM} inline:{KEY}")
    other = parse_crypto(f"1 {CM} inline:{KEY[4:]}AAAA")
    assert one != other
    assert not one.same_key(other)
    assert one.same_key(parse_crypto(f"2 {CM} inline:{KEY}"))
