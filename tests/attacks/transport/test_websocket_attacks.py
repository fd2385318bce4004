"""A server, or who plays one, attacks a client over WebSocket; beside the same without our care."""

from __future__ import annotations

import logging
import zlib

import pytest
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame
from websockets.uri import WebSocketURI

from securecall.errors import ProtocolError
from securecall.sip.frames import MessageFrames
from securecall.sip.message import parse_message
from securecall.transport.websocket_frames import WebSocketEnd
from tests.unit.sip.test_frames import HEAD
from tests.unit.transport.test_websocket_frames import PING, TEXT, answer, client, frame

DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"


def careless(*more: str, **options) -> ClientProtocol:
    """The package by itself, after a handshake."""
    uri = WebSocketURI(secure=True, host="a.example", port=443, path="/", query="")
    protocol = ClientProtocol(uri, subprotocols=["sip"], **options)
    protocol.send_request(protocol.connect())
    protocol.receive_data(answer(b"".join(protocol.data_to_send()), *more))
    assert protocol.handshake_exc is None
    protocol.events_received()
    return protocol


def test_a_few_bytes_do_not_become_a_megabyte():
    squeeze = zlib.compressobj(wbits=-15)
    bomb = squeeze.compress(bytes(1 << 20)) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    wire = frame(TEXT, bomb.removesuffix(b"\0\0\xff\xff"), rsv=4)
    assert len(wire) < 2000
    # whether the server insists on compression, or begins it unasked
    end = WebSocketEnd.client("a.example", 443, "/")
    with pytest.raises(ProtocolError):
        end.receive(answer(end.output(), DEFLATE))
    end = client()
    assert end.receive(wire) == []
    assert end.failure is not None
    # the control: a client that takes compression unpacks it
    protocol = careless(DEFLATE, extensions=[ClientPerMessageDeflateFactory()], max_size=None)
    protocol.receive_data(wire)
    (found,) = protocol.events_received()
    assert isinstance(found, Frame) and len(found.data) == 1 << 20


def test_no_second_message_hides_behind_the_first():
    hidden = HEAD.replace(b"MESSAGE", b"BYE") + b"Content-Length: 0\r\n\r\n"
    wire = HEAD + b"Content-Length: 0\r\n\r\n" + hidden
    frames = MessageFrames()
    assert frames.feed(wire) == []
    assert frames.failure is not None
    # the control: read as a datagram, the first is acted on and the second passed over
    assert parse_message(wire).body == b""


def test_a_flood_of_tiny_frames_is_cut_short():
    flood = frame(PING) * 30000
    end = client()
    assert end.receive(flood) == []
    assert end.failure is not None
    assert len(end.output()) < 20000
    # the control: the package by itself answers every one
    protocol = careless()
    protocol.receive_data(flood)
    assert len(protocol.data_to_send()) == 30000


def test_a_log_at_its_most_talkative_tells_nothing_of_what_was_said(caplog):
    caplog.set_level(logging.DEBUG)
    end = client()
    assert end.receive(frame(TEXT, b"my blood group")) == [b"my blood group"]
    assert "blood group" not in caplog.text
    # the control: the package by itself writes it down
    careless().receive_data(frame(TEXT, b"my blood group"))
    assert "blood group" in caplog.text
