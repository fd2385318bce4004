"""What holds for every test: hypothesis profiles, the secret guard, cheap passphrases, marks.

A test of `soak` has half an hour, however it is started, unless it says otherwise.
"""

from __future__ import annotations

import functools
import gc
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from securecall.calls import countersign
from securecall.secret import Secret
from securecall.store.lock import DEFAULT_COST, MINIMUM_COST, Cost, Lock, Rounds
from tests.guard import CANARY, SecretGuard

HERE = Path(__file__).parent
BY_FOLDER = {"attacks": "attack", "interop": "interop", "bench": "bench"}
SOAK_SECONDS = 1800
LOCK_INIT = Lock.__init__

# Deadlines are claims about speed, and a busy machine breaks them. Whoever develops runs everything
# often, and tries others each time; elsewhere it is run seldom, and has to be the same twice.
SLOW = [HealthCheck.too_slow]
settings.register_profile("dev", deadline=None, max_examples=25, suppress_health_check=SLOW)
settings.register_profile(
    "ci",
    deadline=None,
    max_examples=50,
    derandomize=True,
    print_blob=True,
    suppress_health_check=SLOW,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skip", action="store_true", help="count a skipped test as a failure")


def pytest_configure(config: pytest.Config) -> None:
    guard = SecretGuard()
    guard.install()
    config.stash[_GUARD] = guard
    Lock.__init__ = cheap_init


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_GUARD].remove()
    Lock.__init__ = LOCK_INIT


@functools.wraps(LOCK_INIT)
def cheap_init(lock: Lock, *, cost: Cost | Rounds = DEFAULT_COST, **others: object) -> None:
    """Where a test asks for no cost, one try of a passphrase costs a fifth of what it should."""
    LOCK_INIT(lock, cost=MINIMUM_COST if cost is DEFAULT_COST else cost, **others)


@pytest.fixture
def time_to_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ends of a call sign its account also on a busy machine; who never does takes longer."""
    monkeypatch.setattr(countersign, "PATIENCE_SECONDS", 20.0)


@pytest.fixture
def full_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """What opens a store or a backup costs what it costs people."""
    monkeypatch.setattr(Lock, "__init__", LOCK_INIT)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(HERE).parts[0]
        if item.get_closest_marker("soak") is None:
            if folder in BY_FOLDER:
                item.add_marker(BY_FOLDER[folder])
        elif item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SOAK_SECONDS))


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Have the collector walk no tests: they are objects by the million, which live to the end.

    Neither while they are made (half of the time that takes), nor again in each full round.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Fail a test that printed a secret; with --no-skip, one that was skipped."""
    report = yield
    guard = item.config.stash[_GUARD]
    for name, text in report.sections:
        guard.look_at(text, where=f"{name} of {item.nodeid}")
    found = guard.found()
    if found and item.get_closest_marker("reveals") is None:
        report.outcome = "failed"
        # The captured text is left out: it is what must not be printed.
        report.sections = []
        report.longrepr = "\n".join(found)
    if report.when == "teardown":
        guard.forget()
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("--no-skip"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"--no-skip: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    """With --no-skip, a file that skips itself as a whole is a failure, too."""
    report = yield
    if report.skipped and collector.config.getoption("--no-skip"):
        report.outcome, report.longrepr = "failed", f"--no-skip: {report.longrepr}"
    return report


@pytest.fixture
def canary() -> Secret:
    """A secret whose bytes, printed anywhere in any usual spelling, fail the run."""
    return Secret(CANARY)


_GUARD = pytest.StashKey[SecretGuard]()
