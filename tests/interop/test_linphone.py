"""A phone of other people's making that verifies its server: linphone, in a network of its own."""

from __future__ import annotations

import pytest

from tests.interop import inside_linphone, own_network
from tests.interop.children import need


@pytest.mark.timeout(300)
def test_linphone(tmp_path):
    """What it shows stands in `inside_linphone.py`, each test by its name."""
    need("linphone-daemon", "linphone-cli")
    need("pulseaudio", "pulseaudio")
    need("parecord", "pulseaudio-utils")
    need("kamailio", "kamailio kamailio-tls-modules")
    own_network.run(inside_linphone.__file__, tmp_path, seconds=280)
