"""What waits for our server: sent in the order it was written, and again until it is taken."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from securecall.address import Address
from securecall.chat.committer import Committer
from securecall.chat.history import History, Parcel
from securecall.chat.ledger import Ledger, News
from securecall.chat.message import Delivery
from securecall.errors import ConnectFailed, LocalError
from securecall.logs import logger
from securecall.readers import Membership, Readers
from securecall.xmpp.session import Session

RETRY_SECONDS: Final = (1.0, 2.0, 5.0, 15.0, 30.0)  # after the disk refused; the last for ever
CLOSE_SECONDS: Final = 2.0
DOUBTED_SECONDS: Final = 10.0  # before a connection is lost; what was taken then may be lost, too
# Parcels under way at once. A server that is slow would else be given up for dead with all of them
# before it, in one session after the other, each of which sends it all of them again.
MOST_IN_FLIGHT: Final = 32
# Seconds until it is kept that the server took a message, if nothing else is kept meanwhile.
PATIENCE: Final = 0.02

log = logger(__name__)


class Dispatch:
    """The parcels of one account on their way."""

    def __init__(
        self,
        own: Address,
        session: Session,
        history: History,
        readers: Readers,
        rooms: Membership,
        *,
        committer: Committer,
        ledger: Ledger,
        tell: Callable[[News], None],
    ) -> None:
        """Prepare.

        Args:
            own: Our address.
            session: To our server.
            history: Where what waits is kept.
            readers: Who may still read it.
            rooms: Which of ours take what we say; `entered` is called once one does, or is closed.
            committer: Of the history.
            ledger: Enters how messages fare.
            tell: Told that.
        """
        self._own = own
        self._session = session
        self._history = history
        self._readers = readers
        self._rooms = rooms
        self._committer = committer
        self._ledger = ledger
        self._tell = tell
        self._ready = False
        self._noting: set[asyncio.Task[None]] = set()
        # by number, when the server took them; never, for those that were sent again since
        self._recent: dict[int, tuple[float, Parcel]] = {}
        self._last = 0  # the number of the last parcel that was sent in this session
        self._behind = False  # some after it wait, for as many as may be are under way
        self._in_flight = 0  # parcels sent in this session that the server has not taken
        self._held: dict[Address, int] = {}  # rooms that parcels wait for: the first's number
        self._passed: set[int] = set()  # numbers of those done with since the first was held

    @property
    def ready(self) -> bool:
        """Whether what is written goes out at once."""
        return self._ready

    @property
    def behind(self) -> bool:
        """Whether something that is ready to go out waits for what is under way."""
        return self._behind

    def hold(self) -> None:
        """A session begins anew: what is written waits until it is ready."""
        self._ready, self._last, self._in_flight = False, 0, 0
        self._held.clear()
        self._passed.clear()

    def lost(self) -> None:
        """The connection is gone; whether the session is, too, is not known yet."""
        self._forget_recent(time.monotonic())

    def release(self) -> None:
        """The session is ready: send what waits, in the order it was written.

        First what the server took just before the connection was lost, unless it is known to have
        arrived: a server that goes down has been seen to take messages and lose them.

        Raises:
            LocalError: what waits could not be read; it is not ready, and has to be told again.
        """
        self._send_waiting()
        self._ready = True

    def entered(self, room: Address) -> None:
        """We are in this room and know who belongs to it, or it is closed: nothing waits for it."""
        first = self._held.pop(room, None)
        if first is not None:
            self._last, self._behind = min(self._last, first - 1), True
            if self._ready and self._in_flight < MOST_IN_FLIGHT:
                self._try_to_send_waiting()

    def ship(self, parcel: Parcel) -> None:
        """Send what was kept just now, or let it wait its turn."""
        if not self._ready or parcel.number <= self._last or (self._behind and self._in_flight):
            return
        if not self._behind and self._in_flight < MOST_IN_FLIGHT:
            if not self._is_held(parcel) and not self._is_vain(parcel, doubted=False):
                _ = self._send(parcel)
            return
        self._behind = True
        self._go_on()

    def send_once(self, parcel: Parcel) -> None:
        """Send what is not kept; without a session it is not sent at all."""
        if self._ready:
            self._session.send(parcel.stanza, again=lambda: self._again(parcel))

    async def close(self) -> None:
        """Note what the server took; what the disk refuses now is sent again the next time."""
        if self._noting:
            _ = await asyncio.wait(self._noting, timeout=CLOSE_SECONDS)
        for task in self._noting:
            _ = task.cancel()
        _ = await asyncio.gather(*self._noting, return_exceptions=True)

    def _is_held(self, parcel: Parcel) -> bool:
        """Whether it waits until we are in its room; what follows it in others does not."""
        to = parcel.conversation
        if to not in self._held and (self._rooms.closed(to) or not self._rooms.is_outside(to)):
            return False
        _ = self._held.setdefault(to, parcel.number)
        self._last = parcel.number
        return True

    def _is_vain(self, parcel: Parcel, *, doubted: bool) -> bool:
        """Whether it is for a room that takes nothing any more; then our user is told."""
        why = self._rooms.closed(parcel.conversation)
        if not why:
            return False
        self._pass(parcel.number)
        if not doubted:  # else the server took it
            self._give_up(parcel, why)
        return True

    def _forget_recent(self, now: float) -> None:
        while self._recent:
            number, (taken, _) = next(iter(self._recent.items()))
            if taken >= now - DOUBTED_SECONDS:
                return
            del self._recent[number]

    def _send_waiting(self) -> None:
        self._behind = True
        while self._in_flight < MOST_IN_FLIGHT:
            batch = self._next_batch()
            if not batch:
                self._behind = False
                if not self._held:
                    self._passed.clear()
                return
            for parcel, doubted in batch:
                if self._in_flight >= MOST_IN_FLIGHT or not self._offer(parcel, doubted=doubted):
                    return

    def _offer(self, parcel: Parcel, *, doubted: bool) -> bool:
        """Send what is still to be sent; False where the session takes nothing."""
        if parcel.number in self._passed:
            self._last = parcel.number
        elif self._is_held(parcel):
            pass
        elif self._arrived(parcel, doubted=doubted):
            self._pass(parcel.number)
            self._taken(parcel, sent=False)  # only the word of that was lost
        elif self._is_vain(parcel, doubted=doubted):
            pass
        else:
            stanza, meant = self._readers.withheld(parcel)
            if not meant:
                self._pass(parcel.number)
                self._give_up(parcel)
            elif not self._send(replace(parcel, stanza=stanza)):
                return False
            elif doubted:
                self._recent[parcel.number] = (math.inf, parcel)
        return True

    def _pass(self, number: int) -> None:
        self._last = number
        if self._held:
            self._passed.add(number)

    def _next_batch(self) -> list[tuple[Parcel, bool]]:
        """What is to go out after the last, in order, and whether the server had it once."""
        waiting = self._history.parcels(after=self._last, most=MOST_IN_FLIGHT)
        last = waiting[-1].number if len(waiting) == MOST_IN_FLIGHT else math.inf
        doubted = {
            number: parcel
            for number, (_, parcel) in self._recent.items()
            if self._last < number <= last
        }
        both = {parcel.number: parcel for parcel in waiting} | doubted
        return [(both[number], number in doubted) for number in sorted(both)]

    def _send(self, parcel: Parcel) -> bool:
        """Whether it is on its way; otherwise it waits, and so does all after it."""
        try:
            self._session.send(
                parcel.stanza,
                taken=lambda: self._taken(parcel, sent=True),
                again=lambda: self._again(parcel),
            )
        except ConnectFailed as e:
            log.info("a message waits: %s", e)
            self._behind = True
            return False
        self._pass(parcel.number)
        self._in_flight += 1
        return True

    def _taken(self, parcel: Parcel, *, sent: bool) -> None:
        """The server has it; should we forget that by a crash, it gets it twice, under one name."""
        now = time.monotonic()
        _ = self._recent.pop(parcel.number, None)  # the latest last
        self._recent[parcel.number] = (now, parcel)
        self._forget_recent(now)

        def work() -> tuple[News, ...]:
            self._history.taken(parcel.number)
            return self._ledger.taken(parcel.conversation, parcel.id)

        self._start(work)
        self._in_flight -= sent
        if self._ready and self._behind and sent and self._in_flight <= MOST_IN_FLIGHT // 2:
            self._send_waiting()

    def _again(self, parcel: Parcel) -> bytes | None:
        """What goes out of this over another connection of the session, None for nothing.

        Our user is told of a message that nobody may read any more; one of which that is not known
        waits for the next session.
        """
        try:
            stanza, meant = self._readers.withheld(parcel)
        except LocalError as e:
            log.warning("who may read what waits is not known: %s", e)
        else:
            if meant:
                return stanza
            if parcel.number:
                self._give_up(parcel)
        if parcel.number:
            self._in_flight -= 1
            _ = asyncio.get_running_loop().call_soon(self._go_on)  # behind what is sent again
        return None

    def _go_on(self) -> None:
        if self._ready and self._behind and not self._in_flight:
            self._try_to_send_waiting()  # nothing else would

    def _try_to_send_waiting(self) -> None:
        try:
            self._send_waiting()
        except LocalError as e:  # it is kept, and goes out with the next
            log.warning("what waits to be sent could not be read: %s", e)

    def _arrived(self, parcel: Parcel, *, doubted: bool) -> bool:
        """Whether it is where it should be, as far as history knows.

        A copy in our own archive says nothing of theirs; one that came back from a room does.
        """
        known = self._history.find(parcel.conversation, self._own, parcel.id)
        if known is None or known.delivery is Delivery.PENDING:
            return False
        in_room = self._rooms.members(parcel.conversation) is not None
        return known.delivery is not Delivery.SENT or (in_room and not doubted)

    def _give_up(self, parcel: Parcel, why: str = "") -> None:
        """Nobody may, or can, read it any more: our user is told, and may write it again."""

        def work() -> tuple[News, ...]:
            self._history.taken(parcel.number)
            return self._ledger.failed(parcel.conversation, parcel.id, why)

        self._start(work)

    def _start(self, work: Callable[[], tuple[News, ...]]) -> None:
        task = asyncio.create_task(self._note(work))
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def _note(self, work: Callable[[], tuple[News, ...]]) -> None:
        """Until the disk takes it: what is not noted is sent again in the next session."""
        for pause in itertools.chain(RETRY_SECONDS, itertools.repeat(RETRY_SECONDS[-1])):
            try:
                changes = await self._committer.commit(work, patience=PATIENCE)
            except LocalError as e:
                log.warning("that the server has a message could not be noted: %s", e)
                await asyncio.sleep(pause)
            else:
                for news in changes:
                    self._tell(news)
                return
