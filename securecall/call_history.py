"""Which calls there were: kept sealed in the key store, for a while, and forgotten when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from securecall.calls.call import Call
from securecall.errors import EndReason, UsageError
from securecall.keys.encoding import build_json
from securecall.policy import SecurityLevel
from securecall.store.records import integer, read_record, text
from securecall.store.sqlite import Store

MOST_CALLS: Final = 10_000  # that can be kept
_KEPT: Final = (500, 365)
_DAY: Final = 86_400
_SETTING: Final = "call-history"
_STRANGERS: Final = 5  # one part in so many is for calls of strangers that nobody took
_PADDED: Final = 512  # octets: a row's size says nothing of who called
_MISSED: Final = (EndReason.CANCELLED, EndReason.NO_ANSWER, EndReason.BUSY, EndReason.UNREACHABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PastCall:
    """One call that is over.

    Attributes:
        number: Its name in the history.
        began: Unix seconds.
        talked: Seconds in which sound could pass; at least 0.1, or 0 if nobody took it.
        outgoing: We placed it.
        peer: Whom it was with, for people; a claim of theirs in a call below `E2EE`.
        address: The same to call back, "" for a caller without an address.
        ended: How.
        level: What it reached, NONE if it came to no keys.
        known: A key was pinned for that address when it began.
    """

    number: int
    began: int
    talked: float
    outgoing: bool
    peer: str
    address: str
    ended: EndReason
    level: SecurityLevel
    known: bool

    @property
    def missed(self) -> bool:
        """They called, and nobody here took or refused it."""
        return not self.outgoing and not self.talked and self.ended in _MISSED


class _Kept(NamedTuple):
    """What decides how long a call is remembered; no more of it stays in memory."""

    number: int
    began: int
    strange: bool


class CallHistory:
    """The history of one person."""

    def __init__(self, store: Store, clock: Callable[[], int]) -> None:
        """Keep it in this store; `clock` tells Unix seconds."""
        self._store = store
        self._clock = clock
        # Newest first. Whoever calls again and again does not have all be read again and again.
        self._known: list[_Kept] | None = None

    def calls(self) -> tuple[PastCall, ...]:
        """Every call that is remembered, the newest first; what is too old is forgotten first.

        Raises:
            StoreCorrupt: what is kept cannot be read.
        """
        self._forget_old()
        return self._all()

    def add(self, call: Call, *, known: bool, ended: EndReason) -> None:
        """Remember a call that is over.

        Raises:
            LocalError: the disk refuses.
        """
        report = call.report
        passed = next((i.since for i in report.intervals if i.passed), None)
        talked = 0.0 if passed is None else max(round(report.lasted - passed, 1), 0.1)
        self.note(
            PastCall(
                number=0,
                began=int(report.began),
                talked=talked,
                outgoing=call.outgoing,
                peer=call.peer,
                address=report.address,
                ended=ended,
                level=call.security.level,
                known=known,
            )
        )

    def note(self, past: PastCall) -> None:
        """Remember a call; which of the old ones go is decided with it.

        Raises:
            LocalError: the disk refuses.
        """
        kept = self._kept()
        number = max((k.number for k in kept), default=0) + 1
        gone = self._too_many([_summary(past, number), *kept])
        if number in gone:
            self._drop(gone - {number})
            return
        self._known = None  # until it is known what the disk has
        _ = self._store.append_call(_build(past), number=number, drop=gone)
        self._known = [_summary(past, number), *(k for k in kept if k.number not in gone)]

    def forget(self, numbers: Iterable[int]) -> None:
        """Forget these.

        Raises:
            UsageError: there is no call of that number.
        """
        wanted, kept = set(numbers), {k.number for k in self._kept()}
        if not wanted <= kept:
            raise UsageError(f"there is no call of number {min(wanted - kept)}")
        self._drop(wanted)

    def clear(self) -> None:
        """Forget all."""
        self._drop({k.number for k in self._kept()})

    @property
    def kept(self) -> tuple[int, int]:
        """How many calls are remembered, and for how many days."""
        data = self._store.setting(_SETTING)
        if data is None:
            return _KEPT
        return read_record(data, lambda r: (integer(r["calls"]), integer(r["days"])))

    def keep(self, *, calls: int, days: int) -> None:
        """Remember so many calls, for so many days; the rest is forgotten at once.

        Raises:
            UsageError: less than none, or too many.
        """
        if not (0 <= calls <= MOST_CALLS and 0 <= days <= 100 * 365):
            raise UsageError(f"0 to {MOST_CALLS} calls are remembered, for 0 or more days")
        self._store.save_setting(_SETTING, build_json({"calls": calls, "days": days}))
        self._forget_old()

    def _forget_old(self) -> None:
        self._drop(self._too_many(self._kept()))

    def _drop(self, numbers: set[int]) -> None:
        if numbers:
            kept, self._known = self._kept(), None
            self._store.drop_calls(numbers)
            self._known = [k for k in kept if k.number not in numbers]

    def _too_many(self, past: list[_Kept]) -> set[int]:
        """Those that are too old or too many; strangers who let it ring crowd out nobody."""
        calls, days = self.kept
        since = self._clock() - days * _DAY
        strange = [p.number for p in past if p.strange]
        gone = set(strange[calls // _STRANGERS :])
        gone |= {p.number for p in past if p.began <= since}
        left = [p.number for p in past if p.number not in gone]
        return gone | set(left[calls:])

    def _kept(self) -> list[_Kept]:
        if self._known is None:
            self._known = [_summary(past, past.number) for past in self._all()]
        return self._known

    def _all(self) -> tuple[PastCall, ...]:
        rows = sorted(self._store.calls(), key=lambda row: -row.number)
        return tuple(_parse(row.number, row.data) for row in rows)


def _summary(past: PastCall, number: int) -> _Kept:
    return _Kept(number, past.began, past.missed and not past.known)


def _build(past: PastCall) -> bytes:
    record = build_json(
        {
            "began": past.began,
            "talked_ms": round(past.talked * 1000),
            "outgoing": past.outgoing,
            "peer": past.peer[:128],
            "address": past.address,
            "ended": past.ended.value,
            "level": past.level.name,
            "known": past.known,
        }
    )
    return record.ljust(_PADDED)


def _parse(number: int, data: bytes) -> PastCall:
    return read_record(
        data.rstrip(b" "),
        lambda r: PastCall(
            number=number,
            began=integer(r["began"]),
            talked=integer(r["talked_ms"]) / 1000,
            outgoing=r["outgoing"] is True,
            peer=text(r["peer"]),
            address=text(r["address"]),
            ended=EndReason(text(r["ended"])),
            level=SecurityLevel[text(r["level"])],
            known=r["known"] is True,
        ),
    )
