"""RFC 8225's printed examples: what they serialise, what verifies, and what we take of them."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from securecall.address import parse_address
from securecall.errors import ProtocolError
from securecall.keys import passport
from securecall.keys.encoding import parse_base64url
from securecall.keys.signing import require_p256_signature
from tests.paths import vectors


@pytest.fixture(scope="module")
def printed():
    return json.loads(vectors("security", "passport", "rfc8225.json").read_text())


@pytest.fixture(scope="module")
def point(printed):
    key = load_pem_public_key(printed["public_key_pem"].encode())
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def parts(token):
    first, second, third = token.split(".")
    return f"{first}.{second}".encode(), parse_base64url(third)


def test_the_token_of_appendix_a_fails_under_the_key_of_appendix_a(printed, point):
    signed, signature = parts(printed["token_appendix_A"])
    with pytest.raises(ProtocolError, match="signature"):
        require_p256_signature(point, signature, signed)


def test_the_token_of_7_1_is_signed_but_its_iat_is_a_text(printed, point):
    token = printed["token_7_1_draft"]
    signed, signature = parts(token)
    require_p256_signature(point, signature, signed)  # the control: this one verifies
    payload = json.loads(parse_base64url(token.split(".")[1]))
    assert payload["iat"] == "1443208345"
    with pytest.raises(ProtocolError, match="missing or unknown"):  # nor has it any mky
        passport.parse_passport(token)


def test_the_example_of_mky_is_written_as_it_is_printed(printed):
    example = printed["mky_example"]
    lines = [line.removeprefix("a=fingerprint:").split(" ") for line in example["sdp"]]
    token = passport.build_passport(
        passport.PassportKey.generate(),
        kind=passport.REQUEST,
        orig=parse_address("sip:bob@example.com"),
        dest=parse_address(example["payload"]["dest"]["uri"][0]),
        digests=[(name, bytes.fromhex(digits.replace(":", ""))) for name, digits in lines],
        unix=example["payload"]["iat"],
    )
    ours = parse_base64url(token.split(".")[1]).decode()
    wanted = json.dumps(example["payload"]["mky"], separators=(",", ":"))
    assert f'"mky":{wanted}' in ours
    assert ours.startswith('{"dest":{"uri":["sip:alice@example.com"]},"iat":1443208345,"mky":[')


def test_headers_and_payloads_are_in_the_order_that_is_printed(printed):
    header, payload, _ = printed["token_appendix_A"].split(".")
    for text, value in ((header, printed["header"]), (payload, printed["payload"])):
        assert passport._canonical(value) == parse_base64url(text)
