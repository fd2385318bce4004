"""The same narrow link under a call of ours and under one of Chromium's: who still hears, and sees.

    python -m tests.bench.bottleneck [--only TEXT]

Chromium calls itself in one tab, sound (Opus as it comes) and a canvas at 640x360 and 30 pictures
a second; each datagram goes through `securecall.testing.impairment` in real time, since a browser
knows no other. Ours goes over the same path in virtual time (`tests.bench.impaired`). Both speak
the same recordings, scored the second time they are heard. A machine too busy for a browser's
pictures makes it send fewer; its sound hardly cares. Prints a table, then one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import random
import shutil
import sys
import tempfile
import threading
import wave
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from securecall.media.video.pattern import TestPattern
from securecall.testing.impairment import Impairer
from securecall.transport.route import own_host_towards
from tests.bench.impaired import ROWS, Speech, talk
from tests.interop.browsers import CHROMIUM, chromium_tab
from tests.interop.children import Child, need
from tests.virtual import run_virtual, without_threads

NARROW = tuple(row for row in ROWS if row.pictures and row.measure == "pesq")
SIZE, FPS, PICTURES = (640, 360), 30, 60
SEED = 1


class Side(asyncio.DatagramProtocol):
    """A socket towards one end; it answers to where something came from last."""

    def __init__(self, pass_on) -> None:
        self.pass_on, self.peer, self.transport = pass_on, None, None

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data, address) -> None:
        self.peer = address
        self.pass_on(data)

    def send(self, data) -> None:
        if self.peer is not None:
            self.transport.sendto(data, self.peer)


@asynccontextmanager
async def narrow(path, host):
    """A link between two ends; yields the ports that stand for the right and the left one."""
    loop, sides = asyncio.get_running_loop(), []

    def direction(seed, to):
        impairer = Impairer(path, chance=random.Random(seed), begin=loop.time())

        def arrive():
            for datagram in impairer.arrived(now=loop.time()):
                sides[to].send(datagram)

        def take(data):
            impairer.send(data, now=loop.time())
            if impairer.deadline < float("inf"):
                loop.call_at(impairer.deadline, arrive)

        return take

    ways = (direction(SEED, 1), direction(SEED + 1, 0))
    for take in ways:
        _, side = await loop.create_datagram_endpoint(partial(Side, take), local_addr=(host, 0))
        sides.append(side)
    try:
        yield [side.transport.get_extra_info("sockname")[1] for side in sides]
    finally:
        for side in sides:
            side.transport.close()


def spoken(speech) -> str:
    """The recordings as a data URL."""
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48000)
        file.writeframes(speech.pcm)
    return "data:audio/wav;base64," + base64.b64encode(held.getvalue()).decode()


def pictures() -> list[str]:
    """Two seconds of the test picture, as data URLs."""
    pattern, found = TestPattern(*SIZE, FPS), []
    for number in range(PICTURES):
        frame = pattern.read(number / FPS)
        if frame is not None:
            held = io.BytesIO()
            frame.to_image().save(held, "PNG")
            found.append("data:image/png;base64," + base64.b64encode(held.getvalue()).decode())
    return found


@contextmanager
def browser(folder: Path) -> Iterator[tuple[str, str]]:
    """A running Chromium: where its DevTools listen, and the address of the page."""
    shutil.copy(Path(__file__).with_suffix(".html"), folder / "page.html")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = [need("chromium", "chromium"), *CHROMIUM, f"--user-data-dir={folder / 'profile'}"]
    child = Child([*command, "about:blank"], log=folder / "log", env={"HOME": str(folder)})
    try:
        child.wait_said("DevTools listening on ", seconds=30.0)
        where = child.said().split("DevTools listening on ")[1].split()[0]
        yield where, f"http://localhost:{server.server_port}/page.html"
    finally:
        child.stop()
        server.shutdown()
        server.server_close()


async def theirs(path, speech, where, page):
    """One call of Chromium's: PESQ, and what it saw."""
    seconds = 2 * speech.seconds + 1.0
    async with chromium_tab(where, page) as tab:
        host = await own_host_towards("")
        given = f"{json.dumps(spoken(speech))}, {json.dumps(pictures())}, {1000 / FPS}"
        await tab.evaluate(
            f"(async () => {{ window.shown = await prepare({given}); return '' }})()"
        )
        async with narrow(path, host) as (to_right, to_left):
            meeting = f"meet('{host}', {to_right}, {to_left}, window.shown)"
            begin = float(await tab.evaluate(f"(async () => String(await {meeting}))()"))
            await asyncio.sleep(seconds)
            seen = json.loads(await tab.evaluate("(async () => JSON.stringify(await seen()))()"))
            await asyncio.sleep(1.0)
            asked = f"heard({begin + speech.seconds}, {speech.seconds + 0.6})"
            pcm = base64.b64decode(await tab.evaluate(asked))
    return {
        "pesq": speech.pesq(pcm),
        "fps": seen["frames"] / seconds,
        "kbit/s": 8 * seen["bytes"] / seconds / 1000,
        "frozen": seen["frozen"] / seconds,
        "width": seen["width"],
    }


def ours(row, speech):
    """One of ours over the same path."""
    with without_threads():
        call, _, _, pictures, _, seconds = run_virtual(talk(row, speech, SEED), seed=SEED)
    shown = call.bob.eyes.frames
    return {
        "pesq": speech.pesq(call.bob.ears.since(call.begun + speech.seconds)),
        "fps": len(shown) / seconds,
        "frozen": pictures.frozen_seconds / seconds,
        "width": shown[-1][1].width if shown else 0,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose id has this in it")
    args = parser.parse_args()
    speech, rows = Speech(), []
    with tempfile.TemporaryDirectory() as folder, browser(Path(folder)) as (where, page):
        for row in NARROW:
            if args.only not in row.id:
                continue
            found = {
                "ours": ours(row, speech),
                "chromium": asyncio.run(theirs(row.path, speech, where, page)),
            }
            for who, figures in found.items():
                told = "  ".join(f"{name} {value:6.2f}" for name, value in figures.items())
                print(f"{row.id:26} {who:9} {told}", file=sys.stderr, flush=True)
            rows.append({"id": f"bottleneck {row.id}", **found})
    print(json.dumps({"rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
