"""What the conversations of all accounts have in common."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest

from securecall.address import parse_address
from securecall.chat.attachments import SEALING
from securecall.chat.message import Message, Protection
from securecall.chatting import Chatting
from securecall.contacts import Contacts
from securecall.errors import HistoryCorrupt, StatementFull, UsageError
from securecall.keys.statement import OmemoKey, parse_statement
from securecall.keys.trust import Act, How
from securecall.store.history import FILE
from tests.forge_devices import BOB, NS, contacts_at, identity_key
from tests.forge_statement import root_key


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


OWN = parse_address("xmpp:alice@a.example")
KEY = OmemoKey(namespace=NS, id=7, identity_key=identity_key(7))


def damaged(tmp_path) -> Contacts:
    """Of somebody who knows Bob, and whose conversations cannot be read any more."""
    contacts = contacts_at(tmp_path)
    contacts.own_address(OWN)
    contacts.own_omemo([KEY])
    contacts.apply(contacts.event(Act.PIN, BOB, root_key(2).fingerprint, How.CONTACT))
    contacts.store.open_history().set_value("a ratchet", b"7")
    contacts.store.close()
    file = tmp_path / FILE
    file.write_bytes(file.read_bytes()[:5000])
    (tmp_path / f"x{SEALING}").mkdir()  # which a crash left
    return contacts_at(tmp_path)


def test_conversations_that_cannot_be_read_are_forgotten_and_begin_anew(tmp_path):
    contacts = damaged(tmp_path)
    statement = contacts.store.seq

    async def scenario():
        chatting = Chatting(contacts, lambda _: None, tmp_path)
        with pytest.raises(HistoryCorrupt):
            chatting.conversation(BOB)
        chatting.forget()
        history, _ = chatting._open
        with history.transaction():
            history.add(Message(conversation=BOB, sender=BOB, sent=1.0, protection=Protection.NONE))
        kept = chatting.conversation(BOB)
        assert len(kept.messages()) == 1
        chatting.forget()
        assert chatting.conversations() == ()
        await chatting.close()

    asyncio.run(scenario())
    assert not list(tmp_path.glob(f"*{SEALING}"))
    assert contacts.find(BOB).root_fp == root_key(2).fingerprint
    # the device that is no more is named no more, and comes off the list of the account
    assert contacts.store.retired_omemo(OWN.short) == {7}
    assert contacts.store.retired_omemo(BOB.short) == frozenset()
    (device,) = parse_statement(contacts.statement, unix=int(time.time())).devices
    assert (device.omemo, contacts.store.seq > statement) == ((), True)
    contacts.store.close()


def test_conversations_are_not_forgotten_while_something_may_be_written(tmp_path):
    contacts = contacts_at(tmp_path)

    async def scenario():
        chatting = Chatting(contacts, lambda _: None, tmp_path)
        history, _ = chatting._open
        with history.transaction():
            history.add(Message(conversation=BOB, sender=BOB, sent=1.0, protection=Protection.NONE))
        chatting.accounts.append(SimpleNamespace(address=OWN))
        with pytest.raises(UsageError, match="sign out"):
            chatting.forget()
        chatting.accounts.clear()
        assert len(chatting.conversation(BOB).messages()) == 1
        await chatting.close()

    asyncio.run(scenario())
    contacts.store.close()


def test_a_statement_that_is_full_keeps_nobody_from_beginning_anew(tmp_path, monkeypatch):
    contacts = damaged(tmp_path)

    def full(_self):
        raise StatementFull("there is no room")

    monkeypatch.setattr(type(contacts.identity), "_changed", full)

    async def scenario():
        chatting = Chatting(contacts, lambda _: None, tmp_path)
        chatting.forget()
        assert chatting.conversations() == ()
        await chatting.close()

    asyncio.run(scenario())
    contacts.store.close()
