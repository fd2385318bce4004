"""Two of our DTLS ends agree on keys, and on the end."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from securecall.errors import Reason, UsageError
from securecall.transport.dtls import COMPAT, STRICT, DtlsCertificate
from tests.pairs.transport.wire import Ours, pair, play


def test_both_ends_hold_the_same_keys_crosswise():
    client, server = pair()
    play(client, server)
    a, b = client.established, server.established
    assert a.alpn == b.alpn == "securecall-id/1"
    assert a.srtp_profile == b.srtp_profile == "SRTP_AEAD_AES_256_GCM"
    assert (a.send_key, a.receive_key) == (b.receive_key, b.send_key)
    assert a.send_key != a.receive_key
    assert len(a.send_key) == 44
    assert a.outer_exporter == b.outer_exporter
    assert len(a.outer_exporter) == 64


def test_two_associations_share_no_key():
    first, second = pair(), pair()
    play(*first)
    play(*second)
    assert first[0].established.outer_exporter != second[0].established.outer_exporter


def test_each_certificate_is_new():
    assert DtlsCertificate.generate().digest != DtlsCertificate.generate().digest


def test_application_data_travels_both_ways_one_record_each():
    client, server = pair()
    play(client, server)
    play(client, server, begin=False, seed=client.send(b"up") + client.send(b"up again"))
    play(server, client, begin=False, seed=server.send(b"down" * 275))
    assert server.got == [b"up", b"up again"]
    assert client.got == [b"down" * 275]


def test_a_close_ends_both():
    client, server = pair()
    play(client, server)
    play(client, server, begin=False, seed=client.close())
    assert client.closed
    assert server.closed
    assert client.send(b"x") == server.send(b"x") == []


@pytest.mark.parametrize(
    ("client", "server", "alpn"),
    [
        (("securecall-id/1", "webrtc"), ("webrtc",), "webrtc"),
        (("webrtc",), ("securecall-id/1", "webrtc"), "webrtc"),
        (("securecall-id/1",), (), None),
        ((), ("securecall-id/1", "webrtc"), None),
    ],
)
def test_where_one_side_lacks_the_identity_protocol_both_see_it(client, server, alpn):
    ends = pair(client={"alpn": client}, server={"alpn": server})
    play(*ends)
    assert [end.established.alpn for end in ends] == [alpn, alpn]


def test_strict_and_compat_meet_at_aes_256_gcm():
    ends = pair(client={"srtp_profiles": COMPAT}, server={"srtp_profiles": STRICT})
    play(*ends)
    assert {end.established.srtp_profile for end in ends} == {"SRTP_AEAD_AES_256_GCM"}


def test_a_large_certificate_still_leaves_in_whole_records_of_at_most_1200_bytes():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "large")])
    padding = x509.UnrecognizedExtension(
        x509.ObjectIdentifier("1.2.3.4"), b"\x04\x82\x1f\x40" + b"p" * 8000
    )
    large = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2049, 1, 1, tzinfo=datetime.UTC))
        .add_extension(padding, critical=False)
        .sign(key, hashes.SHA256())
    )
    big, small = DtlsCertificate(large, key), DtlsCertificate.generate()
    client = Ours(client=True, certificate=big, digests=(small.digest,))
    server = Ours(client=False, certificate=small, digests=(big.digest,))
    sizes = []

    def watch(up, data):
        sizes.append(len(data))
        position = 0
        while position < len(data):
            position += 13 + int.from_bytes(data[position + 11 : position + 13], "big")
        assert position == len(data)
        return (data,)

    play(client, server, change=watch)
    assert client.established
    assert server.established
    assert 1000 < max(sizes) <= 1200


def test_misuse_is_refused():
    client, _ = pair()
    with pytest.raises(UsageError, match="established"):
        client.send(b"x")
    for data in (b"", b"x" * 1101):
        with pytest.raises(UsageError, match="1 to 1100"):
            client.send(data)


def test_a_silent_peer_is_given_up_after_fifteen_seconds():
    client, _ = pair()
    first = client.start(100.0)
    resent, now = 0, 100.0
    while client.endpoint.deadline is not None:
        now = client.endpoint.deadline
        again = client.timeout(now)
        if again and not client.over:
            resent += 1
            assert len(again) == len(first)
    assert client.failed.error.reason is Reason.HANDSHAKE_TIMEOUT
    assert now == 115.0
    assert resent >= 8


def test_the_first_resend_comes_after_a_quarter_second_and_repairs_the_loss():
    client, server = pair()
    assert client.start(0.0)
    assert client.endpoint.deadline == 0.25
    play(client, server, begin=False, seed=client.timeout(0.25))
    assert client.established
    assert server.established


def test_a_lost_last_flight_is_sent_again_when_the_client_repeats_its_own():
    client, server = pair()
    lost = []

    def lose_last(up, data):
        if not up and server.established and not lost:
            lost.append(data)
            return ()
        return (data,)

    play(client, server, change=lose_last)
    assert lost
    assert client.established is None
    play(client, server, begin=False, seed=client.timeout(0.25))
    assert client.established
