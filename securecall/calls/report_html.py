"""A page of a report as HTML: one file without scripts that loads nothing and prints well."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from securecall.calls.report_parties import Capability, ReportParty
from securecall.calls.report_words import ALTERED, ROLES, TITLE, Page, with_reasons

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1a1c1e; --soft: #55606b; --paper: #fff; --line: #d5dae0;
  --good: #0b6b3a; --bad: #a3241b; --warn: #8a5a00; --wash: #f3f5f7; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #a7b0ba; --paper: #15181b;
  --line: #363c43; --good: #6fd39b; --bad: #ff8f86; --warn: #f0c060; --wash: #1e2327; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem; max-width: 46rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { margin: 0; font-size: 1.6rem; line-height: 1.2; }
h2 { margin: 1.75rem 0 .5rem; font-size: 1.1rem; }
p { margin: .4rem 0; overflow-wrap: anywhere; }
.soft, .why, .limits, dl { color: var(--soft); }
.verdict { margin: 1.25rem 0; padding: .75rem 1rem; border-left: .35rem solid var(--tone);
  background: var(--wash); }
.verdict > p:first-child { font-size: 1.15rem; font-weight: 600; color: var(--tone); }
.good { --tone: var(--good); } .bad { --tone: var(--bad); } .warn { --tone: var(--warn); }
.plain { --tone: var(--soft); }
ul { margin: 0; padding: 0; list-style: none; }
.parties li { display: grid; grid-template-columns: 1.9rem 1fr; padding: .55rem 0;
  border-top: 1px solid var(--line); }
.parties li:last-child { border-bottom: 1px solid var(--line); }
.mark { font-weight: 700; color: var(--tone); }
.parties p { margin: 0; } .could { font-weight: 600; color: var(--tone); }
table { border-collapse: collapse; } td { padding: .15rem 0; vertical-align: top; }
td:first-child { padding-right: 1rem; text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; color: var(--soft); }
.limits li { margin: .3rem 0; padding-left: 1.1rem; text-indent: -1.1rem; }
.limits li::before { content: "\\2013\\00a0\\00a0"; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 0;
  font-size: .85rem; }
dd { margin: 0; overflow-wrap: anywhere; }
@media print { :root { --ink: #000; --soft: #333; --paper: #fff; --line: #999; --wash: #fff;
  --good: #000; --bad: #000; --warn: #000; }
  body { max-width: none; padding: 0; font-size: 9pt; line-height: 1.35; }
  h1 { font-size: 16pt; } h2 { margin: .8rem 0 .25rem; font-size: 11pt; }
  .verdict { margin: .7rem 0; padding: .2rem .8rem; } .parties li { padding: .22rem 0; }
  p, .limits li { margin: .1rem 0; } li, tr { break-inside: avoid; } }
@page { margin: 15mm; }
"""
_TONES: Final = {
    Capability.HELD_KEY: ("bad", "●"),
    Capability.LET_IN: ("warn", "◐"),
    Capability.COULD_SUBSTITUTE: ("bad", "!"),
    Capability.METADATA: ("plain", "○"),
    Capability.NOTHING: ("plain", "–"),  # noqa: RUF001 - a dash for the eye
}


def page_as_html(page: Page) -> str:
    """Lay a page out as HTML."""
    return "\n".join(_document(page)) + "\n"


def _document(page: Page) -> Iterator[str]:
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield (
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    )
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="referrer" content="no-referrer">'
    yield f"<title>{TITLE}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>"
    yield f'<h1>{TITLE}</h1>\n<p class="soft">{_name(page.call)}</p>'
    if page.doubts:
        doubts = "".join(f"<p>{_name(doubt)}</p>" for doubt in page.doubts)
        yield f'<section class="verdict bad" role="alert"><p>{ALTERED}</p>{doubts}</section>'
    tone = "good" if page.good else "bad" if page.names else "plain"
    yield f'<section class="verdict {tone}"><p>{escape(page.verdict)}</p>'
    if page.names:
        yield "<p>" + ", ".join(_name(name) for name in page.names) + "</p>"
    yield "".join(f"<p>{_name(sentence)}</p>" for sentence in page.level) + "</section>"
    yield '<h2>Who took part</h2>\n<ul class="parties">'
    for party, told in with_reasons(page.parties):
        yield _party(party, told=told)
    yield "</ul>"
    yield from _times(page)
    yield "<h2>Who signed</h2>"
    yield "".join(f"<p>{escape(sentence)}</p>" for sentence in page.signed)
    yield '<h2>What this page cannot tell</h2>\n<ul class="limits">'
    yield "".join(f"<li>{escape(limit)}</li>" for limit in page.limits) + "</ul>"
    if page.experts:
        yield "<h2>For experts</h2>\n<dl>"
        yield "".join(f"<dt>{escape(n)}</dt><dd>{_name(v)}</dd>" for n, v in page.experts)
        yield "</dl>"
    yield "</main>\n</body>\n</html>"


def _party(party: ReportParty, *, told: bool) -> str:
    tone, mark = _TONES[party.capability]
    if party.role in ("you", "peer"):
        tone = "plain"
    why = f'<p class="why">{escape(party.why)}</p>' if told else ""
    return (
        f'<li class="{tone}"><span class="mark" aria-hidden="true">{mark}</span><div>'
        f"<p>{ROLES[party.role]} ({_name(party.name)}): "
        f'<span class="could">{escape(party.capability.value)}</span></p>'
        f"{why}</div></li>"
    )


def _times(page: Page) -> Iterator[str]:
    rows = [
        (at, f"{escape(sentence)} {_name(detail) if detail else ''}".rstrip())
        for at, sentence, detail in page.events
    ]
    if rows:
        yield "<h2>What happened</h2>\n<table>"
        yield "\n".join(f"<tr><td>{at}</td><td>{said}</td></tr>" for at, said in rows)
        yield "</table>"


def _name(text: str) -> str:
    """Text that may come from elsewhere: escaped, and its direction kept to itself."""
    return f"<bdi>{escape(text)}</bdi>"
