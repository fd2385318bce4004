"""People with either engine, driven from a test; and what each engine needs to be there."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from tests.interop.kamailio import PASSWORDS, Kamailio
from tests.paths import PROJECT

ALICE, BOB = 440.0, 620.0  # Hz, what each plays
PJSUA_PYTHON = PROJECT / ".venv-pjsua" / "bin" / "python"


_TRIAL = """
import platform
print("Python", platform.python_version(), "on", platform.machine(), flush=True)
import pjsua2
"""


def need_pjsua2(python: Path = PJSUA_PYTHON) -> Path:
    """Return the Python that has PJSIP, or skip the test and say why there is none."""
    if not python.exists():
        pytest.skip("there is no .venv-pjsua: python3 dev.py interop makes it")
    tried = subprocess.run([python, "-c", _TRIAL], capture_output=True, text=True)
    if tried.returncode:
        where = tried.stdout.strip()
        pytest.skip(f"pjsua2-python has no wheel for {where} (they end at 3.12, and have no ARM)")
    return python


class Refused(Exception):
    """A verb ended with an error: its class and its text."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class Person:
    """A person in a process of its own."""

    def __init__(self, name: str, engine: str, folder: Path, policy: dict | None = None) -> None:
        self.name, self.engine = name, engine
        python = need_pjsua2() if engine == "pjsua2" else Path(sys.executable)
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
        self.log = folder / "log"
        options = json.dumps({"policy": policy or {}})
        command = [python, "-m", "tests.interop.engine_person", folder / "store", options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=PROJECT,
                env={**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONFAULTHANDLER": "1"},
                start_new_session=True,
            )
        self._number = 0
        self._answers: dict[int, queue.Queue[dict]] = {0: queue.Queue()}
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self.wait(0, 30)
        except BaseException:
            self.kill()
            self.process.stdin.close()
            raise

    def _read(self) -> None:
        with self.process.stdout as said:
            for line in said:
                outcome = json.loads(line)
                self._answers[outcome.pop("n")].put(outcome)
        for waiting in self._answers.values():
            waiting.put({"error": "Died", "text": self.said()})

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def begin(self, verb: str, **arguments) -> int:
        """Have something done; `wait` says what came of it."""
        self._number += 1
        self._answers[self._number] = queue.Queue()
        command = {"n": self._number, "do": verb, **arguments}
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return self._number

    def wait(self, number: int, seconds: float = 50.0) -> dict:
        try:
            outcome = self._answers[number].get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"{self.name} does not answer:\n{self.said()}") from None
        if "error" in outcome:
            raise Refused(outcome["error"], outcome["text"])
        return outcome

    def do(self, verb: str, *, within: float = 15.0, **arguments) -> dict:
        """Have something done, and wait for what comes of it."""
        return self.wait(self.begin(verb, **arguments), within)

    def sign_in(self, proxy: Kamailio, **changes) -> dict:
        how = {
            "sip": f"sip:{self.name}@{proxy.domain}",
            "password": PASSWORDS.get(self.name),
            "server": f"localhost:{proxy.tls}",
            "server_name": "localhost",
            "authorities": str(proxy.certificates.authority),
            "engine": self.engine,
            "provider_mode": "gateway",  # SDES
        }
        return self.do("sign_in", within=45, **{**how, **changes})

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(5)

    def close(self) -> int:
        """End in order; returns the exit code."""
        with contextlib.suppress(OSError):  # where it is gone already
            self.process.stdin.close()
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} does not end:\n{self.said()}") from None


def over(person, call):
    return person.do("ended", call=call)["reason"]


def refused(person, verb, **arguments):
    with pytest.raises(Refused) as caught:
        person.do(verb, **arguments)
    return caught.value.kind
