"""The servers that the other tests here rely on really run, and do what those tests assume."""

from __future__ import annotations

import socket
import ssl
import subprocess

import pytest

from tests.interop import authority
from tests.interop.children import need

OPTIONS_SCENARIO = """<?xml version="1.0"?><scenario name="options"><send retrans="500"><![CDATA[
OPTIONS sip:securecall.test SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:probe@invalid.example>;tag=[pid]t[call_number]
To: <sip:securecall.test>
Call-ID: [call_id]
CSeq: 1 OPTIONS
Max-Forwards: 70
Content-Length: 0

]]></send><recv response="200"/></scenario>
"""


def ask(proxy, method: str, *, trust, name: str = "securecall.test") -> str:
    """Send one request over verified TLS and return the status line of the answer."""
    context = ssl.create_default_context(cafile=str(trust))
    plain = socket.create_connection(("127.0.0.1", proxy.tls), 5)
    with plain, context.wrap_socket(plain, server_hostname=name) as stream:
        host, port = stream.getsockname()[:2]
        lines = [
            f"{method} sip:{proxy.domain} SIP/2.0",
            f"Via: SIP/2.0/TLS {host}:{port};branch=z9hG4bKprobe;rport",
            "Max-Forwards: 70",
            f"From: <sip:alice@{proxy.domain}>;tag=probe",
            f"To: <sip:alice@{proxy.domain}>",
            f"Call-ID: probe-{method}",
            f"CSeq: 1 {method}",
            f"Contact: <sip:alice@{host}:{port};transport=tls>",
            "Content-Length: 0",
        ]
        stream.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return stream.recv(4096).partition(b"\r\n")[0].decode()


def test_kamailio_answers_over_tls_that_our_authority_vouches_for(proxy):
    trust = proxy.certificates.authority
    assert ask(proxy, "OPTIONS", trust=trust) == "SIP/2.0 200 OK"


def test_kamailio_does_not_pass_under_another_authority(proxy, tmp_path):
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(proxy, "OPTIONS", trust=authority.make(tmp_path).authority)


def test_kamailio_does_not_pass_under_another_name(proxy):
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(proxy, "OPTIONS", trust=proxy.certificates.authority, name="clinic.example")


def test_kamailio_registers_nobody_without_a_password(proxy):
    answer = ask(proxy, "REGISTER", trust=proxy.certificates.authority)
    assert answer == "SIP/2.0 401 Unauthorized"


def test_two_baresips_call_each_other_through_kamailio_with_dtls_srtp(phone):
    alice = phone("alice", encryption="dtls_srtp")
    bob = phone("bob", encryption="dtls_srtp")
    alice.wait_registered()
    bob.wait_registered()
    alice.command("dial", "sip:bob@securecall.test")
    alice.wait_event("CALL_ESTABLISHED")
    # Established comes up to a second before DTLS has finished.
    alice.child.wait_said("DTLS-SRTP complete")
    bob.child.wait_said("DTLS-SRTP complete")
    alice.command("hangup")


def test_sipp_speaks_with_kamailio(proxy, tmp_path):
    scenario = tmp_path / "options.xml"
    scenario.write_text(OPTIONS_SCENARIO)
    command = [need("sipp", "sip-tester"), "-sf", str(scenario), "-i", "127.0.0.1", "-t", "t1"]
    command += ["-m", "20", "-r", "50", "-timeout", "15", "-nostdin", f"127.0.0.1:{proxy.plain}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
