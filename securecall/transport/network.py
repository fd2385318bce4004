"""Notices that addresses of this machine, or its ways out, changed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable
from typing import Final

from securecall.transport.route import own_hosts

SETTLE_SECONDS: Final = 0.05
"""Addresses come and go in groups; this long nothing more has to happen before it is told."""

LOOK_SECONDS: Final = 2.0
"""Where the system does not tell: how often we look."""

# rtnetlink(7): links, and addresses and routes of both families
_GROUPS: Final = 0x1 | 0x10 | 0x40 | 0x100 | 0x400


class NetworkWatch:
    """Tells whenever addresses or routes changed, until it is closed.

    Linux says so by itself (rtnetlink), and nothing is done until then. Elsewhere the way out is
    looked up every LOOK_SECONDS, which sends nothing.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        """Begin to watch, on the running loop.

        Args:
            changed: Told once for each group of changes.
        """
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._settling: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None
        self._socket = _kernel()
        if self._socket is not None:
            self._loop.add_reader(self._socket, self._heard)
        else:
            self._looking = self._loop.create_task(self._look())

    async def close(self) -> None:
        """Watch no more; calling again does nothing."""
        if self._settling is not None:
            self._settling.cancel()
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        if self._looking is not None:
            _ = self._looking.cancel()
            _ = await asyncio.wait((self._looking,))
            self._looking = None

    def _heard(self) -> None:
        # What it says does not matter, as what there is is looked up; and so nothing is lost where
        # the kernel says that it had to drop something (ENOBUFS).
        with contextlib.suppress(BlockingIOError, OSError):
            while self._socket is not None:
                _ = self._socket.recv(65536)
        self._settle()

    def _settle(self) -> None:
        if self._settling is not None:
            self._settling.cancel()
        self._settling = self._loop.call_later(SETTLE_SECONDS, self._tell)

    def _tell(self) -> None:
        self._settling = None
        self._changed()

    async def _look(self) -> None:
        before = await own_hosts("")
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = await own_hosts("")
            if now != before:
                before = now
                self._tell()


def _kernel() -> socket.socket | None:
    """What the kernel tells by, None where it does not."""
    if sys.platform != "linux":
        return None
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE)
    try:
        sock.settimeout(0)
        sock.bind((0, _GROUPS))
    except OSError:  # a sandbox may forbid it
        sock.close()
        return None
    return sock
