"""Our chat with slixmpp, which has no OMEMO: in the clear, and only where our user says so."""

from __future__ import annotations

import asyncio

from securecall.events import MessageIgnored
from tests.interop.chatting import person, until
from tests.interop.xmpp_servers import password_of


def test_plaintext_passes_only_where_our_user_wished_it(prosody, tmp_path):
    async def main():
        import slixmpp

        theirs = f"frank@{prosody.domain}"
        peer = slixmpp.ClientXMPP(theirs, password_of("frank"))
        peer.ca_certs = str(prosody.authorities)
        peer.enable_direct_tls = False
        got: list[str] = []
        online = asyncio.Event()
        peer.add_event_handler("session_start", lambda _: (peer.send_presence(), online.set()))
        peer.add_event_handler("message", lambda message: got.append(message["body"]))
        peer.connect("127.0.0.1", prosody.ports["xmpp"])
        async with asyncio.timeout(60), person(prosody, tmp_path, "erin", device="s") as erin:
            await online.wait()
            ignored = []

            async def watch():
                async for event in erin.events():
                    if isinstance(event, MessageIgnored):
                        ignored.append(event)

            watching = asyncio.create_task(watch())
            await asyncio.sleep(0)
            ours = erin.chat_accounts[0].address.short
            peer.send_message(ours, "not wished for", mtype="chat")
            await until(lambda: ignored)
            assert erin.conversation(theirs).messages() == ()
            plain = erin.conversation(theirs, danger_plaintext_chat=True)
            peer.send_message(ours, "wished for", mtype="chat")
            (message,) = await until(lambda: plain.messages())
            assert (message.text, message.protection.value) == ("wished for", "")
            _ = await plain.send("in the clear")
            await until(lambda: "in the clear" in got)
            watching.cancel()
            await peer.disconnect()

    asyncio.run(main())
