"""A person's store: keys, trust, tickets and the log of calls, encrypted in one SQLite file.

Every call blocks for as long as the disk takes; `create`, `open` and `set_lock` take a
quarter of a second of computation on purpose, so run those in a thread. Threads may share a store.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from pathlib import Path
from typing import Final, NoReturn, Self

from securecall.errors import HistoryCorrupt, LocalError, StoreCorrupt, UsageError
from securecall.keys.device import DeviceKey
from securecall.keys.identity import RootKey, Signer
from securecall.secret import Secret
from securecall.store import history
from securecall.store.disk import sync_folder, translated
from securecall.store.history import ChatHistory
from securecall.store.lock import DEFAULT_COST, Cost, Keeper, Lock, Needs, Rounds
from securecall.store.rows import Rows
from securecall.store.tables import Tables, root_rows

FILE: Final = "securecall.store"
ORGANISATION: Final = "organisation"  # a setting: whose keys these are, where it is no person
_HISTORY: Final = "history-generation"
_HISTORY_KEY: Final = "history-key"  # which one, "" for the first
_BESIDE: Final = ("", "-wal", "-journal", "-shm")  # how files of one database end


class Store(Tables):
    """An open store: what opens it, the history beside it, and all that its tables hold."""

    def __init__(
        self, folder: Path, rows: Rows, keeper: Keeper | None, root: Signer | None = None
    ) -> None:
        """Use `create`, `open` or `open_or_create`."""
        self._folder = folder
        self._keeper = keeper
        self._opening = threading.Lock()
        self._history: ChatHistory | None = None
        self._rows = rows
        self._require_kept_generation()  # before anything of an older copy is read
        super().__init__(rows, root)

    def __repr__(self) -> str:
        return "<Store>"

    @classmethod
    def create(
        cls,
        folder: Path,
        passphrase: Secret | None,
        *,
        keeper: Keeper | None = None,
        root: RootKey | None = None,
        device_id: str = "",
        cost: Cost | Rounds = DEFAULT_COST,
    ) -> Self:
        """Make a store with an identity in it.

        Args:
            folder: Made with mode 700 where it does not exist.
            passphrase: The only way in; nobody can reset it. None where the keeper alone opens it.
            keeper: Keeps a part of the key outside of the file; from then on the file alone, even
                with the passphrase, opens nothing, and an older copy of it is noticed.
            root: Of an identity that is restored, or that another device holds; None draws a new
                one.
            device_id: Name of this device; "" draws one.
            cost: Of one try of the passphrase.

        Raises:
            LocalError: there is a store already, or the disk refuses.
            UsageError: the passphrase is empty, or there is neither one nor a keeper.
        """
        _make_folder(folder)
        device = DeviceKey.generate(device_id or f"d-{secrets.token_hex(4)}")
        root = root or RootKey.generate()
        rows = Rows.create(
            folder / FILE,
            Lock(passphrase=passphrase, keeper=keeper, cost=cost),
            (
                *root_rows(root),
                ("identity", "device-id", device.id.encode()),
                ("identity", "device-seed", device.seed.reveal()),
                ("identity", "seq", b"0"),
            ),
        )
        return cls(folder, rows, keeper, root.signer)

    @staticmethod
    def needs(folder: Path) -> Needs:
        """Return what opens the store of a folder; raises as `open` does."""
        return Rows.needs_of(folder / FILE)

    @classmethod
    def open(
        cls,
        folder: Path,
        passphrase: Secret | None = None,
        *,
        keeper: Keeper | None = None,
        root: Signer | None = None,
        approved: bool = False,
    ) -> Self:
        """Open a store; all of it is checked before any of it is used.

        Args:
            folder: Where it is.
            passphrase: If it asks for one.
            keeper: If it asks for one.
            root: The root key, if it lies in a token.
            approved: Refuse one that Argon2id opens, as the fips profile does.

        Raises:
            Unsupported: `approved`, and Argon2id opens it.
            WrongPassphrase: it is another one.
            UsageError: the store asks for a passphrase or a keeper that is not given.
            StoreCorrupt: damaged, altered, or older than the keeper remembers.
            LocalError: not there, in use by another process, or not readable; or the keeper does
                not work.
        """
        lock = Lock(passphrase=passphrase, keeper=keeper, approved=approved)
        rows = Rows.open(folder / FILE, lock)
        try:
            return cls(folder, rows, keeper, root)
        except BaseException:
            rows.close()
            raise

    @classmethod
    def open_or_create(
        cls,
        folder: Path,
        passphrase: Secret | None = None,
        *,
        keeper: Keeper | None = None,
        root: Signer | None = None,
        cost: Cost | Rounds = DEFAULT_COST,
    ) -> Self:
        """Open the store of a folder, or make one where there is none, or a half-made one."""
        file = folder / FILE
        if file.exists() and not Rows.left_half_made(file):
            approved = isinstance(cost, Rounds)
            return cls.open(folder, passphrase, keeper=keeper, root=root, approved=approved)
        made = None if root is None else RootKey.from_signer(root)
        return cls.create(folder, passphrase, keeper=keeper, root=made, cost=cost)

    def set_lock(self, lock: Lock) -> None:
        """Let something else open the store from now on: only the wrapped key is written anew.

        Older copies of the file still open with what opened them, unless that was a keeper: it
        forgets its part.

        Raises:
            UsageError: nothing would open it.
            LocalError: the disk or the new keeper refused; what opened it before still does.
        """
        before, keeper = self._rows.needs, self._keeper
        self._rows.rewrap(lock)
        self._keeper = lock.keeper
        self._keep_generation()
        if keeper is not None:
            # Where it does not work now, it keeps what opens nothing that is here any more.
            with contextlib.suppress(LocalError):
                keeper.forget(before.note)

    def close(self) -> None:
        """Release the files and wipe the keys; may be called again."""
        if self._history is not None:
            # Where the disk refuses, an older number stays, which is no less true.
            with contextlib.suppress(LocalError):
                self._save_history_generation(self._history)
            self._history.close()
        with contextlib.suppress(LocalError):  # as above; or it is closed already
            self._keep_generation()
        self._rows.close()
        self.root.wipe()
        self.device.seed.wipe()

    def abandon(self) -> None:
        """Close a store that is to be thrown away: its keeper forgets its part."""
        if self._keeper is not None:
            with contextlib.suppress(LocalError):
                self._keeper.forget(self._rows.needs.note)
            self._keeper = None
        self.close()

    @property
    def generation(self) -> int:
        """Number of the last write: keep it elsewhere to detect that an old file was put back."""
        return self._rows.counter

    def require_generation(self, least: int) -> None:
        """Refuse a store older than one that was open before.

        Raises:
            StoreCorrupt: the whole file was replaced by an older one.
        """
        if self._rows.counter < least:
            raise StoreCorrupt("the key store was replaced by an older copy of itself")

    def _require_kept_generation(self) -> None:
        if self._keeper is not None:
            self.require_generation(self._keeper.generation(self._rows.needs.note))
            self._keep_generation()

    def _keep_generation(self) -> None:
        if self._keeper is not None:
            self._keeper.keep_generation(self._rows.needs.note, self._rows.counter)

    # -- the history of conversations -------------------------------------------------------------

    def open_history(self) -> ChatHistory:
        """Open what is kept of conversations, or begin it; once, and closed with this store.

        Raises:
            HistoryCorrupt: damaged, altered, replaced by an older copy, or gone.
            LocalError: in use by another process, or the disk refuses.
        """
        with self._opening:
            if self._history is None:
                self._history = self._opened_history()
            return self._history

    def _opened_history(self) -> ChatHistory:
        known = int(self.setting(_HISTORY) or 0)
        if known and not (self._folder / history.FILE).exists():
            raise HistoryCorrupt("the history is gone")
        which = (self.setting(_HISTORY_KEY) or b"").decode()
        opened = ChatHistory.open(self._folder, self._rows.subkey(f"history{which}"))
        try:
            opened.require_generation(known)
            self._save_history_generation(opened)
        except BaseException:
            opened.close()
            raise
        return opened

    def forget_history(self) -> None:
        """Delete everything kept of conversations, for good, so that a new history can begin.

        That gets another key: an older file that is put back opens no more, and counting what a
        key sealed may begin anew.

        Raises:
            LocalError: the disk refused; what is left of it can be forgotten again.
        """
        with self._opening:
            if self._history is not None:
                self._history.close()
                self._history = None
            with translated("the history"):
                for ending in _BESIDE:
                    (self._folder / f"{history.FILE}{ending}").unlink(missing_ok=True)
            sync_folder("the history", self._folder)
            self.save_settings({_HISTORY: None, _HISTORY_KEY: f" {secrets.token_hex(16)}".encode()})

    def _save_history_generation(self, opened: ChatHistory) -> None:
        self.save_setting(_HISTORY, str(opened.generation).encode())

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError("a Store is never copied or serialised")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Only a folder that is ours alone is narrowed; a shared one keeps its mode.
        if os.name == "posix" and not any(folder.iterdir()):
            folder.chmod(0o700)
    except OSError as e:
        raise LocalError(f"the folder {folder} cannot be made: {e.strerror}") from e
