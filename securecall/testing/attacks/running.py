"""Runs attacks, one trial after the other, each in a folder of its own, and none for too long."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from securecall.errors import SecurecallError
from securecall.testing.attacks.outcome import Against, Outcome, Trial, named
from securecall.testing.attacks.threats import Threat

PATIENCE: Final = 50.0  # seconds for all calls of a trial; each of them has a guard of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One trial that was made.

    Attributes:
        seconds: How long it took.
    """

    trial: Trial
    outcome: Outcome
    seconds: float

    @property
    def held(self) -> bool:
        """Everything came as it must: a control succeeded, a protection held."""
        return not self.outcome.problems

    def fields(self) -> dict[str, object]:
        """The result as plain values."""
        outcome = self.outcome
        return {
            "trial": self.trial.name,
            "against": self.trial.against.value,
            "held": self.held,
            "problems": list(outcome.problems),
            "got": outcome.got,
            "readable_bytes": outcome.readable,
            "refusals": list(outcome.refusals),
            "level": outcome.level.name if outcome.level is not None else None,
            "both_ended": outcome.ended,
            "server_could": outcome.verdict.value if outcome.verdict is not None else None,
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True, slots=True)
class Account:
    """What all trials of a threat came to.

    Attributes:
        results: In the order they were made; empty where the threat has no trials.
    """

    threat: Threat
    results: tuple[Result, ...]

    @property
    def held(self) -> bool:
        """Every control succeeded, and every protection held."""
        return all(result.held for result in self.results)

    def of(self, against: Against) -> tuple[Result, ...]:
        """The results of trials of one kind."""
        return tuple(r for r in self.results if r.trial.against is against)

    def refusals(self) -> tuple[str, ...]:
        """The names of errors that were raised at her, each once."""
        found = (name for r in self.of(Against.OURS) for name in r.outcome.refusals)
        return tuple(dict.fromkeys(name.partition(":")[0] for name in found))

    def fields(self) -> dict[str, object]:
        """The account as plain values."""
        controls, ours = self.of(Against.CONTROL), self.of(Against.OURS)
        return {
            **threat_fields(self.threat),
            "held": self.held,
            "controls_succeeded": sum(r.held for r in controls),
            "protections_held": sum(r.held for r in ours),
            "control_got": next((r.outcome.got for r in controls if r.outcome.got), ""),
            "ours_got": next((r.outcome.got for r in ours if r.outcome.got), ""),
            "readable_bytes": sum(r.outcome.readable for r in ours),
            "errors": list(self.refusals()),
            "failed": [f"{r.trial.name}: {p}" for r in self.results for p in r.outcome.problems],
            "seconds": round(sum(r.seconds for r in self.results), 1),
        }


def threat_fields(threat: Threat) -> dict[str, object]:
    """A threat as plain values, with the numbers of its trials."""
    kinds = [trial.against for trial in threat.attack]
    return {
        "threat": threat.id,
        "title": threat.title,
        "adversary": threat.adversary.value,
        "expected": threat.expected,
        "lacking": threat.lacking,
        "controls": kinds.count(Against.CONTROL),
        "protections": kinds.count(Against.OURS),
        "limits": kinds.count(Against.LIMIT),
        "tests": list(threat.tests),
    }


async def run_trial(trial: Trial) -> Result:
    """Make one trial, in a throw-away folder."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="attack-") as folder:
        try:
            async with asyncio.timeout(PATIENCE):
                outcome = await trial.run(Path(folder))
        except TimeoutError as e:
            outcome = Outcome(problems=[str(e) or "it hangs"])
        except SecurecallError as e:
            outcome = Outcome(problems=[f"escaped: {named(e)}: {e}"])
        except Exception as e:  # noqa: BLE001 - whatever it is, it is a result, and told
            outcome = Outcome(problems=[f"broke: {type(e).__name__}: {e}"])
    if trial.against is Against.OURS:
        outcome.demand(outcome.readable == 0, f"{outcome.readable} bytes can be read")
    return Result(trial=trial, outcome=outcome, seconds=time.monotonic() - begun)


def all_held(accounts: Iterable[Account]) -> bool:
    """Whether nothing failed in any of them."""
    return all(account.held for account in accounts)
