"""What is read from a certificate, whether or not it is worth anything."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from securecall.errors import ProtocolError
from securecall.transport.certificate import parse_certificate
from tests.forge_certificate import DAY, NOW, Forged, forge, raw_names

ROOT = forge(common_name="root", authority=True)


def der(made: Forged) -> bytes:
    return made.certificate.public_bytes(Encoding.DER)


def test_names_issuer_and_times_are_read():
    made = forge(ROOT, "a.example", "sip:b.example", "192.0.2.1", until=9 * DAY, common_name="leaf")
    read = parse_certificate(der(made), sent=2)
    assert set(read.names) == {
        ("DNS", "a.example"),
        ("URI", "sip:b.example"),
        ("IP Address", "192.0.2.1"),
    }
    assert (read.subject, read.issuer, read.sent) == ("leaf", "root", 2)
    assert read.until == int((NOW + 9 * DAY).timestamp())
    assert read.since == int((NOW - DAY).timestamp())


@pytest.mark.parametrize(
    "made", [forge(ROOT), forge(ROOT, more=[(raw_names(b"a\xff.example"), False)])]
)
def test_names_that_are_missing_or_cannot_be_read_are_none(made):
    assert parse_certificate(der(made)).names == ()


@pytest.mark.parametrize("data", [b"", b"x", der(ROOT)[:-1]])
def test_what_is_no_certificate_is_refused(data):
    with pytest.raises(ProtocolError):
        _ = parse_certificate(data)
