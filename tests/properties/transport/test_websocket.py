"""For all bytes: a WebSocket's end reads messages or fails in a typed way, however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import NetworkError, ProtocolError
from securecall.sip.frames import MessageFrames
from securecall.sip.message import build_message
from securecall.sip.stream import MessageStream
from securecall.transport.websocket_frames import WebSocketEnd
from tests.properties.sip.test_parsers import INVITE
from tests.unit.transport.test_websocket_frames import (
    CONT,
    PING,
    TEXT,
    answer,
    client,
    frame,
    request,
    server,
)

HEADS = st.sampled_from([b"", b"HTTP/1.1 101 x\r\n", b"GET / HTTP/1.1\r\n", request()])


@given(HEADS, st.lists(st.binary(max_size=200), max_size=5))
def test_any_bytes_in_the_handshake_are_refused_in_a_typed_way(head, pieces):
    for end in (WebSocketEnd.client("a.example", 443, "/"), WebSocketEnd.server()):
        try:
            for piece in [head, *pieces, b""]:
                assert all(end.receive(piece)) or not end.connecting
        except (NetworkError, ProtocolError):
            assert not end.open
        _ = end.output()


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_any_bytes_afterwards_are_messages_or_a_failure(pieces):
    for end in (client(), server()):
        for piece in [*pieces, b""]:
            assert all(end.receive(piece))
        assert end.over
        assert not end.open


@given(
    st.lists(st.tuples(st.text(min_size=1, max_size=300), st.integers(1, 5)), max_size=8),
    st.lists(st.integers(1, 60), max_size=60),
)
def test_messages_arrive_the_same_however_they_are_split_and_cut(messages, cuts):
    end = WebSocketEnd.client("a.example", 443, "/")
    wire, sent = answer(end.output()), [text.encode() for text, _ in messages]
    for data, (_, parts) in zip(sent, messages, strict=True):
        step = len(data) // parts + 1
        pieces = [data[at : at + step] for at in range(0, len(data), step)]
        for i, piece in enumerate(pieces):
            wire += frame(CONT if i else TEXT, piece, fin=i == len(pieces) - 1)
        wire += frame(PING, data[:9])
    out, at = [], 0
    for cut in [*cuts, len(wire)]:
        if wire[at : at + cut]:
            out += end.receive(wire[at : at + cut])
        at += cut
    assert out == sent
    assert end.open


@given(st.binary(max_size=300))
def test_any_frame_is_a_message_or_a_failure(data):
    for wire in (data, INVITE + data, INVITE[: len(data)] + data):
        frames = MessageFrames()
        found = frames.feed(wire)
        assert len(found) <= 1
        if frames.failure is not None:
            assert found == []
            with pytest.raises(ProtocolError):
                frames.feed(INVITE)


@given(st.binary(max_size=300))
def test_a_frame_and_a_stream_read_the_same_message(body):
    wire = INVITE.replace(b"Length: 4\r\n\r\nabcd", b"Length: %d\r\n\r\n" % len(body)) + body
    (one,), (other,) = MessageFrames().feed(wire), MessageStream().feed(wire)
    assert build_message(one) == build_message(other) == wire
