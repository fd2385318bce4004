r"""Mallory, the attacker, and how to run her as a process of her own: JSON lines in and out.

    python -m securecall.testing.mallory --json --mode swap --inner strip \
        --route sip:bob@provider.test=127.0.0.1:5071/bob.provider.test

prints one JSON object per line (`ready`, then what happens, at last `summary`), and takes JSON
commands, one per line, on standard input: {"route": {"sip:bob@provider.test": "127.0.0.1:5071"}},
{"mode": "honest"}, {"inner": "impersonate"}, {"summary": true}, {"quit": true}.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from securecall.errors import SecurecallError
from securecall.testing.evil_link import Inner as Inner
from securecall.testing.evil_provider import Event as Event
from securecall.testing.evil_provider import Mallory as Mallory
from securecall.testing.evil_provider import Mode as Mode

Command = dict[str, "str | bool | dict[str, str]"]


class _Arguments(argparse.Namespace):
    json: bool
    mode: str
    inner: str
    name: str
    host: str
    port: int
    direct: bool
    folder: Path | None
    route: list[str]
    issue: list[str]
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run her until a signal, `{"quit": true}` on standard input, or the time is up."""
    parser = argparse.ArgumentParser(prog="mallory", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="(always on) one JSON object a line")
    parser.add_argument("--mode", choices=[m.value for m in Mode], default=Mode.SWAP.value)
    parser.add_argument("--inner", choices=[i.value for i in Inner], default=Inner.STRIP.value)
    parser.add_argument("--name", default="provider.test", help="the name she is trusted under")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--direct", action="store_true", help="listen as a direct peer (tickets)")
    parser.add_argument("--folder", type=Path, help="for certificates and recordings")
    parser.add_argument(
        "--route",
        action="append",
        default=[],
        metavar="ADDRESS=HOST:PORT[/NAME]",
        help="where an address listens ('*' for all); NAME is what its certificate proves",
    )
    parser.add_argument("--issue", action="append", default=[], help="certify this name, too")
    parser.add_argument("--seconds", type=float, default=300.0, help="stop after so long")
    chosen = parser.parse_args(arguments, namespace=_Arguments())
    try:
        asyncio.run(_run(chosen))
    except SecurecallError as e:
        _print_any({"type": "error", "message": str(e)})
        return 1
    return 0


async def _run(chosen: _Arguments) -> None:
    with contextlib.ExitStack() as stack:
        folder = chosen.folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="mallory-"))
        )
        mallory = Mallory(
            folder,
            mode=Mode(chosen.mode),
            inner=Inner(chosen.inner),
            name=chosen.name,
            direct=chosen.direct,
            host=chosen.host,
            port=chosen.port,
            on_event=_print,
        )
        for text in chosen.route:
            _route(mallory, *text.rsplit("=", 1))
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(number, stop.set)
        async with mallory:
            certificates = {}
            for name in chosen.issue:
                pair = mallory.certify(name, chosen.host)
                certificates[name] = {"certificate": str(pair.certificate), "key": str(pair.key)}
            _print_any(
                {
                    "type": "ready",
                    "host": mallory.address[0],
                    "port": mallory.address[1],
                    "name": mallory.name,
                    "authority": str(mallory.authority.pem),
                    "certificates": certificates,
                    "mode": mallory.mode.value,
                    "inner": mallory.inner.value,
                }
            )
            reading = asyncio.create_task(_commands(mallory, stop))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(chosen.seconds):
                    _ = await stop.wait()
            reading.cancel()
        _print_any(summary(mallory))


def summary(mallory: Mallory) -> dict[str, object]:
    """What she got, in figures."""
    return {
        "type": "summary",
        "calls": len(mallory.proxy.dialogues),
        "bytes_decrypted": mallory.bytes_decrypted,
        "bytes_decryptable": mallory.decryptable,
        "datagrams_captured": sum(len(m.captured) for m in mallory.media.values()),
        "recordings": [str(path) for path in mallory.recordings],
    }


async def _commands(mallory: Mallory, stop: asyncio.Event) -> None:
    """Take JSON commands; the end of input is not a command."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    try:
        _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    except (OSError, ValueError, NotImplementedError):
        return  # no standard input, or none that can be waited for
    while line := await reader.readline():
        try:
            command = cast("Command", json.loads(line))
            _obey(mallory, command)
        except (ValueError, AttributeError, TypeError) as e:
            _print({"type": "error", "message": f"not a command: {e}"})
            continue
        if command.get("summary"):
            _print_any(summary(mallory))
        if command.get("quit"):
            stop.set()
            return


def _obey(mallory: Mallory, command: Command) -> None:
    routes = command.get("route")
    if isinstance(routes, dict):
        for address, place in routes.items():
            _route(mallory, address, place)
    mode, inner = command.get("mode"), command.get("inner")
    if isinstance(mode, str):
        mallory.mode = Mode(mode)
    if isinstance(inner, str):
        mallory.inner = Inner(inner)
    _print({"type": "obeyed", "mode": mallory.mode.value, "inner": mallory.inner.value})


def _route(mallory: Mallory, address: str, place: str) -> None:
    where, _, name = place.partition("/")
    host, _, port = where.rpartition(":")
    mallory.route(address, host.strip("[]"), int(port), name=name)


def _print(event: Event) -> None:
    _print_any(dict(event))


def _print_any(event: dict[str, object]) -> None:
    _ = sys.stdout.write(json.dumps(event) + "\n")
    _ = sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
