"""What an attack is made of, and what one trial of it came to."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from securecall.calls.report import Capability
from securecall.errors import SecurecallError
from securecall.policy import SecurityLevel


class Against(enum.StrEnum):
    """Whom a trial attacks, and so what has to come of it.

    CONTROL: people without the protection; the attack has to succeed, else it proves nothing.
    OURS: the library as it is; the attack has to fail.
    LIMIT: the library where nothing could prevent it; people have to be told so.
    """

    CONTROL = "control"
    OURS = "ours"
    LIMIT = "limit"


class AttackSucceeded(AssertionError):
    """A protection did not hold, or a control did not work."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What one trial came to.

    Attributes:
        got: What the attacker has of it, or what was made of it, in words.
        readable: Octets of sound or content she can read with every key she ever held.
        refusals: What was raised, as "DowngradeError: downgrade".
        level: What the call reached where it went on; None where none did.
        ended: Both ends are over; None where nothing had to end.
        verdict: What the server could have done, as the caller's report says; None without one.
        problems: What did not come as it must; empty where everything did.
    """

    got: str = ""
    readable: int = 0
    refusals: tuple[str, ...] = ()
    level: SecurityLevel | None = None
    ended: bool | None = None
    verdict: Capability | None = None
    problems: list[str] = field(default_factory=list)

    def demand(self, what: object, otherwise: str) -> None:
        """Note a problem where `what` is not true; unlike `assert`, under -O as well."""
        if not what:
            self.problems.append(otherwise)

    def require_held(self) -> None:
        """Check that everything came as it must.

        Raises:
            AttackSucceeded: something did not.
        """
        if self.problems:
            raise AttackSucceeded("; ".join(self.problems))


@dataclass(frozen=True, slots=True)
class Trial:
    """One way of an attack, against one kind of victim.

    Attributes:
        name: In a few words; of its own within its attack.
        run: Does it, with a folder of its own to work in.
    """

    name: str
    against: Against
    run: Callable[[Path], Awaitable[Outcome]]


Attack = tuple[Trial, ...]


def control(name: str, run: Callable[[Path], Awaitable[Outcome]]) -> Trial:
    """An attack on people without the protection."""
    return Trial(name, Against.CONTROL, run)


def ours(name: str, run: Callable[[Path], Awaitable[Outcome]]) -> Trial:
    """The same on ours."""
    return Trial(name, Against.OURS, run)


def limit(name: str, run: Callable[[Path], Awaitable[Outcome]]) -> Trial:
    """One that nothing could prevent."""
    return Trial(name, Against.LIMIT, run)


def named(error: SecurecallError) -> str:
    """An error as tables show it: its type, and the stable name of its cause."""
    reason = getattr(error, "reason", None) or getattr(error, "rule", "")
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__
