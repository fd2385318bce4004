"""The handshake's messages: round trip, and one row per rule they can break."""

from dataclasses import fields

import pytest

from securecall.errors import ProtocolError
from securecall.keys.identity_messages import (
    CallRole,
    FrameReader,
    IdentityMessage,
    MessageType,
    build_frame,
    build_identity,
    parse_identity,
)

WHOLE = IdentityMessage(
    statement=b"statement",
    device_id="phone",
    call_role=CallRole.CALLER,
    own_address="sip:alice@clinic.example",
    expected_address="sip:bob@clinic.example",
    fp_sent=b"s" * 64,
    fp_received=b"r" * 64,
    bind=b"b" * 64,
    countersignature=b"org",
    ticket_proof=b"p" * 64,
)


def changed(**others):
    return build_identity(
        IdentityMessage(**{name: others.get(name, getattr(WHOLE, name)) for name in FIELDS})
    )


FIELDS = [field.name for field in fields(IdentityMessage)]


def test_identity_is_written_field_by_field_as_the_specification_says():
    def lp(x):
        return len(x).to_bytes(4, "big") + x

    assert build_identity(WHOLE) == b"".join([
        lp(b"statement"), lp(b"phone"), b"\x01",
        lp(b"sip:alice@clinic.example"), lp(b"sip:bob@clinic.example"),
        b"s" * 64, b"r" * 64, b"b" * 64, lp(b"org"), lp(b"p" * 64),
    ])  # fmt: skip
    assert parse_identity(build_identity(WHOLE)) == WHOLE


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "middle of a field"),
        (build_identity(WHOLE) + b"\0", "after the end"),
        (build_identity(WHOLE)[:-1], "middle of a field"),
        (b"\xff\xff\xff\xff" + build_identity(WHOLE)[4:], "a field of 4294967295 bytes"),
        (changed(statement=b""), "without a statement"),
        (changed(own_address=""), "own address"),
        (changed(device_id=""), "device id"),
        (changed(device_id="a b"), "device id"),
        (changed(device_id="a" * 65), "a field of 65 bytes"),
        (changed(call_role=0), "call role 0"),
        (changed(call_role=3), "call role 3"),
        (changed(own_address="x" * 2049), "a field of 2049 bytes"),
        (changed(ticket_proof=b"p"), "64 bytes"),
        (changed(ticket_proof=b"p" * 65), "a field of 65 bytes"),
        (build_identity(WHOLE).replace(b"sip:bob", b"sip:\xff\xffb"), "not UTF-8"),
    ],
)
def test_an_identity_that_breaks_a_rule_is_refused(body, why):
    with pytest.raises(ProtocolError, match=why):
        parse_identity(body)


def test_frames_are_cut_from_a_stream_that_arrives_byte_by_byte():
    stream = build_frame(MessageType.NONCE, b"n" * 32) + build_frame(MessageType.DONE, b"")
    reader, got = FrameReader(), []
    for number in range(len(stream)):
        reader.feed(stream[number : number + 1])
        while message := reader.next():
            got.append(message)
    assert got == [(MessageType.NONCE, b"n" * 32), (MessageType.DONE, b"")]
    assert reader.empty


@pytest.mark.parametrize(
    "header",
    [
        b"\x00\0\0\0",
        b"\x06\0\0\0",
        b"\xff\0\0\0",
        b"\x01\0\0\x3f",
        b"\x01\0\0\x41",
        b"\x02\0\x80\x01",
        b"\x02\xff\xff\xff",
        b"\x03\0\0\x1f",
        b"\x04\0\0\x21",
        b"\x05\0\0\x01",
    ],
)
def test_an_impossible_frame_is_refused_by_its_header_alone(header):
    reader = FrameReader()
    reader.feed(header)
    with pytest.raises(ProtocolError):
        reader.next()


def test_a_body_over_32_kib_is_never_written():
    with pytest.raises(ProtocolError, match="32 KiB"):
        build_frame(MessageType.IDENTITY, b"x" * 32769)


def test_a_body_has_up_to_32_kibibytes():
    reader, longest = FrameReader(), bytes(32 * 1024)
    reader.feed(build_frame(MessageType.IDENTITY, longest))
    assert reader.next() == (MessageType.IDENTITY, longest)
    assert reader.empty
    with pytest.raises(ProtocolError, match="32 KiB"):
        build_frame(MessageType.IDENTITY, longest + b"!")
    reader.feed(b"\x02" + (32 * 1024 + 1).to_bytes(3, "big"))
    with pytest.raises(ProtocolError):
        reader.next()
