"""M2: the upload server keeps everything, or is hostile; and a peer chooses where we connect to."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
import ssl
import urllib.request

import pytest

from securecall.errors import (
    CertificateError,
    FileNotIntact,
    NetworkError,
    PolicyRefused,
    ProtocolError,
    SecurityError,
)
from securecall.testing.authority import Authority
from securecall.transport import https as https_module
from securecall.transport.https import Https, Patience
from securecall.transport.web_address import WebAddress, parse_web_address
from securecall.xmpp.sharing import Sharing
from tests.pairs.xmpp.upload_server import Asked, UploadServer
from tests.unit.chat.shared_files import describe, seal

PLAIN = b"the patient's name is in here " * 1000


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority):
    return authority.issue("127.0.0.1", "localhost", "*.wild.example")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "private"
    path.mkdir()
    return path


def https(authority, *own, idle=5.0, **patience):
    where = [parse_web_address(url) for url in own]
    return Https(authorities=authority.pem, patience=Patience(idle, **patience), own=where)


def test_the_server_learns_neither_name_type_key_size_nor_who_we_are(authority, pair, folder):
    async def main():
        async with UploadServer(pair) as web:
            session = Asked(web)
            shared = await Sharing(session, https(authority)).upload(
                PLAIN, folder, name="biopsy.pdf", media_type="application/pdf", seconds=3.25
            )
            await Sharing(session, https(authority)).download(shared, folder / "got")
            return shared, session, web.seen

    shared, session, requests = asyncio.run(main())
    seen = b"".join(requests)
    slot = session.slots[0]
    asked = str(slot.attrib)
    key, iv = shared.key.reveal(), shared.iv
    for secret in (key, iv, shared.sha256):
        for form in (secret, secret.hex().encode(), base64.b64encode(secret)):
            assert form not in seen
            assert form.decode("latin-1") not in asked
    for word in (b"biopsy", b"pdf", b"patient", b"python", b"securecall", b"user-agent", b"cookie"):
        # ciphertext may hold any short word by chance
        assert word not in b"".join(r.partition(b"\r\n\r\n")[0] for r in requests).lower()
        assert word.decode() not in asked.lower()
    assert str(len(PLAIN)).encode() not in seen
    assert slot.get("size") not in {str(len(PLAIN)), str(len(PLAIN) + 16)}
    assert slot.get("content-type") == "application/octet-stream"
    assert set(slot.attrib) == {"filename", "size", "content-type"}
    lines = {line.partition(b":")[0] for line in seen.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]}
    assert lines == {
        b"Host", b"Connection", b"Accept-Encoding", b"Content-Type", b"Content-Length"
    }  # fmt: skip


def test_two_uploads_of_the_same_file_have_nothing_in_common(authority, pair, folder):
    async def main():
        async with UploadServer(pair) as web:
            for _ in range(2):
                await Sharing(Asked(web), https(authority)).upload(PLAIN, folder)
            return list(web.files.items())

    (name1, data1), (name2, data2) = asyncio.run(main())
    assert name1 != name2
    assert len(data1) == len(data2)
    assert data1[:64] != data2[:64]


async def attempt(authority, pair, folder, answer, *, hold=False, path="/1.bin", **patience):
    """Download from a server that answers so; whatever comes of it, nothing is left."""
    sealer, _ = seal(PLAIN)
    async with UploadServer(pair) as web:
        web.answers[path] = answer
        if hold:
            web.hold = asyncio.Event()
        client = https(authority, web.url(), **patience)
        sharing = Sharing(Asked(web), client)
        shared = describe(sealer, url=web.url(path))
        try:
            with contextlib.suppress(SecurityError, ProtocolError, NetworkError):
                await sharing.fetch(shared)
                raise AssertionError("it was taken into memory")
            await sharing.download(shared, folder / "got")
        finally:
            if hold:
                web.hold.set()
            assert os.listdir(folder) == []
            await asyncio.sleep(0)


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HOSTILE = {
    "huge length": [OK + b"Content-Length: 999999999999\r\n\r\n"],
    "endless": [OK + b"\r\n", *[bytes(65536)] * 40],
    "endless chunks": [CHUNKED, *[b"10000\r\n" + bytes(65536) + b"\r\n"] * 40],
    "endless head": [OK, *[b"A: " + b"x" * 4000 + b"\r\n"] * 40],
    "many fields": [OK + b"A: b\r\n" * 500 + b"\r\n"],
    "endless hints": [b"HTTP/1.1 103 Early\r\n\r\n"] * 40,
    "another protocol": [b"220 mail.example ESMTP\r\n\r\n\r\n\r\n"],
    "two lengths": [OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"],
    "length and chunks": [OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
    "elsewhere": [b"HTTP/1.1 302 Found\r\nLocation: https://other.example/x\r\n\r\n"],
    "another port": [b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:1/x\r\n\r\n"],
    "no scheme": [b"HTTP/1.1 302 Found\r\nLocation: //other.example/x\r\n\r\n"],
    "down to http": [b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1/x\r\n\r\n"],
    "to a file": [b"HTTP/1.1 307 Moved\r\nLocation: file:///etc/passwd\r\n\r\n"],
    "to nowhere": [b"HTTP/1.1 302 Found\r\n\r\n"],
    "to no address": [b"HTTP/1.1 302 Found\r\nLocation: https://[::1\r\n\r\n"],
}  # fmt: skip


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_answer_is_refused_and_leaves_nothing(authority, pair, folder, answer):
    with pytest.raises(ProtocolError):
        asyncio.run(attempt(authority, pair, folder, answer))


BROKEN = {
    "nothing": [],
    "half a head": [b"HTTP/1.1 20"],
    "less than it says": [OK + b"Content-Length: 50\r\n\r\nshort"],
    "half a chunk": [OK + b"Transfer-Encoding: chunked\r\n\r\n50\r\nshort"],
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_an_answer_that_breaks_off_is_a_failure_of_the_network(authority, pair, folder, answer):
    with pytest.raises(NetworkError):
        asyncio.run(attempt(authority, pair, folder, answer))


@pytest.mark.parametrize("answer", [[], [OK], [OK + b"Content-Length: 50\r\n\r\nshort"]])
def test_a_server_that_stops_in_the_middle_does_not_hold_us(authority, pair, folder, answer):
    with pytest.raises(NetworkError, match="go on"):
        asyncio.run(attempt(authority, pair, folder, answer, hold=True, idle=0.05))


def test_a_server_that_trickles_does_not_hold_us(authority, pair, folder):
    answer = [OK + b"Content-Length: 20000\r\n\r\n", *[b"x"] * 20000]
    with pytest.raises(NetworkError, match="too slow"):
        asyncio.run(attempt(authority, pair, folder, answer, grace=0.0, slowest=10**9))


def test_a_file_the_server_exchanged_is_not_released(authority, pair, folder):
    _, other = seal(PLAIN)
    answer = [OK + b"Content-Length: %d\r\n\r\n" % len(other) + other]
    with pytest.raises(FileNotIntact):
        asyncio.run(attempt(authority, pair, folder, answer))


# -- certificates ---------------------------------------------------------------------------------


def test_a_server_that_does_not_prove_its_name_gets_and_gives_nothing(authority, folder, tmp_path):
    stranger = Authority.make(tmp_path / "stranger")
    wrong = {
        "another authority": stranger.issue("127.0.0.1"),
        "another address": authority.issue("127.0.0.2"),
        "a name for an address": authority.issue("localhost"),
    }

    async def main(pair):
        async with UploadServer(pair) as web:
            with pytest.raises(CertificateError):
                await Sharing(Asked(web), https(authority)).upload(PLAIN, folder)
            sealer, _ = seal(PLAIN)
            sharing = Sharing(Asked(web), https(authority, web.url()))
            with pytest.raises(CertificateError):
                await sharing.download(describe(sealer, url=web.url()), folder / "got")
            assert web.seen == []

    for pair in wrong.values():
        asyncio.run(main(pair))
    assert os.listdir(folder) == []


def test_without_the_private_authority_its_server_is_not_believed(pair, folder):
    async def main():
        async with UploadServer(pair) as web:
            client = Https(own=[parse_web_address(web.url())])
            with pytest.raises(CertificateError):
                await client.get(parse_web_address(web.url()), most=1, take=lambda _: None)

    asyncio.run(main())


def test_a_wildcard_is_believed_as_on_the_web_for_one_label(authority, pair, monkeypatch):
    answers_with(monkeypatch, {"x.wild.example": "127.0.0.1", "x.y.wild.example": "127.0.0.1"})

    async def main():
        async with UploadServer(pair) as web:
            web.files["/1.bin"] = b"hello"
            got = []
            web.name = "x.wild.example"
            client = https(authority, web.url())
            await client.get(parse_web_address(web.url()), most=9, take=got.append)
            assert b"".join(got) == b"hello"
            web.name = "x.y.wild.example"
            client = https(authority, web.url())
            with pytest.raises(CertificateError):
                await client.get(parse_web_address(web.url()), most=9, take=got.append)

    asyncio.run(main())


# -- where a peer sends us ------------------------------------------------------------------------


def answers_with(monkeypatch, names):
    """Let the system's resolver know these names; returns what it was asked."""
    asked = []

    def lookup(host, port, *_, **__):
        asked.append(host)
        answer = names[host]
        addresses = answer.pop(0) if isinstance(answer, list) else answer
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port or 0))
            for address in addresses.split()
        ]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return asked


PRIVATE = [
    "https://127.0.0.1:{}/x", "https://localhost:{}/x", "https://[::1]:{}/x", "https://0.0.0.0:{}/x",
    "https://[::ffff:127.0.0.1]:{}/x", "https://10.0.0.1/x", "https://192.168.1.1/x",
    "https://169.254.169.254/latest/meta-data", "https://[fd00::1]/x", "https://[64:ff9b::7f00:1]/x",
    "https://1.1.1.1:22/x", "https://1.1.1.1:25/x",
]  # fmt: skip


@pytest.mark.parametrize("url", PRIVATE)
def test_a_peer_cannot_send_us_into_a_private_network(authority, pair, folder, url):
    async def main():
        async with UploadServer(pair) as web:
            sealer, _ = seal(PLAIN)
            shared = describe(sealer, url=url.format(web.port))
            sharing = Sharing(Asked(web, offer=False), https(authority))
            with pytest.raises(PolicyRefused):
                await sharing.download(shared, folder / "got")
            assert web.connections == 0

    asyncio.run(main())
    assert os.listdir(folder) == []


def test_nor_by_a_name_that_leads_there(authority, pair, monkeypatch):
    answers_with(monkeypatch, {"x.wild.example": "127.0.0.1"})

    async def main():
        async with UploadServer(pair) as web:
            where = WebAddress(host="x.wild.example", port=web.port)
            with pytest.raises(PolicyRefused):
                await https(authority).get(where, most=1, take=lambda _: None)
            assert web.connections == 0

    asyncio.run(main())


def test_a_name_is_looked_up_once_so_that_it_cannot_change_in_between(authority, pair, monkeypatch):
    """DNS rebinding: the first answer is harmless, the second would not be."""
    names = {"x.wild.example": ["127.0.0.1", "127.0.0.66"]}
    asked = answers_with(monkeypatch, names)
    monkeypatch.setattr(https_module, "is_public", lambda address: address == "127.0.0.1")

    async def main():
        async with UploadServer(pair) as web:
            web.files["/"] = b"hello"
            where = WebAddress(host="x.wild.example", port=web.port)
            await https(authority).get(where, most=9, take=lambda _: None)

    asyncio.run(main())
    assert asked == ["x.wild.example"]


def test_of_several_addresses_the_public_ones_are_tried(authority, pair, monkeypatch):
    answers_with(monkeypatch, {"x.wild.example": "10.0.0.1 127.0.0.9 127.0.0.1 192.168.0.1"})
    monkeypatch.setattr(https_module, "is_public", lambda address: address.startswith("127."))

    async def main():
        async with UploadServer(pair) as web:
            web.files["/"] = b"hello"
            where = WebAddress(host="x.wild.example", port=web.port)
            assert await https(authority).get(where, most=9, take=lambda _: None) == 5

    asyncio.run(main())


def test_our_own_servers_place_is_exempt_with_its_port_alone(authority, pair):
    async def main():
        async with UploadServer(pair) as web, UploadServer(pair) as inner:
            client = https(authority, web.url())
            with pytest.raises(PolicyRefused):
                await client.get(parse_web_address(inner.url()), most=1, take=lambda _: None)
            assert inner.connections == 0

    asyncio.run(main())


def test_control_an_ordinary_client_follows_to_another_server_and_into_this_machine(
    authority, pair, monkeypatch
):
    """urllib with the same certificates: it connects to loopback, and on to the next server."""

    async def main():
        async with UploadServer(pair) as web, UploadServer(pair) as inner:
            inner.files["/secret"] = b"inner"
            web.answers["/x"] = [
                b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n"
                % inner.url("/secret").encode()
            ]
            context = ssl.create_default_context(cafile=authority.pem)
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
            )

            def fetch():
                with opener.open(web.url("/x"), timeout=10) as answer:
                    return answer.read()

            assert await asyncio.to_thread(fetch) == b"inner"
            assert b"Python-urllib" in inner.seen[0]  # and says what it is

    asyncio.run(main())
