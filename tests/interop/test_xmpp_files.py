"""Files between two people, by way of the upload services of real XMPP servers."""

from __future__ import annotations

import asyncio
import os

import pytest

from securecall.address import parse_address
from securecall.chat.sealing import padded
from securecall.errors import (
    CertificateError,
    FileNotIntact,
    NetworkError,
    PolicyRefused,
    UsageError,
)
from securecall.secret import Secret
from securecall.transport.https import Https
from securecall.xmpp.files import build_link, build_sharing, parse_link, parse_sharing
from securecall.xmpp.session import Session, XmppLogin
from securecall.xmpp.sharing import Sharing
from tests.interop.xmpp_servers import password_of

PLAIN = os.urandom(3_000_001)


async def sign_in(server, name):
    return await Session.open(
        XmppLogin(
            address=parse_address(f"xmpp:{name}@{server.domain}"),
            password=Secret(password_of(name)),
            server=("127.0.0.1", server.ports["xmpps"]),
            direct=True,
            authorities=server.authorities,
        )
    )


def between(server, test):
    async def main():
        alice = await sign_in(server, "alice")
        bob = await sign_in(server, "bob")
        try:
            await test(
                Sharing(alice, Https(authorities=server.authorities)),
                Sharing(bob, Https(authorities=server.authorities)),
            )
        finally:
            await alice.close()
            await bob.close()

    asyncio.run(main())


@pytest.mark.parametrize("link", [True, False])
def test_a_file_goes_from_one_to_the_other(server, tmp_path, link):
    async def test(alice, bob):
        told = []
        sent = await alice.upload(
            PLAIN, tmp_path, name="scan.pdf", link=link, progress=lambda *a: told.append(a)
        )
        size = len(PLAIN) + 16 if link else padded(len(PLAIN) + 16)
        assert told[-1] == (size, size)
        shared = parse_link(build_link(sent)) if link else parse_sharing(build_sharing(sent))
        got = await bob.download(shared, tmp_path / "got")
        assert got.read_bytes() == PLAIN
        assert os.listdir(tmp_path) == ["got"]

    between(server, test)


def test_a_file_beyond_the_servers_limit_is_not_sent(server, tmp_path):
    async def test(alice, _):
        service = await alice.find_service()
        assert service.most > 0
        with pytest.raises(UsageError, match="at most"):
            await alice.upload(bytes(service.most), tmp_path)

    between(server, test)
    assert os.listdir(tmp_path) == []


def test_what_is_not_what_was_described_is_not_released(server, tmp_path):
    async def test(alice, bob):
        one = await alice.upload(PLAIN, tmp_path)
        other = await alice.upload(PLAIN, tmp_path)
        mixed = build_sharing(one)
        place = mixed.find(".//{http://jabber.org/protocol/url-data}url-data")
        place.set("target", other.url)
        with pytest.raises(FileNotIntact):
            await bob.download(parse_sharing(mixed), tmp_path / "got")

    between(server, test)
    assert os.listdir(tmp_path) == []


def test_a_server_whose_authority_is_unknown_gets_nothing(server, tmp_path):
    async def main():
        alice = await sign_in(server, "alice")
        try:
            with pytest.raises(CertificateError):
                await Sharing(alice, Https()).upload(PLAIN, tmp_path)
        finally:
            await alice.close()

    asyncio.run(main())
    assert os.listdir(tmp_path) == []


def test_a_place_that_is_not_the_servers_is_refused(server, tmp_path):
    async def test(alice, bob):
        sent = await alice.upload(b"x", tmp_path)
        sharing = build_sharing(sent)
        place = sharing.find(".//{http://jabber.org/protocol/url-data}url-data")
        place.set("target", f"https://127.0.0.1:{server.ports['xmpps']}/x")
        with pytest.raises(PolicyRefused):
            await bob.download(parse_sharing(sharing), tmp_path / "got")
        place.set("target", sent.url.rsplit("/", 2)[0] + "/nothing/x")
        with pytest.raises(NetworkError, match="does not give"):
            await bob.download(parse_sharing(sharing), tmp_path / "got")

    between(server, test)
    assert os.listdir(tmp_path) == []
