"""One end of a WebSocket: what it says, what it takes, and what it refuses."""

from __future__ import annotations

import base64
import hashlib
import logging
import struct

import pytest

from securecall.errors import ConnectFailed, ProtocolError, UsageError
from securecall.transport.websocket_frames import (
    MOST_HANDSHAKE_BYTES,
    MOST_MESSAGE_BYTES,
    WebSocketEnd,
)

TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
MASK = b"\x01\x02\x03\x04"


def frame(opcode: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = False):
    """A frame, by RFC 6455 5.2 and not by the package that is tested."""
    head = bytes([fin << 7 | rsv << 4 | opcode])
    length = len(data)
    bit = masked << 7
    if length < 126:
        head += bytes([bit | length])
    elif length < 1 << 16:
        head += struct.pack("!BH", bit | 126, length)
    else:
        head += struct.pack("!BQ", bit | 127, length)
    if not masked:
        return head + data
    return head + MASK + bytes(byte ^ MASK[i % 4] for i, byte in enumerate(data))


def unmasked(wire: bytes) -> list[tuple[int, bytes]]:
    """(opcode, payload) of frames under 64 KiB, masked or not."""
    found = []
    while wire:
        opcode, second = wire[0] & 15, wire[1]
        length, at = second & 127, 2
        if length == 126:
            length, at = struct.unpack("!H", wire[2:4])[0], 4
        mask = bytes(4)
        if second & 128:
            mask, at = wire[at : at + 4], at + 4
        data = wire[at : at + length]
        found.append((opcode, bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))))
        wire = wire[at + length :]
    return found


def fields(request: bytes) -> dict[str, str]:
    lines = request.decode().split("\r\n")[1:]
    return dict(line.split(": ", 1) for line in lines if line)


def answer(request: bytes, *more: str, protocol: str | None = "sip", accept: str = "") -> bytes:
    """What a server says that takes the offer, with changes."""
    key = fields(request)["Sec-WebSocket-Key"]
    digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    lines.append(f"Sec-WebSocket-Accept: {accept or base64.b64encode(digest).decode()}")
    if protocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {protocol}")
    return "\r\n".join([*lines, *more, "", ""]).encode()


def client() -> WebSocketEnd:
    """A client after its handshake."""
    end = WebSocketEnd.client("sip.example.com", 443, "/")
    assert end.receive(answer(end.output())) == []
    assert end.open
    return end


def server() -> WebSocketEnd:
    """A server after its handshake."""
    end = WebSocketEnd.server()
    assert end.receive(WebSocketEnd.client("sip.example.com", 443, "/").output()) == []
    assert end.output().startswith(b"HTTP/1.1 101 ")
    assert end.open
    return end


def test_the_client_asks_for_sip_and_for_no_extension():
    request = WebSocketEnd.client("sip.example.com", 8443, "/ws?x=1", origin="https://a.b").output()
    assert request.startswith(b"GET /ws?x=1 HTTP/1.1\r\n")
    said = fields(request)
    assert said["Host"] == "sip.example.com:8443"
    assert said["Sec-WebSocket-Protocol"] == "sip"
    assert said["Origin"] == "https://a.b"
    assert "Sec-WebSocket-Extensions" not in said


@pytest.mark.parametrize("where", ["ws", "", "/a b", "/a\r\nX: y", "/\u00e9"])
def test_a_path_that_would_break_the_request_is_refused(where):
    with pytest.raises(UsageError):
        WebSocketEnd.client("a.example", 443, where)
    with pytest.raises(UsageError):
        WebSocketEnd.client("a.example", 443, "/", origin="https://a\r\nX: y")
    with pytest.raises(UsageError):
        WebSocketEnd.client("b\u00fccher.example", 443, "/")


def test_the_server_takes_no_extension_that_is_offered():
    end = WebSocketEnd.server()
    request = WebSocketEnd.client("a.example", 443, "/").output()
    offer = b"\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    end.receive(request.removesuffix(b"\r\n\r\n") + offer)
    said = fields(end.output())
    assert said["Sec-WebSocket-Protocol"] == "sip"
    assert "Sec-WebSocket-Extensions" not in said


def refusals(text: str) -> bytes:
    return f"HTTP/1.1 {text}\r\nContent-Length: 0\r\n\r\n".encode()


# What a server answers to a request -> the error, and a word of it
SERVERS = {
    "wrong accept key": (
        lambda r: answer(r, accept="AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ProtocolError,
        "Sec-WebSocket-Accept",
    ),
    "no subprotocol": (lambda r: answer(r, protocol=None), ProtocolError, "SIP"),
    "another subprotocol": (lambda r: answer(r, protocol="xmpp"), ProtocolError, "SIP"),
    "two subprotocols": (lambda r: answer(r, protocol="sip, xmpp"), ProtocolError, "Protocol"),
    "compression insisted on": (
        lambda r: answer(r, "Sec-WebSocket-Extensions: permessage-deflate"),
        ProtocolError,
        "extensions",
    ),
    "no upgrade": (
        lambda r: answer(r).replace(b"Upgrade: websocket\r\n", b""),
        ProtocolError,
        "Upgrade",
    ),
    "301": (
        lambda r: b"HTTP/1.1 301 Moved\r\nLocation: wss://b.example/\r\nContent-Length: 0\r\n\r\n",
        ConnectFailed,
        "301",
    ),
    "401": (lambda r: refusals("401 Unauthorized"), ConnectFailed, "401"),
    "200": (lambda r: refusals("200 OK"), ConnectFailed, "200"),
    "426": (lambda r: refusals("426 Upgrade Required"), ConnectFailed, "426"),
    "one giant header": (
        lambda r: answer(r, "X: " + "a" * MOST_HANDSHAKE_BYTES),
        ProtocolError,
        "",
    ),
    "many headers": (
        lambda r: answer(r, *("X: " + "a" * 200 for _ in range(100))),
        ProtocolError,
        f"{MOST_HANDSHAKE_BYTES} bytes",
    ),
    "a body without end": (
        lambda r: b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * MOST_HANDSHAKE_BYTES,
        ProtocolError,
        f"{MOST_HANDSHAKE_BYTES} bytes",
    ),
    "sip": (lambda r: b"SIP/2.0 400 Bad Request\r\n\r\n", ProtocolError, "HTTP/1.1"),
    "old http": (lambda r: answer(r).replace(b"/1.1", b"/1.0", 1), ProtocolError, "HTTP/1.1"),
    "noise": (lambda r: b"\0" * 100 + b"\n", ProtocolError, "HTTP/1.1"),
}


@pytest.mark.parametrize("case", SERVERS)
def test_a_server_that_does_not_shake_hands_properly_is_refused(case):
    say, error, word = SERVERS[case]
    end = WebSocketEnd.client("sip.example.com", 443, "/")
    with pytest.raises(error, match=word or None) as caught:
        end.receive(say(end.output()))
    assert not end.open
    # whatever it says stays out of our own words
    assert "a" * 20 not in str(caught.value) and "b.example" not in str(caught.value)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 101 Sw"])
def test_a_server_that_leaves_in_the_handshake_is_a_failed_connection(said):
    end = WebSocketEnd.client("sip.example.com", 443, "/")
    if said:
        assert end.receive(said) == []
    with pytest.raises(ConnectFailed, match="left"):
        end.receive(b"")


def test_an_answer_that_comes_byte_by_byte_is_read_with_what_follows_it():
    end = WebSocketEnd.client("sip.example.com", 443, "/")
    wire = answer(end.output()) + frame(TEXT, b"hello")
    assert [m for i in range(len(wire)) for m in end.receive(wire[i : i + 1])] == [b"hello"]


def test_the_handshake_may_be_as_long_as_the_limit_and_no_longer():
    for excess, error in ((0, None), (1, ProtocolError)):
        end = WebSocketEnd.client("sip.example.com", 443, "/")
        request = end.output()
        missing = MOST_HANDSHAKE_BYTES + excess - len(answer(request))
        lines = ["X: " + "a" * (missing // 4 - 5)] * 4
        lines[0] += "a" * (missing % 4)
        wire = answer(request, *lines)
        assert len(wire) == MOST_HANDSHAKE_BYTES + excess
        if error:
            with pytest.raises(error):
                end.receive(wire)
        else:
            assert end.receive(wire + frame(TEXT, b"x")) == [b"x"]


def request(**changes: str | None) -> bytes:
    """A client's request, its fields changed or left out."""
    said = fields(WebSocketEnd.client("a.example", 443, "/").output())
    for name, value in changes.items():
        said.pop(name := name.replace("_", "-"), None)
        if value is not None:
            said[name] = value
    lines = [f"{name}: {value}" for name, value in said.items()]
    return "\r\n".join(["GET / HTTP/1.1", *lines, "", ""]).encode()


# What a client asks -> the status it is answered with, if any
CLIENTS = {
    "no subprotocol": (request(Sec_WebSocket_Protocol=None), b"400"),
    "another subprotocol": (request(Sec_WebSocket_Protocol="xmpp"), b"400"),
    "no key": (request(Sec_WebSocket_Key=None), b"400"),
    "a short key": (request(Sec_WebSocket_Key="AAAA"), b"400"),
    "an old version": (request(Sec_WebSocket_Version="8"), b"400"),
    "no upgrade": (request(Upgrade=None), b"426"),
    "post": (request().replace(b"GET", b"POST"), b"405"),
    "sip": (b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TLS a\r\n\r\n", b""),
    "one giant header": (request(X="a" * MOST_HANDSHAKE_BYTES), b"431"),
    "many headers": (
        request(**{f"X{i}": "a" * 200 for i in range(100)}),
        b"",
    ),
    "frames before our answer": (request() + frame(PING, b"x", masked=True), b""),
}


@pytest.mark.parametrize("case", CLIENTS)
def test_a_client_that_does_not_shake_hands_properly_is_refused(case):
    wire, status = CLIENTS[case]
    end = WebSocketEnd.server()
    with pytest.raises(ProtocolError):
        end.receive(wire)
    assert end.output()[9:12] == status if status else not end.open
    assert not end.open


def test_text_and_binary_messages_are_taken_whole_or_in_fragments():
    for end, masked in ((client(), False), (server(), True)):
        wire = frame(TEXT, b"one", masked=masked) + frame(BINARY, b"\xfftwo", masked=masked)
        wire += frame(TEXT, "caf\u00e9".encode()[:4], fin=False, masked=masked)
        wire += frame(PING, b"between", masked=masked)
        wire += frame(CONT, "caf\u00e9".encode()[4:], masked=masked)
        assert end.receive(wire) == [b"one", b"\xfftwo", "caf\u00e9".encode()]
        assert unmasked(end.output()) == [(PONG, b"between")]


def test_an_empty_message_is_no_end():
    end = client()
    assert end.receive(frame(TEXT) + frame(BINARY) + frame(TEXT, b"x")) == [b"x"]


def test_a_message_is_sent_as_text_if_it_is_text_and_masked_by_the_client_only():
    for end, masked in ((client(), True), (server(), False)):
        for message, opcode in ((b"text", TEXT), (b"\xff", BINARY)):
            end.send(message)
            wire = end.output()
            assert bool(wire[1] & 128) is masked
            assert unmasked(wire) == [(opcode, message)]


# Frames to a client -> a word of the failure and the code of the Close we answer with
BAD = {
    "compressed": (frame(TEXT, b"x", rsv=4), "reserved bits", 1002),
    "another reserved bit": (frame(TEXT, b"x", rsv=1), "reserved bits", 1002),
    "masked by the server": (frame(TEXT, b"x", masked=True), "masking", 1002),
    "unknown opcode": (frame(3, b"x"), "opcode", 1002),
    "a long ping": (frame(PING, bytes(126)), "control frame too long", 1002),
    "a fragmented ping": (frame(PING, fin=False), "fragmented control", 1002),
    "a continuation of nothing": (frame(CONT, b"x"), "unexpected continuation", 1002),
    "a message within another": (
        frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"),
        "expected a continuation",
        1002,
    ),
    "not UTF-8": (frame(TEXT, b"\xff"), "UTF-8", 1007),
    "not UTF-8 when whole": (frame(TEXT, b"\xc3", fin=False) + frame(CONT, b"x"), "UTF-8", 1007),
    "too long": (frame(BINARY, bytes(MOST_MESSAGE_BYTES + 1)), "81921", 1009),
    "too long in sum": (
        frame(BINARY, bytes(MOST_MESSAGE_BYTES), fin=False) + frame(CONT, b"x"),
        "after reading",
        1009,
    ),
    "a length of 2^63": (b"\x82\x7f\x80" + bytes(7), "exceeds", 1009),
    "a close without reason to": (frame(CLOSE, b"\x03"), "close", 1002),
    "a flood of pings": (frame(PING) * 2000, "flood", 1008),
    "a flood of nothing": (frame(TEXT) * 2000, "flood", 1008),
    "a flood of crumbs": (
        frame(TEXT, b"x", fin=False) + frame(CONT, b"x", fin=False) * 2000,
        "flood",
        1008,
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_frame_that_breaks_a_rule_ends_the_connection(case):
    wire, word, code = BAD[case]
    end = client()
    assert end.receive(frame(TEXT, b"before")) == [b"before"]
    assert end.receive(wire + frame(TEXT, b"after")) == []
    assert word in str(end.failure)
    assert end.over
    assert unmasked(end.output())[-1][1][:2] == struct.pack("!H", code)
    end.send(b"late")
    end.ping()
    end.close()
    assert end.receive(frame(TEXT, b"late")) == []
    assert end.output() == b""


def test_an_unmasked_frame_of_a_client_ends_the_connection():
    end = server()
    assert end.receive(frame(TEXT, b"x")) == []
    assert "masking" in str(end.failure)
    assert unmasked(end.output())[0][1][:2] == struct.pack("!H", 1002)


def test_the_longest_message_is_taken_and_usual_traffic_is_no_flood():
    end = client()
    assert end.receive(frame(BINARY, bytes(MOST_MESSAGE_BYTES))) == [bytes(MOST_MESSAGE_BYTES)]
    message = b"x" * 200
    assert end.receive(frame(TEXT, message) * 300) == [message] * 300
    assert end.receive(frame(PING) * 60) == []
    assert end.receive(frame(TEXT, b"k" * 1024, fin=False) + frame(CONT, b"", fin=True))
    assert end.open


def test_pings_are_counted_until_anything_is_heard():
    end = client()
    end.ping()
    end.ping()
    assert end.unanswered == 2
    assert [opcode for opcode, _ in unmasked(end.output())] == [PING, PING]
    end.receive(frame(PONG))
    assert end.unanswered == 0


def test_goodbyes_are_exchanged_whoever_begins():
    for begins, answers in ((client(), server()), (server(), client())):
        begins.close()
        assert not begins.open and not begins.over
        assert answers.receive(begins.output()) == []
        assert answers.over
        assert begins.receive(answers.output()) == []
        assert begins.over
        assert begins.failure is None and answers.failure is None


def test_an_end_without_goodbye_is_no_failure_of_the_peer():
    end = client()
    assert end.receive(frame(TEXT, b"half", fin=False)) == []
    assert end.receive(b"") == []
    assert end.over
    assert end.failure is None


def test_the_package_logs_nothing_of_what_is_said(caplog):
    caplog.set_level(logging.DEBUG)
    ends = client(), server()
    for a, b in (ends, ends[::-1]):
        a.send(b"secret words")
        assert b.receive(a.output()) == [b"secret words"]
    assert "secret words" not in caplog.text
