"""DTLS: what an endpoint does before, beside and after its handshake."""

from __future__ import annotations

import gc
import weakref

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from securecall.errors import Reason, SecurityError, UsageError
from securecall.rtp.srtp import SrtpProfile
from securecall.transport import dtls
from securecall.transport.dtls import (
    COMPAT,
    HANDSHAKE_LIMIT,
    LARGEST_DATA,
    STRICT,
    ApplicationData,
    Closed,
    DtlsCertificate,
    DtlsEndpoint,
    DtlsRole,
    Established,
    Failed,
    SendDatagram,
)
from securecall.transport.openssl import Channel

CERTIFICATES = DtlsCertificate.generate(), DtlsCertificate.generate()


def endpoint(client: bool, **changes) -> DtlsEndpoint:
    mine, theirs = CERTIFICATES if client else CERTIFICATES[::-1]
    arguments = {
        "role": DtlsRole.CLIENT if client else DtlsRole.SERVER,
        "certificate": mine,
        "remote_digests": (theirs.digest,),
        "alpn": ("securecall-id/1", "webrtc"),
        "srtp_profiles": STRICT,
    }
    return DtlsEndpoint(**(arguments | changes))


def sent(outputs) -> list[bytes]:
    return [o.data for o in outputs if isinstance(o, SendDatagram)]


def talk(client, server, outputs, *, now=0.0) -> list[object]:
    """Carry datagrams both ways until nothing moves; returns everything else that came out."""
    ends, others = {id(client): server, id(server): client}, list(outputs)
    waiting = [(client, data) for data in sent(outputs)]
    while waiting:
        sender, data = waiting.pop(0)
        receiver = ends[id(sender)]
        found = receiver.receive(data, now)
        others += found
        waiting += [(receiver, d) for d in sent(found)]
    return [o for o in others if not isinstance(o, SendDatagram)]


def established(**changes) -> tuple[DtlsEndpoint, DtlsEndpoint]:
    client, server = endpoint(True, **changes), endpoint(False)
    found = talk(client, server, client.start(0.0))
    assert [type(o) for o in found] == [Established, Established]
    return client, server


def test_before_it_began_a_client_takes_no_answer_and_no_time():
    client = endpoint(True)
    (hello, *_) = sent(endpoint(True).start(0.0))
    assert client.receive(hello, 0.0) == ()
    assert client.timeout(1e9) == ()
    assert client.begun is None


def test_a_server_begins_with_the_first_datagram_that_can_be_dtls():
    server = endpoint(False)
    assert server.start(0.0) == ()
    for junk in (b"", b"\x16" * 12, b"\x00" * 40, b"\x40" + bytes(40), b"\x16" * 9000):
        assert server.receive(junk, 1.0) == ()
    assert server.begun is None
    (hello, *_) = sent(endpoint(True).start(0.0))
    assert server.receive(hello, 2.0)
    assert server.begun == 2.0


def test_nothing_is_sent_before_the_handshake_and_nothing_after_the_end():
    client = endpoint(True)
    with pytest.raises(UsageError):
        client.send(b"early")
    client, server = established()
    assert [o.data for o in talk(client, server, client.send(b"in time"))] == [b"in time"]
    for size in (0, LARGEST_DATA + 1):
        with pytest.raises(UsageError):
            client.send(bytes(size))
    assert len(sent(client.send(bytes(LARGEST_DATA)))) == 1
    outputs = client.close()
    assert outputs[-1] == Closed()
    assert client.close() == client.send(b"late") == client.timeout(1e9) == ()
    assert Closed() in talk(client, server, outputs)


def test_data_that_came_with_the_last_flight_is_not_lost():
    client, server = established()
    data = sent(server.send(b"one")) + sent(server.send(b"two"))
    found = [o for d in data for o in client.receive(d, 1.0)]
    assert [o.data for o in found if isinstance(o, ApplicationData)] == [b"one", b"two"]
    assert [o for d in data for o in client.receive(d, 1.0)] == [], "a replay is none"


def test_flights_are_sent_again_later_and_later_until_the_limit():
    client = endpoint(True)
    flight = sent(client.start(1.0))
    assert client.timeout(1.2) == ()
    assert sent(client.timeout(1.25)) == flight
    assert client.timeout(1.7) == ()
    assert sent(client.timeout(1.75)) == flight
    assert not any(isinstance(o, Failed) for o in client.timeout(0.9 + HANDSHAKE_LIMIT))
    outputs = client.timeout(1.0 + HANDSHAKE_LIMIT)
    (failed,) = [o for o in outputs if isinstance(o, Failed)]
    assert isinstance(failed.error, SecurityError)
    assert client.deadline is None
    assert client.receive(flight[0], 20.0) == ()


def test_a_channel_that_broke_beneath_ends_the_association_with_the_next_word():
    client, server = established()
    client._channel.close()  # beneath the endpoint: OpenSSL writes nothing more
    *told, over = client.send(b"for nobody")
    assert isinstance(over, Failed)
    assert over.error.reason is Reason.HANDSHAKE_FAILED
    assert [o for d in sent(told) for o in server.receive(d, 1.0)][-1] == Closed()
    assert client.send(b"nor this") == client.close() == ()


def test_a_timer_of_openssl_that_fails_ends_the_handshake_at_once(monkeypatch):
    def expire(_connection):
        raise SSL.Error([("SSL routines", "", "read timeout expired")])

    client = endpoint(True)
    (hello, *_) = sent(client.start(1.0))
    monkeypatch.setattr(SSL.Connection, "DTLSv1_handle_timeout", expire)
    (failed,) = (o for o in client.timeout(1.25) if not isinstance(o, SendDatagram))
    assert isinstance(failed, Failed)
    assert "read timeout expired" in str(failed.error)
    assert client.deadline is None
    assert client.timeout(1.5) == client.receive(hello, 1.5) == ()


def test_what_openssl_sends_again_by_its_own_clock_takes_the_place_of_our_duplicate(monkeypatch):
    client = endpoint(True)
    first, again = sent(client.start(1.0)), sent(endpoint(True).start(1.0))
    assert first != again
    waiting = []  # OpenSSL's clock cannot be set, and its second is not waited for
    monkeypatch.setattr(Channel, "expire", lambda _: None)
    monkeypatch.setattr(Channel, "outgoing", lambda _: waiting.pop() if waiting else b"")
    assert sent(client.timeout(1.25)) == first
    waiting.append(b"".join(again))
    assert sent(client.timeout(1.3)) == again
    assert client.timeout(1.54) == ()
    assert sent(client.timeout(1.55)) == again, "a quarter of a second after it, not half"


def failure(client, server) -> SecurityError:
    found = talk(client, server, client.start(0.0))
    errors = [o.error for o in found if isinstance(o, Failed)]
    assert errors
    return errors[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("protocol", "DTLSv1"),
        ("group", "secp521r1"),
        ("extended_master_secret", False),
        ("alpn", "h2"),
        ("peer_certificate", b"another"),
    ],
)
def test_what_was_negotiated_is_asked_again_after_the_handshake(monkeypatch, name, value):
    monkeypatch.setattr(Channel, name, property(lambda self: value))
    assert isinstance(failure(endpoint(True), endpoint(False)), SecurityError)


def test_a_certificate_nobody_announced_is_refused_in_either_direction():
    stranger = DtlsCertificate.generate().digest
    for client, server in (
        (endpoint(True, remote_digests=(stranger,)), endpoint(False)),
        (endpoint(True), endpoint(False, remote_digests=(stranger,))),
    ):
        assert isinstance(failure(client, server), SecurityError)


@pytest.mark.parametrize("profile", SrtpProfile)
def test_media_keys_have_the_lengths_srtp_takes(profile):
    assert dtls._KEY_LENGTHS[profile.name] == (profile.key_length, profile.salt_length)


def rsa_certificate() -> DtlsCertificate:
    """What some deployed phones have."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "phone")])
    like = CERTIFICATES[0].certificate
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=like.not_valid_before_utc,
        not_valid_after=like.not_valid_after_utc,
    )
    return DtlsCertificate(builder.sign(key, hashes.SHA256()), key)  # type: ignore[arg-type] # as a foreign end


@pytest.mark.parametrize("ours_is_client", [True, False])
def test_rsa_certificates_are_taken_where_compatibility_is_asked_for_and_nowhere_else(
    ours_is_client,
):
    theirs = rsa_certificate()
    for policy in (STRICT, COMPAT):
        ours = endpoint(ours_is_client, srtp_profiles=policy, remote_digests=(theirs.digest,))
        peer = endpoint(
            not ours_is_client,
            certificate=theirs,
            remote_digests=(CERTIFICATES[0 if ours_is_client else 1].digest,),
            srtp_profiles=COMPAT,
        )
        client, server = (ours, peer) if ours_is_client else (peer, ours)
        kinds = {type(o) for o in talk(client, server, client.start(0.0))}
        assert (Established in kinds) == (policy is COMPAT)
        assert (Failed in kinds) == (policy is STRICT)


@pytest.mark.parametrize("profile", SrtpProfile)
def test_each_end_sends_with_the_key_the_other_receives_with(monkeypatch, profile):
    """Keying material is client key, server key, client salt, server salt (RFC 5764 4.2)."""
    key, salt = profile.key_length, profile.salt_length
    parts = [bytes([n]) * size for n, size in ((1, key), (2, key), (3, salt), (4, salt))]
    asked = set()

    def export(self, label, length):
        asked.add((label, length))
        return b"".join(parts) if label == "EXTRACTOR-dtls_srtp" else bytes(length)

    monkeypatch.setattr(Channel, "export", export)
    monkeypatch.setattr(Channel, "srtp_profile", property(lambda self: profile.name))
    how = {"alpn": ("webrtc",), "srtp_profiles": COMPAT}
    client, server = endpoint(True, **how), endpoint(False, **how)
    first, second = talk(client, server, client.start(0.0))
    assert (first.send_key, first.receive_key) == (second.receive_key, second.send_key)
    keys = {end.send_key.reveal() for end in (first, second)}
    assert keys == {parts[0] + parts[2], parts[1] + parts[3]}
    assert asked == {
        ("EXTRACTOR-dtls_srtp", 2 * (key + salt)),
        ("EXPORTER-securecall-outer-1", 64),
    }


def test_the_client_sends_with_the_first_key_of_the_two(monkeypatch):
    material = bytes(range(88))
    monkeypatch.setattr(Channel, "export", lambda self, label, length: material[:length])
    client, server = endpoint(True), endpoint(False)
    for_client = []
    waiting = [(server, data) for data in sent(client.start(0.0))]
    while waiting:
        end, data = waiting.pop(0)
        found = end.receive(data, 0.0)
        for_client += [o for o in found if isinstance(o, Established) and end is client]
        waiting += [(client if end is server else server, d) for d in sent(found)]
    (made,) = for_client
    assert made.send_key.reveal() == material[:32] + material[64:76]
    assert made.receive_key.reveal() == material[32:64] + material[76:88]


def test_records_share_datagrams_as_far_as_they_fit_and_keep_their_order():
    client, server = established()
    records = [b"ack", bytes(1000), b"data", bytes(LARGEST_DATA), b"last"]
    outputs = client.send(*records)
    datagrams = sent(outputs)
    assert len(datagrams) == 2
    assert all(len(datagram) <= 1200 for datagram in datagrams)
    found = [o for datagram in datagrams for o in server.receive(datagram, 0.0)]
    assert found == [ApplicationData(record) for record in records]
    assert client.send() == ()


@pytest.mark.parametrize("wrong", [b"", bytes(LARGEST_DATA + 1)])
def test_where_one_record_is_no_record_none_of_them_is_sent(wrong):
    client, server = established()
    with pytest.raises(UsageError):
        client.send(b"right", wrong)
    (datagram,) = sent(client.send(b"next"))
    assert server.receive(datagram, 0.0) == (ApplicationData(b"next"),)


def test_an_endpoint_ends_with_its_last_reference_and_its_keys_with_it():
    gc.disable()
    try:
        client, server = established()
        held = [weakref.ref(end._channel) for end in (client, server)]
        del client, server
        assert [one() for one in held] == [None, None]
    finally:
        gc.enable()
