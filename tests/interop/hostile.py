"""A provider whose certificate is good and whose words are not: SIP over TLS, written by hand.

Registers whoever asks, and leaves every call to the test; a thread of its own reads.
"""

from __future__ import annotations

import base64
import itertools
import queue
import select
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Self

from securecall.sip.message import Request, Response, parse_message
from tests.interop.authority import DOMAIN, Certificates

SUITE = "AES_CM_128_HMAC_SHA1_80"
KEY = base64.b64encode(bytes(range(30))).decode()
_NAMES = itertools.count(1)

Message = Request | Response


def sdp(
    profile: str = "RTP/SAVP",
    crypto: str = f"1 {SUITE} inline:{KEY}",
    *,
    port: int = 4000,
    more: str = "",
) -> str:
    """Describe sound in PCMU at 127.0.0.1; "" for no crypto line."""
    keys = f"a=crypto:{crypto}\r\n" if crypto else ""
    return (
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        f"m=audio {port} {profile} 0 101\r\na=rtpmap:101 telephone-event/8000\r\n{keys}{more}"
    )


class Provider:
    """The server of one account."""

    def __init__(
        self, certificates: Certificates, user: str = "alice", *, ciphers: str = ""
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.chain, certificates.key)
        if ciphers:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(ciphers)
        self.certificates, self.user = certificates, user
        self._listener = context.wrap_socket(
            socket.create_server(("127.0.0.1", 0)), server_side=True
        )
        self.tls = self._listener.getsockname()[1]
        self.domain = DOMAIN
        self.registered = threading.Event()
        self.contact = ""  # where the account is, once it has registered
        self.seen: list[Message] = []
        self._inbox: queue.Queue[Message] = queue.Queue()
        self.connections: list[ssl.SSLSocket] = []
        self._ended = False
        self._using = threading.RLock()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._serve)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        # Readers first: one that still waits would read from whoever gets its number next.
        for each in (self._listener, *self.connections):
            with suppress(OSError):  # the other end was quicker
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for each in (self._listener, *self.connections):
            each.close()

    def _start(self, work: Callable[[], None]) -> None:
        self._threads.append(threading.Thread(target=work, daemon=True))
        self._threads[-1].start()

    def _serve(self) -> None:
        while not self._ended:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed, or a client that wants nothing of our certificate
                continue
            self.connections.append(connection)
            self._start(partial(self._read, connection))

    def _read(self, connection: ssl.SSLSocket) -> None:
        held = b""
        while True:
            try:
                if not connection.pending() and not select.select([connection], [], [], 0.1)[0]:
                    continue
                with self._using:
                    read = connection.recv(65536)
            except (OSError, ValueError):
                return
            if not read:
                return
            held = (held + read).lstrip(b"\r\n")
            while b"\r\n\r\n" in held:
                head, _, rest = held.partition(b"\r\n\r\n")
                size = int(head.lower().rpartition(b"content-length:")[2].split(b"\r\n")[0])
                if len(rest) < size:
                    break
                held = rest[size:].lstrip(b"\r\n")
                self._take(parse_message(head + b"\r\n\r\n" + rest[:size]))

    def _take(self, message: Message) -> None:
        if isinstance(message, Request) and message.method == "REGISTER":
            (contact,) = message.contacts
            self.contact = contact.uri.text
            self.reply(message, 200, more=f"Contact: <{self.contact}>;expires=300\r\n")
            self.registered.set()
            return
        if isinstance(message, Request) and message.method == "BYE":
            self.reply(message, 200)
        self.seen.append(message)
        self._inbox.put(message)

    # -- the test's ---------------------------------------------------------------------------

    def send(self, text: str | bytes) -> None:
        with self._using:  # OpenSSL lets one thread at a time
            self.connections[-1].sendall(text if isinstance(text, bytes) else text.encode())

    def take(self, wanted: str | int, seconds: float = 40.0) -> Message:
        """The next request of a method, or response of a status; others are left out."""
        while True:
            try:
                message = self._inbox.get(timeout=seconds)
            except queue.Empty:
                raise AssertionError(f"no {wanted}; there were {self.seen}") from None
            found = message.method if isinstance(message, Request) else message.status
            if found == wanted:
                return message

    def final(self, number: int, seconds: float = 40.0) -> int:
        """The final status that a request of ours with that CSeq was answered with."""
        while True:
            message = self._inbox.get(timeout=seconds)
            ours = isinstance(message, Response) and message.cseq.number == number
            if ours and message.status >= 200:
                return message.status

    def reply(self, request: Message, status: int, body: str = "", more: str = "") -> None:
        """Answer a request."""
        assert isinstance(request, Request)
        fields = "".join(
            f"{name}: {value}\r\n"
            for name, value in request.headers.items()
            if name.lower() in ("via", "from", "call-id", "cseq", "record-route")
        )
        to = request.headers.first("to") or ""
        to += "" if ";tag=" in to or status == 100 else ";tag=theirs"
        self.send(f"SIP/2.0 {status} So\r\n{fields}To: {to}\r\n{more}" + _body(body))

    def answer(self, invite: Message, body: str, contact: str = "") -> None:
        """Take a call of the account's, with that description."""
        self.reply(invite, 200, body, f"Contact: <{contact or self.place}>\r\n")

    @property
    def place(self) -> str:
        """Where later requests of a call go."""
        return f"sip:bob@127.0.0.1:{self.tls};transport=tls"

    def call(self, body: str = "", *, more: str = "", from_: str = "") -> Incoming:
        """Call the account."""
        return Incoming(self, body, more, from_)

    def within(self, invite: Message, method: str, number: int, body: str = "", more: str = ""):
        """Say something in a call of the account's that was answered."""
        fields = (
            f"From: {invite.headers.first('to')};tag=theirs\r\n"
            f"To: {invite.headers.first('from')}\r\nCall-ID: {invite.call_id}\r\n"
        )
        self.request(method, number, fields, body, more)

    def request(
        self, method: str, number: int, fields: str, body: str = "", more: str = ""
    ) -> None:
        self.send(self.written(method, fields, body, number, more))

    def written(
        self, method: str, fields: str, body: str = "", number: int = 1, more: str = ""
    ) -> str:
        """What `request` sends."""
        return (
            f"{method} {self.contact} SIP/2.0\r\n"
            f"Via: SIP/2.0/TLS 127.0.0.1:{self.tls};branch=z9hG4bK{next(_NAMES):06}\r\n"
            f"Max-Forwards: 70\r\n{fields}CSeq: {number} {method}\r\n"
            f"Contact: <{self.place}>\r\n{more}" + _body(body)
        )


class Incoming:
    """A call to the account."""

    def __init__(self, provider: Provider, body: str, more: str, from_: str) -> None:
        self._provider = provider
        self.name = f"call-{next(_NAMES)}"
        self._from = f"{from_ or f'<sip:bob@{DOMAIN}>'};tag=theirs"
        self._to = f"<sip:{provider.user}@{DOMAIN}>"
        self.send("INVITE", 1, body, more)

    def send(self, method: str, number: int, body: str = "", more: str = "") -> None:
        fields = f"From: {self._from}\r\nTo: {self._to}\r\nCall-ID: {self.name}\r\n"
        self._provider.request(method, number, fields, body, more)

    def taken(self) -> Message:
        """It was answered."""
        answer = self._provider.take(200)
        self._to = answer.headers.first("to") or ""
        self.send("ACK", 1)
        return answer


def _body(body: str) -> str:
    kind = "Content-Type: application/sdp\r\n" if body else ""
    return f"{kind}Content-Length: {len(body.encode())}\r\n\r\n{body}"
