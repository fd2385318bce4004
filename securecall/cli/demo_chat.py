"""The act of the demo in which people write: what they read, beside what their server has of it."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from securecall.cli.actors import Actor, Company
from securecall.cli.output import Fields
from securecall.cli.stage import Stage
from securecall.errors import LocalError
from securecall.secret import Secret
from securecall.testing.authority import Authority
from securecall.testing.daemons import Daemon, Site, is_installed, start_prosody

_COMMAND: Final = "securecall.cli"
_DOMAIN: Final = "chat.test"
_QUESTION: Final = "Meet me at the old lighthouse at nine?"
_ANSWER: Final = "I will be there. Bring the blue folder."
# Prosody's archive is Lua: a text, then name and attributes of its element, in either order
_PAYLOAD: Final = re.compile(
    r'"([A-Za-z0-9+/=]{40,})";\s*(?:\["attr"\] = \{[^{}]*\};\s*)?\["name"\] = "payload"'
)
_SHOWN: Final = 46
_LOOKS, _LOOK_SECONDS = 100, 0.05


@dataclass(frozen=True, slots=True)
class Set:
    """What the act needs.

    Attributes:
        stage: The screen.
        company: The processes.
        work: Where homes and keys are.
        password: Of both accounts.
    """

    stage: Stage
    company: Company
    work: Path
    password: Secret


def can_chat() -> bool:
    """Whether there is a server to chat through."""
    return is_installed("prosody")


async def chat_act(act: Set) -> dict[str, object]:
    """Let Alice and Bob write to each other; returns what was measured.

    Raises:
        LocalError: something did not work.
    """
    stage = act.stage
    stage.act("Alice and Bob write to each other")
    stage.say("Both have an account at a server they need not trust: Prosody.")
    stage.working("starting the server")
    async with await _server(act) as server:
        alice, bob = await asyncio.gather(
            _chatting(act, server, "alice", "bob"), _chatting(act, server, "bob", "alice")
        )
        await _meet(act, alice, bob)
        _ = await _say(act, alice, bob, _QUESTION)
        got = await _say(act, bob, alice, _ANSWER)
        for actor in (alice, bob):
            actor.write(json.dumps({"type": "quit"}))
        _ = await asyncio.gather(alice.finished(), bob.finished())
        looked, found = await asyncio.to_thread(_search, act.work / "prosody")
    if found:
        raise LocalError("the server has something of what was written; this must not be")
    stage.row(
        "", f"None of their words is in any of the server's {looked} files.", "green", mark="✓"
    )
    stage.say("It knows that they write to each other, and when. Not what.", "dim")
    await stage.pause(1.5)
    return {"protection": got["protection"], "server_files": looked, "server_found": found}


async def _server(act: Set) -> Daemon:
    authority = await asyncio.to_thread(Authority.make, act.work / "chat-authority")
    people = {"alice": act.password, "bob": act.password}
    certificate = authority.issue(_DOMAIN)
    return await start_prosody(
        Site(act.work / "prosody", _DOMAIN, people, certificate, authority.pem)
    )


async def _chatting(act: Set, server: Daemon, name: str, other: str) -> Actor:
    actor = await act.company.start(
        name.title(), _COMMAND, "chat", f"{other}@{_DOMAIN}", "--home", act.work / name,
        "--passphrase-file", act.work / "passphrase", "--account", f"{name}@{_DOMAIN}",
        "--password-file", act.work / "passphrase", "--server", f"127.0.0.1:{server.ports['xmpp']}",
        "--authorities", act.work / "chat-authority" / "authority.pem",
    )  # fmt: skip
    _ = await actor.wait_for("chat")
    return actor


async def _meet(act: Set, alice: Actor, bob: Actor) -> None:
    """Let both see that the other is there."""
    alice.write(json.dumps({"type": "contact"}))
    _ = await bob.wait_for("note", lambda e: "/contact" in str(e["text"]))
    bob.write(json.dumps({"type": "contact"}))
    for actor in (alice, bob):
        _ = await actor.wait_for("standing", lambda e: e["presence"] == "available")
    act.stage.settle(keep=False)
    act.stage.row("Each sees", "● the other is available", "green")
    await act.stage.pause(0.8)


async def _say(act: Set, writer: Actor, reader: Actor, text: str) -> Fields:
    """One writes, the server keeps, the other reads."""
    stage, archive = act.stage, act.work / "prosody"
    before = len(_payloads(archive))
    stage.settle(keep=False)
    stage.row(f"{writer.name} writes", text, "bold")
    writer.write(json.dumps({"type": "say", "text": text}))
    got = await reader.wait_for("message", lambda e: e["text"] == text)
    if not got["encrypted"]:
        raise LocalError("the message was not encrypted")
    kept = await _kept_by_server(archive, before)
    stage.row("The server has", f"{kept[:_SHOWN]}…", "dim")
    stage.row(f"{reader.name} reads", str(got["text"]), "green")
    await stage.pause(1.2)
    return got


async def _kept_by_server(folder: Path, before: int) -> str:
    """The ciphertext of what came behind so many in the server's archive.

    Raises:
        LocalError: it is not there.
    """
    for _ in range(_LOOKS):
        if len(found := await asyncio.to_thread(_payloads, folder)) > before:
            return found[-1]
        await asyncio.sleep(_LOOK_SECONDS)  # it writes a moment after it passed the message on
    raise LocalError("the server kept nothing that could be shown")


def _payloads(folder: Path) -> list[str]:
    """Everything that was encrypted in the archive of Bob, in the order it came."""
    texts = [path.read_text("utf-8", "replace") for path in folder.glob("data/*/archive*/bob.list")]
    return [str(found) for text in texts for found in _PAYLOAD.findall(text)]


def _search(folder: Path) -> tuple[int, int]:
    """How many files the server has, and how many of them hold what was written."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    words = (_QUESTION.encode(), _ANSWER.encode())
    return len(files), sum(any(w in path.read_bytes() for w in words) for path in files)
