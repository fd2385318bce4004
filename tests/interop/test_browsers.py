"""Browsers with JsSIP, in a network of their own: they ask nothing of any other."""

from __future__ import annotations

import pytest

from tests.interop import inside_browsers, own_network
from tests.interop.children import need


@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    ("browser", "package"), [("chromium", "chromium"), ("firefox-esr", "firefox-esr")]
)
def test_browser(tmp_path, browser, package):
    """What it shows stands in `inside_browsers.py`, each test by its name."""
    need(browser, package)
    need("certutil", "libnss3-tools")
    need("pulseaudio", "pulseaudio")
    need("kamailio", "kamailio kamailio-tls-modules")
    chosen = browser.removesuffix("-esr")
    own_network.run(inside_browsers.__file__, tmp_path, seconds=140, only=chosen)
