"""Calls over NATs, firewalls, IPv6, and from one network to another, in namespaces of their own."""

import pytest

from tests.interop import inside_moves, inside_networks, own_network


@pytest.mark.timeout(660)
def test_calls_over_networks_of_every_kind(tmp_path):
    own_network.run(inside_networks.__file__, tmp_path, seconds=600)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_call_lives_through_two_hundred_moves_and_ends_when_consent_does(tmp_path, capsys):
    said = own_network.run(inside_moves.__file__, tmp_path, seconds=3000)
    with capsys.disabled():
        print(next(line for line in said.splitlines() if "changes of address" in line))
