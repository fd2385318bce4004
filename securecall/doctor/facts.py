"""What an examination saw, without any judgement of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from securecall.sip.registration import Granted
from securecall.transport.certificate import ServerCertificate
from securecall.transport.srv import Lookup, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What would be needed to sign in.

    Attributes:
        address: Ours, for people.
        domain: Its host.
        user: As the server knows us.
        host: Where the server is looked for.
        port: Its port if one was named, else 0.
        name: What its certificate must prove.
        websocket: It is to be reached by WebSocket.
        named: The server was given, not found by the address.
    """

    address: str
    domain: str
    user: str
    host: str
    port: int = 0
    name: str
    websocket: bool = False
    named: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """This machine.

    Attributes:
        now: Its clock, Unix seconds.
        installed: When this program was put here, by the same clock.
        opus: libopus is found.
        missing: Extras that are not installed.
    """

    now: float
    installed: float = 0.0
    opus: bool = True
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What DNS said.

    Attributes:
        lookups: Everything that was asked.
        targets: What it led to, in the order to try.
        failure: Why it led nowhere, in words.
        unknown: It does, as far as anybody can know: there is no such name or service.
    """

    lookups: tuple[Lookup, ...] = ()
    targets: tuple[Target, ...] = ()
    failure: str = ""
    unknown: bool = False


class Knock(enum.Enum):
    """What came of a TCP connection."""

    ANSWERED = enum.auto()
    REFUSED = enum.auto()
    SILENT = enum.auto()
    UNREACHABLE = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Encryption:
    """What came of TLS.

    Attributes:
        version: e.g. "TLSv1.3"; "" where nothing was agreed on, or the certificate refused.
        suite: The cipher suite.
        group: The key exchange, "" if not known.
        failure: Why there is no TLS, in words.
        code: Why the certificate was refused: `CertificateError.code`.
        fault: The same in words, "" if it was not refused.
        remedy: Who can do what about it.
        certificate: What the server showed, None if nobody could look. Claims, if it was refused.
    """

    version: str = ""
    suite: str = ""
    group: str = ""
    failure: str = ""
    code: int = 0
    fault: str = ""
    remedy: str = ""
    certificate: ServerCertificate | None = None

    @property
    def proved(self) -> bool:
        """The server is who it should be."""
        return not self.failure and not self.fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One target, and what came of knocking there.

    Attributes:
        target: Where.
        knock: What came of TCP.
        encryption: What came of TLS, None where it was not tried.
    """

    target: Target
    knock: Knock
    encryption: Encryption | None = None

    @property
    def proved(self) -> bool:
        """The server there is who it should be."""
        return self.encryption is not None and self.encryption.proved


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server said to OPTIONS, before it saw anything of our password.

    Attributes:
        status: 0 where no answer came.
        phrase: Its reason phrase.
        product: Its Server or User-Agent.
        allow: The methods.
        supported: The extensions.
        date: Its clock, Unix seconds, None where it did not say.
        failure: Why there is no answer, in words.
        broken: What came was no SIP.
    """

    status: int = 0
    phrase: str = ""
    product: str = ""
    allow: tuple[str, ...] = ()
    supported: tuple[str, ...] = ()
    date: float | None = None
    failure: str = ""
    broken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A way the server would take a password."""

    realm: str
    algorithm: str
    qop: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What came of one registration; nothing of the password, or of what was made of it.

    Attributes:
        challenged: The server asked for a password.
        offers: How, before it saw anything of it.
        answered: It got an answer.
        weaker: It then asked for a weaker hash, which is refused.
        status: The last one, 0 where none came.
        granted: What the server granted.
        path: It noted the way by which calls come to us (RFC 3327).
        others: How many other devices have this address.
        removed: Whether the trial was taken back, None where there was nothing to take back.
        failure: Why there is no answer, in words.
    """

    challenged: bool = False
    offers: tuple[Offer, ...] = ()
    answered: bool = False
    weaker: bool = False
    status: int = 0
    granted: Granted | None = None
    path: bool = False
    others: int = 0
    removed: bool | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All of it.

    Attributes:
        wanted: What would be needed.
        machine: This machine.
        names: DNS.
        places: Those that were knocked at, in the order to try.
        answer: OPTIONS, None where nobody could be asked.
        registered: None where it was not tried.
        password: One was given.
    """

    wanted: Wanted
    machine: Machine
    names: Names = field(default_factory=Names)
    places: tuple[Place, ...] = ()
    answer: Answer | None = None
    registered: Registered | None = None
    password: bool = False


def decisive(places: tuple[Place, ...]) -> Place | None:
    """Which place an account ends up at: the first that speaks TLS, right or wrong."""
    return next((p for p in places if p.encryption and not p.encryption.failure), None)
