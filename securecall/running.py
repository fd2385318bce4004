"""Runs a program for people: what goes wrong ends it with one sentence instead of a traceback."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Final, TypeVar

from securecall.errors import SecurecallError, one_line

_INTERRUPTED: Final = 130  # as shells have it

T = TypeVar("T")


def run(main: Coroutine[object, object, T]) -> T:
    """Run a program as `asyncio.run` does, and end it as people expect of a command.

    An error of this library is printed in one sentence behind its name, by which it could be
    caught. Anything else is a bug and keeps its traceback. For scripts; an application catches what
    it can do something about.

    Returns:
        What `main` returned.

    Raises:
        SystemExit: with that sentence, which Python prints, for the exit code 1; or 130 for Ctrl-C.
    """
    try:
        return asyncio.run(main)
    except SecurecallError as e:
        raise SystemExit(f"{type(e).__name__}: {one_line(e)}") from e
    except KeyboardInterrupt:
        raise SystemExit(_INTERRUPTED) from None
