"""The command attack: what each attack does to an unprotected pair, and what to ours."""

from __future__ import annotations

import argparse
from typing import Final

from securecall.cli.output import Output
from securecall.errors import UsageError
from securecall.testing.attacks.running import (
    Account,
    Result,
    all_held,
    run_trial,
    threat_fields,
)
from securecall.testing.attacks.threats import BY_ID, THREATS, Threat

FAILED: Final = 1  # a protection did not hold, or a control proved nothing


async def attack(args: argparse.Namespace, output: Output) -> int:
    """List the threats, or run some of them; returns 1 where something did not hold.

    Raises:
        UsageError: no threat of that name, or one without trials.
    """
    if args.what == "list":
        output.tell("threats", threats=[threat_fields(threat) for threat in THREATS])
        return 0
    chosen = _chosen(args.names)
    accounts = [await _run(threat, output, brief=args.table) for threat in chosen]
    if len(accounts) > 1 or args.table:
        output.tell("attacks", threats=[account.fields() for account in accounts])
    return 0 if all_held(accounts) else FAILED


def _chosen(names: list[str]) -> list[Threat]:
    if names == ["all"]:
        return list(THREATS)
    if not names:
        raise UsageError("name an attack, or all; see: securecall attack list")
    unknown = [name for name in names if name.upper() not in BY_ID]
    if unknown:
        raise UsageError(f"no such attack: {unknown[0][:20]}; see: securecall attack list")
    chosen = [BY_ID[name.upper()] for name in names]
    for threat in chosen:
        if not threat.attack:
            where = f"; tests have it: {', '.join(threat.tests)}" if threat.tests else ""
            raise UsageError(f"{threat.id} cannot be run: {threat.lacking or 'no trials'}{where}")
    return chosen


async def _run(threat: Threat, output: Output, *, brief: bool) -> Account:
    if threat.attack and not brief:
        output.tell("attack", **threat_fields(threat))
    results: list[Result] = []
    for trial in threat.attack:
        output.tell("attacking", threat=threat.id, trial=trial.name)
        results.append(await run_trial(trial))
        if not brief:
            output.tell("trial", threat=threat.id, **results[-1].fields())
    account = Account(threat, tuple(results))
    if threat.attack and not brief:
        output.tell("attacked", **account.fields())
    return account
