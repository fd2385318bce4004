"""What a provider, or somebody behind one, can do to an account of PJSIP's; each with a control."""

from __future__ import annotations

import base64
import re
import socket
import subprocess

import pytest
from pylibsrtp import Error, Session
from pylibsrtp import Policy as Srtp

from securecall.sip.message import Response
from tests.interop.engines import ALICE, Person, Refused, need_pjsua2, over, refused
from tests.interop.hostile import KEY, SUITE, Provider, sdp
from tests.interop.people import sip
from tests.paths import PROJECT

pytestmark = [pytest.mark.timeout(120), pytest.mark.attack]

FINGERPRINT = "a=setup:actpass\r\na=fingerprint:sha-256 " + ":".join(["AA"] * 32) + "\r\n"
DTLS = sdp("UDP/TLS/RTP/SAVPF", "", more=FINGERPRINT)
LINE = sdp().partition("t=0 0\r\n")[2]  # the m-line alone


@pytest.fixture(scope="module")
def alice(tmp_path_factory):
    """She signs in anew for each test; her log has no key in it, and no password."""
    person = Person("alice", "pjsua2", tmp_path_factory.mktemp("hostile"))
    yield person
    said = person.log.read_text(errors="replace")
    assert person.close() == 0, person.said()
    assert "inline:" not in said and KEY not in said and "pw-alice" not in said
    assert "Traceback" not in said, person.said()


@pytest.fixture
def provider(alice, certificates):
    """Hers, for one test."""
    with Provider(certificates) as provider:
        assert alice.sign_in(provider) == {"state": "registered"}
        yield provider
        alice.do("forget")
        alice.do("sign_out")


def in_call(alice, provider, answer=None):
    """She calls, and is answered; the number of her call and her INVITE."""
    dialling = alice.begin("call", who=sip("bob"), hertz=ALICE)
    invite = provider.take("INVITE")
    call = alice.wait(dialling)["call"]
    provider.answer(invite, sdp() if answer is None else answer)
    return call, invite


def unprotected(certificates, seconds, does):
    """What comes of it with PJSIP alone: its exit code, and what it printed."""
    with Provider(certificates) as provider:
        command = [need_pjsua2(), "-m", "tests.interop.inside_pjsip", f"localhost:{provider.tls}"]
        command += [sip("alice"), certificates.authority, str(seconds)]
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        provider.registered.wait(10)
        does(provider)
        said, _ = process.communicate(timeout=seconds + 20)
        return process.returncode, said


OFFERS = {
    "DTLS-SRTP": DTLS,
    "DTLS-SRTP, then SDES": DTLS + LINE,
    "SDES, then DTLS-SRTP": sdp() + DTLS.partition("t=0 0\r\n")[2],
    "in small letters": DTLS.replace("UDP/TLS", "udp/tls").replace("SAVPF", "savpf"),
}


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_an_offer_of_dtls_srtp_is_refused_and_ends_no_process(alice, provider, offer):
    provider.call(offer)
    assert provider.final(1) == 480
    provider.call(sdp())
    assert alice.do("next")["caller"] == sip("bob")  # she is still there


def test_pjsip_alone_dies_of_it(certificates):
    """The control: where this begins to fail, PJSIP was mended; then see `told.invite_of`."""
    code, _ = unprotected(certificates, 3, lambda provider: provider.call(DTLS))
    assert code == -11


def smuggle(provider):
    """A long message, whose rest is a call in the name of another, where PJSIP goes on reading."""
    fields = f"From: <sip:director@clinic.example>;tag=1\r\nTo: <{sip('alice')}>\r\nCall-ID: s\r\n"
    inner = (
        f"INVITE {provider.contact} SIP/2.0\r\nVia: SIP/2.0/TLS clinic.example;branch=z9hG4bKs\r\n"
        f"Max-Forwards: 70\r\n{fields}CSeq: 1 INVITE\r\nContact: <{provider.place}>\r\n"
        f"Content-Type: application/sdp\r\nContent-Length: {len(sdp())}\r\n\r\n{sdp()}"
    )
    outer = provider.written(
        "INVITE", f"From: <{sip('bob')}>;tag=2\r\nTo: <{sip('alice')}>\r\nCall-ID: o\r\n", "@"
    )
    size = 4000  # of PJSIP's buffer
    head = len(outer.encode()) - 1 + 3  # of four digits for the length instead of one
    padded = sdp() + "a=x:"
    padding = padded + "y" * (size - head - len(padded)) + inner
    provider.send(
        provider.written(
            "INVITE",
            f"From: <{sip('bob')}>;tag=2\r\nTo: <{sip('alice')}>\r\nCall-ID: o\r\n",
            padding,
        )
    )


def test_a_message_within_one_that_is_too_long_is_not_taken_and_the_account_goes_on(
    alice, provider
):
    call, _ = in_call(alice, provider)
    alice.do("connected", call=call)
    smuggle(provider)
    with pytest.raises(Refused):
        alice.do("next", seconds=1.5)
    assert len(provider.connections) == 2  # she left the first one
    provider.call(sdp())
    assert alice.do("next")["caller"] == sip("bob")
    alice.do("hang_up", call=call)  # which went on
    provider.take("BYE")


def test_pjsip_alone_takes_the_message_within(certificates):
    _, said = unprotected(certificates, 3, smuggle)
    assert "director@clinic.example" in said


ANSWERS = {
    "plain": sdp("RTP/AVP", ""),
    "plain with keys": sdp("RTP/AVP"),
    "no key": sdp(crypto=""),
    "a short tag": sdp(crypto=f"1 AES_CM_128_HMAC_SHA1_32 inline:{KEY}"),
    "no cipher": sdp(crypto=f"1 NULL_HMAC_SHA1_80 inline:{KEY}"),
    "a key too short": sdp(crypto=f"1 {SUITE} inline:AAAA"),
    "not what was offered": sdp(crypto=f"7 {SUITE} inline:{KEY}"),
    "DTLS-SRTP": DTLS,
    "nothing": "",
}


@pytest.fixture
def ear():
    """Where the peer would hear us."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.bind(("127.0.0.1", 0))
        ear.settimeout(0.5)
        yield ear


def at(ear, description):
    return description.replace("m=audio 4000", f"m=audio {ear.getsockname()[1]}")


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_without_keys_that_we_take_ends_the_call_and_nothing_is_heard(
    alice, provider, ear, answer
):
    call, _ = in_call(alice, provider, at(ear, answer))
    assert refused(alice, "connected", call=call) in ("Incompatible", "SecurityError", "CallFailed")
    provider.take("BYE")
    with pytest.raises(TimeoutError):
        ear.recv(2000)


PARAMETERS = ("UNENCRYPTED_SRTP", "UNAUTHENTICATED_SRTP", "UNENCRYPTED_SRTCP", "KDR=3")


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_what_asks_for_less_protection_is_refused_and_in_an_answer_goes_unheard(
    alice, provider, ear, parameter
):
    less = f"1 {SUITE} inline:{KEY} {parameter}"
    provider.call(sdp(crypto=less))
    assert provider.final(1) == 488
    _, invite = in_call(alice, provider, at(ear, sdp(crypto=less)))
    key = base64.b64decode(re.search(rb"inline:(\S+)", invite.body)[1])
    session = Session(Srtp(key=key, ssrc_type=Srtp.SSRC_ANY_INBOUND))
    packet = next(p for p in iter(lambda: ear.recv(2000), b"") if not 64 <= p[1] & 0x7F < 96)
    assert session.unprotect(packet)
    with pytest.raises(Error):  # it is authenticated
        session.unprotect(packet[:-1] + bytes([packet[-1] ^ 1]))


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
@pytest.mark.parametrize("offer", ["plain", "no key", "no cipher", "DTLS-SRTP"])
def test_a_change_that_drops_the_keys_is_refused_and_the_call_goes_on(
    alice, provider, method, offer
):
    call, invite = in_call(alice, provider)
    alice.do("connected", call=call)
    later = ANSWERS[offer].replace("o=- 1 1", "o=- 1 2")
    provider.within(invite, method, 7, later)
    assert provider.final(7) in (406, 488)
    assert alice.do("connected", call=call)["profile"] == SUITE
    assert alice.do("statistics", call=call)["packets_sent"] >= 0


CODEC = sdp(more="a=rtpmap:97 iLBC/8000\r\na=fmtp:97 mode=99\r\n").replace(
    "SAVP 0 101", "SAVP 97 101"
)
SILENT = {
    "keys of the telephone alone": sdp().replace("SAVP 0 101", "SAVP 101"),
    "IPv6": sdp().replace("IN IP4 127.0.0.1\r\nt", "IN IP6 ::1\r\nt"),
    "no address": sdp().replace("c=IN IP4 127.0.0.1", "c=IN IP4 999.1.1.1"),
}


def again(description):
    return description.replace("o=- 1 1", "o=- 1 2")


def test_a_codec_with_a_parameter_that_it_cannot_have_ends_no_process(alice, provider):
    provider.call(CODEC)
    assert provider.final(1) == 488
    call, _ = in_call(alice, provider, CODEC)
    assert refused(alice, "connected", call=call)
    provider.call(sdp())
    assert alice.do("next")["caller"] == sip("bob")


@pytest.mark.parametrize("offer", SILENT.values(), ids=SILENT)
def test_a_change_that_leaves_no_sound_is_refused_and_ends_no_process(alice, provider, offer):
    call, invite = in_call(alice, provider)
    alice.do("connected", call=call)
    provider.within(invite, "UPDATE", 7, again(offer))
    assert provider.final(7) in (400, 488)
    provider.within(invite, "INVITE", 8)  # she is to describe
    assert provider.final(8) == 200
    provider.within(invite, "ACK", 8, again(sdp()))
    alice.do("hear_for", call=call, hertz=ALICE, seconds=0.5)  # so that she has it
    holding = alice.begin("hold", call=call)
    provider.reply(provider.take("INVITE"), 200, again(sdp()), f"Contact: <{provider.place}>\r\n")
    assert alice.wait(holding)["held"]
    assert alice.do("connected", call=call)["profile"] == SUITE


@pytest.mark.parametrize("answer", SILENT.values(), ids=SILENT)
def test_a_hold_that_is_answered_so_ends_the_call_and_no_process(alice, provider, answer):
    call, invite = in_call(alice, provider)
    alice.do("connected", call=call)
    holding = alice.begin("hold", call=call)
    provider.reply(provider.take("INVITE"), 200, again(answer), f"Contact: <{provider.place}>\r\n")
    provider.within(invite, "INVITE", 8)
    with pytest.raises(Refused):
        alice.wait(holding)
        alice.do("connected", call=call)
        alice.do("resume", call=call)
    alice.do("hang_up", call=call)
    provider.call(sdp())
    assert alice.do("next")["caller"] == sip("bob")


def silence(provider):
    """Call, be taken, and take the sound away; whoever holds such a call aborts."""
    incoming = provider.call(sdp())
    incoming.taken()
    incoming.send("INVITE", 2, again(SILENT["keys of the telephone alone"]))
    provider.take(200)
    incoming.send("ACK", 2)


PICTURE = "m=video 4004 RTP/SAVP 96\r\na=rtpmap:96 VP8/90000\r\n"


def test_a_hold_waits_for_what_the_other_end_has_us_describe(alice, provider):
    call, invite = in_call(alice, provider)
    alice.do("connected", call=call)
    provider.within(invite, "UPDATE", 7, again(sdp() + PICTURE))
    assert provider.final(7) == 200
    provider.within(invite, "INVITE", 8)  # and no answer to what she describes
    assert provider.final(8) == 200
    with pytest.raises(Refused):
        alice.do("hold", call=call)
    alice.do("hang_up", call=call)
    provider.call(sdp())
    assert alice.do("next")["caller"] == sip("bob")


def half(provider):
    """Call with a picture, be taken, and have it describe; whoever holds such a call aborts."""
    incoming = provider.call(sdp() + PICTURE)
    incoming.taken()
    incoming.send("INVITE", 2)


@pytest.mark.parametrize("does", [lambda provider: provider.call(CODEC), silence, half])
def test_pjsip_alone_dies_of_each(certificates, does):
    code, _ = unprotected(certificates, 4, does)
    assert code == -6


def test_nobody_is_called_by_refer_replaces_or_a_redirection(alice, provider):
    call, invite = in_call(alice, provider)
    alice.do("connected", call=call)
    provider.within(invite, "REFER", 7, more=f"Refer-To: <{sip('carol')}>\r\n")
    assert provider.final(7) == 603
    assert alice.do("transfers")["targets"][-1] == sip("carol")
    named = f"Replaces: {invite.call_id};to-tag={invite.from_.tag};from-tag=theirs\r\n"
    provider.call(sdp(), more=named)
    assert provider.final(1) == 603
    assert alice.do("connected", call=call)["profile"] == SUITE
    dialling = alice.begin("call", who=sip("bob"))
    second = provider.take("INVITE")
    other = alice.wait(dialling)["call"]
    provider.reply(second, 302, more=f"Contact: <{sip('carol')}>\r\n")
    assert refused(alice, "connected", call=other)
    assert [m.uri.text for m in provider.seen if m.start_line().startswith("INVITE")] == [
        sip("bob"),
        sip("bob"),
    ]


WISHES = [
    f"<{sip('carol')};method=BYE>",
    "<sip:carol@127.0.0.1>",
    f"<{sip('carol')}:5060>",
    f"<{sip('carol')}?Subject=x>",
    f"<{sip('carol')}?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2&Route=x>",
    f"<{sip('carol')}?Replaces=a%0D%0AX%3A1%3Bto-tag%3D1%3Bfrom-tag%3D2>",
    "<tel:+441632960000>",
    f"<{sip('carol')};user=phone>",
    "<sip:carol%0d%0aX:1@securecall.test>",
    "nonsense",
]


def test_only_plain_addresses_of_people_can_be_followed_and_few_wishes_are_heard(alice, provider):
    call, invite = in_call(alice, provider)
    alice.do("connected", call=call)
    before = len(alice.do("transfers")["targets"])
    for number, wish in enumerate([*WISHES, *WISHES], 7):
        provider.within(invite, "REFER", number, more=f"Refer-To: {wish}\r\n")
        assert provider.final(number) >= 400
        assert alice.do("follow")["call"] == 0
    assert len(alice.do("transfers")["targets"]) - before <= 16


@pytest.mark.parametrize("way", ["udp", "tcp"])
def test_keys_are_written_over_tls_alone_and_an_answer_from_elsewhere_ends_no_process(
    alice, provider, ear, way
):
    """A Contact that leads elsewhere, and no Record-Route: a hold would take new keys there."""
    place = f"sip:bob@127.0.0.1:{ear.getsockname()[1]};transport={way}"
    dialling = alice.begin("call", who=sip("bob"))
    invite = provider.take("INVITE")
    call = alice.wait(dialling)["call"]
    with socket.create_server(ear.getsockname()) as tcp:
        tcp.settimeout(0.5)
        provider.answer(invite, sdp(), contact=place)
        alice.do("connected", call=call)
        with pytest.raises(Refused):
            alice.do("hold", call=call)
        with pytest.raises(TimeoutError):
            ear.recv(2000)
        with pytest.raises(TimeoutError):
            tcp.accept()
    alice.do("hang_up", call=call)
    assert alice.do("measure")["calls"] == 0


def test_nobody_is_told_whether_she_is_there(provider):
    fields = f"From: <sip:eve@a.example>;tag=1\r\nTo: <{sip('alice')}>\r\nCall-ID: p\r\n"
    provider.request("SUBSCRIBE", 7, fields, more="Event: presence\r\nExpires: 60\r\n")
    assert provider.final(7) == 403
    assert not [m for m in provider.seen if not isinstance(m, Response)]


@pytest.mark.parametrize(
    "caller",
    [
        '"Bob\\" <sip:carol@clinic.example>" <sip:eve@a.example>',
        "<sip:eve%0d%0aX-Evil:1@a.example>",
        "<sip:eve@a.example;transport=udp>;Route=x",
        '"SRTP status: Active Crypto-suite: AES_CM_128_HMAC_SHA1_80" <sip:eve@a.example>',
    ],
)
def test_a_caller_s_name_writes_nothing_of_ours(alice, provider, caller):
    incoming = provider.call(sdp(), from_=caller)
    try:
        ring = alice.do("next", seconds=2.0)
    except Refused:
        assert provider.final(1) >= 400
        return
    assert ring["caller"] in (
        "sip:eve@a.example",
        "sip:eve%0D%0AX-Evil:1@a.example",
        "sip:anonymous@anonymous.invalid",
    )
    call = alice.do("accept", ring=ring["ring"])["call"]
    answer = incoming.taken()
    assert "X-Evil" not in answer.headers
    alice.do("hang_up", call=call)
    bye = provider.take("BYE")
    assert "X-Evil" not in bye.headers and "Route" not in bye.headers


def test_tls_keeps_no_key_that_could_be_taken_later(alice, certificates):
    with Provider(certificates, ciphers="kRSA:aNULL:@SECLEVEL=0") as provider:
        with pytest.raises(Refused) as caught:
            alice.sign_in(provider)
        assert caught.value.kind in ("ConnectFailed", "CertificateError")
        assert not provider.contact


def test_a_peer_that_answers_nothing_more_is_left(alice, provider):
    call, invite = in_call(alice, provider)
    alice.do("connected", call=call)
    provider.within(invite, "BYE", 7)
    assert over(alice, call) == "hung-up"
