"""What people see of contacts, devices and messages, where a command lists them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from securecall.cli.chat_lines import clock_words, fingerprint_rows, harmless, size_words
from securecall.cli.terminal import Terminal, safe

Fields = Mapping[str, object]

_TRUST_WORDS: Final = {
    "undecided": ("new, receives nothing", "yellow"),
    "trusted": ("trusted, not compared", "dim"),
    "verified": ("verified", "green"),
    "distrusted": ("distrusted, receives nothing", "red"),
}


def show_person(terminal: Terminal, f: Fields) -> None:
    """One contact in a line."""
    paint = terminal.paint
    address = safe(str(f["address"]).removeprefix("xmpp:"))
    presence, status = safe(str(f["presence"]), 40), safe(str(f["status"]), 60)
    here = "green" if presence == "available" else "dim" if presence == "offline" else "yellow"
    words = " · ".join(filter(None, (presence, status)))
    name = safe(str(f["name"]), 24)
    blocked = paint(" (blocked)", "red") if f["blocked"] else ""
    asked = paint(" (not accepted yet)", "dim") if f["subscription"] in ("none", "from") else ""
    calls = paint(_calls(f), "dim")
    terminal.say(
        f"{paint('●', here)} {address.ljust(32)} {name.ljust(16)} {words}{calls}{asked}{blocked}"
    )


def _calls(f: Fields) -> str:
    if f["sip"]:
        return f" · call {safe(str(f['sip']))}"
    return " · calls over XMPP only, which we cannot place yet" if f["calls"] == "xmpp" else ""


def show_request(terminal: Terminal, f: Fields) -> None:
    """Somebody asks to be a contact, and what to type."""
    address = safe(str(f["address"]).removeprefix("xmpp:"))
    text = f": {harmless(str(f['text']), limit=200, lines=1)}" if f["text"] else ""
    terminal.say(f"{terminal.paint('?', 'yellow')} {address} asks to be your contact{text}")
    terminal.say(terminal.paint(f"    --accept {address}    or    --decline {address}", "dim"))


def show_devices(terminal: Terminal, f: Fields) -> None:
    """Somebody's devices with their fingerprints, and what to type about them."""
    address = safe(str(f["address"]).removeprefix("xmpp:"))
    devices = f["devices"]
    if not isinstance(devices, list) or not devices:
        terminal.say(f"The server of {address} lists no device for encrypted messages.")
        return
    terminal.say(terminal.paint(f"Devices of {address}:", "bold"))
    for each in devices:
        words, style = _TRUST_WORDS.get(str(each["trust"]), (str(each["trust"]), "dim"))
        terminal.say(f"  {terminal.paint(safe(words), style)}")
        for row in fingerprint_rows(str(each["fingerprint"])):
            terminal.say(f"    {safe(row)}")
    for own in f["own"] if isinstance(f["own"], list) else ():
        terminal.say("  this device, for them to compare")
        for row in fingerprint_rows(str(own)):
            terminal.say(f"    {safe(row)}")
    terminal.say(
        terminal.paint(f"--trust {address} DIGITS   (and --compared if you compared them)", "dim")
    )


def show_message(terminal: Terminal, f: Fields) -> None:
    """A message of somebody, with what is attached."""
    paint = terminal.paint
    sent = f["sent"] if isinstance(f["sent"], (int, float)) else 0.0
    clock = time.strftime("%d %b %H:%M", time.localtime(sent))
    head = f"#{f['number']} {clock} {safe(str(f['sender']).removeprefix('xmpp:'))}"
    terminal.say(
        paint(head, "bold") + (paint(" not encrypted", "red") if not f["encrypted"] else "")
    )
    if f["unreadable"]:
        terminal.say(paint(f"    could not be read: {safe(str(f['unreadable']))}", "red"))
    if isinstance(f["file"], dict):
        terminal.say(paint(f"    {_file(f['file'])}", "cyan"))
    for line in harmless(str(f["text"])).split("\n") if f["text"] else ():
        terminal.say(f"    {line}")


def show_sent(terminal: Terminal, f: Fields) -> None:
    """That a message was taken by the server."""
    what = _file(f["file"]) if isinstance(f["file"], dict) else "message"
    to = safe(str(f["conversation"]).removeprefix("xmpp:"))
    terminal.say(f"{terminal.paint('✓', 'green')} sent to {to}, end-to-end encrypted: {what}")


def _file(file: Mapping[str, object]) -> str:
    seconds, size = file["seconds"], file["size"]
    if isinstance(seconds, float) and seconds:
        return f"voice message, {clock_words(seconds)}"
    name = harmless(str(file["name"]), limit=60, lines=1) or "a file"
    return f"{name}, {size_words(size)}" if isinstance(size, int) else name
