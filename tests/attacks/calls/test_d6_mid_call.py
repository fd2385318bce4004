"""D6: in mid-call the provider asks for other keys, no keys, another place, another person."""

from __future__ import annotations

import asyncio

import pytest

from securecall.calls.machine import State
from securecall.events import CallChangeRefused
from securecall.policy import SecurityLevel
from securecall.testing import attacks
from securecall.testing.mallory import Mode
from tests.attacks.calls.cast import stage


def hold(sdp):
    """What an honest provider may ask: other direction, same keys."""
    assert "a=sendrecv" in sdp
    return sdp.replace("a=sendrecv", "a=sendonly")


CHANGES = {
    "new fingerprint": attacks.fingerprints(attacks.random_fingerprint()),
    "another fingerprint besides": attacks.add_fingerprints(attacks.random_fingerprint()),
    "hold without encryption": lambda sdp: attacks.plain_rtp(hold(sdp)),
    "keys in signalling": attacks.sdes(bytes(30)),
    "no fingerprint": attacks.strip_fingerprint,
}


def sent_sdp(s, *, to_callee):
    """The description this victim got."""
    (first, *_) = [
        data.partition(b"\r\n\r\n")[2].decode()
        for towards, data in s.mallory.proxy.transcript
        if towards == to_callee and b"application/sdp" in data
    ]
    return first


async def require_unchanged(s, call):
    """Both ends go on, as authenticated, and hear each other."""
    for end in (call, s.bob.calls[0]):
        assert end.state is State.ACTIVE
        assert end.security.level is SecurityLevel.E2EE
        await s.hear_more(end)


@pytest.mark.parametrize(
    ("name", "method", "to_callee"),
    [(name, "INVITE", to_callee) for name in CHANGES for to_callee in (True, False)]
    + [("new fingerprint", "UPDATE", True)],
)
def test_a_change_of_keys_is_refused_and_the_authenticated_call_goes_on(
    tmp_path, name, method, to_callee
):
    async def run():
        async with stage(tmp_path, mode=Mode.TAP) as s:

            async def inject(call):
                offer = CHANGES[name](sent_sdp(s, to_callee=to_callee))
                response = await s.mallory.proxy.inject(
                    s.mallory.last_call, method, to_callee=to_callee, body=offer.encode()
                )
                assert response.status == 488
                await require_unchanged(s, call)

            await s.dial(during=inject)
            assert s.error is None
            assert s.bob.errors == []
            s.assert_nothing_was_heard()

    asyncio.run(run())


async def answered_offerless(s, change):
    """The provider asks Bob for an offer, and puts its own answer into the ACK."""
    answer = change(sent_sdp(s, to_callee=True)).replace("actpass", "active")
    response = await s.mallory.proxy.inject(
        s.mallory.last_call, "INVITE", to_callee=True, answer_in_ack=answer.encode()
    )
    assert response.status == 200


@pytest.mark.parametrize("name", ["new fingerprint", "hold without encryption"])
def test_other_keys_in_an_answer_that_nobody_can_refuse_change_nothing(tmp_path, name):
    async def run():
        async with stage(tmp_path, mode=Mode.TAP) as s:

            async def inject(call):
                events = s.bob.client.events()
                await answered_offerless(s, CHANGES[name])
                async for event in events:
                    if isinstance(event, CallChangeRefused):
                        break
                await events.aclose()
                await require_unchanged(s, call)

            await s.dial(during=inject)
            assert s.error is None
            assert s.bob.errors == []
            s.assert_nothing_was_heard()

    asyncio.run(run())


def test_control_the_same_answer_with_the_same_keys_takes_effect(tmp_path):
    async def run():
        async with stage(tmp_path, mode=Mode.TAP) as s:

            async def inject(call):
                await answered_offerless(s, hold)
                await s.hear_more(s.bob.calls[0])
                # Bob sends no more, so his answer to the next offer says that he only listens
                offer = hold(sent_sdp(s, to_callee=True))
                response = await s.mallory.proxy.inject(
                    s.mallory.last_call, "INVITE", to_callee=True, body=offer.encode()
                )
                assert response.status == 200
                assert b"a=recvonly" in response.body

            # Alice would wait for sound in vain: she hangs up at once
            await s.dial(seconds=0.0, during=inject)
            assert s.error is None

    asyncio.run(run())


def test_media_is_not_led_elsewhere_by_a_new_address_under_the_old_fingerprint(tmp_path):
    async def run():
        async with stage(tmp_path, mode=Mode.TAP) as s:

            async def inject(call):
                offer = attacks.redirect("127.0.0.1", 9)(sent_sdp(s, to_callee=True))
                await s.mallory.proxy.inject(
                    s.mallory.last_call, "INVITE", to_callee=True, body=offer.encode()
                )
                await s.hear_more(call)  # still where DTLS was verified
                await s.hear_more(s.bob.calls[0])

            await s.dial(during=inject)
            assert s.error is None
            s.assert_nothing_was_heard()

    asyncio.run(run())


def test_a_transfer_asked_for_by_the_provider_changes_nothing(tmp_path):
    async def run():
        async with stage(tmp_path, mode=Mode.TAP) as s:

            async def inject(call):
                response = await s.mallory.proxy.inject(
                    s.mallory.last_call,
                    "REFER",
                    to_callee=False,
                    headers=(("Refer-To", "<sip:mallory@provider.test>"),),
                )
                assert response.status >= 400
                await s.hear_more(call)

            await s.dial(during=inject)
            assert s.error is None
            assert len(s.mallory.proxy.dialogues) == 1
            s.assert_nothing_was_heard()

    asyncio.run(run())
