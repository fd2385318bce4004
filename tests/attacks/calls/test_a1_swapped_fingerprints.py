"""A1, H1: a provider in the middle that swaps fingerprints and ends DTLS on both legs."""

from __future__ import annotations

import asyncio

import pytest

from securecall.errors import DowngradeError, IdentityChanged, PolicyRefused, Reason, SecurityError
from securecall.policy import SecurityLevel
from securecall.testing.evil_link import Inner
from securecall.testing.mallory import Mode
from tests.attacks.calls.cast import ALICE_HERTZ, BOB_HERTZ, PLAIN, loudness, stage


@pytest.mark.parametrize("inner", list(Inner))
def test_control_she_hears_a_call_that_is_only_encrypted(tmp_path, inner):
    async def run():
        async with stage(
            tmp_path, policy=PLAIN, acquainted=False, mode=Mode.SWAP, inner=inner
        ) as s:
            call = await s.dial()
            assert s.error is None
            assert s.bob.errors == []
            assert call.security.level is SecurityLevel.HOP_BY_HOP
            assert s.mallory.bytes_decrypted > 0
            assert s.mallory.decryptable == s.mallory.bytes_decrypted
            # complete as soon as the call is over
            (recording,) = s.mallory.recordings
            assert loudness(recording, 0, ALICE_HERTZ) > 0.5
            assert loudness(recording, 1, BOB_HERTZ) > 0.5
            assert loudness(recording, 0, BOB_HERTZ) < 0.1

    asyncio.run(run())


@pytest.mark.parametrize("inner", list(Inner))
def test_acquainted_people_are_not_connected_through_her(tmp_path, inner):
    async def run():
        async with stage(tmp_path, mode=Mode.SWAP, inner=inner) as s:
            await s.dial()
            s.assert_refused(*EXPECTED[inner])
            s.assert_no_media_left_anybody()

    asyncio.run(run())


EXPECTED = {
    Inner.RELAY: (Reason.BINDING_MISMATCH, Reason.IDENTITY_MISMATCH, Reason.FINGERPRINT_MISMATCH),
    Inner.STRIP: (Reason.DOWNGRADE,),
    Inner.IMPERSONATE: (Reason.IDENTITY_CHANGED,),
}


def test_the_caller_is_told_in_kind_what_was_wrong(tmp_path):
    async def run():
        kinds = {}
        for inner in (Inner.STRIP, Inner.IMPERSONATE):
            async with stage(tmp_path / inner.value, mode=Mode.SWAP, inner=inner) as s:
                await s.dial()
                kinds[inner] = type(s.error)
        assert kinds == {Inner.STRIP: DowngradeError, Inner.IMPERSONATE: IdentityChanged}

    asyncio.run(run())


@pytest.mark.parametrize("inner", [Inner.RELAY, Inner.STRIP])
def test_strangers_are_not_connected_through_her_without_a_proof_of_identity(tmp_path, inner):
    async def run():
        async with stage(tmp_path, acquainted=False, mode=Mode.SWAP, inner=inner) as s:
            await s.dial()
            s.assert_refused(
                *{Inner.RELAY: EXPECTED[Inner.RELAY]}.get(inner, (Reason.IDENTITY_MISSING,))
            )
            assert isinstance(s.error, SecurityError if inner is Inner.RELAY else PolicyRefused)
            s.assert_no_media_left_anybody()

    asyncio.run(run())


def test_first_contact_with_an_impostor_is_labelled_and_the_words_differ(tmp_path):
    """No protocol can prevent this one; it can say so, and give words to compare."""

    async def run():
        async with stage(tmp_path, acquainted=False, mode=Mode.SWAP, inner=Inner.IMPERSONATE) as s:
            words = []

            async def compare(call):
                words.extend((call.sas.words, s.bob.calls[0].sas.words))

            call = await s.dial(during=compare)
            assert s.error is None
            for end in (call, s.bob.calls[0]):
                assert end.security.level is SecurityLevel.OPPORTUNISTIC
                assert not end.security.is_e2ee
            assert "listen" in call.security.level.words
            assert words[0] != words[1]
            assert s.mallory.bytes_decrypted > 0  # as labelled: somebody in between could listen

    asyncio.run(run())
