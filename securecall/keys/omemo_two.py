"""OMEMO 2 (`urn:xmpp:omemo:2`, XEP-0384 0.8 and later): the door of twomemo."""

from __future__ import annotations

import hmac
import secrets
from typing import ClassVar, Final

import xeddsa
from doubleratchet import AEAD, KDF, DoubleRatchet, EncryptedMessage, Header
from twomemo.twomemo import (
    AEADImpl,
    DoubleRatchetImpl,
    MessageChainKDFImpl,
    RootChainKDFImpl,
    StateImpl,
)
from x3dh import BaseState

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
from securecall.keys.omemo_values import OMEMO, Bundle
from securecall.keys.protobuf import build_protobuf, integer, octets, parse_protobuf

_RULE: Final = "XEP-0384 0.8 4"
_KEY: Final = 32
_TAG: Final = 16
_MESSAGE: Final = {1: int, 2: int, 3: bytes, 4: bytes}  # n, pn, dh_pub, ciphertext
_AUTHENTICATED: Final = {1: bytes, 2: bytes}  # mac, message
_EXCHANGE: Final = {1: int, 2: int, 3: bytes, 4: bytes, 5: bytes}  # pk_id, spk_id, ik, ek, message


class OmemoTwo(Scheme):
    """The current version."""

    namespace = OMEMO
    info = StateImpl.INFO
    agreement: ClassVar[type[BaseState]] = StateImpl
    ratchet: ClassVar[type[DoubleRatchet]] = DoubleRatchetImpl
    root_kdf: ClassVar[type[KDF]] = RootChainKDFImpl
    chain_kdf: ClassVar[type[KDF]] = MessageChainKDFImpl
    aead: ClassVar[type[AEAD]] = AEADImpl
    max_old_chains = 1000  # bounded by the number of keys instead

    def parse_key(self, data: bytes, *, kex: bool) -> KeyMessage:
        """Read the key of one message."""
        exchange = None
        if kex:
            outer = parse_protobuf(data, _EXCHANGE)
            exchange = Exchange(
                prekey_id=integer(outer, 1),
                signed_prekey_id=integer(outer, 2),
                identity_key=self.identity(octets(outer, 3, 32)),
                ephemeral_key=octets(outer, 4, 32),
            )
            data = octets(outer, 5)
        authenticated = parse_protobuf(data, _AUTHENTICATED)
        octets(authenticated, 1, _TAG)
        message = parse_protobuf(octets(authenticated, 2), _MESSAGE)
        header = Header(octets(message, 3, 32), integer(message, 2), integer(message, 1))
        octets(message, 4)
        return KeyMessage(message=EncryptedMessage(header, data), exchange=exchange)

    def build_kex(self, exchange: Exchange, message: bytes, *, sender: int) -> bytes:
        """Put what opens a session around a message of the ratchet."""
        return build_protobuf(
            {
                1: exchange.prekey_id,
                2: exchange.signed_prekey_id,
                3: exchange.identity_key,
                4: exchange.ephemeral_key,
                5: message,
            }
        )

    def seal_payload(self, plaintext: bytes) -> Payload:
        """Encrypt under a fresh secret."""
        key = secrets.token_bytes(_KEY)
        encryption, authentication, iv = derive_keys(key, b"OMEMO Payload")
        data = encrypt_cbc(encryption, iv, plaintext)
        tag = hmac.digest(authentication, data, "sha256")[:_TAG]
        return Payload(material=key + tag, data=data)

    def empty_payload(self) -> Payload:
        """What a message consists of that carries nothing but keys."""
        return Payload(material=bytes(_KEY))

    def open_payload(self, payload: Payload) -> bytes:
        """Decrypt."""
        if len(payload.material) != _KEY + _TAG:
            raise CannotOpen("the key of the message has a wrong length", rule=_RULE)
        key, tag = payload.material[:_KEY], payload.material[_KEY:]
        decryption, authentication, iv = derive_keys(key, b"OMEMO Payload")
        if not same(hmac.digest(authentication, payload.data, "sha256")[:_TAG], tag):
            raise CannotOpen("the message was altered on its way", rule=_RULE)
        return decrypt_cbc(decryption, iv, payload.data)

    def associated_data(
        self, ours: bytes, theirs: bytes, *, initiator: bool, sending: bool
    ) -> bytes:
        """Both identity keys, in the order of this namespace."""
        # Fixed for a session: who opened it comes first (4.3).
        return ours + theirs if initiator else theirs + ours

    def identity_in_bundle(self, private_key: bytes) -> bytes:
        """Our public identity key as bundles show it."""
        return xeddsa.priv_to_ed25519_pub(private_key)

    def identity(self, public_key: bytes) -> bytes:
        """The Ed25519 form of an identity key as bundles show it."""
        try:
            xeddsa.ed25519_pub_to_curve25519_pub(public_key)
        except (xeddsa.XEdDSAException, ValueError) as e:
            raise ProtocolError("not an identity key", rule=_RULE) from e
        return public_key

    def encoded(self, public_key: bytes) -> bytes:
        """A Curve25519 key as it is signed."""
        return public_key

    def sign(self, private_key: bytes, signed_prekey: bytes) -> bytes:
        """Sign a prekey with our identity key."""
        return xeddsa.ed25519_priv_sign(private_key, signed_prekey)

    def signer(self, bundle: Bundle) -> tuple[bytes, bytes]:
        """The Ed25519 key and the signature to verify with it."""
        return self.identity(bundle.identity_key), bundle.signature
