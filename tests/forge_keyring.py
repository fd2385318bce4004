"""A keyring in memory, as the package `keyring` has them; whoever imports this skips without it."""

from __future__ import annotations

from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError


class InMemory(KeyringBackend):
    """A keyring as the package has them."""

    priority = 0  # never chosen by itself

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = False
        self.forgetful = False

    def _require_unlocked(self) -> None:
        if self.locked:
            raise KeyringLocked("locked")

    def get_password(self, service, username):
        self._require_unlocked()
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        self._require_unlocked()
        if not self.forgetful:
            self.kept[service, username] = password

    def delete_password(self, service, username):
        self._require_unlocked()
        if (service, username) not in self.kept:
            raise PasswordDeleteError("not there")
        del self.kept[service, username]
