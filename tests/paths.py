"""Where the tests find what is not part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
# Beside the checkout, or where the environment says.
_VECTORS = Path(os.environ.get("SECURECALL_VECTORS") or PROJECT.parent / "shared" / "vectors")


def vectors(*parts: str) -> Path:
    """Return a file or folder of third-party test data, or skip the test where it is absent.

    `SECURECALL_VECTORS` names another place for it than beside this checkout.
    """
    path = _VECTORS.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"third-party test data {'/'.join(parts)!r} is not beside this checkout")
    return path
