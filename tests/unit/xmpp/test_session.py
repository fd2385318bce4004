"""A session comes online, and says when it is given up."""

import asyncio
from xml.etree.ElementTree import Element

import pytest

from securecall.xmpp.session import Session, SessionState
from tests.xmpp_server import BIND, DOMAIN, SM, online, quietly, serving


@pytest.mark.parametrize("direct", [True, False])
def test_it_comes_online(tmp_path, direct):
    async def run():
        async with serving(online, tmp_path, direct=direct) as server:
            session = await Session.open(server.login)
            assert session.state is SessionState.ONLINE
            taken = asyncio.Event()
            session.send(Element("{jabber:client}message"), taken=taken.set)
            await taken.wait()
            await session.close()

    asyncio.run(run())


def test_a_lost_session_is_told_of_before_anything_goes_out_in_the_next(tmp_path):
    async def script(peer):
        await peer.login()
        if not await peer.bind():
            peer.send("</stream:stream>")
            return
        peer.send(f"<failed xmlns='{SM}'/>")
        iq = await peer.next()
        jid = f"alice@{DOMAIN}/two"
        peer.send(
            f"<iq type='result' id='{iq.get('id')}'>"
            f"<bind xmlns='{BIND}'><jid>{jid}</jid></bind></iq>"
        )
        assert (await peer.next()).tag == f"{{{SM}}}enable"
        peer.send(f"<enabled xmlns='{SM}' id='session-2' resume='true'/>")
        await quietly(peer)

    async def run():
        async with serving(script, tmp_path) as server:
            seen = []
            session = await Session.open(server.login)
            fresh = asyncio.Event()

            async def begin():
                seen.append("fresh")
                fresh.set()

            session.on_dropped(lambda: seen.append(f"dropped {session.state.value}"))
            session.on_fresh(begin)
            session.on_state(lambda state, _: seen.append(state.value))
            async with asyncio.timeout(30):
                await fresh.wait()
            online = seen.index("online")
            assert [word for word in seen if word.startswith("dropped")] == ["dropped connecting"]
            assert seen.index("dropped connecting") < online < seen.index("fresh")
            await session.close()

    asyncio.run(run())
