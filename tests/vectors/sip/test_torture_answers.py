"""RFC 4475 and RFC 5118 through the user agent: each message is answered as its section says.

The messages were made for UDP and come over a stream here. Two things differ then: a length that
is missing or wrong leaves no way to find the next message, so the connection closes after the
answer (RFC 3261 18.3), and octets behind a body are the beginning of the next message.
"""

from __future__ import annotations

import re

import pytest

from tests.paths import vectors
from tests.vectors.sip.line import Line, alive, bytewise, options

# 488 stands where RFC 4475 would have the call ring: its offers are plain RTP, which no call of
# ours may use. That nothing else is wrong with them shows where they come with another offer.
ANSWERS = {
    "wsinv.dat": "481",  # 3.1.1.1: well formed; names a dialog nobody has (RFC 3261 12.2.2)
    "intmeth.dat": "501",  # 3.1.1.2: well formed, of a method nobody knows
    "esc01.dat": "488",  # 3.1.1.3
    "escnull.dat": "405",  # 3.1.1.4: well formed; we are no registrar
    "esc02.dat": "501",  # 3.1.1.5: an endpoint answers 501
    "lwsdisp.dat": "200",  # 3.1.1.6: to be taken as well formed
    "longreq.dat": "488",  # 3.1.1.7
    # 3.1.1.8: the INVITE was noise in a datagram; on a stream it is the next message, its body one
    # octet longer than it says, and its "m =video" no line of SDP
    "dblreq.dat": "405 400 closed",
    "semiuri.dat": "200",  # 3.1.1.9
    "transports.dat": "200",  # 3.1.1.10
    "mpart01.dat": "405",  # 3.1.1.11: well formed; MESSAGE is not for calls
    "unreason.dat": "drop",  # 3.1.1.12: well formed; answers nothing we asked
    "noreason.dat": "drop",  # 3.1.1.13: the same
    "badinv01.dat": "400",  # 3.1.2.1
    "clerr.dat": "waits",  # 3.1.2.2: there is more to come, as far as a stream can tell
    "ncl.dat": "400 closed",  # 3.1.2.3: an error; over a stream the connection is to be closed
    "scalar02.dat": "400",  # 3.1.2.4: the CSeq
    "scalarlg.dat": "drop",  # 3.1.2.5
    "quotbal.dat": "400",  # 3.1.2.6
    "ltgtruri.dat": "400",  # 3.1.2.7
    "lwsruri.dat": "400",  # 3.1.2.8
    "lwsstart.dat": "400",  # 3.1.2.9
    "trws.dat": "400",  # 3.1.2.10
    "escruri.dat": "400",  # 3.1.2.11
    "baddate.dat": "488",  # 3.1.2.12: its Date decides nothing here, so it is ignored
    "regbadct.dat": "400",  # 3.1.2.13
    "badaspec.dat": "400",  # 3.1.2.14
    "baddn.dat": "400",  # 3.1.2.15
    "badvers.dat": "505",  # 3.1.2.16
    "mismatch01.dat": "400",  # 3.1.2.17
    "mismatch02.dat": "400",  # 3.1.2.18: 501 or 400
    "bigcode.dat": "drop",  # 3.1.2.19
    "badbranch.dat": "400",  # 3.2.1
    "insuf.dat": "400",  # 3.3.1
    "unkscm.dat": "416",  # 3.3.2
    "novelsc.dat": "416",  # 3.3.3
    "unksm2.dat": "405",  # 3.3.4: well formed; we are no registrar
    "bext01.dat": "420",  # 3.3.5
    "invut.dat": "415",  # 3.3.6
    "regaut01.dat": "405",  # 3.3.7: the scheme does not matter; we are no registrar
    "multi01.dat": "400",  # 3.3.8
    "mcl01.dat": "400 closed",  # 3.3.9: an error; over a stream the connection is to be closed
    "bcast.dat": "drop",  # 3.3.10
    "zeromf.dat": "200",  # 3.3.11: whom a request is for does not count hops
    "cparam01.dat": "405",  # 3.3.12: well formed; we are no registrar
    "cparam02.dat": "405",  # 3.3.13: the same
    "regescrt.dat": "405",  # 3.3.14: the same
    "sdp01.dat": "406",  # 3.3.15
    # 3.4.1: what RFC 2543 allows; no stream can be cut without Content-Length
    "inv2543.dat": "400 closed",
}
IPV6 = {
    "ipv6-good": "405",  # 4.1: well formed; we are no registrar
    "ipv6-bad": "400",  # 4.2: an address without brackets
    "port-ambiguous": "405",  # 4.3: well formed
    "port-unambiguous": "405",  # 4.4
    "via-received-param-with-delim": "481",  # 4.5: a BYE of no call
    "via-received-param-no-delim": "200",  # 4.5
    "ipv6-in-sdp": "488 waits",  # 4.6: plain RTP; the copy's body is longer than it says
    "mult-ip-in-header": "481",  # 4.7: a BYE of no call
    "mult-ip-in-sdp": "488 waits",  # 4.8: as 4.6
    "ipv4-mapped-ipv6": "488 waits",  # 4.9: as 4.6
    "ipv6-bug-abnf-3-colons": "200",  # 4.10: to be tolerated
    "ipv6-correct-abnf-2-colons": "200",  # 4.10
}
SECURE = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 UDP/TLS/RTP/SAVPF 0\r\n"
    b"c=IN IP4 192.0.2.1\r\na=setup:actpass\r\na=rtcp-mux\r\n"
    b"a=fingerprint:sha-256 " + b":".join([b"00"] * 32) + b"\r\n"
)
ALL = [("sip_rfc4475", name) for name in ANSWERS] + [("sip_rfc5118", name) for name in IPV6]


def goes_on(name: str) -> bool:
    """Whether the connection is at the end of a message, and open."""
    return not (ANSWERS | IPV6)[name].endswith(("closed", "waits"))


def test_every_message_of_both_documents_is_in_the_tables():
    assert (len(ANSWERS), len(IPV6)) == (49, 12)
    there = {p.name for p in vectors("sip_rfc4475").iterdir() if p.suffix == ".dat"}
    assert there - ANSWERS.keys() <= {"test.dat"}  # in the RFC's archive, not in its text
    assert {p.name for p in vectors("sip_rfc5118").iterdir()} <= IPV6.keys()


@pytest.mark.parametrize(("folder", "name"), ALL)
def test_a_message_is_answered_as_prescribed_whole_and_byte_by_byte(folder, name):
    data = vectors(folder, name).read_bytes()
    prescribed = (ANSWERS | IPV6)[name]
    whole, bytes_ = Line(), Line()
    assert whole.hear([data]) == prescribed
    assert bytes_.hear(bytewise(data)) == prescribed
    assert alive(whole.agent)
    assert alive(bytes_.agent)


@pytest.mark.parametrize(
    "name", ["wsinv.dat", "dblreq.dat", "ncl.dat", "clerr.dat", "mcl01.dat", "trws.dat"]
)
def test_a_message_is_answered_alike_wherever_it_is_split(name):
    data = vectors("sip_rfc4475", name).read_bytes()
    verdicts = {Line().hear([data[:at], data[at:]]) for at in range(1, len(data))}
    assert verdicts == {ANSWERS[name]}


@pytest.mark.parametrize(("folder", "name"), [(f, n) for f, n in ALL if goes_on(n)])
def test_the_next_request_of_a_connection_that_goes_on_is_answered(folder, name):
    line = Line()
    _ = line.hear([vectors(folder, name).read_bytes()])
    assert line.hear([options()]).endswith(" 200")


def test_the_refusals_say_what_would_be_accepted():
    def refusal(name: str) -> dict[str, str]:
        line = Line()
        _ = line.hear([vectors("sip_rfc4475", name).read_bytes()])
        return dict(line.answers[-1].headers.items())

    unsupported = refusal("bext01.dat")["Unsupported"]
    # what Proxy-Require asks of proxies is not for us to refuse
    assert unsupported.split(", ") == ["nothingSupportsThis", "nothingSupportsThisEither"]
    assert refusal("escnull.dat")["Allow"].startswith("INVITE, ACK, ")
    assert "application/sdp" in refusal("invut.dat")["Accept"]
    assert "application/sdp" in refusal("sdp01.dat")["Accept"]
    assert refusal("mcl01.dat")["CSeq"] == "15932 OPTIONS"


def test_a_length_that_lies_takes_in_what_follows_until_the_limit():
    agent = Line().agent
    line = Line(agent)
    assert line.hear([vectors("sip_rfc4475", "clerr.dat").read_bytes()]) == "waits"
    assert line.hear([options()]) == "waits"  # taken for the rest of the body
    assert agent.lost(1, now=2.0) == ()  # nothing began, so nothing ends with the connection
    assert alive(agent)


@pytest.mark.parametrize(
    "name",
    [
        "esc01.dat",
        "longreq.dat",
        "baddate.dat",
        "ipv6-in-sdp",
        "mult-ip-in-sdp",
        "ipv4-mapped-ipv6",
    ],
)
def test_a_call_refused_for_plain_media_alone_is_taken_with_a_secure_offer(name):
    folder = "sip_rfc4475" if name in ANSWERS else "sip_rfc5118"
    head, _, _ = vectors(folder, name).read_bytes().partition(b"\r\n\r\n")
    length = b"\\1: %d" % len(SECURE)
    head = re.sub(rb"(?im)^(Content-Length|l) *:[ 0-9]+", length, head)
    assert Line().hear([head + b"\r\n\r\n" + SECURE]) == "200"


def test_an_rfc_2543_caller_without_branch_and_tag_is_served():
    head, _, _ = vectors("sip_rfc4475", "inv2543.dat").read_bytes().partition(b"\r\n\r\n")
    # without Contact nothing could be sent to the caller: RFC 3261 12.1.1 wants one
    contact = b"\r\nContact: <sip:+13035551111@ift.client.example.net>"
    head += contact + b"\r\nContent-Length: %d\r\n\r\n" % len(SECURE)
    line = Line()
    assert line.hear([head + SECURE]) == "200"
    # repeated, it is the same transaction although no branch names it (RFC 3261 17.2.3)
    assert line.hear([head + SECURE]) == "200 absorbed"
