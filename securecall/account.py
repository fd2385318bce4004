"""One address of ours and the server that calls for it come through."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from securecall.address import Address, Scheme
from securecall.calls.carried import Engine
from securecall.calls.signaling import Signaling
from securecall.errors import Unsupported, UsageError
from securecall.media.description import Keying
from securecall.pjsua.signaling import PjsuaSignaling
from securecall.secret import Secret
from securecall.sip.connections import SipServer
from securecall.sip.digest import Login
from securecall.sip.registering import Watcher
from securecall.sip.registration import RegistrationState
from securecall.sip.signaling import SipSignaling
from securecall.transport.tls import PemPair

_SERVER: Final = re.compile(
    r"(wss://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.\-]+)(?::([0-9]{1,5}))?(/[!-~]*)?", re.ASCII
)
_LAST_PORT: Final = 65535
EngineName = Literal["native", "pjsua2"]
"""Who speaks SIP and carries the sound of an account's calls."""


class ProviderMode(enum.StrEnum):
    """What the server of an account is to its calls.

    PROXY: It passes on what both ends say; keys are made at the ends.
    GATEWAY: It leads into the telephone network. Keys of the media stand in the signalling (SDES),
        where every server on the way has them: all calls are HOP_BY_HOP.
    GATEWAY_DTLS: The same, but the gateway makes keys by DTLS, as those of browsers do.
    """

    PROXY = "proxy"
    GATEWAY = "gateway"
    GATEWAY_DTLS = "gateway-dtls"


@dataclass(slots=True, eq=False)
class Account:
    """An address under which we call and can be called.

    Attributes:
        address: Ours.
        signaling: What carries its calls; closed with the client.
        direct: No server stands in between; the address is our key.
        server_host: Where the server is, "" where the signalling knows; see `towards`.
        provider_mode: What that server is to our calls.
        engine: What carries the sound of its calls, too; None where we do.
    """

    address: Address
    signaling: Signaling = field(repr=False)
    direct: bool = False
    server_host: str = ""
    provider_mode: ProviderMode = ProviderMode.PROXY

    @property
    def is_trunk(self) -> bool:
        """Whether it leads into the telephone network."""
        return self.provider_mode is not ProviderMode.PROXY

    engine: Engine | None = None

    @property
    def towards(self) -> str:
        """The host we face, to know which of our addresses is seen there."""
        if isinstance(self.signaling, SipSignaling):
            return self.signaling.towards or self.server_host
        return self.server_host

    @property
    def listening(self) -> tuple[str, int] | None:
        """Host and port listened on, None if calls come in by the connection we make."""
        return self.signaling.listening if isinstance(self.signaling, SipSignaling) else None

    @property
    def state(self) -> RegistrationState | None:
        """Where the registration stands, None for an account that does not register."""
        if isinstance(self.signaling, SipSignaling | PjsuaSignaling):
            return self.signaling.registration
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """How an account is reached and proved, as `Client.sign_in` was told.

    Attributes:
        address: Ours, of SIP.
        password: None where the server asks for none.
        user: As the server knows us, "" for the address's user part.
        realm: The one realm the password is for, "" for the server's own.
        server: Host and port to connect to, or "host", "host:port", "wss://host:port/path"; None
            and "host" without a port have the servers found in DNS (RFC 3263).
        server_name: Name its certificate must prove, "" for the address's host.
        authorities: PEM file of certificate authorities to trust instead of the system's.
        listen: Where to take calls from the server, None for on the connection we make.
        certificate: Our listener's, with `listen`.
        register: Tell the server where we are.
        approved: Only with algorithms that NIST approves.
        provider_mode: What the server is to our calls.
        engine: "native", or "pjsua2" for PJSIP.
    """

    address: Address
    password: Secret | None = field(default=None, repr=False)
    user: str = ""
    realm: str = ""
    server: tuple[str, int] | str | None = None
    server_name: str = ""
    authorities: Path | None = None
    listen: tuple[str, int] | None = None
    certificate: PemPair | None = None
    register: bool = False
    approved: bool = False
    provider_mode: ProviderMode = ProviderMode.PROXY
    engine: EngineName = "native"

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.address.scheme is not Scheme.SIP:
            raise UsageError(f"{self.address.short} is not a sip address")
        if self.listen is not None and self.certificate is None:
            raise UsageError("listening for a server needs a certificate")
        if self.engine not in ("native", "pjsua2"):
            raise UsageError(f"there is no engine {self.engine!r}: native, or pjsua2")
        if self.engine == "pjsua2":
            self._require_for_pjsua2()
        if self.password is None and (self.user or self.realm):
            raise UsageError("a user or a realm without a password proves nothing")
        if self.approved and self.provider_mode is not ProviderMode.PROXY:
            raise UsageError("the fips profile makes no calls into the telephone network")

    def _require_for_pjsua2(self) -> None:
        if self.approved:
            raise Unsupported("the fips profile makes no calls with PJSIP, whose TLS is its own")
        if self.listen is not None or (isinstance(self.server, str) and "://" in self.server):
            raise Unsupported("with PJSIP an account has one TLS connection to its server")

    @property
    def where(self) -> SipServer:
        """The server, and what its certificate has to prove.

        Raises:
            UsageError: the text names no server.
        """
        name = self.server_name or self.address.host
        if self.server is None:
            return SipServer(host=self.address.host, port=0, name=name)
        if not isinstance(self.server, str):
            return SipServer(host=self.server[0], port=self.server[1], name=name)
        host, port, path = parse_server(self.server)
        return SipServer(host=host, port=port, name=name, path=path)

    @property
    def login(self) -> Login | None:
        """What the server is shown where it asks for a password, None without one."""
        if self.password is None:
            return None
        names = (self.realm,) if self.realm else (self.address.host, self.where.name)
        return Login(
            user=self.user or self.address.user,
            password=self.password,
            realms=tuple(name.lower() for name in names),
            learns=not self.realm,
            md5=not self.approved,
        )


async def open_account(
    how: SignIn,
    *,
    instance: str,
    watcher: Watcher,
) -> Account:
    """Be ready to call through a server, and registered there if that is wished.

    Args:
        how: What is known of it.
        instance: `urn:uuid:` of this installation.
        watcher: Told of every change of the registration.

    Raises:
        ConnectFailed, RegistrationFailed: the server is not there, or cannot do it now.
        LoginRefused, CertificateError: a person has to act.
        LocalError: the listener's address, or a certificate, cannot be used.
        Unsupported: the engine is not installed, or lacks something.
    """
    if how.engine == "pjsua2":
        return await _open_pjsua2(how, watcher)
    signaling = await SipSignaling.open(
        local=how.address,
        listen=how.listen,
        listen_certificate=how.certificate,
        server=how.where,
        authorities=how.authorities,
        login=how.login,
        approved=how.approved,
    )
    if how.register:
        try:
            await signaling.sign_in(instance=instance, watcher=watcher)
        except BaseException:
            await signaling.close()
            raise
    return Account(how.address, signaling, provider_mode=how.provider_mode)


async def _open_pjsua2(how: SignIn, watcher: Watcher) -> Account:
    keying = Keying.SDES if how.provider_mode is ProviderMode.GATEWAY else Keying.DTLS_SRTP
    signaling = await PjsuaSignaling.open(
        local=how.address,
        server=how.where,
        authorities=how.authorities,
        login=how.login,
        keying=keying,
        register=how.register,
        watcher=watcher,
    )
    return Account(
        how.address,
        signaling,
        provider_mode=how.provider_mode,
        engine=Engine("PJSIP", keying),
    )


def parse_server(text: str) -> tuple[str, int, str]:
    """Read "host", "host:port" or "wss://host:port/path".

    Returns:
        Host, port (0 where none is named), and the path of the WebSocket ("" for none).

    Raises:
        UsageError: it names no server.
    """
    found = _SERVER.fullmatch(text)
    if found is None or (found[4] and not found[1]) or int(found[3] or 0) > _LAST_PORT:
        raise UsageError(
            f"{text[:80]!r} names no server: write host, host:port or wss://host:port/path"
        )
    secure, host, port, path = found.groups()
    return host.strip("[]"), int(port or 0), (path or "/") if secure else ""
