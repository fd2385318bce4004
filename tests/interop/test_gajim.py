"""A client with windows, of other people's making: Gajim, in a network of its own."""

from __future__ import annotations

import pytest

from tests.interop import gajim, inside_gajim, own_network


@pytest.mark.timeout(300)
def test_gajim(tmp_path):
    """What it shows stands in `inside_gajim.py`, each test by its name."""
    gajim.required()
    own_network.run(inside_gajim.__file__, tmp_path, seconds=280, mounts=True)
