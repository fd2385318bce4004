"""What happened in a call that its report has to tell, each with its time."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

MOST_EVENTS: Final = 256  # of one call; further ones are counted
MOST_PROVOKED: Final = 64  # of these, how many others may cause: nobody crowds out what we do


class EventKind(enum.StrEnum):
    """What can happen."""

    KEYS_AGREED = "keys-agreed"
    LEVEL_CHANGED = "level-changed"
    WORDS_SAME = "words-same"
    WORDS_DIFFER = "words-differ"
    KEY_PINNED = "key-pinned"
    KEY_VERIFIED = "key-verified"
    CHANGE_REFUSED = "change-refused"
    TRANSFER_ASKED = "transfer-asked"
    RECORDING_STARTED = "recording-started"
    RECORDING_STOPPED = "recording-stopped"
    PEER_RECORDING = "peer-recording"
    CONSENT_ASKED = "consent-asked"
    CONSENT_GIVEN = "consent-given"
    CONSENT_REFUSED = "consent-refused"
    CONFERENCE_JOINED = "conference-joined"


# Whatever others may cause again and again; that they record is told once.
PROVOKED: Final = frozenset({EventKind.CHANGE_REFUSED, EventKind.TRANSFER_ASKED})


class Consent(enum.StrEnum):
    """What an application may note about being allowed to record."""

    ASKED = "consent-asked"
    GIVEN = "consent-given"
    REFUSED = "consent-refused"


@dataclass(frozen=True, slots=True)
class CallEvent:
    """Something that happened.

    Attributes:
        at: Seconds from the beginning of the call.
        kind: What.
        detail: More about it; untrusted where others caused it.
    """

    at: float
    kind: EventKind
    detail: str = ""


class CallDiary:
    """The events of one call, bounded.

    Attributes:
        events: In order.
        refused: Changes of the call that were refused, all of them.
        dropped: Events that found no room.
        recorded: We recorded, at least for a while.
    """

    def __init__(self) -> None:
        """Begin an empty one."""
        self.events: tuple[CallEvent, ...] = ()
        self.refused = 0
        self.dropped = 0
        self.recorded = False
        self._provoked = 0

    def note(self, kind: EventKind, *, at: float, detail: str = "") -> None:
        """Write something down."""
        self.refused += kind is EventKind.CHANGE_REFUSED
        self.recorded = self.recorded or kind is EventKind.RECORDING_STARTED
        provoked = kind in PROVOKED
        if len(self.events) >= MOST_EVENTS or (provoked and self._provoked >= MOST_PROVOKED):
            self.dropped += 1
            return
        self._provoked += provoked
        self.events = (*self.events, CallEvent(at, kind, detail))
