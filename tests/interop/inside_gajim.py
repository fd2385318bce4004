"""Our chat with Gajim; run by `test_gajim.py` inside a network namespace, not by itself.

It trusts the authorities of this machine, which are laid over.
"""

from __future__ import annotations

import asyncio
from asyncio import to_thread

import pytest

from securecall.chat.message import Delivery, DeviceTrust, Protection
from tests.interop import gajim, profanity
from tests.interop.authority import DOMAIN
from tests.interop.chatting import address_of, own_fingerprint, person, until

pytestmark = pytest.mark.timeout(180)  # a hang guard


def test_we_and_gajim_say_something_and_send_pictures(home, tmp_path):
    async def main(dave):
        async with person(home, tmp_path, "carol") as carol:
            to_dave = carol.conversation(dave.jid)
            await to_thread(dave.wait_knows, address_of(carol))
            await to_thread(dave.type, "From a window.")
            (got,) = await until(lambda: to_dave.messages())
            assert (got.text, got.protection) == ("From a window.", Protection.OMEMO_LEGACY)
            assert got.trust is DeviceTrust.UNDECIDED
            await to_thread(dave.look_away)
            sent = await to_dave.send("From us.")
            line = await to_thread(dave.wait_line, "From us.")
            assert (line.other, line.encryption) == (address_of(carol), "OMEMO")
            assert line.fingerprint == own_fingerprint(carol)
            await until(lambda: to_dave.messages()[1].delivery is Delivery.DELIVERED)
            await to_thread(dave.look)
            await until(lambda: to_dave.messages()[1].delivery is Delivery.DISPLAYED)
            # what both show to be compared
            (device,) = await to_dave.recipients()
            assert device.fingerprint.replace(" ", "") == dave.fingerprint()
            assert dave.known_fingerprints(address_of(carol)) == {own_fingerprint(carol)}

            _ = await to_dave.correct(sent, "From us, corrected.")
            line = await to_thread(dave.wait_line, "From us, corrected.")
            assert (line.encryption, line.fingerprint) == ("OMEMO", own_fingerprint(carol))
            await to_thread(dave.correct, "From a window, corrected.")
            await until(lambda: to_dave.messages()[0].text == "From a window, corrected.")

            ours = await to_thread(dave.picture, tmp_path / "ours.png")
            _ = await to_dave.send_file(ours)
            await to_thread(dave.wait_file, ours.read_bytes())

            theirs = await to_thread(dave.picture, tmp_path / "theirs.png")
            await to_thread(dave.send_file, theirs)
            (got,) = await until(lambda: [m for m in to_dave.messages() if m.file and not m.own])
            assert (got.text, got.protection) == ("", Protection.OMEMO_LEGACY)
            saved = await to_dave.save_file(got, tmp_path)
            assert saved.read_bytes() == theirs.read_bytes()
            await to_thread(dave.show_fingerprints)
            await to_thread(dave.picture, tmp_path / "seen.png")

    profanity.befriend(home, "carol", "dave")
    with gajim.running(tmp_path / "dave", "dave", home, [f"carol@{DOMAIN}"]) as dave:
        asyncio.run(main(dave))


def test_what_we_write_while_it_is_away_is_there_when_it_comes_back(home, tmp_path):
    said = [f"While you were away: {number}, <b>&amp;</b> 👍🏽" for number in range(3)]

    async def first(bob):
        async with person(home, tmp_path, "alice") as alice:
            to_bob = alice.conversation(bob.jid)
            _ = await to_bob.send("We begin.")
            line = await to_thread(bob.wait_line, "We begin.")
            assert (line.encryption, line.fingerprint) == ("OMEMO", own_fingerprint(alice))

    async def meanwhile():
        async with person(home, tmp_path, "alice") as alice:
            to_bob = alice.conversation(f"bob@{DOMAIN}")
            for text in said:
                _ = await to_bob.send(text)
            await until(lambda: to_bob.messages()[-1].delivery is Delivery.SENT)

    async def again(bob):
        await to_thread(bob.wait_line, said[-1])
        assert [line.text for line in bob.lines()] == ["We begin.", *said]
        assert {line.encryption for line in bob.lines()} == {"OMEMO"}
        async with person(home, tmp_path, "alice") as alice:
            to_bob = alice.conversation(bob.jid)
            await to_thread(bob.type, "Back again.")
            await until(lambda: to_bob.messages()[-1].text == "Back again.")
            assert to_bob.messages()[-1].protection is Protection.OMEMO_LEGACY

    profanity.befriend(home, "alice", "bob")
    with gajim.running(tmp_path / "bob", "bob", home, [f"alice@{DOMAIN}"]) as bob:
        asyncio.run(first(bob))
    asyncio.run(meanwhile())
    with gajim.running(tmp_path / "bob", "bob", home, [f"alice@{DOMAIN}"]) as bob:
        asyncio.run(again(bob))
