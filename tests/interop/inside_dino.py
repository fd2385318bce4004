"""Dino; run by `test_dino.py` inside a network namespace, not by itself.

It connects to port 5222 of the domain itself, so the domain has to be this machine.
"""

from __future__ import annotations

import asyncio
from asyncio import to_thread

import pytest

from securecall.chat.message import Delivery, DeviceTrust, Protection
from tests.interop import dino, profanity
from tests.interop.authority import DOMAIN
from tests.interop.chatting import address_of, own_fingerprint, person, until

pytestmark = pytest.mark.timeout(180)  # a hang guard


def test_dino_and_profanity_say_something_to_each_other(home, tmp_path):
    profanity.befriend(home, "alice", "bob")
    with (
        profanity.running(tmp_path / "bob", "bob", home) as bob,
        dino.running(tmp_path / "alice", "alice", home, [bob.jid]) as alice,
    ):
        bob.generate()
        bob.begin_omemo(alice.jid)
        alice.wait_knows(bob.jid)
        assert alice.known_fingerprints(bob.jid) == {bob.fingerprint()}
        assert bob.known_fingerprint(alice.jid) == alice.fingerprint()
        bob.type("from a terminal")
        line = alice.wait_line("from a terminal")
        assert (line.other, line.ours, line.encryption) == (bob.jid, False, "omemo")
        alice.type("from a window")
        line = bob.wait_line("from a window")
        assert (line.sender, line.encryption) == (alice.jid, "omemo")
        assert alice.wait_line("from a window").ours
        picture = alice.picture(tmp_path / "seen.png")
        bob.send_file(picture)
        received = alice.wait_file("seen.png")
        assert received.encryption == "omemo"
        assert received.path.read_bytes() == picture.read_bytes()


def test_we_and_dino_say_something_and_send_pictures(home, tmp_path):
    async def main(dave):
        async with person(home, tmp_path, "carol") as carol:
            to_dave = carol.conversation(dave.jid)
            # it asks for our keys once, when it is told of the device: they have to be there
            await to_thread(dave.wait_knows, address_of(carol))
            await to_thread(dave.type, "From a window.")
            (got,) = await until(lambda: to_dave.messages())
            assert (got.text, got.protection) == ("From a window.", Protection.OMEMO_LEGACY)
            assert got.trust is DeviceTrust.UNDECIDED
            sent = await to_dave.send("From us.")
            line = await to_thread(dave.wait_line, "From us.")
            assert (line.other, line.encryption) == (address_of(carol), "omemo")
            await until(lambda: to_dave.messages()[1].delivery is Delivery.DISPLAYED)
            # what both show to be compared
            (device,) = await to_dave.recipients()
            assert device.fingerprint.replace(" ", "") == dave.fingerprint()
            assert dave.known_fingerprints(address_of(carol)) == {own_fingerprint(carol)}
            _ = await to_dave.correct(sent, "From us, corrected.")
            line = await to_thread(dave.wait_line, "From us, corrected.")
            assert line.encryption == "omemo"

            ours = await to_thread(dave.picture, tmp_path / "ours.png")
            _ = await to_dave.send_file(ours)
            received = await to_thread(dave.wait_file)
            assert received.encryption == "omemo"
            assert received.path.read_bytes() == ours.read_bytes()

            theirs = await to_thread(dave.picture, tmp_path / "theirs.png")
            await to_thread(dave.send_file, theirs)
            (got,) = await until(lambda: [m for m in to_dave.messages() if m.file and not m.own])
            assert (got.text, got.protection) == ("", Protection.OMEMO_LEGACY)
            saved = await to_dave.save_file(got, tmp_path)
            assert saved.read_bytes() == theirs.read_bytes()
            await to_thread(dave.picture, tmp_path / "seen.png")

    profanity.befriend(home, "carol", "dave")
    with dino.running(tmp_path / "dave", "dave", home, [f"carol@{DOMAIN}"]) as dave:
        asyncio.run(main(dave))
