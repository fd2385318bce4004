"""A server that archives what was said just before it saw us there after we read its archive.

It finds nobody there, we come online and read the archive, and then it archives: what it archives
so comes to nobody live. ejabberd was seen to do so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict

import pytest

from securecall.errors import ConnectFailed, XmppRefused
from securecall.events import MessageIgnored, MessageReceived
from securecall.keys.omemo_values import NAMESPACES
from securecall.settling import LOOKS, MOST_WRITERS
from securecall.xmpp.archive import MAM
from securecall.xmpp.jid import parse_jid
from securecall.xmpp.omemo import devices_node
from tests.chat_scene import WARD, Scene, turns
from tests.stanzas import OWN, held, stanza
from tests.virtual import run_virtual

QUERY = ("set", f"{{{MAM}}}query")


def run(folder, scenario, *, before=()):
    """With Alice, who came online just now; `before` was archived in time."""

    async def main():
        scene = Scene(folder)
        scene.written.extend(before)
        scene.account._settling.begin()
        taking = asyncio.create_task(scene.account._intake.run())
        await scenario(scene)
        scene.account._settling.stop()
        _ = taking.cancel()
        _ = await asyncio.gather(taking, return_exceptions=True)
        scene.contacts.store.close()

    run_virtual(main())


def told(scene, kind=MessageReceived):
    return [event for event in scene.events if isinstance(event, kind)]


@pytest.mark.parametrize("seconds", LOOKS)
@pytest.mark.parametrize("before", [(), ("long before",)])
def test_what_is_archived_late_is_found_though_nothing_follows(tmp_path, seconds, before):
    async def scenario(scene):
        await scene.account._get_ready()
        await asyncio.sleep(seconds - 0.01)
        assert scene.letters == [*before]
        scene.written.append("just before")
        await asyncio.sleep(0.02)
        assert scene.letters == [*before, "just before"]
        await asyncio.sleep(60)
        assert [e.message.text for e in told(scene)] == [*before, "just before"]
        # with its own time, not that of the second reading
        assert scene.history.messages(told(scene)[-1].message.conversation)[-1].sent < 1_800_000_000
        reads = scene.reads
        scene.write("much later", device="another")
        await turns()
        assert scene.reads == reads  # nothing is read for it any more

    run(tmp_path, scenario, before=before)


def test_what_follows_comes_behind_it_and_waits_for_no_time_to_pass(tmp_path):
    async def scenario(scene):
        await scene.account._get_ready()
        began = asyncio.get_running_loop().time()
        scene.written.append("just before")
        scene.write("after")
        scene.write("and more")
        await turns()
        assert scene.letters == ["just before", "after", "and more"]
        assert scene.done == ["after", "and more"]
        assert asyncio.get_running_loop().time() == began
        reads = scene.reads
        scene.write("again")  # of a device that was heard: nothing can be missing before it
        await turns()
        assert (scene.letters[-1], scene.reads) == ("again", reads)
        assert len(told(scene)) == 4  # each once, though all came live and out of the archive

    run(tmp_path, scenario)


def test_what_follows_while_the_archive_is_read_comes_behind_it(tmp_path):
    async def scenario(scene):
        def late():
            scene.at_reading = lambda: None
            scene.written.append("just before")
            scene.write("after")

        scene.at_reading = late
        await scene.account._get_ready()
        await turns()
        assert scene.letters == ["in time", "just before", "after"]

    run(tmp_path, scenario, before=["in time"])


@pytest.mark.parametrize("read_before", [True, False])
def test_it_may_lie_before_what_was_archived_in_time(tmp_path, read_before):
    """It got its place when it came, and was seen there only later."""

    async def scenario(scene):
        if read_before:
            await scene.account._get_ready()
            scene.account._settling.begin()
            scene.written.append("in time")
        await scene.account._get_ready()
        scene.written.insert(scene.written.index("in time"), "just before")
        await asyncio.sleep(1.0)
        assert scene.letters[-2:] == ["in time", "just before"]
        assert len(told(scene)) == len(scene.written)

    run(tmp_path, scenario, before=["long before"] if read_before else ["in time"])


def test_it_is_found_though_the_session_was_lost_and_more_was_archived_behind_it(tmp_path):
    """The look read past its place in the archive, before it stood there."""

    async def scenario(scene):
        await scene.account._get_ready()
        scene.write("after")
        await turns()
        scene.written.insert(scene.written.index("after"), "just before")
        await scene.account._resumed()
        await turns()
        assert set(scene.letters) == {*scene.written}
        assert len(told(scene)) == len(scene.written)

    run(tmp_path, scenario, before=["long before"])


def test_what_is_ignored_is_ignored_once(tmp_path):
    async def scenario(scene):
        scene.writes_in_the_clear = False
        await scene.account._get_ready()
        scene.written.append("just before")
        scene.write("after")
        await asyncio.sleep(60)
        assert len(told(scene, MessageIgnored)) == 2
        scene.writes_in_the_clear = True  # decides about what comes from now on
        scene.history.set_value(f"archive {OWN}", None)
        await scene.account._resumed()
        await turns()
        assert scene.letters == []
        scene.write("now it may be")
        await turns()
        assert scene.letters == ["now it may be"]

    run(tmp_path, scenario)


def test_a_connection_that_breaks_meanwhile_loses_and_turns_round_nothing(tmp_path):
    async def scenario(scene):
        await scene.account._get_ready()
        archive = scene.session.answers[QUERY]

        def breaks(query, to):
            scene.session.online = False
            raise ConnectFailed("the connection is lost")

        scene.session.answers[QUERY] = breaks
        scene.written.append("just before")
        scene.write("after")
        await turns()
        assert (scene.letters, scene.done) == ([], [])
        scene.session.online, scene.session.answers[QUERY] = True, archive
        await scene.account._resumed()
        await turns()
        assert scene.letters == ["just before", "after"]
        scene.written.append("later still")  # it goes on settling
        await asyncio.sleep(60)
        assert scene.letters == ["just before", "after", "later still"]

    run(tmp_path, scenario)


def test_an_archive_that_fails_keeps_nobody_waiting(tmp_path):
    async def scenario(scene):
        await scene.account._get_ready()

        def fails(query, to):
            raise ConnectFailed("no answer in time")

        scene.session.answers[QUERY] = fails
        scene.write("after")
        await turns()
        assert scene.letters == ["after"]

    run(tmp_path, scenario)


def test_a_server_without_an_archive_is_asked_for_it_once(tmp_path):
    async def scenario(scene):
        asked = []

        def refuses(query, to):
            asked.append(query)
            raise XmppRefused("service-unavailable")

        scene.session.answers[QUERY] = refuses
        getting_ready = asyncio.create_task(scene.account._get_ready())
        scene.write("while we ask")
        await getting_ready
        scene.write("after", device="another")
        await asyncio.sleep(60)
        assert scene.letters == ["while we ask", "after"]
        assert len(asked) == 1

    run(tmp_path, scenario)


@pytest.mark.parametrize("apart", [True, False])
def test_a_room_whose_archive_never_comes_keeps_nobody_from_reading_ours(tmp_path, apart):
    async def scenario(scene):
        request, one = scene.session.request, asyncio.Lock()
        if not apart:  # as it was
            scene.account._reading = defaultdict(lambda: one)

        async def asked(payload, *, to="", **options):
            if to == WARD.short:
                await asyncio.Event().wait()
            return await request(payload, to=to, **options)

        await scene.account._get_ready()
        scene.session.request = asked
        reading = asyncio.create_task(scene.account._catch_up(parse_jid(WARD.short)))
        await turns()
        scene.written.append("just before")
        scene.write("after")
        await turns()
        assert scene.letters == (["just before", "after"] if apart else [])
        _ = reading.cancel()

    run(tmp_path, scenario)


def test_who_writes_under_ever_new_names_has_no_archive_read_for_each(tmp_path):
    async def scenario(scene):
        await scene.account._get_ready()
        for number in range(3 * MOST_WRITERS):
            scene.write(str(number), device=str(number))
            await turns()
        assert scene.letters == [str(number) for number in range(3 * MOST_WRITERS)]
        assert scene.reads <= 1 + MOST_WRITERS + len(LOOKS)

    run(tmp_path, scenario)


def test_a_new_device_is_heard_of_while_archives_are_read(tmp_path):
    """What is written meanwhile would be locked for the devices before it."""

    async def scenario(scene):
        node, done = devices_node(NAMESPACES[0]), []
        event = stanza(
            f"<message xmlns='jabber:client' type='headline' from='{OWN}' to='{OWN}/here'>"
            f"<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='{node}'>"
            f"<item id='current'><devices xmlns='{NAMESPACES[0]}'><device id='7'/></devices></item>"
            "</items></event></message>"
        )
        scene.account._dropped()
        scene.account._arrived(event, held(event, lambda: done.append("event")))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await turns()
        assert scene.omemo.lists == [(OWN, NAMESPACES[0], {7})]
        assert done == ["event"]

    run(tmp_path, scenario)
