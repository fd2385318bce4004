"""Files sealed and opened: `files [MB]`.

Prints `seal` and `open` in ms CPU per MB, the same for one call of AES-GCM and the two hashes over
the whole file in memory (`whole_seal`, `whole_open`), and `grown_kb`: how much more memory sealing
and opening held at its peak.
"""

from __future__ import annotations

import hashlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from securecall.chat.attachments import seal_file
from tests.bench.measure import answer
from tests.unit.chat.shared_files import open_file

MB = 1 << 20


def timed(act: Callable[[], object]) -> float:
    """CPU seconds of the faster of two runs."""
    taken = []
    for _ in range(2):
        begun = time.process_time()
        _ = act()
        taken.append(time.process_time() - begun)
    return min(taken)


def peak() -> int:
    """Kilobytes the process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def write(path: Path, size: int) -> None:
    """A file of random bytes."""
    with path.open("wb") as file:
        for _ in range(size):
            _ = file.write(os.urandom(MB))


def streamed(folder: Path, size: int) -> tuple[float, float]:
    """Seconds to seal and to open."""

    def seal() -> None:
        seal_file(folder / "plain", folder).discard()

    def reopen() -> None:
        open_file(sealed.path, shared, folder / "opened").unlink()

    sealing = timed(seal)
    sealed = seal_file(folder / "plain", folder)
    shared = sealed.shared("https://upload.example/x")
    opening = timed(reopen)
    sealed.discard()
    return sealing, opening


def whole(size: int) -> tuple[float, float]:
    """The same in one call on bytes in memory, no disk."""
    cipher, iv, plain = AESGCM(bytes(32)), bytes(12), os.urandom(size * MB)

    def seal() -> bytes:
        sealed = cipher.encrypt(iv, plain, None)
        _ = hashlib.sha256(plain).digest() + hashlib.sha256(sealed).digest()
        return sealed

    sealed = seal()

    def reopen() -> None:
        found = cipher.decrypt(iv, sealed, None)
        _ = hashlib.sha256(found).digest() + hashlib.sha256(sealed).digest()

    return timed(seal), timed(reopen)


def main() -> None:
    """Measure, streamed first: the peak of the other would hide it."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, "plain"), size)
        seal_file(b"warm", Path(folder)).discard()
        before = peak()
        sealing, opening = streamed(Path(folder), size)
        grown = peak() - before
    whole_seal, whole_open = whole(size)
    each = 1000 / size
    answer(
        seal=sealing * each,
        open=opening * each,
        whole_seal=whole_seal * each,
        whole_open=whole_open * each,
        grown_kb=grown,
    )


if __name__ == "__main__":
    main()
