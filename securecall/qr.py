"""QR codes on a terminal, as PNG and as SVG: the door of segno (extra `qr`)."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from securecall.errors import LocalError, Unsupported, UsageError

if TYPE_CHECKING:
    from segno import QRCode

MOST: Final = 2900  # characters that a code of the largest size holds, with a little room
_BORDER: Final = 4  # modules of white around it (ISO/IEC 18004)
_SCALE: Final = 8  # pixels a module


def require_possible(*pictures: Path) -> None:
    """Refuse what `draw` and `save` would, before anything is done that is to be shown by a code.

    Raises:
        Unsupported: the extra is not installed.
        UsageError: the name of a picture ends otherwise than `save` can.
        LocalError: there is no folder for it.
    """
    for path in pictures:
        _ = _kind(path)
        require_folder(path)
    _ = _code("?")  # is there anything that makes one?


def draw(text: str) -> str:
    """Return the code as lines of block characters; dark and light are set, whatever the colours.

    Raises:
        Unsupported: the extra is not installed.
        UsageError: the text is too long for a code.
    """
    drawn = io.StringIO()
    _code(text).terminal(out=drawn, compact=True, border=2)
    return drawn.getvalue()


def save(text: str, path: Path) -> None:
    """Write the code as a picture that only its owner can read: PNG or SVG, by the file's name.

    Raises:
        Unsupported: the extra is not installed.
        UsageError: the name ends otherwise, or the text is too long for a code.
        LocalError: the file cannot be written.
    """
    kind = _kind(path)
    picture = io.BytesIO()
    _code(text).save(picture, kind=kind, scale=_SCALE, border=_BORDER)
    write_private(path, picture.getvalue())


def _kind(path: Path) -> str:
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise UsageError("a picture of a code is a .png or a .svg file")
    return kind


def require_folder(path: Path) -> None:
    """Refuse a file that `write_private` could not make for want of a folder.

    Raises:
        LocalError: there is none.
    """
    if not path.parent.is_dir():
        raise LocalError(f"cannot write {path}: there is no folder {path.parent}")


def write_private(path: Path, data: bytes) -> None:
    """Write what others must not read; a file that was there is narrowed before, or refused.

    Raises:
        LocalError: the file cannot be written.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                if os.name == "posix":
                    os.fchmod(file.fileno(), 0o600)  # EPERM where it is somebody else's
                file.truncate()
            _ = file.write(data)
    except OSError as e:
        raise LocalError(f"cannot write {path}: {e.strerror}") from e


def _code(text: str) -> QRCode:
    try:
        import segno
    except ImportError as e:
        raise Unsupported('QR codes need an extra: pip install "securecall[qr]"') from e
    if len(text) > MOST:
        raise UsageError("this is too long for a QR code: use a file")
    return segno.make(text, micro=False)
