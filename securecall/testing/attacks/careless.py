"""The victims of the controls: phones that do what descriptions and certificates tell them."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Final

from securecall.media import g711
from securecall.media.endpoints import ToneSource
from securecall.rtp.packet import rtp_header, split_rtp
from securecall.rtp.srtp import SrtpProfile, SrtpSession
from securecall.secret import Secret
from securecall.testing.attacks.outcome import Outcome
from securecall.testing.attacks.stage import ALICE_HERTZ
from securecall.testing.bare_dtls import BarePeer, MakeBare, play, srtp_keys
from securecall.testing.edits import SdpEdit
from securecall.transport.dtls import DtlsCertificate

_PACKETS: Final = 20
_OWN_KEY: Final = bytes(reversed(range(30)))  # what the obedient phone would answer with
_OFFER: Final = "\r\n".join(
    (
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        "s=-",
        "c=IN IP4 127.0.0.1",
        "t=0 0",
        "m=audio 4000 UDP/TLS/RTP/SAVP 0",
        "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
        "a=setup:actpass",
        "a=rtcp-mux",
        "",
    )
)


def speech() -> list[bytes]:
    """RTP packets of Alice's tone as PCMU, not encrypted."""
    tone, compress = ToneSource(ALICE_HERTZ), g711.compressor("PCMU")
    return [
        rtp_header(0, number, 160 * number, 1) + compress(tone.read(160, 8000) or bytes(320))
        for number in range(_PACKETS)
    ]


def payload(packet: bytes) -> bytes:
    """The sound in an RTP packet."""
    return split_rtp(packet)[-1]


async def any_certificate(folder: Path, make: MakeBare = BarePeer) -> Outcome:  # noqa: ARG001
    """Two ends that look at no fingerprint, and she between them with her own certificate."""
    alice, to_alice = make(client=True, certificate=None), make(client=False, certificate=None)
    to_bob, bob = make(client=True, certificate=None), make(client=False, certificate=None)
    play(alice, to_alice)
    play(to_bob, bob)
    outcome = Outcome()
    outcome.demand(alice.done and bob.done, "they did not even connect")
    if not outcome.problems:
        theirs, hers = srtp_keys(alice, client=True), srtp_keys(to_alice, client=False)
        profile = SrtpProfile[theirs.profile]
        speaker = SrtpSession(profile, theirs.send, theirs.receive)
        listener = SrtpSession(profile, hers.send, hers.receive)
        heard = [payload(listener.unprotect(speaker.protect(packet))) for packet in speech()]
        outcome.readable = sum(map(len, heard))
        outcome.demand(heard == [payload(packet) for packet in speech()], "she heard nothing")
    outcome.got = f"both ends took her certificate: {outcome.readable:,} bytes heard"
    return outcome


async def renegotiated(folder: Path) -> Outcome:  # noqa: ARG001
    """A client that takes another certificate in the middle of its association."""
    client, server = BarePeer(client=True), BarePeer(client=False)
    play(client, server)
    before = client.connection.get_peer_certificate()
    hers = DtlsCertificate.generate()
    client.done = False
    play(server, client, begin=False, seed=server.renegotiate(hers))
    after = client.connection.get_peer_certificate()
    outcome = Outcome(got="the certificate changed in mid-call, and nobody noticed")
    changed = after is not None and after.to_cryptography() == hers.certificate
    outcome.demand(before is not None and changed, "the certificate did not change")
    return outcome


async def obedient(edit: SdpEdit, folder: Path) -> Outcome:  # noqa: ARG001
    """A phone that encrypts as the description says, which she wrote."""
    wire, outcome = _as_told(edit(_OFFER)), Outcome()
    outcome.demand(wire, "it sent nothing")
    heard = _read(edit(_OFFER), wire)
    outcome.readable = sum(map(len, heard))
    outcome.demand(heard == [payload(packet) for packet in speech()], "she heard nothing")
    outcome.got = f"it sent what she asked for: {outcome.readable:,} bytes heard"
    return outcome


def _key_in(sdp: str) -> Secret | None:
    found = re.search(r"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:(\S+)", sdp)
    return Secret(base64.b64decode(found[1])) if found else None


def _as_told(sdp: str) -> list[bytes]:
    key = _key_in(sdp)
    if key is not None:
        session = SrtpSession(SrtpProfile.SRTP_AES128_CM_SHA1_80, key, Secret(_OWN_KEY))
        return [session.protect(packet) for packet in speech()]
    return speech() if "RTP/AVP" in sdp else []


def _read(sdp: str, wire: list[bytes]) -> list[bytes]:
    """What she makes of it, with nothing but the description and what is on the wire."""
    key = _key_in(sdp)
    if key is not None:
        session = SrtpSession(SrtpProfile.SRTP_AES128_CM_SHA1_80, Secret(_OWN_KEY), key)
        wire = [session.unprotect(packet) for packet in wire]
    return [payload(packet) for packet in wire]
