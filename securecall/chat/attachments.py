"""Files sealed to be sent, and opened into a folder of ours only once they are proved whole."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from securecall.chat.message import SharedFile
from securecall.chat.sealing import GCM_256, LARGEST, PIECE, Opener, Sealer
from securecall.errors import LocalError, UsageError
from securecall.secret import Secret

SEALING: Final = ".sealing"
"""How the names of folders end that hold ciphertext on its way."""

_PART: Final = ".part"
_NEW: Final = (
    os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedFile:
    """Ciphertext in a file of ours, and the key to it.

    Attributes:
        path: Where; for our eyes only (mode 600), deleted by `discard`.
        size: Bytes of ciphertext.
        key: Of this file alone.
        iv: Likewise.
        cipher: Namespace of XEP-0448; "" where it is sent as a link (XEP-0454).
        plain_size: Bytes of plaintext.
        sha256: Of the plaintext.
        cipher_sha256: Of the ciphertext.
    """

    path: Path
    size: int
    key: Secret = field(repr=False)
    iv: bytes = field(repr=False)
    cipher: str
    plain_size: int
    sha256: bytes
    cipher_sha256: bytes

    def shared(
        self,
        url: str,
        *,
        name: str = "",
        media_type: str = "",
        seconds: float = 0.0,
        expires: int = 0,
    ) -> SharedFile:
        """Return what a message says of it, once it lies at `url`."""
        return SharedFile(
            url=url,
            key=self.key,
            iv=self.iv,
            cipher=self.cipher,
            name=name,
            media_type=media_type,
            size=self.plain_size,
            sha256=self.sha256,
            cipher_sha256=self.cipher_sha256,
            seconds=seconds,
            expires=expires,
        )

    def discard(self) -> None:
        """Delete the ciphertext here; safe to call again."""
        with contextlib.suppress(OSError):
            self.path.unlink()


def seal_file(file: Path | bytes, folder: Path, *, link: bool = False) -> SealedFile:
    """Encrypt a file under a fresh key into a new file of `folder`; blocks.

    Whatever the outcome, never is more than one piece of it in memory, nor plaintext written.

    Args:
        file: Its path, or what would be in it.
        folder: A private one.
        link: For somebody who takes bare links alone (XEP-0454): no size is sent there, so nothing
            can be padded. Otherwise the length is padded to one that many files share.

    Raises:
        LocalError: it cannot be read, or `folder` not be written to.
        UsageError: it has more than 4 GiB.
    """
    with contextlib.ExitStack() as stack:
        try:
            source: IO[bytes] = io.BytesIO(file) if isinstance(file, bytes) else file.open("rb")
            _ = stack.enter_context(source)
            total = len(file) if isinstance(file, bytes) else os.fstat(source.fileno()).st_size
            if total > LARGEST:
                raise UsageError("a file of more than 4 GiB is not sent")
            target = stack.enter_context(_NewFile(folder))
            sealer = Sealer()
            while piece := source.read(PIECE):
                target.write(sealer.update(piece))
            for rest in sealer.finish(pad=not link):
                target.write(rest)
            target.flush()
        except OSError as e:
            what = "what is to be sent" if isinstance(file, bytes) else file
            raise LocalError(f"cannot encrypt {what}: {e.strerror}") from e
        target.keep()
    return SealedFile(
        path=target.path,
        size=sealer.sealed_size,
        key=sealer.key,
        iv=sealer.iv,
        cipher="" if link else GCM_256,
        plain_size=sealer.size,
        sha256=sealer.sha256,
        cipher_sha256=sealer.cipher_sha256,
    )


def sweep(folder: Path) -> None:
    """Delete what a crash left of files on their way; while none is on its way there.

    Raises:
        LocalError: something of it cannot be deleted.
    """
    try:
        for left in folder.glob("[0-9a-f]" * 32 + _PART):
            left.unlink()
        for left in folder.glob(f"*{SEALING}"):
            shutil.rmtree(left)
    except OSError as e:
        raise LocalError(f"cannot tidy up {folder}: {e.strerror}") from e


class Opening:
    """A file that is being decrypted beside its future place; gone if it is never released."""

    def __init__(self, shared: SharedFile, target: Path) -> None:
        """Prepare to decrypt; nothing is written yet.

        Raises:
            ProtocolError: the description can open no file.
            LocalError: something is there already.
        """
        if os.path.lexists(target):
            raise LocalError(f"{target} is there already")
        self._target = target
        self._opener = Opener(shared)
        self._file = _NewFile(target.parent)
        self._released = False

    def __enter__(self) -> Self:
        try:
            _ = self._file.__enter__()
        except OSError as e:
            raise LocalError(f"cannot write to {self._target.parent}: {e.strerror}") from e
        return self

    def write(self, sealed: bytes) -> None:
        """Decrypt the next piece of ciphertext.

        Raises:
            FileNotIntact: it is too long.
            LocalError: the disk refuses.
        """
        plain = self._opener.update(sealed)
        try:
            self._file.write(plain)
        except OSError as e:
            raise LocalError(f"cannot write the file: {e.strerror}") from e

    def release(self) -> Path:
        """Prove the whole and put it in its place.

        Raises:
            FileNotIntact: it is not what was described.
            LocalError: the disk refuses, or something is there by now.
        """
        last = self._opener.finish()
        try:
            self._file.write(last)
            self._file.flush()
            self._file.move(self._target)
        except FileExistsError as e:
            raise LocalError(f"{self._target} is there already") from e
        except OSError as e:
            raise LocalError(f"cannot write the file: {e.strerror}") from e
        self._released = True
        return self._target

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.__exit__(kind, error, trace)
        if kind is not None and self._released:  # cancelled at the last moment: as if never begun
            with contextlib.suppress(OSError):
                self._target.unlink()


class _NewFile:
    """A file under a random name, for its owner alone, which goes away unless it is kept."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{secrets.token_hex(16)}{_PART}"
        self._file: IO[bytes] | None = None
        self._kept = False

    def __enter__(self) -> Self:
        self._file = os.fdopen(os.open(self.path, _NEW, 0o600), "wb")
        return self

    def write(self, data: bytes) -> None:
        if self._file is None:
            raise UsageError("this file is closed")
        _ = self._file.write(data)

    def flush(self) -> None:
        """Make it last: a proved file must not be a hole after a power cut."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def keep(self) -> None:
        self._kept = True

    def move(self, target: Path) -> None:
        """Give it its name at once, unless the name is taken."""
        try:
            os.link(self.path, target)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if os.path.lexists(target):
                raise FileExistsError from None
            _ = self.path.replace(target)
            self._kept = True

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # what could not be written is deleted anyway
                self._file.close()
        if not self._kept:
            with contextlib.suppress(OSError):
                self.path.unlink()
