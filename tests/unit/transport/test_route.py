"""What is this machine itself, whatever it is called."""

from __future__ import annotations

import pytest

from securecall.transport.route import is_loopback


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_this_machine_is_known(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "127.example.com", "192.0.2.1", "localhost.example", "::"])
def test_what_may_lead_elsewhere_is_not_taken_for_it(host):
    assert not is_loopback(host)
