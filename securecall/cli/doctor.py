"""The command doctor: what is wrong with an account, and what to do about it."""

from __future__ import annotations

import argparse
from typing import Final

from securecall.account import SignIn
from securecall.address import parse_address
from securecall.cli import failures
from securecall.cli.output import Output
from securecall.cli.passphrase import account_password
from securecall.doctor.examination import PATIENCE, examine
from securecall.doctor.finding import Diagnosis, Kind, Step
from securecall.transport.resolver import Resolver

_CODES: Final = {
    Kind.SECURITY: failures.SECURITY,
    Kind.LOCAL: failures.LOCAL,
    Kind.PROTOCOL: failures.PROTOCOL,
    Kind.NETWORK: failures.NETWORK,
}


async def doctor(
    args: argparse.Namespace,
    output: Output,
    *,
    resolver: Resolver | None = None,
    patience: float = PATIENCE,
) -> int:
    """Look at everything a registration needs, tell it, and return the exit code.

    Args:
        args: Of the command line.
        output: Where to tell it.
        resolver: Asks DNS, None for the system's.
        patience: Seconds for each thing that somebody else has to do.
    """
    how = SignIn(
        address=parse_address(args.account),
        password=account_password(args),
        user=args.user,
        server=args.server,
        server_name=args.server_name,
        authorities=args.authorities,
    )

    def looking(step: Step) -> None:
        if not args.json:
            output.tell("looking", at=step.value)

    diagnosis = await examine(how, resolver=resolver, patience=patience, watcher=looking)
    code = exit_code(diagnosis)
    output.tell("diagnosis", account=how.address.short, exit_code=code, **fields(diagnosis))
    return code


def exit_code(diagnosis: Diagnosis) -> int:
    """Return the code of the gravest fault, 0 where there is none."""
    return failures.OK if diagnosis.kind is None else _CODES[diagnosis.kind]


def fields(diagnosis: Diagnosis) -> dict[str, object]:
    """Return a diagnosis as plain values."""
    return {
        "verdict": diagnosis.verdict.value,
        "findings": [
            {
                "step": f.step.value,
                "verdict": f.verdict.value,
                "kind": f.kind.value if f.kind is not None else "",
                "what": f.what,
                "why": f.why,
                "mend": f.mend,
            }
            for f in diagnosis.findings
        ],
        "not_looked_at": list(diagnosis.unseen),
    }
