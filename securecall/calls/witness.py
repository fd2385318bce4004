"""Takes down what happens in one call, for its report and for what both ends will sign."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from securecall.calls import orders
from securecall.calls.countersign import Said
from securecall.calls.report_diary import CallDiary, CallEvent, Consent, EventKind
from securecall.calls.report_parties import Interval
from securecall.keys.trust_record import How
from securecall.media.description import Gate, Keying, Kind
from securecall.policy import IdentityEvidence, SecurityLevel, SecurityState

# Intervals of pictures and text that came or went, of the 64 that a report has room for; those of
# another word on the keys, which are few, come beside them.
_MOST_BESIDE = 32


class Witness:
    """What one call's report is made of; times are seconds from the beginning of the call.

    Attributes:
        intervals: Level by level.
        mixed_with: Names of the people of other calls that heard this one.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.intervals: tuple[Interval, ...] = ()
        self.mixed_with: tuple[str, ...] = ()
        self._diary = CallDiary()
        self._recorders = 0
        self._recording = False
        self._gate = Gate.CLOSED
        self._beside: tuple[Kind, ...] = ()  # what was agreed on beside sound
        self._peer_records = False
        self._pinned = False

    @property
    def security(self) -> SecurityState | None:
        """The last snapshot, None before keys."""
        return self.intervals[-1].security if self.intervals else None

    @property
    def events(self) -> tuple[CallEvent, ...]:
        """What happened, in order."""
        return self._diary.events

    @property
    def refused(self) -> int:
        """Changes of the call that were refused."""
        return self._diary.refused

    @property
    def dropped(self) -> int:
        """Events that found no room."""
        return self._diary.dropped

    @property
    def said(self) -> Said:
        """What we say of ourselves to the other end."""
        level = self.security.level if self.security is not None else SecurityLevel.NONE
        return Said(
            level=level,
            compared=any(i.security.sas_confirmed for i in self.intervals),
            recorded=self._diary.recorded,
            refused=self._diary.refused,
        )

    def performed(self, output: orders.Output, *, at: float) -> None:
        """The call performed an order of its machine."""
        match output:
            case orders.Secured(state=state):
                self._secured(state, at)
            case orders.SetGate(gate=gate):
                self._opened(gate, at)
            case orders.StartMedia(agreement=agreement):
                agreed = ((Kind.VIDEO, agreement.video), (Kind.TEXT, agreement.text))
                self._beside = tuple(medium for medium, found in agreed if found)
            case orders.SetVideo(video=video):
                self._comes(Kind.VIDEO, at, there=bool(video))
            case orders.SetText(text=text):
                self._comes(Kind.TEXT, at, there=text is not None)
            case orders.ChangeRefused(why=why):
                self._diary.note(EventKind.CHANGE_REFUSED, at=at, detail=why)
            case orders.TransferAsked(request=request):
                self._diary.note(EventKind.TRANSFER_ASKED, at=at, detail=request.target)
            case orders.Finish():
                self._opened(Gate.CLOSED, at)
            case _:
                pass

    def _secured(self, state: SecurityState, at: float) -> None:
        before = self.security
        if state == before:
            return  # told twice, as where words are confirmed again
        # What passed before still passes: the gate closes by an order of its own.
        passed = self._gate is not Gate.CLOSED
        self.intervals = (*self.intervals, Interval(since=at, security=state, passed=passed))
        ended = (i.medium for i in self.intervals if i.medium is not Kind.AUDIO)
        for medium in dict.fromkeys((*self._beside, *ended)):  # what passed under these keys, too
            self._append(medium, state, at)
        if before is None:
            if state.keying is not Keying.NONE:
                self._diary.note(EventKind.KEYS_AGREED, at=at, detail=state.level.name)
        elif state.level is not before.level:
            self._diary.note(EventKind.LEVEL_CHANGED, at=at, detail=state.level.name)

    def _opened(self, gate: Gate, at: float) -> None:
        self._gate = gate
        if gate is not Gate.CLOSED:
            self._let_through(Kind.AUDIO)
        for medium in self._beside if gate is Gate.OPEN else ():  # not while words are compared
            self._let_through(medium)
        self._watch_recorders(at)

    def _let_through(self, medium: Kind) -> None:
        """What stands last of this medium passes."""
        places = [place for place, i in enumerate(self.intervals) if i.medium is medium]
        if places:
            last = places[-1]
            passed = replace(self.intervals[last], passed=True)
            self.intervals = (*self.intervals[:last], passed, *self.intervals[last + 1 :])

    def _comes(self, medium: Kind, at: float, *, there: bool) -> None:
        """Pictures or text came into the call, or the last of them left it."""
        if there is (medium in self._beside):
            return
        others = tuple(kind for kind in self._beside if kind is not medium)
        self._beside = (*others, medium) if there else others
        if self.security is not None:
            self._stretch(medium, self.security, at)

    def _stretch(self, medium: Kind, state: SecurityState, at: float) -> None:
        """From now on there is such, or none; what finds no room passes in the last one."""
        if sum(i.medium is not Kind.AUDIO for i in self.intervals) < _MOST_BESIDE:
            self._append(medium, state, at)
        elif medium in self._beside and self._gate is Gate.OPEN:
            self._let_through(medium)

    def _append(self, medium: Kind, state: SecurityState, at: float) -> None:
        passed = medium in self._beside and self._gate is Gate.OPEN
        entry = Interval(since=at, security=state, passed=passed, medium=medium)
        self.intervals = (*self.intervals, entry)

    def recorder(self, *, added: bool, at: float) -> None:
        """A recorder was given the peer's sound, or is no more."""
        self._recorders = max(0, self._recorders + (1 if added else -1))
        self._watch_recorders(at)

    def _watch_recorders(self, at: float) -> None:
        recording = self._recorders > 0 and self._gate is not Gate.CLOSED
        if recording is not self._recording:
            self._recording = recording
            kind = EventKind.RECORDING_STARTED if recording else EventKind.RECORDING_STOPPED
            self._diary.note(kind, at=at)

    def consent(self, answer: Consent, *, at: float, by: str) -> None:
        """The application notes what was asked and answered about recording."""
        self._diary.note(EventKind(answer.value), at=at, detail=by)

    def learnt(self, identity: IdentityEvidence | None, *, outgoing: bool, at: float) -> None:
        """The gate is to open and what the call taught was written down."""
        if identity is None or identity.since or self._pinned:
            return
        if outgoing or identity.how == How.BEARER.value:  # no other call that comes in pins
            self._pinned = True
            self._diary.note(EventKind.KEY_PINNED, at=at, detail=identity.how or "first-call")

    def compared(self, *, same: bool, verified: bool = False, at: float) -> None:
        """The user said whether the words were the same."""
        self._diary.note(EventKind.WORDS_SAME if same else EventKind.WORDS_DIFFER, at=at)
        if verified:
            self._diary.note(EventKind.KEY_VERIFIED, at=at, detail=How.SAS.value)

    def heard(self, said: Said, *, at: float) -> bool:
        """The peer says something new of itself; returns whether it is that it records."""
        begins = said.recorded and not self._peer_records
        if begins:
            self._diary.note(EventKind.PEER_RECORDING, at=at)
        self._peer_records = self._peer_records or said.recorded
        return begins

    def mixed(self, names: Iterable[str], *, at: float) -> None:
        """People of other calls hear this one from now on."""
        for name in names:
            if name not in self.mixed_with:
                self.mixed_with = (*self.mixed_with, name)
                self._diary.note(EventKind.CONFERENCE_JOINED, at=at, detail=name)
