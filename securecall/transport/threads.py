"""Work that blocks, done in a thread that is waited for even when its task is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


async def in_thread(work: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """Do the work in a thread. When cancelled, return only once it is done.

    So whoever cleans up afterwards does not do so under the hands of the work.
    """
    task = asyncio.create_task(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        _ = await asyncio.wait({task})
        if not task.cancelled():
            _ = task.exception()  # nobody asks for it any more
        raise
