"""A client with windows, of other people's making: Dino, in a network of its own."""

from __future__ import annotations

import pytest

from tests.interop import inside_dino, own_network
from tests.interop.children import need


@pytest.mark.timeout(300)
def test_dino(tmp_path):
    """What it shows stands in `inside_dino.py`, each test by its name."""
    need("dino-im", "dino-im")
    own_network.run(inside_dino.__file__, tmp_path, seconds=280, mounts=True)
