"""Judges everything an examination saw."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Final

from securecall.doctor.encryption import judge_encryption
from securecall.doctor.facts import Facts, Machine, Wanted
from securecall.doctor.finding import Diagnosis, Finding, Kind, Step, Verdict
from securecall.doctor.login import judge_answer, judge_registered
from securecall.doctor.way import judge_names, judge_places

_DAY: Final = 86_400.0
_NEVER: Final = (
    "the way of the sound: NAT, firewalls for UDP, STUN, TURN, ICE",
    "microphone and speaker (look with: securecall sound --listen)",
)


def diagnose(facts: Facts) -> Diagnosis:
    """What is right, what is wrong, and what to do about it."""
    return Diagnosis(tuple(_findings(facts)), tuple(_unseen(facts)))


def _findings(facts: Facts) -> Iterator[Finding]:
    yield from judge_machine(facts.machine, facts.wanted)
    yield from judge_names(facts.wanted, facts.names)
    yield from judge_places(facts.wanted, facts.places)
    yield from judge_encryption(facts.wanted, facts.machine, facts.places)
    registered = facts.registered
    if facts.answer is not None:
        works = registered is not None and registered.granted is not None
        yield from judge_answer(facts.answer, facts.machine, registered=works)
    if registered is not None:
        yield from judge_registered(facts.wanted, registered)


def _unseen(facts: Facts) -> Iterator[str]:
    places = facts.places
    if len(facts.names.targets) > len(places):
        yield f"{len(facts.names.targets) - len(places)} more of the servers in DNS"
    later = [] if facts.answer else ["SIP server"]
    later += [] if facts.registered or not facts.password else ["registration", "password"]
    if not any(place.encryption for place in places):
        before = [] if places else ["connection"]
        listed = ", ".join([*before, "encryption", "certificate", *later])
        yield f"{listed}: the server was not reached"
    elif facts.wanted.websocket and "websocket" in facts.machine.missing:
        yield f"{', '.join(later)}: the extra websocket is missing"
    elif later:
        yield f"{', '.join(later)}: nothing is told to a server that did not prove its name"
    if not facts.password:
        yield "registration: no password was given"
    yield from _NEVER


def judge_machine(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    """What this machine has, as far as a call needs it."""
    if machine.now < machine.installed - _DAY:
        clock = datetime.datetime.fromtimestamp(machine.now, datetime.UTC)
        yield Finding(
            Step.MACHINE,
            Verdict.WARNING,
            f"the clock says {clock:%Y-%m-%d}, before securecall was put here",
            "A clock that is far off makes every certificate look expired or not valid yet.",
            "Set the clock of this machine.",
        )
    if machine.opus:
        yield Finding(Step.MACHINE, Verdict.OK, "libopus is there, for good sound")
    else:
        yield Finding(
            Step.MACHINE,
            Verdict.FAULT,
            "libopus is not found",
            "Without it only telephone quality is left, and many peers cannot be talked to.",
            "Install it: pip install opuslib-next-bundled, or the libopus package of your system.",
            Kind.LOCAL,
        )
    missing = machine.missing
    if wanted.websocket and "websocket" in missing:
        yield Finding(
            Step.MACHINE,
            Verdict.FAULT,
            "SIP over WebSocket is not installed",
            "The server is named as wss://, which needs an extra.",
            'Install it: pip install "securecall[websocket]"',
            Kind.LOCAL,
        )
    elif missing:
        names = ",".join(missing)
        yield Finding(
            Step.MACHINE,
            Verdict.NOTE,
            f"extras that are not installed: {', '.join(missing)}",
            "Only what needs them does not work.",
            f'If you need one: pip install "securecall[{names}]"',
        )
