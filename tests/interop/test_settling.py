"""What is said at the very moment somebody comes online, at real servers: all comes, in order.

ejabberd finds nobody there and archives some milliseconds later; see decision 0142.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import replace
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

import pytest

from securecall.people import People
from securecall.settling import Settling
from securecall.testing.cutting import CuttingRelay
from securecall.testing.daemons import XmppOptions, start_ejabberd, start_prosody
from securecall.xmpp.resuming import build_counter
from tests.interop.chatting import PATIENCE, person, until
from tests.interop.soaking import impatient
from tests.interop.xmpp_servers import running, sign_in

BEFORE, AFTER = 8, 2  # messages in a round, at once: the server takes a millisecond for each
ALL = BEFORE + AFTER


@pytest.fixture(params=[start_prosody, start_ejabberd], ids=["prosody", "ejabberd"])
def forgetful(request, tmp_path, certificates):
    """A server that resumes nothing: whoever comes back begins a new session."""
    options = replace(XmppOptions(), resumption_seconds=0)
    with running(request.param, tmp_path / "server", certificates, options) as server:
        yield server


@asynccontextmanager
async def coming_back(server, folder, monkeypatch, alice, say):
    """Bob, and how to have him come online anew.

    `say` is called right before he tells the server that he is there (True), and right after.
    """
    announce = People.announce

    def announced(people, *args):
        due = not back.is_set()
        if due:
            say(True)
        announce(people, *args)
        if due:
            say(False)
            back.set()

    async def again():
        session = bob.chat_accounts[0]._session
        gone = session.jid
        # or all of it comes again with every session, until it is too much to wait for an archive
        await until(lambda: session._management.undone == 0)
        session._stream.send(build_counter("a", session._management.told()))
        _ = await session.request(Element("{urn:xmpp:ping}ping"), to=server.domain)
        # Prosody resumes what comes back within milliseconds, whatever it was told
        session._management.resume_id = ""
        async with relay.refusing():
            _ = relay.cut()
            while True:  # until the server knows that he is gone
                answer = await alice.ask(
                    ET.fromstring("<ping xmlns='urn:xmpp:ping'/>"), "get", gone
                )
                if answer.get("type") == "error":
                    break
            back.clear()
        async with asyncio.timeout(PATIENCE):
            _ = await back.wait()

    back = asyncio.Event()
    back.set()
    async with (
        CuttingRelay(server.ports["xmpps"]) as relay,
        person(server, folder, "bob", port=relay.port) as bob,
    ):
        with monkeypatch.context() as patch:
            patch.setattr(People, "announce", announced)
            yield bob, again


async def rounds(server, folder, monkeypatch, count, *, patience):
    """Returns how many messages did not come within so many seconds, and all that did."""
    alice = await sign_in(server, "alice")
    number = iter(range(count * ALL))

    def say(before):
        for _ in range(BEFORE if before else AFTER):
            text = str(next(number))
            body = f"<message to='bob@{server.domain}' type='chat' id='{text}'><body>{text}</body>"
            alice.send(ET.fromstring(f"{body}</message>"))

    missing = 0
    async with coming_back(server, folder, monkeypatch, alice, say) as (bob, again):
        conversation = bob.conversation(f"alice@{server.domain}", danger_plaintext_chat=True)

        def came():
            return [m.text for m in conversation.messages(count=100_000)]

        for first in range(0, count * ALL, ALL):
            await again()
            said = {str(number) for number in range(first, first + ALL)}
            with contextlib.suppress(TimeoutError):
                _ = await until(lambda: said <= {*came()}, seconds=patience)  # noqa: B023
            missing += len(said - {*came()})
        await alice.close()
        return missing, came()


@pytest.mark.interop
def test_all_comes_at_once_and_in_order(forgetful, tmp_path, monkeypatch):
    count = 12 if forgetful.name == "ejabberd" else 3  # Prosody does one thing after the other
    with impatient():
        missing, came = asyncio.run(
            rounds(forgetful, tmp_path, monkeypatch, count, patience=PATIENCE)
        )
    assert missing == 0
    assert came == [str(number) for number in range(count * ALL)]


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("settles", [True, False])
def test_without_a_second_look_some_of_it_is_out_of_sight(
    certificates, tmp_path, monkeypatch, settles
):
    if not settles:  # as it was
        monkeypatch.setattr(Settling, "begin", lambda self: None)
    options = replace(XmppOptions(), resumption_seconds=0)
    with running(start_ejabberd, tmp_path / "server", certificates, options) as server:
        with impatient():
            patience = PATIENCE if settles else 2
            missing, came = asyncio.run(
                rounds(server, tmp_path, monkeypatch, 65, patience=patience)
            )
    print(
        f"of {65 * ALL} messages, {missing} out of sight; in order: {came == sorted(came, key=int)}"
    )
    assert (missing == 0) is settles
    assert not settles or came == [str(number) for number in range(65 * ALL)]
