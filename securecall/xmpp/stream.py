"""One connection to an XMPP server: encrypted, its name proved, logged in (RFC 6120).

Nothing that matters is sent before TLS has proved the server, nothing of it is believed that came
before, and the password leaves in no form but SCRAM's.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from securecall.clock import loop_now
from securecall.errors import ConnectFailed, LoginRefused, ProtocolError, XmppRefused
from securecall.logs import logger
from securecall.secret import Secret
from securecall.transport.certificate import END_POINT, end_point
from securecall.transport.srv import Target
from securecall.transport.tls import CONNECT_SECONDS, HANDSHAKE_SECONDS, connecting
from securecall.xmpp.conditions import build_stream_error, parse_stanza_error, parse_stream_error
from securecall.xmpp.sasl import Offer, build_auth, build_response, parse_answer, parse_offer
from securecall.xmpp.scram import Binding, Scram, choose
from securecall.xmpp.xml import (
    CLIENT,
    STREAMS,
    Read,
    StreamEnd,
    StreamHeader,
    StreamParser,
    XmlLimits,
    serialise,
)

TLS: Final = "urn:ietf:params:xml:ns:xmpp-tls"
BIND: Final = "urn:ietf:params:xml:ns:xmpp-bind"

CLOSE_SECONDS: Final = 2.0
MOST_UNSENT_BYTES: Final = 4 * 1024 * 1024
_MOST_WAITING: Final = 256  # elements, while negotiating

log = logger(__name__)


class Stream(asyncio.Protocol):
    """One stream, from its first byte to its last; made by `connect`.

    Attributes:
        features: What the server offers now: its children by tag.
        header: The server's opening tag.
        heard_at: The loop's time of the last byte from the server.
    """

    def __init__(self, domain: str, limits: XmlLimits) -> None:
        """Made by `connect`."""
        self.domain = domain
        self.features: dict[str, Element] = {}
        self.header = StreamHeader({})
        self.heard_at = 0.0
        self._limits = limits
        self._transport: asyncio.Transport | None = None
        self._parser: StreamParser | None = None
        self._read: deque[Read] = deque()
        self._arrival: asyncio.Future[None] | None = None
        self._handler: Callable[[Element], None] | None = None
        self._ended: Callable[[Exception], None] | None = None
        self._failure: Exception | None = None
        self._deaf = False  # between our readiness for TLS and its end: nothing may be said
        self._lost = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"<Stream {self.domain}>"

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._fail(ConnectFailed("the connection to the server was lost"))
        if not self._lost.done():
            self._lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        self.heard_at = loop_now()
        if self._failure is not None:
            return
        if self._deaf or self._parser is None:
            # injected by whoever stands in between, to be taken for the server's (CVE-2021-33515)
            self.refuse(ProtocolError("the server spoke out of turn", rule="RFC 6120 5.4.3.3"))
            return
        try:
            found = self._parser.feed(data)
        except ProtocolError as e:
            self.refuse(e)
            return
        for read in found:
            if self._failure is None:
                self._take(read)

    def _take(self, read: Read) -> None:
        if isinstance(read, StreamEnd):
            self._fail(ConnectFailed("the server ended the stream"))
            self._hang_up()
        elif isinstance(read, Element) and read.tag == f"{{{STREAMS}}}error":
            self._fail(parse_stream_error(read))
            self._hang_up()
        elif self._handler is not None and isinstance(read, Element):
            self._handler(read)
        elif len(self._read) >= _MOST_WAITING:
            self.refuse(ProtocolError("the server does not wait for the login"))
        else:
            self._read.append(read)
            self._wake()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def _fail(self, why: Exception) -> None:
        if self._failure is not None:
            return
        self._failure = why
        self._wake()
        if self._ended is not None:
            self._ended(why)

    def refuse(self, why: ProtocolError) -> None:
        """End the stream: the server broke a rule, and is told which kind."""
        log.warning("%r: %s", self, why)
        self._fail(why)
        if self._parser is not None and not self._deaf:
            self._write(build_stream_error(why))
        self._hang_up()

    def _hang_up(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # our side

    @property
    def failure(self) -> Exception | None:
        """Why the stream ended, None while it lives."""
        return self._failure

    @property
    def server_address(self) -> str:
        """The IP address of the server, "" where the transport does not know it."""
        transport = self._transport
        peer = transport.get_extra_info("peername") if transport is not None else None
        return str(peer[0]) if isinstance(peer, tuple) else ""

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS beneath."""
        transport = self._transport
        found = transport.get_extra_info("ssl_object") if transport is not None else None
        return found if isinstance(found, ssl.SSLObject) else None

    def send(self, data: bytes) -> None:
        """Queue bytes; never waits. A server that stops reading is cut off."""
        if self._failure is None:
            self._write(data)

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(data)
        if transport.get_write_buffer_size() > MOST_UNSENT_BYTES:
            log.warning("%r does not read; closing it", self)
            self.abort()

    def abort(self) -> None:
        """Cut the connection at once."""
        self._fail(ConnectFailed("the connection was cut"))
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """End the stream in order, within two seconds."""
        transport = self._transport
        if transport is None:
            return
        if self._failure is None:
            self._write(b"</stream:stream>")
            self._handler = lambda _: None
            self._ended = None
        else:
            transport.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.shield(self._lost)
        except TimeoutError:
            self.abort()

    def pause(self, *, on: bool) -> None:
        """Stop reading, or go on."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if on:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def run(self, handler: Callable[[Element], None], ended: Callable[[Exception], None]) -> None:
        """From now on, hand over every element as it comes, those that came before first.

        Args:
            handler: Takes each; must not raise.
            ended: Called once, with the reason, when the stream is over.
        """
        self._handler = handler
        while self._read:
            read = self._read.popleft()
            if isinstance(read, Element):
                handler(read)
        self._ended = ended
        if self._failure is not None:
            ended(self._failure)

    async def ask(self, element: Element) -> Element:
        """Send an element and return the next that comes; only while negotiating.

        Raises:
            ConnectFailed: the connection ended.
            ProtocolError: the server broke a rule.
            XmppRefused: the server ended the stream with an error.
        """
        self.send(serialise(element))
        return await self.next()

    async def next(self) -> Element:
        """The next element; only while negotiating. Raises as `ask` does."""
        read = await self._next()
        if not isinstance(read, Element):
            raise self._broken("a stream header within the stream")
        return read

    async def _next(self) -> Read:
        while not self._read:
            if self._failure is not None:
                raise self._failure
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        return self._read.popleft()

    def _broken(self, what: str, rule: str = "") -> ProtocolError:
        error = ProtocolError(what, rule=rule)
        self.refuse(error)
        return error

    async def begin(self) -> None:
        """Open the stream, anew after TLS and after the login, and learn the features.

        Raises:
            ConnectFailed, ProtocolError, XmppRefused: as `ask`.
        """
        if self._read or (self._parser is not None and not self._parser.idle):
            raise self._broken("the server spoke out of turn", "RFC 6120 4.3.3")
        self._parser = StreamParser(self._limits)
        self._deaf = False
        self.send(
            f"<?xml version='1.0'?><stream:stream to='{self.domain}' version='1.0' xml:lang='en' "
            f"xmlns='{CLIENT}' xmlns:stream='{STREAMS}'>".encode()
        )
        header = await self._next()
        if not isinstance(header, StreamHeader):
            raise self._broken("no stream header")
        self.header = header
        features = await self.next()
        if features.tag != f"{{{STREAMS}}}features":
            raise self._broken("the stream begins without features", "RFC 6120 4.3.2")
        self.features = {child.tag: child for child in features}
        if self._failure is not None:
            raise self._failure

    async def start_tls(self, context: ssl.SSLContext, server_name: str, where: str) -> None:
        """Encrypt, or end.

        Raises:
            CertificateError: the certificate does not prove the name.
            ConnectFailed: the server has no TLS for us.
            ProtocolError, XmppRefused: as `ask`.
        """
        if f"{{{TLS}}}starttls" not in self.features:
            self.abort()
            raise ConnectFailed(
                f"{where} offers no encryption, or somebody in between hides it; nothing was sent"
            )
        answer = await self.ask(Element(f"{{{TLS}}}starttls"))
        if answer.tag != f"{{{TLS}}}proceed":
            self.abort()
            raise ConnectFailed(f"{where} refuses encryption")
        parser = self._parser  # not even white space may follow
        if self._read or parser is None or not parser.idle or parser.trailing:
            raise self._broken("the server spoke before TLS", "RFC 6120 5.4.3.3")
        self._deaf = True
        transport = self._transport
        if transport is None or self._failure is not None:
            raise self._failure or ConnectFailed("the connection to the server was lost")
        with connecting(where, server_name):
            self._transport = await asyncio.get_running_loop().start_tls(
                transport,
                self,
                context,
                server_hostname=server_name,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
            )
        if self._failure is not None:
            raise self._failure
        self._parser = None
        self.features = {}

    async def login(self, user: str, password: Secret, *, least: str = "") -> str:
        """Prove the password, have the server prove that it knew it, and open the stream anew.

        Args:
            user: The localpart.
            password: Never sent.
            least: The weakest mechanism to take, as an earlier login returned it.

        Returns:
            The mechanism, to be remembered.

        Raises:
            LoginRefused: the server refuses, offers no safe way, or does not prove itself.
            ConnectFailed, ProtocolError, XmppRefused: as `ask`.
        """
        try:
            return await self._login(user, password, least)
        except (LoginRefused, ProtocolError):
            self.abort()
            raise

    async def _login(self, user: str, password: Secret, least: str) -> str:
        tls = self.tls
        if tls is None:
            raise ProtocolError("no login without TLS", rule="RFC 6120 13.8.4")
        offered = parse_offer(self.features)
        binding = _binding_of(tls, offered)
        mechanism = choose(offered.mechanisms, binding=bool(binding.type), least=least)
        scram = Scram(
            mechanism,
            user,
            password.reveal(),
            nonce=secrets.token_urlsafe(24),
            binding=binding,
            offered=offered,
        )
        answer = await self.ask(build_auth(str(mechanism), scram.first()))
        challenge = scram.parse_challenge(parse_answer(answer, "challenge"))
        salted = await asyncio.to_thread(scram.salted, challenge)
        answer = await self.ask(build_response(scram.final(challenge, salted)))
        scram.require_proof(parse_answer(answer, "challenge", "success"))
        if answer.tag.endswith("}challenge"):  # some prove themselves one step earlier
            _ = parse_answer(await self.ask(build_response(b"")), "success")
        await self.begin()
        return str(mechanism)

    async def bind(self, resource: str) -> str:
        """Bind a resource; returns our full JID, as the server made it.

        Raises:
            ConnectFailed, ProtocolError, XmppRefused: as `ask`.
        """
        if f"{{{BIND}}}bind" not in self.features:
            raise self._broken("the server binds no resource", "RFC 6120 7.2")
        iq = Element(f"{{{CLIENT}}}iq", type="set", id=secrets.token_hex(8))
        bind = SubElement(iq, f"{{{BIND}}}bind")
        if resource:
            SubElement(bind, f"{{{BIND}}}resource").text = resource
        answer = await self.ask(iq)
        if answer.tag != iq.tag or answer.get("id") != iq.get("id"):
            raise self._broken("the server does not answer the binding", "RFC 6120 7.6.1")
        if answer.get("type") != "result":
            raise parse_stanza_error(answer)
        return answer.findtext(f"{{{BIND}}}bind/{{{BIND}}}jid", "")


async def connect(
    target: Target,
    *,
    domain: str,
    server_name: str,
    context: ssl.SSLContext,
    limits: XmlLimits | None = None,
) -> Stream:
    """Connect, encrypt, prove the server's name, and learn what it offers.

    Args:
        target: From `Resolver.xmpp_targets`.
        domain: Of the account.
        server_name: What the certificate must prove; the domain, unless a person said otherwise.
        context: From `xmpp_context`, with ALPN where the target speaks TLS at once.
        limits: For what the server sends.

    Raises:
        ConnectFailed: nobody answers, or without TLS.
        CertificateError: the certificate does not prove the name.
        ProtocolError: the server broke a rule.
        XmppRefused: the server ended the stream with an error.
    """
    stream = Stream(domain, limits or XmlLimits())
    where = str(target)
    direct = target.transport == "tls"
    try:
        with connecting(where, server_name):
            async with asyncio.timeout(CONNECT_SECONDS):
                _ = await asyncio.get_running_loop().create_connection(
                    lambda: stream,
                    target.host,
                    target.port,
                    ssl=context if direct else None,
                    server_hostname=server_name if direct else None,
                    ssl_handshake_timeout=HANDSHAKE_SECONDS if direct else None,
                )
        if not direct:
            await _encrypt(stream, context, server_name, where)
        await stream.begin()
    except BaseException:
        stream.abort()
        raise
    return stream


async def _encrypt(stream: Stream, context: ssl.SSLContext, name: str, where: str) -> None:
    try:
        await stream.begin()
        await stream.start_tls(context, name, where)
    except XmppRefused as e:  # anybody on the way can say so
        raise ConnectFailed(f"{where} ended the stream before TLS: {e}") from e
    except ProtocolError as e:
        raise ConnectFailed(f"{where} speaks no XMPP before TLS: {e}") from e


def _binding_of(tls: ssl.SSLObject, offered: Offer) -> Binding:
    """The best channel binding that both ends have (RFC 5929, RFC 9266, XEP-0440).

    Where a server does not say which it knows, it is the one that its version of TLS has.
    """
    known = ["tls-exporter"] if tls.version() == "TLSv1.3" else ["tls-unique"]
    if offered.bindings is not None:
        # the weakest, for it binds to the certificate alone; but any Python can tell it
        known = [kind for kind in (*known, END_POINT) if kind in offered.bindings]
    for kind in known:
        if kind == END_POINT:
            data = end_point(tls.getpeercert(binary_form=True) or b"")
        elif kind in ssl.CHANNEL_BINDING_TYPES:
            data = tls.get_channel_binding(kind) or b""
        else:
            continue
        if data:
            return Binding(kind, data)
    return Binding()
