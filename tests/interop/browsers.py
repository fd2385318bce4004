"""Browsers as child processes, driven over a WebSocket: Chromium by its DevTools, Firefox by BiDi.

Each runs without a window, and trusts for its WebSockets the authority of the tests, which is in no
other store. A tab shows a page of `browser`: a phone on JsSIP, or the chat client Converse.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import subprocess
import threading
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.interop import pulse
from tests.interop.authority import Certificates
from tests.interop.children import Child, need
from tests.paths import PROJECT

HERE = Path(__file__).parent / "browser"
INSTALLED = PROJECT / ".interop-browser" / "node_modules"  # by `dev.py servers`
ANSWER_SECONDS = 15.0

# They ask nothing of the network, and let a page play sound that nobody clicked for.
CHROMIUM = (
    "--headless=new",
    "--no-sandbox",  # or root may not start it
    "--remote-debugging-port=0",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-renderer-backgrounding",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
)
_FIREFOX: dict[str, bool | int | str] = {
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "media.autoplay.blocking_policy": 0,
    "media.autoplay.default": 0,
    "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
}


class Wire:
    """Commands and their answers over one WebSocket, as DevTools and BiDi both have them."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, object]]] = {}
        self.reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        async for text in self._connection:
            message = json.loads(text)
            waiting = self._waiting.pop(message.get("id"), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)

    async def ask(self, method: str, *, session: str = "", **parameters: object):
        """Give a command, return its result."""
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        command = {"id": number, "method": method, "params": parameters}
        await self._connection.send(
            json.dumps(command | ({"sessionId": session} if session else {}))
        )
        async with asyncio.timeout(ANSWER_SECONDS):
            message = await answer
        assert "result" in message, f"{method}: {message}"
        return message["result"]


@dataclass
class Tab:
    """A page in a tab.

    Attributes:
        evaluate: Runs a script that returns text, and waits for what it promises.
        screenshot: What the tab shows, a PNG.
        permit: Allows the page a microphone, and with it to name the addresses of this machine.
        rate: Samples a second of what it records.
    """

    evaluate: Callable
    screenshot: Callable
    permit: Callable | None = None
    rate: int = 0

    async def do(self, function: str, *arguments: object):
        """Call a function that the page has in `window.page`, return what it promised."""
        given = ", ".join(map(json.dumps, arguments))
        script = f"(async () => JSON.stringify(await page.{function}({given}) ?? null))()"
        return json.loads(await self.evaluate(script))

    async def heard(self) -> array[int]:
        """What it heard since this was asked last, 16-bit mono."""
        return array("h", base64.b64decode(await self.do("heard")))


@dataclass(frozen=True)
class Browser:
    """A running browser, and where it gets its page.

    Attributes:
        name: "chromium" or "firefox".
        connected: Opens an empty tab.
        page: The address of its page.
    """

    name: str
    connected: Callable
    page: str

    @asynccontextmanager
    async def tab(self) -> AsyncIterator[Tab]:
        """Its page in a tab of its own."""
        async with self.connected(self.page) as tab:
            yield tab


def phone(site: Path) -> str:
    """Put the phone, with JsSIP in it, into a folder; returns the name of its page."""
    esbuild = INSTALLED / ".bin" / "esbuild"
    if not esbuild.exists():
        pytest.skip("JsSIP is not installed: python3 dev.py servers")
    (site / "phone.html").write_bytes((HERE / "phone.html").read_bytes())
    bundle = [str(esbuild), str(HERE / "phone.js"), "--bundle", "--log-level=warning"]
    bundle += [f"--outfile={site / 'phone.js'}"]
    environment = {**os.environ, "NODE_PATH": str(INSTALLED)}
    subprocess.run(bundle, env=environment, check=True)
    return "phone.html"


def converse(site: Path) -> str:
    """Put the chat client Converse into a folder; returns the name of its page."""
    installed = INSTALLED / "converse.js" / "dist"
    if not installed.exists():
        pytest.skip("Converse is not installed: python3 dev.py servers")
    (site / "dist").symlink_to(installed)
    for name in ("converse.html", "converse_page.js"):
        (site / name).write_bytes((HERE / name).read_bytes())
    return "converse.html"


@contextmanager
def served(folder: Path, content: Callable[[Path], str]) -> Iterator[str]:
    """Serve a page that is put into a folder; the address is of this machine alone."""
    name = content(folder)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}/{name}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _trust(database: Path, certificates: Certificates) -> None:
    """Have browsers that look there trust the authority."""
    certutil = need("certutil", "libnss3-tools")
    database.mkdir(parents=True)
    where = ["-d", f"sql:{database}"]
    subprocess.run([certutil, "-N", *where, "--empty-password"], check=True)
    authority = ["-n", "tests", "-t", "C,,", "-i", str(certificates.authority)]
    subprocess.run([certutil, "-A", *where, *authority], check=True)


@contextmanager
def chromium(
    folder: Path,
    certificates: Certificates,
    content: Callable[[Path], str] = phone,
    window: str = "720,320",
) -> Iterator[Browser]:
    """Start Chromium; stop it at the end."""
    program = need("chromium", "chromium")
    _trust(folder / "home/.pki/nssdb", certificates)
    profile, site = folder / "profile", folder / "site"
    site.mkdir()
    environment = {"HOME": str(folder / "home")}
    with served(site, content) as address:
        command = [
            program,
            *CHROMIUM,
            f"--window-size={window}",
            f"--user-data-dir={profile}",
            "about:blank",
        ]
        child = Child(command, log=folder / "chromium.log", env=environment)
        try:
            child.wait_said("DevTools listening on ", seconds=30.0)
            where = child.said().split("DevTools listening on ")[1].split()[0]
            yield Browser("chromium", partial(chromium_tab, where), address)
        finally:
            child.stop()


@asynccontextmanager
async def _wire(address: str) -> AsyncIterator[Wire]:
    async with connect(address, max_size=None, proxy=None) as connection:
        wire = Wire(connection)
        try:
            yield wire
        finally:
            wire.reading.cancel()


@asynccontextmanager
async def chromium_tab(where: str, address: str) -> AsyncIterator[Tab]:
    """A tab at an address whose page is ready once it has `window.page`."""
    async with _wire(where) as wire:
        target = (await wire.ask("Target.createTarget", url="about:blank"))["targetId"]
        attached = await wire.ask("Target.attachToTarget", targetId=target, flatten=True)
        ask = partial(wire.ask, session=attached["sessionId"])

        async def evaluate(script: str) -> str:
            done = await ask(
                "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
            )
            assert "exceptionDetails" not in done, done["exceptionDetails"]
            return done["result"].get("value")

        async def screenshot() -> bytes:
            return base64.b64decode((await ask("Page.captureScreenshot"))["data"])

        async def permit() -> None:
            await wire.ask("Browser.grantPermissions", permissions=["audioCapture"])

        await ask("Page.navigate", url=address)
        await evaluate(_READY)
        try:
            yield Tab(evaluate, screenshot, permit)
        finally:
            await wire.ask("Browser.resetPermissions")
            await wire.ask("Target.closeTarget", targetId=target)


@contextmanager
def firefox(folder: Path, certificates: Certificates) -> Iterator[Browser]:
    """Start Firefox; stop it at the end."""
    program = need("firefox-esr", "firefox-esr")
    profile, site = folder / "profile", folder / "site"
    _trust(profile, certificates)
    site.mkdir()
    lines = (f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in _FIREFOX.items())
    (profile / "user.js").write_text("\n".join(lines))
    command = [program, "--headless", "--no-remote", "--profile", str(profile)]
    command += ["--remote-debugging-port", "0", "about:blank"]
    sounds = folder / "sounds"
    sounds.mkdir()
    # without a sound device its AudioContext never runs
    with served(site, phone) as address, pulse.running(sounds, "module-null-sink") as devices:
        environment = {**devices, "MOZ_CRASHREPORTER_DISABLE": "1"}
        child = Child(command, log=folder / "firefox.log", env=environment)
        try:
            child.wait_said("BiDi listening on ", seconds=30.0)
            where = child.said().split("BiDi listening on ")[1].split()[0]
            yield Browser("firefox", partial(_firefox_tab, f"{where}/session"), address)
        finally:
            child.stop()


@asynccontextmanager
async def _firefox_tab(where: str, address: str) -> AsyncIterator[Tab]:
    async with _wire(where) as wire:
        await wire.ask("session.new", capabilities={})
        context = (await wire.ask("browsingContext.create", type="tab"))["context"]
        await wire.ask("browsingContext.navigate", context=context, url=address, wait="complete")

        async def evaluate(script: str) -> str:
            done = await wire.ask(
                "script.evaluate", expression=script, awaitPromise=True, target={"context": context}
            )
            assert done["type"] == "success", done["exceptionDetails"]
            return done["result"].get("value")

        async def screenshot() -> bytes:
            taken = await wire.ask("browsingContext.captureScreenshot", context=context)
            return base64.b64decode(taken["data"])

        await evaluate(_READY)
        try:
            yield Tab(evaluate, screenshot)
        finally:
            await wire.ask("browsingContext.close", context=context)
            await wire.ask("session.end")


_READY = """new Promise(done => {
    const look = () => window.page ? done('') : setTimeout(look, 20);
    look();
})"""
