"""https addresses as others chose them."""

from __future__ import annotations

import pytest

from securecall.errors import ProtocolError
from securecall.transport.web_address import WebAddress, is_public, parse_web_address

GOOD = {
    "https://a.example/x": "https://a.example/x",
    "HTTPS://A.Example/X": "https://a.example/X",
    "https://a.example": "https://a.example/",
    "https://a.example.:443/x": "https://a.example/x",
    "https://a.example:5443/x?y=z": "https://a.example:5443/x?y=z",
    "https://a.example?y": "https://a.example/?y",
    "https://192.0.2.1/x": "https://192.0.2.1/x",
    "https://[2001:DB8::1]:8443/x": "https://[2001:db8::1]:8443/x",
    "https://bücher.example/x": "https://xn--bcher-kva.example/x",
    "https://a.example/tr%C3%A8s%20cool.jpg": "https://a.example/tr%C3%A8s%20cool.jpg",
    "https://a.example/très": "https://a.example/tr%C3%A8s",
}
BAD = [
    "", "a.example/x", "//a.example/x", "http://a.example/x", "ftp://a.example/x", "file:///etc",
    "javascript:alert(1)", "aesgcm://a.example/x", "https:/a.example/x", "https:///x", "https://",
    "https://user@a.example/x", "https://user:pw@a.example/x", "https://a.example@b.example/x",
    "https://a.example/x#y", "https://a.example/x y", "https://a.example/x\r\nHost: b",
    "https://a.example/\0", "https://a.example/x\n", " https://a.example/x", "https://a.example/%",
    "https://a.example/%zz", "https://a.example/<>", "https://a.example:0/", "https://a.example:x/",
    "https://a.example:65536/", "https://a.example:443:443/", "https://[::1/", "https://::1/",
    "https://[fe80::1%25eth0]/", "https://a..example/", "https://127.1/", "https://2130706433/",
    "https://0x7f000001/", "https://0x7f.0.0.1/", "https://a_b!.example/", "https://a\\b/",
    "https://a.example\\@b.example/", "https://a.example/\ud800", "https://a.example/" + "x" * 2048,
]  # fmt: skip


@pytest.mark.parametrize(("text", "canonical"), GOOD.items())
def test_an_address_has_one_form(text, canonical):
    assert str(parse_web_address(text)) == canonical
    assert str(parse_web_address(canonical)) == canonical


@pytest.mark.parametrize("text", BAD, ids=[ascii(b)[:40] for b in BAD])
def test_anything_else_is_refused(text):
    with pytest.raises(ProtocolError):
        parse_web_address(text)


def test_where_a_file_lies_is_not_in_the_repr():
    assert "secret" not in repr(WebAddress(host="a.example", target="/secret"))


PUBLIC = ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"]
PRIVATE = [
    "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "239.1.1.1", "192.0.2.1", "198.18.0.1",
    "240.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::",
    "2002:a00:1::1", "2001:0:7f00:1::1", "64:ff9b:1::1", "2001:db8::1", "::127.0.0.1", "x", "",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_public_internet(address):
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not(address):
    assert not is_public(address)
