"""Secret bytes that refuse to print, copy or pickle."""

from __future__ import annotations

import getpass
import hmac
from pathlib import Path
from typing import NoReturn

from securecall.errors import LocalError, UsageError


def require_secret(secret: object) -> None:
    """Refuse text or bytes where a secret is meant; None is none at all.

    Raises:
        UsageError: it is no Secret.
    """
    if not isinstance(secret, Secret | None):
        raise UsageError(
            "passwords and passphrases are given as a Secret: Secret.prompt() or "
            f"Secret.from_file(path), not as {type(secret).__name__}"
        )


class Secret:
    """Bytes whose one way out is `reveal()`.

    Held in a bytearray so that `wipe()` really overwrites them; so does the end of whoever held the
    secret and nobody wiped it, as a key that came with an offer and was refused. Libraries that are
    handed the revealed `bytes` may keep copies of their own, which Python cannot reach.
    """

    __slots__ = ("_data",)

    def __init__(self, data: bytes | bytearray | str) -> None:
        """Take `data`; text is stored as UTF-8.

        Raises:
            UsageError: it is neither bytes nor text; a number would make that many zero bytes.
        """
        if not isinstance(data, bytes | bytearray | str):
            raise UsageError(f"a Secret holds bytes or text, not {type(data).__name__}")
        self._data = bytearray(data.encode() if isinstance(data, str) else data)

    @classmethod
    def prompt(cls, label: str = "Passphrase: ") -> Secret:
        """Ask on the terminal, without echo; ask before `asyncio.run`, which holds back Ctrl-C.

        Raises:
            UsageError: the input ended.
        """
        try:
            return cls(getpass.getpass(label))
        except EOFError:
            raise UsageError("nothing was entered") from None

    @classmethod
    def from_file(cls, path: str | Path) -> Secret:
        """Read a secret from a file; one trailing line break is dropped.

        Raises:
            LocalError: the file cannot be read or is empty.
        """
        try:
            data = Path(path).expanduser().read_bytes()
        except OSError as e:
            raise LocalError(f"cannot read the secret file {path}: {e.strerror}") from e
        data = data.removesuffix(b"\n").removesuffix(b"\r")
        if not data:
            raise LocalError(f"the secret file {path} is empty")
        return cls(data)

    def reveal(self) -> bytes:
        """Return the bytes.

        Raises:
            UsageError: the secret was wiped.
        """
        if not self._data:
            raise UsageError("this secret was wiped")
        return bytes(self._data)

    def wipe(self) -> None:
        """Overwrite the bytes; `reveal` raises from now on."""
        self._data[:] = bytes(len(self._data))
        self._data = bytearray()

    def __del__(self) -> None:
        """Overwrite what nobody wiped."""
        data = getattr(self, "_data", None)  # none where it was given no bytes
        if data:
            data[:] = bytes(len(data))

    def __len__(self) -> int:
        return len(self._data)

    def __eq__(self, other: object) -> bool:
        """Compare in constant time."""
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._data, other._data)

    def __hash__(self) -> int:
        raise TypeError("a Secret is not hashable")

    def __repr__(self) -> str:
        return "Secret(...)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __copy__(self) -> NoReturn:
        raise UsageError("a Secret is not copied; pass the object on")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise UsageError("a Secret is not copied; pass the object on")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError("a Secret is never serialised")
