"""TLS connections that prove a name, or are direct and prove nothing; never one for the other.

A verified connection carries the name its certificate was checked for. A direct one (a ticket, a
direct account) uses a throw-away certificate on both ends of the world: whoever uses it must
demand identity evidence inside the call. The two are made by different functions, and nothing
turns one into the other.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from securecall.errors import CertificateError, ConnectFailed, ListenFailed
from securecall.logs import logger
from securecall.transport.endpoint import endpoint
from securecall.transport.origin import origin_of
from securecall.transport.server_identity import (
    WRONG_NAME,
    canonical_host,
    explain_chain,
    explain_name,
)
from securecall.transport.tls_context import NameProvingContext as NameProvingContext
from securecall.transport.tls_context import (
    NotProved,
    direct_client_context,
    direct_server_context,
    server_context,
)
from securecall.transport.tls_context import PemPair as PemPair
from securecall.transport.tls_context import client_context as client_context

CONNECT_SECONDS: Final = 10.0
HANDSHAKE_SECONDS: Final = 10.0
MOST_CONNECTIONS: Final = 256  # of one listener, half-open ones among them
MOST_OF_ONE_ADDRESS: Final = 16  # of these, from one IPv4 address or one IPv6 network of 64 bits
MOST_UNSENT_BYTES: Final = 256 * 1024
_READ_BYTES: Final = 64 * 1024

log = logger(__name__)


class TlsConnection:
    """One TLS connection, after its handshake.

    Attributes:
        verified_name: The name the peer's certificate was checked for, "" if none was.
        direct: We asked for a direct connection, or listen for such.
        remote: "ip:port" of the other end.
        local: Our own address.
        transport: e.g. "TLSv1.3 TLS_AES_256_GCM_SHA384".
        group: The key exchange, e.g. "X25519"; "" before Python 3.15, which cannot tell.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        verified_name: str = "",
        direct: bool = False,
    ) -> None:
        """Made by `connect`, `connect_direct` and `Listener`."""
        self.verified_name = verified_name
        self.direct = direct
        peer: tuple[str, int] | None = writer.get_extra_info("peername")
        self.remote = endpoint(*peer[:2]) if peer is not None else ""
        own: tuple[str, int] | None = writer.get_extra_info("sockname")
        self.local = own[0] if own is not None else ""
        cipher: tuple[str, str, int] = writer.get_extra_info("cipher")
        tls = writer.get_extra_info("ssl_object")
        self.transport = f"{tls.version()} {cipher[0]}"
        self.group: str = getattr(tls, "group", str)() or ""
        self._reader = reader
        self._writer = writer

    def __repr__(self) -> str:
        whom = self.verified_name or ("direct" if self.direct else "incoming")
        return f"<TlsConnection {self.remote} {whom}>"

    @property
    def peer_certificate(self) -> bytes:
        """What the other end showed, DER; b"" if it showed none."""
        return self._writer.get_extra_info("ssl_object").getpeercert(binary_form=True) or b""

    async def receive(self) -> bytes:
        """Return the next bytes, b"" once the other end is gone; never raises for that."""
        try:
            return await self._reader.read(_READ_BYTES)
        except (OSError, ssl.SSLError):
            return b""

    def send(self, data: bytes) -> None:
        """Queue bytes; never waits.

        A peer that stops reading is cut off once 256 KiB wait for it, so that `receive` ends.
        """
        if self.closing:
            return
        self._writer.write(data)
        if self._writer.transport.get_write_buffer_size() > MOST_UNSENT_BYTES:
            log.warning("%r does not read; closing it", self)
            self.abort()

    def ping(self) -> None:
        """Ask whether the other end is there; SIP answers with one line end (RFC 5626 4.4.1)."""
        self.send(b"\r\n\r\n")

    @property
    def closing(self) -> bool:
        """Closed by us, or found broken."""
        return self._writer.is_closing()

    def abort(self) -> None:
        """Cut the connection at once."""
        self._writer.transport.abort()

    async def close(self, *, seconds: float = 2.0) -> None:
        """Send what waits and TLS's goodbye, for at most `seconds`, then cut."""
        if not self._writer.is_closing():
            self._writer.close()
        try:
            async with asyncio.timeout(seconds):
                await self._writer.wait_closed()
        except (OSError, ssl.SSLError, TimeoutError):
            self.abort()


async def connect(
    host: str, port: int, *, server_name: str, context: ssl.SSLContext
) -> TlsConnection:
    """Connect to a server and verify its name.

    Args:
        host: Where to connect: a name or an IP address.
        port: TCP port.
        server_name: What the certificate must be for: a SIP domain, or an IP address (then an
            iPAddress entry is needed). What DNS made of it is given as `host`, never here.
        context: From `client_context`.

    Raises:
        ConnectFailed: nobody answers within 10 s, or no TLS can be agreed upon.
        CertificateError: the certificate does not prove `server_name`.
    """
    proving = isinstance(context, NameProvingContext) and context.verify_mode == ssl.CERT_REQUIRED
    if not server_name or not proving:
        raise CertificateError("a server's name is always verified; use client_context()")
    name = canonical_host(server_name)
    reader, writer = await _open(host, port, context=context, server_name=name)
    return TlsConnection(reader, writer, verified_name=name)


async def connect_direct(host: str, port: int, *, approved: bool = False) -> TlsConnection:
    """Connect straight to a peer; proves nothing, so identity evidence is mandatory.

    Raises:
        ConnectFailed: nobody answers within 10 s, or no TLS can be agreed upon.
    """
    context = direct_client_context(approved=approved)
    reader, writer = await _open(host, port, context=context, server_name=None)
    return TlsConnection(reader, writer, direct=True)


async def open_streams(
    host: str, port: int, *, context: ssl.SSLContext, server_name: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect with a context that verifies the name by itself, as `web_context` does.

    Raises:
        ConnectFailed: nobody answers in time, or no TLS can be agreed upon.
        CertificateError: the certificate does not prove `server_name`.
    """
    if not server_name or not context.check_hostname:
        raise CertificateError("a server's name is always verified; use web_context()")
    return await _open(host, port, context=context, server_name=server_name)


async def _open(
    host: str, port: int, *, context: ssl.SSLContext, server_name: str | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    with connecting(endpoint(host, port), server_name or ""):
        async with asyncio.timeout(CONNECT_SECONDS + HANDSHAKE_SECONDS):
            return await asyncio.open_connection(
                host,
                port,
                ssl=context,
                server_hostname=server_name or "",
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                limit=_READ_BYTES,
            )


@contextlib.contextmanager
def connecting(where: str, name: str) -> Iterator[None]:
    """Say in our words why no connection came about.

    Args:
        where: The address, for people.
        name: What the certificate must prove, "" for nothing.

    Raises:
        ConnectFailed: nobody answers, or no TLS can be agreed upon.
        CertificateError: the certificate does not prove the name.
    """
    try:
        yield
    except NotProved as e:
        fault = explain_name(str(e.args[0]))
        raise _refused(where, name, WRONG_NAME, *fault) from e
    except ssl.SSLCertVerificationError as e:
        fault = explain_chain(e.verify_code, e.verify_message)
        raise _refused(where, name, e.verify_code, *fault) from e
    except ssl.SSLError as e:
        raise ConnectFailed(f"{where} {_NO_TLS.get(e.reason, _OTHER_TLS)} ({e.reason})") from e
    except (TimeoutError, ConnectionAbortedError) as e:  # the latter is asyncio's, in the handshake
        raise ConnectFailed(f"{where} did not answer in time") from e
    except (OSError, UnicodeError) as e:
        raise ConnectFailed(f"cannot connect to {where}: {_in_words(e)}") from e


def _in_words(error: OSError | UnicodeError) -> str:
    """The system's words for an error; asyncio puts its own text in their place."""
    if isinstance(error, UnicodeError):
        return "this is no host name"
    if error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    return error.strerror or str(error) or _ENDED


_ENDED: Final = "it ended the TLS handshake; does it speak TLS 1.2 or later on that port?"
_OTHER_TLS: Final = "does not speak TLS as we do"
_NO_TLS: Final = {
    "WRONG_VERSION_NUMBER": "does not speak TLS; is that the port of its TLS, often 5061?",
    "UNSUPPORTED_PROTOCOL": "knows only versions of TLS that are broken",
    "TLSV1_ALERT_PROTOCOL_VERSION": "knows only versions of TLS that are broken",
}


def _refused(where: str, name: str, code: int, fault: str, remedy: str) -> CertificateError:
    return CertificateError(
        f"the certificate shown by {where} does not prove the name {name!r}: {fault}. {remedy}. "
        "Do not go on if it worked before: somebody may stand in between.",
        code=code,
        fault=fault,
        remedy=remedy,
    )


Accept = Callable[[TlsConnection], Awaitable[None]]
# From an IP address to what its connections are counted under, "" where they are not counted.
Origin = Callable[[str], str]


class Listener:
    """Takes TLS connections, at most 256 at a time, 16 of one address; each runs `accept`.

    Attributes:
        address: (host, port) listened on.
    """

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        accept: Accept,
        *,
        direct: bool,
        origin: Origin = origin_of,
    ) -> None:
        """Made by `listen` and `listen_direct`."""
        name = sock.getsockname()
        self.address: tuple[str, int] = (name[0], name[1])
        self._socket = sock
        self._context = context
        self._accept = accept
        self._direct = direct
        self._origin = origin
        self._tasks: set[asyncio.Task[None]] = set()
        self._unserved: set[socket.socket] = set()  # whose task has not had its first step yet
        self._of: collections.Counter[str] = collections.Counter()
        self._loop_task = asyncio.create_task(self._run())

    @property
    def connections(self) -> int:
        """How many connections are open or half open."""
        return len(self._tasks)

    async def close(self) -> None:
        """Stop listening and cut every connection; may be called again."""
        if self._socket.fileno() < 0:
            return
        # A connection that the event loop took and `_run` has not seen yet must get there first:
        # a task that is cancelled while its result waits loses the result.
        with contextlib.suppress(NotImplementedError):  # Windows closes it by itself
            _ = asyncio.get_running_loop().remove_reader(self._socket)
        await asyncio.sleep(0)
        tasks = {self._loop_task, *self._tasks}
        for task in tasks:
            task.cancel()
        _ = await asyncio.gather(*tasks, return_exceptions=True)
        for sock in self._unserved:
            sock.close()
        self._socket.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, peer = await loop.sock_accept(self._socket)
            except OSError as e:
                log.warning("accept failed: %s", e)  # out of descriptors: wait for some to close
                await asyncio.sleep(0.1)
                continue
            origin = self._origin(peer[0])
            if len(self._tasks) >= MOST_CONNECTIONS or self._of[origin] >= MOST_OF_ONE_ADDRESS:
                sock.close()
                continue
            self._unserved.add(sock)
            task = asyncio.create_task(self._serve(sock))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            if origin:
                self._of[origin] += 1
                task.add_done_callback(functools.partial(self._left, origin))

    def _left(self, origin: str, _: asyncio.Task[None]) -> None:
        self._of[origin] -= 1
        if not self._of[origin]:
            del self._of[origin]

    async def _serve(self, sock: socket.socket) -> None:
        self._unserved.discard(sock)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_READ_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            # asyncio does so for its own sockets alone; without it a response that follows
            # another waits for the peer's acknowledgement, which may take it 40 ms
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                sock,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
            )
        except (OSError, ssl.SSLError, TimeoutError) as e:
            log.info("a TLS handshake failed: %s", type(e).__name__)
            sock.close()
            return
        except asyncio.CancelledError:
            sock.close()
            raise
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        connection = TlsConnection(reader, writer, direct=self._direct)
        try:
            await self._accept(connection)
        except asyncio.CancelledError:
            connection.abort()
            raise
        except Exception:  # the outermost loop of one connection: it must not end the others
            log.exception("handling %r failed", connection)
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await connection.close()


async def listen(
    host: str,
    port: int,
    accept: Accept,
    *,
    certificate: PemPair,
    origin: Origin = origin_of,
    approved: bool = False,
) -> Listener:
    """Listen with a certificate that proves our name; port 0 takes a free one.

    Args:
        host: An IP address of ours.
        port: TCP port.
        accept: Runs for each connection until it returns.
        certificate: Shown to all.
        origin: What connections are counted under.
        approved: Only with algorithms that NIST approves.

    Raises:
        LocalError: the address or the certificate cannot be used.
    """
    context = server_context(certificate, approved=approved)
    return _listen(host, port, context, accept, direct=False, origin=origin)


async def listen_direct(
    host: str, port: int, accept: Accept, *, origin: Origin = origin_of, approved: bool = False
) -> Listener:
    """Listen with a throw-away certificate, for callers who will demand identity evidence.

    Args:
        host: An IP address of ours.
        port: TCP port.
        accept: Runs for each connection until it returns.
        origin: What connections are counted under.
        approved: Only with algorithms that NIST approves.

    Raises:
        LocalError: the address cannot be used.
    """
    context = direct_server_context(approved=approved)
    return _listen(host, port, context, accept, direct=True, origin=origin)


def _listen(
    host: str,
    port: int,
    context: ssl.SSLContext,
    accept: Accept,
    *,
    direct: bool,
    origin: Origin,
) -> Listener:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.create_server((host, port), family=family, backlog=128)
    except OSError as e:
        raise ListenFailed(f"cannot listen on {host}:{port}: {_in_words(e)}") from e
    sock.setblocking(False)  # noqa: FBT003 - a positional of the socket module
    return Listener(sock, context, accept, direct=direct, origin=origin)
