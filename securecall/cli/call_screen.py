"""What a call and its sound devices look like on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from securecall.cli.terminal import Terminal, safe

Fields = Mapping[str, object]

_HEARD_DBFS = -50.0
LEVEL_STYLES: Final = {"VERIFIED": "green", "E2EE": "green", "OPPORTUNISTIC": "yellow"}
_METER_AT_LEAST, _METER_AT_MOST = 4, 16


def show_levels(terminal: Terminal, f: Fields, *, level: str, words: str) -> None:
    """Draw the live line of a call: its level, both meters, the time, the words to compare.

    It fills the terminal's width and never more, since a line that breaks cannot be drawn over:
    pictures are left out first, then the time, then meters shrink and go; the words stay.
    """
    paint = terminal.paint
    seconds = int(_number(f["seconds"]))
    clock = f"{seconds // 60}:{seconds % 60:02d}"
    verified = level == "VERIFIED"
    note, note_style = ("✓", "green") if verified else ("compare:", "yellow")
    said = f"{note} {words}" if words else ""
    pictures, rests = _pictures(f), _rests(f)
    room = terminal.width - 1

    def left() -> int:
        others = (level or "-", rests, "you ", "they ", pictures, clock, said)
        return room - sum(len(part) + 2 for part in others if part)

    if left() < 2 * _METER_AT_LEAST:
        pictures = ""
    if left() < 2 * _METER_AT_LEAST:
        clock = ""
    width = max(_METER_AT_LEAST, min(_METER_AT_MOST, left() // 2))
    parts = [
        paint(level or "-", LEVEL_STYLES.get(level, "red"), "bold"),
        paint(rests, "yellow", "bold"),
        f"{paint('you', 'dim')} {terminal.meter(_number(f['sent_dbfs']), width)}",
        f"{paint('they', 'dim')} {terminal.meter(_number(f['received_dbfs']), width)}",
        paint(pictures, "dim"),
        clock,
    ]
    if words:
        if left() < 2 * _METER_AT_LEAST:
            short = sum(len(part) + 2 for part in (level or "-", rests, said) if part)
            parts = parts[: 2 if short <= room else 0]
        parts.append(f"{paint(note, note_style)} {paint(words, 'bold')}")
    terminal.show("  " + "  ".join(filter(None, parts)))


def _rests(f: Fields) -> str:
    """Why nothing is heard, where that is meant."""
    if f.get("held"):
        return "HELD"
    return "ON HOLD" if f.get("on_hold") else "MUTED" if f.get("muted") else ""


def _pictures(f: Fields) -> str:
    if "pictures_sent" not in f:
        return ""
    return f"pictures {f['pictures_sent']} sent {f['pictures_received']} seen"


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def show_sound_devices(terminal: Terminal, f: Fields) -> None:
    """Show what can be heard with and spoken to, the defaults marked."""
    for title, kind in (("Microphones", "microphones"), ("Loudspeakers", "loudspeakers")):
        terminal.say(terminal.paint(title, "bold"))
        devices = f[kind]
        if not isinstance(devices, list) or not devices:
            terminal.say(terminal.paint("  none", "yellow"))
            continue
        for device in devices:
            name = safe(str(device["name"]))
            mark = terminal.paint("●", "green") if device["default"] else " "
            terminal.say(f"  {mark} {name}")


def show_listened(terminal: Terminal, f: Fields) -> None:
    """Say whether a microphone heard anything."""
    terminal.settle()
    loudest = f["loudest_dbfs"]
    if isinstance(loudest, float) and loudest > _HEARD_DBFS:
        terminal.say(terminal.paint(f"It hears you, {loudest:.0f} dBFS at the loudest.", "green"))
    else:
        terminal.say(
            terminal.paint("It heard next to nothing: is it muted, or another one yours?", "yellow")
        )
