"""The account of one call: who could have listened, what happened, and what both ends signed.

The words are "could", never "did": a report states what keys and certificates made possible.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

from securecall.calls.report_diary import CallEvent as CallEvent
from securecall.calls.report_diary import Consent as Consent
from securecall.calls.report_diary import EventKind as EventKind
from securecall.calls.report_document import Account, build_document, build_file
from securecall.calls.report_html import page_as_html
from securecall.calls.report_parties import Capability as Capability
from securecall.calls.report_parties import Interval as Interval
from securecall.calls.report_parties import ReportParty as ReportParty
from securecall.calls.report_parties import Role as Role
from securecall.calls.report_parties import parties_over, strongest
from securecall.calls.report_words import page_as_text, page_of
from securecall.keys.signing import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerReport(Account):
    """The account of one call, to be shown and kept.

    Attributes:
        signer: The device key that seals the file, None in a call without identity.
        document: What `to_object` returned once, where the key may be gone since.
    """

    signer: Signer | None = field(default=None, repr=False)
    document: Mapping[str, object] | None = field(default=None, repr=False)

    @property
    def parties(self) -> tuple[ReportParty, ...]:
        """Everybody who took part and the strongest they could have done, strongest first."""
        return strongest(chain.from_iterable(parties_over(self.way, self.stretches)))

    def to_object(self) -> dict[str, object]:
        """The report as plain values, sealed; its form is docs/spec/listener-report.md."""
        if self.document is not None:
            return copy.deepcopy(dict(self.document))
        return build_document(self, self.signer)

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
