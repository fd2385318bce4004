"""Our own keys of one version of OMEMO: identity, signed prekeys, prekeys, and their bookkeeping.

x3dh computes the agreements; which keys exist, under which numbers and since when is kept here,
because its own bookkeeping neither knows numbers nor survives a crash in the middle of catching up.
"""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass, field
from typing import Final

import xeddsa
from x3dh import BaseState, BaseStateModel, HashFunction, IdentityKeyFormat, SignedPreKeyPairModel
from x3dh.models import IdentityKeyPairModel
from x3dh.types import SecretType

from securecall.errors import CannotOpen, StoreCorrupt
from securecall.keys.omemo_scheme import Exchange, Scheme
from securecall.keys.omemo_values import MAX_ID, Bundle

PREKEYS: Final = 100  # published at any time (XEP-0384 4.2)
ROTATION: Final = 7 * 86400  # seconds between signed prekeys
_RULE: Final = "X3DH 3.4"
_FORMAT: Final = 1
_FIXED: Final = struct.Struct(">BBIIB")
_SIGNED: Final = struct.Struct(">I32s64sQ")
_PREKEY: Final = struct.Struct(">I32sB")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedPrekey:
    """A signed prekey of ours.

    Attributes:
        id: Its number.
        private_key: Curve25519.
        signature: As the namespace publishes it.
        made: Unix seconds.
    """

    id: int
    private_key: bytes = field(repr=False)
    signature: bytes
    made: int


@dataclass(slots=True, kw_only=True)
class OwnKeys:
    """The keys of this device in one namespace.

    Attributes:
        scheme: Which OMEMO.
        private_key: Of the identity; all namespaces share it.
        signed: The signed prekey that is published.
        old: The one before, for who fetched it just before.
        prekeys: Id -> private key.
        hidden: Ids that are used up but still work, until an archive was caught up with.
        published: Whether the bundle on the server is the current one.
    """

    scheme: Scheme
    private_key: bytes = field(repr=False)
    signed: SignedPrekey
    old: SignedPrekey | None = None
    prekeys: dict[int, bytes] = field(default_factory=dict, repr=False)
    hidden: set[int] = field(default_factory=set)
    published: bool = False
    _next: int = 1
    _identity: bytes = b""

    @classmethod
    def create(cls, scheme: Scheme, private_key: bytes, *, unix: float) -> OwnKeys:
        """Make all of them but the identity."""
        own = cls(
            scheme=scheme,
            private_key=private_key,
            signed=_signed_prekey(scheme, private_key, 1, unix),
        )
        own.refill()
        return own

    @property
    def identity(self) -> bytes:
        """Our identity key, Ed25519 form as this namespace has it."""
        if not self._identity:
            self._identity = self.scheme.identity(self.scheme.identity_in_bundle(self.private_key))
        return self._identity

    def is_due(self, *, unix: float) -> bool:
        """Whether `rotate` or `refill` would change something, or it has to be published."""
        young = 0 <= unix - self.signed.made < ROTATION
        return not (self.published and young and self._missing() <= 0)

    def _missing(self) -> int:
        return PREKEYS - (len(self.prekeys) - len(self.hidden))

    def refill(self) -> bool:
        """Make new prekeys for those used up; returns whether there were any."""
        missing = self._missing()
        for _ in range(missing):
            self.prekeys[self._next] = secrets.token_bytes(32)
            self._next = self._next % MAX_ID + 1
        self.published &= missing <= 0
        return missing > 0

    def rotate(self, *, unix: float) -> bool:
        """Replace the signed prekey if it is a week old; returns whether it was."""
        age = unix - self.signed.made
        if 0 <= age < ROTATION:
            return False
        self.old = self.signed
        self.signed = _signed_prekey(
            self.scheme, self.private_key, self.signed.id % MAX_ID + 1, unix
        )
        self.published = False
        return True

    def use_up(self, prekey_id: int, *, hide: bool) -> None:
        """Take a prekey out of the bundle; hidden ones go on working until `drop_hidden`."""
        if hide:
            self.hidden.add(prekey_id)
        else:
            del self.prekeys[prekey_id]
            self.hidden.discard(prekey_id)
        self.published = False

    def drop_hidden(self) -> bool:
        """Delete what was used up while catching up; returns whether there was any."""
        dropped = bool(self.hidden)
        for prekey_id in self.hidden:
            del self.prekeys[prekey_id]
        self.hidden.clear()
        return dropped

    def prekeys_for(self, exchange: Exchange) -> tuple[SignedPrekey, bytes]:
        """Find the private keys a message was sealed for.

        Raises:
            CannotOpen: they are gone; a prekey serves once.
        """
        for signed in (self.signed, self.old):
            if signed is not None and signed.id == exchange.signed_prekey_id:
                break
        else:
            raise CannotOpen("the signed prekey of this message is gone", rule=_RULE)
        prekey = self.prekeys.get(exchange.prekey_id)
        if prekey is None:
            raise CannotOpen("the prekey of this message was used before", rule=_RULE)
        return signed, prekey

    def bundle(self, jid: str, device: int) -> Bundle:
        """What others need to write to us."""
        return Bundle(
            namespace=self.scheme.namespace,
            jid=jid,
            id=device,
            identity_key=self.scheme.identity_in_bundle(self.private_key),
            signed_prekey_id=self.signed.id,
            signed_prekey=xeddsa.priv_to_curve25519_pub(self.signed.private_key),
            signature=self.signed.signature,
            prekeys={
                number: xeddsa.priv_to_curve25519_pub(key)
                for number, key in self.prekeys.items()
                if number not in self.hidden
            },
        )

    def offers(self, bundle: Bundle) -> bool:
        """Whether a bundle of ours still is what `bundle` would return."""
        return bundle.signed_prekey_id == self.signed.id and set(bundle.prekeys) == (
            set(self.prekeys) - self.hidden
        )

    def state(self, signed: SignedPrekey | None = None, prekey: bytes | None = None) -> BaseState:
        """Return x3dh's view of us: identity, a signed prekey, and at most one prekey."""
        signed = signed or self.signed
        return self.scheme.agreement.from_model(
            BaseStateModel(
                identity_key=IdentityKeyPairModel(
                    secret=self.private_key, secret_type=SecretType.PRIV
                ),
                signed_pre_key=SignedPreKeyPairModel(
                    priv=signed.private_key, sig=signed.signature, timestamp=signed.made
                ),
                old_signed_pre_key=None,
                pre_keys=frozenset() if prekey is None else frozenset([prekey]),
            ),
            IdentityKeyFormat.ED_25519,
            HashFunction.SHA_256,
            self.scheme.info,
        )

    def build(self) -> bytes:
        """Write them as bytes, to be kept secret; the identity is kept elsewhere."""
        signed = [self.signed] if self.old is None else [self.signed, self.old]
        fixed = _FIXED.pack(_FORMAT, self.published, self._next, len(self.prekeys), len(signed))
        return b"".join(
            (
                fixed,
                *(_SIGNED.pack(s.id, s.private_key, s.signature, s.made) for s in signed),
                *(_PREKEY.pack(id_, key, id_ in self.hidden) for id_, key in self.prekeys.items()),
            )
        )

    @classmethod
    def parse(cls, data: bytes, scheme: Scheme, private_key: bytes) -> OwnKeys:
        """Read what `build` wrote.

        Raises:
            StoreCorrupt: it was something else.
        """
        try:
            form, published, following, count, signed_count = _FIXED.unpack_from(data)
            middle = _FIXED.size + signed_count * _SIGNED.size
            signed = [
                SignedPrekey(id=number, private_key=key, signature=signature, made=made)
                for number, key, signature, made in _SIGNED.iter_unpack(data[_FIXED.size : middle])
            ]
            prekeys = list(_PREKEY.iter_unpack(data[middle:]))
        except struct.error as e:
            raise StoreCorrupt("our OMEMO keys cannot be read") from e
        if form != _FORMAT or len(prekeys) != count or signed_count not in (1, 2):
            raise StoreCorrupt("our OMEMO keys are in an unknown format")
        return cls(
            scheme=scheme,
            private_key=private_key,
            signed=signed[0],
            old=signed[1] if signed_count == 2 else None,
            prekeys={number: key for number, key, _ in prekeys},
            hidden={number for number, _, hidden in prekeys if hidden},
            published=bool(published),
            _next=following,
        )


def _signed_prekey(scheme: Scheme, private_key: bytes, number: int, unix: float) -> SignedPrekey:
    key = secrets.token_bytes(32)
    signature = scheme.sign(private_key, xeddsa.priv_to_curve25519_pub(key))
    return SignedPrekey(id=number, private_key=key, signature=signature, made=int(unix))
