"""What `pip install securecall` brings in, as this environment has it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.paths import PROJECT

BINARIES = (".so", ".dylib", ".pyd", ".dll")


@cache
def project() -> dict:
    """The [project] table of pyproject.toml."""
    return tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def direct() -> tuple[str, ...]:
    """Names of the base dependencies, canonical."""
    return tuple(canonicalize_name(Requirement(r).name) for r in project()["dependencies"])


def optional() -> dict[str, tuple[str, ...]]:
    """Extra -> names of what it brings, canonical."""
    extras = project()["optional-dependencies"]
    return {
        extra: tuple(canonicalize_name(Requirement(r).name) for r in wanted)
        for extra, wanted in extras.items()
    }


@cache
def base_distributions() -> tuple[str, ...]:
    """The base dependencies and all they need on this platform, extras left out."""
    found: set[str] = set()
    wanted = map(Requirement, project()["dependencies"])
    waiting = [canonicalize_name(r.name) for r in wanted if not r.marker or r.marker.evaluate()]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for text in metadata.requires(name) or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(needed.name))
    return tuple(sorted(found))


def files_of(name: str) -> Iterator[Path]:
    """Every file of an installed distribution, compiled bytecode left out."""
    distribution = metadata.distribution(name)
    for entry in distribution.files or ():
        path = Path(str(distribution.locate_file(entry)))
        if path.suffix != ".pyc" and path.is_file():
            yield path


def size_of(name: str) -> int:
    """Bytes on disk of an installed distribution."""
    return sum(path.stat().st_size for path in files_of(name))


def binaries_of(name: str) -> list[Path]:
    """Shared libraries and extension modules of a distribution."""
    return [p for p in files_of(name) if p.suffix in BINARIES or ".so." in p.name]


def licence_of(name: str) -> str:
    """What the distribution says of its licence: SPDX expression, classifiers, or free text."""
    data = metadata.metadata(name)
    expression = data.get("License-Expression")
    if expression:
        return expression
    classifiers = [c for c in data.get_all("Classifier", []) if c.startswith("License ::")]
    return "; ".join(classifiers) or data.get("License") or ""
