"""What people see of their own keys and devices, and of those of others."""

from __future__ import annotations

import time
from collections.abc import Mapping

from securecall.cli.terminal import Terminal, safe

Fields = Mapping[str, object]


def show_keys(terminal: Terminal, f: Fields) -> None:
    """Our own identity, its devices, and what there is to do."""
    paint = terminal.paint
    terminal.say(paint(f"Your key: {f['address']}", "bold"))
    if f["withdrawn"]:
        terminal.say(paint("This device was withdrawn: nothing works from here.", "red", "bold"))
    if f["holds_root"]:
        written = _integer(f["phrase_written"])
        known = f"written down and checked on {_day(written)}" if written else "not written down"
        terminal.say(f"The root key is on this device; its 24 words: {known}.")
        if not written:
            terminal.say(paint("    securecall keys phrase", "dim"))
    else:
        terminal.say("The root key is on another device.")
    for device in _items(f["devices"]):
        here = paint("  this device", "green") if device["here"] else ""
        chat = ", chats" if device["omemo"] else ""
        end = _day(_integer(device["not_after"]))
        terminal.say(f"  {safe(str(device['id'])).ljust(20)} until {end}{chat}{here}")
    for gone in _texts(f["revoked"]):
        terminal.say(paint(f"  {safe(gone).ljust(20)} withdrawn", "red"))
    if _integer(f["seq"]):
        end = _day(_integer(f["expires"]))
        stale = paint("  it is out of date", "yellow") if f["stale"] else ""
        terminal.say(f"Your statement holds until {end}.{stale}")
    if _integer(f["successions"]):
        terminal.say(f"Contacts can follow from {f['successions']} earlier root key(s).")
    if f["request_due"]:
        terminal.say(paint("This device needs the one with the root key:", "yellow"))
        terminal.say(paint("    securecall keys request", "dim"))


def show_contact_keys(terminal: Terminal, f: Fields) -> None:
    """One key of somebody else."""
    paint = terminal.paint
    state = str(f["state"])
    style = {"VERIFIED": "green", "PINNED": "cyan"}.get(state, "red")
    who = ", ".join(safe(address, 60) for address in _texts(f["addresses"]))
    devices = ", ".join(safe(device) for device in _texts(f["devices"])) or "no devices known"
    terminal.say(f"{paint(state.lower().ljust(10), style)} {who}")
    terminal.say(paint(f"           {devices}", "dim"))
    if f["revoked"]:
        gone = ", ".join(safe(device) for device in _texts(f["revoked"]))
        terminal.say(paint(f"           withdrawn: {gone}", "red"))
    if f["stale"]:
        terminal.say(paint("           their statement is out of date: call them", "yellow"))
    if f["forked"]:
        text = "           two statements under one number: somebody else may have their key"
        terminal.say(paint(text, "red", "bold"))


def show_device_request(terminal: Terminal, f: Fields) -> None:
    """Which device asks, and the words to compare."""
    what = "Renew" if f["known"] else "Add"
    terminal.say(terminal.paint(f"{what} the device {safe(str(f['device']))}?", "bold"))
    for address in _texts(f["addresses"]):
        terminal.say(f"    reachable at {safe(address, 60)}")
    terminal.say("Look at its screen. It has to show these words:")
    show_words(terminal, _texts(f["words"]))


def show_code(terminal: Terminal, f: Fields) -> None:
    """A text for another device, as such and as a picture."""
    terminal.give(str(f["text"]))
    if f["picture"]:
        terminal.give(str(f["picture"]))
    found = _texts(f["words"])
    if found:
        terminal.say("The other device has to show the same words:")
        show_words(terminal, found)
    terminal.say(terminal.paint(str(f["then"]), "dim"))


def show_words(terminal: Terminal, found: list[str]) -> None:
    """Words to compare, four a line."""
    for row in range(0, len(found), 4):
        terminal.say(terminal.paint("    " + "  ".join(found[row : row + 4]), "bold"))


def _day(unix: int) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(unix))


def _texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, (list, tuple)) else []


def _items(value: object) -> list[dict[str, object]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _integer(value: object) -> int:
    return value if isinstance(value, int) else 0
