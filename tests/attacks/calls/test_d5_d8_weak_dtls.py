"""D5, D8: in the call, a DTLS peer that negotiates less, or a new certificate later.

The people here talk in the danger mode, where Mallory is accepted as the peer: what remains between
her and the call is DTLS itself.
"""

from __future__ import annotations

import asyncio

import pytest

from securecall.calls.machine import State
from securecall.errors import Reason, SecurityError
from securecall.media.description import Description
from securecall.secret import Secret
from securecall.testing.evil_link import Keys, is_client
from securecall.testing.evil_media import CALLEE
from securecall.testing.mallory import Mode
from securecall.transport.dtls import DtlsCertificate
from tests.attacks.calls.cast import PLAIN, stage
from tests.attacks.transport.bare import NO_EXTENDED_MASTER_SECRET, BarePeer


class BareLink:
    """Mallory's DTLS, as careless as it can be."""

    deadline = None

    def __init__(self, answer: Description, media, facing_caller: bool, **settings):
        self._client = is_client(answer, facing_caller=facing_caller)
        self.peer = BarePeer(client=self._client, certificate=media.certificate, **settings)
        self._keyed = False

    def start(self, *, now):
        return tuple(self.peer.start()) if self._client else ()

    def receive(self, datagram, *, now):
        spoken = list(self.peer.receive(datagram))
        if self.peer.done and not self._keyed:
            self._keyed = True
            profile = self.peer.connection.get_selected_srtp_profile().decode()
            if profile == "SRTP_AEAD_AES_256_GCM":
                spoken.append(self._keys(profile))
        return tuple(spoken)

    def expire(self, *, now):
        return ()

    def relay(self, data, *, now):
        return ()

    def close(self, *, now):
        return ()

    def _keys(self, profile):
        material = self.peer.export()
        client = Secret(material[:32] + material[64:76])
        server = Secret(material[32:64] + material[76:88])
        if self._client:
            return Keys(profile=profile, send=client, receive=server)
        return Keys(profile=profile, send=server, receive=client)


def bare(links, **settings):
    def make(offer, answer, media, facing_caller):
        links.append(BareLink(answer, media, facing_caller, **settings))
        return links[-1]

    return make


def test_control_a_careless_peer_with_sound_parameters_is_talked_to_and_hears(tmp_path):
    async def run():
        async with stage(tmp_path, policy=PLAIN, acquainted=False, mode=Mode.SWAP) as s:
            s.mallory.link = bare([])
            await s.dial(seconds=0.2)
            assert s.error is None
            assert s.mallory.bytes_decrypted > 0

    asyncio.run(run())


WEAK = {
    "short tags": {"srtp": b"SRTP_AES128_CM_SHA1_32"},
    "no srtp": {"srtp": None},
    "cbc": {"ciphers": b"ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA"},
    "no extended master secret": {"options": NO_EXTENDED_MASTER_SECRET},
    "dtls 1.0": {"ciphers": b"ALL:@SECLEVEL=0", "version": 0xFEFF},
}


@pytest.mark.parametrize("settings", WEAK.values(), ids=WEAK.keys())
def test_d5_a_peer_that_negotiates_less_is_refused_even_in_the_danger_mode(tmp_path, settings):
    async def run():
        async with stage(tmp_path, policy=PLAIN, acquainted=False, mode=Mode.SWAP) as s:
            s.mallory.link = bare([], **settings)
            await s.dial()
            s.assert_refused(Reason.WEAK_SUITE, Reason.HANDSHAKE_FAILED)
            s.assert_no_media_left_anybody()

    asyncio.run(run())


def test_d8_a_new_certificate_by_renegotiation_ends_the_call(tmp_path):
    async def run():
        async with stage(tmp_path, policy=PLAIN, acquainted=False, mode=Mode.SWAP) as s:
            links = []
            s.mallory.link = bare(links)

            async def renegotiate(call):
                server = links[CALLEE]
                for datagram in server.peer.renegotiate(DtlsCertificate.generate()):
                    s.mallory.last_media.send(CALLEE, datagram)
                with pytest.raises(SecurityError):
                    await s.bob.calls[0].ended()

            await s.dial(during=renegotiate)
            assert s.call.state is s.bob.calls[0].state is State.ENDED
            assert s.bob.errors

    asyncio.run(run())
