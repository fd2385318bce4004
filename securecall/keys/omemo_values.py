"""What OMEMO deals in, as values free of XML and of any library (XEP-0384)."""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

OMEMO: Final = "urn:xmpp:omemo:2"
OMEMO_LEGACY: Final = "eu.siacs.conversations.axolotl"
NAMESPACES: Final = (OMEMO, OMEMO_LEGACY)  # the better one first
MAX_ID: Final = 2**31 - 1  # of devices and prekeys
_P: Final = 2**255 - 19


class DeviceTrust(enum.StrEnum):
    """What one OMEMO device of somebody is to us."""

    UNDECIDED = "undecided"  # receives nothing
    TRUSTED = "trusted"  # was there when we first wrote, or is vouched for by a pinned root
    VERIFIED = "verified"  # compared by people, or vouched for by a verified root
    DISTRUSTED = "distrusted"


WRITABLE: Final = (DeviceTrust.TRUSTED, DeviceTrust.VERIFIED)  # what messages are encrypted to


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device of somebody, and the key it is known by.

    Attributes:
        namespace: Which OMEMO it is addressed by; most devices have both, under one id.
        jid: Bare JID of its owner.
        id: Its number, unique within the owner's account only.
        identity_key: 32 bytes, Ed25519 form; its sign bit is 0 in the legacy namespace, which
            does not transport it. Compare devices by `fingerprint`.
        label: What its owner calls it, "" for nothing. Not to be trusted.
    """

    namespace: str
    jid: str
    id: int
    identity_key: bytes
    label: str = ""

    @property
    def fingerprint(self) -> str:
        """The identity key as people compare it: hex of its Curve25519 form (XEP-0384 8).

        The same for both namespaces, and what Conversations and Dino show.
        """
        return montgomery(self.identity_key).hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFor:
    """The key of one message, for one device.

    Attributes:
        jid: Bare JID of its owner; "" where the namespace does not say it (legacy).
        id: The device.
        data: Encrypted for it.
        kex: The data opens a new session.
    """

    jid: str
    id: int
    data: bytes = field(repr=False)
    kex: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """One encrypted message: the content of `<encrypted/>`.

    Attributes:
        namespace: Which OMEMO.
        sender: Id of the sending device.
        keys: One for each device that may read it.
        iv: Legacy only; b"" otherwise.
        payload: Ciphertext; b"" for a message that carries nothing but keys.
    """

    namespace: str
    sender: int
    keys: tuple[KeyFor, ...]
    iv: bytes = field(default=b"", repr=False)
    payload: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What is needed to write to a device for the first time.

    Attributes:
        namespace: Which OMEMO.
        jid: Bare JID of its owner.
        id: The device.
        identity_key: 32 bytes: Ed25519 in OMEMO 2, Curve25519 in the legacy namespace.
        signed_prekey_id: 0..2^31-1.
        signed_prekey: Curve25519, 32 bytes.
        signature: Of the signed prekey, 64 bytes.
        prekeys: Id -> Curve25519, 32 bytes.
    """

    namespace: str
    jid: str
    id: int
    identity_key: bytes
    signed_prekey_id: int
    signed_prekey: bytes
    signature: bytes
    prekeys: Mapping[int, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A message that was opened.

    Attributes:
        plaintext: None for a message that carried nothing but keys.
        device: Who sealed it: proved, but trusted only as far as the trust callback says.
        established: It opened a new session.
    """

    plaintext: bytes | None = field(repr=False)
    device: Device
    established: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipients:
    """Whom `Omemo.prepare` found; good for any number of messages until devices change.

    Attributes:
        devices: They will get the message, each in the best namespace it has.
        undecided: They will not: nobody has said yet whether they are trusted.
        distrusted: They will not: somebody said so.
        changed: They will not: they show another identity key than the one known, this one.
        unreachable: (jid, device id) -> why nothing can be sent there, in plain words.
        bundles: Of those there is no session with.
    """

    devices: tuple[Device, ...]
    undecided: tuple[Device, ...] = ()
    distrusted: tuple[Device, ...] = ()
    changed: tuple[Device, ...] = ()
    unreachable: Mapping[tuple[str, int], str] = field(default_factory=dict)
    bundles: Mapping[tuple[str, str, int], Bundle] = field(default_factory=dict, repr=False)

    def of(self, namespace: str) -> Recipients:
        """The same with those devices alone that are written to in this namespace."""
        return replace(self, devices=tuple(d for d in self.devices if d.namespace == namespace))


@functools.lru_cache(maxsize=4096)
def montgomery(ed25519: bytes) -> bytes:
    """Return the Curve25519 form of an Ed25519 public key (RFC 7748 4.1)."""
    y = int.from_bytes(ed25519, "little") & (2**255 - 1)
    u = (1 + y) * pow(1 - y, -1, _P) % _P if (1 - y) % _P else 0
    return u.to_bytes(32, "little")
