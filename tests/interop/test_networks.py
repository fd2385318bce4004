"""Calls over NATs, firewalls, IPv6, and from one network to another, in namespaces of their own."""

from tests.interop import inside_networks, own_network


def test_calls_over_networks_of_every_kind(tmp_path):
    own_network.run(inside_networks.__file__, tmp_path, seconds=400)
