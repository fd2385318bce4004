"""Two of our people who write to each other while everything between them breaks."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import securecall as sc
from securecall.chat.message import Delivery
from securecall.events import ChatStateChanged
from securecall.store.sqlite import Store
from securecall.testing.cutting import Break, CuttingRelay, Fate
from securecall.xmpp import connecting, reconnecting, session
from securecall.xmpp.session import SessionState
from tests.interop.chatting import PASSPHRASE, person, until
from tests.interop.xmpp_servers import XmppServer

LOGIN_BYTES = 20_000  # about what passes until a session is ready
STUCK_SECONDS = 60.0
WINDOW = 40  # messages that one may be ahead of what the other got
KINDS = (Break.RESET, Break.RESET, Break.CLOSE, Break.CLOSE, Break.HALF_CLOSE)


@dataclass(frozen=True)
class Plan:
    """What is done to them.

    Attributes:
        messages: Each way.
        cuts: Of connections, at random bytes.
        restarts: Of the server: no session can be resumed after one.
        seed: Of all chance.
        stalls: Of the cuts, those that nobody is told of.
        absences: How often the relay refuses for a while.
        first: So many messages each way stand in the stores already, from an earlier part.
    """

    messages: int
    cuts: int
    restarts: int
    seed: int
    stalls: int = 0
    absences: int = 0
    first: int = 0

    @property
    def last(self) -> int:
        """So many stand in the stores at the end."""
        return self.first + self.messages


@dataclass
class Figures:
    """What came of it."""

    seconds: float = 0.0
    messages: int = 0
    broken: dict[str, int] = field(default_factory=dict)
    restarts: int = 0
    absences: int = 0
    sessions: int = 0  # connections that came to be again
    back: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        cuts = ", ".join(f"{count} {how}" for how, count in self.broken.items() if count)
        return (
            f"{self.messages} messages in {self.seconds:.1f} s ({self.messages / self.seconds:.0f}"
            f"/s); cuts: {cuts}; {self.restarts} restarts, {self.absences} absences; online again "
            f"{self.sessions} times, after {percentile(self.back, 50):.2f} s (p50), "
            f"{percentile(self.back, 95):.2f} s (p95), {max(self.back, default=0):.2f} s (most)"
        )


def percentile(values: list[float], percent: int) -> float:
    """Of these; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0.0


@contextmanager
def impatient() -> Iterator[None]:
    """As many tries as there are cuts: a client waits longer and longer otherwise (see D2)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reconnecting, "_FIRST", 0.05)
        patch.setattr(reconnecting, "_LAST", 1.0)
        patch.setattr(reconnecting, "_HELD", 0.0)
        patch.setattr(reconnecting, "_BUSY", 1_000_000)
        patch.setattr(reconnecting, "PING_AFTER", 5.0)
        patch.setattr(reconnecting, "DEAD_AFTER", 3.0)
        patch.setattr(session, "DEAD_AFTER", 3.0)
        for module in (connecting, session):
            patch.setattr(module, "LOGIN_SECONDS", 5.0)
        yield


class Fates:
    """So many cuts, spread over the messages that are still to come.

    A connection that ends otherwise, by a restart for one, takes no cut with it.
    """

    def __init__(self, plan: Plan, chance: random.Random) -> None:
        self.on = False
        self.broken: Callable[[], int] = lambda: 0
        self._stalls = plan.stalls
        self._chance = chance
        self._plan = plan
        self.done: Callable[[], int] = lambda: 0
        self.passed: Callable[[], int] = lambda: 0

    def __call__(self) -> Fate | None:
        """The fate of the next connection."""
        left = self._plan.cuts - self.broken()
        if left <= 0 or not self.on:
            return None
        done, all_of = self.done(), self._plan.messages * 2
        each = self.passed() / done if done > 20 else 8_000
        between = each * max(1, all_of * 0.9 - done) / left
        if self._chance.random() < 0.2:  # while it logs in, or reads the archive
            after = self._chance.randint(0, LOGIN_BYTES)
        else:
            after = self._chance.randint(1, max(LOGIN_BYTES, int(2 * between)))
        how = self._chance.choice(KINDS)
        if self._stalls > 0 and self._chance.random() < self._stalls / (left + 1):
            self._stalls -= 1
            how = Break.STALL
        return Fate(how, after)


class Trouble:
    """Restarts, and absences of the relays; knows when the server was up."""

    def __init__(self, server: XmppServer, relays: list[CuttingRelay]) -> None:
        self._server = server
        self._relays = relays
        self.up_since = 0.0

    async def restart(self) -> None:
        """Restart the server; the sessions are lost."""
        self.up_since = float("inf")
        await asyncio.to_thread(self._server.restart)
        self.up_since = time.monotonic()

    async def absence(self, seconds: float) -> None:
        """Nobody is reached for a while."""
        self.up_since = float("inf")
        for relay in self._relays:
            relay.refuse()
            _ = relay.cut()
        await asyncio.sleep(seconds)
        for relay in self._relays:
            await relay.accept()
        self.up_since = time.monotonic()


@dataclass
class Side:
    """One of the two."""

    name: str
    other: str
    client: sc.Client
    address: str
    heard: list[str] = field(default_factory=list)

    @property
    def conversation(self):
        """With the other."""
        return self.client.conversation(self.address)

    @property
    def wanted(self) -> str:
        """How the messages of the other begin."""
        return self.other

    async def listen(self) -> None:
        """As an application does."""
        async for message in self.client.messages(after=0):
            self.heard.append(message.text or message.unreadable)

    async def watch(self, trouble: Trouble, figures: Figures) -> None:
        """Measure how long it takes to be back."""
        down = 0.0
        async for event in self.client.events():
            if not isinstance(event, ChatStateChanged):
                continue
            assert event.state is not SessionState.REFUSED, event.error
            if event.state is SessionState.CONNECTING:
                down = down or time.monotonic()
            elif event.state is SessionState.ONLINE and down:
                figures.sessions += 1
                figures.back.append(max(0.0, time.monotonic() - max(down, trouble.up_since)))
                down = 0.0


async def soak(server: XmppServer, folder: Path, names: tuple[str, str], plan: Plan) -> Figures:
    """Let them write while it breaks; nothing may be lost, doubled or out of order."""
    chance = random.Random(plan.seed)
    fates = Fates(plan, chance)
    figures = Figures(messages=plan.messages * 2)
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        relays = [
            await stack.enter_async_context(CuttingRelay(server.ports["xmpps"], fates))
            for _ in names
        ]
        sides = []  # to sign in is another matter: it fails where it cannot
        for name, other, relay in zip(names, reversed(names), relays, strict=True):
            client = await stack.enter_async_context(person(server, folder, name, port=relay.port))
            sides.append(Side(name, other, client, f"{other}@{server.domain}"))
        trouble = Trouble(server, relays)
        fates.passed = lambda: sum(r.counts.to_server + r.counts.to_client for r in relays)
        fates.broken = lambda: sum(r.counts.broken[how] for r in relays for how in Break)
        fates.done = lambda: sum(len(side.heard) - plan.first for side in sides)
        beside = [
            asyncio.create_task(work)
            for side in sides
            for work in (side.listen(), side.watch(trouble, figures))
        ]
        if plan.first:
            await until(lambda: all(len(side.heard) > plan.first for side in sides), seconds=60)
        else:
            await greet(sides)
        fates.on = True
        for relay in relays:
            _ = relay.cut()
        writing = asyncio.gather(*(write(side, plan, sides, chance) for side in sides))
        breaking = asyncio.create_task(break_it(trouble, plan, fates, chance, figures))
        running = [writing, breaking, *beside]
        await finish(running, headway(sides, lambda: writing.done() and breaking.done()))
        for relay in relays:
            relay.release()
        await finish(beside, settle(sides, plan))
        figures.seconds = time.monotonic() - began
        for task in beside:
            _ = task.cancel()
        _ = await asyncio.gather(*beside, return_exceptions=True)
        for how in Break:
            figures.broken[how.name] = sum(relay.counts.broken[how] for relay in relays)
    for side in sides:
        require_kept(folder, side, plan)
    return figures


async def greet(sides: list[Side]) -> None:
    """So that each knows the other's devices, and trusts them."""
    for side, other in (sides, list(reversed(sides))):
        _ = await side.conversation.send(f"{side.name} hello")
        await until(lambda other=other: other.heard)


async def write(side: Side, plan: Plan, sides: list[Side], chance: random.Random) -> None:
    """Send what is numbered, not too far ahead of what is heard; at times several at once."""
    other = next(each for each in sides if each is not side)
    number = plan.first
    while number < plan.last:
        await until(lambda: number - len(other.heard) <= WINDOW, seconds=1800)  # noqa: B023
        burst = range(number, min(plan.last, number + chance.choice((1, 1, 2, 8))))
        _ = await asyncio.gather(*(side.conversation.send(f"{side.name} {n}") for n in burst))
        number = burst.stop


async def break_it(
    trouble: Trouble, plan: Plan, fates: Fates, chance: random.Random, figures: Figures
) -> None:
    """Restarts and absences, spread over the messages."""
    kinds = ["restart"] * plan.restarts + ["absence"] * plan.absences
    chance.shuffle(kinds)
    for place, kind in enumerate(kinds, start=1):
        due = plan.messages * 2 * place / (len(kinds) + 1)
        await until(lambda: fates.done() >= due, seconds=1800)  # noqa: B023
        if kind == "restart":
            await trouble.restart()
            figures.restarts += 1
        else:
            await trouble.absence(chance.uniform(0.05, 1.5))
            figures.absences += 1


async def finish(tasks, work) -> None:
    """Wait for the work; what fails meanwhile fails at once."""
    working = asyncio.ensure_future(work)
    pending = {*map(asyncio.ensure_future, tasks), working}
    try:
        while not working.done():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        _ = working.cancel()


def expected(side: Side, plan: Plan) -> list[str]:
    """What the other said."""
    return [f"{side.other} hello", *(f"{side.other} {n}" for n in range(plan.last))]


async def headway(sides: list[Side], done: Callable[[], bool]) -> None:
    """Wait, as long as there is any headway."""
    before = -1
    while not done():
        now = sum(len(side.heard) for side in sides)
        if now == before:
            for side in sides:
                (account,) = side.client.chat_accounts
                print(account._session._management.undone, account._session._paused)
                print(side.name, account.state, len(side.heard), pending(side.client, side.address))
            for task in asyncio.all_tasks():
                task.print_stack(limit=4)
            pytest.fail(f"no headway in {STUCK_SECONDS} seconds")
        before = now
        with contextlib.suppress(TimeoutError):
            await until(done, seconds=STUCK_SECONDS)


async def settle(sides: list[Side], plan: Plan) -> None:
    """Wait until all is there, and nothing waits to be sent."""
    try:
        for side in sides:
            await until(lambda side=side: len(side.heard) > plan.last, seconds=120)
        for side in sides:
            await until(lambda side=side: not pending(side.client, side.address), seconds=60)
    except TimeoutError:
        for side in sides:
            print(side.name, "heard", len(side.heard), "waits", pending(side.client, side.address))
        for side in sides:
            require_same(side.heard, expected(side, plan), side.name)
        raise


def pending(client: sc.Client, address: str) -> list[str]:
    """What we wrote, and the server does not have."""
    return [
        message.text
        for message in client.conversation(address).messages(count=100_000)
        if message.own and message.delivery in (Delivery.PENDING, Delivery.FAILED)
    ]


def require_same(got: list[str], wanted: list[str], whose: str) -> None:
    """None lost, doubled, or out of order; says what differs first."""
    if got == wanted:
        return
    seen: set[str] = set()
    doubled = [text for text in got if text in seen or seen.add(text)]
    lost = [text for text in wanted if text not in seen]
    strange = [text for text in got if text not in set(wanted)]
    order = [text for text in dict.fromkeys(got) if text in set(wanted)]
    present = [text for text in wanted if text in seen]
    moved = [pair for pair in zip(order, present, strict=True) if pair[0] != pair[1]]
    pytest.fail(
        f"{whose}: lost {lost[:10]} ({len(lost)}), doubled {doubled[:10]} ({len(doubled)}), "
        f"strange {strange[:10]} ({len(strange)}), out of order {moved[:5]} ({len(moved)})"
    )


def require_kept(folder: Path, side: Side, plan: Plan) -> None:
    """The store says the same when it is opened again."""
    store = Store.open(folder / f"{side.name}-1", sc.Secret(PASSPHRASE))
    try:
        history = store.open_history()
        address = sc.parse_address(f"xmpp:{side.address}")
        messages = history.messages(address, count=100_000)
        theirs = [m.text or m.unreadable for m in messages if not m.own]
        require_same(theirs, expected(side, plan), f"{side.name}'s store")
        require_same(side.heard, theirs, f"what {side.name} was told")
        ours = [m.text or m.unreadable for m in messages if m.own]
        require_same(
            ours,
            [f"{side.name} hello", *(f"{side.name} {n}" for n in range(plan.last))],
            f"{side.name}'s own",
        )
        unsent = [m.text for m in messages if m.own and m.delivery is Delivery.PENDING]
        assert not unsent
        failed = [m.text for m in messages if m.own and m.delivery is Delivery.FAILED]
        assert not failed
    finally:
        store.close()
