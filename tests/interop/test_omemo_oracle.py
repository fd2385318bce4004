"""Our OMEMO and python-omemo's backends, in another process: both ways, reordered and lost."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest

from securecall.errors import AlreadyOpened, ProtocolError
from securecall.keys.omemo_values import OMEMO, OMEMO_LEGACY, Sealed, montgomery
from securecall.testing.omemo_world import Person, World
from securecall.xmpp.fragment import parse_fragment
from securecall.xmpp.omemo import (
    build_bundle,
    build_devices,
    build_encrypted,
    parse_bundle,
    parse_devices,
    parse_encrypted,
)
from securecall.xmpp.xml import serialise
from tests.paths import PROJECT

OURS, THEIRS = "alice@a.example", "oracle@o.example"
ORACLES = {"twomemo": OMEMO, "oldmemo": OMEMO_LEGACY}


class Oracle:
    """The other process."""

    def __init__(self, python: Path, name: str) -> None:
        self.namespace = ORACLES[name]
        script = Path(__file__).with_name("omemo_oracle.py")
        self.process = subprocess.Popen(
            [python, script, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.bundle = ""

    def ask(self, do: str, **order: object) -> dict[str, object]:
        self.process.stdin.write(json.dumps({"do": do, **order}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the oracle ended"
        answer = json.loads(line)
        if "error" in answer:
            raise AssertionError(answer["error"])
        return answer

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


@pytest.fixture(params=list(ORACLES))
def oracle(request: pytest.FixtureRequest) -> Iterator[Oracle]:
    python = PROJECT / ".venv-oracle" / ("Scripts" if os.name == "nt" else "bin") / "python"
    probe = ["-c", f"import {request.param}.etree"]
    if not python.exists() or subprocess.run([python, *probe], capture_output=True).returncode:
        pytest.skip(f"{request.param} is not in .venv-oracle; python3 dev.py interop makes it")
    process = Oracle(python, request.param)
    yield process
    process.close()


def text(element: ElementTree.Element) -> str:
    return serialise(element, within="").decode()


def read(stanza: object) -> Sealed:
    return parse_encrypted(parse_fragment(str(stanza).encode(), most=1_000_000))


async def meet(oracle: Oracle, world: World) -> tuple[Person, int]:
    """Both publish; both know of the other."""
    namespace = oracle.namespace
    ours = await world.person(OURS, namespaces=(namespace,))
    answer = oracle.ask("start", jid=THEIRS)
    number = answer["device"]
    publish(oracle, world, answer, number)
    bundle = world.server.bundles[namespace, OURS, ours.id]
    oracle.ask(
        "know",
        jid=OURS,
        list=text(build_devices(namespace, world.server.lists[namespace, OURS])),
        bundles={ours.id: text(build_bundle(bundle))},
    )
    return ours, number


def publish(oracle: Oracle, world: World, answer: Mapping[str, object], number: int) -> None:
    devices = parse_devices(ElementTree.fromstring(answer["list"]))
    bundle = parse_bundle(ElementTree.fromstring(answer["bundle"]), THEIRS, number)
    world.server.lists[oracle.namespace, THEIRS] = devices
    world.server.bundles[oracle.namespace, THEIRS, number] = bundle


def give(oracle: Oracle, sealed: Sealed) -> tuple[bytes | None, list[Sealed]]:
    answer = oracle.ask("decrypt", stanza=text(build_encrypted(sealed)), **{"from": OURS})
    found = None if answer["text"] is None else bytes.fromhex(answer["text"])
    return found, [read(stanza) for stanza in answer["sent"]]


def test_we_open_the_session(oracle):
    async def body():
        world = World()
        ours, number = await meet(oracle, world)
        (sealed,) = await ours.write(b"hello", THEIRS)
        assert [(key.id, key.kex) for key in sealed.keys] == [(number, True)]
        found, empty = give(oracle, sealed)
        assert found == b"hello"
        for answer in empty:
            assert ours.omemo.open_sealed(answer, THEIRS).plaintext is None
        (sealed,) = await ours.write(b"again", THEIRS)
        assert not sealed.keys[0].kex
        assert give(oracle, sealed)[0] == b"again"

    asyncio.run(body())


def test_they_open_the_session(oracle):
    async def body():
        world = World()
        ours, _ = await meet(oracle, world)
        answer = oracle.ask("encrypt", to=OURS, text=b"hello".hex())
        opened = ours.omemo.open_sealed(read(answer["stanza"]), THEIRS)
        assert opened.plaintext == b"hello"
        assert opened.established
        await ours.omemo.maintain()
        ((_, empty, _),) = world.server.sent
        assert give(oracle, empty)[0] is None
        stanza = oracle.ask("encrypt", to=OURS, text=b"again".hex())["stanza"]
        assert not read(stanza).keys[0].kex
        assert ours.omemo.open_sealed(read(stanza), THEIRS).plaintext == b"again"

    asyncio.run(body())


def test_identity_keys_are_the_same_on_both_sides(oracle):
    async def body():
        world = World()
        ours, _ = await meet(oracle, world)
        (sealed,) = await ours.write(b"hello", THEIRS)
        answer = oracle.ask("decrypt", stanza=text(build_encrypted(sealed)), **{"from": OURS})
        own = ours.omemo.own[oracle.namespace]
        assert montgomery(bytes.fromhex(answer["identity"])).hex() == own.fingerprint

    asyncio.run(body())


@pytest.mark.parametrize("seed", [1, 2])
def test_two_hundred_messages_in_disorder(oracle, seed):
    async def body():
        chance = random.Random(seed)
        world = World()
        ours, _ = await meet(oracle, world)
        # Both at once would be too much for the other side: it keeps one session with a device.
        (sealed,) = await ours.write(b"hello", THEIRS)
        for answer in give(oracle, sealed)[1]:
            ours.omemo.open_sealed(answer, THEIRS)
        to_us: list[tuple[bytes, Sealed]] = []
        to_them: list[tuple[bytes, Sealed]] = []
        arrived = {"us": 0, "them": 0}
        for number in range(200):
            word = b"message %d" % number
            if chance.random() < 0.5:
                (sealed,) = await ours.write(word, THEIRS)
                to_them.append((word, sealed))
            else:
                answer = oracle.ask("encrypt", to=OURS, text=word.hex())
                to_us.append((word, read(answer["stanza"])))
            while to_them and chance.random() < 0.6:
                word, sealed = to_them.pop(chance.randrange(len(to_them)))
                if chance.random() < 0.05:
                    continue  # lost
                found, empty = give(oracle, sealed)
                assert found == word
                arrived["them"] += 1
                for message in empty:
                    ours.omemo.open_sealed(message, THEIRS)
            while to_us and chance.random() < 0.6:
                word, sealed = to_us.pop(chance.randrange(len(to_us)))
                if chance.random() < 0.05:
                    continue
                assert ours.omemo.open_sealed(sealed, THEIRS).plaintext == word
                arrived["us"] += 1
                with pytest.raises((AlreadyOpened, ProtocolError)):
                    ours.omemo.open_sealed(sealed, THEIRS)
        assert min(arrived.values()) > 60

    asyncio.run(body())
