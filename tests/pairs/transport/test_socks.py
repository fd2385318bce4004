"""Files fetched through a SOCKS5 proxy."""

from __future__ import annotations

import asyncio

import pytest

from securecall.errors import CertificateError, ConnectFailed, PolicyRefused, ProtocolError
from securecall.testing.authority import Authority
from securecall.transport import https as https_module
from securecall.transport.https import Https, Patience
from securecall.transport.web_address import WebAddress
from tests.pairs.transport.socks_server import SocksServer
from tests.pairs.xmpp.upload_server import UploadServer


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority):
    return authority.issue("files.example", "127.0.0.1", "::1")


async def get(authority, proxy, host="files.example", **changes):
    got = []
    https = Https(
        authorities=authority.pem, patience=Patience(idle=5.0), proxy=proxy.address, **changes
    )
    await https.get(WebAddress(host=host, target="/x"), most=99, take=got.append)
    return b"".join(got)


def test_the_proxy_looks_up_the_name_and_the_server_is_verified_behind_it(
    authority, pair, monkeypatch
):
    async def never(host):
        raise AssertionError(f"{host} was looked up here")

    monkeypatch.setattr(https_module, "_resolved", never)

    async def main():
        async with UploadServer(pair) as web, SocksServer(("127.0.0.1", web.port)) as proxy:
            web.files["/x"] = b"hello"
            assert await get(authority, proxy) == b"hello"
            assert await get(authority, proxy, "127.0.0.1", danger_private_addresses=True)
            assert await get(authority, proxy, "::1", danger_private_addresses=True)
            assert proxy.asked == [
                (3, b"files.example", 443), (1, bytes([127, 0, 0, 1]), 443),
                (4, bytes(15) + b"\1", 443),
            ]  # fmt: skip

    asyncio.run(main())


def test_a_proxy_that_leads_elsewhere_is_found_out(authority, pair):
    async def main():
        async with UploadServer(pair) as web, SocksServer(("127.0.0.1", web.port)) as proxy:
            with pytest.raises(CertificateError, match=r"other\.example"):
                await get(authority, proxy, "other.example")
            with pytest.raises(PolicyRefused):
                await get(authority, proxy, "127.0.0.1")
            assert web.seen == []

    asyncio.run(main())


REPLIES = {
    "no SOCKS": ({"greeting": b"HT"}, ProtocolError),
    "wants a password": ({"greeting": b"\x05\xff"}, ConnectFailed),
    "unreachable": ({"reply": b"\x05\x04\x00\x01" + bytes(6)}, ConnectFailed),
    "unknown failure": ({"reply": b"\x05\x63\x00\x01" + bytes(6)}, ConnectFailed),
    "no reply": ({"reply": b"\x04\x00\x00\x01" + bytes(6)}, ProtocolError),
    "unknown address": ({"reply": b"\x05\x00\x00\x09" + bytes(6)}, ProtocolError),
    "breaks off": ({"reply": b"\x05\x00"}, ConnectFailed),
    "speaks no TLS": (
        {"reply": b"\x05\x00\x00\x03\x01x\x00\x00 hello, no TLS here"},
        ConnectFailed,
    ),
}


@pytest.mark.parametrize(("how", "error"), REPLIES.values(), ids=REPLIES)
def test_a_proxy_that_does_not_connect(authority, how, error):
    async def main():
        async with SocksServer(None, **how) as proxy:
            with pytest.raises(error):
                await get(authority, proxy)

    asyncio.run(main())


def test_no_proxy_there(authority):
    class Absent:
        address = ("127.0.0.1", 1)

    with pytest.raises(ConnectFailed):
        asyncio.run(get(authority, Absent))
