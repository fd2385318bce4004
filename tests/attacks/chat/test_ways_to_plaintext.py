"""A server that wants a conversation to go on in the clear, without a person noticing."""

from __future__ import annotations

import asyncio

import pytest

from securecall.chat.message import Message, Protection, Text
from securecall.chatting import Chatting
from securecall.errors import DowngradeError
from tests.forge_devices import BOB, contacts_at
from tests.unit.test_messaging import Bench

pytestmark = pytest.mark.attack


def said(**more) -> Message:
    return Message(conversation=BOB, sender=BOB, sent=1.0, id="x", **more)


@pytest.mark.parametrize("encrypted", [True, False])
def test_one_stanza_does_not_make_a_conversation_one_that_was_never_encrypted(tmp_path, encrypted):
    """A message by a method we lack is kept, unencrypted as it came; it was the last, and counted.

    The control never was encrypted: our user may.
    """
    contacts = contacts_at(tmp_path)

    async def work() -> None:
        chatting = Chatting(contacts, lambda _: None, tmp_path)
        history, _ = chatting._open
        with history.transaction():
            if encrypted:
                history.add(said(text="hello", protection=Protection.OMEMO))
            for _ in range(250):
                history.add(said(unreadable="by a method", protection=Protection.NONE))
        try:
            if encrypted:
                with pytest.raises(DowngradeError):
                    chatting.conversation(BOB, danger_plaintext_chat=True)
            else:
                assert chatting.conversation(BOB, danger_plaintext_chat=True)
        finally:
            await chatting.close()

    asyncio.run(work())
    contacts.store.close()


@pytest.mark.parametrize("protection", Protection)
def test_a_plain_answer_does_not_quote_what_came_encrypted(protection):
    """They may begin to encrypt while our user still writes in the clear. Control: the third."""

    async def work() -> None:
        bench = Bench()
        bench.history.add(said(text="the result is bad", protection=protection))
        bench.dispatch.release()
        await bench.messaging.write(BOB, Text(body="oh", reply_to="x"), plain=True)
        (sent,) = bench.session.sent
        assert (b"the result" in sent) is (protection is Protection.NONE)

    asyncio.run(work())
