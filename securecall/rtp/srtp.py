"""SRTP and SRTCP (RFC 3711, RFC 7714), the door of pylibsrtp.

Below `pylibsrtp.Session` on purpose: that allocates an `int *` for each packet, takes 1356 bytes at
most, and keeps the master key in memory. Calling the same libsrtp functions on buffers of our own
takes 1.1 instead of 1.5 us per packet (182 bytes, AES-256-GCM, one run), packets of `MAX_PACKET`
bytes, and lets the key be overwritten as soon as libsrtp has derived its session keys from it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final, NoReturn, Protocol

import pylibsrtp  # noqa: F401  (its import initialises libsrtp)
from pylibsrtp._binding import ffi, lib

from securecall.errors import ProtocolError, Unsupported, UsageError
from securecall.rtp.packet import MAX_PACKET
from securecall.secret import Secret

WINDOW: Final = 1024
"""Packets a late one may be behind the newest; older ones are refused as replays."""

MAX_SOURCES: Final = 32
"""Synchronisation sources an authenticated peer may open in one session."""

FIRST_SEQUENCES: Final = 1 << 15
"""A stream begins below this: a receiver that misses the first packets cannot know of a rollover.

It would take the wrong rollover counter and refuse everything (RFC 3711 3.3.1 starts it at 0).
"""

_TRAILER: Final = 4 + 16 + 128  # SRTCP index, longest tag, longest MKI


class SrtpProfile(enum.IntEnum):
    """Protection profiles by their DTLS-SRTP code point (RFC 5764 4.1.2, RFC 7714 14.2)."""

    SRTP_AES128_CM_SHA1_80 = 0x0001
    SRTP_AEAD_AES_128_GCM = 0x0007
    SRTP_AEAD_AES_256_GCM = 0x0008

    @property
    def key_length(self) -> int:
        """Bytes of the master key."""
        return 32 if self is SrtpProfile.SRTP_AEAD_AES_256_GCM else 16

    @property
    def salt_length(self) -> int:
        """Bytes of the master salt."""
        return 14 if self is SrtpProfile.SRTP_AES128_CM_SHA1_80 else 12


class Rejection(enum.StrEnum):
    """Why a packet was refused; stable names for counters."""

    AUTHENTICATION = "authentication"
    REPLAYED = "replayed"
    TOO_OLD = "too-old"
    MALFORMED = "malformed"
    TOO_MANY_SOURCES = "too-many-sources"
    OTHER = "other"


class SrtpError(ProtocolError):
    """A packet that SRTP refuses; raised as cheaply as possible, because floods are made of these.

    Attributes:
        rejection: Why.
    """

    rule = "RFC 3711 3.3"

    def __init__(self, rejection: Rejection) -> None:  # no super(): no text is made until asked for
        """Say why."""
        self.rejection = rejection

    def __str__(self) -> str:
        return f"SRTP packet refused: {self.rejection.value} [{self.rule}]"


class SrtpCounters:
    """How many packets were refused, and why."""

    __slots__ = ("_by_status",)

    def __init__(self) -> None:
        self._by_status = [0] * _STATUSES

    def refuse(self, status: int) -> SrtpError:
        """Count a refusal by its libsrtp status, and return what to raise."""
        self._by_status[status] += 1
        return SrtpError(_REJECTIONS[status])

    @property
    def refused(self) -> dict[Rejection, int]:
        """Packets refused so far, by cause; each cause has an entry."""
        counts = dict.fromkeys(Rejection, 0)
        for rejection, count in zip(_REJECTIONS, self._by_status, strict=True):
            counts[rejection] += count
        return counts

    @property
    def total(self) -> int:
        """All packets refused so far."""
        return sum(self._by_status)

    def __repr__(self) -> str:
        return f"SrtpCounters({', '.join(f'{k.value}={n}' for k, n in self.refused.items() if n)})"


# Places in libsrtp's srtp_err_status_t, and one of our own behind them.
_BAD_PARAMETER, _AUTHENTICATION, _CIPHER, _REPLAYED, _OLD = 2, 7, 8, 9, 10
_KEY_EXPIRED, _UNPARSABLE, _INDEX_OLD, _TOO_MANY_SOURCES = 15, 21, 26, 31
_STATUSES: Final = 32
_REJECTIONS: Final = [
    {
        _BAD_PARAMETER: Rejection.MALFORMED,
        _AUTHENTICATION: Rejection.AUTHENTICATION,
        _CIPHER: Rejection.AUTHENTICATION,
        _REPLAYED: Rejection.REPLAYED,
        _OLD: Rejection.TOO_OLD,
        _UNPARSABLE: Rejection.MALFORMED,
        _INDEX_OLD: Rejection.TOO_OLD,
        _TOO_MANY_SOURCES: Rejection.TOO_MANY_SOURCES,
    }.get(status, Rejection.OTHER)
    for status in range(_STATUSES)
]
_UNSENDABLE: Final = {
    _BAD_PARAMETER: "it is malformed",
    _UNPARSABLE: "it is malformed",
    _REPLAYED: "its sequence number was sent before",
    _OLD: "its sequence number is too old",
    _KEY_EXPIRED: "its key is used up",
}


class SrtpSession:
    """Both directions of one SRTP association; not to be used by two threads at once.

    Attributes:
        profile: The protection profile.
        counters: What was refused so far, SRTCP included.
        protect: Encrypt and authenticate an RTP packet; UsageError where it must not be sent.
        unprotect: Verify and decrypt an SRTP packet; SrtpError where it is refused.
        protect_rtcp: Encrypt and authenticate a compound RTCP packet.
        unprotect_rtcp: Verify and decrypt an SRTCP packet; SrtpError where it is refused.
    """

    __slots__ = (
        "_memory",
        "_rested",
        "counters",
        "profile",
        "protect",
        "protect_rtcp",
        "unprotect",
        "unprotect_rtcp",
    )

    protect: _Packets
    protect_rtcp: _Packets
    unprotect: _Packets
    unprotect_rtcp: _Packets

    def __init__(self, profile: SrtpProfile, send_key: Secret, receive_key: Secret) -> None:
        """Take the two master keys, each master key || master salt.

        Raises:
            UsageError: a key does not have the profile's length, or both are the same.
        """
        if send_key == receive_key:
            # One key in both directions is one key stream for two texts.
            raise UsageError("the two directions of SRTP need different keys")
        self.profile = profile
        self.counters = SrtpCounters()
        # The functions are closures, not methods: attribute look-ups are a tenth of their cost.
        self._memory = _Memory()
        self._rested: list[tuple[SrtpProfile, Secret, _Packets, _Packets]] = []
        self._send_with(send_key)
        self._receive_with(receive_key)

    def renew(
        self,
        profile: SrtpProfile,
        *,
        send_key: Secret | None,
        receive_key: Secret,
        received_with: Secret,
    ) -> None:
        """Go on with other keys. Under a new one packet indices begin anew.

        Under one of the peer's that it had before they go on: else whatever was recorded under it
        could be played again. The functions are others from now on.

        Args:
            profile: The same as before where we keep our key.
            send_key: None keeps ours, and its index with it. One that was used before must not
                come again: it would repeat a key stream.
            receive_key: The peer's.
            received_with: The peer's so far; not wiped before the session is closed.

        Raises:
            UsageError: a key does not have the profile's length, or our kept key is of another.
        """
        if send_key is None and profile is not self.profile:
            raise UsageError("another profile takes another key")
        self._rested.append((self.profile, received_with, self.unprotect, self.unprotect_rtcp))
        self.profile = profile
        if send_key is not None:
            self._send_with(send_key)
        for rested in self._rested:
            if rested[0] is profile and rested[1] == receive_key:
                self._rested.remove(rested)
                _, _, self.unprotect, self.unprotect_rtcp = rested
                return
        self._receive_with(receive_key)

    def _send_with(self, key: Secret) -> None:
        outbound, memory = _create(self.profile, key, lib.ssrc_any_outbound), self._memory
        self.protect = _protector(outbound, lib.srtp_protect, memory)
        self.protect_rtcp = _protector(outbound, lib.srtp_protect_rtcp, memory)

    def _receive_with(self, key: Secret) -> None:
        inbound, memory = _create(self.profile, key, lib.ssrc_any_inbound), self._memory
        known: set[bytes] = set()
        self.unprotect = _unprotector(
            inbound, lib.srtp_unprotect, memory, slice(8, 12), known, self.counters
        )
        self.unprotect_rtcp = _unprotector(
            inbound, lib.srtp_unprotect_rtcp, memory, slice(4, 8), known, self.counters
        )

    def close(self) -> None:
        """Let go of libsrtp's contexts, whose session keys are overwritten when they are freed.

        They are freed at once unless somebody keeps one of the four functions. From now on these
        raise UsageError.
        """
        self.protect = self.protect_rtcp = self.unprotect = self.unprotect_rtcp = _closed
        self._rested.clear()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError("an SrtpSession holds keys and is never serialised or copied")

    def __repr__(self) -> str:
        return f"SrtpSession({self.profile.name}, {self.counters!r})"


class _Buffer(Protocol):
    """What a cffi buffer offers; a slice of it is a copy."""

    def __getitem__(self, index: slice[int, int, None]) -> bytes: ...
    def __setitem__(self, index: slice[int, int, None], value: bytes) -> None: ...


class _Length(Protocol):
    """An `int *` of cffi."""

    def __getitem__(self, index: int) -> int: ...
    def __setitem__(self, index: int, value: int) -> None: ...


_Operation = Callable[[object, object, _Length], int]
_Packets = Callable[[bytes], bytes]


class _Memory:
    """Where a session's packets are worked on, one at a time."""

    __slots__ = ("buffer", "length", "start")

    def __init__(self) -> None:
        self.start: object = ffi.new("unsigned char[]", MAX_PACKET + _TRAILER)
        self.buffer: _Buffer = ffi.buffer(self.start)
        self.length: _Length = ffi.new("int *")


def _closed(_packet: bytes) -> bytes:
    raise UsageError("this SRTP session was closed")


def _create(profile: SrtpProfile, key: Secret, direction: int) -> object:
    """Return a libsrtp context that is freed with the last reference to it."""
    expected = profile.key_length + profile.salt_length
    if len(key) != expected:
        raise UsageError(f"{profile.name} takes {expected} bytes of key and salt, not {len(key)}")
    policy = ffi.new("srtp_policy_t *")
    for part, fill in (
        (policy.rtp, lib.srtp_crypto_policy_set_from_profile_for_rtp),
        (policy.rtcp, lib.srtp_crypto_policy_set_from_profile_for_rtcp),
    ):
        if fill(ffi.addressof(part), profile.value):
            raise Unsupported(f"this build of libsrtp lacks {profile.name}")
    policy.ssrc.type = direction
    policy.window_size = WINDOW
    # Repeating an index with other bytes would repeat an AEAD nonce (RFC 7714 8.1, RFC 3711 9.1).
    policy.allow_repeat_tx = 0
    master = ffi.new("unsigned char[]", expected)
    try:
        ffi.memmove(master, key.reveal(), expected)
        policy.key = master
        holder = ffi.new("srtp_t *")
        if lib.srtp_create(holder, policy):
            raise Unsupported(f"this build of libsrtp refuses {profile.name}")
    finally:
        ffi.memmove(master, bytes(expected), expected)
    return ffi.gc(holder[0], lib.srtp_dealloc)


def _protector(context: object, operation: _Operation, memory: _Memory) -> _Packets:
    start, buffer, length = memory.start, memory.buffer, memory.length

    def protect(packet: bytes) -> bytes:
        size = len(packet)
        if size > MAX_PACKET:
            raise UsageError(f"a packet of {size} bytes; the longest is {MAX_PACKET}")
        buffer[0:size] = packet
        length[0] = size
        status = operation(context, start, length)
        if status:
            raise _unsendable(status)
        return buffer[0 : length[0]]

    return protect


def _unprotector(
    context: object,
    operation: _Operation,
    memory: _Memory,
    source: slice[int, int, None],
    known: set[bytes],
    counters: SrtpCounters,
) -> _Packets:
    start, buffer, length = memory.start, memory.buffer, memory.length

    def unprotect(packet: bytes) -> bytes:
        size = len(packet)
        if size > MAX_PACKET:
            raise counters.refuse(_BAD_PARAMETER)
        ssrc = packet[source]
        # libsrtp keeps a stream for each source that authenticates once; a peer may not make it
        # keep any number of them.
        if ssrc not in known and len(known) >= MAX_SOURCES:
            raise counters.refuse(_TOO_MANY_SOURCES)
        buffer[0:size] = packet
        length[0] = size
        status = operation(context, start, length)
        if status:
            raise counters.refuse(status)
        known.add(ssrc)
        return buffer[0 : length[0]]

    return unprotect


def _unsendable(status: int) -> UsageError:
    return UsageError(
        f"libsrtp does not send this packet: {_UNSENDABLE.get(status, f'status {status}')}"
    )
