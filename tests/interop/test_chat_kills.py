"""kill -9 at any moment: what `send` returned arrives once and in order, what the server was told
we have is in our history, and no key encrypts twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import signal
import sys
import time
from dataclasses import dataclass, field

import pytest

import securecall as sc
from securecall.chat.message import Delivery
from securecall.keys.omemo import Omemo
from securecall.store.sqlite import Store
from tests.interop.chatting import PASSPHRASE, QUICK, person, until
from tests.interop.soaking import percentile, require_same
from tests.paths import PROJECT

SEED = int(os.environ.get("SOAK_SEED", "0")) or secrets.randbits(32)
KILLS = int(os.environ.get("SOAK_KILLS", "200"))
PORT = "xmpps"
LOOK = 1.0  # seconds between two looks at all that was written: each keeps everybody waiting


@dataclass
class Ciphertexts:
    """What came encrypted: a message key is named by device, ratchet key and counter."""

    seen: dict[tuple[object, ...], bytes] = field(default_factory=dict)
    again: int = 0
    reused: list[tuple[object, ...]] = field(default_factory=list)

    def note(self, omemo, sealed, jid) -> None:
        """Look at a message before it is opened."""
        scheme = omemo._state.scheme(sealed.namespace)
        for key in omemo._keys_for_us(sealed):
            message = scheme.parse_key(key.data, kex=key.kex)
            header = message.message.header
            name = (
                sealed.namespace,
                jid,
                sealed.sender,
                header.ratchet_pub,
                header.sending_chain_length,
            )
            said = key.data + sealed.iv + sealed.payload
            if name not in self.seen:
                self.seen[name] = said
            elif self.seen[name] == said:
                self.again += 1
            else:
                self.reused.append(name)


@pytest.fixture
def ciphertexts(monkeypatch):
    """Every message that anybody in this process opens, or tries to."""
    found, really = Ciphertexts(), Omemo.open_sealed

    def opened(self, sealed, sender_jid):
        found.note(self, sealed, sender_jid)
        return really(self, sealed, sender_jid)

    monkeypatch.setattr(Omemo, "open_sealed", opened)
    return found


@dataclass
class Chatter:
    """The person that is killed."""

    command: list[str]
    chance: random.Random
    kept: set[int] = field(default_factory=set)
    heard: int = 0
    starts: list[float] = field(default_factory=list)

    async def live_a_while(self) -> None:
        """Start, and be killed at some moment."""
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *self.command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=PROJECT,
        )
        left = self.chance.choice((0, *(self.chance.randint(1, most) for most in (5, 40, 80))))
        try:
            async with asyncio.timeout(60):
                while line := await process.stdout.readline():
                    word, _, rest = line.decode().strip().partition(" ")
                    if word == "begun" and not left:
                        break  # it signs in, reads the archive, sends again what waits
                    if word == "online":
                        self.starts.append(time.monotonic() - began)
                    elif word == "heard":
                        self.heard = max(self.heard, int(rest))
                    elif word == "kept":
                        self.kept.add(int(rest))
                    left -= word in ("kept", "new")
                    if word in ("kept", "new") and left <= 0:
                        break
            await asyncio.sleep(self.chance.uniform(0, 0.6 if left <= 0 else 0.02))
            assert process.returncode is None, (await process.stderr.read()).decode()
        finally:
            if process.returncode is None:
                os.kill(process.pid, signal.SIGKILL)
            rest, _ = await process.communicate()
        for line in rest.decode().splitlines():  # said before it died, and what is cut off is not
            word, _, number = line.partition(" ")
            if word == "kept" and rest.endswith(b"\n") and number.isdigit():
                self.kept.add(int(number))


async def kill_often(server, folder, kills: int, seed: int, ciphertexts: Ciphertexts) -> str:
    """Kill Carol again and again while she and Dave write; returns the figures."""
    chance = random.Random(seed)
    began = time.monotonic()
    home = folder / "carol-1"
    Store.create(home, sc.Secret(PASSPHRASE), cost=QUICK).close()
    chatter = Chatter(
        [
            sys.executable,
            "-m",
            "tests.interop.inside_chatter",
            str(home),
            "carol",
            "dave",
            server.domain,
            str(server.ports[PORT]),
            str(server.authorities),
        ],
        chance,
    )
    port = server.ports[PORT]
    async with person(server, folder, "dave", port=port) as dave:
        async with person(server, folder, "carol", port=port) as carol:
            _ = await carol.conversation(f"dave@{server.domain}").send("carol 0")
            to_carol = dave.conversation(f"carol@{server.domain}")
            await until(lambda: to_carol.messages())
        said = 0

        async def write() -> None:
            nonlocal said
            while True:
                if said - chatter.heard < 30:
                    _ = await to_carol.send(f"dave {said}")
                    said += 1
                await asyncio.sleep(0.01)

        writing = asyncio.create_task(write())
        for _ in range(kills):
            await chatter.live_a_while()
            if writing.done():
                writing.result()
        _ = writing.cancel()
        _ = await asyncio.gather(writing, return_exceptions=True)
        async with person(server, folder, "carol", port=port) as carol:
            to_dave = carol.conversation(f"dave@{server.domain}")
            ours = [m.text for m in to_dave.messages(count=100_000) if m.own]
            theirs = [m.text for m in to_carol.messages(count=100_000) if m.own]

            def left():
                """How much is on its way."""
                there = sum(not m.own for m in to_carol.messages(count=100_000))
                here = sum(not m.own for m in to_dave.messages(count=100_000))
                waits = [
                    m
                    for side in (to_dave, to_carol)
                    for m in side.messages(count=100_000)
                    if m.own and m.delivery is Delivery.PENDING
                ]
                return len(ours) - there + len(theirs) - here + len(waits)

            before = -1
            while (now := left()) not in (0, before):  # a server may take its time, not stop
                before = now
                with contextlib.suppress(TimeoutError):
                    await until(lambda: not left(), seconds=60, every=LOOK)
            got = [m.text or m.unreadable for m in to_carol.messages(count=100_000) if not m.own]
            require_same(got, ours, "what arrived of who was killed")
            kept = [f"carol {n}" for n in sorted({0, *chatter.kept})]
            assert set(kept) <= set(ours), sorted(set(kept) - set(ours))[:10]
            require_same(ours, [f"carol {n}" for n in range(len(ours))], "who was killed wrote")
            got = [m.text or m.unreadable for m in to_dave.messages(count=100_000) if not m.own]
            require_same(got, theirs, "who was killed has")
            assert not left()
            # what she had got when she was killed is receipted once she is back
            receipted = (Delivery.DELIVERED, Delivery.DISPLAYED)
            await until(
                lambda: all(
                    m.delivery in receipted for m in to_carol.messages(count=100_000) if m.own
                ),
                seconds=600,
                every=LOOK,
            )
            bad = [
                m.text
                for side in (to_dave, to_carol)
                for m in side.messages(count=100_000)
                if m.own and m.delivery is Delivery.FAILED
            ]
            assert not bad, bad[:10]
    assert not ciphertexts.reused
    assert len(ciphertexts.seen) >= len(ours)
    return (
        f"{kills} kills in {time.monotonic() - began:.1f} s; {len(ours)} and {len(theirs)} messages"
        f", {len(ciphertexts.seen)} keys, {ciphertexts.again} ciphertexts came again; online after "
        f"{percentile(chatter.starts, 50):.2f} s (p50), {percentile(chatter.starts, 95):.2f} (p95)"
    )


def kill(server, folder, ciphertexts, kills):
    print(f"SOAK_SEED={SEED}")
    print(server.name, asyncio.run(kill_often(server, folder, kills, SEED, ciphertexts)))


@pytest.mark.timeout(240)
def test_a_client_that_is_killed_loses_nothing(prosody, tmp_path, ciphertexts):
    kill(prosody, tmp_path, ciphertexts, 8)


@pytest.mark.soak
@pytest.mark.timeout(7200)  # a guard against hanging: half an hour on a busy machine
@pytest.mark.parametrize("name", ["prosody", "ejabberd"])
def test_a_client_that_is_killed_often_loses_nothing(request, name, tmp_path, ciphertexts):
    kills = KILLS // 5 if name == "ejabberd" else KILLS  # its archive is slow
    kill(request.getfixturevalue(name), tmp_path, ciphertexts, kills)
