"""What an account does when its session goes on over another connection."""

from __future__ import annotations

import asyncio

from securecall.directory import Directory
from securecall.intake import Taken
from securecall.keys.identity import RootKey
from securecall.keys.statement import OmemoKey
from securecall.own_identity import OwnIdentity
from securecall.store.sqlite import Store
from securecall.store.vault import MINIMUM_COST
from tests.chat_scene import WARD, Scene, turns
from tests.forge_devices import BOB, NS, identity_key, own_statement
from tests.forge_store import passphrase
from tests.stanzas import OWN
from tests.virtual import run_virtual


def test_what_a_server_did_not_pass_on_in_a_room_is_found_when_the_session_goes_on(tmp_path):
    async def scenario():
        scene = Scene(tmp_path)
        async with scene.online():
            scene.say("first")
            await turns()
            assert scene.texts == ["first"]
            scene.said.append("dropped")
            await scene.account._resumed()
            scene.say("after")  # comes before the archive was read, and waits for it
            await turns()
            assert scene.texts == ["first", "dropped", "after"]
            assert scene.done == ["first", "after"]

    asyncio.run(scenario())


def test_a_mistake_of_ours_while_a_session_begins_has_it_begin_anew(tmp_path, monkeypatch, caplog):
    async def scenario():
        scene = Scene(tmp_path)
        mistakes = []

        async def mistaken(keeper, look, since):
            if mistakes:
                raise mistakes.pop()
            return await reading(keeper, look, since)

        reading = scene.account._read_archive
        monkeypatch.setattr(scene.account, "_read_archive", mistaken)
        async with scene.online():
            mistakes.append(ValueError("nobody foresaw this"))
            scene.written.append("waits")
            scene.account._start_preparing()
            await asyncio.sleep(4)
            assert scene.letters == ["waits"]
            assert not mistakes

    run_virtual(scenario())
    assert "preparing the session failed: ValueError" in caplog.text
    assert "nobody foresaw" not in caplog.text


def test_what_was_unreadable_is_read_again_once_a_room_was_read_whole(tmp_path, monkeypatch):
    async def scenario():
        scene = Scene(tmp_path)
        reads, whole = [], False

        async def catch_up(keeper, *, look=False, since=0.0):
            reads.append((keeper.bare, look, since))
            return whole

        async with scene.online():
            monkeypatch.setattr(scene.account, "_catch_up", catch_up)
            scene.account._unreadable_since = 5.0
            await scene.account._read_room(WARD)
            assert reads == [(WARD.short, False, 0.0)]
            whole = True
            await scene.account._read_room(WARD)
            assert reads[1:] == [(WARD.short, False, 0.0), (OWN, True, 5.0)]
            await scene.account._read_room(WARD)
            assert len(reads) == 4  # once

    asyncio.run(scenario())


def test_a_session_that_is_given_up_while_the_archive_is_read_lets_nothing_go(tmp_path):
    async def scenario():
        scene = Scene(tmp_path)
        async with scene.online():
            scene.at_reading = scene.account._dropped
            scene.account._start_preparing()
            await turns()
            scene.at_reading = lambda: None
            scene.written.append("before")
            scene.write("in the next session")
            await turns()
            assert scene.letters == []
            scene.account._start_preparing()
            await turns()
            assert scene.letters == ["before", "in the next session"]

    asyncio.run(scenario())


def test_a_room_that_lost_us_meanwhile_is_entered_and_read_again(tmp_path):
    async def scenario():
        scene = Scene(tmp_path)
        async with scene.online():
            scene.say("first")
            await turns()
            scene.said.append("dropped")
            scene.service.inside = ""
            await scene.account._resumed()
            await turns()
            assert scene.service.inside == "alice"
            assert scene.texts == ["first", "dropped"]

    asyncio.run(scenario())


def test_last_words_are_their_speakers_though_they_left_before_it_was_their_turn(tmp_path):
    """All of it may come in one piece, and be handed on before anything is written down."""

    async def scenario():
        scene = Scene(tmp_path)
        async with scene.online():
            scene.say("first")
            await turns()
            scene.say("and now I go")
            scene.service.say("bob", "unavailable", jid=f"{BOB.short}/phone")
            await turns()
            assert scene.texts == ["first", "and now I go"]
            scene.service.say("bob", jid=f"{BOB.short}/phone")
            scene.say("again")
            scene.service.say("bob", "unavailable", jid=f"{BOB.short}/phone")
            scene.service.affiliations["mallory@evil.example"] = "member"
            scene.service.say("bob", jid="mallory@evil.example/phone")
            await turns()
            assert [m.sender for m in scene.history.messages(WARD)] == [BOB] * 3

    asyncio.run(scenario())


def test_what_was_said_before_we_were_removed_from_a_room_is_kept(tmp_path):
    async def scenario():
        scene = Scene(tmp_path)
        async with scene.online():
            scene.say("first")
            await turns()
            scene.say("you are out")
            scene.service.say(scene.service.inside, "unavailable", 110, 307)
            await turns()
            assert scene.texts == ["first", "you are out"]

    asyncio.run(scenario())


def test_keys_are_seen_to_after_a_message_that_says_nothing(tmp_path):
    """It may have opened a session, or show that one is broken."""

    async def scenario():
        scene = Scene(tmp_path)
        for messages, due in ((0, True), (1, False), (1, True)):
            scene.omemo.is_due = due
            scene.account._handle(Taken(messages=messages))
            await turns()
        assert scene.omemo.maintained == 1
        scene.contacts.store.close()

    asyncio.run(scenario())


def test_sessions_with_devices_that_were_withdrawn_are_deleted(tmp_path):
    scene = Scene(tmp_path / "desk")
    directory = Directory(scene.contacts)
    directory.learn(BOB, own_statement(device=7, omemo=(70, 71), age=100))
    directory.notice(BOB, own_statement(device=7, omemo=(70, 71), age=50))
    assert scene.omemo.revoked == []  # it is there as before
    directory.notice(BOB, own_statement(device=8, omemo=(80,), revoked=("device-7",)))
    assert scene.omemo.revoked == [(BOB.short, 70), (BOB.short, 71)]
    # and with one of our own
    root = RootKey.known(scene.contacts.identity.root_public)
    store = Store.create(
        tmp_path / "phone", passphrase(), root=root, device_id="phone", cost=MINIMUM_COST
    )
    phone = OwnIdentity(store)
    phone.own_omemo([OmemoKey(namespace=NS, id=90, identity_key=identity_key(90))])
    scene.contacts.identity.enrol(phone.request())
    scene.contacts.identity.revoke("phone")
    assert scene.omemo.revoked[2:] == [(OWN, 90)]
    for kept in (store, scene.contacts.store):
        kept.close()
