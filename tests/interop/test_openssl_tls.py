"""OpenSSL's command line as both ends of our TLS: old versions, weak suites end there."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from contextlib import asynccontextmanager

import pytest

import securecall as sc
from securecall.transport.tls import PemPair, client_context, connect, listen
from tests.interop.authority import DOMAIN
from tests.interop.children import Child, free_port, need

# SECLEVEL=0: OpenSSL itself would not go so low by default, and then prove nothing.
WEAK = {
    "TLS 1.1": ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
    "TLS 1.2 with CBC": ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0"],
}
GOOD = {
    "TLS 1.2 with GCM": ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
    "TLS 1.2 with ChaCha20": ["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"],
    "TLS 1.3": ["-tls1_3"],
}


def lower(context):
    """Let a context of Python's do whatever the library can."""
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")


@asynccontextmanager
async def listening(certificates):
    """Our listener; answers one byte."""

    async def greet(connection):
        connection.send(b"!")
        await connection.receive()

    pair = PemPair(certificate=certificates.chain, key=certificates.key)
    listener = await listen("127.0.0.1", 0, greet, certificate=pair)
    try:
        yield listener.address[1]
    finally:
        await listener.close()


@asynccontextmanager
async def careless(certificates):
    """A listener that takes whatever the library can do: the control."""

    async def greet(reader, writer):
        writer.write(b"!")
        await reader.read()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    lower(context)
    context.load_cert_chain(certificates.chain, certificates.key)
    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def client(port, certificates, options):
    """Connect with `openssl s_client`; whether the handshake succeeded, and what it said."""
    command = [need("openssl", "openssl"), "s_client", "-connect", f"127.0.0.1:{port}", *options]
    command += ["-CAfile", str(certificates.authority), "-verify_return_error"]
    command += ["-verify_hostname", DOMAIN]
    done = await asyncio.to_thread(
        subprocess.run, command, input=b"", capture_output=True, timeout=10, check=False
    )
    text = (done.stdout + done.stderr).decode(errors="replace")
    proven = "Verify return code: 0" in text and "Cipher is (NONE)" not in text
    return done.returncode == 0 and proven, text


@pytest.mark.parametrize("how", GOOD)
def test_our_listener_takes_openssl_with_sound_suites(certificates, how):
    async def main():
        async with listening(certificates) as port:
            succeeded, text = await client(port, certificates, GOOD[how])
            assert succeeded, text

    asyncio.run(main())


@pytest.mark.parametrize("how", WEAK)
def test_our_listener_refuses_openssl_with_weak_ones(certificates, how):
    async def main():
        async with careless(certificates) as port:
            succeeded, text = await client(port, certificates, WEAK[how])
            assert succeeded, text
        async with listening(certificates) as port:
            succeeded, text = await client(port, certificates, WEAK[how])
            assert not succeeded
            assert "Cipher is (NONE)" in text

    asyncio.run(main())


def visit(folder, certificates, options, context):
    """Connect to `openssl s_server` and return the transport agreed on."""
    port = free_port()
    command = [need("openssl", "openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-quiet"]
    command += ["-cert", str(certificates.chain), "-key", str(certificates.key), *options]
    command += ["-cert_chain", str(certificates.chain)]
    server = Child(command, log=folder / "openssl.log")

    async def main():
        connection = await connect("127.0.0.1", port, server_name=DOMAIN, context=context)
        await connection.close()
        return connection.transport

    try:
        server.wait_port(port)
        return asyncio.run(main())
    finally:
        server.stop()


@pytest.mark.parametrize("how", GOOD)
def test_we_take_an_openssl_server_with_sound_suites(tmp_path, certificates, how):
    context = client_context(certificates.authority)
    version = how[:7].replace(" ", "v")
    assert visit(tmp_path, certificates, GOOD[how], context).startswith(version)


@pytest.mark.parametrize("how", WEAK)
def test_we_refuse_an_openssl_server_with_weak_ones(tmp_path, certificates, how):
    careless_client = client_context(certificates.authority)
    lower(careless_client)
    assert visit(tmp_path, certificates, WEAK[how], careless_client)
    with pytest.raises(sc.ConnectFailed):
        visit(tmp_path, certificates, WEAK[how], client_context(certificates.authority))
