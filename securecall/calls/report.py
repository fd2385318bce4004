"""The account of one call: who could have listened, what happened, and what both ends signed.

The words are "could", never "did": a report states what keys and certificates made possible.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

from securecall.calls.countersign import Countersigned
from securecall.calls.report_diary import CallEvent as CallEvent
from securecall.calls.report_diary import Consent as Consent
from securecall.calls.report_diary import EventKind as EventKind
from securecall.calls.report_document import Account, build_document, build_file
from securecall.calls.report_html import page_as_html
from securecall.calls.report_parties import Capability as Capability
from securecall.calls.report_parties import Interval as Interval
from securecall.calls.report_parties import ReportParty as ReportParty
from securecall.calls.report_parties import Role as Role
from securecall.calls.report_parties import Way, parties_over, strongest
from securecall.calls.report_words import page_as_text, page_of
from securecall.errors import EndReason
from securecall.keys.signing import Signer
from securecall.policy import SecurityState


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerReport:
    """The account of one call.

    Attributes:
        peer: The peer's address for people.
        address: The same in full; `peer` again where it has none.
        outgoing: We called.
        began: Unix seconds of the invitation.
        lasted: Seconds from then to the end.
        media_seconds: Sound sent and received, seconds.
        ended: How; None while it goes on.
        error: The reason in words where it did not end in order, "" otherwise.
        intervals: Level by level, in order; empty if no keys were ever agreed.
        way: Everything that stood between the ends.
        events: What happened, in order.
        refused: Changes of the call that were refused.
        dropped: Events that found no room in `events`.
        record: The countersigned record, None where no identity was proven or nobody asked for it.
        statements: Our identity statement and, if it proved one, the peer's, so that anyone can
            check seal and record offline; empty in a call without identity.
        signer: The device key that seals the file, None in a call without identity.
        document: What `to_object` returned once, where the key may be gone since.
    """

    peer: str
    address: str = ""
    outgoing: bool
    began: int
    lasted: float
    media_seconds: tuple[float, float]
    ended: EndReason | None
    error: str
    intervals: tuple[Interval, ...]
    way: Way
    events: tuple[CallEvent, ...] = ()
    refused: int = 0
    dropped: int = 0
    record: Countersigned | None = None
    statements: tuple[bytes, ...] = ()
    signer: Signer | None = field(default=None, repr=False)
    document: Mapping[str, object] | None = field(default=None, repr=False)

    @property
    def security(self) -> SecurityState | None:
        """The last snapshot, None if no keys were agreed."""
        return self.intervals[-1].security if self.intervals else None

    @property
    def parties(self) -> tuple[ReportParty, ...]:
        """Everybody who took part and the strongest they could have done, strongest first."""
        stretches = self.intervals or (Interval(since=0.0),)
        return strongest(chain.from_iterable(parties_over(self.way, stretches)))

    @property
    def missing(self) -> str:
        """Why the other end's signature is not there, "" if it is."""
        if self.record is not None:
            return self.record.why
        if any(event.kind is EventKind.WORDS_DIFFER for event in self.events):
            return "the words were not the same, so nobody was asked to sign"
        security = self.security
        if security is None or security.identity is None:
            return "no identities were proven in this call"
        if self.ended is None:
            return "the call still goes on"
        return "the call ended before either end asked the other to sign"

    def to_object(self) -> dict[str, object]:
        """The report as plain values, sealed; its form is docs/spec/listener-report.md."""
        if self.document is not None:
            return copy.deepcopy(dict(self.document))
        return build_document(
            Account(
                address=self.address or self.peer,
                outgoing=self.outgoing,
                began=self.began,
                lasted=self.lasted,
                media_seconds=self.media_seconds,
                ended=self.ended,
                error=self.error,
                intervals=self.intervals or (Interval(since=0.0),),
                way=self.way,
                events=self.events,
                refused=self.refused,
                dropped=self.dropped,
                record=self.record,
                missing=self.missing,
                statements=self.statements,
            ),
            self.signer,
        )

    def sealed(self) -> ListenerReport:
        """The same, sealed now: it can be shown and kept when the keys are closed."""
        return replace(self, signer=None, document=self.to_object())

    def to_json(self) -> str:
        """The report as a file: one JSON object, which `securecall report verify` checks."""
        return build_file(self.to_object())

    def to_html(self) -> str:
        """One page in plain words, as HTML that needs nothing else."""
        return page_as_html(page_of(self.to_object()))

    def who_could_have_listened(self) -> str:
        """One page in plain words."""
        return page_as_text(page_of(self.to_object()))

    def __str__(self) -> str:
        return self.who_could_have_listened()
