"""A file goes from one to the other by way of a web server on this machine."""

from __future__ import annotations

import asyncio
import os

import pytest

from securecall.chat import attachments
from securecall.chat.sealing import padded
from securecall.chat.voice import VoiceRecorder, VoiceSource
from securecall.errors import (
    LocalError,
    NetworkError,
    PolicyRefused,
    ProtocolError,
    TransferFailed,
    Unsupported,
    UsageError,
)
from securecall.media import opus
from securecall.media.endpoints import ToneSource
from securecall.testing.authority import Authority
from securecall.transport.https import Https, Patience
from securecall.transport.web_address import parse_web_address
from securecall.xmpp.files import build_link, build_sharing, parse_link, parse_sharing
from securecall.xmpp.sharing import Sharing
from tests.pairs.xmpp.upload_server import Asked, UploadServer

PLAIN = os.urandom(700_001)


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


def https(authority, **changes):
    return Https(authorities=authority.pem, patience=Patience(idle=5.0), **changes)


@pytest.mark.parametrize("link", [True, False])
def test_a_file_reaches_the_other_end(authority, pair, folder, link):
    async def main():
        async with UploadServer(pair) as web:
            session, told, got = Asked(web), [], []
            sender = Sharing(session, https(authority))
            sent = await sender.upload(
                PLAIN, folder, name="a.pdf", media_type="application/pdf", link=link,
                progress=lambda *a: told.append(a),
            )  # fmt: skip
            assert os.listdir(folder) == []
            shared = parse_link(build_link(sent)) if link else parse_sharing(build_sharing(sent))
            size = len(PLAIN) + 16 if link else padded(len(PLAIN) + 16)
            assert told[-1] == (size, size)
            receiver = Sharing(Asked(web), https(authority))
            path = await receiver.download(
                shared, folder / "got", progress=lambda *a: got.append(a)
            )
            assert path.read_bytes() == PLAIN
            assert os.listdir(folder) == ["got"]
            assert got[-1] == (size, size)

    asyncio.run(main())


@pytest.mark.skipif(not opus.is_available(), reason="libopus is not installed")
def test_what_was_spoken_is_heard_at_the_other_end(authority, pair, folder):
    recorder = VoiceRecorder(ToneSource(440))
    for _ in range(30):
        recorder.step()
    spoken = recorder.finish()

    async def main():
        async with UploadServer(pair) as web:
            sent = await Sharing(Asked(web), https(authority)).upload(
                spoken.data, folder, media_type="audio/ogg; codecs=opus", seconds=spoken.seconds
            )
            shared = parse_sharing(build_sharing(sent))
            assert (shared.media_type, shared.seconds) == ("audio/ogg; codecs=opus", 0.6)
            receiver = Sharing(Asked(web), https(authority))
            source = VoiceSource(await receiver.fetch(shared))
            assert os.listdir(folder) == []
            assert source.duration == 0.6
            assert source.read(960, 48000)

    asyncio.run(main())


def test_the_service_is_looked_for_once(authority, pair, folder):
    async def main():
        async with UploadServer(pair) as web:
            session = Asked(web)
            sharing = Sharing(session, https(authority))
            for _ in range(3):
                await sharing.upload(b"x", folder)
            assert len(session.slots) == 3
            assert len(session.requests) == 2 + 3
            assert len({s.get("filename") for s in session.slots}) == 3

    asyncio.run(main())


def test_the_fields_the_server_asks_for_are_sent(authority, pair, folder):
    async def main():
        async with UploadServer(pair) as web:
            session = Asked(web, headers=[("Authorization", "Bearer x"), ("Host", "evil.example")])
            await Sharing(session, https(authority)).upload(b"x", folder)
            assert b"\r\nAuthorization: Bearer x\r\n" in web.seen[0]
            assert b"evil" not in web.seen[0]

    asyncio.run(main())


def test_a_server_without_the_service_and_files_too_large(authority, pair, folder):
    async def main():
        async with UploadServer(pair) as web:
            with pytest.raises(Unsupported, match=r"home\.example"):
                await Sharing(Asked(web, offer=False), https(authority)).upload(b"x", folder)
            session = Asked(web, most=1000)
            with pytest.raises(UsageError, match="at most 1000"):
                await Sharing(session, https(authority)).upload(bytes(1000), folder)
            assert session.slots == []
            assert web.connections == 0

    asyncio.run(main())
    assert os.listdir(folder) == []


@pytest.mark.parametrize("status", [b"403 Forbidden", b"413 Too Large", b"507 Full", b"302 Found"])
def test_a_refused_upload_fails_with_what_the_server_said_and_leaves_no_key(
    authority, pair, folder, status, monkeypatch
):
    made = []
    real = attachments.Sealer
    monkeypatch.setattr(attachments, "Sealer", lambda: made.append(real()) or made[-1])

    async def main():
        async with UploadServer(pair) as web:
            session = Asked(web)
            path = "/refused"
            web.answers[path] = [b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n"]
            real_url = web.url
            web.url = lambda _: real_url(path)
            with pytest.raises(TransferFailed) as caught:
                await Sharing(session, https(authority)).upload(PLAIN * 3, folder)
            assert caught.value.status == int(status[:3])
            assert len(made[0].key) == 0

    asyncio.run(main())
    assert os.listdir(folder) == []


def test_an_upload_that_is_cancelled_closes_the_connection_and_leaves_nothing(
    authority, pair, folder
):
    async def main():
        async with UploadServer(pair) as web:
            web.answers["/held"] = []
            web.hold = asyncio.Event()
            real_url = web.url
            web.url = lambda _: real_url("/held")
            task = asyncio.create_task(
                Sharing(Asked(web), https(authority)).upload(bytes(30_000_000), folder)
            )
            await web.begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            web.hold.set()
            await web.ended.wait()

    asyncio.run(main())
    assert os.listdir(folder) == []


def test_a_download_that_is_cancelled_leaves_nothing(authority, pair, folder):
    async def main():
        async with UploadServer(pair) as web:
            sharing = Sharing(Asked(web), https(authority))
            shared = await sharing.upload(PLAIN, folder)
            data = web.files.popitem()[1]
            path = parse_web_address(shared.url).target
            web.hold = asyncio.Event()
            web.answers[path] = [
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data[:300_000]
            ]
            some = asyncio.Event()
            task = asyncio.create_task(
                sharing.download(shared, folder / "got", progress=lambda *_: some.set())
            )
            await some.wait()
            assert len(os.listdir(folder)) == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            web.hold.set()

    asyncio.run(main())
    assert os.listdir(folder) == []


def test_a_file_at_our_own_private_server_is_got_and_at_another_is_not(authority, pair, folder):
    async def main():
        async with UploadServer(pair) as web, UploadServer(pair) as other:
            shared = await Sharing(Asked(web), https(authority)).upload(PLAIN, folder)
            theirs = await Sharing(Asked(other), https(authority)).upload(PLAIN, folder)
            fresh = Asked(web)
            receiver = Sharing(fresh, https(authority))
            await receiver.download(shared, folder / "a")
            await receiver.download(shared, folder / "b")
            assert len(fresh.slots) == 1  # asked once where our server puts files, with no file
            for _ in range(2):
                with pytest.raises(PolicyRefused, match="private network"):
                    await receiver.download(theirs, folder / "c")
            assert len(fresh.slots) == 1
            assert other.connections == 1
            named = Sharing(fresh, https(authority, own=[parse_web_address(theirs.url)]))
            await named.download(theirs, folder / "d")

    asyncio.run(main())


def test_what_is_too_large_is_not_even_asked_for(authority, pair, folder):
    async def main():
        async with UploadServer(pair) as web:
            sharing = Sharing(Asked(web), https(authority))
            shared = await sharing.upload(PLAIN, folder)
            with pytest.raises(ProtocolError, match="allowed"):
                await sharing.download(shared, folder / "got", most=1000)
            with pytest.raises(ProtocolError, match="allowed"):
                await sharing.fetch(shared, most=1000)
            assert web.connections == 1

    asyncio.run(main())


def test_a_redirection_within_the_server_is_followed_a_few_times(authority, pair, folder):
    async def main():
        async with UploadServer(pair) as web:
            sharing = Sharing(Asked(web), https(authority))
            shared = await sharing.upload(PLAIN, folder)
            path = parse_web_address(shared.url).target
            web.files["/moved"] = web.files.pop(path)
            there = b"HTTP/1.1 302 Found\r\nLocation: /moved\r\nContent-Length: 0\r\n\r\n"
            web.answers[path] = [there]
            await sharing.download(shared, folder / "got")
            web.answers["/moved"] = [there]
            with pytest.raises(ProtocolError, match="on and on"):
                await sharing.download(shared, folder / "again")
            assert web.connections == 3 + 4

    asyncio.run(main())


def test_what_is_gone_is_said_to_be(authority, pair, folder):
    async def main():
        async with UploadServer(pair) as web:
            sharing = Sharing(Asked(web), https(authority))
            shared = await sharing.upload(PLAIN, folder)
            web.files.clear()
            with pytest.raises(TransferFailed) as caught:
                await sharing.download(shared, folder / "got")
            assert caught.value.status == 404
            with pytest.raises(LocalError):
                await sharing.download(shared, folder / "absent" / "got")

    asyncio.run(main())
    assert os.listdir(folder) == []


def test_a_server_that_is_not_there_fails_as_the_network_does(authority, pair, folder):
    async def main():
        async with UploadServer(pair) as web:
            sharing = Sharing(Asked(web), https(authority))
            shared = await sharing.upload(PLAIN, folder)
        with pytest.raises(NetworkError):
            await sharing.download(shared, folder / "got")
        with pytest.raises(NetworkError):
            await sharing.upload(PLAIN, folder)

    asyncio.run(main())
    assert os.listdir(folder) == []
