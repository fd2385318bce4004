"""One connection to an XMPP server: encrypted, its name proved, logged in (RFC 6120).

Nothing that matters is sent before TLS has proved the server, nothing of it is believed that came
before, and the password leaves in no form but SCRAM's.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import secrets
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from securecall.errors import ConnectFailed, LoginRefused, ProtocolError, XmppRefused
from securecall.secret import Secret
from securecall.transport.srv import Target
from securecall.transport.tls import CONNECT_SECONDS, HANDSHAKE_SECONDS, connecting
from securecall.xmpp.scram import Scram, choose
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

SASL: Final = "urn:ietf:params:xml:ns:xmpp-sasl"
TLS: Final = "urn:ietf:params:xml:ns:xmpp-tls"
BIND: Final = "urn:ietf:params:xml:ns:xmpp-bind"
STREAM_ERRORS: Final = "urn:ietf:params:xml:ns:xmpp-streams"
STANZA_ERRORS: Final = "urn:ietf:params:xml:ns:xmpp-stanzas"

NEGOTIATION_SECONDS: Final = 20.0  # from the first byte after TLS to the bound resource
CLOSE_SECONDS: Final = 2.0
MOST_UNSENT_BYTES: Final = 4 * 1024 * 1024
_MOST_WAITING: Final = 256  # elements, while negotiating

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contexts:
    """What TLS demands, from `xmpp_context`, for both ways to begin it."""

    direct: ssl.SSLContext
    starttls: ssl.SSLContext


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
        self.heard_at = asyncio.get_running_loop().time()
        if self._failure is not None:
            return
        if self._deaf or self._parser is None:
            # injected by whoever stands in between, to be taken for the server's (CVE-2021-33515)
            self._break(ProtocolError("the server spoke before TLS", rule="RFC 6120 5.4.3.3"))
            return
        try:
            found = self._parser.feed(data)
        except ProtocolError as e:
            self._break(e)
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
            self._break(ProtocolError("the server does not wait for the login"))
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

    def _break(self, why: ProtocolError) -> None:
        """The server broke a rule: say which kind, and go."""
        log.warning("%r: %s", self, why)
        self._fail(why)
        if self._parser is not None and not self._deaf:
            error = Element(f"{{{STREAMS}}}error")
            _ = SubElement(error, f"{{{STREAM_ERRORS}}}{_condition_of(why)}")
            self._write(serialise(error) + b"</stream:stream>")
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
        self._break(error)
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
        if self._read or self._parser is None or not self._parser.idle:
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
        listed = self.features.get(f"{{{SASL}}}mechanisms")
        offered = [child.text or "" for child in listed] if listed is not None else []
        kind, binding = _channel_binding(tls)
        mechanism = choose(offered, binding=bool(binding), least=least)
        scram = Scram(
            mechanism,
            user,
            password.reveal(),
            secrets.token_urlsafe(24),
            binding if mechanism.plus else b"",
            kind,
            bool(binding) and not mechanism.plus,
        )
        auth = Element(f"{{{SASL}}}auth", mechanism=str(mechanism))
        auth.text = _encoded(scram.first())
        challenge = scram.parse_challenge(_said(await self.ask(auth), "challenge"))
        salted = await asyncio.to_thread(scram.salted, challenge)
        response = Element(f"{{{SASL}}}response")
        response.text = _encoded(scram.final(challenge, salted))
        answer = await self.ask(response)
        if answer.tag == f"{{{SASL}}}challenge":  # some prove themselves one step earlier
            scram.require_proof(_said(answer, "challenge"))
            answer = await self.ask(Element(f"{{{SASL}}}response"))
            _ = _said(answer, "success")
        else:
            scram.require_proof(_said(answer, "success"))
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
    contexts: Contexts,
    limits: XmlLimits | None = None,
) -> Stream:
    """Connect, encrypt, prove the server's name, and learn what it offers.

    Args:
        target: From `Resolver.xmpp_targets`.
        domain: Of the account.
        server_name: What the certificate must prove; the domain, unless a person said otherwise.
        contexts: For TLS.
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
                    ssl=contexts.direct if direct else None,
                    server_hostname=server_name if direct else None,
                    ssl_handshake_timeout=HANDSHAKE_SECONDS if direct else None,
                )
        if not direct:
            await stream.begin()
            await stream.start_tls(contexts.starttls, server_name, where)
        await stream.begin()
    except BaseException:
        stream.abort()
        raise
    return stream


def _channel_binding(tls: ssl.SSLObject) -> tuple[str, bytes]:
    """What both ends of this TLS connection know and nobody in between (RFC 5929, RFC 9266)."""
    if tls.version() != "TLSv1.3":
        return "tls-unique", tls.get_channel_binding("tls-unique") or b""
    if "tls-exporter" in ssl.CHANNEL_BINDING_TYPES:
        return "tls-exporter", tls.get_channel_binding("tls-exporter") or b""
    return "", b""


def _encoded(message: bytes) -> str:
    return base64.b64encode(message).decode()


def _said(element: Element, wanted: str) -> bytes:
    if element.tag == f"{{{SASL}}}failure":
        raise _refused(element)
    if element.tag != f"{{{SASL}}}{wanted}":
        raise ProtocolError("the server does not keep to the login", rule="RFC 6120 6.4")
    try:
        return base64.b64decode(element.text or "", validate=True)
    except (binascii.Error, ValueError) as e:
        raise ProtocolError("a message of the login is not base64", rule="RFC 6120 6.4") from e


def _refused(failure: Element) -> LoginRefused | ConnectFailed:
    condition = next(
        (c.tag.rpartition("}")[2] for c in failure if c.tag != f"{{{SASL}}}text"), "unknown"
    )
    if condition == "temporary-auth-failure":
        return ConnectFailed("the server cannot check passwords now; try again later")
    why = _LOGIN_FAILURES.get(condition, "the server refuses the login")
    return LoginRefused(f"{why} ({condition[:40]})")


_LOGIN_FAILURES: Final = {
    "not-authorized": "the user or the password is wrong",
    "account-disabled": "the account was disabled; ask the server's operator",
    "credentials-expired": "the password has expired; set a new one",
}


def parse_stream_error(error: Element) -> XmppRefused:
    """What a server says as it ends the stream (RFC 6120 4.9)."""
    return _parse_error(error, STREAM_ERRORS, "undefined-condition")


def parse_stanza_error(stanza: Element) -> XmppRefused:
    """What a stanza of type error says (RFC 6120 8.3)."""
    error = stanza.find(f"{{{CLIENT}}}error")
    return _parse_error(error, STANZA_ERRORS, "undefined-condition")


def _parse_error(error: Element | None, namespace: str, default: str) -> XmppRefused:
    condition, text = default, ""
    for child in error if error is not None else ():
        space, _, name = child.tag.rpartition("}")
        if space[1:] != namespace:
            continue
        if name == "text":
            text = (child.text or "")[:200]
        else:
            condition = name[:40]
    return XmppRefused(condition, text)


def _condition_of(error: ProtocolError) -> str:
    if error.rule.endswith("11.1"):
        return "restricted-xml"
    if error.rule.endswith("4.9.3.14"):
        return "policy-violation"
    return "not-well-formed" if " 11." in error.rule else "policy-violation"
