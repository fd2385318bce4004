"""What is to be read is found: links lead somewhere, and every page stands in the contents."""

from __future__ import annotations

import re
from pathlib import Path

from tests.paths import PROJECT

DOCS = PROJECT / "docs"
PAGES = (PROJECT / "README.md", PROJECT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md")))
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ +(.*)$", prose(page), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def links(page: Path) -> list[tuple[Path, str]]:
    found = []
    for link in _LINK.findall(prose(page)):
        if not link.startswith(("https:", "http:", "mailto:")):
            path, _, anchor = link.partition("#")
            found.append(((page.parent / path).resolve() if path else page.resolve(), anchor))
    return found


def test_every_link_leads_to_a_page_and_its_heading():
    wrong = [
        f"{page.relative_to(PROJECT)}: {target.name}#{anchor}"
        for page in PAGES
        for target, anchor in links(page)
        if not target.exists() or (anchor and anchor not in anchors(target))
    ]
    assert wrong == []


def test_the_contents_name_every_page_but_the_decisions():
    contents = DOCS / "README.md"
    named = {target for target, _ in links(contents)}
    pages = {p.resolve() for p in PAGES if p.is_relative_to(DOCS) and p.parent.name != "decisions"}
    assert {p.name for p in pages - named - {contents.resolve()}} == set()
