"""What PJSIP's thread is told of an account, and what it tells; calls go by numbers of ours."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from securecall.errors import SecurityError
from securecall.media.description import Direction, Keying, MediaDescription
from securecall.media.statistics import AudioStatistics
from securecall.pjsua.rings import Rings
from securecall.secret import Secret
from securecall.sip.body import read_description
from securecall.sip.grammar import SipError
from securecall.sip.message import Request, parse_message
from securecall.sip.sdp import parse_description


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
class Gone:
    """PJSIP failed; there is nothing of it any more."""


@dataclass(frozen=True, slots=True)
class Rang:
    """Somebody calls.

    Attributes:
        name: Call-ID.
        rings: The call's sound.
    """

    number: int
    name: str
    rings: Rings = field(repr=False)
    invite: Request


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
class Accepted:
    """We took a call; our whole answer, which may hold a key."""

    number: int
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
    """The peer asked us to call another; it was told that we do not."""

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
    | Gone
    | Rang
    | Alerting
    | Taken
    | Replied
    | Accepted
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


def invite_of(text: str, keying: Keying) -> Request:
    """Read somebody's INVITE by our own grammar, before PJSIP acts on what it offers.

    PJSIP is laxer, takes crypto lines with parameters that it does not keep to, and without
    DTLS-SRTP its release 2.15.1 reads address 0 once it was offered some.

    Raises:
        SipError: it is malformed, or offers no sound with keys that we take; with the status.
    """
    invite = parse_message(text.encode("utf-8", "surrogateescape"))
    if not isinstance(invite, Request):
        raise SipError("a response that begins a call")
    offer = read_description(invite)
    if offer is None:
        if invite.body:
            raise SipError("a body that PJSIP could take for a description", status=415)
        return invite  # PJSIP describes first
    lines = [line for line in offer.media if line.media.lower() == "audio"]
    keyed = any(_keyed(line, keying) for line in lines)
    deadly = keying is Keying.SDES and any("TLS" in line.protocol.upper() for line in lines)
    if deadly or not keyed:
        raise SipError("no sound with keys that are taken", status=488)
    return invite


def require_sound(offer: str) -> None:
    """Refuse a change of a call after which PJSIP has no sound to describe: it aborts then.

    Raises:
        SipError: the offer is malformed, or has no sound for us by IPv4.
    """
    for line in parse_description(offer.encode("utf-8", "surrogateescape")).media:
        talks = any(codec.name.lower() not in _NO_SOUND for codec in line.codecs)
        if line.media.lower() == "audio" and line.port and talks and _ipv4(line.host):
            return
    raise SipError("no sound any more", status=488)


_NO_SOUND: Final = ("telephone-event", "cn")


def _ipv4(host: str) -> bool:
    try:
        _ = IPv4Address(host)
    except ValueError:
        return False
    return True


def _keyed(line: MediaDescription, keying: Keying) -> bool:
    taken = keying is not Keying.SDES or line.crypto
    return bool(line.port and line.keying is keying and taken)
