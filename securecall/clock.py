"""The two clocks there are: what people call the time, and what the event loop waits by."""

from __future__ import annotations

import asyncio
import time


def unix_now() -> int:
    """Unix seconds, by the clock on the wall, which may be set back."""
    return int(time.time())


def loop_now() -> float:
    """Seconds of the running event loop, which only grow."""
    return asyncio.get_running_loop().time()
