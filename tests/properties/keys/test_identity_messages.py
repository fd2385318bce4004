"""For all bytes: an IDENTITY parses or raises ProtocolError, and comes back the same."""

from hypothesis import given, settings
from hypothesis import strategies as st

from securecall.errors import ProtocolError
from securecall.keys.identity_messages import (
    CallRole,
    FrameReader,
    IdentityMessage,
    build_identity,
    parse_identity,
)

DIGESTS = st.binary(min_size=64, max_size=64)
MESSAGES = st.builds(
    IdentityMessage,
    statement=st.binary(min_size=1, max_size=200),
    device_id=st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    call_role=st.sampled_from(CallRole),
    own_address=st.text(st.characters(codec="utf-8"), min_size=1, max_size=60),
    expected_address=st.text(st.characters(codec="utf-8"), max_size=60),
    fp_sent=DIGESTS,
    fp_received=DIGESTS,
    bind=DIGESTS,
    countersignature=st.binary(max_size=40),
    ticket_proof=st.one_of(st.just(b""), DIGESTS),
)


@given(MESSAGES)
def test_what_is_built_parses_to_the_same(message):
    assert parse_identity(build_identity(message)) == message


@settings(max_examples=200)
@given(MESSAGES, st.data())
def test_mutated_bodies_parse_canonically_or_are_refused(message, data):
    body = bytearray(build_identity(message))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(body) - 1))
        body[position] = data.draw(st.integers(0, 255))
    body = bytes(body[: data.draw(st.integers(0, len(body)))])
    try:
        parsed = parse_identity(body)
    except ProtocolError:
        return
    assert build_identity(parsed) == body


@given(st.lists(st.binary(max_size=300), max_size=10))
def test_any_stream_gives_messages_or_is_refused(pieces):
    reader = FrameReader()
    try:
        for piece in pieces:
            reader.feed(piece)
            while reader.next():
                pass
    except ProtocolError:
        return
