"""Our DTLS against other people's: OpenSSL's command line over UDP, aiortc in this process."""

from __future__ import annotations

import asyncio
import hashlib
import select
import shutil
import socket
import ssl
import subprocess
import time

import pytest

from securecall.errors import Reason
from securecall.transport.dtls import (
    COMPAT,
    ApplicationData,
    CertificateDigest,
    Closed,
    DtlsCertificate,
    DtlsEndpoint,
    DtlsRole,
    Established,
    Failed,
    SendDatagram,
)

ROLES = pytest.mark.parametrize("role", DtlsRole)


@pytest.fixture(scope="module")
def peer_files(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("needs the package openssl")
    folder = tmp_path_factory.mktemp("dtls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", key]
    subprocess.run(
        ["openssl", "req", "-x509", *new, "-subj", "/CN=peer", "-out", certificate],
        check=True,
        capture_output=True,
    )
    der = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    return key, certificate, CertificateDigest("sha-256", hashlib.sha256(der).digest())


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def converse(role, peer_files, *arguments):
    """Run OpenSSL as the peer until both greeted each other; return our outputs and its text."""
    key, certificate, digest = peer_files
    endpoint = DtlsEndpoint(
        role=role,
        certificate=DtlsCertificate.generate(),
        remote_digests=(digest,),
        srtp_profiles=COMPAT,
    )
    port = free_port()
    ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ours.bind(("127.0.0.1", 0 if role is DtlsRole.CLIENT else port))
    peer = ("127.0.0.1", port) if role is DtlsRole.CLIENT else None
    face = ["s_server", "-port", str(port), "-Verify", "1"]
    if role is DtlsRole.SERVER:
        face = ["s_client", "-connect", f"127.0.0.1:{port}"]
    child = subprocess.Popen(
        ["openssl", *face, "-dtls1_2", "-key", key, "-cert", certificate, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    outputs = []

    def perform(results):
        for result in results:
            if isinstance(result, SendDatagram):
                ours.sendto(result.data, peer)
            else:
                outputs.append(result)
                if isinstance(result, Established):
                    perform(endpoint.send(b"hello from us\n"))
                    child.stdin.write(b"hello from them\n")
                    child.stdin.flush()

    try:
        end = time.monotonic() + 10
        perform(endpoint.start(time.monotonic()))  # resent until the child listens
        while time.monotonic() < end:
            if outputs and isinstance(outputs[-1], Failed | Closed | ApplicationData):
                break
            if select.select([ours], [], [], 0.05)[0]:
                try:
                    datagram, source = ours.recvfrom(65536)
                except ConnectionRefusedError:
                    continue
                peer = peer or source
                perform(endpoint.receive(datagram, time.monotonic()))
            if endpoint.deadline is not None and time.monotonic() >= endpoint.deadline:
                perform(endpoint.timeout(time.monotonic()))
        if peer:
            perform(endpoint.close())
        try:
            text = child.communicate(timeout=1)[0]
        except subprocess.TimeoutExpired:
            child.terminate()
            text = child.communicate()[0]
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        ours.close()
    return outputs, text.decode(errors="replace")


@ROLES
@pytest.mark.parametrize("alpn", [None, "webrtc", "securecall-id/1"])
def test_openssl_meets_us_at_aes_256_gcm(role, alpn, peer_files):
    extra = ("-alpn", alpn) if alpn else ()
    outputs, text = converse(role, peer_files, "-use_srtp", "SRTP_AEAD_AES_256_GCM", *extra)
    assert isinstance(outputs[0], Established), outputs
    assert outputs[0].alpn == alpn
    assert outputs[0].srtp_profile == "SRTP_AEAD_AES_256_GCM"
    assert outputs[1] == ApplicationData(b"hello from them\n")
    assert "hello from us" in text


@ROLES
def test_openssl_with_an_older_profile_is_met_only_without_the_identity_protocol(role, peer_files):
    old = ("-use_srtp", "SRTP_AES128_CM_SHA1_80", "-alpn")
    outputs, _ = converse(role, peer_files, *old, "webrtc")
    assert outputs[0].srtp_profile == "SRTP_AES128_CM_SHA1_80"
    outputs, _ = converse(role, peer_files, *old, "securecall-id/1")
    assert outputs[0].error.reason is Reason.WEAK_SUITE


@ROLES
def test_openssl_with_another_certificate_is_refused_and_told(role, peer_files):
    key, certificate, digest = peer_files
    another = CertificateDigest("sha-256", bytes(32))
    outputs, text = converse(
        role, (key, certificate, another), "-use_srtp", "SRTP_AEAD_AES_256_GCM"
    )
    assert outputs[0].error.reason is Reason.FINGERPRINT_MISMATCH
    assert "alert" in text
    assert digest != another


class FakeIce:
    """What aiortc's DTLS transport asks of ICE, over two queues."""

    def __init__(self, role):
        self.role = role
        self.state = "completed"
        self.incoming = asyncio.Queue()
        self.outgoing = asyncio.Queue()

    async def _recv(self):
        return await self.incoming.get()

    async def _send(self, data):
        await self.outgoing.put(data)


@ROLES
def test_aiortc_agrees_with_us_on_the_srtp_keys(role):
    transport_module = pytest.importorskip("aiortc.rtcdtlstransport", reason="needs aiortc")

    async def play():
        theirs = transport_module.RTCCertificate.generateCertificate()
        ours = DtlsCertificate.generate()
        (printed,) = [f for f in theirs.getFingerprints() if f.algorithm == "sha-256"]
        endpoint = DtlsEndpoint(
            role=role,
            certificate=ours,
            remote_digests=(
                CertificateDigest("sha-256", bytes.fromhex(printed.value.replace(":", ""))),
            ),
            srtp_profiles=COMPAT,
        )
        ice = FakeIce("controlling" if role is DtlsRole.CLIENT else "controlled")
        transport = transport_module.RTCDtlsTransport(ice, [theirs])
        transport._role = "server" if role is DtlsRole.CLIENT else "client"
        parameters = transport_module.RTCDtlsParameters(
            fingerprints=[
                transport_module.RTCDtlsFingerprint(
                    algorithm="sha-256", value=ours.digest.value.hex(":").upper()
                )
            ],
            role="client" if role is DtlsRole.CLIENT else "server",
        )
        established = None

        async def pump():
            nonlocal established
            outputs = list(endpoint.start(0.0))
            while True:
                for output in outputs:
                    if isinstance(output, SendDatagram):
                        await ice.incoming.put(output.data)
                    elif isinstance(output, Established):
                        established = output
                outputs = endpoint.receive(await ice.outgoing.get(), 0.0)

        pumping = asyncio.create_task(pump())
        await asyncio.wait_for(transport.start(parameters), 40)
        for _ in range(50):
            if established:
                break
            await asyncio.sleep(0.01)
        state = transport.state
        sealed = transport._tx_srtp.protect(b"\x80\x00\x00\x01" + bytes(8) + b"payload")
        pumping.cancel()
        await transport.stop()
        return state, established, sealed

    state, established, sealed = asyncio.run(play())
    assert state == "connected"
    assert established.alpn is None
    assert established.srtp_profile == "SRTP_AEAD_AES_256_GCM"
    pylibsrtp = pytest.importorskip("pylibsrtp")
    session = pylibsrtp.Session(
        pylibsrtp.Policy(
            key=established.receive_key.reveal(),
            ssrc_type=pylibsrtp.Policy.SSRC_ANY_INBOUND,
            srtp_profile=pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
        )
    )
    assert session.unprotect(sealed).endswith(b"payload")
