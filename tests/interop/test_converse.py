"""A chat client in a browser, of other people's making: Converse, in a network of its own."""

from __future__ import annotations

import pytest

from tests.interop import inside_converse, own_network
from tests.interop.browsers import INSTALLED
from tests.interop.children import need


@pytest.mark.timeout(300)
def test_converse(tmp_path):
    """What it shows stands in `inside_converse.py`, each test by its name."""
    need("chromium", "chromium")
    need("certutil", "libnss3-tools")
    if not (INSTALLED / "converse.js").exists():
        pytest.skip("Converse is not installed: python3 dev.py servers")
    own_network.run(inside_converse.__file__, tmp_path, seconds=280, mounts=True)
