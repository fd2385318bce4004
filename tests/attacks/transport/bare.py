"""DTLS peers without our protections: for attackers, and for the controls beside them."""

from __future__ import annotations

from OpenSSL import SSL

from securecall.transport.dtls import DtlsCertificate

NO_EXTENDED_MASTER_SECRET = 1  # SSL_OP_NO_EXTENDED_MASTER_SECRET, bit 0
GCM = b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256"
PROFILES = b"SRTP_AEAD_AES_256_GCM:SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80"


class BarePeer:
    """A DTLS end as a careless program would write it: any certificate will do."""

    def __init__(
        self,
        *,
        client,
        certificate=None,
        ciphers=GCM,
        srtp=PROFILES,
        alpn=None,
        options=0,
        groups=None,
        version=0xFEFD,
        show_certificate=True,
        answer=None,
    ):
        self.certificate = certificate or DtlsCertificate.generate()
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        context.set_cipher_list(ciphers)
        context.set_options(SSL.OP_NO_QUERY_MTU | options)
        if groups:
            assert SSL._lib.SSL_CTX_set1_curves_list(context._context, groups) == 1
        if show_certificate:
            context.use_certificate(self.certificate.certificate)
            context.use_privatekey(self.certificate.key)
        if srtp:
            context.set_tlsext_use_srtp(srtp)
        if alpn and client:
            context.set_alpn_protos(alpn)
        if not client and (alpn or answer):

            def select(_c, offered):
                if answer:
                    return answer
                common = next((p for p in alpn if p in offered), None)
                return SSL.NO_OVERLAPPING_PROTOCOLS if common is None else common

            context.set_alpn_select_callback(select)
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        self.connection = SSL.Connection(context)
        self.connection.set_ciphertext_mtu(1200)
        if client:
            self.connection.set_connect_state()
        else:
            self.connection.set_accept_state()
        self.done = False
        self.error = None
        self.got = []

    def start(self, now=0.0):
        return self._step()

    def receive(self, datagram, now=0.0):
        self.connection.bio_write(datagram)
        return self._step()

    def send(self, data):
        self.connection.send(data)
        return self._output()

    def renegotiate(self, certificate=None):
        self.connection.set_verify(SSL.VERIFY_NONE, lambda *_: True)
        if certificate is not None:
            self.connection.use_certificate(certificate.certificate)
            self.connection.use_privatekey(certificate.key)
        self.connection.renegotiate()
        self.done = False
        return self._step()

    def export(self, label=b"EXTRACTOR-dtls_srtp", length=88):
        return self.connection.export_keying_material(label, length)

    def _step(self):
        try:
            if not self.done:
                self.connection.do_handshake()
                self.done = True
            while True:
                self.got.append(self.connection.recv(16384))
        except SSL.WantReadError:
            pass
        except SSL.Error as e:
            self.error = e
        return self._output()

    def _output(self):
        try:
            data = self.connection.bio_read(1 << 20)
        except SSL.WantReadError:
            return []
        return list(records(data))


def records(data):
    """Cut DTLS records apart, one datagram each."""
    while data:
        length = 13 + int.from_bytes(data[11:13], "big")
        yield data[:length]
        data = data[length:]
