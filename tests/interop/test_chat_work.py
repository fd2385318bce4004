"""How much is done for a message, counted: nothing is asked or decided anew without a reason."""

from __future__ import annotations

import asyncio

from securecall import settling
from securecall.chat.message import Delivery
from securecall.xmpp.session import Session
from tests.interop.chatting import person, texts, until

COUNT = 40


def test_messages_ask_nothing_decide_nothing_and_share_transactions(prosody, tmp_path, monkeypatch):
    asked = []
    request = Session.request

    async def counted(session, payload, **more):
        asked.append(payload.tag)
        return await request(session, payload, **more)

    monkeypatch.setattr(settling, "LOOKS", ())  # which a busy machine may have in what is counted

    async def main():
        async with (
            person(prosody, tmp_path, "carol", device="work") as carol,
            person(prosody, tmp_path, "frank", device="work") as frank,
        ):
            to_frank = carol.conversation(f"frank@{prosody.domain}")
            to_carol = frank.conversation(f"carol@{prosody.domain}")
            _ = await to_frank.send("who is there?")
            await until(lambda: to_carol.messages())
            _ = await to_carol.send("it is me")
            await until(lambda: len(to_frank.messages()) == 2)
            _ = await to_frank.send("good")
            await until(lambda: to_frank.messages()[-1].delivery is Delivery.DELIVERED)

            monkeypatch.setattr(Session, "request", counted)
            stores = [client.contacts.store for client in (carol, frank)]
            trusted = [store.generation for store in stores]
            kept = stores[0]._history.generation
            _ = await asyncio.gather(*(to_frank.send(f"{n}") for n in range(COUNT)))
            assert stores[0]._history.generation == kept + 1
            await until(lambda: to_frank.messages()[-1].delivery is Delivery.DELIVERED)
            assert texts(frank, prosody, "carol")[-COUNT:] == [f"{n}" for n in range(COUNT)]
            assert asked == []
            assert [store.generation for store in stores] == trusted

    asyncio.run(main())


def test_receipts_of_messages_that_came_together_are_kept_together(prosody, tmp_path):
    async def main():
        async with person(prosody, tmp_path, "dave", device="work") as dave:
            to_erin = dave.conversation(f"erin@{prosody.domain}")
            async with person(prosody, tmp_path, "erin", device="work") as erin:
                _ = await to_erin.send("who is there?")
                to_dave = erin.conversation(f"dave@{prosody.domain}")
                await until(lambda: to_dave.messages())
                _ = await to_dave.send("it is me")
                await until(lambda: len(to_erin.messages()) == 2)
            _ = await asyncio.gather(*(to_erin.send(f"{n}") for n in range(COUNT)))
            await until(lambda: to_erin.messages()[-1].delivery is Delivery.SENT)
            async with person(prosody, tmp_path, "erin", device="work") as erin:
                kept = erin.contacts.store._history.generation
                await until(lambda: to_erin.messages()[-1].delivery is Delivery.DELIVERED)
                assert all(m.delivery is Delivery.DELIVERED for m in to_erin.messages(count=COUNT))
                assert erin.contacts.store._history.generation - kept < COUNT

    asyncio.run(main())
