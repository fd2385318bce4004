"""What people see of the lab: what it is, who is in it, what to type, and what passes through."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Final

from securecall.cli.terminal import Terminal, safe

_WIDTH: Final = 78
_TITLES: Final = {
    "bob": "Terminal 1: Bob waits",
    "alice": "Terminal 2: Alice calls",
    "bob-chat": "Or they write. Terminal 1: Bob",
    "alice-chat": "Terminal 2: Alice",
}


def show_lab(terminal: Terminal, f: Mapping[str, object]) -> None:
    """Show the whole page once the lab is ready."""
    paint, say = terminal.paint, terminal.say
    title, what = "securecall lab", "servers on this computer"
    wide = min(_WIDTH, terminal.width - 1)
    say(f" {paint(title, 'bold', 'cyan')}{what.rjust(wide - len(title) - 1)}")
    say("   Calls: a real registrar and proxy over TLS, for tutorials and tests.")
    chat = isinstance(f["servers"], dict) and "prosody" in f["servers"]
    here = "Prosody, with the same people, passwords and authority."
    say(f"   Chat:  {here if chat else 'not here; Prosody serves it (apt install prosody).'}")
    say("   Not for production: throw-away keys, nothing stored, nobody to trust.")
    if f["lan"]:
        say(paint("   Other machines can reach it (--danger-lan).", "red", "bold"))
    say()
    _row(terminal, "server", f"{f['host']}:{f['port']}, domain {f['domain']}")
    servers = f["servers"]
    for name, ports in servers.items() if isinstance(servers, dict) else ():
        places = ", ".join(f"{kind} 127.0.0.1:{port}" for kind, port in ports.items())
        _row(terminal, name, places)
    _row(terminal, "folder", f"{f['folder']}{'' if f['kept'] else ' (removed at the end)'}")
    people = f["people"]
    for person in people if isinstance(people, list) else ():
        _row(terminal, person["name"], f"{person['address']}, password {person['password']}")
    commands = f["commands"]
    for name, lines in commands.items() if isinstance(commands, dict) else ():
        _block(terminal, _TITLES[name], lines)
    say()
    say(paint("   Ctrl-C ends it. What passes through:", "dim"))


def show_served(terminal: Terminal, f: Mapping[str, object]) -> None:
    """Show one line: who asked what, and the answer."""
    status = f["status"] if isinstance(f["status"], int) else 0
    style = "dim" if status in (401, 407) or status < 200 else "green" if status < 300 else "yellow"
    answer = terminal.paint(f"{status} {f['phrase']}", style)
    clock = terminal.paint(time.strftime("%H:%M:%S"), "dim")
    who, method = safe(str(f["user"]), 20).ljust(10), safe(str(f["method"]), 20).ljust(10)
    terminal.say(f"   {clock}  {who} {method} {answer}")


def _row(terminal: Terminal, label: str, text: str) -> None:
    terminal.say(f"   {terminal.paint(safe(label, 12).ljust(10), 'dim')} {safe(text)}")


def _block(terminal: Terminal, title: str, lines: Sequence[str]) -> None:
    paint, wide = terminal.paint, min(_WIDTH, terminal.width - 1)
    terminal.say()
    terminal.say(f" {paint(title, 'bold')} {paint('─' * (wide - len(title) - 2), 'dim')}")
    for line in lines:
        for part in _wrapped(line, wide - 5):
            terminal.give(f"   {part}")


def _wrapped(line: str, room: int) -> list[str]:
    """A command on as many lines as it needs, to be pasted as it stands."""
    units: list[str] = []
    for word in map(shlex.quote, shlex.split(line)):
        if units and units[-1].startswith("--") and " " not in units[-1]:
            units[-1] += f" {word}"  # an option stays with its value
        else:
            units.append(word)
    lines = units[:1]
    for unit in units[1:]:
        if len(lines[-1]) + 1 + len(unit) <= room:
            lines[-1] += f" {unit}"
        else:
            lines[-1] += " \\"
            lines.append(f"    {unit}")
    return lines
