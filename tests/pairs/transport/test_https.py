"""Files before somebody else's web server: the one of Python's standard library."""

from __future__ import annotations

import asyncio
import http.server
import io
import socket
import threading

import pytest

from securecall.errors import ConnectFailed, LocalError, NameNotFound, NetworkError, TransferFailed
from securecall.testing.authority import Authority
from securecall.transport.https import Https, Patience
from securecall.transport.tls_context import server_context
from securecall.transport.web_address import WebAddress

DATA = bytes(range(256)) * 5000


class Keeper(http.server.BaseHTTPRequestHandler):
    """Takes files, gives them back whole, in chunks, or until it closes."""

    def do_PUT(self):
        if self.path == "/refused":
            self.send_error(413)
            self.close_connection = True
            return
        if self.path == "/silent":
            self.server.silent.wait(30)
            return
        self.server.files[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        path, _, way = self.path.partition("?")
        if path not in self.server.files:
            self.send_error(404)
            return
        data = self.server.files[path]
        self.protocol_version = "HTTP/1.1" if way == "chunks" else "HTTP/1.0"
        self.send_response(200)
        if way == "chunks":
            self.send_header("Transfer-Encoding", "chunked")
        elif way != "until-closed":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if way == "chunks":
            data = b"".join(
                b"%x\r\n%b\r\n" % (len(part), part)
                for part in (data[i : i + 7777] for i in range(0, len(data), 7777))
            )
            data += b"0\r\n\r\n"
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    authority = Authority.make(tmp_path_factory.mktemp("authority"))
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keeper)
    context = server_context(authority.issue("127.0.0.1"))
    made.socket = context.wrap_socket(made.socket, server_side=True)
    made.files, made.authority = {}, authority
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def place(server, target):
    return WebAddress(host="127.0.0.1", port=server.server_address[1], target=target)


def client(server):
    return Https(
        authorities=server.authority.pem, own=[place(server, "/")], patience=Patience(idle=5.0)
    )


async def put(server, target, data=DATA, *, size=None):
    await client(server).put(
        place(server, target),
        size=len(data) if size is None else size,
        read=io.BytesIO(data).read,
        fields={"Content-Type": "application/octet-stream"},
    )


@pytest.mark.parametrize("way", ["", "?chunks", "?until-closed"])
def test_what_was_put_is_got(server, way):
    async def main():
        await put(server, "/a")
        assert server.files["/a"] == DATA
        got = []
        count = await client(server).get(place(server, f"/a{way}"), most=len(DATA), take=got.append)
        assert count == len(DATA)
        assert b"".join(got) == DATA

    asyncio.run(main())


def test_an_empty_file_and_one_that_is_not_there(server):
    async def main():
        await put(server, "/empty", b"")
        assert await client(server).get(place(server, "/empty"), most=0, take=print) == 0
        with pytest.raises(TransferFailed, match="404"):
            await client(server).get(place(server, "/nothing"), most=9, take=print)

    asyncio.run(main())


def test_a_refusal_before_the_end_is_heard(server):
    # a server that closes with bytes unread may reset the connection over its own answer
    with pytest.raises(NetworkError):
        asyncio.run(put(server, "/refused", bytes(30_000_000)))


def test_many_at_a_time(server):
    async def main():
        await asyncio.gather(*(put(server, f"/many{i}", DATA[i:]) for i in range(20)))
        assert all(server.files[f"/many{i}"] == DATA[i:] for i in range(20))

    asyncio.run(main())


def test_nobody_there(server):
    where = WebAddress(host="127.0.0.1", port=1)
    https = Https(authorities=server.authority.pem, own=[where])
    with pytest.raises(ConnectFailed):
        asyncio.run(https.get(where, most=1, take=print))


def test_a_file_that_becomes_shorter_is_the_operators_matter(server):
    with pytest.raises(LocalError, match="shorter"):
        asyncio.run(put(server, "/short", DATA, size=len(DATA) + 1))


def test_a_server_that_takes_a_file_and_says_nothing_does_not_hold_us(server):
    https = Https(
        authorities=server.authority.pem,
        own=[place(server, "/")],
        patience=Patience(idle=0.2),
    )
    go_on = server.silent = threading.Event()
    try:
        with pytest.raises(NetworkError, match="does not say"):
            asyncio.run(
                https.put(place(server, "/silent"), size=1, read=io.BytesIO(b"x").read, fields={})
            )
    finally:
        go_on.set()


@pytest.mark.parametrize("error", [OSError(-2, "not known"), UnicodeError("too long")])
def test_a_name_that_is_not_known(server, monkeypatch, error):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(NameNotFound):
        asyncio.run(client(server).get(WebAddress(host="nowhere.example"), most=1, take=print))
