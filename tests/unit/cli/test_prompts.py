"""Ctrl-C where a passphrase is asked for."""

from __future__ import annotations

import asyncio
import getpass
import signal
import sys

import pytest

from securecall.cli import passphrase


def test_the_first_one_ends_a_prompt_in_an_event_loop_and_is_handled_as_before_after_it(
    monkeypatch,
):
    def somebody_types(label):
        signal.raise_signal(signal.SIGINT)
        return "what was typed before"

    async def main():
        before = signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            passphrase._obtain(None, "Passphrase", new=False)
        assert signal.getsignal(signal.SIGINT) is before
        monkeypatch.setattr(getpass, "getpass", lambda label: "typed")
        asked = await asyncio.to_thread(passphrase._obtain, None, "Passphrase", new=False)
        assert asked.reveal() == b"typed"

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(getpass, "getpass", somebody_types)
    asyncio.run(main())
