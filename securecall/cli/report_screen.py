"""What was found in a report, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from securecall.cli.terminal import Terminal, safe

_MARKS: Final = {"proved": ("✓", "green"), "missing": ("!", "yellow"), "false": ("✗", "red")}
_VERDICTS: Final = {
    "proved": "Both ends signed this call, and nothing in the file was changed.",
    "missing": "Nothing in the file is false, but not everything is proved.",
    "false": "This file was changed, or it is not true. Believe none of it.",
}


def show_verified(screen: Terminal, fields: Mapping[str, object]) -> None:
    """Show every finding, and what they amount to."""
    verdict, findings = str(fields["verdict"]), fields["findings"]
    for finding in findings if isinstance(findings, list) else []:
        mark, style = _MARKS[finding["verdict"]]
        part = str(finding["part"]).replace("-", " ")
        screen.say(f"  {screen.paint(mark, style)} {part:16} {safe(str(finding['what']), 400)}")
    screen.say("")
    screen.say(screen.paint(_VERDICTS[verdict], _MARKS[verdict][1], "bold"))
    if verdict != "false":
        screen.say("A key stands for a person only if you compared it: securecall verify CONTACT")
