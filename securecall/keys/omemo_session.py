"""One Double Ratchet session with one device: open, seal, unseal, and keep as bytes.

The door of doubleratchet and x3dh. A session object changes in place when it is used; what is kept
is its bytes, and whoever could not keep them throws the object away and reads the old bytes again.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from dataclasses import dataclass, field
from typing import Final

import xeddsa
from doubleratchet import (
    AuthenticationFailedException,
    DecryptionFailedException,
    DiffieHellmanRatchetModel,
    DoSProtectionException,
    DoubleRatchet,
    DoubleRatchetModel,
    DuplicateMessageException,
    Header,
    KDFChainModel,
    SymmetricKeyRatchetModel,
)
from doubleratchet.models import SkippedMessageKeyModel
from doubleratchet.recommended.diffie_hellman_ratchet_curve25519 import DiffieHellmanRatchet
from x3dh import Header as AgreementHeader
from x3dh import KeyAgreementException

from securecall.errors import AlreadyOpened, BundleInvalid, CannotOpen, StoreCorrupt
from securecall.keys.omemo_prekeys import OwnKeys
from securecall.keys.omemo_scheme import Exchange, KeyMessage, Scheme, at_once
from securecall.keys.omemo_values import Bundle

MAX_SKIPPED: Final = 1000  # keys of one session that wait for late messages (XEP-0384 4.3)
MAX_SESSIONS: Final = (
    3  # with one device: both ends may open one at once, and each uses the other's
)
HEARTBEAT: Final = 53  # messages received without an answer (XEP-0384 6)
_MAX_CHAINS: Final = 64  # of the peer, remembered to tell a replay from a broken session
_CHAIN_CONSTANT: Final = b"\x02\x01"
_RULE: Final = "Double Ratchet 3.4"
_FORMAT: Final = 1
_FIXED: Final = struct.Struct(">BBBII32s32s32sHI")
_RATCHET: Final = struct.Struct(">32s32sI32sI32sII32sI")
_SKIPPED: Final = struct.Struct(">32sI32s")
_NONE: Final = 2**32 - 1


@dataclass(slots=True, kw_only=True)
class Session:
    """A session with one device.

    Attributes:
        scheme: Which OMEMO.
        ours: Our identity key, Ed25519 form.
        theirs: The device's.
        initiator: We opened it.
        confirmed: The other end has shown that it has the session.
        exchange: What opened it; repeated in front of every message until it is confirmed.
        unanswered: Messages received since the last one sent.
    """

    scheme: Scheme
    ours: bytes
    theirs: bytes
    initiator: bool
    confirmed: bool
    exchange: Exchange
    unanswered: int = 0
    _chains: list[bytes] = field(default_factory=list, repr=False)
    _ratchet: DoubleRatchet = field(repr=False)

    @classmethod
    def begin(
        cls, scheme: Scheme, own: OwnKeys, bundle: Bundle, material: bytes, *, sender: int
    ) -> tuple[Session, bytes]:
        """Open a session from a bundle; returns it with its first message.

        Raises:
            BundleInvalid: the bundle's signature does not hold, or its keys are unusable.
        """
        prekey_id = secrets.choice(sorted(bundle.prekeys))
        try:
            prekeys = frozenset([bundle.prekeys[prekey_id]])
            checked = scheme.require_signed(bundle)._replace(pre_keys=prekeys)
            shared, _, header = at_once(own.state().get_shared_secret_active(checked))
        except (KeyAgreementException, xeddsa.XEdDSAException, ValueError) as e:
            raise BundleInvalid(
                f"the published keys of {bundle.jid}'s device {bundle.id} are unusable"
            ) from e
        theirs = scheme.identity(bundle.identity_key)
        ratchet, message = at_once(
            scheme.ratchet.encrypt_initial_message(
                DiffieHellmanRatchet, scheme.root_kdf, scheme.chain_kdf, _CHAIN_CONSTANT,
                MAX_SKIPPED, MAX_SKIPPED, scheme.aead,
                shared, bundle.signed_prekey, material,
                scheme.associated_data(own.identity, theirs, initiator=True, sending=True),
            )
        )  # fmt: skip
        session = cls(
            scheme=scheme,
            ours=own.identity,
            theirs=theirs,
            initiator=True,
            confirmed=False,
            exchange=Exchange(
                prekey_id=prekey_id,
                signed_prekey_id=bundle.signed_prekey_id,
                identity_key=own.identity,
                ephemeral_key=header.ephemeral_key,
            ),
            _ratchet=ratchet,
        )
        return session, scheme.build_kex(session.exchange, message.ciphertext, sender=sender)

    @classmethod
    def accept(cls, scheme: Scheme, own: OwnKeys, key: KeyMessage) -> tuple[Session, bytes]:
        """Open the session a message asks for; returns it with the message's content.

        Raises:
            CannotOpen: it used a prekey that is gone, or does not decrypt.
        """
        exchange = key.exchange
        if exchange is None:
            raise CannotOpen("there is no session to open this message with", rule=_RULE)
        signed, prekey = own.prekeys_for(exchange)
        try:
            shared, _, used = at_once(
                own.state(signed, prekey).get_shared_secret_passive(
                    AgreementHeader(
                        exchange.identity_key,
                        exchange.ephemeral_key,
                        xeddsa.priv_to_curve25519_pub(signed.private_key),
                        xeddsa.priv_to_curve25519_pub(prekey),
                    )
                )
            )
            ratchet, material = at_once(
                scheme.ratchet.decrypt_initial_message(
                    DiffieHellmanRatchet, scheme.root_kdf, scheme.chain_kdf, _CHAIN_CONSTANT,
                    MAX_SKIPPED, MAX_SKIPPED, scheme.aead,
                    shared, used.priv, key.message,
                    scheme.associated_data(
                        own.identity, exchange.identity_key, initiator=False, sending=False
                    ),
                )
            )  # fmt: skip
        except _FAILURES as e:
            raise CannotOpen("a message that opens a session does not decrypt", rule=_RULE) from e
        session = cls(
            scheme=scheme,
            ours=own.identity,
            theirs=exchange.identity_key,
            initiator=False,
            confirmed=True,
            exchange=exchange,
            unanswered=1,
            _chains=[_short(key.message.header)],
            _ratchet=ratchet,
        )
        return session, material

    def seal(self, material: bytes, *, sender: int) -> tuple[bytes, bool]:
        """Encrypt the next message; returns it, and whether it (still) opens the session."""
        self.unanswered = 0
        message = at_once(
            self._ratchet.encrypt_message(material, self._associated_data(sending=True))
        ).ciphertext
        if self.confirmed:
            return message, False
        return self.scheme.build_kex(self.exchange, message, sender=sender), True

    def unseal(self, key: KeyMessage) -> bytes:
        """Decrypt a message; nothing has changed when it raises.

        Raises:
            AlreadyOpened: it was decrypted before.
            CannotOpen: it does not belong to this session.
        """
        header = key.message.header
        chain = _short(header)
        known = chain in self._chains
        done = self._ratchet.receiving_chain_length
        skipped = header.previous_sending_chain_length - done if done is not None else 0
        if skipped > MAX_SKIPPED and chain != (self._chains or [b""])[-1]:
            raise CannotOpen(f"more than {MAX_SKIPPED} messages are missing", rule=_RULE)
        try:
            material = at_once(
                self._ratchet.decrypt_message(key.message, self._associated_data(sending=False))
            )
        except DuplicateMessageException as e:
            raise AlreadyOpened("this message was opened before", rule=_RULE) from e
        except _FAILURES as e:
            if known and chain != self._chains[-1]:
                raise AlreadyOpened(
                    "this message was opened before, or was given up long ago", rule=_RULE
                ) from e
            raise CannotOpen("this message does not belong to the session", rule=_RULE) from e
        if not known:
            self._chains = [*self._chains, chain][-_MAX_CHAINS:]
        self.unanswered += 1
        self.confirmed = True
        return material

    def opened_by(self, exchange: Exchange) -> bool:
        """Whether this is the session that such a message opened."""
        return not self.initiator and self.exchange == exchange

    def build(self) -> bytes:
        """Write the session as bytes, to be kept secret."""
        exchange = self.exchange
        flags = self.initiator | self.confirmed << 1
        fixed = _FIXED.pack(
            _FORMAT, flags, len(self._chains), exchange.prekey_id, exchange.signed_prekey_id,
            exchange.identity_key, exchange.ephemeral_key, self.theirs,
            0, min(self.unanswered, _NONE),
        )  # fmt: skip
        self._ratchet = _trimmed(self._ratchet, self.scheme)
        return fixed + b"".join(self._chains) + _build_ratchet(self._ratchet)

    @classmethod
    def parse(cls, data: bytes, scheme: Scheme, ours: bytes) -> Session:
        """Read what `build` wrote.

        Raises:
            StoreCorrupt: it was something else.
        """
        try:
            (form, flags, chains, prekey, signed, identity, ephemeral, theirs, _, unanswered) = (
                _FIXED.unpack_from(data)
            )
            if form != _FORMAT:
                raise StoreCorrupt(f"an OMEMO session in an unknown format, {form}")
            end = _FIXED.size + 8 * chains
            ratchet = _parse_ratchet(data[end:], scheme)
        except (struct.error, ValueError) as e:
            raise StoreCorrupt("an OMEMO session cannot be read") from e
        return cls(
            scheme=scheme,
            ours=ours,
            theirs=theirs,
            initiator=bool(flags & 1),
            confirmed=bool(flags & 2),
            exchange=Exchange(
                prekey_id=prekey,
                signed_prekey_id=signed,
                identity_key=identity,
                ephemeral_key=ephemeral,
            ),
            unanswered=unanswered,
            _chains=[data[at : at + 8] for at in range(_FIXED.size, end, 8)],
            _ratchet=ratchet,
        )

    def _associated_data(self, *, sending: bool) -> bytes:
        return self.scheme.associated_data(
            self.ours, self.theirs, initiator=self.initiator, sending=sending
        )


_FAILURES: Final = (
    AuthenticationFailedException,
    CannotOpen,
    DecryptionFailedException,
    DoSProtectionException,
    KeyAgreementException,
    ValueError,  # from cryptography, for keys of small order
    xeddsa.XEdDSAException,
)


def _short(header: Header) -> bytes:
    return hashlib.sha256(header.ratchet_pub).digest()[:8]


def _trimmed(ratchet: DoubleRatchet, scheme: Scheme) -> DoubleRatchet:
    """Drop skipped keys of old chains, where a namespace makes too many of them."""
    limit = scheme.max_old_chains
    if limit >= MAX_SKIPPED:
        return ratchet
    model = ratchet.model
    chains = list(dict.fromkeys(key.ratchet_pub for key in model.skipped_message_keys))
    if len(chains) <= 2 * limit:
        return ratchet
    kept = set(chains[-limit:])
    model.skipped_message_keys = [
        key for key in model.skipped_message_keys if key.ratchet_pub in kept
    ]
    return _from_model(model, scheme)


def _from_model(model: DoubleRatchetModel, scheme: Scheme) -> DoubleRatchet:
    return scheme.ratchet.from_model(
        model, DiffieHellmanRatchet, scheme.root_kdf, scheme.chain_kdf, _CHAIN_CONSTANT,
        MAX_SKIPPED, MAX_SKIPPED, scheme.aead,
    )  # fmt: skip


def _build_ratchet(ratchet: DoubleRatchet) -> bytes:
    model = ratchet.model
    dh = model.diffie_hellman_ratchet
    receiving = dh.symmetric_key_ratchet.receiving_chain
    sending = dh.symmetric_key_ratchet.sending_chain
    previous = dh.symmetric_key_ratchet.previous_sending_chain_length
    skipped = model.skipped_message_keys
    packed = _RATCHET.pack(
        dh.own_ratchet_priv,
        dh.other_ratchet_pub,
        dh.root_chain.length,
        dh.root_chain.key,
        _NONE if receiving is None else receiving.length,
        bytes(32) if receiving is None else receiving.key,
        _NONE if previous is None else previous,
        _NONE if sending is None else sending.length,
        bytes(32) if sending is None else sending.key,
        len(skipped),
    )
    return packed + b"".join(
        _SKIPPED.pack(key.ratchet_pub, key.index, key.message_key) for key in skipped
    )


def _parse_ratchet(data: bytes, scheme: Scheme) -> DoubleRatchet:
    (
        own, other, root_length, root_key, receiving_length, receiving_key, previous,
        sending_length, sending_key, count,
    ) = _RATCHET.unpack_from(data)  # fmt: skip
    if len(data) != _RATCHET.size + count * _SKIPPED.size:
        raise StoreCorrupt("an OMEMO session was cut off")
    return _from_model(
        DoubleRatchetModel(
            diffie_hellman_ratchet=DiffieHellmanRatchetModel(
                own_ratchet_priv=own,
                other_ratchet_pub=other,
                root_chain=KDFChainModel(length=root_length, key=root_key),
                symmetric_key_ratchet=SymmetricKeyRatchetModel(
                    receiving_chain=_chain(receiving_length, receiving_key),
                    sending_chain=_chain(sending_length, sending_key),
                    previous_sending_chain_length=None if previous == _NONE else previous,
                ),
            ),
            skipped_message_keys=[
                SkippedMessageKeyModel(ratchet_pub=pub, index=index, message_key=key)
                for pub, index, key in _SKIPPED.iter_unpack(data[_RATCHET.size :])
            ],
        ),
        scheme,
    )


def _chain(length: int, key: bytes) -> KDFChainModel | None:
    return None if length == _NONE else KDFChainModel(length=length, key=key)
