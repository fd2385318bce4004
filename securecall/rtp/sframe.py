"""SFrame (RFC 9605) over one RTP packet at a time: what no server on the way can open or move.

The payload of an RTP packet is `0xE0 || SFrame ciphertext`; the ciphertext is a header (KID, CTR),
the encrypted payload and a tag. The payload type and the m-line's `mid` are authenticated with it
(see `rtp_metadata`), so a packet moved to another stream does not open.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from securecall.errors import ProtocolError, UsageError
from securecall.rtp.hkdf import hkdf_expand, hkdf_extract
from securecall.secret import Secret

DESCRIPTOR: Final = 0xE0
"""First payload byte: bits S, E and T; the other five are sent as 0 and ignored."""

WINDOW: Final = 1024
"""Packets of one KID a late one may be behind the newest."""

ALARM_RATE: Final = 0.05
"""Share of failed packets within a second above which the integrity alarm goes off."""

_MAX_KIDS: Final = 256
_MAX_U64: Final = 2**64 - 1
_SUITE: Final = 0x0005  # AES_256_GCM_SHA512_128 (RFC 9605 8.1), the only one: nothing to negotiate
_KEY_LENGTH: Final = 32
_NONCE_LENGTH: Final = 12
_RULE: Final = "RFC 9605 4.4.4"

_Crypt = Callable[[bytes, bytes, bytes], bytes]


class SframeFailure(enum.StrEnum):
    """Why a packet was refused; stable names for counters."""

    PLAINTEXT = "plaintext"
    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown-key"
    REPLAYED = "replayed"
    TOO_OLD = "too-old"
    AUTHENTICATION = "authentication"


class SframeError(ProtocolError):
    """A packet that SFrame refuses.

    Attributes:
        failure: Why.
    """

    rule = _RULE

    def __init__(self, failure: SframeFailure) -> None:  # no super(): cheap, see SrtpError
        """Say why."""
        self.failure = failure

    def __str__(self) -> str:
        return f"SFrame packet refused: {self.failure.value} [{self.rule}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrityAlarm:
    """More packets failed than a healthy path explains: somebody alters or injects media.

    Attributes:
        failed: Packets refused in the period, replays not counted.
        opened: Packets opened in the period.
        seconds: Length of the period.
    """

    failed: int
    opened: int
    seconds: float


class SframeSender:
    """Seals payloads under one KID; the counter lives here and only ever grows.

    One sender per encoder instance; two of them with the same base key and KID would repeat nonces.
    So it cannot be copied, reset or serialised.
    """

    __slots__ = ("_counter", "_encrypt", "_kid", "_salt", "kid")

    def __init__(self, base_key: Secret, kid: int) -> None:
        """Derive the key of this KID from the call's base key.

        Raises:
            UsageError: the KID does not fit 64 bits.
        """
        cipher, self._salt = _derive(kid, base_key)
        self._encrypt = cipher.encrypt
        self._counter = 0
        self._kid = kid if kid < 8 else None
        self.kid = kid

    @property
    def sealed(self) -> int:
        """Packets sealed so far, which is the next counter."""
        return self._counter

    def seal(self, payload: bytes, metadata: bytes = b"") -> bytes:
        """Return the SFrame ciphertext of `payload`; `metadata` is authenticated, not sent."""
        counter = self._counter
        self._counter = counter + 1
        if self._kid is not None and counter > 7:
            size = (counter.bit_length() + 7) >> 3
            header = (self._kid << 4 | 7 + size).to_bytes(1) + counter.to_bytes(size)
        else:
            header = build_header(self.kid, counter)
        nonce = (self._salt ^ counter).to_bytes(_NONCE_LENGTH)
        return header + self._encrypt(nonce, payload, header + metadata)

    def seal_rtp(self, payload: bytes, metadata: bytes) -> bytes:
        """Return the RTP payload that carries `payload`; see `rtp_metadata`."""
        return b"\xe0" + self.seal(payload, metadata)

    def __copy__(self) -> NoReturn:
        raise UsageError("an SframeSender is not copied: its nonces would repeat")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise UsageError("an SframeSender is not copied: its nonces would repeat")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError("an SframeSender is never serialised: its nonces would repeat")

    def __repr__(self) -> str:
        return f"SframeSender(kid={self.kid}, sealed={self._counter})"


class SframeReceiver:
    """Opens what the peer's senders sealed, each KID with its own key and window.

    Attributes:
        opened: Packets opened so far.
        failures: Packets refused so far, by cause; each cause has an entry.
    """

    __slots__ = (
        "_keys",
        "_period_failed",
        "_period_opened",
        "_period_start",
        "_unused",
        "failures",
        "opened",
    )

    def __init__(self) -> None:
        self.opened = 0
        self.failures = dict.fromkeys(SframeFailure, 0)
        self._keys: dict[int, _Stream] = {}
        self._unused: dict[int, Secret] = {}  # base keys under which nothing came yet
        self._period_start: float | None = None
        self._period_opened = 0
        self._period_failed = 0

    def add_key(self, kid: int, base_key: Secret) -> None:
        """Accept packets of this KID from now on; its key is derived for the first of them.

        Of the streams a peer may have most calls see one.

        Raises:
            UsageError: the KID is known already (its window would be forgotten), does not fit
                64 bits, or is one too many.
        """
        _require_kid(kid)
        if kid in self._keys or kid in self._unused:
            raise UsageError(f"KID {kid} has a key; KIDs are never reused")
        if len(self._keys) + len(self._unused) >= _MAX_KIDS:
            raise UsageError(f"more than {_MAX_KIDS} KIDs")
        self._unused[kid] = Secret(base_key.reveal())

    def open(self, sealed: bytes, metadata: bytes = b"") -> bytes:
        """Return the payload of an SFrame ciphertext.

        Raises:
            SframeError: it is malformed, of an unknown KID, a replay, or not authentic.
        """
        try:
            kid, counter, size = parse_header(sealed)
        except ProtocolError:
            raise self._fail(SframeFailure.MALFORMED) from None
        stream = self._keys.get(kid)
        if stream is None:
            stream = self._first(kid)
        behind = stream.newest - counter
        if behind >= 0:
            if behind >= WINDOW:
                raise self._fail(SframeFailure.TOO_OLD)
            if stream.seen >> behind & 1:
                raise self._fail(SframeFailure.REPLAYED)
        nonce = (stream.salt ^ counter).to_bytes(_NONCE_LENGTH)
        try:
            payload = stream.decrypt(nonce, sealed[size:], sealed[:size] + metadata)
        except InvalidTag:
            raise self._fail(SframeFailure.AUTHENTICATION) from None
        # Only what is authentic may move the window.
        if behind < 0:
            ahead = -behind
            stream.seen = (stream.seen << ahead | 1) & _WINDOW_MASK if ahead < WINDOW else 1
            stream.newest = counter
        else:
            stream.seen |= 1 << behind
        self.opened += 1
        return payload

    def open_rtp(self, payload: bytes, metadata: bytes) -> bytes:
        """Return what `seal_rtp` was given; plaintext is refused unconditionally.

        Raises:
            SframeError: as `open`, and where the payload is no SFrame at all.
        """
        if not payload or payload[0] < DESCRIPTOR:
            raise self._fail(SframeFailure.PLAINTEXT)
        return self.open(payload[1:], metadata)

    def check_integrity(self, *, now: float) -> IntegrityAlarm | None:
        """Judge the last period of at least a second; to be called about once a second.

        Replays are left out: networks duplicate packets, and nothing of them gets through.
        """
        if self._period_start is None:
            self._period_start = now
        seconds = now - self._period_start
        if seconds < 1.0:
            return None
        failed = sum(self.failures.values()) - self.failures[SframeFailure.REPLAYED]
        alarm = IntegrityAlarm(
            failed=failed - self._period_failed,
            opened=self.opened - self._period_opened,
            seconds=seconds,
        )
        self._period_start, self._period_failed, self._period_opened = now, failed, self.opened
        return alarm if alarm.failed > ALARM_RATE * (alarm.failed + alarm.opened) else None

    def _first(self, kid: int) -> _Stream:
        base_key = self._unused.pop(kid, None)
        if base_key is None:
            raise self._fail(SframeFailure.UNKNOWN_KEY)
        cipher, salt = _derive(kid, base_key)
        base_key.wipe()
        self._keys[kid] = stream = _Stream(cipher.decrypt, salt)
        return stream

    def _fail(self, failure: SframeFailure) -> SframeError:
        self.failures[failure] += 1
        return SframeError(failure)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError("an SframeReceiver holds keys and is never serialised or copied")

    def __repr__(self) -> str:
        failures = {k.value: n for k, n in self.failures.items() if n}
        kids = sorted((*self._keys, *self._unused))
        return f"SframeReceiver(kids={kids}, opened={self.opened}, {failures})"


def rtp_metadata(payload_type: int, mid: str) -> bytes:
    """Return what a packet is bound to: u8 payload type (no marker) || UTF-8 of the m-line's mid.

    Constant for a stream, so made once. For RTX use the original's payload type.
    """
    return bytes((payload_type & 0x7F,)) + mid.encode()


def build_header(kid: int, counter: int) -> bytes:
    """Return the SFrame header: X|K(3)|Y|C(3), then KID and CTR where they do not fit (4.3)."""
    if kid < 8:
        config, kid_bytes = kid << 4, b""
    else:
        size = (kid.bit_length() + 7) >> 3
        config, kid_bytes = 0x80 | (size - 1) << 4, kid.to_bytes(size)
    if counter < 8:
        return bytes((config | counter,)) + kid_bytes
    size = (counter.bit_length() + 7) >> 3
    return bytes((config | 0x08 | size - 1,)) + kid_bytes + counter.to_bytes(size)


def parse_header(sealed: bytes) -> tuple[int, int, int]:
    """Return KID, CTR and length of the header.

    Raises:
        ProtocolError: the header reaches beyond the data.
    """
    if not sealed:
        raise ProtocolError("empty SFrame ciphertext", rule="RFC 9605 4.3")
    config = sealed[0]
    at = 1
    kid = config >> 4 & 7
    if config & 0x80:
        at = 2 + kid
        kid = int.from_bytes(sealed[1:at])
    counter = config & 7
    if config & 0x08:
        end = at + 1 + counter
        counter = int.from_bytes(sealed[at:end])
        at = end
    if at > len(sealed):
        raise ProtocolError("SFrame header beyond the data", rule="RFC 9605 4.3")
    return kid, counter, at


class _Stream:
    """One KID of a receiver: how to decrypt, and which counters came."""

    __slots__ = ("decrypt", "newest", "salt", "seen")

    def __init__(self, decrypt: _Crypt, salt: int) -> None:
        self.decrypt = decrypt
        self.salt = salt
        self.newest = -1
        self.seen = 0  # bit n: newest - n came


_WINDOW_MASK: Final = (1 << WINDOW) - 1


def _derive(kid: int, base_key: Secret) -> tuple[AESGCM, int]:
    """Return the cipher of a KID and its salt as a number (RFC 9605 4.4.2)."""
    _require_kid(kid)
    tail = kid.to_bytes(8) + _SUITE.to_bytes(2)
    secret = hkdf_extract(b"", base_key.reveal(), "sha512")

    def expand(label: bytes, length: int) -> bytes:
        return hkdf_expand(secret, b"SFrame 1.0 Secret " + label + tail, length, "sha512")

    cipher = AESGCM(expand(b"key ", _KEY_LENGTH))
    return cipher, int.from_bytes(expand(b"salt ", _NONCE_LENGTH))


def _require_kid(kid: int) -> None:
    if not 0 <= kid <= _MAX_U64:
        raise UsageError(f"KID {kid} does not fit 64 bits")
