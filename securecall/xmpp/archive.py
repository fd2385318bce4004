"""Catching up with an archive: every message once, in order, page by page (XEP-0313, XEP-0059).

A page counts only whole: its results are held until the archive's `<fin/>` names the same first and
last of them. So a place in the archive is moved only past what was handed out, and both can be
kept in one transaction.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from securecall.errors import ProtocolError, StoreCorrupt, UsageError
from securecall.xmpp.forms import Form, build_form
from securecall.xmpp.jid import Jid
from securecall.xmpp.stamp import build_stamp
from securecall.xmpp.unwrap import MOST_ID, asked_result, unwrap
from securecall.xmpp.unwrapped import Discarded, Notice, Surroundings, Unwrapped, Why

MOST_AT_ONCE: Final = 50_000  # messages of one pass; the next pass goes on behind them
MAM: Final = "urn:xmpp:mam:2"
_RSM: Final = "http://jabber.org/protocol/rsm"
_OVERLAP: Final = 300.0  # seconds asked for again, where the place in the archive was lost
_MOST_ATTEMPTS: Final = 3  # at one page


@dataclass(frozen=True, slots=True)
class Place:
    """How far we have read in one archive.

    Attributes:
        id: The last message we have, by its name there.
        sent: When it was archived, for archives that have forgotten it since.
    """

    id: str
    sent: float

    def __bytes__(self) -> bytes:
        return f"{self.sent!r} {self.id}".encode()

    @classmethod
    def parse(cls, data: bytes) -> Place:
        """Read what `bytes()` wrote.

        Raises:
            StoreCorrupt: it is something else.
        """
        try:
            sent, _, name = data.decode().partition(" ")
            return cls(name, float(sent))
        except ValueError as e:
            raise StoreCorrupt("the place in an archive cannot be read") from e


class Progress(enum.Enum):
    """How a catch-up stands."""

    UNDER_WAY = enum.auto()
    COMPLETE = enum.auto()  # nothing newer is in the archive
    ENOUGH = enum.auto()  # there is more, but so much was not to be fetched at once


@dataclass(frozen=True, slots=True)
class Page:
    """The next messages of an archive, in their order.

    Attributes:
        items: What they are.
        discarded: What some of them turned out not to be.
        place: To be kept together with the items; None where the archive had nothing ever.
    """

    items: tuple[Unwrapped | Notice, ...]
    discarded: tuple[Discarded, ...]
    place: Place | None

    @property
    def since(self) -> float:
        """When the oldest of them was archived, in Unix seconds; 0 without any."""
        return min((item.sent for item in self.items if isinstance(item, Unwrapped)), default=0.0)


class Catchup:
    """One pass through one archive, from a place to its end.

    `query` asks for a page, `collect` takes its results, `finish` its end; again until `progress`
    is no longer UNDER_WAY.

    Attributes:
        archive: Our bare JID, or a room's.
        queryid: Of the page under way; results under any other name are nobody's.
        progress: How it stands.
        place: How far we have read.
        count: Messages handed out so far.
    """

    def __init__(
        self,
        archive: Jid,
        *,
        token: str,
        place: Place | None = None,
        since: float = 0.0,
        last: int = 0,
        page: int = 50,
        most: int = MOST_AT_ONCE,
    ) -> None:
        """Begin.

        Args:
            archive: Whose.
            token: Not to be guessed, other in every session.
            place: Where the last pass came to; the other two count only without it.
            since: Unix seconds, to begin there.
            last: Only so many messages from the end, at most a page.
            page: Messages in a page; servers may send fewer.
            most: Messages to fetch at all; what is beyond, another pass gets.
        """
        if not token or page < 1 or last > page:
            raise UsageError("a pass through an archive needs a token, and pages to hold it")
        self.archive = archive
        self.queryid = ""
        self.progress = Progress.UNDER_WAY
        self.place = place
        self.count = 0
        self._token = token
        self._since = since
        self._last = 0 if place is not None or since else last
        self._page = page
        self._most = most
        self._after = place.id if place is not None else ""
        self._pages = 0
        self._attempts = 0
        self._held: dict[str, Unwrapped | Notice | Discarded] = {}
        self._seen: set[str] = set()

    def query(self) -> Element:
        """Ask for the next page: the payload of an IQ of type set to the archive."""
        if self.progress is not Progress.UNDER_WAY:
            raise UsageError("this pass through the archive is over")
        self._held.clear()
        self._pages += 1
        self.queryid = f"{self._token}-{self._pages}"
        query = Element(f"{{{MAM}}}query", {"queryid": self.queryid})
        if self._since:
            fields = {"start": (build_stamp(self._since),)}
            query.append(build_form(Form(kind="submit", form_type=MAM, fields=fields)))
        rsm = SubElement(query, f"{{{_RSM}}}set")
        SubElement(rsm, f"{{{_RSM}}}max").text = str(self._last or self._page)
        if self._after:
            SubElement(rsm, f"{{{_RSM}}}after").text = self._after
        elif self._last:
            SubElement(rsm, f"{{{_RSM}}}before")  # XEP-0313 4.3.3: the page at the end
        return query

    def collect(self, stanza: Element, around: Surroundings) -> Discarded | None:
        """Hold one result; returns why, if it is none of this page.

        Args:
            stanza: The message that carries it.
            around: With `queryid` among its queries.
        """
        archive_id = asked_result(stanza, around)
        result = stanza.find(f"{{{MAM}}}result")
        if archive_id is None or result is None or result.get("queryid") != self.queryid:
            return Discarded(Why.RESULT_NOT_ASKED)
        if archive_id in self._held or archive_id in self._seen:
            return Discarded(Why.RESULT_NOT_ASKED, "a second time")
        if len(self._held) >= self._page:
            return Discarded(Why.RESULT_NOT_ASKED, "more than were asked for")
        self._held[archive_id] = unwrap(stanza, around)
        return None

    def finish(self, fin: Element | None) -> Page:
        """Take the end of a page; empty pages are asked for again by the next `query`.

        Raises:
            ProtocolError: the archive leaves out what it says it sent, or makes no headway.
        """
        if self.progress is not Progress.UNDER_WAY or not self.queryid:
            raise UsageError("no page of this archive was asked for")
        self.queryid = ""
        first, last, complete, stable = _parse_fin(fin)
        held = list(self._held)
        if (held[:1], held[-1:]) != ([first] if first else [], [last] if last else []):
            return self._once_more()
        if not held and not complete and not self._last:
            return self._once_more()
        self._attempts = 0
        return self._hand_out(complete=complete, stable=stable)

    def refused(self, condition: str) -> None:
        """The archive answers with an error.

        Raises:
            ProtocolError: one that asking otherwise does not mend.
        """
        self.queryid = ""
        if condition != "item-not-found" or not self._after:
            raise ProtocolError("the archive refuses", rule=f"XEP-0313 4: {condition[:64]}")
        # XEP-0313 4.3.2: what we knew last is no longer there. By time, then, with some overlap:
        # what comes twice is known by its name in the archive.
        self._after = ""
        self._since = max(1.0, (self.place.sent if self.place else 0.0) - _OVERLAP)

    def _once_more(self) -> Page:
        self._attempts += 1
        if self._attempts >= _MOST_ATTEMPTS:
            raise ProtocolError("the archive does not send what it says it sent", rule="XEP-0313 4")
        return Page((), (), self.place)

    def _hand_out(self, *, complete: bool, stable: bool) -> Page:
        outcomes = tuple(self._held.values())
        self._seen = set(self._held)  # of one page: before that, `after` would have to go back
        if self._held:
            self._after = list(self._held)[-1]
            if stable:  # XEP-0313 4.3.2: unstable results are not kept; here, not counted as had
                self.place = Place(self._after, self._time_of(outcomes))
        self._held = {}
        self.count += len(outcomes)
        if complete or self._last:
            self.progress = Progress.COMPLETE
        elif self.count >= self._most:
            self.progress = Progress.ENOUGH
        return Page(
            tuple(item for item in outcomes if not isinstance(item, Discarded)),
            tuple(item for item in outcomes if isinstance(item, Discarded)),
            self.place,
        )

    def _time_of(self, outcomes: tuple[Unwrapped | Notice | Discarded, ...]) -> float:
        times = [item.sent for item in outcomes if isinstance(item, Unwrapped)]
        before = self.place.sent if self.place else self._since
        return max([before, *times])


def _parse_fin(fin: Element | None) -> tuple[str, str, bool, bool]:
    """First, last, complete, stable."""
    if fin is None or fin.tag != f"{{{MAM}}}fin":
        raise ProtocolError("an archive's answer has no end", rule="XEP-0313 4")
    rsm = fin.find(f"{{{_RSM}}}set")
    first = "" if rsm is None else rsm.findtext(f"{{{_RSM}}}first", "")
    last = "" if rsm is None else rsm.findtext(f"{{{_RSM}}}last", "")
    if max(len(first), len(last)) > MOST_ID:
        raise ProtocolError("an archive id is too long", rule="XEP-0059 2.2")
    true = ("true", "1")
    return first, last, fin.get("complete") in true, fin.get("stable", "true") in true
