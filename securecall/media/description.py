"""What two ends say about media before it flows: the nouns of the seam, free of any syntax."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from securecall.media.sdes import CryptoLine
from securecall.transport.candidate import Candidate as Candidate
from securecall.transport.candidate import LocalIce as LocalIce


class Kind(enum.StrEnum):
    """A medium."""

    AUDIO = "audio"
    VIDEO = "video"
    TEXT = "text"


class Direction(enum.StrEnum):
    """Which way a medium flows, seen from the describer (RFC 3264 5.1)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"


def mirrored(direction: Direction) -> Direction:
    """The same way, seen from the other end."""
    return _MIRROR[direction]


def within(direction: Direction, limit: Direction) -> Direction:
    """What both let pass, seen from the same end."""
    return _FLOWING[_FLOWS[direction] & _FLOWS[limit]]


def held(direction: Direction) -> Direction:
    """What is left of a direction of ours while we hold the other end."""
    return within(direction, Direction.SENDONLY)


_MIRROR = {
    Direction.SENDRECV: Direction.SENDRECV,
    Direction.SENDONLY: Direction.RECVONLY,
    Direction.RECVONLY: Direction.SENDONLY,
    Direction.INACTIVE: Direction.INACTIVE,
}


_FLOWS = {  # bits: we send, we receive
    Direction.INACTIVE: 0,
    Direction.SENDONLY: 1,
    Direction.RECVONLY: 2,
    Direction.SENDRECV: 3,
}
_FLOWING = {flows: direction for direction, flows in _FLOWS.items()}


class Setup(enum.StrEnum):
    """Who begins the DTLS handshake (RFC 4145, RFC 5763 5)."""

    ACTPASS = "actpass"
    ACTIVE = "active"
    PASSIVE = "passive"


class Keying(enum.StrEnum):
    """How the describer means to key a medium."""

    DTLS_SRTP = "dtls-srtp"
    SDES = "sdes"
    NONE = "none"


class Gate(enum.StrEnum):
    """Whether media passes, in both directions alike.

    CLOSED: nothing captured leaves, nothing received is opened, decoded, delivered or kept.
    VERIFYING: audio only, so that people can read the words to each other.
    OPEN: all media.
    """

    CLOSED = "closed"
    VERIFYING = "verifying"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One digest of a DTLS certificate (RFC 8122).

    Attributes:
        algorithm: Lower-case hash name, e.g. "sha-256".
        value: The digest's bytes.
    """

    algorithm: str
    value: bytes

    def __str__(self) -> str:
        """The canonical line "alg AA:BB:..", as hashed by the identity handshake."""
        return f"{self.algorithm} {self.value.hex(':').upper()}"


@dataclass(frozen=True, slots=True)
class Codec:
    """One codec on offer: an rtpmap and its fmtp.

    Attributes:
        payload_type: 0..127.
        name: As registered; compared without case ("opus", "G722", "PCMU", "PCMA").
        clock_rate: RTP clock, Hz.
        channels: As in the rtpmap (2 for opus, always).
        parameters: The fmtp's key=value pairs, keys in lower case.
        feedback: What the describer understands about it in RTCP (RFC 4585 4.2), such as "nack".
    """

    payload_type: int
    name: str
    clock_rate: int
    channels: int = 1
    parameters: tuple[tuple[str, str], ...] = ()
    feedback: tuple[str, ...] = ()

    def parameter(self, name: str) -> str:
        """One parameter of the fmtp, "" where it is not there."""
        return next((value for key, value in self.parameters if key == name), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaDescription:
    """One m-line.

    Attributes:
        kind: The medium, or None for one we do not know (kept, answered with port 0).
        media: The m-line's media word as it stood.
        protocol: The transport word, e.g. "UDP/TLS/RTP/SAVPF".
        formats: The m-line's format list, verbatim.
        host, port: Where plain RTP without ICE is to be sent; port 0 = refused or disabled.
        keying: What the protocol word and attributes amount to.
        fingerprints: Of this m-line, falling back to the session's.
        has_crypto: An a=crypto line stands here, of whatever kind.
        crypto: Those of them that a gateway account could take.
        identity_hint: a=x-securecall-id, "" if absent; a hint only.
        ssrc: Of what the describer sends here, None where it does not say.
        rtx_ssrc: Of what it sends again (RFC 4588), None for none.
        extensions: Header extensions it can take, and under which number (RFC 8285).
        bundle_only: The line has no port of its own: refused by whoever bundles nothing
            (RFC 8843 6).
        extended_reports: What the describer wants to be told in RTCP (RFC 3611 5).
        content: What is shown, "slides" for a screen (RFC 4796); "" for a camera, or unsaid.
    """

    kind: Kind | None
    media: str
    protocol: str
    port: int
    host: str = ""
    formats: tuple[str, ...] = ()
    mid: str = ""
    direction: Direction = Direction.SENDRECV
    codecs: tuple[Codec, ...] = ()
    keying: Keying = Keying.NONE
    fingerprints: tuple[Fingerprint, ...] = ()
    setup: Setup | None = None
    has_crypto: bool = False
    crypto: tuple[CryptoLine, ...] = ()
    rtcp_mux: bool = False
    ice_ufrag: str = ""
    ice_pwd: str = field(default="", repr=False)
    candidates: tuple[Candidate, ...] = ()
    end_of_candidates: bool = False
    identity_hint: str = ""
    ptime_ms: int = 20
    cname: str = ""
    ssrc: int | None = None
    rtx_ssrc: int | None = None
    extensions: tuple[tuple[int, str], ...] = ()
    bundle_only: bool = False
    content: str = ""
    extended_reports: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether the line is there for its place alone (RFC 3264 6)."""
        return not self.port and not self.bundle_only


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A whole offer or answer.

    Attributes:
        media: The m-lines in order.
        all_fingerprints: Every a=fingerprint of the document, session and media level, in order;
            what the identity handshake hashes as fp_sent and fp_received.
        bundle: mids of a=group:BUNDLE.
        ice_lite: The describer is an ICE-lite agent.
        trickle: It takes candidates that are found later (RFC 8838), as the protocol says, too.
    """

    media: tuple[MediaDescription, ...]
    all_fingerprints: tuple[Fingerprint, ...] = ()
    bundle: tuple[str, ...] = ()
    ice_lite: bool = False
    trickle: bool = False

    @property
    def audio(self) -> MediaDescription | None:
        """The first audio m-line that is not refused."""
        return next((m for m in self.media if m.kind is Kind.AUDIO and m.port), None)
