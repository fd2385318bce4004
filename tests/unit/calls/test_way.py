"""The way of one call before there is a socket; with one it is tested in pairs."""

from __future__ import annotations

import asyncio

import pytest

from securecall.calls.way import Way
from securecall.errors import ConnectFailed, UsageError
from securecall.media.description import LocalIce
from securecall.policy import IpPrivacy, Policy
from securecall.transport.turn import IceHelpers

ICE = LocalIce(ufrag="ufrag", pwd="password-of-twenty-two-1", candidates=())


def way(policy=Policy(), **changes) -> Way:  # noqa: B008 - frozen
    async def helpers():
        return IceHelpers()

    unasked = dict.fromkeys(("heard", "needed", "failed", "gathered"), pytest.fail)
    how = {"towards": "127.0.0.1", "outgoing": True, "acquainted": False, "helpers": helpers}
    return Way(policy, **how | unasked | changes)


def test_where_our_address_is_hidden_and_no_relay_is_known_nothing_is_opened():
    async def main():
        hidden = way(Policy(ip_privacy=IpPrivacy.RELAY))
        with pytest.raises(ConnectFailed, match="no relay"):
            _ = await hidden.open(ice=True, trickle=False, dtls=pytest.fail, media=pytest.fail)
        assert hidden.path is None

    asyncio.run(main())


def test_without_ice_there_is_one_socket_and_no_other_way():
    async def main():
        plain = way()
        address, found = await plain.open(
            ice=False, trickle=False, dtls=pytest.fail, media=pytest.fail
        )
        assert address == plain.path.local
        assert found.candidates == plain.relays == ()
        with pytest.raises(UsageError, match="no way"):
            _ = await plain.regather(trickle=False)
        plain.give_up()
        await plain.close()

    asyncio.run(main())


def test_before_there_is_a_socket_nothing_is_sent_and_there_is_nothing_to_close():
    async def main():
        unopened = way()
        unopened.send(b"lost")
        unopened.check_also(ICE)
        assert unopened.relays == ()
        unopened.give_up()
        await unopened.close()

    asyncio.run(main())
