from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from securecall.transport.candidate import Candidate, is_usable

candidates = st.builds(
    Candidate,
    st.text("abcXYZ019+/", min_size=1, max_size=32),
    st.integers(0, 2**32),
    st.sampled_from(["udp", "tcp"]) | st.text(max_size=5),
    st.integers(0, 2**32),
    st.ip_addresses().map(str) | st.text("0159abc:.% ", max_size=20) | st.text(max_size=20),
    st.integers(-1, 2**17),
    st.sampled_from(["host", "srflx", "prflx", "relay"]) | st.text(max_size=5),
)


@given(candidates, st.booleans())
def test_only_a_real_unicast_address_and_port_is_ever_checked(candidate, loopback):
    if is_usable(candidate, loopback=loopback):
        address = ipaddress.ip_address(candidate.host)
        assert not (address.is_multicast or address.is_unspecified)
        assert loopback or not address.is_loopback
        assert 0 < candidate.port < 65536
