"""A provider presses keys in a call, and makes its people press theirs where it can read them.

Digits by SIP INFO are in every server's sight. The control is a call without proof of identity,
which the provider can hear anyhow: there both succeed.
"""

from __future__ import annotations

import asyncio

import pytest

import securecall as sc
from securecall.policy import Gate
from securecall.testing.attacks.stage import PLAIN, stage
from securecall.testing.mallory import Mode
from tests.pairs.calls.test_client import BOB, people

RELAY = (("Content-Type", "application/dtmf-relay"),)


def without_events(sdp: str, _to_callee: bool) -> str:
    return sdp.replace("telephone-event", "x-nothing")


async def press_and_be_pressed(folder, policy):
    """Alice presses 42 while no events are offered, and the provider presses 7 at Bob's.

    Returns:
        What Bob heard, what the provider read, the status of its INFO, and what Alice was told.
    """
    heard, told, statuses = [], [], []
    async with stage(folder, policy=policy, acquainted=policy is None, mode=Mode.TAP) as s:
        s.mallory.tamper_sdp.append(without_events)

        async def during(call):
            answer = s.bob.calls[0]
            await answer.connected()
            listening = asyncio.ensure_future(_collect(answer.digits(), heard))
            await asyncio.sleep(0)
            try:
                await call.press("42")
            except sc.Unsupported as e:
                told.append(e)
            response = await s.mallory.proxy.inject(
                s.mallory.last_call, "INFO", to_callee=True, headers=RELAY, body=b"Signal=7\r\n"
            )
            statuses.append(response.status)
            await s.hear_more(call)
            listening.cancel()

        _ = await s.dial(during=during)
        assert s.error is None
        sent = b"".join(data for _, data in s.mallory.proxy.transcript)
    read = "".join(str(n) for n in range(10) if f"Signal={n}".encode() in sent)
    return "".join(heard), read, statuses[0], told


async def _collect(digits, heard):
    async for digit in digits:
        heard.append(digit)


def test_where_it_can_hear_nothing_a_provider_reads_and_presses_nothing(tmp_path):
    heard, read, status, told = asyncio.run(press_and_be_pressed(tmp_path, None))
    assert (heard, read, status) == ("", "7", 415)  # the 7 is its own
    assert "read them" in str(told[0])


def test_control_where_it_can_hear_the_call_it_reads_and_presses_digits(tmp_path):
    heard, read, status, told = asyncio.run(press_and_be_pressed(tmp_path, PLAIN))
    assert (heard, read, status, told) == ("427", "247", 200, [])


def test_the_digits_of_an_end_to_end_call_are_in_no_signalling(tmp_path):
    async def run():
        async with stage(tmp_path, mode=Mode.TAP) as s:
            heard = []

            async def during(call):
                answer = s.bob.calls[0]
                await answer.connected()
                listening = asyncio.ensure_future(_collect(answer.digits(), heard))
                await asyncio.sleep(0)
                await call.press("42")
                while heard != ["4", "2"]:  # noqa: ASYNC110 - the test's timeout guards it
                    await asyncio.sleep(0.02)
                listening.cancel()

            _ = await s.dial(during=during)
            sent = b"".join(data for _, data in s.mallory.proxy.transcript)
            assert b"INFO sip:" not in sent

    asyncio.run(run())


@pytest.mark.parametrize("answered", ["415", "nothing"])
def test_a_phone_that_takes_no_digits_at_all_is_said_to(tmp_path, answered, monkeypatch):
    """Nothing is said to be pressed that was not."""
    from securecall.sip.grammar import SipError
    from securecall.sip.information import Information

    def refuse(self, server, *, now):
        raise SipError("not here", status=415 if answered == "415" else 500)

    monkeypatch.setattr(Information, "receive", refuse)

    async def run():
        async with stage(tmp_path, policy=PLAIN, acquainted=False, mode=Mode.TAP) as s:
            s.mallory.tamper_sdp.append(without_events)
            told = []

            async def during(call):
                with pytest.raises(sc.Unsupported, match="INFO"):
                    await call.press("42")
                told.append(True)

            _ = await s.dial(during=during)
            assert told == [True]

    asyncio.run(run())


def test_keys_pressed_by_whom_nobody_proved_yet_are_not_heard(tmp_path):
    """Bob may talk already; Alice still has to compare the words. Then, the control, she hears."""

    async def main():
        async with people(tmp_path) as (alice, bob):
            clinical = sc.Policy.clinical()
            async with alice.call(BOB, policy=clinical) as call:
                async with (await bob.next_call()).accept() as answer:
                    state = await call.connected()
                    await answer.connected()
                    assert (state.level, call.gate) == (sc.OPPORTUNISTIC, Gate.VERIFYING)
                    first = asyncio.ensure_future(anext(call.digits()))
                    await answer.press("1")
                    await asyncio.sleep(0.1)
                    assert not first.done()
                    _ = await call.confirm_sas()
                    await answer.press("2")
                    assert await asyncio.wait_for(first, 5) == "2"

    asyncio.run(main())
