"""XMPP servers that are not who they should be, or do what no server may: nothing of ours is told.

The control is `test_control_an_honest_server_is_believed`: the same server, without its fault, is
logged in to by the same client, by both ways and with every mechanism. Controls of single attacks
stand beside them.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from xml.etree.ElementTree import Element

import pytest

from securecall.errors import (
    CertificateError,
    ConnectFailed,
    LoginRefused,
    ProtocolError,
    SecurecallError,
    XmppRefused,
)
from securecall.secret import Secret
from securecall.xmpp.session import Session, SessionState
from tests.forge_certificate import DAY, forge
from tests.xmpp_server import (
    DOMAIN,
    PASSWORD,
    ROOT,
    SASL,
    FakeServer,
    Manners,
    Peer,
    online,
    serving,
)

HASHES = ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1")
BOTH = pytest.mark.parametrize("direct", [True, False])


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(30):
            await work()

    asyncio.run(within())


async def refused(server: FakeServer, error: type[SecurecallError], words: str = "") -> None:
    with pytest.raises(error, match=words or None):
        await Session.open(server.login)
    for peer in server.peers:
        assert_nothing_told(peer)


def assert_nothing_told(peer: Peer) -> None:
    heard = bytes(peer.heard)
    assert PASSWORD.encode() not in heard
    assert base64.b64encode(PASSWORD.encode()) not in heard
    assert base64.b64encode(f"\0alice\0{PASSWORD}".encode()) not in heard


@BOTH
@pytest.mark.parametrize("mechanism", HASHES)
def test_control_an_honest_server_is_believed(tmp_path, direct, mechanism):
    async def work():
        manners = Manners(mechanisms=("PLAIN", mechanism, "DIGEST-MD5"))
        async with serving(online, tmp_path, manners=manners, direct=direct) as server:
            session = await Session.open(server.login)
            assert session.mechanism == mechanism
            assert session.state is SessionState.ONLINE
            await session.close()
            assert server.peers[0].said[0] == ("auth" if direct else "starttls")

    run(work)


LEAVES = {
    "another name": forge(ROOT, "other.example"),
    "the host it runs on": forge(ROOT, "127.0.0.1", "localhost"),
    "the domain above": forge(ROOT, "clinic.example"),
    "a wildcard one label too short": forge(ROOT, "*.example"),
    "a wildcard for all": forge(ROOT, "*"),
    "a wildcard within a label": forge(ROOT, "ch*.clinic.example"),
    "a wildcard further right": forge(ROOT, "chat.*.example"),
    "a common name only": forge(ROOT, common_name=DOMAIN),
    "a name of a web page": forge(ROOT, f"https://{DOMAIN}"),
    "self-signed": forge(None, DOMAIN),
    "of another authority": forge(forge(common_name="root", authority=True), DOMAIN),
    "expired": forge(ROOT, DOMAIN, since=-9 * DAY, until=-DAY),
    "not valid yet": forge(ROOT, DOMAIN, since=DAY, until=9 * DAY),
}


@BOTH
@pytest.mark.parametrize("what", LEAVES)
def test_a_certificate_that_proves_nothing_ends_it(tmp_path, direct, what):
    async def work():
        async with serving(online, tmp_path, leaf=LEAVES[what], direct=direct) as server:
            await refused(server, CertificateError)
            assert "auth" not in [word for peer in server.peers for word in peer.said]

    run(work)


@pytest.mark.parametrize("names", [(DOMAIN,), ("*.clinic.example",), ("other.example", DOMAIN)])
def test_control_names_that_prove_the_domain(tmp_path, names):
    async def work():
        async with serving(online, tmp_path, leaf=forge(ROOT, *names)) as server:
            await (await Session.open(server.login)).close()

    run(work)


def test_an_address_of_the_server_never_stands_for_its_domain(tmp_path):
    async def work():
        async with serving(online, tmp_path) as server:
            other = replace(server.login, server_name="127.0.0.1")
            with pytest.raises(CertificateError):
                await Session.open(other)

    run(work)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_refused(tmp_path, version, recwarn):
    async def work():
        async with serving(online, tmp_path, version=version) as server:
            await refused(server, ConnectFailed)

    run(work)
    recwarn.clear()  # of `ssl`, that the server's version is old


# before TLS


@pytest.mark.parametrize(
    "features",
    [
        "",
        f"<mechanisms xmlns='{SASL}'><mechanism>SCRAM-SHA-256</mechanism></mechanisms>",
        f"<mechanisms xmlns='{SASL}'><mechanism>PLAIN</mechanism></mechanisms>",
        "<starttls xmlns='urn:other'/>",
    ],
)
def test_a_server_without_encryption_hears_nothing(tmp_path, features):
    async def work():
        manners = Manners(first_features=features)
        async with serving(online, tmp_path, manners=manners, direct=False) as server:
            await refused(server, ConnectFailed, "offers no encryption")
            assert server.peers[0].said == []

    run(work)


@pytest.mark.parametrize(
    "injected",
    [
        b"<message from='admin@chat.clinic.example'><body>x</body></message>",
        b"<stream:features/>",
        b" ",
        b"<",
        b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' id='2' version='1.0' "
        b"xmlns:stream='http://etherx.jabber.org/streams'><stream:features/>",
    ],
)
def test_what_is_said_before_tls_is_not_taken_for_the_servers(tmp_path, injected):
    async def work():
        manners = Manners(after_proceed=injected)
        async with serving(online, tmp_path, manners=manners, direct=False) as server:
            with pytest.raises((ConnectFailed, CertificateError)):
                await Session.open(server.login)
            assert "auth" not in server.peers[0].said

    run(work)


@pytest.mark.parametrize("condition", ["conflict", "not-authorized", "host-unknown"])
def test_nobody_on_the_way_can_end_an_account_for_good(tmp_path, condition):
    async def script(reader, writer):
        await reader.read(65536)
        writer.write(
            b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
            b"<stream:error><%s xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
            % condition.encode()
        )
        writer.close()

    async def work():
        async with serving(online, tmp_path, direct=False) as server:
            liar = await asyncio.start_server(script, "127.0.0.1", 0)
            async with liar:
                port = liar.sockets[0].getsockname()[1]
                with pytest.raises(ConnectFailed):  # a network's fault, tried again
                    await Session.open(replace(server.login, server=("127.0.0.1", port)))

    run(work)


# the login

WEAK = {
    "nothing": (),
    "PLAIN": ("PLAIN",),
    "old and broken": ("PLAIN", "LOGIN", "DIGEST-MD5", "CRAM-MD5", "SCRAM-MD5"),
    "tokens": ("X-OAUTH2", "OAUTHBEARER", "EXTERNAL", "ANONYMOUS"),
    "spelled otherwise": ("scram-sha-256", "SCRAM-SHA-256 ", "SCRAM-SHA256"),
}


@BOTH
@pytest.mark.parametrize("what", WEAK)
def test_the_password_is_never_given_away(tmp_path, direct, what):
    async def work():
        manners = Manners(mechanisms=WEAK[what])
        async with serving(online, tmp_path, manners=manners, direct=direct) as server:
            await refused(server, LoginRefused, "SCRAM")
            assert "auth" not in server.peers[0].said

    run(work)


CHANGED = base64.b64encode(b"x" * 32).decode()
FALSE = {
    "a wrong signature": (Manners(signature=b"x" * 32), LoginRefused, "without proving"),
    "a short signature": (Manners(signature=b"x"), LoginRefused, "without proving"),
    "no signature": (Manners(signature=b""), LoginRefused, "without proving"),
    "success at once": (Manners(skip_challenge=True), ProtocolError, "keep to the login"),
    "one round": (Manners(iterations=1), LoginRefused, "rounds"),
    "too few rounds": (Manners(iterations=4095), LoginRefused, "rounds"),
    "work for hours": (Manners(iterations=10_000_000, nonce=None), LoginRefused, "rounds"),
    "a nonce of its own": (
        Manners(nonce="0123456789012345678901234567890123456789"),
        ProtocolError,
        "nonce",
    ),
    "an extension we must know": (Manners(more=",m=x"), ProtocolError, ""),
    "a changed offer": (
        Manners(more=f",h={base64.b64encode(b'x' * 32).decode()}"),
        LoginRefused,
        "in between",
    ),
}


@pytest.mark.parametrize("what", FALSE)
def test_a_server_that_does_not_know_the_password_is_not_believed(tmp_path, what, monkeypatch):
    manners, error, words = FALSE[what]
    # the server's own work is not the point
    monkeypatch.setattr("tests.xmpp_server.hashlib.pbkdf2_hmac", lambda *_: b"k" * 32) if (
        manners.iterations > 4096
    ) else None

    async def work():
        async with serving(online, tmp_path, manners=manners) as server:
            await refused(server, error, words)
            assert "iq" not in server.peers[0].said

    run(work)


def test_a_wrong_password_is_said_so(tmp_path):
    async def work():
        async with serving(online, tmp_path) as server:
            with pytest.raises(LoginRefused, match="password is wrong"):
                await Session.open(replace(server.login, password=Secret("other")))
            assert len(server.peers) == 1  # no weaker way is tried

    run(work)


def test_a_server_that_offers_less_than_before_is_refused(tmp_path):
    async def work():
        manners = Manners(mechanisms=("SCRAM-SHA-1",))
        async with serving(online, tmp_path, manners=manners) as server:
            await (await Session.open(server.login)).close()  # the control
            with pytest.raises(LoginRefused, match="once had SCRAM-SHA-256"):
                await Session.open(replace(server.login, least="SCRAM-SHA-256-PLUS"))

    run(work)


PLUS = ("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS")


@pytest.mark.parametrize(
    ("version", "bindings", "mechanism"),
    [
        (ssl.TLSVersion.TLSv1_2, None, "SCRAM-SHA-256-PLUS"),
        (ssl.TLSVersion.TLSv1_2, ("tls-unique",), "SCRAM-SHA-256-PLUS"),
        (ssl.TLSVersion.TLSv1_3, ("tls-server-end-point",), "SCRAM-SHA-256-PLUS"),
        (ssl.TLSVersion.TLSv1_3, ("tls-unknown",), "SCRAM-SHA-256"),
        (ssl.TLSVersion.TLSv1_3, None, "SCRAM-SHA-256"),
    ],
)
def test_the_login_is_bound_to_the_connection(tmp_path, version, bindings, mechanism):
    async def work():
        manners = Manners(mechanisms=PLUS, bindings=bindings)
        async with serving(online, tmp_path, manners=manners, version=version) as server:
            session = await Session.open(server.login)
            assert session.mechanism == mechanism
            await session.close()

    exported = version is ssl.TLSVersion.TLSv1_3 and "tls-exporter" in ssl.CHANNEL_BINDING_TYPES
    if exported and bindings is None:
        pytest.skip("this Python binds to TLS 1.3")
    run(work)


def test_a_login_bound_to_another_connection_is_not_taken(tmp_path, monkeypatch):
    async def work():
        manners = Manners(mechanisms=PLUS)
        monkeypatch.setattr(Peer, "_binding", lambda *_: b"of another")
        async with serving(
            online, tmp_path, manners=manners, version=ssl.TLSVersion.TLSv1_2
        ) as server:
            await refused(server, LoginRefused)

    run(work)


def test_whoever_hides_binding_is_found_out_by_the_server(tmp_path):
    async def script(peer: Peer) -> None:
        peer.manners = Manners(mechanisms=("SCRAM-SHA-256",))  # what the one in between shows
        peer.has = PLUS  # what the server has
        await peer.login()

    async def work():
        async with serving(script, tmp_path, version=ssl.TLSVersion.TLSv1_2) as server:
            await refused(server, LoginRefused, "not-authorized")

    run(work)


# after the login


def test_compression_is_never_begun(tmp_path):
    compression = "<compression xmlns='http://jabber.org/features/compress'><method>zlib</method>"

    async def work():
        manners = Manners(features=compression + "</compression>")
        async with serving(online, tmp_path, manners=manners) as server:
            await refused(server, ProtocolError, "binds no resource")
            assert "compress" not in server.peers[0].said
        both = Manners(features=compression + "</compression>" + Manners().features)
        async with serving(online, tmp_path, manners=both) as server:  # the control
            await (await Session.open(server.login)).close()
            assert "compress" not in server.peers[0].said

    run(work)


@pytest.mark.parametrize(
    "jid", ["bob@chat.clinic.example/x", "alice@other.example/x", "alice@chat.clinic.example"]
)
def test_nobody_elses_resource_is_taken(tmp_path, jid):
    async def work():
        async with serving(online, tmp_path, manners=Manners(jid=jid)) as server:
            await refused(server, ProtocolError, "somebody else")

    run(work)


@pytest.mark.parametrize(
    "bad",
    [
        "<!DOCTYPE x>",
        "<!-- x -->",
        "<?x y?>",
        "<message><body>&x;</body></message>",
        "<message><!-- x --></message>",
        "<message><body>\x01</body></message>",
        "<message>" + "x" * 1_100_000 + "</message>",
        "text",
    ],
)
def test_forbidden_xml_ends_the_stream(tmp_path, bad):
    ended = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.login()
        await peer.bind()
        if not ended.is_set():
            await peer.next()
            peer.send(bad)
            try:
                while True:
                    element = await peer.next()
                    if element.tag == "{http://etherx.jabber.org/streams}error":
                        peer.said.append(element[0].tag)
            finally:
                ended.set()
        await peer.next()

    async def work():
        async with serving(script, tmp_path) as server:
            states = []
            session = await Session.open(
                server.login, prepare=lambda s: s.on_state(lambda state, why: states.append(why))
            )
            session.send(Element("{jabber:client}message"))
            await ended.wait()
            await session.close()
            assert any(isinstance(why, ProtocolError) for why in states)
            assert "error" in server.peers[0].said

    run(work)


def test_a_server_that_sends_us_to_another_host_is_not_believed_about_its_name(tmp_path):
    async def work():
        (tmp_path / "false").mkdir()
        false = serving(online, tmp_path / "false", leaf=forge(ROOT, "other.example"))
        async with false as other:
            host, port = other.login.server

            async def script(peer: Peer) -> None:
                await peer.begin(None)
                peer.send(
                    "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>"
                    f"{host}:{port}</see-other-host></stream:error>"
                )

            async with serving(script, tmp_path) as server:
                await refused(server, (CertificateError, XmppRefused))
            async with serving(online, tmp_path) as right:  # the control
                host, port = right.login.server
                async with serving(script, tmp_path) as server:
                    await (await Session.open(server.login)).close()
                    assert right.peers

    run(work)
