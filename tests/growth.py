"""Does work grow with the size of its input, and not faster?

What is compared is CPU time at two sizes, eight times apart: linear work takes about 8 times as
long, quadratic work 64 times. The bound lies far from both, and a machine busy with something else
may try again.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_TIMES, _MOST_TIMES, _TRIES = 8, 30, 5


Prepared = Callable[[int], Callable[[], object]]


def linear(prepared: Prepared, small: int, *, tries: int = _TRIES) -> bool:
    """Compare two sizes; `prepared` returns the work for one, and its own time does not count."""
    for _ in range(tries):
        little = _seconds(prepared(small))
        # what both cost whatever their size, and the grain of the clock, must not decide
        if _seconds(prepared(_TIMES * small)) < _MOST_TIMES * little + 0.002:
            return True
    return False


def faster(prepared: Prepared, small: int) -> bool:
    """What a control shows: the work grows faster than its input."""
    return any(not linear(prepared, small, tries=1) for _ in range(_TRIES))


def _seconds(work: Callable[[], object]) -> float:
    best = 60.0
    for _ in range(3):
        begun = time.process_time()
        _ = work()
        best = min(best, time.process_time() - begun)
    return best
