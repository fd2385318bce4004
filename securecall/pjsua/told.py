"""What PJSIP's thread is told of an account, and what it tells; calls go by numbers of ours."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from securecall.errors import SecurityError
from securecall.media.description import Direction, Keying
from securecall.media.statistics import AudioStatistics
from securecall.pjsua.rings import Rings
from securecall.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the account is.

    Attributes:
        uri: Our address.
        domain: Where to register, "" for nowhere.
        proxy: The next hop, "host:port"; its certificate has to prove that host.
        authorities: PEM file of roots that may vouch for it.
        own_host: Our address that faces it.
        keying: SDES, or DTLS_SRTP where the build has it.
        user, realm, password: What the server is shown, no password for nothing.
    """

    uri: str
    domain: str
    proxy: str
    authorities: Path
    own_host: str
    keying: Keying
    user: str = ""
    realm: str = ""
    password: Secret | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Registered:
    """The registrar answered, or could not be asked; no seconds where we are gone from it."""

    status: int
    reason: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Connected:
    """There is a connection, whose certificate was verified."""

    remote: str
    cipher: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A connection ended, or none came about.

    Attributes:
        fault: What is wrong with the certificate, "" for nothing.
    """

    fault: str


@dataclass(frozen=True, slots=True)
class Rang:
    """Somebody calls.

    Attributes:
        name: Call-ID.
        rings: The call's sound.
        message: Their whole INVITE, which may hold a key.
    """

    number: int
    name: str
    rings: Rings = field(repr=False)
    message: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Alerting:
    """The callee's device alerts a person."""

    number: int


@dataclass(frozen=True, slots=True)
class Taken:
    """A person took our call."""

    number: int


@dataclass(frozen=True, slots=True)
class Replied:
    """An INVITE of ours, the first or a later one, was answered for good.

    Attributes:
        message: The whole answer, "" where none came; it may hold a key.
    """

    number: int
    status: int
    message: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sounding:
    """There is sound, under SRTP; told again whenever that was agreed on anew.

    Attributes:
        direction: Ours.
        profile: Of SRTP, as SDP names it.
    """

    number: int
    direction: Direction
    profile: str


@dataclass(frozen=True, slots=True)
class Unprotected:
    """The sound of a call is not protected, or nothing says that it is."""

    number: int
    error: SecurityError


@dataclass(frozen=True, slots=True)
class Pressed:
    """The peer pressed a key."""

    number: int
    digit: str


@dataclass(frozen=True, slots=True)
class Transferred:
    """The peer asked us to call another; it was refused."""

    number: int
    target: str


@dataclass(frozen=True, slots=True)
class SentOn:
    """What comes of our wish that the peer call another.

    Attributes:
        status: Of that other call, as the peer says; or of our wish.
        final: Nothing more will be told.
    """

    number: int
    status: int
    final: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """How the sound of a call fares.

    Attributes:
        digits: The peer takes digits (RFC 4733).
    """

    number: int
    statistics: AudioStatistics
    digits: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """A call is over: the last status of SIP, and what was said with it."""

    number: int
    status: int
    reason: str


Told = (
    Registered
    | Connected
    | Disconnected
    | Rang
    | Alerting
    | Taken
    | Replied
    | Sounding
    | Unprotected
    | Pressed
    | Transferred
    | SentOn
    | Measured
    | Ended
)


def profile_of(dump: str, place: int) -> str:
    """The SRTP profile under which PJSIP says that a stream is, "" where it does not say so.

    The dump begins with the peer's name as it gave it, which may say anything, on lines of its own
    as well; so only what stands behind the last mark of PJSIP's own is read.

    Args:
        dump: What PJSIP prints of a call.
        place: Of the stream among those of the call.
    """
    _, mark, media = dump.rpartition("Call time:")
    found = re.search(
        rf"^[ \t]*#{place} audio [^\n]*\n[ \t]*SRTP status: Active\s+Crypto-suite: (\w+)\s*$",
        media,
        re.MULTILINE,
    )
    return found[1] if mark and found is not None else ""
