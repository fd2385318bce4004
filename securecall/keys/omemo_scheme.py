"""What the two versions of OMEMO have in common, and the points at which they differ.

Both are X3DH and the Double Ratchet with HMAC and AES; they differ in labels, in how keys are
encoded, in the bytes on the wire and in the cipher of the payload. A `Scheme` is one of them.
"""

from __future__ import annotations

import hmac
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import xeddsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from doubleratchet import AEAD, DoubleRatchet, EncryptedMessage
from doubleratchet.kdf import KDF
from x3dh import BaseState
from x3dh import Bundle as AgreementBundle

from securecall.errors import BundleInvalid, CannotOpen
from securecall.keys.omemo_values import Bundle
from securecall.rtp.hkdf import hkdf_expand, hkdf_extract

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What a message that opens a session says besides its content (X3DH 3.3).

    Attributes:
        prekey_id: Which of the receiver's prekeys was used.
        signed_prekey_id: And which signed prekey.
        identity_key: The sender's, Ed25519 form.
        ephemeral_key: The sender's, Curve25519.
    """

    prekey_id: int
    signed_prekey_id: int
    identity_key: bytes
    ephemeral_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyMessage:
    """The parsed key of one message.

    Attributes:
        message: The header of the ratchet, and the whole authenticated message.
        exchange: Present in a message that opens a session.
    """

    message: EncryptedMessage = field(repr=False)
    exchange: Exchange | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """An encrypted payload, and the secret that opens it.

    Attributes:
        material: The secret; it travels in the ratchet's messages.
        iv: Beside the payload, where the namespace has one.
        data: Ciphertext.
    """

    material: bytes = field(repr=False)
    iv: bytes = field(default=b"", repr=False)
    data: bytes = field(default=b"", repr=False)


class Scheme(ABC):
    """One version of OMEMO."""

    namespace: ClassVar[str]
    info: ClassVar[bytes]  # of X3DH
    agreement: ClassVar[type[BaseState]]
    ratchet: ClassVar[type[DoubleRatchet]]
    root_kdf: ClassVar[type[KDF]]
    chain_kdf: ClassVar[type[KDF]]
    aead: ClassVar[type[AEAD]]
    max_old_chains: ClassVar[int]  # whose skipped keys are kept

    @abstractmethod
    def parse_key(self, data: bytes, *, kex: bool) -> KeyMessage:
        """Read the key of one message; raises ProtocolError only."""

    @abstractmethod
    def build_kex(self, exchange: Exchange, message: bytes, *, sender: int) -> bytes:
        """Put what opens a session around a message of the ratchet."""

    @abstractmethod
    def seal_payload(self, plaintext: bytes) -> Payload:
        """Encrypt under a fresh secret."""

    @abstractmethod
    def empty_payload(self) -> Payload:
        """What a message consists of that carries nothing but keys."""

    @abstractmethod
    def open_payload(self, payload: Payload) -> bytes:
        """Decrypt; raises CannotOpen."""

    @abstractmethod
    def associated_data(
        self, ours: bytes, theirs: bytes, *, initiator: bool, sending: bool
    ) -> bytes:
        """What messages are bound to: both identity keys, in the order of this namespace."""

    @abstractmethod
    def identity_in_bundle(self, private_key: bytes) -> bytes:
        """Our public identity key as bundles of this namespace show it."""

    @abstractmethod
    def identity(self, public_key: bytes) -> bytes:
        """The Ed25519 form of an identity key as bundles of this namespace show it.

        Raises:
            ProtocolError: it is no key.
        """

    @abstractmethod
    def encoded(self, public_key: bytes) -> bytes:
        """A Curve25519 key as it is signed."""

    @abstractmethod
    def sign(self, private_key: bytes, signed_prekey: bytes) -> bytes:
        """Sign a prekey with our identity key."""

    @abstractmethod
    def signer(self, bundle: Bundle) -> tuple[bytes, bytes]:
        """The Ed25519 key (with the right sign bit) and the signature to verify with it."""

    def require_signed(self, bundle: Bundle) -> AgreementBundle:
        """Check a bundle's signature; returns it as x3dh wants it, without prekeys.

        Raises:
            BundleInvalid: the signed prekey was not signed by the identity key.
        """
        public_key, signature = self.signer(bundle)
        if not xeddsa.ed25519_verify(signature, public_key, self.encoded(bundle.signed_prekey)):
            raise BundleInvalid(
                f"the published keys of {bundle.jid}'s device {bundle.id} are not signed by it"
            )
        return AgreementBundle(public_key, bundle.signed_prekey, signature, frozenset())


def at_once(coroutine: Coroutine[object, None, T]) -> T:
    """Run a coroutine that never waits.

    The libraries are `async` for the sake of browsers, whose cryptography is; on `cryptography`
    nothing in them ever suspends.
    """
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # StopIteration is not generic
    coroutine.close()
    raise RuntimeError("a cryptographic operation wanted to wait")


def same(a: bytes, b: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(a, b)


def encrypt_cbc(key: bytes, iv: bytes, plaintext: bytes) -> bytes:
    """AES-CBC with PKCS #7 padding; integrity is the caller's."""
    missing = 16 - len(plaintext) % 16
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return encryptor.update(plaintext + bytes([missing]) * missing) + encryptor.finalize()


def decrypt_cbc(key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    """Undo `encrypt_cbc`, for ciphertext whose integrity was verified.

    Raises:
        CannotOpen: it was made otherwise.
    """
    if not ciphertext or len(ciphertext) % 16:
        raise CannotOpen("ciphertext of a wrong length", rule="PKCS #7")
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    padded = decryptor.update(ciphertext) + decryptor.finalize()
    missing = padded[-1]
    if not 1 <= missing <= 16 or padded[-missing:] != bytes([missing]) * missing:
        raise CannotOpen("wrongly padded", rule="PKCS #7")
    return padded[:-missing]


def derive_keys(material: bytes, info: bytes) -> tuple[bytes, bytes, bytes]:
    """Return encryption key, authentication key and IV for what `material` protects."""
    made = hkdf_expand(hkdf_extract(bytes(32), material, "sha256"), info, 80, "sha256")
    return made[:32], made[32:64], made[64:]
