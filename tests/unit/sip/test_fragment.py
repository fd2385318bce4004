"""Candidates found later, as they stand in an INFO (RFC 8840 9)."""

from __future__ import annotations

import pytest

from securecall.calls.signaling import Trickled
from securecall.media.description import Candidate, LocalIce
from securecall.sip.fragment import build_fragment, parse_fragment
from securecall.sip.grammar import SipError
from securecall.sip.limits import MOST_CANDIDATES, MOST_FRAGMENT_BYTES, MOST_MEDIA

HEAD = "a=ice-ufrag:8hhY\r\na=ice-pwd:asd88fgpdd777uzjYhagZg\r\n"
LINE = "m=audio 9 RTP/AVP 0\r\na=mid:0\r\n"
CANDIDATE = "a=candidate:1 1 udp 2113929471 192.0.2.1 4000 typ host\r\n"
HOST = Candidate("1", 1, "udp", 2113929471, "192.0.2.1", 4000, "host")
RELAY = Candidate("2", 1, "udp", 16777215, "2001:db8::1", 5000, "relay", "::", 9)


def ice(*candidates, complete=False):
    return LocalIce(
        ufrag="8hhY", pwd="asd88fgpdd777uzjYhagZg", candidates=candidates, complete=complete
    )


@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize("candidates", [(), (HOST,), (HOST, RELAY)])
def test_what_is_written_is_read(candidates, complete):
    told = Trickled("a-1", ice(*candidates, complete=complete))
    body = build_fragment(told)
    assert parse_fragment(body) == (told,)
    assert body.endswith(b"a=end-of-candidates\r\n") is complete


def test_a_body_of_two_lines_with_the_credentials_at_its_top_is_read():
    """As RFC 8840 4.4 shows them."""
    body = (
        "a=ice-pwd:asd88fgpdd777uzjYhagZg\r\na=ice-ufrag:8hhY\r\n"
        "m=audio 9 RTP/AVP 0\r\na=mid:1\r\n"
        "a=candidate:1 1 UDP 1658497328 192.168.100.33 5000 typ host\r\n"
        "a=end-of-candidates\r\n"
        "m=audio 9 RTP/AVP 0\r\na=mid:2\r\na=x-later:1\r\n"
    )
    first, second = parse_fragment(body.encode())
    (found,) = first.ice.candidates
    assert (first.mid, found.host, found.port) == ("1", "192.168.100.33", 5000)
    assert first.ice.complete
    assert (second.mid, second.ice.candidates, second.ice.complete) == ("2", (), False)
    assert second.ice.ufrag == "8hhY"


def test_credentials_of_a_line_count_before_those_of_the_top():
    (told,) = parse_fragment((HEAD + LINE + "a=ice-ufrag:other\r\n" + CANDIDATE).encode())
    assert (told.ice.ufrag, told.ice.pwd) == ("other", "asd88fgpdd777uzjYhagZg")


@pytest.mark.parametrize(
    "body",
    [
        "v=0\r\n" + HEAD + LINE,
        HEAD + "c=IN IP4 192.0.2.1\r\n" + LINE,
        HEAD + LINE + "nonsense\r\n",
        HEAD + LINE + "\r\n" + CANDIDATE,
        HEAD + CANDIDATE,  # of no m-line
        HEAD + "m=audio 9 RTP/AVP 0\r\n" + CANDIDATE,  # without a mid
        HEAD + LINE + "a=mid:1\r\n",  # of two
        HEAD + "m=audio 9 RTP/AVP 0\r\na=mid:a b\r\n",
        HEAD + LINE + LINE,
        LINE + CANDIDATE,  # of no generation
        "a=ice-ufrag:8hhY\r\n" + LINE + CANDIDATE,
        HEAD + "a=ice-ufrag:8hhY\r\n" + LINE,
        HEAD + "a=ice-pwd:p w\r\n" + LINE,
        HEAD + "m=audio\r\na=mid:0\r\n",
        HEAD + LINE + "a=candidate:1 1 udp\r\n",
        HEAD + LINE + "a=candidate:1 1 udp 1 192.0.2.1 70000 typ host\r\n",
        HEAD + LINE + "a=x:\0\r\n",
        HEAD + LINE + "a=x:\r\r\n",
        HEAD + LINE + "a=x:ä\r\n",
    ],
)
def test_what_is_malformed_is_refused(body):
    assert parse_fragment((HEAD + LINE + CANDIDATE).encode())  # the control
    with pytest.raises(SipError) as caught:
        parse_fragment(body.encode())
    assert caught.value.status == 400


def test_a_name_of_a_host_is_read_and_left_to_who_checks():
    (told,) = parse_fragment((HEAD + LINE + CANDIDATE.replace("192.0.2.1", "x.local")).encode())
    assert told.ice.candidates[0].host == "x.local"


@pytest.mark.parametrize(
    ("most", "write"),
    [
        (MOST_FRAGMENT_BYTES, lambda n: HEAD + LINE + "a=" + "x" * (n - len(HEAD + LINE) - 2)),
        (MOST_MEDIA, lambda n: HEAD + "".join(LINE.replace(":0", f":{i}") for i in range(n))),
        (MOST_CANDIDATES, lambda n: HEAD + LINE + CANDIDATE * n),
    ],
)
def test_a_fragment_beyond_a_limit_is_refused_with_513(most, write):
    _ = parse_fragment(write(most).encode())
    with pytest.raises(SipError) as caught:
        parse_fragment(write(most + 1).encode())
    assert caught.value.status == 513


def test_nothing_of_ours_breaks_a_line():
    with pytest.raises(SipError):
        build_fragment(Trickled("0\r\na=candidate:x", ice(HOST)))


def test_no_password_is_shown():
    assert "asd88" not in repr(parse_fragment((HEAD + LINE).encode()))
