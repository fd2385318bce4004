"""What the attacker can run inside DTLS: relay the inner handshake, leave it out, or act it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Protocol

from securecall.address import Address, Scheme
from securecall.calls.link import (
    LinkFailed,
    LinkIdentity,
    LinkOutput,
    PeerClosed,
    Secured,
    SecureLink,
    Transmit,
)
from securecall.calls.negotiation import Agreement
from securecall.errors import UsageError
from securecall.keys.device import DeviceKey
from securecall.keys.handshake import CallRole, PeerClaim
from securecall.keys.identity import RootKey
from securecall.keys.statement import build_statement
from securecall.media.description import Description, Setup
from securecall.secret import Secret
from securecall.transport import dtls
from securecall.transport.dtls import (
    COMPAT,
    IDENTITY_PROTOCOL,
    WEBRTC_PROTOCOL,
    CertificateDigest,
    DtlsCertificate,
    DtlsEndpoint,
    DtlsRole,
)


class Inner(enum.StrEnum):
    """What she does where a victim asks for the identity handshake.

    RELAY: choose it, and carry its records between her two DTLS associations.
    STRIP: answer DTLS without it.
    IMPERSONATE: run it on each leg with a root key of her own.
    """

    RELAY = "relay-inner"
    STRIP = "strip"
    IMPERSONATE = "impersonate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What one leg gave her.

    Attributes:
        profile: Of SRTP.
        send, receive: SRTP master keys.
        sealed: The victim seals its frames with keys of the inner handshake.
        frames_in: SFrame base keys of the victim by KID; empty where she has none.
        frames_out: Her own SFrame base key towards the victim.
    """

    profile: str
    send: Secret = field(repr=False)
    receive: Secret = field(repr=False)
    sealed: bool = False
    frames_in: tuple[Secret, ...] = field(default=(), repr=False)
    frames_out: Secret | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Relayed:
    """Application data for the other leg."""

    data: bytes


Spoke = bytes | Keys | Relayed | str
"""A datagram to send, keys, data for the other leg, or a word for the log."""


class EvilLink(Protocol):
    """One leg's DTLS as the relay drives it."""

    @property
    def deadline(self) -> float | None:
        """When `expire` wants to be called."""
        ...

    def start(self, *, now: float) -> tuple[Spoke, ...]:
        """Begin."""
        ...

    def receive(self, datagram: bytes, *, now: float) -> tuple[Spoke, ...]:
        """Take a DTLS datagram of the victim."""
        ...

    def expire(self, *, now: float) -> tuple[Spoke, ...]:
        """Run timers."""
        ...

    def relay(self, data: bytes, *, now: float) -> tuple[Spoke, ...]:
        """Take application data that came over the other leg."""
        ...

    def close(self, *, now: float) -> tuple[Spoke, ...]:
        """Say goodbye."""
        ...


def is_client(answer: Description, *, facing_caller: bool) -> bool:
    """Say whether she begins DTLS on this leg, by the callee's a=setup."""
    audio = answer.audio
    callee_active = audio is not None and audio.setup is Setup.ACTIVE
    return callee_active == facing_caller


class PassingLink:
    """Ends DTLS and hands application data on as it is."""

    def __init__(self, victim: Description, certificate: DtlsCertificate, *, client: bool) -> None:
        """Prepare one leg."""
        self._endpoint = DtlsEndpoint(
            role=DtlsRole.CLIENT if client else DtlsRole.SERVER,
            certificate=certificate,
            remote_digests=digests_of(victim),
            alpn=(IDENTITY_PROTOCOL, WEBRTC_PROTOCOL),
            srtp_profiles=COMPAT,
        )
        self._established = False
        self._waiting: list[bytes] = []

    @property
    def deadline(self) -> float | None:
        """When `expire` wants to be called."""
        return self._endpoint.deadline

    def start(self, *, now: float) -> tuple[Spoke, ...]:
        """Begin."""
        return self._spoken(self._endpoint.start(now))

    def receive(self, datagram: bytes, *, now: float) -> tuple[Spoke, ...]:
        """Take a DTLS datagram of the victim."""
        return self._spoken(self._endpoint.receive(datagram, now))

    def expire(self, *, now: float) -> tuple[Spoke, ...]:
        """Run timers."""
        return self._spoken(self._endpoint.timeout(now))

    def relay(self, data: bytes, *, now: float) -> tuple[Spoke, ...]:
        """Take application data that came over the other leg."""
        if not self._established:
            self._waiting.append(data)
            return ()
        return self._spoken(self._endpoint.send(data))

    def close(self, *, now: float) -> tuple[Spoke, ...]:
        """Say goodbye."""
        return self._spoken(self._endpoint.close())

    def _spoken(self, outputs: tuple[dtls.Output, ...]) -> tuple[Spoke, ...]:
        spoken: list[Spoke] = []
        for output in outputs:
            match output:
                case dtls.SendDatagram(data=data):
                    spoken.append(data)
                case dtls.ApplicationData(data=data):
                    spoken.append(Relayed(data))
                case dtls.Established():
                    self._established = True
                    spoken.append(
                        Keys(
                            profile=output.srtp_profile,
                            send=output.send_key,
                            receive=output.receive_key,
                            sealed=output.alpn == IDENTITY_PROTOCOL,
                        )
                    )
                    for data in self._waiting:
                        spoken += self._spoken(self._endpoint.send(data))
                    self._waiting.clear()
                case dtls.Failed(error=error):
                    spoken.append(f"failed: {error}")
                case dtls.Closed():
                    spoken.append("closed")
        return tuple(spoken)


class ActingLink:
    """Ends DTLS and plays the other person, with her own identity or with none."""

    def __init__(
        self,
        victim: Description,
        answer: Description,
        certificate: DtlsCertificate,
        identity: LinkIdentity | None,
        *,
        facing_caller: bool,
        nonce: bytes,
        unix: int,
    ) -> None:
        """Prepare one leg."""
        audio = victim.audio
        if audio is None:
            raise ValueError("no audio")
        digest = certificate.digest
        self._outgoing = not facing_caller
        self._link = SecureLink(
            Agreement(
                codec=audio.codecs[0],
                receive=audio.codecs,
                mid=audio.mid,
                dtls_client=is_client(answer, facing_caller=facing_caller),
                remote_fingerprints=audio.fingerprints,
                sent=(f"{digest.algorithm} {digest.value.hex(':').upper()}",),
                received=tuple(str(f) for f in victim.all_fingerprints),
                host=audio.host,
                port=audio.port,
                ice=False,
            ),
            certificate,
            identity,
            outgoing=self._outgoing,
            nonce=nonce,
            unix=unix,
            strict=False,
        )

    @property
    def deadline(self) -> float | None:
        """When `expire` wants to be called."""
        return self._link.deadline

    def start(self, *, now: float) -> tuple[Spoke, ...]:
        """Begin."""
        return self._spoken(self._link.start(now=now))

    def receive(self, datagram: bytes, *, now: float) -> tuple[Spoke, ...]:
        """Take a DTLS datagram of the victim."""
        try:
            return self._spoken(self._link.receive(datagram, now=now))
        except UsageError as e:  # where nobody was named she cannot act a caller
            return (f"failed: {e}",)

    def expire(self, *, now: float) -> tuple[Spoke, ...]:
        """Run timers."""
        return self._spoken(self._link.expire(now=now))

    def relay(self, data: bytes, *, now: float) -> tuple[Spoke, ...]:
        """Take application data that came over the other leg."""
        return ()

    def close(self, *, now: float) -> tuple[Spoke, ...]:
        """Say goodbye."""
        return self._spoken(self._link.close(now=now))

    def _spoken(self, outputs: tuple[LinkOutput, ...]) -> tuple[Spoke, ...]:
        spoken: list[Spoke] = []
        for output in outputs:
            match output:
                case Transmit(datagram=datagram):
                    spoken.append(datagram)
                case Secured():
                    spoken.append(self._keys(output))
                case LinkFailed(error=error):
                    spoken.append(f"failed: {error}")
                case PeerClosed():
                    spoken.append("closed")
                case _:
                    pass
        return tuple(spoken)

    def _keys(self, secured: Secured) -> Keys:
        media, result = secured.keys, secured.identity
        if result is None:
            return Keys(profile=media.profile, send=media.send, receive=media.receive)
        ours = CallRole.CALLER if self._outgoing else CallRole.CALLEE
        theirs = CallRole.CALLEE if self._outgoing else CallRole.CALLER
        return Keys(
            profile=media.profile,
            send=media.send,
            receive=media.receive,
            sealed=True,
            frames_in=tuple(result.sframe_key(theirs, kid) for kid in range(8)),
            frames_out=result.sframe_key(ours, 0),
        )


class FalseSelf:
    """A root and a device of her own, ready to claim anybody's address.

    Attributes:
        root: Her root key.
        met: What was claimed, and proved, to her.
    """

    def __init__(self) -> None:
        """Make both."""
        self.root = RootKey.generate()
        self.met: list[PeerClaim] = []
        self._device = DeviceKey.generate("mallory")

    def identity(self, *, claimed: Address, peer: Address, unix: int) -> LinkIdentity:
        """Claim one person's address towards another; believes anything in return.

        Where the signalling names nobody (a direct call), she can only claim her own key.
        """
        if claimed.host.endswith(".invalid"):
            claimed = Address(Scheme.KEY, self.root.fingerprint.hex())
        expected = "" if peer.host.endswith(".invalid") else str(peer)
        return LinkIdentity(
            statement=build_statement(
                self.root,
                seq=unix * 1000,
                iat=unix,
                exp=unix + 86_400,
                addresses=(claimed,),
                devices=(self._device,),
            ),
            device=self._device,
            root_fp=self.root.fingerprint,
            own_address=str(claimed),
            expected_peer=expected,
            judge=self.met.append,
        )


def digests_of(victim: Description) -> tuple[CertificateDigest, ...]:
    """The victim's certificate digests, as its description has them."""
    return tuple(CertificateDigest(f.algorithm, f.value) for f in victim.all_fingerprints)
