"""Legacy OMEMO (`eu.siacs.conversations.axolotl`, XEP-0384 0.3): what Conversations and Dino speak.

Written from XEP-0384 0.3.0 and the specifications of X3DH, XEdDSA and the Double Ratchet. On the
wire are the messages of libsignal, version 3: a version byte, a Protocol Buffers message, and
behind it eight bytes of HMAC over both identity keys and everything before them. Public keys carry
a type byte, 5. Identity keys are Curve25519 keys; their signatures are XEdDSA's, but older peers
sign with whichever of the two Edwards keys they have and put its sign bit into the signature's
last bit, so that bit is honoured when verifying and 0 in ours.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from typing import ClassVar, Final

import xeddsa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from doubleratchet import (
    AEAD,
    KDF,
    AuthenticationFailedException,
    DoubleRatchet,
    EncryptedMessage,
    Header,
)
from doubleratchet.recommended import HashFunction, kdf_hkdf, kdf_separate_hmacs
from x3dh import BaseState, IdentityKeyFormat

from securecall.errors import CannotOpen, ProtocolError
from securecall.keys.omemo_scheme import (
    Exchange,
    KeyMessage,
    Payload,
    Scheme,
    decrypt_cbc,
    derive_keys,
    encrypt_cbc,
    same,
)
from securecall.keys.omemo_values import OMEMO_LEGACY, Bundle, montgomery
from securecall.keys.protobuf import build_protobuf, integer, octets, parse_protobuf

_RULE: Final = "XEP-0384 0.3"
_VERSION: Final = 0x33  # current version 3, speaks version 3
_TYPE: Final = b"\x05"  # of a Curve25519 key
_MAC: Final = 8
_KEY: Final = 16
_TAG: Final = 16
_IV: Final = 12
_MESSAGE: Final = {1: bytes, 2: int, 3: int, 4: bytes}  # ratchet key, counter, previous, ciphertext
# prekey id, base key, identity key, message, registration id, signed prekey id
_EXCHANGE: Final = {1: int, 2: bytes, 3: bytes, 4: bytes, 5: int, 6: int}
_HEADER: Final = struct.Struct(">32sII")


class _RootKdf(kdf_hkdf.KDF):
    @staticmethod
    def _get_hash_function() -> HashFunction:
        return HashFunction.SHA_256

    @staticmethod
    def _get_info() -> bytes:
        return b"WhisperRatchet"


class _ChainKdf(kdf_separate_hmacs.KDF):
    @staticmethod
    def _get_hash_function() -> HashFunction:
        return HashFunction.SHA_256


class _Aead(AEAD):
    """AES-256-CBC under a MAC of eight bytes, around the whole message."""

    @staticmethod
    async def encrypt(plaintext: bytes, key: bytes, associated_data: bytes) -> bytes:
        encryption, authentication, iv = derive_keys(key, b"WhisperMessageKeys")
        identities, packed = associated_data[: -_HEADER.size], associated_data[-_HEADER.size :]
        public_key, previous, counter = _HEADER.unpack(packed)
        message = bytes([_VERSION]) + build_protobuf(
            {
                1: _TYPE + public_key,
                2: counter,
                3: previous,
                4: encrypt_cbc(encryption, iv, plaintext),
            }
        )
        return message + hmac.digest(authentication, identities + message, "sha256")[:_MAC]

    @staticmethod
    async def decrypt(ciphertext: bytes, key: bytes, associated_data: bytes) -> bytes:
        decryption, authentication, iv = derive_keys(key, b"WhisperMessageKeys")
        identities = associated_data[: -_HEADER.size]
        message, mac = ciphertext[:-_MAC], ciphertext[-_MAC:]
        if not same(hmac.digest(authentication, identities + message, "sha256")[:_MAC], mac):
            raise AuthenticationFailedException
        return decrypt_cbc(decryption, iv, octets(parse_protobuf(message[1:], _MESSAGE), 4))


class _Ratchet(DoubleRatchet):
    @staticmethod
    def _build_associated_data(associated_data: bytes, header: Header) -> bytes:
        return associated_data + _HEADER.pack(
            header.ratchet_pub, header.previous_sending_chain_length, header.sending_chain_length
        )


class _Agreement(BaseState):
    @staticmethod
    def _encode_public_key(key_format: IdentityKeyFormat, pub: bytes) -> bytes:
        return _TYPE + (pub if key_format is IdentityKeyFormat.CURVE_25519 else montgomery(pub))


class OmemoLegacy(Scheme):
    """The version before XEP-0384 0.4."""

    namespace = OMEMO_LEGACY
    info = b"WhisperText"
    agreement: ClassVar[type[BaseState]] = _Agreement
    ratchet: ClassVar[type[DoubleRatchet]] = _Ratchet
    root_kdf: ClassVar[type[KDF]] = _RootKdf
    chain_kdf: ClassVar[type[KDF]] = _ChainKdf
    aead: ClassVar[type[AEAD]] = _Aead
    max_old_chains = 25  # see parse_key; libsignal itself keeps five

    def parse_key(self, data: bytes, *, kex: bool) -> KeyMessage:
        """Read the key of one message."""
        exchange = None
        if kex:
            outer = parse_protobuf(_body(data), _EXCHANGE)
            exchange = Exchange(
                prekey_id=integer(outer, 1),
                signed_prekey_id=integer(outer, 6),
                identity_key=self.identity(_untyped(octets(outer, 3))),
                ephemeral_key=_untyped(octets(outer, 2)),
            )
            data = octets(outer, 4)
        if len(data) <= _MAC:
            raise ProtocolError("cut off", rule=_RULE)
        message = parse_protobuf(_body(data[:-_MAC]), _MESSAGE)
        octets(message, 4)
        # libsignal sends the index of the last message of the previous chain, not their number,
        # and looks at neither; without the one more, that message could not come late. Where
        # there is none, one key too many is kept, which `max_old_chains` bounds.
        previous = min(integer(message, 3) + 1, 2**32 - 1)
        header = Header(_untyped(octets(message, 1)), previous, integer(message, 2))
        return KeyMessage(message=EncryptedMessage(header, data), exchange=exchange)

    def build_kex(self, exchange: Exchange, message: bytes, *, sender: int) -> bytes:
        """Put what opens a session around a message of the ratchet."""
        return bytes([_VERSION]) + build_protobuf(
            {
                1: exchange.prekey_id,
                2: _TYPE + exchange.ephemeral_key,
                3: _TYPE + montgomery(exchange.identity_key),
                4: message,
                5: sender,
                6: exchange.signed_prekey_id,
            }
        )

    def seal_payload(self, plaintext: bytes) -> Payload:
        """Encrypt under a fresh secret."""
        key, iv = secrets.token_bytes(_KEY), secrets.token_bytes(_IV)
        sealed = AESGCM(key).encrypt(iv, plaintext, None)
        return Payload(material=key + sealed[-_TAG:], iv=iv, data=sealed[:-_TAG])

    def empty_payload(self) -> Payload:
        """What a message consists of that carries nothing but keys."""
        return Payload(material=secrets.token_bytes(_KEY), iv=secrets.token_bytes(_IV))

    def open_payload(self, payload: Payload) -> bytes:
        """Decrypt."""
        if len(payload.material) != _KEY + _TAG or len(payload.iv) not in (_IV, 16):
            raise CannotOpen("key or IV of the message have a wrong length", rule=_RULE)
        key, tag = payload.material[:_KEY], payload.material[_KEY:]
        try:
            return AESGCM(key).decrypt(payload.iv, payload.data + tag, None)
        except InvalidTag as e:
            raise CannotOpen("the message was altered on its way", rule=_RULE) from e

    def associated_data(
        self, ours: bytes, theirs: bytes, *, initiator: bool, sending: bool
    ) -> bytes:
        """Both identity keys, in the order of this namespace."""
        # Of each message: who sends it comes first.
        first, second = (ours, theirs) if sending else (theirs, ours)
        return _TYPE + montgomery(first) + _TYPE + montgomery(second)

    def identity_in_bundle(self, private_key: bytes) -> bytes:
        """Our public identity key as bundles show it."""
        return xeddsa.priv_to_curve25519_pub(private_key)

    def identity(self, public_key: bytes) -> bytes:
        """The Ed25519 form of an identity key as bundles show it."""
        return xeddsa.curve25519_pub_to_ed25519_pub(public_key, False)  # noqa: FBT003 - not ours

    def encoded(self, public_key: bytes) -> bytes:
        """A Curve25519 key as it is signed."""
        return _TYPE + public_key

    def sign(self, private_key: bytes, signed_prekey: bytes) -> bytes:
        """Sign a prekey with our identity key."""
        positive = xeddsa.priv_force_sign(private_key, False)  # noqa: FBT003 - not ours
        return xeddsa.ed25519_priv_sign(positive, self.encoded(signed_prekey))

    def signer(self, bundle: Bundle) -> tuple[bytes, bytes]:
        """The Ed25519 key and the signature to verify with it."""
        signature = bytearray(bundle.signature)
        sign = bool(signature[63] & 0x80)
        signature[63] &= 0x7F
        return xeddsa.curve25519_pub_to_ed25519_pub(bundle.identity_key, sign), bytes(signature)


def _body(data: bytes) -> bytes:
    if not data or data[0] >> 4 != _VERSION >> 4:
        raise ProtocolError("not a message of version 3", rule=_RULE)
    return data[1:]


def _untyped(key: bytes) -> bytes:
    if len(key) != 33 or key[:1] != _TYPE:
        raise ProtocolError("not a Curve25519 key", rule=_RULE)
    return key[1:]
