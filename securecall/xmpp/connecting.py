"""The way to an account's server: where it is, TLS that proves it, and the login."""

from __future__ import annotations

import asyncio
import functools
import ssl
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from securecall.errors import ConnectFailed, XmppRefused
from securecall.logs import logger
from securecall.transport.srv import XMPP_DIRECT_PORTS, XMPP_PORT, Target
from securecall.transport.tls_context import xmpp_context
from securecall.xmpp import stream
from securecall.xmpp.conditions import SEE_OTHER_HOST
from securecall.xmpp.login import XmppLogin, parse_server
from securecall.xmpp.stream import Stream
from securecall.xmpp.xml import XmlLimits

if TYPE_CHECKING:  # dnspython costs time: it is imported when a name is looked up
    from securecall.transport.resolver import Resolver

LOGIN_SECONDS: Final = 20.0
_MOST_CONTEXTS: Final = 16

log = logger(__name__)


class Connector:
    """Makes connections for one account, each logged in.

    Attributes:
        mechanism: How we logged in last; a server that later offers less is refused.
    """

    def __init__(self, login: XmppLogin, resolver: Resolver | None, limits: XmlLimits) -> None:
        """Nothing is connected or looked up yet.

        Args:
            login: Whose account, and where.
            resolver: None makes one.
            limits: For what the server sends.
        """
        self.mechanism = login.least
        self._login = login
        self._resolver = resolver
        self._limits = limits

    async def connect(self, *, first: str = "") -> Stream:
        """Connect and log in; the stream's resource is not bound yet.

        Args:
            first: "host:port" to try before all others, "" for none. The name that has to be
                proved stays the same.

        Raises:
            ConnectFailed: the server cannot be reached.
            LoginRefused: it does not take the password, or not in a safe way.
            CertificateError: it does not prove its name.
            ProtocolError: it breaks a rule.
            XmppRefused: it ended the stream with an error.
        """
        try:
            return await self._connect(first)
        except XmppRefused as e:
            if e.condition != SEE_OTHER_HOST or not e.text:
                raise
            # It was proved when it said so, and so must the other be, by the same name. Once: two
            # that send us to each other shall not have us run (RFC 6120 4.9.3.19).
            log.info("the server sends us to another host")
            return await self._connect(e.text)

    async def _connect(self, first: str) -> Stream:
        from securecall.transport.resolver import failing_over

        found = await failing_over(await self._targets(first), self._open)
        try:
            async with asyncio.timeout(LOGIN_SECONDS):
                self.mechanism = await found.login(
                    self._login.address.user, self._login.password, least=self.mechanism
                )
        except TimeoutError as e:
            found.abort()
            raise ConnectFailed("the server does not go on with the login") from e
        except BaseException:
            found.abort()
            raise
        return found

    async def _open(self, target: Target) -> Stream:
        direct = target.transport == "tls"
        domain = self._login.address.host
        return await stream.connect(
            target,
            domain=domain,
            server_name=self._login.server_name or domain,
            context=_context(self._login.authorities, direct=direct),
            limits=self._limits,
        )

    async def _targets(self, first: str) -> tuple[Target, ...]:
        from securecall.transport.resolver import Resolver

        if self._resolver is None:
            self._resolver = Resolver()
        resolver = self._resolver
        named = self._login.server
        targets: tuple[Target, ...] = ()
        if first:
            try:
                targets = await self._at(resolver, first)
            except ConnectFailed as e:
                log.info("%s", e)
        if named is not None:
            return targets + await self._at(resolver, named)
        return targets + await resolver.xmpp_targets(self._login.address.host)

    async def _at(self, resolver: Resolver, server: str | tuple[str, int]) -> tuple[Target, ...]:
        host, port = parse_server(server)
        targets = await resolver.xmpp_targets(host, port=port)
        ways: tuple[str, ...] = ("tls", "starttls")
        if self._login.direct is not None:
            ways = ("tls",) if self._login.direct else ("starttls",)
        elif port in (0, XMPP_PORT, *XMPP_DIRECT_PORTS):
            return targets
        return tuple(replace(target, transport=way) for way in ways for target in targets)


def _context(authorities: Path | None, *, direct: bool) -> ssl.SSLContext:
    """One context serves all sessions that trust the same: a system's roots are a megabyte."""
    changed = authorities.stat().st_mtime_ns if authorities and authorities.exists() else 0
    return _made(authorities, changed, direct)


@functools.lru_cache(maxsize=_MOST_CONTEXTS)
def _made(authorities: Path | None, _: int, direct: bool) -> ssl.SSLContext:  # noqa: FBT001 - of a cache
    return xmpp_context(authorities, alpn=direct)
