from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import ProtocolError
from securecall.transport.candidate import (
    Candidate,
    build_candidate,
    is_usable,
    parse_candidate,
)
from securecall.transport.classify import Kind, classify

ICE_CHARS = st.text("abcXYZ019+/", min_size=1, max_size=32)
ADDRESSES = st.ip_addresses().map(str)
candidates = st.builds(
    Candidate,
    ICE_CHARS,
    st.integers(1, 256),
    st.sampled_from(["udp", "tcp"]),
    st.integers(1, 2**31 - 1),
    ADDRESSES,
    st.integers(0, 65535),
    st.sampled_from(["host", "srflx", "prflx", "relay"]),
)


@given(candidates)
def test_building_and_parsing_are_inverse(candidate):
    assert parse_candidate(build_candidate(candidate)) == candidate
    is_usable(candidate, loopback=False)


@given(candidates, ADDRESSES, st.integers(0, 65535))
def test_related_addresses_come_back(candidate, address, port):
    line = build_candidate(candidate) + f" raddr {address} rport {port}"
    parsed = parse_candidate(line)
    assert (parsed.related_address, parsed.related_port) == (address, port)
    assert build_candidate(parsed) == line


@given(st.one_of(st.text(max_size=100), st.lists(st.text("0159abc:. ", max_size=9)).map(" ".join)))
def test_any_text_parses_or_is_refused(text):
    for line in (text, "1 1 udp 1 192.0.2.1 5000 typ host " + text):
        try:
            parsed = parse_candidate(line)
        except ProtocolError:
            continue
        is_usable(parsed, loopback=True)


@given(st.binary(max_size=4))
def test_any_datagram_has_a_kind(datagram):
    assert classify(datagram) in Kind
