"""Certificates that are shown to make whoever explains them stumble."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from securecall.errors import ProtocolError
from securecall.transport.certificate import parse_certificate
from tests.forge_certificate import forge

pytestmark = pytest.mark.attack
NAMES = "2.5.29.17"
X400 = bytes.fromhex("3004a3023000")  # a SAN of one x400Address


def shown(*, oid: str = "", value: bytes = b"\x05\x00") -> bytes:
    """A certificate for "x.example", with one more extension."""
    more = ((x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), False),) if oid else ()
    names = () if oid == NAMES else ("x.example",)
    return forge(None, *names, more=more).certificate.public_bytes(Encoding.DER)


def test_control_an_honest_one_is_read():
    assert parse_certificate(shown()).names == (("DNS", "x.example"),)


@pytest.mark.parametrize("version", [1, 5])
def test_a_version_that_does_not_exist_is_refused_by_name(version):
    der = shown()
    at = der.index(bytes.fromhex("a003020102")) + 4
    with pytest.raises(ProtocolError):
        _ = parse_certificate(der[:at] + bytes([version]) + der[at + 1 :])


def test_names_of_an_unknown_kind_are_none():
    assert parse_certificate(shown(oid=NAMES, value=X400)).names == ()


def test_two_lists_of_names_are_none():
    der = shown(oid="2.5.29.99").replace(bytes.fromhex("551d63"), bytes.fromhex("551d11"))
    assert parse_certificate(der).names == ()
