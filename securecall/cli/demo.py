"""The demo: a chat, a call, an attack on an ordinary call and on ours, and who could have listened.

Everything shown is measured in this run. Alice, Bob and Mallory are three processes of the
operating system; Alice and Bob are the `securecall` command itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import securecall
from securecall.address import parse_address
from securecall.cli import sound
from securecall.cli.actors import Actor, Company
from securecall.cli.demo_chat import Set, can_chat, chat_act
from securecall.cli.failures import Overloaded
from securecall.cli.output import Fields, Output
from securecall.cli.stage import Stage
from securecall.errors import LocalError
from securecall.secret import Secret
from securecall.store.lock import MINIMUM_COST

_COMMAND: Final = "securecall.cli"
_MALLORY: Final = "securecall.testing.mallory"
_PATIENCE_SECONDS: Final = 180.0  # it takes less than one minute of a machine at rest
_HOST: Final = "127.0.0.1"
_SERVER: Final = "provider.test"
_BOBS_NAME: Final = "bob.provider.test"
_ALICE, _BOB = "sip:alice@provider.test", "sip:bob@provider.test"
_FRAME_SECONDS: Final = 0.05
_TRIES: Final = (
    ("strip", "hide the proof"),
    ("relay-inner", "pass it on"),
    ("impersonate", "forge it"),
)
_PLAINLY: Final = {
    "downgrade": "Bob's proof is missing. The call ended.",
    "identity-missing": "Bob's proof is missing. The call ended.",
    "binding-mismatch": "The proof is for another line. The call ended.",
    "identity-changed": "Not the key they know. The call ended.",
}


@dataclass(slots=True)
class Run:
    """One performance.

    Attributes:
        stage: The screen.
        company: The processes.
        work: Homes and keys; thrown away.
        keep: Recordings; left for the user.
        speech: Seconds of speech in a call.
        secret: What is in the passphrase's file.
        roots: Name -> root key, in hex.
        measured: What `--json` prints.
    """

    stage: Stage
    company: Company
    work: Path
    keep: Path
    speech: float
    secret: Secret
    roots: dict[str, str] = field(default_factory=dict)
    measured: dict[str, object] = field(default_factory=dict)

    def home(self, name: str) -> tuple[object, ...]:
        """Return the arguments that make the command be this person."""
        return ("--home", self.work / name, "--passphrase-file", self.work / "passphrase")


async def demo(args: argparse.Namespace, output: Output) -> None:
    """Play the acts.

    Raises:
        LocalError: something did not work; the demo never pretends.
    """
    keep = await asyncio.to_thread(_folder, args.keep)
    stage = Stage(output, patient=not args.fast)
    with tempfile.TemporaryDirectory(prefix="securecall-") as folder:
        work = Path(folder)
        secret = await asyncio.to_thread(_prepare, work)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS), Company() as company:
                run = Run(stage, company, work, keep, 2.6 if args.fast else 6.6, secret)
                await _play(run)
        except TimeoutError as e:
            raise Overloaded("the demo took too long; is this machine very busy?") from e
        finally:
            stage.settle(keep=False)
            if args.keep is None:
                with contextlib.suppress(OSError):  # there is something in it
                    keep.rmdir()
    if args.json:
        sys.stdout.write(json.dumps(run.measured) + "\n")


def _folder(keep: Path | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="securecall-demo-"))
    keep.mkdir(parents=True, exist_ok=True)
    return keep


def _prepare(work: Path) -> Secret:
    (work / "passphrase").touch(mode=0o600)
    secret = secrets.token_urlsafe(24)
    _ = (work / "passphrase").write_text(secret, encoding="ascii")
    sound.second_voice(work / "bob.wav")
    return Secret(secret)


async def _play(run: Run) -> None:
    stage = run.stage
    stage.title("securecall", "calls and messages nobody in between gets to know")
    stage.working("making keys")
    await _make_keys(run)
    if can_chat():
        scene = Set(stage, run.company, run.work, run.secret)
        run.measured["chat"] = await chat_act(scene)
    else:
        stage.say(
            "(Where Prosody is installed, this begins with a chat: apt install prosody)", "dim"
        )
    stage.act("Alice calls Bob")
    stage.say("Three programs run on this computer: Alice, Bob and, soon, Mallory.")
    stage.say("Bob sends Alice a ticket. That is all they need: no account, no server.")
    report = await _first_act(run)
    await stage.pause(1.5)
    stage.act("Mallory sits in the middle")
    stage.say("Now both use a phone provider they trust. The provider is Mallory.")
    stage.working("letting Mallory in")
    mallory = await run.company.start(
        "Mallory", _MALLORY, "--mode", "swap", "--folder", run.work / "mallory",
        "--name", _SERVER, "--issue", _BOBS_NAME,
    )  # fmt: skip
    await _second_act(run, mallory)
    await stage.pause(1.5)
    stage.act("Who could have listened to the first call")
    stage.page(report)
    await stage.pause(1.0)
    _farewell(run)


async def _make_keys(run: Run) -> None:
    """Make two pairs of people: one that will know each other, one that does not check anything.

    Their passphrase is as random as a key: that guessing it be dear would protect nothing more.
    """
    claims = {"alice": _ALICE, "bob": _BOB, "plain-alice": "", "plain-bob": ""}
    for name, claim in claims.items():
        home = securecall.open(
            run.work / name, passphrase=run.secret, cost=MINIMUM_COST, create=True
        )
        async with home as person:
            run.roots[name] = person.contacts.root_fp.hex()
            if claim:
                person.contacts.own_address(parse_address(claim))


# -- act 1 ----------------------------------------------------------------------------------------


async def _first_act(run: Run) -> Fields:
    stage, record = run.stage, run.keep / "bob-heard.wav"
    ticket = run.work / "ticket"
    bob = await run.company.start(
        "Bob", _COMMAND, "answer", *run.home("bob"), "--ticket", "--host", _HOST, "--port", 0,
        "--out", ticket, "--play", run.work / "bob.wav", "--record", record,
        "--once", "--auto-accept",
    )  # fmt: skip
    await bob.wait_for("ready")
    alice = await run.company.start(
        "Alice", _COMMAND, "call", f"@{ticket}", *run.home("alice"),
        "--seconds", run.speech, *(("--speaker",) if stage.patient else ()),
    )  # fmt: skip
    connected = await alice.wait_for("state", lambda e: e["state"] == "connected")
    words = [(await actor.wait_for("words"))["words"] for actor in (alice, bob)]
    began = time.monotonic()
    async with _meters(run, alice, bob, began):
        await stage.pause(1.0)
        if words[0] != words[1]:
            raise LocalError("Alice and Bob see different words; somebody sits between them")
        spoken = _words(words[0])
        stage.row("Alice's screen", spoken, "bold")
        stage.row("Bob's screen", spoken, "bold")
        await stage.pause(1.5)
        for actor in (alice, bob):
            actor.write("confirm")
        security = await alice.wait_for("security", lambda e: bool(e["sas_confirmed"]))
        await bob.wait_for("security", lambda e: bool(e["sas_confirmed"]))
        stage.row("", "The same words: nobody is in between. Verified.", "green", mark="✓")
        stage.say("(The demo compared what both printed. On a real call, read them aloud.)", "dim")
        ended = await alice.wait_for("ended")
    report = await alice.wait_for("report")
    heard_by_bob = await bob.wait_for("ended")
    await bob.wait_for("report")
    like = await asyncio.to_thread(sound.likeness, sound.sample_path(), record)
    quantum = ", quantum-safe" if security["pq"] else ""
    stage.row("Encrypted", f"end to end{quantum}; ready after {connected['setup_ms']:.0f} ms")
    said = await asyncio.to_thread(sound.trace, sound.sample_path(), stage.bars, seconds=run.speech)
    heard = await asyncio.to_thread(sound.trace, record, stage.bars, seconds=run.speech)
    stage.trace("Alice said", said, f"{ended['sent_seconds']:.1f} s", "cyan")
    stage.trace("Bob heard", heard, f"{like:.0%} alike", "green")
    run.measured |= {
        "level": security["level"],
        "pq": security["pq"],
        "sframe": security["sframe"],
        "srtp_profile": security["srtp_profile"],
        "group": security["group"],
        "sas_words": words[0],
        "audio": {
            "sent_seconds": ended["sent_seconds"],
            "received_seconds": heard_by_bob["received_seconds"],
        },
        "recording": str(record),
        "recording_seconds": round(sound.duration(record), 2),
        "recording_likeness": round(like, 3),
        "setup_ms": connected["setup_ms"],
        "report": report["report"],
    }
    return report


@contextlib.asynccontextmanager
async def _meters(run: Run, alice: Actor, bob: Actor, began: float) -> AsyncIterator[None]:
    """Let both meters move for as long as the block runs, and stay at the end."""

    async def draw() -> None:
        while True:
            run.stage.meters(
                ("Alice → Bob", bob.received),
                ("Bob → Alice", alice.received),
                seconds=time.monotonic() - began,
            )
            await asyncio.sleep(_FRAME_SECONDS)

    drawing = asyncio.ensure_future(draw())
    try:
        yield
    finally:
        drawing.cancel()
        run.stage.settle(keep=False)


# -- act 2 ----------------------------------------------------------------------------------------


async def _second_act(run: Run, mallory: Actor) -> None:
    stage = run.stage
    ready = await mallory.wait_for("ready")
    heard = await _ordinary_call(run, mallory, ready)
    recording = run.keep / "mallory-heard.wav"
    if not heard:
        raise LocalError("Mallory recorded nothing, so the demo would show nothing")
    shutil.copyfile(run.work / "mallory" / "heard-0.wav", recording)
    seconds = sound.duration(recording)
    like = await asyncio.to_thread(sound.likeness, sound.sample_path(), recording)
    heights = await asyncio.to_thread(sound.trace, recording, stage.bars, seconds=run.speech)
    stage.row(
        "Ordinary call", "Encrypted as in WebRTC (DTLS-SRTP). Mallory records:", "red", mark="✗"
    )
    stage.trace("Mallory heard", heights, f"{like:.0%} alike", "red")
    stage.place("Listen to it", recording)
    await stage.pause(2.0)
    stage.say("")
    stage.say("The same Mallory against securecall. She tries to ...")
    before = await _figures(mallory)
    reasons = await _real_calls(run, mallory, ready)
    after = await _figures(mallory)
    # what she decoded as it came, and what any key she ever held opens of all she captured
    ours = max(after[0] - before[0], after[1] - before[1])
    stage.trace(
        "Mallory heard", [1.0 if ours else 0.0] * stage.bars, f"{ours} bytes", "red", "bold"
    )
    run.measured["attack"] = {
        "control_bytes": heard,
        "our_bytes": ours,
        "recording": str(recording),
        "recording_seconds": round(seconds, 2),
        "recording_likeness": round(like, 3),
        "reasons": reasons,
    }


async def _figures(mallory: Actor) -> tuple[int, int]:
    """Return the octets of sound Mallory decoded, and those she could open afterwards."""
    mallory.write('{"summary": true}')
    figures = await mallory.wait_for("summary")
    return int(str(figures["bytes_decrypted"])), int(str(figures["bytes_decryptable"]))


async def _ordinary_call(run: Run, mallory: Actor, ready: Fields) -> int:
    """Let two who check nothing talk; returns the bytes of sound Mallory decoded."""
    bob = await _answering(run, mallory, ready, "plain-bob", "--danger-plain-dtls", "--once")
    alice = await _calling(run, ready, "plain-alice", "--danger-plain-dtls")
    await alice.wait_for("state", lambda e: e["state"] == "connected")
    async with _meters(run, alice, bob, time.monotonic()):
        await alice.wait_for("ended")
    await bob.wait_for("ended")
    return (await _figures(mallory))[0]


async def _real_calls(run: Run, mallory: Actor, ready: Fields) -> dict[str, str]:
    """Let the real Alice call the real Bob, whatever Mallory tries; returns how each try ended."""
    await _exchange_addresses(run)
    bob = await _answering(run, mallory, ready, "bob")
    reasons: dict[str, str] = {}
    for inner, what in _TRIES:
        mallory.write(json.dumps({"inner": inner}))
        await mallory.wait_for("obeyed")
        run.stage.working(f"{what}: Alice calls")
        alice = await _calling(run, ready, "alice")
        error = await alice.wait_for("error")
        if error["kind"] in {"LocalError", "UsageError"} or alice.find("security"):
            raise LocalError(f"the attack did not run as it should: {error['message']}")
        other = await bob.wait_for("failed")
        if error["reason"] == "handshake-failed":  # Bob saw through it first
            error = other
        reasons[inner] = str(error["reason"])
        run.stage.settle(keep=False)
        plainly = _PLAINLY.get(reasons[inner], str(error["message"]))
        run.stage.row(what, plainly, "green", mark="✓")
    return reasons


async def _exchange_addresses(run: Run) -> None:
    """Let Alice and Bob note each other's SIP address beside the key they verified."""
    noting = [
        (await run.company.start(
            name, _COMMAND, "contacts", *run.home(name), "--add", run.roots[other], address
        ), run.roots[other])
        for name, other, address in (("alice", "bob", _BOB), ("bob", "alice", _ALICE))
    ]  # fmt: skip
    for actor, root in noting:
        if (await actor.wait_for("contact"))["root"] != root:
            raise LocalError(f"{actor.name} does not hold the new address to the verified key")
        await actor.finished()


async def _answering(run: Run, mallory: Actor, ready: Fields, name: str, *more: object) -> Actor:
    certificates = ready["certificates"]
    pair = certificates[_BOBS_NAME] if isinstance(certificates, dict) else {}
    port = _free_port()
    mallory.write(json.dumps({"route": {_BOB: f"{_HOST}:{port}/{_BOBS_NAME}"}}))
    bob = await run.company.start(
        "Bob", _COMMAND, "answer", *run.home(name), *_account(_BOB, ready),
        "--listen", f"{_HOST}:{port}", "--certificate", pair["certificate"], "--key", pair["key"],
        "--play", run.work / "bob.wav", "--auto-accept", "--confirm", "never", *more,
    )  # fmt: skip
    await bob.wait_for("ready")
    return bob


async def _calling(run: Run, ready: Fields, name: str, *more: object) -> Actor:
    return await run.company.start(
        "Alice", _COMMAND, "call", _BOB, *run.home(name), *_account(_ALICE, ready),
        "--seconds", run.speech, "--confirm", "never", *more,
    )  # fmt: skip


def _account(address: str, ready: Fields) -> tuple[object, ...]:
    return (
        "--account", address, "--no-password", "--server", f"{ready['host']}:{ready['port']}",
        "--server-name", ready["name"], "--authorities", ready["authority"],
    )  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


# -- the end --------------------------------------------------------------------------------------


def _farewell(run: Run) -> None:
    stage = run.stage
    stage.say("")
    stage.say("Now you:", "bold")
    stage.row("Both of you", "pip install securecall     securecall init")
    stage.row("Your friend", "securecall ticket          securecall answer")
    stage.row("You", "securecall call -          and paste the ticket", "bold")
    stage.row("Or write", "securecall chat THEIR-ADDRESS --account YOUR-ADDRESS")


def _words(words: object) -> str:
    return "  ".join(map(str, words)) if isinstance(words, list) else ""
