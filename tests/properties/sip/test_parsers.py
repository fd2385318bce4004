"""For all bytes: SIP and SDP are read or refused, in one piece or many."""

from __future__ import annotations

import base64
import contextlib
import pickle
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import ProtocolError, UsageError
from securecall.sip import grammar
from securecall.sip.body import find_description
from securecall.sip.headers import Headers
from securecall.sip.limits import MOST_BODY_BYTES, MOST_HEADER_BYTES
from securecall.sip.message import Request, build_message, parse_message
from securecall.sip.multipart import split_parts
from securecall.sip.reliable import parse_rack
from securecall.sip.sdp import build_description, parse_description
from securecall.sip.session_timer import parse_session_expires
from securecall.sip.stream import MessageStream
from tests.paths import vectors

INVITE = (
    b"INVITE sip:bob@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/TLS a.example.com;branch=z9hG4bK1\r\n"
    b'From: "Alice" <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\n'
    b"Call-ID: 1\r\nCSeq: 1 INVITE\r\nContact: <sip:a@a.example.com>\r\n"
    b"Content-Length: 4\r\n\r\nabcd"
)
SDP = (
    b"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n"
    b"m=audio 4000 UDP/TLS/RTP/SAVPF 111 0\r\nc=IN IP4 192.0.2.1\r\na=mid:0\r\n"
    b"a=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\na=setup:actpass\r\n"
    b"a=fingerprint:sha-256 00:11:22\r\na=rtcp-mux\r\na=ice-ufrag:abcd\r\na=ice-pwd:efgh\r\n"
    b"a=candidate:1 1 udp 1 192.0.2.1 4000 typ host\r\na=ssrc:1 cname:x\r\n"
)


def corpus() -> list[bytes]:
    """Seeds: published messages where they are, ours everywhere."""
    seeds = [INVITE]
    for folder in ("sip_rfc4475", "sip_rfc5118", "sip_kamailio"):
        path = Path(__file__).parents[4] / "shared" / "vectors" / folder
        if path.exists():
            seeds += [p.read_bytes() for p in sorted(path.iterdir()) if p.suffix != ".csv"]
    return seeds


def mutated(seeds: list[bytes], number: int, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    words = [b"\r\n", b"\r", b"\n", b"\0", b"4294967296", b"-1", b"\xff", b"Content-Length: 9\r\n"]
    words += [bytes([c]) for c in b'"\\<>;,:=%[]@ ']
    out = []
    for _ in range(number):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(data) + 1)
            kind = chance.randrange(4)
            if kind == 0 and at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            elif kind == 1:
                data[at:at] = chance.choice(words) * chance.choice((1, 1, 1, 40))
            elif kind == 2:
                del data[at : at + chance.randint(1, 20)]
            else:
                source = chance.choice(seeds)
                start = chance.randrange(len(source) + 1)
                data[at:at] = source[start : start + chance.randint(1, 60)]
        out.append(bytes(data))
    return out


def read(data: bytes) -> bool:
    try:
        message = parse_message(data)
    except ProtocolError:
        return False
    _ = build_message(message)
    return True


def test_mutations_of_known_messages_are_read_or_refused():
    verdicts = [read(data) for data in mutated(corpus(), 4000, seed=1)]
    assert True in verdicts
    assert False in verdicts


def test_mutations_of_descriptions_are_read_or_refused():
    folder = Path(__file__).parents[4] / "shared" / "vectors" / "sdp_transform"
    seeds = [SDP] + ([p.read_bytes() for p in sorted(folder.iterdir())] if folder.exists() else [])
    for data in mutated(seeds, 4000, seed=2):
        try:
            found = parse_description(data)
        except ProtocolError:
            continue
        _ = build_description(found, session_id=1, version=1)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_protocol_error(data):
    _ = read(data)


@given(st.text(alphabet='sip:@[]%;=?<>"\\, \tab1.é\0', max_size=60))
def test_any_text_is_a_value_or_a_protocol_error(text):
    for parse in (
        grammar.parse_uri,
        grammar.parse_via_list,
        grammar.parse_cseq,
        lambda t: grammar.parse_name_addr(t, "From"),
        lambda t: grammar.parse_name_addr_list(t, "Contact"),
        lambda t: grammar.split_tokens(t, "Require"),
    ):
        with contextlib.suppress(ProtocolError):
            parse(text)


@given(st.lists(st.integers(1, 40), max_size=40))
def test_a_stream_yields_the_same_messages_however_it_is_cut(cuts):
    wire = INVITE + b"\r\n\r\n" + INVITE + INVITE
    stream, out = MessageStream(), []
    at = 0
    for cut in [*cuts, len(wire)]:
        out += stream.feed(wire[at : at + cut])
        at += cut
    assert [build_message(m) for m in out] == [INVITE] * 3
    assert stream.idle


def test_a_stream_is_read_byte_by_byte():
    stream, out = MessageStream(), []
    for i in range(len(INVITE)):
        out += stream.feed(INVITE[i : i + 1])
    assert [build_message(m) for m in out] == [INVITE]


def test_headers_and_bodies_beyond_the_limits_are_refused_unread():
    stream = MessageStream()
    assert stream.feed(b"A" * (MOST_HEADER_BYTES + 5)) == []
    assert stream.failure is not None
    with pytest.raises(ProtocolError):
        stream.feed(b"")
    large = INVITE.replace(b"Length: 4", b"Length: %d" % (MOST_BODY_BYTES + 1))
    stream = MessageStream()
    (refused,) = stream.feed(large)
    assert refused.body == b""
    assert stream.failure is refused.fault is not None
    assert not read(large + b"x" * MOST_BODY_BYTES)


def test_messages_before_a_broken_one_are_kept():
    stream = MessageStream()
    assert len(stream.feed(INVITE + b"\x80\r\n\r\n")) == 1
    assert stream.failure is not None


MULTIPART = (
    b"--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--b\r\n"
    b"Content-Type: multipart/mixed;boundary=bb\r\n\r\n--bb\r\nContent-Type: text/plain\r\n"
    b"Content-Disposition: render;handling=optional\r\n\r\nhi\r\n--bb--\r\n--b--\r\n"
)
BOUNDARIES = ("b", "bb", "", '"b"', "b;boundary=c", "-", "b--")


def body(data: bytes, boundary: str) -> Request:
    headers = Headers((("Content-Type", f"multipart/mixed;boundary={boundary}"),))
    return Request("INVITE", "sip:a@b", headers, data)


def test_mutations_of_a_body_of_several_parts_are_read_or_refused():
    verdicts = set()
    for number, data in enumerate(mutated([MULTIPART], 4000, seed=3)):
        try:
            found = find_description(body(data, BOUNDARIES[number % len(BOUNDARIES)]))
        except ProtocolError:
            verdicts.add("refused")
            continue
        verdicts.add("found" if found is not None else "nothing")
        assert found is None or found in data
    assert verdicts == {"refused", "found", "nothing"}


@given(
    st.lists(st.sampled_from([b"--b", b"--bb", b"--", b"\r\n", b"\r", b"A: b", b"x"]), max_size=30)
)
def test_any_arrangement_of_boundaries_is_read_or_refused(pieces):
    data = b"".join(pieces)
    with contextlib.suppress(ProtocolError):
        for part in split_parts("multipart/mixed;boundary=b", data):
            assert part.body in data


@given(st.text(alphabet='0129 ;=,refshuacINVT/"\t', max_size=40))
def test_any_text_is_a_value_of_rack_session_expires_or_a_media_type_or_refused(text):
    for parse in (parse_rack, parse_session_expires, lambda t: grammar.parse_value(t, "x")):
        with contextlib.suppress(ProtocolError):
            parse(text)


def test_no_key_of_sdes_is_shown():
    key = b"d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"
    line = b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + key + b"\r\n"
    found = parse_description(SDP + line)
    assert found.media[0].has_crypto
    assert key.decode() not in repr(found)
    assert not re.search(key.decode()[:12], str([getattr(found, s) for s in found.__slots__]))
    with pytest.raises(UsageError):
        pickle.dumps(found)


@pytest.mark.parametrize(
    "broken",
    [
        b"\r\n inline:KEY\r\n",
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 \r\ninline:KEY\r\n",
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:KEY\0\r\n",
        b"a=fingerprint:sha-256 KEY\r\n",
        b"a=rtpmap:KEY\r\n",
        b"k=inline:KEY\r\nz KEY\r\n",
    ],
)
def test_no_error_of_a_broken_description_quotes_a_key(broken):
    key = base64.b64encode(bytes(range(30)))
    with pytest.raises(ProtocolError) as caught:
        parse_description(SDP + broken.replace(b"KEY", key))
    assert key[:6].decode() not in str(caught.value)


def test_published_descriptions_are_read_and_written_back_alike():
    for path in sorted(vectors("sdp_transform").iterdir()):
        try:
            found = parse_description(path.read_bytes())
        except ProtocolError:
            continue
        again = parse_description(build_description(found, session_id=1, version=1))
        for one, other in zip(found.media, again.media, strict=True):
            assert (one.protocol, one.port, one.formats) == (
                other.protocol,
                other.port,
                other.formats,
            )
            if one.port:
                assert (one.codecs, one.setup) == (other.codecs, other.setup)
                # the key of an a=crypto is not kept, so neither is the keying it stood for
                assert one.has_crypto or one.keying is other.keying
                assert one.candidates == other.candidates
