"""A PKCS#11 token: keeps a part of a key store's key (AES key wrap), and root keys that sign there.

The wrapping key is made in the token and never leaves it; the note in the header is the name of
that key and the 32 bytes it wrapped (RFC 3394). A root key made in the token never leaves it
either: there is no seed, so no recovery words and no copy in a backup. DTLS keys cannot lie there,
for OpenSSL takes them from memory alone; they live for one call.
"""

from __future__ import annotations

import contextlib
import secrets
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, cast

from securecall.errors import LocalError, Unsupported, UsageError, WrongPassphrase
from securecall.keys.signing import require_ed25519_public, require_ed25519_signature
from securecall.secret import Secret
from securecall.store.lock import KEPT, KeeperKind

if TYPE_CHECKING:
    import pkcs11

_ID: Final = 8  # bytes of a name, in hexadecimal 16 characters
_ED25519: Final = bytes.fromhex("06032b6570")  # OID 1.3.101.112, DER
_NUMBER: Final = struct.Struct(">Q")


class _Wrapping(Protocol):
    """An AES key of a token; what the package returns says so only at run time."""

    def wrap_key(self, key: pkcs11.Object, *, mechanism: pkcs11.Mechanism) -> bytes: ...

    def unwrap_key(
        self,
        object_class: pkcs11.ObjectClass,
        key_type: pkcs11.KeyType,
        key_data: bytes,
        *,
        mechanism: pkcs11.Mechanism,
        template: dict[pkcs11.Attribute, object],
    ) -> pkcs11.Object: ...


class _Signing(Protocol):
    """A private key of a token."""

    def sign(self, data: bytes, *, mechanism: pkcs11.Mechanism) -> bytes: ...


class Token:
    """A token, opened anew for each use, so that it can be pulled out between two."""

    def __init__(self, module: Path, *, label: str, pin: Secret) -> None:
        """Load a module.

        Args:
            module: The library that its maker ships, e.g. libsofthsm2.so.
            label: Of the token.
            pin: The user's.

        Raises:
            Unsupported: the extra is not installed.
            UsageError: the PIN is no text.
            LocalError: the module cannot be loaded.
        """
        try:
            import pkcs11
        except ImportError as e:
            raise Unsupported('tokens need an extra: pip install "securecall[pkcs11]"') from e
        self._pkcs11 = pkcs11
        self._label = label
        try:
            _ = pin.reveal().decode()
        except UnicodeDecodeError:  # its text would show it
            raise UsageError("a PIN is text") from None
        self._pin = pin
        self._turn = threading.Lock()  # one login per process and token
        try:
            self._library = pkcs11.lib(str(module))
        except pkcs11.PKCS11Error as e:
            raise LocalError(f"the module {module} cannot be loaded") from e

    def __repr__(self) -> str:
        return f"<Token {self._label!r}>"

    # -- a keeper ---------------------------------------------------------------------------------

    @property
    def kind(self) -> KeeperKind:
        """What headers call it."""
        return KeeperKind.TOKEN

    def keep(self, secret: Secret) -> bytes:
        """Make a wrapping key in the token and wrap a secret with it.

        Raises:
            LocalError: the token is not there, or cannot do it.
            WrongPassphrase: it refuses the PIN.
        """
        name, p11 = secrets.token_bytes(_ID), self._pkcs11
        with self._session() as session:
            key = session.generate_key(
                p11.KeyType.AES,
                256,
                label=_label(name),
                store=True,
                capabilities=p11.MechanismFlag.WRAP | p11.MechanismFlag.UNWRAP,
                template={p11.Attribute.SENSITIVE: True, p11.Attribute.EXTRACTABLE: False},
            )
            value = session.create_object(
                {
                    p11.Attribute.CLASS: p11.ObjectClass.SECRET_KEY,
                    p11.Attribute.KEY_TYPE: p11.KeyType.AES,
                    p11.Attribute.VALUE: secret.reveal(),
                    p11.Attribute.TOKEN: False,
                    p11.Attribute.SENSITIVE: False,
                    p11.Attribute.EXTRACTABLE: True,
                }
            )
            wrapping = cast("_Wrapping", key)
            return name + wrapping.wrap_key(value, mechanism=p11.Mechanism.AES_KEY_WRAP)

    def fetch(self, note: bytes) -> Secret:
        """Let the token unwrap it.

        Raises:
            LocalError: the token is not there, or is another one.
            WrongPassphrase: it refuses the PIN.
        """
        p11 = self._pkcs11
        with self._session() as session:
            for key in _all(session, self._wrapping(note)):
                unwrapped = cast("_Wrapping", key).unwrap_key(
                    p11.ObjectClass.SECRET_KEY,
                    p11.KeyType.AES,
                    note[_ID:],
                    mechanism=p11.Mechanism.AES_KEY_WRAP,
                    template={
                        p11.Attribute.TOKEN: False,
                        p11.Attribute.SENSITIVE: False,
                        p11.Attribute.EXTRACTABLE: True,
                    },
                )
                value: bytes = unwrapped[p11.Attribute.VALUE]
                if len(value) == KEPT:
                    return Secret(value)
        raise LocalError(f"the token {self._label} holds no key of this key store")

    def forget(self, note: bytes) -> None:
        """Destroy the wrapping key: what it wrapped opens nowhere any more.

        Raises:
            LocalError: the token is not there.
        """
        with self._session() as session:
            for template in (self._wrapping(note), self._counter(note)):
                for found in _all(session, template):
                    found.destroy()

    def generation(self, note: bytes) -> int:
        """Return the number kept with it, 0 before the first.

        Raises:
            LocalError: the token is not there.
        """
        with self._session() as session:
            return max((number for number, _ in self._numbers(session, note)), default=0)

    def keep_generation(self, note: bytes, number: int) -> None:
        """Keep a number with it.

        Raises:
            LocalError: the token is not there, or is full.
        """
        p11 = self._pkcs11
        with self._session() as session:
            before = self._numbers(session, note)
            _ = session.create_object(
                {
                    **self._counter(note),
                    p11.Attribute.VALUE: _NUMBER.pack(number),
                    p11.Attribute.TOKEN: True,
                    p11.Attribute.PRIVATE: True,
                }
            )
            for _, found in before:  # last, so that a crash leaves one too many, not none
                found.destroy()

    def _wrapping(self, note: bytes) -> dict[pkcs11.Attribute, object]:
        p11 = self._pkcs11
        return {
            p11.Attribute.CLASS: p11.ObjectClass.SECRET_KEY,
            p11.Attribute.LABEL: _label(note[:_ID]),
        }

    def _counter(self, note: bytes) -> dict[pkcs11.Attribute, object]:
        p11 = self._pkcs11
        return {
            p11.Attribute.CLASS: p11.ObjectClass.DATA,
            p11.Attribute.LABEL: f"{_label(note[:_ID])} generation",
        }

    def _numbers(self, session: pkcs11.Session, note: bytes) -> list[tuple[int, pkcs11.Object]]:
        numbers: list[tuple[int, pkcs11.Object]] = []
        for found in _all(session, self._counter(note)):
            value: bytes = found[self._pkcs11.Attribute.VALUE]
            if len(value) != _NUMBER.size:
                raise LocalError(f"what the token {self._label} holds is no number of ours")
            numbers.append((_NUMBER.unpack(value)[0], found))
        return numbers

    # -- root keys --------------------------------------------------------------------------------

    def make_root(self, name: str) -> TokenSigner:
        """Make an Ed25519 key in the token that never leaves it.

        Raises:
            UsageError: there is a key of that name.
            LocalError: the token is not there, or knows no Ed25519.
        """
        p11 = self._pkcs11
        with self._session() as session:
            if _all(session, self._root(name, p11.ObjectClass.PRIVATE_KEY)):
                raise UsageError(f"the token holds a key {name!r} already")
            parameters = session.create_domain_parameters(
                p11.KeyType.EC_EDWARDS, {p11.Attribute.EC_PARAMS: _ED25519}, local=True
            )
            _ = parameters.generate_keypair(
                mechanism=p11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN, store=True, label=name
            )
        return self.root(name)

    def has_root(self, name: str) -> bool:
        """Whether a key of that name is there.

        Raises:
            LocalError: the token is not there.
        """
        with self._session() as session:
            return bool(_all(session, self._root(name, self._pkcs11.ObjectClass.PUBLIC_KEY)))

    def root(self, name: str) -> TokenSigner:
        """Return the signer of a key that was made before.

        Raises:
            LocalError: the token is not there, or holds no such key.
        """
        p11 = self._pkcs11
        with self._session() as session:
            for found in _all(session, self._root(name, p11.ObjectClass.PUBLIC_KEY)):
                point: bytes = found[p11.Attribute.EC_POINT]
                public = point[-32:]  # raw, or an OCTET STRING: tokens differ
                require_ed25519_public(public)
                return TokenSigner(self, name, public)
        raise LocalError(f"the token {self._label} holds no key {name!r}")

    def sign(self, name: str, data: bytes) -> bytes:
        """Sign with a root key; 64 bytes.

        Raises:
            LocalError: the token is not there, or holds no such key.
        """
        p11 = self._pkcs11
        with self._session() as session:
            for key in _all(session, self._root(name, p11.ObjectClass.PRIVATE_KEY)):
                return cast("_Signing", key).sign(data, mechanism=p11.Mechanism.EDDSA)
        raise LocalError(f"the token {self._label} holds no key {name!r}")

    def _root(self, name: str, kind: pkcs11.ObjectClass) -> dict[pkcs11.Attribute, object]:
        return {self._pkcs11.Attribute.CLASS: kind, self._pkcs11.Attribute.LABEL: name}

    @contextlib.contextmanager
    def _session(self) -> Iterator[pkcs11.Session]:
        p11 = self._pkcs11
        with self._turn:
            try:
                token = self._library.get_token(token_label=self._label)
                with token.open(rw=True, user_pin=self._pin.reveal().decode()) as session:
                    yield session
            except (p11.PinIncorrect, p11.PinLenRange, p11.PinInvalid) as e:
                raise WrongPassphrase(f"the token {self._label} refuses this PIN") from e
            except p11.PinLocked as e:
                raise LocalError(f"the token {self._label} is locked after wrong PINs") from e
            except p11.NoSuchToken as e:
                raise LocalError(f"there is no token {self._label}; put it in") from e
            except p11.PKCS11Error as e:
                raise LocalError(f"the token {self._label}: {type(e).__name__}") from e


class TokenSigner:
    """A root key in a token; fits the port `Signer`."""

    def __init__(self, token: Token, name: str, public: bytes) -> None:
        """Use `Token.root`."""
        self._token = token
        self._name = name
        self._public = public

    def __repr__(self) -> str:
        return f"<TokenSigner {self._name!r} in {self._token!r}>"

    @property
    def public(self) -> bytes:
        """The Ed25519 public key, 32 bytes."""
        return self._public

    def sign(self, data: bytes) -> bytes:
        """Return the Ed25519 signature of the data, 64 bytes; verified, for tokens have faults.

        Raises:
            LocalError: the token is not there.
            ProtocolError: what it returned is no signature of this key.
        """
        signature = self._token.sign(self._name, data)
        require_ed25519_signature(self._public, signature, data)
        return signature


def _all(session: pkcs11.Session, template: dict[pkcs11.Attribute, object]) -> list[pkcs11.Object]:
    """What a token holds of a kind; a search is always ended, for nothing else works before."""
    return list(session.get_objects(template))


def _label(name: bytes) -> str:
    return f"securecall {name.hex()}"
