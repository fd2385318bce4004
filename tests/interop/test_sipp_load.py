"""SIPp calls and asks for a while; nothing fails, and nothing is left of it."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest

from tests.interop import sipp_load
from tests.interop.children import need

DESCRIPTORS = Path("/proc/self/fd")


def held() -> tuple[int, int]:
    """Tasks and descriptors of this process."""
    descriptors = len(os.listdir(DESCRIPTORS)) if DESCRIPTORS.is_dir() else 0
    return len(asyncio.all_tasks()), descriptors


@pytest.mark.parametrize("scene", [sipp_load.calls(), sipp_load.questions()], ids=lambda s: s.name)
def test_nothing_fails_and_nothing_is_left(scene, tmp_path, certificates, caplog):
    need("sipp", "sip-tester")
    caplog.set_level(logging.WARNING)

    async def main():
        before = held()
        async with sipp_load.called(certificates) as (signaling, port):
            flow = await signaling.reach()
            load = await sipp_load.press(scene, port, tmp_path / "load", rate=10, count=30)
            assert (load.code, len(load.waits)) == (0, 30)
            assert not signaling.busy(flow.number)
        async with asyncio.timeout(40):
            while held() != before:  # noqa: ASYNC110 - nothing says when a closed socket is gone
                await asyncio.sleep(0.05)

    asyncio.run(main())
    assert caplog.records == []
