"""DTLS peers without our protections: for the attacker, and for the controls beside her."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from OpenSSL import SSL

from securecall.media.description import Description
from securecall.rtp.srtp import SrtpProfile
from securecall.secret import Secret
from securecall.testing.evil_link import Keys, Spoke, is_client
from securecall.testing.evil_media import EvilMedia
from securecall.testing.evil_provider import LinkMaker
from securecall.transport.dtls import DtlsCertificate

NO_EXTENDED_MASTER_SECRET: Final = 1  # SSL_OP_NO_EXTENDED_MASTER_SECRET, bit 0
GCM: Final = b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256"
PROFILES: Final = b"SRTP_AEAD_AES_256_GCM:SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80"
_DTLS_1_2: Final = 0xFEFD
_SRTP_LABEL: Final = b"EXTRACTOR-dtls_srtp"


class BarePeer:
    """A DTLS end as a careless program would write it: any certificate will do.

    Attributes:
        done: The handshake is complete.
        error: What OpenSSL found wrong, None while nothing.
        got: Application data that came.
    """

    def __init__(
        self,
        *,
        client: bool,
        certificate: DtlsCertificate | None = None,
        ciphers: bytes = GCM,
        srtp: bytes | None = PROFILES,
        alpn: list[bytes] | None = None,
        options: int = 0,
        groups: bytes = b"",
        version: int = _DTLS_1_2,
        show_certificate: bool = True,
        answer: bytes = b"",
    ) -> None:
        """Prepare an end; `answer` is the protocol a server chooses, offered or not."""
        self.certificate = certificate or DtlsCertificate.generate()
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        context.set_cipher_list(ciphers)
        context.set_options(SSL.OP_NO_QUERY_MTU | options)
        if groups:
            _choose_groups(context, groups)
        if show_certificate:
            _show(context, self.certificate)
        if srtp:
            context.set_tlsext_use_srtp(srtp)
        if alpn and client:
            context.set_alpn_protos(alpn)
        if not client and (alpn or answer):

            def select(_c: object, offered: list[bytes]) -> bytes:
                if answer:
                    return answer
                common = next((p for p in alpn or () if p in offered), None)
                return SSL.NO_OVERLAPPING_PROTOCOLS if common is None else common  # type: ignore[return-value]

            context.set_alpn_select_callback(select)
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        self.connection = SSL.Connection(context)
        self.connection.set_ciphertext_mtu(1200)
        if client:
            self.connection.set_connect_state()
        else:
            self.connection.set_accept_state()
        self.done = False
        self.error: SSL.Error | None = None
        self.got: list[bytes] = []

    def start(self, now: float = 0.0) -> list[bytes]:
        """Begin; datagrams for the peer."""
        return self._step()

    def receive(self, datagram: bytes, now: float = 0.0) -> list[bytes]:
        """Take a datagram; datagrams for the peer."""
        _ = self.connection.bio_write(datagram)
        return self._step()

    def send(self, data: bytes) -> list[bytes]:
        """Application data as datagrams."""
        _ = self.connection.send(data)
        return self._output()

    def renegotiate(self, certificate: DtlsCertificate | None = None) -> list[bytes]:
        """Begin anew, with another certificate if one is given."""
        self.connection.set_verify(SSL.VERIFY_NONE, lambda *_: True)
        if certificate is not None:
            _show(self.connection, certificate)
        _ = self.connection.renegotiate()
        self.done = False
        return self._step()

    def export(self, label: bytes = _SRTP_LABEL, length: int = 88) -> bytes:
        """Keying material (RFC 5705)."""
        return bytes(self.connection.export_keying_material(label, length))

    def profile(self) -> str:
        """The SRTP profile agreed, "" for none."""
        return self.connection.get_selected_srtp_profile().decode()

    def _step(self) -> list[bytes]:
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

    def _output(self) -> list[bytes]:
        try:
            data = self.connection.bio_read(1 << 20)
        except SSL.WantReadError:
            return []
        return list(records(data))


class BareLink:
    """One leg of hers in a call: DTLS as careless as it can be."""

    deadline: float | None = None

    def __init__(self, peer: BarePeer, *, client: bool) -> None:
        """Speak for this end."""
        self.peer = peer
        self._client = client
        self._keyed = False

    def start(self, *, now: float) -> tuple[Spoke, ...]:
        """Begin."""
        return tuple(self.peer.start(now)) if self._client else ()

    def receive(self, datagram: bytes, *, now: float) -> tuple[Spoke, ...]:
        """Take a DTLS datagram of the victim."""
        spoken: list[Spoke] = list(self.peer.receive(datagram, now))
        if self.peer.done and not self._keyed:
            self._keyed = True
            if self.peer.profile() in SrtpProfile.__members__:
                spoken.append(srtp_keys(self.peer, client=self._client))
        return tuple(spoken)

    def expire(self, *, now: float) -> tuple[Spoke, ...]:
        """Nothing is sent again."""
        return ()

    def relay(self, data: bytes, *, now: float) -> tuple[Spoke, ...]:
        """Nothing is handed on."""
        return ()

    def close(self, *, now: float) -> tuple[Spoke, ...]:
        """No goodbye."""
        return ()


class MakeBare(Protocol):
    """Makes an end; as `BarePeer`, with its other settings chosen."""

    def __call__(self, *, client: bool, certificate: DtlsCertificate | None) -> BarePeer:
        """Make one."""
        ...


def bare_links(made: list[BareLink], make: MakeBare = BarePeer) -> LinkMaker:
    """Let `Mallory.link` speak careless DTLS; what is made goes into `made`, too."""

    def link(
        _offer: Description,
        answer: Description,
        media: EvilMedia,
        facing_caller: bool,  # noqa: FBT001 - a LinkMaker
    ) -> BareLink:
        client = is_client(answer, facing_caller=facing_caller)
        made.append(BareLink(make(client=client, certificate=media.certificate), client=client))
        return made[-1]

    return link


def srtp_keys(peer: BarePeer, *, client: bool) -> Keys:
    """The SRTP keys of a complete handshake, by the end that asks (RFC 5764 4.2)."""
    profile = SrtpProfile[peer.profile()]
    key, salt = profile.key_length, profile.salt_length
    material = peer.export(length=2 * (key + salt))
    keys = [material[:key], material[key : 2 * key]]
    salts = [material[2 * key : 2 * key + salt], material[2 * key + salt :]]
    first, second = (Secret(k + s) for k, s in zip(keys, salts, strict=True))
    if client:
        return Keys(profile=profile.name, send=first, receive=second)
    return Keys(profile=profile.name, send=second, receive=first)


class _End(Protocol):
    def start(self, now: float = ...) -> list[bytes]: ...
    def receive(self, datagram: bytes, now: float = ...) -> list[bytes]: ...


def _unchanged(_up: bool, datagram: bytes) -> Iterable[bytes]:  # noqa: FBT001
    return (datagram,)


def play(
    first: _End,
    second: _End,
    *,
    change: Callable[[bool, bytes], Iterable[bytes]] = _unchanged,
    begin: bool = True,
    seed: Iterable[bytes] = (),
) -> None:
    """Deliver everything between two ends until silence.

    Args:
        first: An end, as a rule the client.
        second: The other one.
        change: Sees each datagram (towards the second end: True) and says what arrives.
        begin: Both ends are to start.
        seed: Datagrams of the first end, on their way already.

    Raises:
        AssertionError: the two never fall silent.
    """
    queue = [(second, d) for d in seed]
    if begin:
        queue += [(second, d) for d in first.start()] + [(first, d) for d in second.start()]
    for _ in range(10_000):
        if not queue:
            return
        target, data = queue.pop(0)
        source = first if target is second else second
        for arriving in change(target is second, data):
            queue += [(source, d) for d in target.receive(arriving)]
    raise AssertionError("the two never fall silent")


def records(data: bytes) -> Iterator[bytes]:
    """Cut DTLS records apart, one datagram each."""
    while data:
        length = 13 + int.from_bytes(data[11:13], "big")
        yield data[:length]
        data = data[length:]


def _choose_groups(context: SSL.Context, groups: bytes) -> None:
    lib = SSL._lib  # type: ignore[attr-defined]  # noqa: SLF001 - as in transport.openssl
    if lib.SSL_CTX_set1_curves_list(context._context, groups) != 1:  # noqa: SLF001
        raise ValueError("OpenSSL knows no such group")


def _show(end: SSL.Context | SSL.Connection, certificate: DtlsCertificate) -> None:
    end.use_certificate(certificate.certificate)  # type: ignore[arg-type]
    end.use_privatekey(certificate.key)  # type: ignore[arg-type]
