"""Signing out while a connection is being made: nothing of ours leaves by it afterwards."""

from __future__ import annotations

import asyncio

import pytest

from securecall.account import SignIn, open_account
from securecall.address import parse_address
from securecall.calls.signaling import Route
from securecall.errors import UsageError
from securecall.secret import Secret
from securecall.sip.signaling import SipSignaling
from securecall.testing.sip_server import LabServer
from tests.unit.sip.test_agent import OFFER

pytestmark = pytest.mark.attack
GUARD_SECONDS = 20.0
BOB = parse_address("sip:bob@lab.test")


async def dialling(folder, *, direct: bool, close: bool) -> None:
    users = {"alice": Secret("zanzibar")}
    async with asyncio.timeout(GUARD_SECONDS), LabServer(folder, users) as lab:
        account = await open_account(
            SignIn(
                address=parse_address("sip:alice@lab.test"),
                password=users["alice"],
                server=(lab.host, lab.port),
                authorities=lab.authorities,
            ),
            instance="",
            watcher=lambda *_: None,
        )
        signaling = account.signaling
        assert isinstance(signaling, SipSignaling)
        route = Route(BOB, direct=(lab.host, lab.port) if direct else None)
        dial = asyncio.ensure_future(signaling.dial(route, OFFER))
        await asyncio.sleep(0)  # its connection is being made
        if close:
            await signaling.close()
        try:
            leg = await dial
            await leg.closed()
        finally:
            await signaling.close()
            assert bool([s for s in lab.seen if s.method == "INVITE"]) is not close


@pytest.mark.parametrize("direct", [False, True])
def test_control_a_call_is_placed(tmp_path, direct):
    asyncio.run(dialling(tmp_path, direct=direct, close=False))


@pytest.mark.parametrize("direct", [False, True])
def test_a_call_that_still_connects_is_not_placed_once_we_signed_out(tmp_path, direct):
    with pytest.raises(UsageError):
        asyncio.run(dialling(tmp_path, direct=direct, close=True))
