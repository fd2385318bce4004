"""Starts `sip_server` for a measurement, and ends it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.paths import PROJECT


@contextmanager
def serving(folder: Path) -> Iterator[tuple[int, Path]]:
    """Its port, and the certificate to trust."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.sip_server", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    )
    try:
        assert server.stdout is not None
        ready = json.loads(server.stdout.readline())
        yield ready["port"], Path(ready["authority"])
    finally:
        server.communicate()  # closes its standard input, at which it ends
