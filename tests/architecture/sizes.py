"""A report of sizes, because size is a feature; `python -m tests.architecture.sizes` prints it."""

from __future__ import annotations

import ast
import json
import statistics
import subprocess
import sys
from collections import Counter

from tests.architecture.installed import base_distributions, size_of
from tests.architecture.modules import Module, modules

NOT_CORE = {"cli", "doctor", "ehr", "pjsua", "testing", "transparency"}
_IMPORT = """
import json, time
t, c = time.perf_counter(), time.process_time()
import securecall
print(json.dumps([time.perf_counter() - t, time.process_time() - c]))
"""


def import_times(runs: int = 5) -> tuple[float, float]:
    """Median wall and CPU seconds of `import securecall` in a fresh interpreter."""
    answers = []
    for _ in range(runs):
        done = subprocess.run(
            [sys.executable, "-c", _IMPORT], capture_output=True, text=True, check=True
        )
        answers.append(json.loads(done.stdout))
    wall, cpu = zip(*answers, strict=True)
    return statistics.median(wall), statistics.median(cpu)


def lines_of_code(module: Module) -> int:
    """Lines that are neither blank nor a comment nor part of a docstring."""
    explained: set[int] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            docstring = node.body[0]
            explained |= set(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    text = module.path.read_text(encoding="utf-8").splitlines()
    return sum(
        1
        for number, line in enumerate(text, start=1)
        if number not in explained and line.strip() and not line.lstrip().startswith("#")
    )


def report() -> str:
    """Lines per package, longest files, installed size, import time."""
    lines: Counter[str] = Counter()
    for module in modules():
        lines[module.package] += module.lines
    core = sum(n for package, n in lines.items() if package not in NOT_CORE)
    code = sum(lines_of_code(m) for m in modules() if m.package not in NOT_CORE)
    longest = sorted(modules(), key=lambda m: -m.lines)[:5]
    parts = {name: size_of(name) / 1e6 for name in base_distributions()}
    wall, cpu = import_times()
    return "\n".join(
        [
            "\nlines      " + ", ".join(f"{p} {n}" for p, n in lines.most_common()),
            f"           core {code} of code (aim: under 15000), {core} with what explains it",
            "longest    " + ", ".join(f"{m.name} {m.lines}" for m in longest) + " (aim: 400)",
            f"installed  {sum(parts.values()):.1f} MB (at most 60): "
            + ", ".join(f"{n} {s:.1f}" for n, s in sorted(parts.items(), key=lambda x: -x[1])),
            f"import     {wall * 1e3:.0f} ms, {cpu * 1e3:.0f} ms CPU (aim: under 150)",
        ]
    )


if __name__ == "__main__":
    print(report())
