import asyncio
from xml.etree.ElementTree import Element

import pytest

from securecall.xmpp.session import *
from tests.xmpp_server import *


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
