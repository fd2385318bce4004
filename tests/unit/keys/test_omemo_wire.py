"""The bytes of legacy OMEMO and of Protocol Buffers, written out by hand."""

from __future__ import annotations

import pytest
from doubleratchet import Header

from securecall.errors import ProtocolError
from securecall.keys.omemo_legacy import OmemoLegacy
from securecall.keys.omemo_two import OmemoTwo
from securecall.keys.protobuf import build_protobuf, parse_protobuf

KEY = bytes(range(32))
SCHEME = OmemoLegacy()


def whisper(*, version=0x33, kind=b"\x05", counter=b"\x10\x03", tail=bytes(8)) -> bytes:
    body = b"\x0a\x21" + kind + KEY + counter + b"\x18\x02" + b"\x22\x02\xaa\xbb"
    return bytes([version]) + body + tail


def prekey_whisper(message: bytes, *, prekey=b"\x08\x07", identity=KEY) -> bytes:
    fields = prekey + b"\x12\x21\x05" + KEY + b"\x1a\x21\x05" + identity
    return b"\x33" + fields + b"\x22" + bytes([len(message)]) + message + b"\x28\x01\x30\x09"


def test_a_whisper_message_is_read():
    key = SCHEME.parse_key(whisper(), kex=False)
    # 3 is one more than the previous counter says: see parse_key
    assert key.message.header == Header(KEY, 3, 3)
    assert key.message.ciphertext == whisper()
    assert key.exchange is None


def test_a_message_that_opens_a_session_is_read():
    identity = (9).to_bytes(32, "little")
    key = SCHEME.parse_key(prekey_whisper(whisper(), identity=identity), kex=True)
    assert (key.exchange.prekey_id, key.exchange.signed_prekey_id) == (7, 9)
    assert key.exchange.ephemeral_key == KEY
    assert key.message.ciphertext == whisper()
    again = SCHEME.build_kex(key.exchange, key.message.ciphertext, sender=1)
    assert SCHEME.parse_key(again, kex=True) == key


@pytest.mark.parametrize(
    ("data", "kex"),
    [
        (b"", False),
        (b"\x33", False),
        (whisper(version=0x23), False),
        (whisper(kind=b"\x06"), False),
        (whisper(counter=b""), False),
        (whisper(tail=b""), False),
        (whisper() + b"\x00" * 5000, False),
        (prekey_whisper(whisper(), prekey=b""), True),
        (prekey_whisper(b"\x33"), True),
        (whisper(), True),
        (prekey_whisper(whisper()), False),
    ],
)
def test_malformed_keys_of_the_legacy_namespace_are_refused(data, kex):
    with pytest.raises(ProtocolError):
        SCHEME.parse_key(data, kex=kex)


MESSAGE = {1: 0, 2: 0, 3: KEY, 4: bytes(16)}
AUTHENTICATED = {1: bytes(16), 2: build_protobuf(MESSAGE)}
EXCHANGE = {1: 1, 2: 1, 3: KEY, 4: KEY, 5: build_protobuf(AUTHENTICATED)}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {**AUTHENTICATED, 1: bytes(15)},
        {**AUTHENTICATED, 2: b""},
        {**AUTHENTICATED, 2: build_protobuf({**MESSAGE, 3: KEY[:31]})},
        {**AUTHENTICATED, 2: build_protobuf({1: 0, 2: 0, 3: KEY})},
    ],
)
def test_malformed_keys_of_omemo_two_are_refused(fields):
    scheme = OmemoTwo()
    assert scheme.parse_key(build_protobuf(AUTHENTICATED), kex=False)
    with pytest.raises(ProtocolError):
        scheme.parse_key(build_protobuf(fields), kex=False)
    with pytest.raises(ProtocolError):
        scheme.parse_key(build_protobuf({**EXCHANGE, 5: build_protobuf(fields)}), kex=True)


@pytest.mark.parametrize("key", [b"\x01" + bytes(31), b"\xff" * 32, bytes(32), KEY[:5]])
def test_identity_keys_that_are_none_are_refused(key):
    with pytest.raises(ProtocolError):
        OmemoTwo().parse_key(build_protobuf({**EXCHANGE, 3: key}), kex=True)


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",  # no value
        b"\x08\x80",  # a number without end
        b"\x08" + b"\xff" * 10 + b"\x01",  # a number too long
        b"\x08\xff\xff\xff\xff\x1f",  # no uint32
        b"\x08\x01\x08\x01",  # twice
        b"\x0a\x01x",  # of another type
        b"\x1a\x05x",  # cut off
        b"\x00\x01",  # field number 0
        b"\x0b\x0c",  # a group
        b"\x79\x01",  # fixed64, cut off
        b"\x78\x01" * 33,  # too many fields
    ],
)
def test_malformed_protobuf_is_refused(data):
    with pytest.raises(ProtocolError):
        parse_protobuf(data, {1: int, 3: bytes})


def test_unknown_fields_are_skipped():
    data = b"\x78\x01" + b"\x7a\x02xy" + b"\x79" + bytes(8) + b"\x7d" + bytes(4) + b"\x08\x05"
    assert parse_protobuf(data, {1: int}) == {1: 5}
