"""The root key of a person: signs which addresses and devices are theirs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NoReturn

from securecall.errors import NotPrimary, UsageError
from securecall.keys.encoding import label, length_prefixed, sha512
from securecall.keys.signing import (
    SeedSigner,
    Signer,
    generate_seed,
    require_ed25519_public,
)
from securecall.secret import Secret

__all__ = ["FINGERPRINT_SIZE", "RootKey", "Signer", "require_ed25519_public", "root_fingerprint"]

FINGERPRINT_SIZE: Final = 64


def root_fingerprint(ed25519: bytes, mldsa65: bytes = b"") -> bytes:
    """Return root_fp = H(L("root") || lp(ed25519) || lp(mldsa65 or "")), 64 bytes."""
    return sha512(label("root") + length_prefixed(ed25519) + length_prefixed(mldsa65))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RootKey:
    """An Ed25519 root key; it never leaves the endpoint, and may lie where nothing reads it.

    Attributes:
        signer: The private key, wherever it is; None on a device that only knows whose it is.
        public: The public key, 32 bytes.
        fingerprint: root_fp, 64 bytes.
    """

    signer: Signer | None = field(repr=False)
    public: bytes
    fingerprint: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> RootKey:
        """Draw a new root key."""
        return cls.from_seed(generate_seed())

    @classmethod
    def from_seed(cls, seed: Secret) -> RootKey:
        """Make the key of a 32-byte seed.

        Raises:
            UsageError: the seed is not 32 bytes.
        """
        return cls.from_signer(SeedSigner(seed))

    @classmethod
    def from_signer(cls, signer: Signer) -> RootKey:
        """Use a key that lies elsewhere, in a token."""
        public = signer.public
        return cls(signer=signer, public=public, fingerprint=root_fingerprint(public))

    @property
    def has_seed(self) -> bool:
        """Whether the key can be taken out at all."""
        return isinstance(self.signer, SeedSigner)

    @property
    def seed(self) -> Secret:
        """The 32 bytes the key is made of.

        Raises:
            NotPrimary: it is held by another device.
            UsageError: it lies where nothing can read it.
        """
        signer = self.require_signer()
        if not isinstance(signer, SeedSigner):
            raise UsageError("this root key lies in a token, and cannot be taken out of it")
        return signer.seed

    @classmethod
    def known(cls, public: bytes) -> RootKey:
        """The root of a device that does not hold it: it can be recognised, but not sign.

        Raises:
            ProtocolError: this is no Ed25519 key of large order.
        """
        require_ed25519_public(public)
        return cls(signer=None, public=public, fingerprint=root_fingerprint(public))

    @property
    def held(self) -> bool:
        """The key itself is here: this device can sign statements."""
        return self.signer is not None

    def sign(self, data: bytes) -> bytes:
        """Return the signature of the data, 64 bytes.

        Raises:
            NotPrimary: the key is held by another device.
        """
        return self.require_signer().sign(data)

    def require_signer(self) -> Signer:
        """What signs, for whoever has to know first that it is here.

        Raises:
            NotPrimary: the key is held by another device.
        """
        if self.signer is None:
            raise NotPrimary("the root key is not on this device; do this on the one that has it")
        return self.signer

    def wipe(self) -> None:
        """Overwrite the seed, if it is here."""
        if isinstance(self.signer, SeedSigner):
            self.signer.seed.wipe()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError("a RootKey is never copied or serialised")
