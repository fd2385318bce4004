"""The system's keyring as keeper of a key: Secret Service, macOS Keychain, Windows Credentials."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterator
from typing import Final, Protocol

from securecall.errors import LocalError, Unsupported
from securecall.secret import Secret
from securecall.store.lock import KEPT, KeeperKind

SERVICE: Final = "securecall"
# As `keep` makes them. Whoever writes the file writes the note, and other entries of ours (how far
# a store got, which its file shows; a passphrase) open no store.
_NAME: Final = re.compile(rb"store [0-9a-f]{16}")
_KEPT: Final = re.compile(rf"[0-9a-f]{{{2 * KEPT}}}")


class Backend(Protocol):
    """A keyring as the package `keyring` has them."""

    def get_password(self, service: str, username: str, /) -> str | None:
        """Return what was kept under a name, None if nothing was."""
        ...

    def set_password(self, service: str, username: str, password: str, /) -> None:
        """Keep it."""
        ...

    def delete_password(self, service: str, username: str, /) -> None:
        """Forget it."""
        ...


class SystemKeyring:
    """Keeps a part of a key store's key in the keyring that the system unlocks at login.

    Whoever runs programs as this user while it is unlocked can ask it, too: beside a passphrase it
    adds that a stolen copy of the folder is worth nothing, and that an older copy is noticed.
    """

    def __init__(self, backend: Backend | None = None) -> None:
        """Choose a keyring.

        Args:
            backend: None takes the system's.

        Raises:
            Unsupported: the extra is not installed.
            LocalError: this keyring keeps everything in a file that anybody can read.
        """
        try:
            import keyring
            from keyring.errors import KeyringError, PasswordDeleteError
        except ImportError as e:
            raise Unsupported(
                'the keyring needs an extra: pip install "securecall[keyring]"'
            ) from e
        self._error: type[Exception] = KeyringError
        self._absent: type[Exception] = PasswordDeleteError
        with self._translated():
            self._backend: Backend = keyring.get_keyring() if backend is None else backend
        _require_sealed(self._backend)

    def __repr__(self) -> str:
        return "<SystemKeyring>"

    @property
    def kind(self) -> KeeperKind:
        """What headers call it."""
        return KeeperKind.KEYRING

    def keep(self, secret: Secret) -> bytes:
        """Keep a secret under a new name; returns the name.

        Raises:
            LocalError: the keyring does not work, or does not really keep anything.
        """
        name = f"store {secrets.token_hex(8)}"
        with self._translated():
            self._backend.set_password(SERVICE, name, secret.reveal().hex())
        if self.fetch(name.encode()) != secret:
            raise LocalError("the keyring gave back something else than it was given")
        return name.encode()

    def fetch(self, note: bytes) -> Secret:
        """Return what was kept under a name.

        Raises:
            LocalError: the keyring does not work, or knows nothing of it; or `keep` never made
                such a name, or such a secret: somebody altered the file or the keyring.
        """
        name = _name(note)
        with self._translated():
            kept = self._backend.get_password(SERVICE, name)
        if kept is None:
            raise LocalError("the keyring holds nothing for this key store")
        if not _KEPT.fullmatch(kept):  # its text would show what is kept
            raise LocalError("what the keyring holds for this key store is no key")
        return Secret(bytes.fromhex(kept))

    def passphrase_of(self, home: str, *, make: bool = False) -> Secret:
        """Return the passphrase kept for a folder, or make a random one.

        Raises:
            LocalError: the keyring does not work, or holds none.
        """
        with self._translated():
            kept = self._backend.get_password(SERVICE, home)
            if kept is None and make:
                self._backend.set_password(SERVICE, home, secrets.token_urlsafe(32))
                kept = self._backend.get_password(SERVICE, home)
        if kept is None:
            raise LocalError(f"the keyring holds no passphrase for {home}")
        return Secret(kept)

    def forget(self, note: bytes) -> None:
        """Drop what was kept under a name.

        Raises:
            LocalError: the keyring does not work.
        """
        for name in (_name(note), _counter(note)):
            with self._translated(), contextlib.suppress(self._absent):
                self._backend.delete_password(SERVICE, name)

    def generation(self, note: bytes) -> int:
        """Return the number kept with it, 0 before the first.

        Raises:
            LocalError: the keyring does not work.
        """
        with self._translated():
            kept = self._backend.get_password(SERVICE, _counter(note)) or "0"
        if not kept.isdecimal():
            raise LocalError("what the keyring holds for this key store is no number")
        return int(kept)

    def keep_generation(self, note: bytes, number: int) -> None:
        """Keep a number with it.

        Raises:
            LocalError: the keyring does not work.
        """
        with self._translated():
            self._backend.set_password(SERVICE, _counter(note), str(number))

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._absent:
            raise
        except self._error as e:  # its text may name what was asked for, never what was kept
            raise LocalError(f"the keyring did not work: {type(e).__name__}") from e


def _require_sealed(backend: Backend) -> None:
    several: tuple[Backend, ...] = tuple(getattr(backend, "backends", ())) or (backend,)
    for each in several:  # as the package chains them
        kind = type(each)
        if kind.__module__.startswith("keyrings.alt") and "Plaintext" in kind.__name__:
            raise LocalError("this keyring keeps everything unencrypted, in a file")


def _name(note: bytes) -> str:
    if not _NAME.fullmatch(note):
        raise LocalError("the key store names an entry of the keyring that is no part of its key")
    return note.decode("ascii")


def _counter(note: bytes) -> str:
    return f"{_name(note)} generation"
