"""One end of a WebSocket for SIP, without I/O (RFC 6455, RFC 7118): the door of websockets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHeader, InvalidStatus, NegotiationError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol
from websockets.uri import WebSocketURI

from securecall.errors import ConnectFailed, ProtocolError, UsageError

MOST_MESSAGE_BYTES: Final = (16 + 64) * 1024  # header and body of a SIP message
MOST_HANDSHAKE_BYTES: Final = 16 * 1024  # of the HTTP request or response that begins it
# A frame costs the same work however short it is: so many in excess of one per 64 bytes, no more.
_SPARE_FRAMES: Final = 64  # pings may have piled up while this process was busy
_FRAME_BYTES: Final = 64
_PIECE_BYTES: Final = 4096  # taken at a time, so that a flood is noticed at its beginning
_SIP: Final = Subprotocol("sip")
_DATA: Final = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})

_Event = Request | Response | Frame


class WebSocketEnd:
    """Takes bytes and returns messages; `output` is what has to be written after each call.

    No extension is offered or taken, so nothing is ever compressed beside secrets.

    Attributes:
        failure: What the peer did that ended it, None if it did nothing wrong.
        unanswered: Pings sent since anything was heard.
    """

    def __init__(self, protocol: ClientProtocol | ServerProtocol, peer: str) -> None:
        """Made by `client` and `server`."""
        self.failure: ProtocolError | None = None
        self.unanswered = 0
        self._protocol = protocol
        self._peer = peer
        self._allowance = MOST_HANDSHAKE_BYTES
        self._message = bytearray()
        self._text = False
        # At level DEBUG the package would log what people say to each other.
        protocol.debug = False

    @classmethod
    def client(cls, name: str, port: int, path: str, *, origin: str = "") -> WebSocketEnd:
        """Begin as the client.

        Args:
            name: The server's, for the field Host; one beyond ASCII as "xn--...".
            port: The server's, likewise.
            path: With a query, if there is one.
            origin: For the field Origin, "" for none; browsers send one.

        Raises:
            UsageError: name, path or origin cannot stand in an HTTP request.
        """
        # neither is repeated: a path may carry a token
        for text in (name, path, origin):
            if not text.isascii() or not text.isprintable() or " " in text:
                raise UsageError("name, path or origin cannot stand in an HTTP request")
        if not path.startswith("/"):
            raise UsageError("the path of a WebSocket begins with /")
        protocol = ClientProtocol(
            WebSocketURI(secure=True, host=name, port=port, path=path, query=""),
            origin=Origin(origin) if origin else None,
            subprotocols=[_SIP],
            max_size=MOST_MESSAGE_BYTES,
        )
        protocol.send_request(protocol.connect())
        return cls(protocol, f"{name}:{port}")

    @classmethod
    def server(cls) -> WebSocketEnd:
        """Begin as the server; any path is taken."""
        protocol = ServerProtocol(subprotocols=[_SIP], max_size=MOST_MESSAGE_BYTES)
        return cls(protocol, "the client")

    @property
    def connecting(self) -> bool:
        """The handshake is not over."""
        return self._protocol.state is State.CONNECTING

    @property
    def open(self) -> bool:
        """Messages may be sent."""
        return self._protocol.state is State.OPEN and not self.over

    @property
    def over(self) -> bool:
        """Nothing more will be heard; what remains is to write `output` and hang up."""
        protocol = self._protocol
        ended = protocol.state is State.CLOSED or protocol.eof_sent
        return ended or protocol.close_rcvd is not None or self.failure is not None

    def receive(self, data: bytes) -> list[bytes]:
        """Take what arrived, b"" for its end; return the messages it completes, none empty.

        Raises:
            ConnectFailed: the peer refused the handshake, or left in it.
            ProtocolError: the peer broke a rule in the handshake; later, see `failure`.
        """
        if self.over:
            return []
        self.unanswered = 0
        if self.connecting:
            return self._shake_hands(data)
        if data:
            return self._hear(data)
        self._protocol.receive_eof()
        return self._read(self._protocol.events_received(), size=0)

    def output(self) -> bytes:
        """Take what has to be written now."""
        return b"".join(self._protocol.data_to_send())

    def send(self, message: bytes) -> None:
        """Send one message: as text where it is text, since not every peer reads binary ones."""
        if not self.open:
            return
        try:
            _ = message.decode()
        except UnicodeDecodeError:
            self._protocol.send_binary(message)
        else:
            self._protocol.send_text(message)

    def ping(self) -> None:
        """Ask for a sign of life (RFC 6455 5.5.2)."""
        if self.open:
            self.unanswered += 1
            self._protocol.send_ping(b"")

    def close(self) -> None:
        """Say goodbye; the peer answers with its own, and then it is `over`."""
        if self.open:
            self._protocol.send_close(CloseCode.NORMAL_CLOSURE)

    def _shake_hands(self, data: bytes) -> list[bytes]:
        protocol = self._protocol
        head, rest = data[: self._allowance], data[self._allowance :]
        self._allowance -= len(head)
        if head:
            protocol.receive_data(head)
        else:
            protocol.receive_eof()
        events = protocol.events_received()
        if isinstance(protocol, ServerProtocol):
            self._answer(protocol, events)
        if protocol.handshake_exc is not None:
            raise self._refusal(protocol.handshake_exc, left=not data)
        if self.connecting:
            if not self._allowance:
                raise ProtocolError(
                    f"{self._peer} says more than {MOST_HANDSHAKE_BYTES} bytes in the handshake",
                    rule="RFC 6455 4",
                )
            return []
        if protocol.subprotocol != _SIP:
            failure = ProtocolError(
                f"{self._peer} does not agree to speak SIP", rule="RFC 7118 4.1"
            )
            self._fail(failure, CloseCode.PROTOCOL_ERROR)
            raise failure
        messages = self._read(events, size=len(head))
        return messages + self._hear(rest)

    def _answer(self, protocol: ServerProtocol, events: Sequence[_Event]) -> None:
        for event in events:
            if isinstance(event, Request) and len(events) == 1 and protocol.parser_exc is None:
                protocol.send_response(protocol.accept(event))
            else:
                raise ProtocolError("the client did not wait for our answer", rule="RFC 6455 4.1")

    def _refusal(self, error: Exception, *, left: bool) -> ConnectFailed | ProtocolError:
        """In our words: what the peer said does not belong into an exception."""
        peer = self._peer
        if isinstance(error, InvalidStatus):
            status = error.response.status_code
            return ConnectFailed(f"{peer} offers no WebSocket here: HTTP status {status}")
        if left:
            return ConnectFailed(f"{peer} left in the middle of the WebSocket handshake")
        if isinstance(error, NegotiationError):
            what = "does not agree to plain SIP without extensions"
        elif isinstance(error, InvalidHeader):
            what = f"sent no {error.name} that is right"
        else:
            what = "does not begin a WebSocket over HTTP/1.1"
        return ProtocolError(f"{peer} {what}", rule="RFC 6455 4")

    def _hear(self, data: bytes) -> list[bytes]:
        messages: list[bytes] = []
        for at in range(0, len(data), _PIECE_BYTES):
            if self.over:
                break
            piece = data[at : at + _PIECE_BYTES]
            self._protocol.receive_data(piece)
            messages += self._read(self._protocol.events_received(), size=len(piece))
        return messages

    def _read(self, events: Sequence[_Event], *, size: int) -> list[bytes]:
        if len(events) > _SPARE_FRAMES + size // _FRAME_BYTES:
            self._fail(ProtocolError("a flood of tiny frames"), CloseCode.POLICY_VIOLATION)
        messages: list[bytes] = []
        for event in events:
            if isinstance(event, Frame) and event.opcode in _DATA and self.failure is None:
                message = self._assemble(event)
                if message:
                    messages.append(message)
        error = self._protocol.parser_exc
        # The end without a goodbye breaks no rule that we would name: networks do that.
        if error is not None and self.failure is None and not isinstance(error, EOFError):
            self.failure = ProtocolError(f"a frame is refused: {error}", rule="RFC 6455 5")
        return messages

    def _assemble(self, frame: Frame) -> bytes:
        """Add a frame to the message it belongs to; return it once it is whole."""
        if frame.opcode is not Opcode.CONT:
            self._text = frame.opcode is Opcode.TEXT
        self._message += frame.data
        if not frame.fin:
            return b""
        message = bytes(self._message)
        self._message.clear()
        if self._text and not _is_utf8(message):
            failure = ProtocolError("a text message is not UTF-8", rule="RFC 6455 8.1")
            self._fail(failure, CloseCode.INVALID_DATA)
            return b""
        return message

    def _fail(self, failure: ProtocolError, code: CloseCode) -> None:
        if self.failure is None:
            self.failure = failure
            self._protocol.fail(code)


def _is_utf8(data: bytes) -> bool:
    try:
        _ = data.decode()
    except UnicodeDecodeError:
        return False
    return True
