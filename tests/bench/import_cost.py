"""CPU milliseconds of `import securecall` in a fresh interpreter."""

from __future__ import annotations

import time

BEGUN = time.process_time()

import securecall  # noqa: E402, F401  what is measured

SPENT = time.process_time() - BEGUN

from tests.bench.measure import answer  # noqa: E402  after the measurement

answer(stack="securecall", cpu_ms=1e3 * SPENT)
