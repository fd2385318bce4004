"""The signalling half of the attacker: a TLS proxy that two people's clients trust by name.

It forwards like an honest stateful proxy (RFC 3261 16), one Via of its own on every request; what
it does besides is for its user to say, message by message.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from securecall.errors import NetworkError, ProtocolError, SecurecallError
from securecall.sip.headers import Headers
from securecall.sip.message import Message, Request, Response, build_message
from securecall.sip.stream import MessageStream
from securecall.transport.tls import (
    Listener,
    PemPair,
    TlsConnection,
    client_context,
    connect,
    connect_direct,
    listen,
    listen_direct,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Where calls to an address are sent.

    Attributes:
        host, port: The callee's own listener.
        name: The name its certificate proves; "" for a direct listener.
        target: Put this Request-URI in place of the caller's.
    """

    host: str
    port: int
    name: str = ""
    target: str = ""


@dataclass(slots=True)
class Dialogue:
    """One call that passes through.

    Attributes:
        call_id: Of both legs.
        caller_tag, callee_tag: Tags of From and To of the INVITE.
        invite: As the caller sent it.
        ended: A BYE, CANCEL or refusal passed.
        refusals: Final statuses of 300 and more that passed, by (method, status).
    """

    call_id: str
    caller_tag: str
    invite: Request
    caller: TlsConnection
    callee: TlsConnection
    callee_tag: str = ""
    callee_contact: str = ""
    last_cseq: dict[bool, int] = field(default_factory=dict)
    shift: dict[bool, tuple[int, int]] = field(default_factory=dict)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    refusals: list[tuple[str, int]] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<Dialogue {self.call_id}>"


@dataclass(frozen=True, slots=True)
class _Pending:
    """Where the response to a request with our Via goes."""

    origin: TlsConnection | None
    answer: asyncio.Future[Response] | None
    cseq: str
    dialogue: Dialogue


Handle = Callable[[Message, Dialogue, bool], Awaitable[Message | None]]


class Proxy:
    """Takes connections, finds the way, forwards.

    Attributes:
        ways: Canonical "user@host" to where calls for it go; "*" for all others.
        dialogues: Calls seen, by Call-ID.
        transcript: (towards the callee, bytes as sent on) of every message.
    """

    def __init__(self, handle: Handle, *, authorities: Path | None) -> None:
        """Use `open`.

        Args:
            handle: Judges and alters each message before it goes on; None swallows it.
            authorities: To verify callees' listeners by.
        """
        self.ways: dict[str, Way] = {}
        self.dialogues: dict[str, Dialogue] = {}
        self.transcript: list[tuple[bool, bytes]] = []
        self._handle = handle
        self._authorities = authorities
        self._listener: Listener | None = None
        self._pending: dict[str, _Pending] = {}
        self._connections: set[TlsConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, host: str, port: int, certificate: PemPair | None) -> tuple[str, int]:
        """Listen, with a certificate that proves a name, or as a direct peer would."""
        if certificate is None:
            self._listener = await listen_direct(host, port, self._serve)
        else:
            self._listener = await listen(host, port, self._serve, certificate=certificate)
        return self._listener.address

    async def close(self) -> None:
        """Cut everything."""
        for task in self._tasks:
            task.cancel()
        _ = await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._connections:
            connection.abort()
        if self._listener is not None:
            await self._listener.close()

    async def inject(
        self,
        dialogue: Dialogue,
        method: str,
        *,
        to_callee: bool,
        body: bytes = b"",
        headers: tuple[tuple[str, str], ...] = (),
        answer_in_ack: bytes = b"",
    ) -> Response:
        """Send a request of her own inside a call, as if the other person had.

        Args:
            dialogue: The call.
            method: Of the request.
            to_callee: Which of the two gets it.
            body: A description to offer, or what the fields say.
            headers: Further fields.
            answer_in_ack: A description to answer with, where the INVITE offers none.

        Returns:
            The final answer.
        """
        base = dialogue.last_cseq.get(to_callee, 0)
        number = base + 1
        _, shift = dialogue.shift.get(to_callee, (base, 0))
        dialogue.last_cseq[to_callee] = number
        dialogue.shift[to_callee] = (base, shift + 1)
        caller, callee = dialogue.invite.need("from"), dialogue.invite.need("to")
        if dialogue.callee_tag:
            callee = f"{callee};tag={dialogue.callee_tag}"
        contact = dialogue.callee_contact if to_callee else dialogue.invite.need("contact")
        target = contact.partition("<")[2].partition(">")[0] or dialogue.invite.target
        fields = Headers(
            (
                ("From", caller if to_callee else callee),
                ("To", callee if to_callee else caller),
                ("Call-ID", dialogue.call_id),
                ("CSeq", f"{number} {method}"),
                ("Max-Forwards", "70"),
                ("Contact", contact if not to_callee else dialogue.invite.need("contact")),
                *headers,
            )
        )
        if body and "content-type" not in fields:
            fields.add("Content-Type", "application/sdp")
        request = Request(method, target, fields, body)
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        branch = "z9hG4bK-i" + secrets.token_hex(8)
        self._pending[branch] = _Pending(None, answer, fields.first("cseq") or "", dialogue)
        self._add_via(request, branch)
        self._send(dialogue, request, to_callee=to_callee)
        response = await answer
        if method == "INVITE":
            fields = request.headers.copy()
            fields.replace("CSeq", f"{number} ACK")
            if answer_in_ack:
                fields.replace("Content-Type", "application/sdp")
            ack = Request("ACK", target, fields, answer_in_ack)
            self._send(dialogue, ack, to_callee=to_callee)
        return response

    # -- the inside -------------------------------------------------------------------------------

    async def _serve(self, connection: TlsConnection) -> None:
        stream = MessageStream()
        self._connections.add(connection)
        try:
            while data := await connection.receive():
                for message in stream.feed(data):
                    await self._take(message, connection)
        except ProtocolError as e:
            log.info("unreadable: %s", e)
        finally:
            self._connections.discard(connection)

    async def _take(self, message: Request | Response, connection: TlsConnection) -> None:
        if isinstance(message, Response):
            await self._respond(message)
        else:
            await self._request(message, connection)

    async def _request(self, request: Request, origin: TlsConnection) -> None:
        dialogue = self.dialogues.get(request.call_id)
        if dialogue is None:
            begun = await self._first(request, origin)
            if isinstance(begun, int):
                self._answer(request, origin, begun)
                return
            dialogue = begun
        to_callee = request.from_.tag == dialogue.caller_tag
        branch = request.via.branch
        ours = "z9hG4bK-m" + hashlib.sha256(branch.encode()).hexdigest()[:24]
        original = request.need("cseq")
        self._shift(request, dialogue, to_callee=to_callee)
        if request.method in ("BYE", "CANCEL"):
            dialogue.ended.set()
        if request.method not in ("ACK", "CANCEL"):
            self._pending[ours] = _Pending(origin, None, original, dialogue)
        elif request.method == "CANCEL":
            self._pending[ours + "c"] = _Pending(origin, None, original, dialogue)
        self._add_via(request, ours)
        altered = await self._handle(request, dialogue, to_callee)
        if isinstance(altered, Request):
            self._send(dialogue, altered, to_callee=to_callee)
        elif isinstance(altered, Response):
            _ = altered.headers.all("via")
            self._return(altered, self._pending[ours])

    async def _first(self, request: Request, origin: TlsConnection) -> Dialogue | int:
        """Begin a call, or say with which status not."""
        if request.method != "INVITE":
            return 200 if request.method == "OPTIONS" else 481
        try:
            return await self._begin(request, origin) or 404
        except NetworkError as e:
            log.info("no way: %s", e)
            return 480
        except SecurecallError as e:
            log.info("no way: %s", e)
            return 500

    async def _begin(self, invite: Request, origin: TlsConnection) -> Dialogue | None:
        uri = invite.uri
        way = self.ways.get(f"{uri.user}@{uri.host}".lower()) or self.ways.get("*")
        if way is None:
            return None
        if way.name:
            callee = await connect(
                way.host,
                way.port,
                server_name=way.name,
                context=client_context(self._authorities),
            )
        else:
            callee = await connect_direct(way.host, way.port)
        task = asyncio.create_task(self._serve(callee))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        dialogue = Dialogue(
            call_id=invite.call_id,
            caller_tag=invite.from_.tag,
            invite=Request(invite.method, invite.target, invite.headers.copy(), invite.body),
            caller=origin,
            callee=callee,
        )
        if way.target:
            invite.target = way.target
        self.dialogues[invite.call_id] = dialogue
        return dialogue

    async def _respond(self, response: Response) -> None:
        branch = response.via.branch
        pending = self._pending.get(branch + "c") if response.cseq.method == "CANCEL" else None
        pending = pending or self._pending.get(branch)
        if pending is None:
            return
        dialogue = pending.dialogue
        method = response.cseq.method
        if pending.answer is not None:
            if response.status >= 200 and not pending.answer.done():
                pending.answer.set_result(response)
            return
        if response.status >= 300:
            dialogue.refusals.append((method, response.status))
            if method == "INVITE" and not dialogue.callee_contact:
                dialogue.ended.set()
        elif method == "INVITE" and response.status > 100 and not dialogue.callee_tag:
            dialogue.callee_tag = response.to.tag
        if method == "INVITE" and 200 <= response.status < 300:
            dialogue.callee_tag = dialogue.callee_tag or response.to.tag
            dialogue.callee_contact = dialogue.callee_contact or response.need("contact")
        to_callee = response.from_.tag != dialogue.caller_tag
        altered = await self._handle(response, dialogue, to_callee)
        if isinstance(altered, Response):
            self._return(altered, pending)

    def _return(self, response: Response, pending: _Pending) -> None:
        """Take our Via off, put the sender's CSeq back, send it where the request came from."""
        if pending.origin is None:
            return
        vias = [str(text) for text in response.headers.all("via")]
        first, comma, rest = vias[0].partition(",")
        del first
        response.headers.remove("via")
        for text in reversed([rest.strip(), *vias[1:]] if comma else vias[1:]):
            response.headers.insert("Via", text)
        response.headers.replace("CSeq", pending.cseq)
        data = build_message(response)
        self.transcript.append((pending.origin is pending.dialogue.callee, data))
        pending.origin.send(data)

    def _shift(self, request: Request, dialogue: Dialogue, *, to_callee: bool) -> None:
        """Keep CSeq rising after requests were injected."""
        base, by = dialogue.shift.get(to_callee, (0, 0))
        number = request.cseq.number
        if by and number > base - by + 1:
            request.headers.replace("CSeq", f"{number + by} {request.method}")
            number += by
        if request.method not in ("ACK", "CANCEL"):
            dialogue.last_cseq[to_callee] = max(number, dialogue.last_cseq.get(to_callee, 0))

    def _add_via(self, request: Request, branch: str) -> None:
        host, port = self._listener.address if self._listener is not None else ("localhost", 0)
        request.headers.insert("Via", f"SIP/2.0/TLS {host}:{port};branch={branch}")

    def _send(self, dialogue: Dialogue, request: Request, *, to_callee: bool) -> None:
        data = build_message(request)
        self.transcript.append((to_callee, data))
        (dialogue.callee if to_callee else dialogue.caller).send(data)

    def _answer(self, request: Request, origin: TlsConnection, status: int) -> None:
        if request.method == "ACK":
            return
        fields = Headers()
        for name, value in request.headers.items():
            if name in ("Via", "From", "To", "Call-ID", "CSeq"):
                fields.add(name, value)
        if not request.to.tag:
            fields.replace("To", f"{request.need('to')};tag={secrets.token_hex(4)}")
        origin.send(build_message(Response(status, "", fields)))
