"""Reports as files: kept after a call, shown as a page, checked; all of it offline."""

from __future__ import annotations

import argparse
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from securecall.calls.report import ListenerReport
from securecall.calls.report_document import parse_report
from securecall.calls.report_html import page_as_html
from securecall.calls.report_shape import MAX_SIZE
from securecall.calls.report_verify import (
    Finding,
    Verdict,
    examine,
    is_countersigned,
    require_unaltered,
)
from securecall.calls.report_words import page_as_text, page_of
from securecall.cli.failures import OK, SECURITY, UNPROVED
from securecall.cli.output import Output
from securecall.errors import LocalError
from securecall.qr import write_private

_MOST_NAMES: Final = 1000  # tried for a file that must not replace another


async def report(args: argparse.Namespace, output: Output) -> int:
    """Show a report, or check it; returns the exit code."""
    document = parse_report(_read(args.file))
    findings = examine(document)
    false = tuple(f.what for f in findings if f.verdict is Verdict.FALSE)
    if args.act == "verify":
        verdict = _verdict(findings)
        output.tell(
            "verified",
            file=str(args.file),
            verdict=verdict.value,
            findings=[
                {"part": f.part, "verdict": f.verdict.value, "what": f.what} for f in findings
            ],
        )
        require_unaltered(findings)
        return OK if verdict is Verdict.PROVED else UNPROVED
    page = page_of(document, false)
    if args.html is not None:
        write_private(args.html.expanduser(), page_as_html(page).encode())
        output.tell("note", text=f"The page is in {args.html}")
    else:
        output.tell("page", report=document, text=page_as_text(page), altered=list(false))
    return SECURITY if false else OK


def _verdict(findings: tuple[Finding, ...]) -> Verdict:
    if any(f.verdict is Verdict.FALSE for f in findings):
        return Verdict.FALSE
    return Verdict.PROVED if is_countersigned(findings) else Verdict.MISSING


def save_report(made: ListenerReport, place: Path) -> Path:
    """Write a report to a new file, readable by its owner alone; returns where.

    Args:
        made: The report.
        place: A file, or a folder that exists. What is there is never replaced: a number is added.

    Raises:
        LocalError: it cannot be written.
    """
    place = place.expanduser()
    if place.is_dir():
        when = datetime.fromtimestamp(made.began, UTC).strftime("%Y-%m-%dT%H%M%SZ")
        who = "".join(c if c.isalnum() or c in "@.-_" else "_" for c in made.peer)[:80]
        place /= f"{when}-{who}.json"
    return _write(place, made.to_json())


def _write(place: Path, text: str) -> Path:
    for number in range(1, _MOST_NAMES):
        path = place if number == 1 else place.with_stem(f"{place.stem}-{number}")
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        except OSError as e:
            raise LocalError(f"cannot write {path}: {e.strerror}") from e
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                _ = file.write(text)
        except OSError as e:
            raise LocalError(f"cannot write {path}: {e.strerror}") from e
        return path
    raise LocalError(f"there are too many files named like {place}")


def _read(path: Path) -> bytes:
    """Read a file, but not more of it than a report can have; never wait, as a pipe would ask."""
    try:
        descriptor = os.open(path.expanduser(), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise LocalError(f"{path} is no file")
            return file.read(MAX_SIZE + 1)
    except OSError as e:
        raise LocalError(f"cannot read {path}: {e.strerror}") from e
