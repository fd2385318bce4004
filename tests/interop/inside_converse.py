"""Our chat with Converse in a browser; run by `test_converse.py` inside a namespace, not by itself.

It comes by secure WebSocket to a domain that has to be this machine.
"""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager

import pytest
import xeddsa

from securecall.chat.message import DeviceTrust, Protection
from securecall.xmpp.saying import FILE_HINT
from tests.interop import browsers, profanity
from tests.interop.authority import DOMAIN
from tests.interop.chatting import PATIENCE, address_of, own_fingerprint, person, until
from tests.interop.xmpp_servers import password_of

pytestmark = pytest.mark.timeout(180)  # a hang guard
WINDOW = "1000,760"  # pixels
OMEMO, LEGACY = Protection.OMEMO.value, Protection.OMEMO_LEGACY.value


@pytest.fixture(scope="session")
def browser(home, tmp_path_factory, certificates):
    folder = tmp_path_factory.mktemp("browser")
    with browsers.chromium(folder, certificates, browsers.converse, WINDOW) as running:
        yield running


@asynccontextmanager
async def in_browser(browser, home, name, other):
    """Somebody signed in by Converse, its window for one of us."""
    server = f"wss://{DOMAIN}:{home.ports['https']}/xmpp-websocket"
    async with browser.tab() as tab:
        await tab.do("signIn", f"{name}@{DOMAIN}", password_of(name), server)
        await tab.do("open", address_of(other))
        yield tab


async def theirs(tab):
    """What it shows of the other side."""
    said = [message for message in await tab.do("messages") if message["sender"] == "them"]
    assert not any(message["error"] for message in said), said
    return said


async def shown(tab, text):
    """Wait until it shows a message; returns what it says of it."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for message in await theirs(tab):
                if message["text"] == text:
                    return message
            await asyncio.sleep(0.05)


def curve25519(fingerprints):
    """Of Ed25519 forms, which Converse shows under OMEMO 2."""
    return {xeddsa.ed25519_pub_to_curve25519_pub(bytes.fromhex(f)).hex() for f in fingerprints}


def test_we_and_converse_say_something_under_omemo_2(home, browser, tmp_path):
    async def main():
        async with (
            person(home, tmp_path, "alice") as alice,
            in_browser(browser, home, "bob", alice) as bob,
        ):
            jid = f"bob@{DOMAIN}"
            to_bob = alice.conversation(jid)

            await bob.do("say", "From a browser.")
            (got,) = await until(lambda: to_bob.messages())
            assert (got.text, got.protection) == ("From a browser.", Protection.OMEMO)
            assert got.trust is DeviceTrust.UNDECIDED
            text = "0.5 µg, <b>&amp;</b> ]]> 👍🏽"
            sent = await to_bob.send(text)
            message = await shown(bob, text)
            assert (message["encrypted"], message["version"]) == (True, OMEMO)
            # a session that was begun goes on
            await bob.do("say", "Once more.")
            await until(lambda: to_bob.messages()[-1].text == "Once more.")

            # corrections: it has them outside the encryption, where we believe none, and reads ours
            # there, too, so that at both ends they are messages like others
            await bob.do("say", "Once more, corrected.", True)
            await until(lambda: to_bob.messages()[-1].text == "Once more, corrected.")
            assert to_bob.messages()[-2].text == "Once more."
            _ = await to_bob.correct(sent, "Corrected.")
            await shown(bob, "Corrected.")
            assert await shown(bob, text)

            # what both show to be compared
            (device,) = await to_bob.recipients()
            other = device.fingerprint.replace(" ", "")
            for who, fingerprint in ((jid, other), (address_of(alice), own_fingerprint(alice))):
                assert await bob.do("fingerprints", who, LEGACY) == [fingerprint]
                assert curve25519(await bob.do("fingerprints", who, OMEMO)) == {fingerprint}

            picture = tmp_path / "seen.png"
            picture.write_bytes(await bob.screenshot())
            encoded = base64.b64encode(picture.read_bytes()).decode()
            await bob.do("sendFile", "theirs.png", encoded)
            (got,) = await until(lambda: [m for m in to_bob.messages() if m.file and not m.own])
            assert (got.text, got.protection) == ("", Protection.OMEMO)
            saved = await to_bob.save_file(got, tmp_path)
            assert saved.read_bytes() == picture.read_bytes()

            _ = await to_bob.send_file(picture)
            # which it does not read, and says so to its person
            message = await shown(bob, FILE_HINT)
            assert (message["encrypted"], message["version"]) == (True, OMEMO)

    profanity.befriend(home, "alice", "bob")
    asyncio.run(main())
