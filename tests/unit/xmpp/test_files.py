"""Elements and links that share a file."""

from __future__ import annotations

import dataclasses
import re
from xml.etree.ElementTree import fromstring, tostring

import pytest

from securecall.chat.message import SharedFile
from securecall.chat.sealing import CBC_256
from securecall.errors import ProtocolError
from securecall.secret import Secret
from securecall.xmpp.files import (
    build_link,
    build_sharing,
    is_link,
    parse_link,
    parse_sharing,
)

SHARED = SharedFile(
    url="https://u.example/1.bin",
    key=Secret(bytes(range(32))),
    iv=bytes(range(12)),
    name="summit.jpg",
    media_type="image/jpeg",
    size=3032449,
    sha256=bytes(range(32, 64)),
    cipher_sha256=bytes(range(64, 96)),
    seconds=1.5,
    expires=1_900_000_000,
)
LINK = dataclasses.replace(
    SHARED, cipher="", name="1.bin", media_type="", size=None, sha256=b"", cipher_sha256=b"",
    seconds=0.0, expires=0,
)  # fmt: skip
TEXT = tostring(build_sharing(SHARED), encoding="unicode")


@pytest.mark.parametrize(
    "shared",
    [SHARED, dataclasses.replace(SHARED, name="", media_type="", seconds=0.0, expires=0),
     dataclasses.replace(SHARED, size=0, cipher_sha256=b""),
     dataclasses.replace(SHARED, media_type="audio/ogg; codecs=opus", seconds=63.0),
     dataclasses.replace(SHARED, cipher=CBC_256, iv=bytes(16)),
     dataclasses.replace(SHARED, iv=bytes(16))],
)  # fmt: skip
def test_an_element_says_what_was_put_into_it(shared):
    assert parse_sharing(fromstring(tostring(build_sharing(shared)))) == shared


@pytest.mark.parametrize("change", [{"size": None}, {"sha256": b""}, {"cipher": "urn:x"}])
def test_what_the_standard_requires_is_required_of_us(change):
    with pytest.raises(ProtocolError):
        build_sharing(dataclasses.replace(SHARED, **change))


def test_what_was_sealed_for_a_link_is_shared_by_both_ways():
    unpadded = dataclasses.replace(SHARED, cipher="")
    assert parse_sharing(build_sharing(unpadded)) == SHARED
    assert parse_link(build_link(unpadded)).key == SHARED.key


def changed(pattern, replacement):
    text, count = re.subn(pattern, replacement, TEXT, count=1, flags=re.DOTALL)
    assert count
    return fromstring(text)


BROKEN = {
    "another element": ("file-sharing", "file-shoring"),
    "http": ("https://u", "http://u"),
    "user in the address": ("https://u", "https://me@u"),
    "no address": (r'target="[^"]*"', ""),
    "unknown cipher": ("aes-256-gcm", "aes-128-gcm"),
    "short key": (r":key>[^<]*<", ":key>AAAA<"),
    "no key": (r":key>[^<]*<", ":key><"),
    "no base64": (r":key>[^<]*<", ":key>!!!!<"),
    "key of 33": (r":key>[^<]*<", f":key>{'A' * 44}<"),
    "short IV": (r":iv>[^<]*<", ":iv>AAAA<"),
    "huge size": ("3032449", "99999999999999"),
    "negative size": ("3032449", "-1"),
    "size of another script": ("3032449", "٣"),
    "size in hex": ("3032449", "0x10"),
    "long length": ("1500", "999999999999"),
    "odd expiry": ("2030-03-17T17:46:40.000000Z", "soon"),
    "expiry that never was": ("2030-03-17", "2030-02-30"),
    "expiry without a zone": ("17:46:40.000000Z", "17:46:40"),
    "expiry as a week": ("2030-03-17T17:46:40.000000Z", "2030-W11"),
    "short hash": (r'algo="sha-256">[^<]*<', 'algo="sha-256">AAAA<'),
    "no sources": ("sources", "saucers"),
}


def test_the_table_changes_what_was_good():
    assert parse_sharing(fromstring(TEXT)) == SHARED


@pytest.mark.parametrize(("pattern", "replacement"), BROKEN.values(), ids=BROKEN)
def test_an_element_that_breaks_a_rule_is_refused(pattern, replacement):
    with pytest.raises(ProtocolError):
        parse_sharing(fromstring(re.sub(pattern, replacement, TEXT)))


def test_cbc_without_a_known_hash_is_refused():
    text = TEXT.replace("aes-256-gcm-nopadding", "aes-256-cbc-pkcs7").replace("sha-256", "sha3-256")
    text = re.sub(r":iv>[^<]*<", f":iv>{'A' * 22}==<", text)
    with pytest.raises(ProtocolError, match="proves nothing"):
        parse_sharing(fromstring(text))


def test_other_hashes_are_passed_over():
    text = TEXT.replace("sha-256", "sha3-256")
    shared = parse_sharing(fromstring(text))
    assert (shared.sha256, shared.cipher_sha256) == (b"", b"")


def test_the_first_source_that_can_be_used_counts():
    element = fromstring(TEXT)
    sources = element[1]
    good = sources[0]
    bad = fromstring(tostring(good).replace(b"aes-256", b"aes-512"))
    sources.insert(0, bad)
    ftp = fromstring('<url-data xmlns="http://jabber.org/protocol/url-data" target="ftp://x"/>')
    good[-1].insert(0, ftp)
    assert parse_sharing(element) == SHARED


def test_of_many_sources_few_are_looked_at():
    element = fromstring(TEXT)
    bad = tostring(element[1][0]).replace(b"aes-256", b"aes-512")
    for _ in range(16):
        element[1].insert(0, fromstring(bad))
    with pytest.raises(ProtocolError):
        parse_sharing(element)


def test_a_media_type_that_is_none_is_left_out():
    for odd in ("image", "a/b\u202e", "x" * 200 + "/y", "../../x"):
        element = changed("image/jpeg", odd)
        assert parse_sharing(element).media_type == ""


def test_neither_key_nor_name_nor_place_is_in_an_error():
    for pattern, replacement in BROKEN.values():
        try:
            parse_sharing(fromstring(re.sub(pattern, replacement, TEXT)))
        except ProtocolError as e:
            text = str(e)
            assert "summit" not in text
            assert "1.bin" not in text
            assert "AAEC" not in text


# -- links ----------------------------------------------------------------------------------------

HEX = (bytes(range(12)) + bytes(range(32))).hex()


def test_a_link_says_what_was_put_into_it():
    assert build_link(LINK) == f"aesgcm://u.example/1.bin#{HEX}"
    assert parse_link(build_link(LINK)) == LINK
    assert is_link(build_link(LINK))


def test_a_padded_file_is_not_sent_as_a_link():
    with pytest.raises(ProtocolError):
        build_link(SHARED)


def test_an_older_link_has_an_iv_of_16_bytes():
    shared = parse_link(f"aesgcm://u.example/1.bin#{'00' * 16}{'11' * 32}")
    assert (len(shared.iv), shared.key) == (16, Secret(b"\x11" * 32))


def test_a_picture_beside_it_is_left_out():
    assert parse_link(f"aesgcm://u.example/1.bin#{HEX}\ndata:image/jpeg,/9j/4AAQ") == LINK
    assert parse_link(f"aesgcm://u.example/1.bin#{HEX}\n") == LINK


LINKS = {
    "no fragment": "aesgcm://u.example/1.bin",
    "empty fragment": "aesgcm://u.example/1.bin#",
    "short": f"aesgcm://u.example/1.bin#{HEX[2:]}",
    "long": f"aesgcm://u.example/1.bin#{HEX}00",
    "100 digits": f"aesgcm://u.example/1.bin#{'0' * 100}",
    "no hex": f"aesgcm://u.example/1.bin#{'g' * 88}",
    "other digits": f"aesgcm://u.example/1.bin#{'٣' * 88}",
    "two fragments": f"aesgcm://u.example/1.bin#{HEX}#{HEX}",
    "https": f"https://u.example/1.bin#{HEX}",
    "http": f"http://u.example/1.bin#{HEX}",
    "upper-case scheme": f"AESGCM://u.example/1.bin#{HEX}",
    "user": f"aesgcm://me@u.example/1.bin#{HEX}",
    "no host": f"aesgcm:///1.bin#{HEX}",
    "number for a host": f"aesgcm://2130706433/1.bin#{HEX}",
    "space": f"aesgcm://u.example/1 .bin#{HEX}",
    "text before": f"look: aesgcm://u.example/1.bin#{HEX}",
    "text after": f"aesgcm://u.example/1.bin#{HEX} look",
    "text below": f"aesgcm://u.example/1.bin#{HEX}\nlook",
    "script below": f"aesgcm://u.example/1.bin#{HEX}\ndata:text/html,<script>",
    "two lines below": f"aesgcm://u.example/1.bin#{HEX}\ndata:image/jpeg,/9j\nx",
    "huge picture": f"aesgcm://u.example/1.bin#{HEX}\ndata:image/jpeg,{'A' * 70000}",
    "huge": f"aesgcm://u.example/{'x' * 5000}#{HEX}",
    "nothing": "",
}  # fmt: skip


@pytest.mark.parametrize("body", LINKS.values(), ids=LINKS)
def test_anything_else_is_no_link(body):
    with pytest.raises(ProtocolError) as caught:
        parse_link(body)
    assert HEX[24:] not in str(caught.value)
