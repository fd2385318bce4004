"""The form of a report file: one table that both checks a file and writes its JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from securecall.calls.report_diary import MOST_EVENTS, EventKind
from securecall.calls.report_parties import Capability, Role
from securecall.errors import EndReason, ProtocolError
from securecall.keys.encoding import MAX_INTEGER
from securecall.keys.trust_record import TrustState
from securecall.media.description import Keying, Kind
from securecall.policy import SecurityLevel

TYPE: Final = "securecall-listener-report"
VERSION: Final = 1
RULE: Final = "listener report"
MAX_SIZE: Final = 1 << 20  # bytes
MAX_DEPTH: Final = 8
MOST_NAMES: Final = 100  # hosts, or people, of one kind
LONGEST: Final = 300  # characters of a text that somebody else may have chosen

# Controls, and what changes the order or hides the presence of the characters around it.
_HIDDEN: Final = (
    r"[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    r"\u200b-\u200f\u2028-\u202f\u2060-\u206f\u3164\ud800-\uf8ff\ufeff\uffa0\ufff0-\uffff]"
)
_HIDDEN_CHARACTERS: Final = re.compile(_HIDDEN + "|[\U000e0000-\U0010ffff]")


class Shape(Protocol):
    """What one value of a report has to look like."""

    def require(self, value: object, at: str) -> None:
        """Check a value.

        Args:
            value: As read from JSON.
            at: Where it stands, for the message.

        Raises:
            ProtocolError: it looks different.
        """
        ...

    def schema(self) -> dict[str, object]:
        """The same as JSON Schema 2020-12."""
        ...


@dataclass(frozen=True, slots=True)
class Text:
    """A text of visible characters.

    Attributes:
        longest: Characters at most.
        pattern: All of it has to match, "" for anything.
    """

    longest: int = LONGEST
    pattern: str = ""

    def require(self, value: object, at: str) -> None:
        """Check it."""
        if not isinstance(value, str):
            raise _refused(at, "is no text")
        if len(value) > self.longest:
            raise _refused(at, f"is longer than {self.longest} characters")
        if _HIDDEN_CHARACTERS.search(value):
            raise _refused(at, "holds a character that cannot be seen or turns others around")
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise _refused(at, "is not of the form it has to have")

    def schema(self) -> dict[str, object]:
        """Describe it; JSON Schema has no whole match, so the pattern is anchored."""
        found: dict[str, object] = {
            "type": "string",
            "maxLength": self.longest,
            "not": {"pattern": f"{_HIDDEN}|[\U000e0000-\U0010ffff]"},
        }
        if self.pattern:
            found["pattern"] = f"^({self.pattern})$"
        return found


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of these texts."""

    choices: tuple[str, ...]

    def require(self, value: object, at: str) -> None:
        """Check it."""
        if not isinstance(value, str) or value not in self.choices:
            raise _refused(at, "is none of the words that can stand there")

    def schema(self) -> dict[str, object]:
        """Describe it."""
        return {"enum": list(self.choices)}


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number from `least` to `most`."""

    most: int = MAX_INTEGER
    least: int = 0

    def require(self, value: object, at: str) -> None:
        """Check it; true is no number."""
        if type(value) is not int or not self.least <= value <= self.most:
            raise _refused(at, "is no whole number in its range")

    def schema(self) -> dict[str, object]:
        """Describe it."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    def require(self, value: object, at: str) -> None:
        """Check it."""
        if not isinstance(value, bool):
            raise _refused(at, "is neither true nor false")

    def schema(self) -> dict[str, object]:
        """Describe it."""
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Many:
    """A list."""

    of: Shape
    most: int = 64
    least: int = 0

    def require(self, value: object, at: str) -> None:
        """Check it and all in it."""
        if not isinstance(value, list) or not self.least <= len(value) <= self.most:
            raise _refused(at, f"is no list of {self.least} to {self.most}")
        for number, item in enumerate(value):
            self.of.require(item, f"{at}[{number}]")

    def schema(self) -> dict[str, object]:
        """Describe it."""
        return {
            "type": "array",
            "items": self.of.schema(),
            "minItems": self.least,
            "maxItems": self.most,
        }


@dataclass(frozen=True, slots=True)
class Maybe:
    """That, or null."""

    of: Shape

    def require(self, value: object, at: str) -> None:
        """Check it."""
        if value is not None:
            self.of.require(value, at)

    def schema(self) -> dict[str, object]:
        """Describe it."""
        return {"anyOf": [self.of.schema(), {"type": "null"}]}


@dataclass(frozen=True, slots=True)
class Members:
    """An object with exactly these members: what no reader knows must not be in the evidence."""

    of: Mapping[str, Shape] = field(default_factory=dict[str, Shape])

    def require(self, value: object, at: str) -> None:
        """Check it and all in it."""
        if not isinstance(value, dict):
            raise _refused(at, "is no object")
        for name in self.of:
            if name not in value:
                raise _refused(f"{at}.{name}", "is missing")
        if len(value) != len(self.of):
            raise _refused(at, "has a member that version 1 does not know")
        for name, shape in self.of.items():
            shape.require(value[name], f"{at}.{name}")

    def schema(self) -> dict[str, object]:
        """Describe it."""
        return {
            "type": "object",
            "properties": {name: shape.schema() for name, shape in self.of.items()},
            "required": list(self.of),
            "additionalProperties": False,
        }


def _refused(at: str, what: str) -> ProtocolError:
    return ProtocolError(f"{at} {what}", rule=RULE)


def visible(text: str, longest: int = LONGEST) -> str:
    """Return text from elsewhere as a report may hold it: cut, and "?" for what cannot be seen."""
    clean = _HIDDEN_CHARACTERS.sub("?", text)
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


_HASH: Final = Text(128, "[0-9a-f]{128}")
_MAYBE_HASH: Final = Text(128, "([0-9a-f]{128})?")
_KEY: Final = Text(64, "[0-9a-f]{64}")
_SIGNATURE: Final = Text(128, "[0-9a-f]{128}")
_LEVEL: Final = OneOf(tuple(level.name for level in SecurityLevel))
_MS: Final = Number()

_PARTY: Final = Members(
    {
        "role": OneOf(tuple(Role)),
        "name": Text(),
        "could": OneOf(tuple(Capability)),
        "why": Text(500),
    }
)
_IDENTITY: Final = Members(
    {
        "root": _HASH,
        "device": Text(64),
        "trust": OneOf(tuple(TrustState)),
        "since": Number(),
        "how": Text(32),
        "stale": Flag(),
        "group": Text(64),
        "organisation": Text(),
        "signed_in_signalling": Flag(),
    }
)
_INTERVAL: Final = Members(
    {
        "medium": OneOf(tuple(Kind)),
        "from_ms": _MS,
        "until_ms": _MS,
        "passed": Flag(),
        "level": _LEVEL,
        "reason": Text(),
        "keying": OneOf(tuple(Keying)),
        "srtp_profile": Text(64),
        "sframe": Flag(),
        "pq": Flag(),
        "sas_confirmed": Flag(),
        "fips_approved": Flag(),
        "identity": Maybe(_IDENTITY),
        "warnings": Many(Text(), 32),
        "parties": Many(_PARTY, 512, 1),
    }
)
_END: Final = Members(
    {
        "address": Text(2048),
        "root": _HASH,
        "device": Text(64),
        "key": _KEY,
        "statement": _MAYBE_HASH,
        "fingerprints": _MAYBE_HASH,
        "said": Members(
            {"level": _LEVEL, "compared": Flag(), "recorded": Flag(), "refused": Number(0xFFFF)}
        ),
    }
)
RECORD: Final = Members(
    {
        "type": OneOf(("securecall-call",)),
        "v": Number(1, 1),
        "caller": _END,
        "callee": _END,
        "bind": _HASH,
        "media": Many(OneOf(tuple(Kind)), 3, 1),
        "keying": OneOf((Keying.DTLS_SRTP,)),
        "srtp": Text(64),
        "sframe": Number(5, 5),
        "group": Text(64),
        "began": Number(),
        "lasted_ds": Number(),
    }
)
_STATEMENT: Final = Text(33_000, "[A-Za-z0-9_-]*")
SECTIONS: Final[Mapping[str, Shape]] = {
    "call": Members(
        {
            "peer": Text(2048),
            "direction": OneOf(("outgoing", "incoming")),
            "began": Number(253_402_300_799),  # the last second of the year 9999
            "lasted_ms": _MS,
            "sent_ms": _MS,
            "received_ms": _MS,
            "ended": Maybe(OneOf(tuple(EndReason))),
            "error": Text(),
            "level": _LEVEL,
        }
    ),
    "way": Members(
        {
            "protocol": Text(32),
            "transport": Text(128),
            "direct": Flag(),
            "server": Text(),
            "hops": Many(Text(), MOST_NAMES),
            "own_domain": Text(),
            "peer_domain": Text(),
            "ticket": OneOf(("", "link", "qr", "bearer")),
            "mixed_with": Many(Text(), MOST_NAMES),
            "relays": Many(Text(), MOST_NAMES),
            "gateways": Many(Text(), MOST_NAMES),
            "page": Text(),
        }
    ),
    "intervals": Many(_INTERVAL, 64, 1),
    "events": Members(
        {
            "seen": Many(
                Members({"at_ms": _MS, "kind": OneOf(tuple(EventKind)), "detail": Text()}),
                MOST_EVENTS,
            ),
            "refused": Number(),
            "dropped": Number(),
        }
    ),
    "countersignature": Members(
        {
            "record": Maybe(RECORD),
            "ours": Maybe(_SIGNATURE),
            "theirs": Maybe(_SIGNATURE),
            "missing": Text(),
        }
    ),
    "statements": Members({"ours": Maybe(_STATEMENT), "theirs": Maybe(_STATEMENT)}),
    "limits": Many(Text(), 16, 1),
}
SEAL: Final = Maybe(
    Members(
        {
            "key": _KEY,
            "digests": Members(dict.fromkeys(SECTIONS, _HASH)),
            "signature": _SIGNATURE,
        }
    )
)
REPORT: Final = Members(
    {"type": OneOf((TYPE,)), "version": Number(VERSION, VERSION), **SECTIONS, "seal": SEAL}
)


def schema() -> dict[str, object]:
    """The published JSON Schema of a report."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:securecall:listener-report:1",
        "title": "securecall listener report, version 1",
        "description": "Who could have listened to a call; explained in listener-report.md.",
        **REPORT.schema(),
    }
