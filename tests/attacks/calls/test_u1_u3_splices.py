"""U1, U3: calls led to somebody else, and calls led back to their caller."""

from __future__ import annotations

import asyncio

import pytest

from securecall.errors import Reason
from securecall.policy import Policy
from securecall.testing import attacks
from securecall.testing.mallory import Mode
from tests.attacks.calls.cast import PROVIDER, person, stage

MALLORY = f"sip:mallory@{PROVIDER}"


@pytest.mark.parametrize("hide_caller", [False, True], ids=["from alice", "from mallory"])
def test_a_call_to_a_contact_cannot_be_answered_by_another(tmp_path, hide_caller):
    """Mallory is a contact of both. Alice calls her; she leads the call on, fingerprints intact."""

    async def run():
        async with (
            stage(tmp_path, mode=Mode.TAP) as s,
            person(tmp_path, "mallory", s.mallory, Policy()) as she,
        ):
            s.alice.knows(she)
            s.bob.knows(she)
            bobs = s.mallory.proxy.ways[f"bob@{PROVIDER}"]
            s.mallory.route(MALLORY, bobs.host, bobs.port, name=bobs.name, target=s.bob.sip)
            if hide_caller:
                s.mallory.tamper.append(pose_as_mallory)
            await s.dial(to=MALLORY)
            s.assert_refused(
                Reason.ADDRESS_NOT_OWNED, Reason.IDENTITY_CHANGED, Reason.IDENTITY_MISMATCH
            )
            assert s.answering_began
            s.assert_no_media_left_anybody()

    asyncio.run(run())


def pose_as_mallory(message, dialogue, to_callee):
    """The caller's From becomes hers on the way out, and his again on the way back."""
    theirs, hers = f"alice@{PROVIDER}", f"mallory@{PROVIDER}"
    key = "From" if message.from_.tag == dialogue.caller_tag else "To"
    value = message.headers.first(key.lower())
    swapped = value.replace(theirs, hers) if to_callee else value.replace(hers, theirs)
    message.headers.replace(key, swapped)
    return message


def test_a_call_led_back_to_its_caller_is_refused(tmp_path):
    async def run():
        async with stage(tmp_path, mode=Mode.TAP) as s:
            own = s.mallory.proxy.ways[f"alice@{PROVIDER}"]
            s.mallory.route(s.bob.sip, own.host, own.port, name=own.name)
            s.bob.client = s.alice.client  # who answers is Alice herself
            await s.dial()
            s.assert_refused(Reason.SELF_IDENTITY, Reason.ADDRESS_NOT_OWNED)
            s.assert_no_media_left_anybody()

    asyncio.run(run())


def test_a_call_to_oneself_is_refused(tmp_path):
    async def run():
        async with stage(tmp_path, mode=Mode.TAP) as s:
            s.bob.client = s.alice.client
            await s.dial(to=s.alice.sip)
            s.assert_refused(Reason.SELF_IDENTITY)

    asyncio.run(run())


def test_an_answer_with_the_callers_own_fingerprint_is_refused(tmp_path):
    async def run():
        async with stage(tmp_path, mode=Mode.TAP) as s:
            offered = []

            def reflect(sdp, to_callee):
                if to_callee:
                    offered[:] = attacks.fingerprints_of(sdp)
                    return sdp
                return attacks.fingerprints(*offered)(sdp)

            s.mallory.tamper_sdp.append(reflect)
            await s.dial()
            s.assert_refused(Reason.SELF_IDENTITY)
            s.assert_no_media_left_anybody()

    asyncio.run(run())


def test_an_offer_handed_back_as_its_answer_is_refused(tmp_path):
    async def run():
        async with stage(tmp_path, mode=Mode.TAP) as s:
            offers = []

            def reflect(message, dialogue, to_callee):
                if to_callee:
                    offers.append(message.body)
                elif message.body:
                    message.body = offers[0].replace(b"a=setup:actpass", b"a=setup:active")
                return message

            s.mallory.tamper.append(reflect)
            await s.dial()
            s.assert_refused(Reason.SELF_IDENTITY)
            s.assert_no_media_left_anybody()

    asyncio.run(run())
