"""SIPp plays scenes to our listener, through a relay since it speaks no TLS."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import securecall as sc
from securecall.sip.signaling import SipSignaling
from securecall.transport.tls import PemPair
from tests.interop import relay
from tests.interop.authority import DOMAIN
from tests.interop.children import need
from tests.interop.people import PASSPHRASE, require_no_media, sip

_HEADERS = """Via: SIP/2.0/TLS [local_ip]:[local_port];branch={branch}
Max-Forwards: 70
From: <sip:sipp@{domain}>;tag=[pid]t[call_number]
To: <sip:alice@{domain}>{to}
Call-ID: [call_id]
CSeq: {number} {method}
Contact: <sip:sipp@[local_ip]:[local_port];transport=tls>
"""
_PLAIN = """v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=audio {port} RTP/AVP 0
a=rtpmap:0 PCMU/8000
a=sendrecv
"""
_DTLS = """v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=audio {port} UDP/TLS/RTP/SAVP 0
a=rtpmap:0 PCMU/8000
a=fingerprint:sha-256 {digest}
a=setup:passive
a=rtcp-mux
a=sendrecv
"""
PEER = "[peer_tag_param]"
_DIGEST = bytes(range(32)).hex(":").upper()


def send(method, *, number=1, to="", body="", branch="[branch]", more=""):
    headers = _HEADERS.format(domain=DOMAIN, method=method, number=number, to=to, branch=branch)
    headers += more
    if body:
        headers += "Content-Type: application/sdp\n"
    text = f"{method} sip:alice@{DOMAIN} SIP/2.0\n{headers}Content-Length: [len]\n\n{body}"
    return f"<send><![CDATA[\n{text}\n]]></send>"


def expect(status, *, optional=False):
    return f'<recv response="{status}" optional="{str(optional).lower()}"/>'


def ack(*, branch="[branch]"):
    return send("ACK", to=PEER, branch=branch)


@dataclass
class Stage:
    """Our client, and where SIPp finds it."""

    alice: sc.Client
    port: int
    folder: Path
    media: socket.socket = field(repr=False)

    async def play(self, *steps: str, times: int = 1) -> None:
        """Let SIPp act; fails unless every message it got was the one written down."""
        sipp = need("sipp", "sip-tester")
        scene = self.folder / "scene.xml"
        scene.write_text(
            '<?xml version="1.0"?><scenario name="x">' + "".join(steps) + "</scenario>"
        )
        command = [sipp, "-sf", str(scene), "-i", "127.0.0.1", "-t", "t1", "-m", str(times)]
        command += ["-r", "100", "-timeout", "10", "-timeout_error", "-nostdin", "-trace_err"]
        command += ["-error_file", "errors.log", f"127.0.0.1:{self.port}"]
        done = await asyncio.to_thread(
            subprocess.run, command, cwd=self.folder, capture_output=True, timeout=20, check=False
        )
        errors = self.folder / "errors.log"
        assert done.returncode == 0, errors.read_text() if errors.exists() else done.stdout[-3000:]

    def offer(self, text: str) -> str:
        return text.format(port=self.media.getsockname()[1], digest=_DIGEST)

    def datagrams(self) -> list[bytes]:
        """What we sent to the media port of the scenes."""
        found = []
        while True:
            try:
                found.append(self.media.recv(4096))
            except BlockingIOError:
                return found


@asynccontextmanager
async def stage(folder, certificates, *, policy=None):
    need("sipp", "sip-tester")
    pair = PemPair(certificate=certificates.chain, key=certificates.key)
    address = sc.parse_address(sip("alice"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as media:
        media.bind(("127.0.0.1", 0))
        media.setblocking(False)
        async with sc.open(
            folder / "a", passphrase=PASSPHRASE, create=True, policy=policy
        ) as alice:
            signaling = await SipSignaling.open(
                local=address, listen=("127.0.0.1", 0), listen_certificate=pair
            )
            alice.use(address, signaling, server_host="127.0.0.1")
            assert signaling.listening is not None
            async with relay.to_tls(signaling.listening[1], certificates) as port:
                yield Stage(alice, port, folder, media)


def test_options_are_answered(tmp_path, certificates):
    async def main():
        async with stage(tmp_path, certificates) as scene:
            await scene.play(send("OPTIONS"), expect(200), times=20)

    asyncio.run(main())


def test_unencrypted_media_are_refused_and_nothing_is_sent(tmp_path, certificates):
    async def main():
        # even who takes plain DTLS-SRTP does not take less
        policy = sc.Policy(danger_plain_dtls=True)
        async with stage(tmp_path, certificates, policy=policy) as scene:
            await scene.play(
                send(
                    "INVITE",
                    body=scene.offer(_PLAIN),
                    branch="z9hG4bK[call_number]",
                ),
                expect(100, optional=True),
                expect(488),
                ack(branch="z9hG4bK[call_number]"),
                times=5,
            )
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(scene.alice.next_call(), 0.05)
            assert scene.datagrams() == []

    asyncio.run(main())


@pytest.mark.parametrize(("method", "status"), [("MESSAGE", 405), ("FROBNICATE", 501)])
def test_methods_we_do_not_have_are_refused(tmp_path, certificates, method, status):
    async def main():
        async with stage(tmp_path, certificates) as scene:
            await scene.play(send(method), expect(status))

    asyncio.run(main())


def test_a_ringing_call_can_be_cancelled(tmp_path, certificates):
    async def main():
        async with stage(tmp_path, certificates) as scene:
            branch = "z9hG4bKcancelled"
            await scene.play(
                send("INVITE", body=scene.offer(_DTLS), branch=branch),
                expect(100, optional=True),
                expect(180),
                send("CANCEL", branch=branch),
                expect(200),
                expect(487),
                ack(branch=branch),
            )
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(scene.alice.next_call(), 0.05)
            assert scene.datagrams() == []

    asyncio.run(main())


def test_a_phone_that_insists_acknowledges_our_ringing(tmp_path, certificates):
    async def main():
        async with stage(tmp_path, certificates) as scene:
            branch = "z9hG4bKreliable"
            await scene.play(
                send("INVITE", body=scene.offer(_DTLS), branch=branch, more="Require: 100rel\n"),
                expect(100, optional=True),
                '<recv response="180"><action><ereg regexp="[0-9]+" search_in="hdr" '
                'header="RSeq:" check_it="true" assign_to="rseq"/></action></recv>',
                send("PRACK", number=2, to=PEER, more="RAck: [$rseq] 1 INVITE\n"),
                expect(200),
                send("PRACK", number=3, to=PEER, more="RAck: [$rseq] 1 INVITE\n"),
                expect(481),
                send("UPDATE", number=4, to=PEER),
                expect(200),
                '<pause milliseconds="1000"/>',  # in which nothing is repeated
                send("CANCEL", branch=branch),
                expect(200),
                expect(487),
                ack(branch=branch),
            )

    asyncio.run(main())


def test_what_exchanges_do_within_a_call_is_answered(tmp_path, certificates):
    async def main():
        async with stage(tmp_path, certificates) as scene:
            timer = "Supported: timer\nSession-Expires: {}\n"
            branch = "z9hG4bKreinvite"
            playing = asyncio.ensure_future(
                scene.play(
                    send("INVITE", body=scene.offer(_DTLS), more=timer.format(600)),
                    expect(100, optional=True),
                    expect(180),
                    '<recv response="200"><action><ereg regexp="600;refresher=uac" '
                    'search_in="hdr" header="Session-Expires:" check_it="true" assign_to="x"/>'
                    '<log message="[$x]"/></action></recv>',
                    ack(),
                    send("UPDATE", number=2, to=PEER, more=timer.format(600)),
                    expect(200),
                    send("UPDATE", number=3, to=PEER, more=timer.format(30)),
                    expect(422),
                    send("INFO", number=4, to=PEER, more="Info-Package: dtmf\n"),
                    expect(469),
                    send("INVITE", number=5, to=PEER, branch=branch),
                    expect(200),
                    send("ACK", number=5, to=PEER, body=scene.offer(_DTLS)),
                    send("BYE", number=6, to=PEER),
                    expect(200),
                )
            )
            async with (await scene.alice.next_call()).accept(audio=sc.ToneSource(440)) as call:
                with pytest.raises(sc.SecurityError):  # it went before there was any security
                    await call.ended()
            await playing
            require_no_media(call)

    asyncio.run(main())


def test_a_second_goodbye_finds_no_call(tmp_path, certificates):
    async def main():
        async with stage(tmp_path, certificates) as scene:
            goodbye = send("BYE", number=2, to=PEER, branch="z9hG4bKgoodbye")
            playing = asyncio.ensure_future(
                scene.play(
                    send("INVITE", body=scene.offer(_DTLS)),
                    expect(100, optional=True),
                    expect(180),
                    '<recv response="200"/>',
                    ack(),
                    '<pause milliseconds="200"/>',
                    goodbye,
                    expect(200),
                    goodbye,
                    expect(481),
                )
            )
            async with (await scene.alice.next_call()).accept(audio=sc.ToneSource(440)) as call:
                with pytest.raises(sc.SecurityError):  # it went before there was any security
                    await call.ended()
            await playing
            require_no_media(call)
            # the control of the silence above: we do reach that port, with DTLS and nothing else
            sent = scene.datagrams()
            assert sent
            assert {datagram[0] for datagram in sent} <= {21, 22}

    asyncio.run(main())
