"""What was found: one finding for each check, and the verdict on all of them."""

from __future__ import annotations

import enum
from dataclasses import dataclass

_MOST = 600  # characters of one text; ours are shorter, with what peers say in them cut


class Step(enum.StrEnum):
    """What is looked at, in this order; stable names for programs."""

    MACHINE = "machine"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    CERTIFICATE = "certificate"
    SERVER = "server"
    REGISTRATION = "registration"


class Verdict(enum.StrEnum):
    """How good it is, best first; stable names for programs."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    FAULT = "fault"


class Kind(enum.StrEnum):
    """Who has to act on a fault, gravest first; as the first level of `securecall.errors`."""

    SECURITY = "security"
    LOCAL = "local"
    PROTOCOL = "protocol"
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check came to. Its texts can neither act on a terminal nor begin a line.

    Attributes:
        step: Where it belongs.
        verdict: How good it is.
        what: What was found, in one line.
        why: What that means, in at most three sentences; "" where nothing is wrong.
        mend: What to do, and who has to.
        kind: Of a fault; None for all else.
    """

    step: Step
    verdict: Verdict
    what: str
    why: str = ""
    mend: str = ""
    kind: Kind | None = None

    def __post_init__(self) -> None:
        """Take out what servers and DNS may have put in to act on a terminal."""
        for name in ("what", "why", "mend"):
            object.__setattr__(self, name, shown(getattr(self, name), most=_MOST))


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything that was found, and what was not looked at.

    Attributes:
        findings: In the order of their steps.
        unseen: What may be right or wrong, since nobody looked.
    """

    findings: tuple[Finding, ...]
    unseen: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of all findings."""
        ranks = tuple(Verdict)
        return max((f.verdict for f in self.findings), key=ranks.index, default=Verdict.OK)

    @property
    def kind(self) -> Kind | None:
        """The gravest kind of fault, None where there is no fault."""
        ranks = tuple(Kind)
        return min((f.kind for f in self.findings if f.kind), key=ranks.index, default=None)


def shown(text: str, *, most: int = 60) -> str:
    """Text that somebody else chose: without control characters, in one line, cut."""
    clean = "".join(c if c.isprintable() else "?" for c in text)
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def quoted(text: str, *, most: int = 60) -> str:
    """The same within quotes."""
    return f'"{shown(text, most=most)}"'
