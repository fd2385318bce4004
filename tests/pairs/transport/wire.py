"""Carries datagrams between DTLS ends of any make, at once and without loss."""

from __future__ import annotations

from securecall.testing.bare_dtls import play as play
from securecall.transport.dtls import (
    ApplicationData,
    CertificateDigest,
    Closed,
    DtlsCertificate,
    DtlsEndpoint,
    DtlsRole,
    Established,
    Failed,
    SendDatagram,
)


class Ours:
    """A `DtlsEndpoint` that remembers what it said."""

    def __init__(self, *, client, digests, certificate=None, **settings):
        self.certificate = certificate or DtlsCertificate.generate()
        self.endpoint = DtlsEndpoint(
            role=DtlsRole.CLIENT if client else DtlsRole.SERVER,
            certificate=self.certificate,
            remote_digests=digests,
            **settings,
        )
        self.outputs = []

    def _take(self, outputs):
        self.outputs += [o for o in outputs if not isinstance(o, SendDatagram)]
        return [o.data for o in outputs if isinstance(o, SendDatagram)]

    def start(self, now=0.0):
        return self._take(self.endpoint.start(now))

    def receive(self, datagram, now=0.0):
        return self._take(self.endpoint.receive(datagram, now))

    def timeout(self, now):
        return self._take(self.endpoint.timeout(now))

    def send(self, data):
        return self._take(self.endpoint.send(data))

    def close(self):
        return self._take(self.endpoint.close())

    def _only(self, kind):
        return next((o for o in self.outputs if isinstance(o, kind)), None)

    @property
    def established(self):
        return self._only(Established)

    @property
    def failed(self):
        return self._only(Failed)

    @property
    def closed(self):
        return self._only(Closed) is not None

    @property
    def over(self):
        return self.closed or self.failed is not None

    @property
    def got(self):
        return [o.data for o in self.outputs if isinstance(o, ApplicationData)]


def pair(*, client=None, server=None):
    """Two of ours who know each other's certificates."""
    a, b = DtlsCertificate.generate(), DtlsCertificate.generate()
    return (
        Ours(client=True, certificate=a, digests=(b.digest,), **(client or {})),
        Ours(client=False, certificate=b, digests=(a.digest,), **(server or {})),
    )


def wrong(digest: CertificateDigest) -> CertificateDigest:
    return CertificateDigest(digest.algorithm, bytes([digest.value[0] ^ 1]) + digest.value[1:])
