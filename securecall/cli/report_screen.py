"""What was found in a report, for people."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Final

from securecall.cli.terminal import Terminal, safe

_MARKS: Final = {"proved": ("✓", "green"), "missing": ("!", "yellow"), "false": ("✗", "red")}
_VERDICTS: Final = {
    "proved": "Both ends signed this call, and nothing in the file was changed.",
    "missing": "Nothing in the file is false, but not everything is proved.",
    "false": "This file was changed, or it is not true. Believe none of it.",
}


_MARGIN: Final = 21  # of what was found
_NARROWEST: Final = 30
_PAGE: Final = 78  # columns that it takes if it may


def fitted_page(screen: Terminal, fields: Mapping[str, object], *, margin: int = 0) -> str:
    """Return the page of a report, laid out anew where the terminal is narrower than it."""
    room, report, altered = screen.width - margin, fields["report"], fields.get("altered", ())
    if not screen.live or room >= _PAGE or not isinstance(report, dict):
        return str(fields["text"])
    from securecall.calls.report_words import page_as_text, page_of

    doubts = tuple(map(str, altered)) if isinstance(altered, (list, tuple)) else ()
    return page_as_text(page_of(report, doubts), max(room, _NARROWEST))


def show_verified(screen: Terminal, fields: Mapping[str, object]) -> None:
    """Show every finding, and what they amount to."""
    verdict, findings = str(fields["verdict"]), fields["findings"]
    for finding in findings if isinstance(findings, list) else []:
        mark, style = _MARKS[finding["verdict"]]
        part = str(finding["part"]).replace("-", " ")
        room = max(screen.width - _MARGIN, _NARROWEST) if screen.live else 1000
        what = textwrap.wrap(safe(str(finding["what"]), 400), room, break_on_hyphens=False)
        screen.say(f"  {screen.paint(mark, style)} {part:16} {what[0] if what else ''}".rstrip())
        for row in what[1:]:
            screen.say(" " * _MARGIN + row)
    screen.say("")
    screen.say(screen.paint(_VERDICTS[verdict], _MARKS[verdict][1], "bold"))
    if verdict != "false":
        screen.say("A key stands for a person only if you compared it: securecall verify CONTACT")
