"""Finds the servers of a SIP or XMPP domain in DNS, the door of dnspython.

NAPTR and SRV records come through dnspython: the system's resolver does not give them out. The
addresses of hosts come from the system (getaddrinfo): it knows its hosts file and `localhost`,
networks with names of their own, and in which order addresses are reachable (RFC 6724). With name
servers of its own a `Resolver` asks these for addresses, too.

Answers are not signed (DNSSEC is not used) and are taken as a stranger's: they are cut to a few
records, and decide only where we knock. Who opens has to prove the domain that was asked for.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeVar

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdata
import dns.resolver
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.IN.NAPTR import NAPTR
from dns.rdtypes.IN.SRV import SRV

from securecall.errors import ConnectFailed, NameNotFound
from securecall.logs import logger
from securecall.transport.server_identity import canonical_host, is_address
from securecall.transport.srv import (
    MOST_ADDRESSES,
    MOST_RECORDS,
    MOST_SERVERS,
    TLS_PORT,
    XMPP_DIRECT_PORTS,
    XMPP_PORT,
    Lookup,
    Naptr,
    Service,
    Srv,
    Target,
    alternate_families,
    default_service,
    lay_out,
    not_offered,
    order_servers,
    select_services,
    xmpp_services,
)

LOOKUP_SECONDS: Final = 6.0
TARGET_SECONDS: Final = 10.0
MOST_KNOWN: Final = 256  # answers kept
MOST_KNOWN_SECONDS: Final = 3600.0  # whatever their time to live says

log = logger(__name__)

T = TypeVar("T")
Answers = TypeVar("Answers", bound=Sequence[object])


class Resolver:
    """Looks up servers; keeps answers as long as they say, for an hour at most.

    Attributes:
        watcher: Told of every question and its answer, kept ones among them; None for nobody.
    """

    def __init__(
        self,
        *,
        nameservers: Sequence[tuple[str, int]] | None = None,
        timeout: float = LOOKUP_SECONDS,
    ) -> None:
        """Cheap; nothing is asked or read yet.

        Args:
            nameservers: IP address and port of those to ask in place of the system's.
            timeout: Seconds for one question; each server gets a third of it before the next.
        """
        self.watcher: Callable[[Lookup], None] | None = None
        self._nameservers = nameservers
        self._timeout = timeout
        self._known: dict[tuple[str, str], tuple[float, tuple[dns.rdata.Rdata, ...]]] = {}

    async def sip_targets(
        self, host: str, *, port: int = 0, websocket: bool = False
    ) -> tuple[Target, ...]:
        """The places where a SIP domain is to be reached over TLS, in the order to try them.

        An IP address or an explicit port is taken as it is. Otherwise NAPTR records lead to SRV
        records, and where there are none, `_sips._tcp` does; a domain without either is its own
        server at port 5061.

        Args:
            host: A domain, a host name or an IP address.
            port: TCP port, 0 if none was given.
            websocket: The caller speaks "wss", too (RFC 7118); only NAPTR records lead there.

        Returns:
            At least one target, at most 32.

        Raises:
            NameNotFound: the name does not exist, has no address, or offers no SIP over TLS.
            ConnectFailed: no name server gives a usable answer.
        """
        domain = canonical_host(host)
        if is_address(domain):
            return (Target(host=domain, port=port or TLS_PORT, transport="tls", name=""),)
        itself = [(Srv(0, 0, port or TLS_PORT, domain), "tls")]
        if port or domain == "localhost":  # no DNS knows localhost (RFC 6761 6.3)
            return await self._at(itself)
        servers = await _or_failure(self._servers(domain, websocket=websocket))
        if isinstance(servers, NameNotFound):
            raise servers
        if not isinstance(servers, ConnectFailed):
            return await self._at(servers or itself)
        # A broken home router loses these questions and answers others, and the hosts file may
        # know the name. Nothing is weaker for it: the certificate decides.
        log.info("%s", servers)
        try:
            return await self._at(itself)
        except NameNotFound:
            raise servers from None

    async def xmpp_targets(self, host: str, *, port: int = 0) -> tuple[Target, ...]:
        """The places where an XMPP domain takes clients, in the order to try them.

        TLS from the first byte (XEP-0368, which lets us prefer it) comes before STARTTLS; within
        each, SRV records decide. A domain without any is its own server at port 5222 (RFC 6120
        3.2.2). A port that was given is taken as it is, 5223 and 443 as those of direct TLS.

        Args:
            host: A domain, a host name or an IP address.
            port: TCP port, 0 if none was given.

        Returns:
            At least one target, at most 32; their transport is "tls" or "starttls".

        Raises:
            NameNotFound: the name does not exist, has no address, or offers no XMPP to clients.
            ConnectFailed: no name server gives a usable answer.
        """
        domain = canonical_host(host)
        named = "tls" if port in XMPP_DIRECT_PORTS else "starttls"
        itself = [(Srv(0, 0, port or XMPP_PORT, domain), named)]
        if is_address(domain):
            return (Target(host=domain, port=port or XMPP_PORT, transport=named, name=""),)
        if port or domain == "localhost":  # no DNS knows localhost (RFC 6761 6.3)
            return await self._at(itself)
        services = xmpp_services(domain)
        answers = await asyncio.gather(*(_or_failure(self._srv(s)) for s in services))
        found: list[tuple[Srv, str]] = []
        for service, records in zip(services, answers, strict=True):
            if not isinstance(records, ConnectFailed):
                found += [(server, service.transport) for server in _in_order(records)]
        if found:
            return await self._at(found)
        failed = [a for a in answers if isinstance(a, ConnectFailed)]
        usual = answers[-1]
        if not isinstance(usual, ConnectFailed) and not_offered(usual):
            raise NameNotFound(f"{domain} says in DNS that it offers no XMPP to clients")
        try:
            return await self._at(itself)
        except NameNotFound:
            raise failed[0] if failed else NameNotFound(_UNKNOWN.format(domain)) from None

    async def _servers(self, domain: str, *, websocket: bool) -> list[tuple[Srv, str]]:
        """The servers that SRV records name, with their transports; none without such records.

        The usual SRV name is asked for at the same time as NAPTR, which is optional and often
        filtered: so its silence is waited for once.
        """
        usual = default_service(domain)
        naptr, direct = await asyncio.gather(
            _or_failure(self._naptr(domain)), _or_failure(self._srv(usual))
        )
        found: list[tuple[Srv, str]] = []
        absent = False
        for service in () if isinstance(naptr, ConnectFailed) else select_services(naptr):
            if service.transport != "tls" and not websocket:
                continue
            records = await _or_failure(self._srv(service))
            if isinstance(records, ConnectFailed):
                log.info("%s", records)
                continue
            absent |= not_offered(records)
            found += [(server, service.transport) for server in _in_order(records)]
        if found:
            return found
        if isinstance(direct, ConnectFailed):
            raise direct
        servers = _in_order(direct)
        if not servers and (absent or not_offered(direct)):
            raise NameNotFound(
                f"{domain} says in DNS that it offers no SIP over TLS; ask its operator for the "
                "name of a server that does, or give one with its port"
            )
        return [(server, usual.transport) for server in servers]

    async def _at(self, servers: Sequence[tuple[Srv, str]]) -> tuple[Target, ...]:
        """Look up the first servers' addresses; what has none is left out, unless nothing has."""
        hosts = list(dict.fromkeys(server.host for server, _ in servers))[:MOST_SERVERS]
        answers = await asyncio.gather(*(_or_failure(self._addresses(host)) for host in hosts))
        addresses = {
            host: answer
            for host, answer in zip(hosts, answers, strict=True)
            if not isinstance(answer, ConnectFailed)
        }
        targets = lay_out(servers, addresses)
        if not targets:
            raise next(answer for answer in answers if isinstance(answer, ConnectFailed))
        return targets

    async def _addresses(self, host: str) -> tuple[str, ...]:
        if self._nameservers is None or host == "localhost":
            found = await self._watched(host, "address", self._from_system(host))
        else:
            answers = await asyncio.gather(
                _or_failure(self._ask(host, "AAAA")), _or_failure(self._ask(host, "A"))
            )
            failed = [a for a in answers if isinstance(a, ConnectFailed)]
            if len(failed) == len(answers):
                raise failed[0]
            records = [r for a in answers if isinstance(a, tuple) for r in a[:MOST_ADDRESSES]]
            found = [r.address for r in records if isinstance(r, A | AAAA)]
        if not found:
            raise NameNotFound(f"{host} has no IP address in DNS; check the spelling of the name")
        return alternate_families(found)

    async def _watched(self, name: str, kind: str, work: Awaitable[Answers]) -> Answers:
        try:
            answers = await work
        except ConnectFailed as e:
            if self.watcher is not None:
                self.watcher(Lookup(name, kind, failure=str(e)))
            raise
        if self.watcher is not None:
            self.watcher(Lookup(name, kind, tuple(str(answer) for answer in answers)))
        return answers

    async def _from_system(self, host: str) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except socket.gaierror as e:
            if e.errno in _NO_SUCH_NAME:
                raise NameNotFound(_UNKNOWN.format(host)) from e
            raise ConnectFailed(_SILENT.format(host)) from e
        except (TimeoutError, OSError, UnicodeError) as e:
            raise ConnectFailed(_SILENT.format(host)) from e
        return [str(entry[4][0]) for entry in found if entry[0] in _FAMILIES]

    async def _naptr(self, domain: str) -> tuple[Naptr, ...]:
        return tuple(
            Naptr(
                record.order,
                record.preference,
                record.flags.decode("latin-1"),
                record.service.decode("latin-1"),
                record.regexp.decode("latin-1"),
                _text(record.replacement),
            )
            for record in await self._ask_or_none(domain, "NAPTR")
            if isinstance(record, NAPTR)
        )

    async def _srv(self, service: Service) -> tuple[Srv, ...]:
        return tuple(
            Srv(record.priority, record.weight, record.port, _text(record.target))
            for record in await self._ask_or_none(service.name, "SRV")
            if isinstance(record, SRV)
        )

    async def _ask_or_none(self, name: str, kind: str) -> tuple[dns.rdata.Rdata, ...]:
        """The records; none where there is no such name."""
        try:
            return await self._ask(name, kind)
        except NameNotFound:
            return ()

    async def _ask(self, name: str, kind: str) -> tuple[dns.rdata.Rdata, ...]:
        """The first few records of a kind.

        Raises:
            NameNotFound: there is no such name.
            ConnectFailed: no name server gives a usable answer.
        """
        return await self._watched(name, kind, self._known_or_asked(name, kind))

    async def _known_or_asked(self, name: str, kind: str) -> tuple[dns.rdata.Rdata, ...]:
        now = time.monotonic()
        until, records = self._known.pop((name, kind), (0.0, ()))
        if until <= now:
            until, records = await self._asked(name, kind)
        self._known[name, kind] = (until, records)
        while len(self._known) > MOST_KNOWN:  # the one that was not asked for longest
            del self._known[next(iter(self._known))]
        return records

    async def _asked(self, name: str, kind: str) -> tuple[float, tuple[dns.rdata.Rdata, ...]]:
        try:
            answer = await self._stub().resolve(
                name + ".", kind, raise_on_no_answer=False, search=False
            )
        except dns.resolver.NXDOMAIN as e:
            raise NameNotFound(_UNKNOWN.format(name)) from e
        except dns.resolver.NoResolverConfiguration as e:
            raise ConnectFailed("this machine has no name server; is it connected?") from e
        except (dns.resolver.LifetimeTimeout, OSError) as e:
            raise ConnectFailed(_SILENT.format(name)) from e
        except dns.resolver.NoNameservers as e:
            raise ConnectFailed(
                f"the name server cannot say where {name} is; try again later, and if that does "
                "not help, ask the operator of that name"
            ) from e
        except dns.exception.DNSException as e:
            raise NameNotFound(f"{name!r} is no name that DNS can hold") from e
        left = min(answer.expiration - time.time(), MOST_KNOWN_SECONDS)
        return time.monotonic() + left, tuple(answer.rrset or ())[:MOST_RECORDS]

    def _stub(self) -> dns.asyncresolver.Resolver:
        """A new one each time: a machine that moves to another network gets other servers."""
        stub = dns.asyncresolver.Resolver(configure=self._nameservers is None)
        if self._nameservers is not None:
            stub.nameservers = [dns.nameserver.Do53Nameserver(*n) for n in self._nameservers]
        stub.timeout = self._timeout / 3
        stub.lifetime = self._timeout
        return stub


async def failing_over(
    targets: Iterable[Target],
    connect: Callable[[Target], Awaitable[T]],
    *,
    seconds: float = TARGET_SECONDS,
) -> T:
    """Connect to the first target that answers.

    Only silence and refusal lead to the next one. A certificate that does not prove the name ends
    it at once: the next server might prove it, but then nobody would hear that somebody stands
    where the first should be.

    Args:
        targets: In the order to try.
        connect: Makes the connection, and verifies the name.
        seconds: For each target.

    Raises:
        ConnectFailed: none could be reached; says how the last one failed.
        SecurityError: as `connect` raised it.
    """
    tried = 0
    failure: ConnectFailed | None = None
    for target in targets:
        tried += 1
        try:
            async with asyncio.timeout(seconds):
                return await connect(target)
        except ConnectFailed as e:
            failure = e
        except TimeoutError:
            failure = ConnectFailed(f"{target} did not answer in time")
        log.info("%s", failure)
    if failure is None:
        raise ConnectFailed("there is no server to connect to")
    if tried == 1:
        raise failure
    raise ConnectFailed(f"none of {tried} servers can be reached; the last: {failure}") from failure


_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
_NO_SUCH_NAME: Final = {
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name)
}
_UNKNOWN: Final = "there is no host named {}; check its spelling"
_SILENT: Final = "no name server answers the question where {} is; check the network"


def _text(name: dns.name.Name) -> str:
    """In lower case, without the last dot; "" for the root. Odd bytes come escaped."""
    return str(name).removesuffix(".").lower()


async def _or_failure(work: Awaitable[T]) -> T | ConnectFailed:
    """What it returns, or the failure, for a caller that has another way."""
    try:
        return await work
    except ConnectFailed as e:
        return e


def _in_order(records: Sequence[Srv]) -> tuple[Srv, ...]:
    # Sharing load by lot, not a secret: any generator will do.
    return order_servers(records, [random.random() for _ in records])  # noqa: S311 - see above
