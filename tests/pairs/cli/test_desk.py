"""What three people enter while they talk, whose calls are led as the commands lead them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from securecall.cli import conversation, desk
from securecall.cli.calling import follow_call
from securecall.cli.commands import find
from securecall.cli.conversation import Sound, Wishes, converse
from securecall.cli.desk import Board
from securecall.errors import SecurecallError
from securecall.policy import Policy
from tests.pairs.calls.test_registered import at, run
from tests.pairs.calls.test_transfers import three

WISHES = Wishes(loop=True, confirm=False)


class Told:
    """What a person is told, and says."""

    def __init__(self):
        self.events, self.kinds = [], []
        self.lines = asyncio.Queue()
        self.questions = asyncio.Queue()
        self._more = asyncio.Event()
        self.hears = True

    def tell(self, kind, /, **fields):
        if kind != "levels":
            self.kinds.append(kind)
            self.events.append((kind, fields))
            self._more.set()

    async def ask(self, question, yes, no, *, orders=None, text=None):
        while (line := await self.questions.get()).startswith("/"):
            orders(line)
        return {yes: True, no: False}.get(line)

    async def line(self):
        return await self.lines.get()

    def entry(self):
        return nullcontext()

    async def came(self, kind, **wanted):
        """Wait for something to be told; what came before it is forgotten."""
        while True:
            for place, (name, fields) in enumerate(self.events):
                if name == kind and wanted.items() <= fields.items():
                    del self.events[: place + 1]
                    return fields
            self._more.clear()
            await self._more.wait()


class Person:
    """Somebody at a terminal."""

    def __init__(self, client, *, wishes=WISHES, **options):
        self.told = Told()
        self.board = Board(client, self.told, **options)
        self.wishes = wishes
        self._follows = asyncio.ensure_future(follow_call(client, self.board))
        self.task = None

    def call(self, address):
        self._begin(partial(self.board.call, address))

    async def answer(self):
        ring = await self.board.client.next_call()
        self._begin(
            lambda audio, video: ring.accept(audio=audio, video=video, text=self.board.text)
        )

    def _begin(self, make):
        self.task = asyncio.ensure_future(self._talk(make))

    async def _talk(self, make):
        sound = Sound(self.wishes)
        async with self.board:
            try:
                call = make(sound.source, video=sound.shows)
                await converse(call, self.wishes, sound, self.board)
            except SecurecallError as e:
                self.told.tell("failed", message=str(e))

    def enter(self, line):
        self.told.lines.put_nowait(line)

    async def came(self, kind, **wanted):
        return await self.told.came(kind, **wanted)

    async def leave(self):
        tasks = [task for task in (self._follows, self.task) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def of_each(wishes, number):
    """The same for everybody, but that each records into a file of its own."""
    path = wishes.record
    return replace(wishes, record=path and path.with_stem(f"{path.stem}-{number}"))


@asynccontextmanager
async def talking(folder, **options):
    """Alice called Bob, and both talk; Carol waits."""
    async with AsyncExitStack() as stack:
        policy = Policy(call_waiting=False)
        server, *clients = await stack.enter_async_context(three(folder, policy=policy))
        people = [
            Person(client, **options | {"wishes": of_each(options.get("wishes", WISHES), number)})
            for number, client in enumerate(clients)
        ]
        for person in people:
            stack.push_async_callback(person.leave)
        alice, bob, _ = people
        alice.call(at("bob", server))
        await bob.answer()
        for person in (alice, bob):
            await person.came("state", state="connected")
        yield server, *people


def test_somebody_is_asked_first_and_then_both_are_connected(tmp_path):
    async def main():
        async with talking(tmp_path, text=True) as (server, alice, bob, carol):
            alice.enter(f"/consult {at('carol', server)}")
            await carol.answer()
            await alice.came("state", state="connected", peer=f"carol@{server.domain}")
            alice.enter("one moment")
            assert (await carol.came("typed", lines=["one moment"]))["piece"].endswith("\u2028")
            bob.enter("hello?")
            assert "on hold" in (await bob.came("note"))["text"]
            alice.enter("/transfer")
            names = {"peer": f"bob@{server.domain}", "to": f"carol@{server.domain}"}
            await alice.came("handing_over", **names, step="asked")
            await bob.came("transfer", address=at("carol", server), asked=True)
            bob.enter("/accept")
            offered = await carol.came("incoming", caller=at("bob", server))
            assert offered["replaces"] == f"alice@{server.domain}"
            await alice.came("handing_over", step="ringing")
            carol.enter("/accept")
            for person, other in ((bob, "carol"), (carol, "bob")):
                await person.came("state", state="connected", peer=f"{other}@{server.domain}")
                await person.came("note", text=(
                    f"alice@{server.domain} is gone; you are with {other}@{server.domain} now."
                ))  # fmt: skip
            await alice.came("handed_over", **names, done=True, reason="")
            await alice.task
            assert [fields["peer"].split("@")[0] for kind, fields in alice.told.events
                    if kind == "ended"] == ["carol", "bob"]  # fmt: skip
            bob.enter("at last")
            await carol.came("typed", lines=["at last"])
            bob.enter("/hangup")
            await asyncio.gather(bob.task, carol.task)
            assert [kind for kind, _ in carol.told.events].count("ended") == 2

    run(main)


def test_who_declines_stays_and_so_does_who_is_told_no(tmp_path):
    async def main():
        async with talking(tmp_path) as (server, alice, bob, carol):
            alice.enter(f"/transfer {at('carol', server)}")
            await bob.came("transfer", asked=True)
            bob.enter("/decline")
            assert (await alice.came("handed_over"))["reason"] == "declined"
            alice.enter(f"/t {at('carol', server)}")
            await bob.came("transfer", asked=True)
            bob.enter("/accept")
            await (await carol.board.client.next_call()).decline()
            assert (await alice.came("handed_over"))["reason"] == "declined"
            assert (await bob.came("failed"))["reason"] == "declined"
            await bob.came("state", state="connected", peer=f"alice@{server.domain}")
            await bob.came("words")
            bob.enter("/accept")
            assert "nobody asks" in (await bob.came("note"))["text"]
            alice.enter("/hangup")
            await asyncio.gather(alice.task, bob.task)

    run(main)


def test_a_request_ends_with_its_call_and_one_follows_the_other(tmp_path):
    async def main():
        async with talking(tmp_path) as (server, alice, bob, carol):
            alice.enter(f"/transfer {at('carol', server)}")
            await bob.came("transfer", asked=True)
            alice.enter(f"/transfer {at('carol', server)}")
            assert "one after the other" in (await alice.came("note"))["text"]
            bob.enter("/hangup")
            assert (await alice.came("handed_over"))["done"] is False
            await asyncio.gather(alice.task, bob.task)
            assert carol.board.client.calls == ()
            alice.call(at("bob", server))
            await bob.answer()
            await bob.came("state", state="connected")
            await alice.came("state", state="connected")
            alice.enter(f"/transfer {at('carol', server)}")
            await bob.came("transfer", asked=True)
            alice.enter("/hangup")
            await asyncio.gather(alice.task, bob.task)
            assert carol.board.client.calls == ()

    run(main)


def test_after_a_consultation_one_is_back_and_what_cannot_be_done_is_said(tmp_path):
    async def main():
        async with talking(tmp_path) as (server, alice, _, carol):
            for line, why in (
                ("hello", "--text"),
                ("/transfer", "/consult WHO"),
                ("/transfer nonsense", "address"),
                ("/consult key:0123456789", "no contact"),
                ("/press x", "keypad"),
                ("/nothing", "/help"),
                ("/consult", "/consult WHO"),
            ):
                alice.enter(line)
                assert why in (await alice.came("note"))["text"]
                assert alice.board.front.here.is_set()
            alice.enter("/help")
            assert len((await alice.came("orders"))["orders"]) == 10
            alice.enter("/press 5")
            (call,) = alice.board.client.calls
            alice.enter(f"/consult {at('carol', server)}")
            await carol.answer()
            await alice.came("state", state="connected", peer=f"carol@{server.domain}")
            assert call.on_hold
            alice.enter("/hangup")
            await alice.came("state", state="connected", peer=f"bob@{server.domain}")
            assert not call.on_hold
            await alice.came("security")
            assert alice.board.front.call is call
            await carol.task

    run(main)


def test_who_is_left_while_consulting_goes_on_with_the_other(tmp_path):
    async def main():
        async with talking(tmp_path) as (server, alice, bob, carol):
            alice.enter(f"/consult {at('carol', server)}")
            await carol.answer()
            await alice.came("state", state="connected", peer=f"carol@{server.domain}")
            bob.enter("/hangup")
            await alice.came("note", text=(
                f"bob@{server.domain} is gone; you are with carol@{server.domain} now."
            ))  # fmt: skip
            await bob.task
            (call,) = (c for c in alice.board.client.calls if c.peer.startswith("carol"))
            assert call.state.value == "active"
            alice.enter("/transfer")  # whom?
            assert "/consult WHO" in (await alice.came("note"))["text"]
            carol.enter("/hangup")
            await asyncio.gather(alice.task, carol.task)

    run(main)


@pytest.mark.parametrize("deaf", [False, True])
def test_where_nobody_can_answer_nobody_is_called(tmp_path, deaf):
    async def main():
        async with talking(tmp_path, takes_all=True) as (server, alice, bob, carol):
            bob.board.hears = not deaf
            alice.enter(f"/transfer {at('carol', server)}")
            await bob.came("transfer", asked=not deaf)
            if not deaf:
                bob.told.lines.put_nowait(None)  # the end of input
            assert (await alice.came("handed_over"))["reason"] == "declined"
            assert carol.board.client.calls == ()

    run(main)


def test_a_command_that_takes_all_takes_who_is_handed_to_it_and_nobody_else(tmp_path):
    async def main():
        async with talking(tmp_path, takes_all=True) as (server, alice, bob, carol):
            carol.board.hears = False
            alice.enter(f"/consult {at('carol', server)}")
            await carol.answer()
            await alice.came("state", state="connected", peer=f"carol@{server.domain}")
            async with bob.board.client.call(at("carol", server)) as stranger:
                with pytest.raises(SecurecallError, match="busy"):
                    await stranger.connected()
            alice.enter("/transfer")
            await bob.came("transfer", asked=True)
            bob.enter("/accept")
            await carol.came("state", state="connected", peer=f"bob@{server.domain}")
            await alice.task

    run(main)


def test_orders_are_heard_while_words_are_compared(tmp_path):
    async def main():
        wishes = Wishes(loop=True, confirm=True)
        async with talking(tmp_path, wishes=wishes) as (server, alice, bob, _):
            alice.told.questions.put_nowait("/help")
            await alice.came("orders")
            alice.told.questions.put_nowait("confirm")
            await alice.came("security", level="VERIFIED")
            bob.told.questions.put_nowait("confirm")
            told = await bob.came("unbound", address=f"sip:alice@{server.domain}")
            assert find(bob.board.client, told["key"]).state.name == "VERIFIED"
            assert "unbound" not in [kind for kind, _ in alice.told.events]
            bob.enter("/hangup")
            await asyncio.gather(alice.task, bob.task)

    run(main)


def test_who_is_put_on_hold_is_told_by_hand_or_by_a_consultation(tmp_path):
    async def main():
        async with talking(tmp_path) as (server, alice, bob, carol):
            names = {"peer": f"alice@{server.domain}"}
            alice.enter("/resume")
            assert "not on hold" in (await alice.came("note"))["text"]
            alice.enter("/hold")
            await bob.came("hold", **names, held=True)
            assert "/resume" in (await alice.came("note"))["text"]
            alice.enter("/resume")
            await bob.came("hold", **names, held=False)
            (call,) = bob.board.client.calls
            bob.enter("/mute")
            assert "muted" in (await bob.came("note"))["text"]
            assert call.muted
            bob.enter("/mute")
            assert "again" in (await bob.came("note"))["text"]
            assert not call.muted
            alice.enter(f"/consult {at('carol', server)}")
            await bob.came("hold", **names, held=True)
            await carol.answer()
            await alice.came("state", state="connected", peer=f"carol@{server.domain}")
            alice.enter("/hangup")
            await bob.came("hold", **names, held=False)

    run(main)


def test_a_consultation_has_pictures_as_the_first_call_and_no_recording(tmp_path):
    pytest.importorskip("av", reason="the extra video")
    film = tmp_path / "call.webm"
    wishes = Wishes(loop=True, confirm=False, video="test", pictures=True, record=film)

    async def main():
        async with talking(tmp_path, wishes=wishes) as (server, alice, bob, carol):
            await bob.came("pictures", coming=True)
            alice.enter(f"/consult {at('carol', server)}")
            await carol.answer()
            await carol.came("pictures", coming=True, peer=f"alice@{server.domain}")
            await alice.came("pictures", coming=True, peer=f"carol@{server.domain}")
            alice.enter("/hangup")
            await alice.came("state", state="connected", peer=f"bob@{server.domain}")
            alice.enter("/hangup")
            await asyncio.gather(alice.task, bob.task, carol.task)
            assert [kind for kind, _ in alice.told.events].count("recorded") == 1
            assert bob.told.kinds.count("peer_records") == 1
            assert "peer_records" not in carol.told.kinds

    run(main)


def test_who_ends_a_call_with_ctrl_c_is_told_how_it_went_and_has_the_report(tmp_path):
    kept = tmp_path / "report.json"
    wishes = Wishes(loop=True, confirm=False, report=kept)

    reports = []

    async def main():
        async with talking(tmp_path, wishes=wishes) as (_, alice, bob, _):
            bob.task.cancel()
            await asyncio.gather(bob.task, return_exceptions=True)
            assert bob.task.cancelled()
            assert (await bob.came("ended"))["error"] == ""
            reports.append((await bob.came("report"))["file"])
            await alice.came("ended", reason="hung-up")
            await alice.task

    run(main)
    assert Path(*reports).exists()


@pytest.mark.parametrize("waits", [0.1, 3600.0], ids=["ours", "control"])
def test_who_leaves_a_hold_unanswered_keeps_nobody_from_consulting(tmp_path, monkeypatch, waits):
    monkeypatch.setattr(desk, "_TELLING_SECONDS", waits)

    async def main():
        async with talking(tmp_path) as (server, alice, bob, carol):
            (call,) = bob.board.client.calls
            call._leg.listen(lambda _signal: None)
            (held,) = alice.board.client.calls
            alice.enter(f"/consult {at('carol', server)}")
            ringing = asyncio.ensure_future(carol.board.client.next_call())
            await asyncio.wait((ringing,), timeout=1.0)
            assert held.on_hold
            assert ringing.done() is (waits < 1)

    run(main)


@pytest.mark.parametrize("goes", [True, False], ids=["ours", "control"])
def test_who_leaves_as_we_consult_leaves_no_file_or_camera_with_us(tmp_path, monkeypatch, goes):
    opened = []

    class Watched(Sound):
        def __init__(self, *args, **more):
            super().__init__(*args, **more)
            opened.append(self)

        def close(self):
            super().close()
            opened.remove(self)

    monkeypatch.setattr(conversation, "Sound", Watched)

    async def main():
        async with talking(tmp_path) as (server, alice, _, carol):
            (held,) = alice.board.client.calls
            if goes:
                hold = held.hold

                async def gone():
                    await held.hang_up()
                    await hold()

                held.hold = gone
            alice.enter(f"/consult {at('carol', server)}")
            if goes:
                await alice.task
            else:
                await carol.answer()
                await carol.came("state", state="connected")
            assert len(opened) == (0 if goes else 1)

    run(main)
