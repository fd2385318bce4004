"""Keep a process's memory out of files and debuggers, as far as the system lets us."""

from __future__ import annotations

import ctypes
import sys

_PR_SET_DUMPABLE = 4  # prctl(2)


def forbid_core_dumps() -> tuple[str, ...]:
    """Ask the system to write no core file of this process, and to let nobody attach to it.

    For programs that hold keys; the `securecall` command does it unless `--debug` is given. It
    affects the whole process, debuggers and profilers included, so the library never does it by
    itself.

    Returns:
        What was done, in words; empty where the system offers nothing.
    """
    done = []
    try:
        import resource
    except ImportError:  # Windows
        pass
    else:
        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
        done.append("no core files")
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0:
            done.append("not dumpable")
    return tuple(done)
