"""The door of OpenSSL: what a build lacks is refused, and whose fault a failure is stays clear."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import sys
import weakref
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from securecall.errors import Reason, SecurityError, Unsupported, UsageError
from securecall.transport import openssl
from securecall.transport.dtls_certificate import DtlsCertificate
from securecall.transport.openssl import Channel, ChannelClosed, ChannelSettings, Version
from securecall.transport.suite import ORDINARY

OURS = DtlsCertificate.generate()
DTLS = {
    "version": Version.DTLS_1_2,
    "ciphers": ORDINARY.ciphers,
    "groups": ORDINARY.groups,
    "signature_algorithms": ORDINARY.signatures,
    "record_limit": 1200,
}
TLS = DTLS | {"version": Version.TLS_1_3, "ciphers": "TLS_AES_256_GCM_SHA384", "record_limit": 0}


def channel(client=True, accept=None, **changes):
    return Channel(
        ChannelSettings(**(DTLS | changes)),
        client=client,
        certificate=OURS.certificate,
        key=OURS.key,
        accept=accept,
    )


def shaken(client, server):
    """Both, once neither has more to say."""
    for _ in range(4):
        for one, other in ((client, server), (server, client)):
            one.handshake()
            if said := one.outgoing():
                other.feed(said)
    assert client.handshake() and server.handshake()
    return client, server


def tls():
    return shaken(channel(**TLS), channel(client=False, **TLS))


class Build:
    """The OpenSSL there is, but for what it lacks."""

    def __init__(self, lacking):
        self._lacking = lacking

    def __getattr__(self, name):
        if name == self._lacking:
            raise AttributeError(name)
        return getattr(openssl._lib, name)


@pytest.mark.parametrize("name", ["", *openssl._NEEDED])
def test_a_build_that_cannot_be_asked_is_refused_before_anything_starts(monkeypatch, name):
    monkeypatch.setattr(SSL, "_lib", Build(name))
    spec = importlib.util.spec_from_file_location("another_door", openssl.__file__)
    again = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "another_door", again)
    if not name:  # control
        spec.loader.exec_module(again)
        return
    with pytest.raises(Unsupported, match=name):
        spec.loader.exec_module(again)


@pytest.mark.parametrize("lacking", ["groups", "signature_algorithms"])
@pytest.mark.parametrize("client", [True, False])
def test_what_a_build_cannot_run_is_refused_and_never_left_out(lacking, client):
    with pytest.raises(Unsupported, match="NOSUCH"):
        channel(client, **{lacking: "NOSUCH"})


@pytest.mark.parametrize("name", ["NOSUCH", "a" * 200, ":::"])
def test_whether_a_build_runs_a_key_exchange_is_told_and_leaves_no_error_behind(name):
    assert openssl.has_group("X25519")
    assert not openssl.has_group(name)
    assert openssl._lib.ERR_peek_error() == 0
    shaken(channel(), channel(client=False))


@pytest.mark.parametrize(
    ("says", "active"),
    [({"_fips_enabled": True}, True), ({"_fips_enabled": False}, False), ({}, False)],
)
def test_a_provider_is_active_where_the_backend_says_so_and_nowhere_else(monkeypatch, says, active):
    monkeypatch.setattr(openssl, "backend", SimpleNamespace(**says))
    assert openssl.fips_provider_active() is active


def test_a_bug_of_our_judge_is_neither_a_yes_nor_the_fault_of_the_peer():
    def judge(_certificate, _depth):
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        shaken(channel(accept=judge), channel(client=False))


def test_what_our_judge_refuses_keeps_its_reason():
    def judge(_certificate, _depth):
        raise SecurityError("not this one", reason=Reason.FINGERPRINT_MISMATCH)

    with pytest.raises(SecurityError, match="not this one") as caught:
        shaken(channel(accept=judge), channel(client=False))
    assert caught.value.reason is Reason.FINGERPRINT_MISMATCH


def test_a_judge_that_only_says_no_is_a_failed_handshake():
    with pytest.raises(SecurityError, match="certificate verify failed") as caught:
        shaken(channel(accept=lambda _certificate, _depth: False), channel(client=False))
    assert caught.value.reason is Reason.HANDSHAKE_FAILED


def test_nobody_is_known_before_the_handshake_and_both_keys_are_after_it():
    client = channel(**TLS)
    assert client.peer_certificate == client.peer_public_key == b""
    assert client.peer_chain == ()
    assert client.group == client.alpn == client.srtp_profile == ""
    for end in tls():
        assert end.peer_certificate == OURS.certificate.public_bytes(Encoding.DER)
        assert end.peer_public_key


def test_after_the_end_nothing_is_written_and_the_peer_knows():
    client, server = tls()
    client.write(b"last words")
    client.close()
    with pytest.raises(SecurityError) as caught:
        client.write(b"too late")
    assert caught.value.reason is Reason.HANDSHAKE_FAILED
    server.feed(client.outgoing())
    assert server.read() == b"last words"
    with pytest.raises(ChannelClosed):
        server.read()


def test_a_record_somebody_changed_breaks_the_stream_for_good():
    client, server = tls()
    client.write(b"to be changed")
    record = bytearray(client.outgoing())
    record[-1] ^= 1
    server.feed(bytes(record))
    for _ in range(2):
        with pytest.raises(SecurityError):
            server.read()


def test_nothing_from_the_peer_changes_nothing():
    client, server = tls()
    client.feed(b"")
    client.write(b"still here")
    server.feed(client.outgoing())
    assert server.read() == b"still here"


def test_a_connection_that_nobody_judges_is_refused():
    def stranger():
        context = openssl._context(ChannelSettings(**(DTLS | TLS)), client=True)
        connection = SSL.Connection(context)
        connection.set_connect_state()
        return connection

    def meet(connection):
        server = channel(client=False, **TLS)
        for _ in range(4):
            with contextlib.suppress(SSL.WantReadError):
                connection.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                server.feed(connection.bio_read(1 << 16))
                server.handshake()
                connection.bio_write(server.outgoing() or b"-")

    for judge in (None, object(), lambda *_: True):
        unjudged = stranger()
        unjudged.set_app_data(judge)
        with pytest.raises(SSL.Error, match="certificate verify failed"):
            meet(unjudged)
    shaken(channel(**TLS), channel(client=False, **TLS))  # control: judged, in the same context


def test_a_certificate_of_another_key_is_our_mistake_and_leaves_no_error_behind():
    other = DtlsCertificate.generate()
    with pytest.raises(UsageError, match="not of this key"):
        Channel(
            ChannelSettings(**DTLS),
            client=True,
            certificate=OURS.certificate,
            key=other.key,
            accept=None,
        )
    assert openssl._lib.ERR_peek_error() == 0


@pytest.mark.parametrize("settings", [DTLS, DTLS | TLS])
def test_exported_keys_are_those_of_pyopenssl_at_both_ends(settings):
    client, server = shaken(channel(**settings), channel(client=False, **settings))
    for context in (None, b"", b"of this call"):
        key = client.export("EXPORTER-of-tests", 32, context)
        assert key == server.export("EXPORTER-of-tests", 32, context)
        real = client._connection.export_keying_material(b"EXPORTER-of-tests", 32, context)
        assert key == real
    assert client.export("EXPORTER-of-tests", 32, b"another") != key


def test_many_keys_are_those_of_each_context_by_itself():
    client, server = tls()
    contexts = [b"", b"a", b"b", b"of this call"]
    keys = client.export_secrets("EXPORTER-of-tests", 32, contexts)
    alone = [client.export("EXPORTER-of-tests", 32, context) for context in contexts]
    assert [key.reveal() for key in keys] == alone
    assert keys == server.export_secrets("EXPORTER-of-tests", 32, iter(contexts))
    assert len({key.reveal() for key in keys}) == len(contexts)
    keys[0].wipe()
    assert keys[1].reveal() == alone[1]


@pytest.mark.parametrize(
    "export",
    [
        lambda end: end.export("EXPORTER-of-tests", 32),
        lambda end: end.export_secrets("EXPORTER-of-tests", 32, (b"",)),
    ],
)
def test_no_key_is_exported_before_there_is_one(export):
    with pytest.raises(SecurityError) as caught:
        export(channel())
    assert caught.value.reason is Reason.HANDSHAKE_FAILED


@pytest.mark.parametrize("size", [1, 16384, 16385, 100_000])
def test_what_is_longer_than_a_record_arrives_whole(size):
    client, server = tls()
    client.write(bytes(range(250)) * 400 if size == 100_000 else b"a" * size)
    server.feed(client.outgoing())
    pieces = []
    while piece := server.read():
        pieces.append(piece)
    assert len(b"".join(pieces)) == size
    assert client.outgoing() == b""


def test_what_openssl_holds_of_a_channel_ends_with_it_and_waits_for_no_collection():
    def judge(_certificate, _depth):
        return True

    gc.disable()
    try:
        ends = shaken(channel(accept=judge, **TLS), channel(client=False, accept=judge, **TLS))
        held = [weakref.ref(end._connection) for end in ends]
        del ends
        assert [one() for one in held] == [None, None]
    finally:
        gc.enable()
