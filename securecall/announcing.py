"""Everything that happens to calls and accounts, told to whoever asked to be told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Final
from weakref import WeakKeyDictionary

from securecall.address import ANONYMOUS, Address, parse_address
from securecall.call_history import CallHistory, PastCall
from securecall.calls import orders, signaling
from securecall.calls.call import Call
from securecall.calls.signaling import IncomingLeg
from securecall.clock import unix_now
from securecall.contacts import Contacts
from securecall.errors import DeviceLost, EndReason, LocalError, SecurityError
from securecall.events import (
    CallChangeRefused,
    CallEnded,
    CallMissed,
    CallRinging,
    CallSecured,
    ContactKeysChanged,
    DigitPressed,
    Event,
    GuessesWarning,
    HoldChanged,
    KeepingFailed,
    PeerRecords,
    PictureAsked,
    PicturesChanged,
    QualityChanged,
    SoundDeviceLost,
    SoundFailed,
    TransferProgressed,
    TransferRequested,
)
from securecall.expectation import Expectation
from securecall.logs import logger
from securecall.media.quality import Quality
from securecall.policy import SecurityLevel
from securecall.transferring import AskedTransfer, Place

log = logger(__name__)

ENOUGH_BURNED_GUESSES: Final = 32  # with one address in 24 hours: the application is warned
_MOST_UNREAD: Final = 1000


class Announcer:
    """Turns what calls order into events; satisfies `calling.Observer`.

    Attributes:
        calls: Those in progress, from their beginning to their end.
        place: Calls whom a transfer names; set by the client.
        history: Which calls there were.
    """

    def __init__(self, contacts: Contacts) -> None:
        """Begin with nobody to tell."""
        self.calls: set[Call] = set()
        self.place: Place | None = None
        self._followed: WeakKeyDictionary[Call, AskedTransfer] = WeakKeyDictionary()
        self.history = CallHistory(contacts.store, unix_now)
        self._contacts = contacts
        self._queues: set[asyncio.Queue[Event]] = set()
        _ = contacts.statements.watch(self._keys_changed)
        _ = contacts.identity.watch(self.tell)

    def events(self) -> AsyncGenerator[Event, None]:
        """Yield everything that happens from now on."""
        queue: asyncio.Queue[Event] = asyncio.Queue(maxsize=_MOST_UNREAD)
        self._queues.add(queue)
        return self._events_of(queue)

    async def _events_of(self, queue: asyncio.Queue[Event]) -> AsyncGenerator[Event, None]:
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.discard(queue)

    def tell(self, event: Event) -> None:
        """Tell everybody; whoever does not read loses the oldest."""
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    def observe(self, call: Call, expectation: Expectation, output: orders.Output) -> None:
        """Tell what an order of the call's machine means to an application."""
        if call in self._followed:
            self._followed[call].observe(call, output)
        match output:
            case orders.PeerRings():
                self.tell(CallRinging(call))
            case orders.Secured(state=state):
                expectation.settled()
                self.tell(CallSecured(call, state))
            case (
                orders.ChangeRefused()
                | orders.PeerHolds()
                | orders.PicturesAgreed()
                | orders.VideoAsked()
            ):
                self.tell(_change(call, output))
            case orders.TransferAsked(request=asked):
                self._transfer_asked(call, asked)
            case orders.TransferTold(progress=progress):
                self.tell(TransferProgressed(call, progress.step))
            case orders.Finish(reason=reason, error=error):
                expectation.settled()
                self.calls.discard(call)
                self._remember(call, reason)
                self.tell(CallEnded(call, reason, error))
            case _:
                pass

    def missed(self, leg: IncomingLeg, why: str, *, known: bool) -> None:
        """Tell, and remember, that somebody was refused before it rang."""
        self.tell(CallMissed(leg.remote.short, why))
        stranger = leg.remote == ANONYMOUS
        past = PastCall(
            number=0,
            began=unix_now(),
            talked=0.0,
            outgoing=False,
            peer="a caller without an address" if stranger else leg.remote.short,
            address="" if stranger else str(leg.remote),
            ended=EndReason.BUSY,
            level=SecurityLevel.NONE,
            known=known,
        )
        with self._telling_of_refusals():
            self.history.note(past)

    def _remember(self, call: Call, reason: EndReason) -> None:
        with self._telling_of_refusals():
            address = call.report.address
            pinned = bool(address) and self._contacts.is_pinned(parse_address(address))
            self.history.add(call, known=pinned, ended=reason)

    @contextmanager
    def _telling_of_refusals(self) -> Iterator[None]:
        """A call that cannot be remembered ends like any other, and that is told."""
        try:
            yield
        except LocalError as e:
            log.warning("a call is missing in the history: %s", e)
            self.tell(KeepingFailed(e))

    def _transfer_asked(self, call: Call, asked: signaling.TransferRequested) -> None:
        answer = None
        if self.place is not None and asked.address is not None:
            answer = AskedTransfer(self.place, call, asked, self._followed)
        self.tell(
            TransferRequested(
                call,
                asked.target,
                asked.address,
                waits=asked.number > 0,
                replaces=bool(asked.replaces),
                _answer=answer,
            )
        )

    def _keys_changed(self, event: ContactKeysChanged) -> None:
        """Tell, and end every call whose peer's keys were taken back: at once, not at its end."""
        self.tell(event)
        for call in tuple(self.calls):
            identity = call.security.identity
            if identity is not None:
                try:
                    self._contacts.require_device(identity.root_fp, identity.device_id)
                except SecurityError as e:
                    call.break_off(e)

    def sound_failed(self, call: Call, error: Exception) -> None:
        """Tell that a source or sink was taken out, or goes on with another device."""
        if isinstance(error, DeviceLost):
            self.tell(SoundDeviceLost(call, error))
        else:
            self.tell(SoundFailed(call, error))

    def pressed(self, call: Call, digit: str) -> None:
        """Tell that the other end pressed a key."""
        self.tell(DigitPressed(call, digit))

    def peer_records(self, call: Call) -> None:
        """Tell that the other end says it records."""
        self.tell(PeerRecords(call))

    def quality(self, call: Call, quality: Quality) -> None:
        """Tell that a call sounds better or worse."""
        self.tell(QualityChanged(call, quality))

    def guess_burned(self, address: Address) -> None:
        """Count a handshake that failed late, and warn where there were many."""
        failures = self._contacts.count_burned_guess(address)
        if failures >= ENOUGH_BURNED_GUESSES:
            self.tell(GuessesWarning(address.short, failures))


def _change(
    call: Call,
    output: orders.ChangeRefused | orders.PeerHolds | orders.PicturesAgreed | orders.VideoAsked,
) -> Event:
    """What changed in a call, or did not."""
    match output:
        case orders.ChangeRefused(why=why):
            return CallChangeRefused(call, why)
        case orders.PeerHolds(on=on):
            return HoldChanged(call, on)
        case orders.PicturesAgreed(shown=shown, seen=seen):
            return PicturesChanged(call, shown, seen)
        case orders.VideoAsked(content=what):
            return PictureAsked(call, what)
