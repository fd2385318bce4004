"""What the conversations of all accounts have in common."""

from __future__ import annotations

import asyncio

from securecall.chat.message import Message, Protection
from securecall.chatting import Chatting
from tests.forge_devices import BOB, contacts_at


def test_listing_conversations_does_not_end_what_our_user_wished_for(tmp_path):
    contacts = contacts_at(tmp_path)

    async def scenario():
        chatting = Chatting(contacts, lambda _: None, tmp_path)
        history, _ = chatting._open
        with history.transaction():
            history.add(Message(conversation=BOB, sender=BOB, sent=1.0, protection=Protection.NONE))
        chatting.conversation(BOB, danger_plaintext_chat=True)
        (listed,) = chatting.conversations()
        assert not listed.danger_plaintext_chat  # nobody asked for that here
        assert BOB in chatting._plain  # and what comes is shown as before
        chatting.conversation(BOB)
        assert BOB not in chatting._plain
        await chatting.close()

    asyncio.run(scenario())
    contacts.store.close()
