"""Attacks on the DTLS association fail with a typed error; beside each, where it works."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from securecall.errors import Reason, SecurityError
from securecall.testing.bare_dtls import (
    NO_EXTENDED_MASTER_SECRET,
    BarePeer,
)
from securecall.transport.dtls import COMPAT, STRICT, CertificateDigest, DtlsCertificate
from tests.pairs.transport.wire import Ours, pair, play, wrong

ROLES = pytest.mark.parametrize("ours_is_client", [True, False])


def against(bare, *, ours_is_client, **settings):
    """Ours, told the bare peer's true fingerprint, plays against it."""
    ours = Ours(client=ours_is_client, digests=(bare.certificate.digest,), **settings)
    play(ours, bare)
    return ours


def require_refused(ours, reason=None):
    assert ours.established is None
    assert ours.failed is not None
    assert isinstance(ours.failed.error, SecurityError)
    if reason is not None:
        assert ours.failed.error.reason is reason
    assert ours.endpoint.deadline is None


class TestManInTheMiddle:
    """A1: signalling's fingerprints are honest or not; the attacker terminates DTLS twice."""

    def test_both_ends_refuse_the_attackers_certificates(self):
        alice, bob = pair()
        to_alice, to_bob = BarePeer(client=False), BarePeer(client=True)
        play(alice, to_alice)
        play(to_bob, bob)
        for end, attacker in ((alice, to_alice), (bob, to_bob)):
            require_refused(end, Reason.FINGERPRINT_MISMATCH)
            assert not attacker.done or attacker.error is not None

    def test_control_between_careless_ends_the_attacker_has_both_keys(self):
        alice, bob = BarePeer(client=True), BarePeer(client=False)
        to_alice, to_bob = BarePeer(client=False), BarePeer(client=True)
        play(alice, to_alice)
        play(to_bob, bob)
        assert alice.export() == to_alice.export()
        assert bob.export() == to_bob.export()
        play(alice, to_alice, begin=False, seed=alice.send(b"for bob's ears only"))
        assert to_alice.got == [b"for bob's ears only"]


class TestWrongCertificateOneWay:
    """A9: only one side was told a wrong fingerprint; no side may stay connected."""

    @pytest.mark.parametrize("deceived", [0, 1])
    def test_both_ends_end(self, deceived):
        certificates = DtlsCertificate.generate(), DtlsCertificate.generate()
        ends = []
        for mine, theirs in ((0, 1), (1, 0)):
            told = certificates[theirs].digest
            ends.append(
                Ours(
                    client=mine == 0,
                    certificate=certificates[mine],
                    digests=(wrong(told) if mine == deceived else told,),
                )
            )
        play(*ends)
        require_refused(ends[deceived], Reason.FINGERPRINT_MISMATCH)
        other = ends[1 - deceived]
        assert other.failed is not None
        assert other.established is None

    @pytest.mark.parametrize("deceived_is_client", [True, False])
    def test_the_careless_peer_hears_of_it(self, deceived_is_client):
        bare = BarePeer(client=not deceived_is_client)
        ours = Ours(client=deceived_is_client, digests=(wrong(bare.certificate.digest),))
        play(ours, bare)
        require_refused(ours, Reason.FINGERPRINT_MISMATCH)
        assert bare.error is not None

    def test_control_two_careless_ends_connect_whatever_was_announced(self):
        first, second = BarePeer(client=True), BarePeer(client=False)
        play(first, second)
        assert first.done
        assert second.done


class TestFingerprintLists:
    """A10: what signalling may announce."""

    @pytest.mark.parametrize(
        "announced",
        [
            lambda d: (),
            lambda d: (CertificateDigest("sha-1", b"x" * 20),),
            lambda d: (d,) * 40,
            lambda d: (CertificateDigest("sha-256", d.value[:-1]),),
        ],
    )
    def test_unusable_lists_never_become_an_endpoint(self, announced):
        digest = DtlsCertificate.generate().digest
        with pytest.raises(SecurityError) as caught:
            Ours(client=True, digests=announced(digest))
        assert caught.value.reason is Reason.FINGERPRINT_MISMATCH

    @ROLES
    def test_right_sha256_beside_wrong_sha512_is_a_mismatch(self, ours_is_client):
        bare = BarePeer(client=not ours_is_client)
        digests = (bare.certificate.digest, CertificateDigest("sha-512", b"w" * 64))
        ours = Ours(client=ours_is_client, digests=digests)
        play(ours, bare)
        require_refused(ours, Reason.FINGERPRINT_MISMATCH)

    @ROLES
    def test_control_one_right_among_several_sha256_connects(self, ours_is_client):
        bare = BarePeer(client=not ours_is_client)
        digest = bare.certificate.digest
        ours = Ours(client=ours_is_client, digests=(wrong(digest), digest))
        play(ours, bare)
        assert ours.established


_KEY = ec.generate_private_key(ec.SECP384R1())
_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "p384")])
P384 = DtlsCertificate(
    x509.CertificateBuilder(_NAME, _NAME, _KEY.public_key(), 1)
    .not_valid_before(datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC))
    .not_valid_after(datetime.datetime(2049, 1, 1, tzinfo=datetime.UTC))
    .sign(_KEY, hashes.SHA384()),
    _KEY,
)
WEAK = [
    ("no extended master secret", {"options": NO_EXTENDED_MASTER_SECRET}, Reason.WEAK_SUITE),
    ("no SRTP", {"srtp": None}, Reason.WEAK_SUITE),
    ("only HMAC-SHA1-32", {"srtp": b"SRTP_AES128_CM_SHA1_32"}, Reason.WEAK_SUITE),
    ("only HMAC-SHA1-80", {"srtp": b"SRTP_AES128_CM_SHA1_80"}, Reason.WEAK_SUITE),
    ("only AES-128-GCM", {"srtp": b"SRTP_AEAD_AES_128_GCM"}, Reason.WEAK_SUITE),
    ("only CBC suites", {"ciphers": b"ECDHE-ECDSA-AES256-SHA:ECDHE-ECDSA-AES128-SHA"}, None),
    ("only P-384", {"groups": b"P-384", "certificate": P384}, None),
    ("DTLS 1.0", {"version": 0xFEFF, "ciphers": b"ALL:@SECLEVEL=0"}, None),
]


@ROLES
@pytest.mark.parametrize(
    ("settings", "reason"), [row[1:] for row in WEAK], ids=[row[0] for row in WEAK]
)
class TestWeakPeers:
    """D5, H4: a peer that offers less is refused, not met half-way."""

    def test_it_is_refused(self, ours_is_client, settings, reason):
        ours = against(
            BarePeer(client=not ours_is_client, **settings),
            ours_is_client=ours_is_client,
            srtp_profiles=STRICT,
        )
        require_refused(ours, reason)

    def test_control_two_careless_ends_of_that_kind_connect(self, ours_is_client, settings, reason):
        first = BarePeer(client=True, **settings)
        second = BarePeer(client=False, **settings)
        play(first, second)
        assert first.done
        assert second.done


@ROLES
@pytest.mark.parametrize("profile", ["SRTP_AEAD_AES_128_GCM", "SRTP_AES128_CM_SHA1_80"])
class TestWeakProfileUnderIdentityProtocol:
    """With securecall-id/1 only AES-256-GCM will do, even where COMPAT allows more."""

    def test_it_is_refused(self, ours_is_client, profile):
        bare = BarePeer(client=not ours_is_client, srtp=profile.encode(), alpn=[b"securecall-id/1"])
        ours = against(bare, ours_is_client=ours_is_client, srtp_profiles=COMPAT)
        require_refused(ours, Reason.WEAK_SUITE)

    def test_control_without_it_compat_connects(self, ours_is_client, profile):
        bare = BarePeer(client=not ours_is_client, srtp=profile.encode(), alpn=[b"webrtc"])
        ours = against(bare, ours_is_client=ours_is_client, srtp_profiles=COMPAT)
        assert ours.established.srtp_profile == profile
        assert ours.established.alpn == "webrtc"


class TestExtendedMasterSecretDecoy:
    """H6: a forged ServerHello that promises the extended master secret changes nothing."""

    def test_the_decoy_does_not_pass_for_the_real_answer(self):
        genuine = BarePeer(client=False)
        probe = BarePeer(client=True)
        hellos = []
        play(probe, genuine, change=lambda up, d: (up or hellos.append(d), (d,))[1])
        decoy = hellos[0]  # a ServerHello with the extension, of another handshake
        for place in ("before", "after"):
            server = BarePeer(client=False, options=NO_EXTENDED_MASTER_SECRET)
            ours = Ours(client=True, digests=(server.certificate.digest,))
            told = []

            def inject(up, data, place=place, told=told):
                if up or told:
                    return (data,)
                told.append(1)
                return (decoy, data) if place == "before" else (data, decoy)

            play(ours, server, change=inject)
            assert ours.established is None
            if ours.failed is None:  # stalled: the deadline ends it
                ours.timeout(15.0)
            require_refused(ours)

    def test_control_the_same_peer_with_the_extension_connects(self):
        assert against(BarePeer(client=False), ours_is_client=True).established


class TestApplicationProtocol:
    """D2, H4: ALPN stripped, swapped or answered with garbage."""

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b"securecall-id/1", b"securecall-id/9"),
            (b"\x0fsecurecall-id/1\x06webrtc", b"\x0fsecurecall-xx/1\x06webrtc"),
            (b"\x00\x10\x00\x19\x00\x17\x0fsecurecall", b"\xfa\xfa\x00\x19\x00\x17\x0fsecurecall"),
        ],
    )
    def test_stripping_it_from_the_client_hello_breaks_the_handshake(self, old, new):
        client, server = pair()
        touched = []

        def strip(up, data):
            if up and old in data:
                touched.append(1)
            return (data.replace(old, new) if up else data,)

        play(client, server, change=strip)
        assert touched
        for end in (client, server):
            assert end.established is None
            if end.failed is None:
                end.timeout(15.0)
            require_refused(end)

    def test_control_unchanged_it_is_negotiated(self):
        client, server = pair()
        play(client, server)
        assert client.established.alpn == "securecall-id/1"

    @pytest.mark.parametrize("garbage", [b"garbage", b"securecall-id/2", b"h2"])
    def test_an_answer_that_was_never_offered_is_refused(self, garbage):
        ours = against(BarePeer(client=False, answer=garbage), ours_is_client=True)
        require_refused(ours)

    def test_control_the_same_server_answering_what_was_offered_connects(self):
        ours = against(BarePeer(client=False, answer=b"webrtc"), ours_is_client=True)
        assert ours.established.alpn == "webrtc"


class TestRenegotiation:
    """D8: the DTLS server renegotiates with another certificate."""

    def test_it_ends_the_association(self):
        server = BarePeer(client=False)
        ours = against(server, ours_is_client=True)
        assert ours.established
        play(server, ours, begin=False, seed=server.renegotiate(DtlsCertificate.generate()))
        assert ours.failed is not None
        assert ours.send(b"x") == []

    def test_a_client_cannot_begin_it_either(self):
        client = BarePeer(client=True)
        ours = against(client, ours_is_client=False)
        assert ours.established
        play(client, ours, begin=False, seed=client.renegotiate())
        assert ours.over

    def test_control_a_careless_client_accepts_the_new_certificate(self):
        client, server = BarePeer(client=True), BarePeer(client=False)
        play(client, server)
        before = client.connection.get_peer_certificate().to_cryptography()
        another = DtlsCertificate.generate()
        client.done = False
        play(server, client, begin=False, seed=server.renegotiate(another))
        after = client.connection.get_peer_certificate().to_cryptography()
        assert before != after == another.certificate


class TestNoCertificate:
    """A client that shows no certificate at all."""

    def test_it_is_refused(self):
        bare = BarePeer(client=True, show_certificate=False)
        require_refused(against(bare, ours_is_client=False))

    def test_control_a_careless_server_serves_it(self):
        client = BarePeer(client=True, show_certificate=False)
        server = BarePeer(client=False)
        play(client, server)
        assert server.done


class TestForgedPlaintext:
    """Whoever can inject plaintext records delays at most; nothing hangs beyond 15 seconds."""

    ALERT = b"\x15\xfe\xfd\x00\x00\xff\xff\xff\xff\xff\xf0\x00\x02\x02\x28"
    CCS = b"\x14\xfe\xfd\x00\x00\xff\xff\xff\xff\xff\xf0\x00\x01\x01"

    @pytest.mark.parametrize("forged", [ALERT, CCS, b"\x16" * 13, b"\x17" + b"\0" * 12])
    @pytest.mark.parametrize("place", [0, 1, 2, 3])
    def test_an_injected_record_never_hangs_or_crashes(self, forged, place):
        client, server = pair()
        count = []

        def inject(up, data):
            count.append(1)
            return (forged, data) if len(count) - 1 == place else (data,)

        play(client, server, change=inject)
        for end in (client, server):
            if end.established is None and end.failed is None:
                end.timeout(15.0)
            assert end.established or end.failed

    def test_after_the_handshake_forged_records_change_nothing(self):
        client, server = pair()
        play(client, server)
        play(client, server, begin=False, seed=[self.ALERT, self.CCS, b"\x16" * 64])
        play(client, server, begin=False, seed=client.send(b"still there"))
        assert server.got == [b"still there"]
        assert not server.over

    def test_repeating_old_handshake_records_is_answered_sparingly(self):
        client, server = pair()
        up = []
        play(client, server, change=lambda u, d: (u and up.append(d), (d,))[1])
        answers = sum(len(server.receive(up[-1], now=n / 100)) for n in range(1000))
        assert answers <= 16


@settings(max_examples=60)
@given(st.data())
def test_mutated_datagrams_never_crash_or_fool_an_end(data):
    client, server = pair()
    flips = data.draw(st.dictionaries(st.integers(0, 8), st.integers(0, 2**32), max_size=3))
    count = []

    def mutate(up, datagram):
        count.append(1)
        seed = flips.get(len(count) - 1)
        if seed is None:
            return (datagram,)
        changed = bytearray(datagram)
        changed[seed % len(changed)] ^= 1 + seed % 255
        return (bytes(changed[: len(changed) - seed % 3]),)

    play(client, server, change=mutate)
    a, b = client.established, server.established
    if a and b:
        assert a.send_key == b.receive_key
        assert a.outer_exporter == b.outer_exporter


@settings(max_examples=100)
@given(st.lists(st.binary(max_size=200), max_size=20), st.booleans())
def test_any_bytes_never_crash_an_end(datagrams, is_client):
    client, server = pair()
    end = client if is_client else server
    end.start()
    for datagram in datagrams:
        end.receive(datagram)
        end.receive(b"\x16\xfe\xfd" + datagram)
    assert end.established is None


class TestCallsShareAContext:
    """What settings make is made once in a process; nothing of one call may reach the next."""

    @staticmethod
    def resumed(serve):
        """A client offers the session of its first association for the second."""
        client = BarePeer(client=True)
        first = client.connection
        for again in (False, True):
            if again:
                client.connection, client.done = SSL.Connection(first.get_context()), False
                client.connection.set_ciphertext_mtu(1200)
                client.connection.set_connect_state()
                client.connection.set_session(first.get_session())
            play(client, serve(client))
            assert client.done and client.error is None
        return SSL._lib.SSL_session_reused(client.connection._ssl) == 1

    def test_a_session_of_one_call_is_none_in_the_next(self):
        def serve(client):
            ours = Ours(client=False, digests=(client.certificate.digest,))
            served.append(ours)
            return ours

        served = []
        assert not self.resumed(serve)
        shared = {id(ours.endpoint._channel._connection.get_context()) for ours in served}
        assert len(served) == 2 and len(shared) == 1
        assert all(ours.established for ours in served)

    def test_control_a_careless_server_resumes_it(self):
        server = BarePeer(client=False)
        context = server.connection.get_context()
        context._used = False  # what pyOpenSSL would not have changed any more
        context.set_session_id(b"calls")

        def serve(_client):
            server.connection, server.done = SSL.Connection(context), False
            server.connection.set_ciphertext_mtu(1200)
            server.connection.set_accept_state()
            return server

        assert self.resumed(serve)

    @ROLES
    def test_each_call_is_judged_by_its_own_fingerprints_and_shows_its_own_certificate(
        self, ours_is_client
    ):
        """Both under way at once, in turns; she has the certificate of the first call."""
        bobs = DtlsCertificate.generate()
        right, misled = (
            Ours(client=ours_is_client, digests=(digest,))
            for digest in (bobs.digest, wrong(bobs.digest))
        )
        peers = [BarePeer(client=not ours_is_client, certificate=bobs) for _ in range(2)]
        ways = [[right, peers[0]], [misled, peers[1]]]
        for way in ways:
            way.sort(key=lambda end: end in peers if ours_is_client else end not in peers)
        going = [first.start() for first, _ in ways]
        for turn in range(1, 9):
            for way, sent in zip(ways, going, strict=True):
                end = way[turn % 2]
                sent[:] = [d for datagram in sent for d in end.receive(datagram)]
        assert right.established is not None
        require_refused(misled, Reason.FINGERPRINT_MISMATCH)
        shown = peers[0].connection.get_peer_certificate(as_cryptography=True)
        assert shown == right.certificate.certificate
        contexts = [end.endpoint._channel._connection.get_context() for end in (right, misled)]
        assert contexts[0] is contexts[1]
        with pytest.raises(ValueError, match="Context"):
            contexts[0].use_certificate(bobs.certificate)
