from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from securecall.address import parse_address
from securecall.errors import ProtocolError
from securecall.keys.omemo_fingerprint import (
    build_code,
    curve25519_form,
    fingerprint,
    parse_code,
    parse_fingerprint,
)

BOB = parse_address("xmpp:bob@b.example")
KEY = bytes(range(32))
SHOWN = "00010203 04050607 08090a0b 0c0d0e0f 10111213 14151617 18191a1b 1c1d1e1f"


def test_the_curve_form_is_the_key_of_the_same_secret():
    """What RFC 8032 clamps out of a seed is an X25519 secret; both public keys are one point."""
    ed = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
    seed = ed.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    digest = hashes.Hash(hashes.SHA512())
    digest.update(seed)
    curve = X25519PrivateKey.from_private_bytes(digest.finalize()[:32])
    public = ed.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert curve25519_form(public) == curve.public_key().public_bytes_raw()


def test_both_signs_of_a_key_are_one_device():
    flipped = bytes([*KEY[:31], KEY[31] ^ 0x80])
    assert curve25519_form(KEY) == curve25519_form(flipped)


@pytest.mark.parametrize(
    "key",
    [b"", bytes(31), bytes(33), bytes(32), b"\x01" + bytes(31),
     (2**255 - 20).to_bytes(32, "little"), (2**255 - 19).to_bytes(32, "little"), b"\xff" * 32],
)  # fmt: skip
def test_what_no_key_can_be_is_refused(key):
    with pytest.raises(ProtocolError):
        curve25519_form(key)


def test_fingerprints_are_eight_groups_and_read_however_they_are_written():
    assert fingerprint(KEY) == SHOWN
    for text in (
        SHOWN,
        SHOWN.upper(),
        SHOWN.replace(" ", ""),
        "05" + SHOWN,
        SHOWN.replace(" ", "\n"),
    ):
        assert parse_fingerprint(text) == KEY


@pytest.mark.parametrize("text", ["", SHOWN[:-1], SHOWN + "0", "zz" * 32, "05" * 34, "0" * 9999])
def test_what_is_no_fingerprint_is_refused(text):
    with pytest.raises(ProtocolError):
        parse_fingerprint(text)


def test_a_code_survives_the_way():
    devices = {7: KEY, 2**31 - 1: KEY[::-1]}
    assert parse_code(build_code(BOB, devices)) == (BOB, devices)
    assert parse_code(build_code(BOB, {})) == (BOB, {})


def test_codes_of_others_are_read():
    """As Conversations shows it: several devices, between them words that are not ours."""
    text = f"xmpp:bob%40@b.example?omemo-sid-7={KEY.hex()};body=hi&omemo-sid-8={KEY.hex()}"
    with pytest.raises(ProtocolError):
        parse_code(text)
    assert parse_code(text.replace("%40", "")) == (BOB, {7: KEY, 8: KEY})


def test_other_words_between_the_devices_are_passed_over():
    text = f"xmpp:bob@b.example?message;omemo-sid-7={KEY.hex()};body=hi;omemo-sid-x={KEY.hex()}"
    assert parse_code(text) == (BOB, {7: KEY})


@pytest.mark.parametrize(
    "text",
    ["", "sip:bob@b.example", "bob@b.example", "xmpp:b.example", "xmpp:bob@b.example?" + "a" * 9000,
     f"xmpp:bob@b.example?omemo-sid-7={KEY.hex()};omemo-sid-7={KEY.hex()}",
     f"xmpp:bob@b.example?omemo-sid-4294967295={KEY.hex()}",
     f"xmpp:bob@b.example?omemo-sid-2147483648={KEY.hex()}",
     "xmpp:bob@b.example?omemo-sid-7=", "xmpp:bob@b.example?omemo-sid-7=abc",
     "xmpp:bob@b.example?" + ";".join(f"omemo-sid-{n}={KEY.hex()}" for n in range(1, 66))],
)  # fmt: skip
def test_what_is_no_code_is_refused(text):
    with pytest.raises(ProtocolError):
        parse_code(text)


def test_a_code_names_up_to_sixty_four_devices():
    key = "07" * 32
    for count in (64, 65):
        code = "xmpp:bob@b.example?" + ";".join(f"omemo-sid-{n}={key}" for n in range(1, count + 1))
        if count == 64:
            assert len(parse_code(code)[1]) == 64
        else:
            with pytest.raises(ProtocolError):
                parse_code(code)


def test_the_longest_code_is_read_and_one_longer_is_not():
    code = build_code(BOB, {1: KEY})
    longest = code + ";" * (8192 - len(code))
    assert parse_code(longest) == parse_code(code)
    with pytest.raises(ProtocolError, match="longer"):
        parse_code(longest + ";")


def test_a_code_may_be_as_long_as_any_and_no_longer():
    code = build_code(BOB, {7: KEY}) + ";body="
    longest = code.ljust(8192, "x")
    assert parse_code(longest) == (BOB, {7: KEY})
    with pytest.raises(ProtocolError, match="longer"):
        parse_code(longest + "x")
