"""What an identity statement holds: the checked statement, its devices, its limits.

A JWS in the General JSON Serialisation whose payload is one JSON object:

    {"v":1, "root":{"ed25519":b64u[,"mldsa65":b64u]}, "seq":ms, "iat":s, "exp":s, "addrs":[..],
     "devices":[{"entry":b64u(JSON), "pop":{"ed25519":b64u[,"p256":b64u]}}, ..],
     "require":[..], "revoked":[..]}

An entry is `{"id", "ed25519", "caps", "not_after"[, "p256", "hpke", "omemo"]}`; further members
of an entry are ignored, further members anywhere else are refused. The statement proves itself, so
it does not matter who carried it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from securecall.address import Address
from securecall.errors import IdentityMismatch, Revoked
from securecall.keys.signed_json import MAX_AHEAD as MAX_AHEAD
from securecall.keys.signed_json import MAX_LIFETIME as MAX_LIFETIME
from securecall.keys.succession import Succession

MAX_SIZE: Final = 24 * 1024  # bytes
MAX_DEPTH: Final = 6
MAX_ITEMS: Final = 16  # devices, and addresses, each
MAX_REVOKED: Final = 256
MAX_REMEMBERED: Final = 4096  # withdrawn devices of one root, over all its statements
PROTECTED: Final = b'{"alg":"Ed25519","typ":"securecall-identity+jws"}'
PROTECTED_MLDSA: Final = b'{"alg":"ML-DSA-65","typ":"securecall-identity+jws"}'
DEVICE_LIFETIME: Final = 365 * 86400  # seconds; device keys rotate yearly


@dataclass(frozen=True, slots=True, kw_only=True)
class OmemoKey:
    """An OMEMO identity key that the root vouches for.

    Attributes:
        namespace: Which OMEMO.
        id: The OMEMO device id.
        identity_key: 32 bytes.
    """

    namespace: str
    id: int
    identity_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEntry:
    """One device of a person, as the statement describes it.

    Attributes:
        id: Name of the device, unique in its statement.
        public: Its Ed25519 key, 32 bytes.
        caps: What it says it can do; diagnostics only.
        not_after: Unix seconds after which the device is not accepted.
        p256: Its PASSporT key, uncompressed point of 65 bytes, b"" if none.
        hpke_sha256: SHA-256 of its HPKE key (KEM 0x647A), b"" if none.
        omemo: Its OMEMO identity keys.
        raw: The signed bytes of the entry.
        proof: Its proof of possession, the signature of its Ed25519 key.
        p256_proof: The same of its P-256 key, b"" if it has none.
        successions: What it carries of how the root came to follow others; nobody checked it yet.
    """

    id: str
    public: bytes
    caps: tuple[str, ...]
    not_after: int
    p256: bytes = b""
    hpke_sha256: bytes = b""
    omemo: tuple[OmemoKey, ...] = ()
    raw: bytes = field(repr=False)
    proof: bytes = field(default=b"", repr=False)
    p256_proof: bytes = field(default=b"", repr=False)
    successions: tuple[bytes, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement whose signatures and rules were checked.

    Attributes:
        root_public: The root's Ed25519 key, 32 bytes.
        root_fp: The root's fingerprint, 64 bytes.
        seq: Version, in milliseconds of Unix time.
        iat: Unix seconds of issue.
        exp: Unix seconds of expiry.
        addresses: What the root *claims*; a claim becomes a right only by `keys.trust`.
        devices: Its devices.
        require: Protections every call with this person must have ("id1").
        revoked: Ids of devices withdrawn for ever.
        checked_at: Unix seconds of the check; `stale` and `device` refer to it.
        raw: The whole JWS.
        payload_hash: SHA-512 of the payload bytes.
        successions: How this root came to follow others, the oldest first.
    """

    root_public: bytes
    root_fp: bytes = field(repr=False)
    seq: int
    iat: int
    exp: int
    addresses: tuple[Address, ...]
    devices: tuple[DeviceEntry, ...]
    require: tuple[str, ...]
    revoked: tuple[str, ...]
    checked_at: int
    raw: bytes = field(repr=False)
    payload_hash: bytes = field(repr=False)
    successions: tuple[Succession, ...] = ()

    @property
    def stale(self) -> bool:
        """The statement has expired: it proves less, but it is not refused."""
        return self.checked_at > self.exp

    def device(self, device_id: str, *, unix: int | None = None) -> DeviceEntry:
        """Return the entry of a device that may be used.

        Args:
            device_id: Its id.
            unix: Unix seconds now; `checked_at` if not given.

        Raises:
            Revoked: the device is withdrawn, or its `not_after` has passed.
            IdentityMismatch: the statement lists no such device.
        """
        if device_id in self.revoked:
            raise Revoked(f"the device {device_id!r} was withdrawn by its owner")
        for entry in self.devices:
            if entry.id == device_id:
                if (self.checked_at if unix is None else unix) > entry.not_after:
                    raise Revoked(f"the key of the device {device_id!r} is out of date")
                return entry
        raise IdentityMismatch("the peer's device is not in its identity statement")

    def narrowed(self, *, revoked: Sequence[str], devices: frozenset[bytes] | None) -> Statement:
        """Return this statement with more devices withdrawn.

        Args:
            revoked: Ids to add to `revoked`.
            devices: Raw entries that may stay; None lets all stay.
        """
        kept = self.devices
        if devices is not None:
            kept = tuple(entry for entry in kept if entry.raw in devices)
        return replace(self, devices=kept, revoked=tuple(dict.fromkeys((*self.revoked, *revoked))))
