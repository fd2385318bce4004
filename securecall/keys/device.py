"""The key of one device: proves in a call that this device takes part."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn

from securecall.errors import UsageError
from securecall.keys.encoding import build_base64url, build_json, label, sha512
from securecall.keys.signing import Signer, ed25519_public, ed25519_sign, generate_seed
from securecall.keys.statement_content import OmemoKey
from securecall.secret import Secret

__all__ = ["DEVICE_ID", "DeviceKey", "Signer", "device_proof_input"]

DEVICE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def device_proof_input(root_fp: bytes, entry: bytes) -> bytes:
    """Return what each signing key of a device signs: L("pop") || root_fp || H(entry)."""
    return label("pop") + root_fp + sha512(entry)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeviceKey:
    """An Ed25519 device key and the name of its device.

    Attributes:
        id: 1..64 of A-Z, a-z, 0-9, "_", "-".
        seed: The 32 bytes the key is made of.
        public: The public key, 32 bytes.
    """

    id: str
    seed: Secret = field(repr=False)
    public: bytes

    @classmethod
    def generate(cls, device_id: str) -> DeviceKey:
        """Draw a new device key.

        Raises:
            UsageError: the id has other characters or length.
        """
        return cls.from_seed(device_id, generate_seed())

    @classmethod
    def from_seed(cls, device_id: str, seed: Secret) -> DeviceKey:
        """Make the key of a 32-byte seed.

        Raises:
            UsageError: the id has other characters or length, the seed is not 32 bytes.
        """
        if not DEVICE_ID.fullmatch(device_id):
            raise UsageError("a device id is 1..64 letters, digits, '_' and '-'")
        return cls(id=device_id, seed=seed, public=ed25519_public(seed))

    def sign(self, data: bytes) -> bytes:
        """Return the signature of the data, 64 bytes."""
        return ed25519_sign(self.seed, data)

    def entry(
        self,
        caps: Sequence[str],
        not_after: int,
        omemo: Sequence[OmemoKey] = (),
        p256: bytes = b"",
        *,
        successions: Sequence[bytes] = (),
    ) -> bytes:
        """Return this device's entry for an identity statement, JSON bytes.

        Args:
            caps: What the device can do, for diagnostics.
            not_after: Unix seconds after which nobody accepts the device.
            omemo: Its OMEMO identity keys, which the root vouches for by this entry.
            p256: Its PASSporT key, uncompressed, b"" for none; it proves possession as well.
            successions: How the root came to follow others, the oldest first.
        """
        members: dict[str, object] = {
            "id": self.id,
            "ed25519": build_base64url(self.public),
            "caps": list(caps),
            "not_after": not_after,
        }
        if p256:
            members["p256"] = build_base64url(p256)
        if omemo:
            members["omemo"] = [
                {"ns": key.namespace, "id": key.id, "ik": build_base64url(key.identity_key)}
                for key in omemo
            ]
        if successions:
            members["successions"] = [build_base64url(each) for each in successions]
        return build_json(members)

    def proof(self, root_fp: bytes, entry: bytes) -> bytes:
        """Return the proof of possession for an entry under a root, 64 bytes."""
        return self.sign(device_proof_input(root_fp, entry))

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError("a DeviceKey is never copied or serialised")
