"""For all bytes: a fragment of SDP is read or refused; and what is written is read."""

from __future__ import annotations

import contextlib
import string

from hypothesis import given
from hypothesis import strategies as st

from securecall.calls.signaling import Trickled
from securecall.media.description import Candidate, LocalIce
from securecall.sip.fragment import build_fragment, parse_fragment
from securecall.sip.grammar import SipError
from securecall.sip.limits import MOST_CANDIDATES

PIECES = (
    "a=ice-ufrag:abcd",
    "a=ice-pwd:0123456789012345678901",
    "m=audio 9 RTP/AVP 0",
    "m=video 9 RTP/AVP 0",
    "a=mid:0",
    "a=mid:1",
    "a=candidate:1 1 udp 1 192.0.2.1 4000 typ host",
    "a=candidate:1 1 udp 1 ::1 4000 typ relay raddr :: rport 9",
    "a=end-of-candidates",
    "a=fingerprint:sha-256 00",
    "a=crypto:1 x",
    "v=0",
    "",
)
_ice = st.text(string.ascii_letters + string.digits + "+/", min_size=4, max_size=20)
_host = st.one_of(st.ip_addresses().map(str), st.just("x.local"))
_candidates = st.builds(
    Candidate,
    foundation=_ice,
    component=st.integers(0, 256),
    transport=st.sampled_from(["udp", "UDP", "tcp"]),
    priority=st.integers(0, 2**31 - 1),
    host=_host,
    port=st.integers(0, 65535),
    type=st.sampled_from(["host", "srflx", "prflx", "relay"]),
)


@given(st.one_of(st.binary(max_size=300), st.lists(st.sampled_from(PIECES)).map("\r\n".join)))
def test_any_bytes_are_read_or_refused(data):
    data = data.encode() if isinstance(data, str) else data
    with contextlib.suppress(SipError):
        told = parse_fragment(data)
        assert len({part.mid for part in told}) == len(told)
        for part in told:
            assert part.mid
            assert part.ice.ufrag
            assert part.ice.pwd
            assert len(part.ice.candidates) <= MOST_CANDIDATES


@given(st.lists(_candidates, max_size=20), _ice, _ice, st.booleans())
def test_what_is_written_is_read(candidates, ufrag, mid, complete):
    ice = LocalIce(ufrag=ufrag, pwd=ufrag * 6, candidates=tuple(candidates), complete=complete)
    mid = mid.replace("/", "-")
    assert parse_fragment(build_fragment(Trickled(mid, ice))) == (Trickled(mid, ice),)
