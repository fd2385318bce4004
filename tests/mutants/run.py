"""Do the tests notice a lie? Changes one thing in one module at a time, and runs its tests.

    python3 dev.py mutants                     a sample of 320, spread over the modules
    python3 dev.py mutants --sample 2000       more of them
    python3 dev.py mutants keys.trust          every mutant of these modules
    python3 dev.py mutants --seed 2            another sample

Prints every mutant nothing noticed, and the score. Those in `equivalent.toml` change nothing that
anybody could see, each with its reason; they are not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.abc
import importlib.util
import os
import random
import resource
import signal
import sys
import time
import tomllib
from pathlib import Path

import pytest

from tests.mutants import mutator
from tests.mutants.scope import files_of, modules

HERE = Path(__file__).parent
PROJECT = HERE.parent.parent
# Imported before anything forks, since every mutant's process needs them.
BEFORE = (
    *("OpenSSL.SSL", "cryptography.x509", "pylibsrtp", "twomemo.twomemo", "x3dh"),
    *("xeddsa", "dns.resolver", "asyncio", "sqlite3", "cryptography.hazmat.primitives.hpke"),
)
LEAST = 4  # mutants of a module, in a sample
CPU = 120  # seconds of the processor for the tests of one mutant: an endless loop was noticed
PATIENCE = 900.0  # seconds by the clock, which says little on a busy machine


class Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a changed tree in the place of one module."""

    def __init__(self, name: str, path: Path, tree) -> None:
        self.name, self.path, self.tree = name, path, tree

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=self)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(compile(self.tree, str(self.path), "exec"), module.__dict__)


def noticed(name: str, path: Path, tree, tests: list[str]) -> bool:
    """Run the tests over the module as changed, in a process of their own; True if one fails."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (CPU, CPU))
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        if tree is not None:
            sys.meta_path.insert(0, Instead(name, path, tree))
        marks = "not bench and not soak"
        if not any(file.startswith("tests/interop/") for file in tests):
            marks += " and not interop"
        options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:cov", "-p", "no:xdist"]
        code = 3
        try:
            code = pytest.main([*options, "-m", marks, *tests])
        finally:
            os._exit(int(code))
    end = time.monotonic() + PATIENCE
    while True:
        late = time.monotonic() > end  # asked first: this process may have been stopped meanwhile
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            # Files whose tests are all left out say nothing, but where nothing was changed.
            silent = (0,) if tree is None else (0, pytest.ExitCode.NO_TESTS_COLLECTED)
            return not (os.WIFEXITED(status) and os.WEXITSTATUS(status) in silent)
        if late:
            break
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def sample(counts: dict[str, int], size: int, chance: random.Random) -> list[tuple[str, int]]:
    """Choose mutants, spread by size, at least a few of each module."""
    total, chosen = sum(counts.values()), []
    for name, count in counts.items():
        share = min(count, max(LEAST, round(size * count / total)))
        chosen += [(name, number) for number in sorted(chance.sample(range(count), share))]
    return chosen


def main() -> int:
    """Measure; fails where less than the required share is noticed."""
    options = argparse.ArgumentParser(prog="dev.py mutants")
    options.add_argument("modules", nargs="*", help="such as keys.trust; all of them, sampled")
    options.add_argument("--sample", type=int, default=320)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--least", type=float, default=0.85, help="share that must be noticed")
    asked = options.parse_args()
    os.environ.setdefault("HYPOTHESIS_PROFILE", "ci")
    os.chdir(PROJECT)
    paths = {name: path for name, path in modules() if not asked.modules or name in asked.modules}
    sources = {name: path.read_text(encoding="utf-8") for name, path in paths.items()}
    counts = {name: mutator.count(source) for name, source in sources.items()}
    size = sum(counts.values()) if asked.modules else asked.sample
    chosen = sample(counts, size, random.Random(asked.seed))
    known = tomllib.loads((HERE / "equivalent.toml").read_text(encoding="utf-8"))
    equivalent = {(e["module"], e["line"], e["change"]) for e in known["mutant"]}
    for module in BEFORE:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    score: dict[str, list[int]] = {}
    sound: list[list[str]] = []  # tests that pass where nothing was changed
    for name in dict.fromkeys(name for name, _ in chosen):
        full, path, tests = f"securecall.{name}", paths[name], files_of(name)
        files = sorted(file for stage in tests for file in stage)
        if files not in sound and noticed(full, path, None, files):
            print(f"{name}: its tests fail as it is", flush=True)
            return 2
        sound.append(files)
        lines = sources[name].splitlines()
        for number in (n for m, n in chosen if m == name):
            line, change, tree = mutator.mutant(sources[name], number)
            if (name, lines[line - 1].strip(), change) in equivalent:
                continue
            tally = score.setdefault(name, [0, 0])
            tally[1] += 1
            if any(noticed(full, path, tree, stage) for stage in tests):
                tally[0] += 1
            else:
                print(f"SURVIVED {name}:{line} [{change}]  {lines[line - 1].strip()}", flush=True)
        got, of = score.get(name, [0, 0])
        print(f"{name:28} {got:4} of {of:4}", flush=True)
    got, of = (sum(column) for column in zip(*score.values(), strict=True))
    print(f"noticed: {got} of {of}, {got / of:.1%} (of {sum(counts.values())} there are)")
    return 0 if got / of >= asked.least else 1


if __name__ == "__main__":
    sys.exit(main())
