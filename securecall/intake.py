"""What comes in for one XMPP account: kept in order, and acknowledged only once it is kept.

While an archive is read, what comes live waits behind it, so that conversations grow in the order
in which things were said. Where the disk refuses, nothing is acknowledged: the server keeps it.
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from xml.etree.ElementTree import Element

from securecall.address import Address
from securecall.chat.committer import Committer
from securecall.chat.history import History
from securecall.chat.ledger import Ledger, News
from securecall.chat.message import Arrival
from securecall.clock import loop_now
from securecall.errors import LocalError
from securecall.logs import logger
from securecall.xmpp.archive import Place
from securecall.xmpp.jid import Jid, jid_of
from securecall.xmpp.management import Done
from securecall.xmpp.unwrap import unwrap
from securecall.xmpp.unwrapped import (
    NO_ROOMS,
    Discarded,
    Notice,
    Outcome,
    Room,
    Surroundings,
    Unwrapped,
    Why,
)

MOST_AT_ONCE: Final = 64  # stanzas in one transaction
FIRST_AT_ONCE: Final = 8
# Of work in one transaction, for calls are heard by the same loop; then fewer are taken at once. A
# stranger's message can cost twelve milliseconds, as much as a hundred ordinary ones.
MOST_SECONDS: Final = 0.05
# Then no archive is waited for any more: the session stops to read, answers of archives with it,
# where too much is undone (`session.MOST_UNDONE`), and anybody could send as much. But then what a
# server routed a second time stands behind what came later, so it has to be more than comes while
# a slow server reads out what a long absence left.
MOST_HELD: Final = 4096
MOST_HELD_BYTES: Final = 32 * 1024 * 1024
RETRY_SECONDS: Final = (1.0, 2.0, 5.0, 15.0, 30.0)  # after the disk refused; the last one for ever
AGAIN_SECONDS: Final = 10.0  # of what came live that is read again in the archive
FAILED: Final = "failed"  # in `Intake.discarded`: it could not be entered, by a mistake of ours
ARCHIVE: Final = "archive "  # names of the places in archives, by the JID of their keeper

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class _Live:
    """A message that came live, and waits for its turn."""

    stanza: Element
    done: Done
    rooms: Mapping[Jid, Room]


@dataclass(slots=True)
class Taken:
    """What one transaction brought.

    Attributes:
        news: What is different in the conversations.
        arrivals: What was said, in order, for whoever answers it.
        messages: How many came; some say nothing, and move a ratchet on, or could not.
    """

    news: list[News] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    messages: int = 0


class Intake:
    """Takes what the session delivers through unwrapping, decryption and ledger, in order.

    Attributes:
        discarded: How many messages were not what they claimed to be, by reason.
    """

    def __init__(
        self,
        history: History,
        committer: Committer,
        ledger: Ledger,
        *,
        read: Callable[[Unwrapped, float], tuple[Arrival, ...]],
        surroundings: Callable[[], Surroundings],
        plaintext: Callable[[Address], bool],
        handle: Callable[[Taken], None],
        disk_failed: Callable[[LocalError], None],
    ) -> None:
        """Prepare; `run` works.

        Args:
            history: Where it is kept.
            committer: By whom.
            ledger: Enters.
            read: Decrypts and reads; given the time.
            surroundings: What has to be known to tell what a message is, as it stands now.
            plaintext: Whether our user wishes to talk to somebody without encryption.
            handle: Given what each transaction brought.
            disk_failed: Told when something could not be kept; it is tried again.
        """
        self.discarded: Counter[str] = Counter()
        self._history = history
        self._committer = committer
        self._read = read
        self._ledger = ledger
        self._surroundings = surroundings
        self._plaintext = plaintext
        self._handle = handle
        self._disk_failed = disk_failed
        self._live: deque[_Live] = deque()
        self._held_bytes = 0  # of those, and of those aside
        self._trails: dict[str, deque[Place]] = {}  # by keeper, what came live and when
        self._at_once = FIRST_AT_ONCE
        self._wake = asyncio.Event()
        self._open = asyncio.Event()
        self._read_to_end: dict[str, bool] = {}  # bare JID of whose archive
        self._aside: dict[str, list[_Live]] = {}  # by room

    def put(
        self,
        stanza: Element,
        done: Done,
        *,
        room: str = "",
        rooms: Mapping[Jid, Room] = NO_ROOMS,
    ) -> None:
        """Take a message that came live; `done` is called once it is kept.

        Args:
            stanza: The message.
            done: Acknowledges it, and says what it weighs.
            room: Bare JID of the room it was said in, "" for none: what is said in a room waits
                for that room's archive alone.
            rooms: As they are now, where it comes from one: until its turn comes, who spoke may
                have left, and somebody else may have the nickname.
        """
        live = _Live(stanza, done, rooms)
        self._held_bytes += done.weight
        if room and room not in self._read_to_end:
            self._aside.setdefault(room, []).append(live)
        else:
            self._live.append(live)
            self._wake.set()
        held = len(self._live) + sum(map(len, self._aside.values()))
        if held >= MOST_HELD or self._held_bytes >= MOST_HELD_BYTES:
            self._open.set()
            for waiting in tuple(self._aside):
                self._let_go(waiting)

    def hold(self) -> None:
        """Let what comes live wait, for every archive is read first."""
        self._open.clear()
        self._read_to_end.clear()

    def pause(self) -> None:
        """Let what comes live from now on wait, for our archive is read again first."""
        self._open.clear()

    def release(self, keeper: str, *, whole: bool, room: bool = False) -> None:
        """An archive was read: go on with what came live meanwhile.

        Args:
            keeper: Bare JID of whose archive.
            whole: To its end. Otherwise the place stays where it is, whatever comes live: what lies
                between would never be asked for again.
            room: It is a room's.
        """
        self._read_to_end[keeper] = whole
        if not room:
            self._open.set()
        self._let_go(keeper)

    def outside(self, room: str) -> None:
        """We are not in this room (bare JID): nothing waits for its archive before we are again."""
        _ = self._read_to_end.pop(room, None)
        self._let_go(room)

    def _let_go(self, room: str) -> None:
        for waiting in self._aside.pop(room, ()):
            self._live.append(waiting)
            self._wake.set()

    async def run(self) -> None:
        """Keep what comes, for ever."""
        while True:
            _ = await self._wake.wait()
            while not self._open.is_set():  # it may be closed again before it is our turn
                _ = await self._open.wait()
            batch = [self._live.popleft() for _ in range(min(self._at_once, len(self._live)))]
            self._held_bytes -= sum(live.done.weight for live in batch)
            if not self._live:
                self._wake.clear()
            await self._keep_live(batch)
            for live in batch:
                live.done()

    async def _keep_live(self, batch: Sequence[_Live]) -> None:
        around = self._surroundings()
        outcomes = [
            self._unwrapped(
                live.stanza,
                replace(around, rooms={**around.rooms, **live.rooms}) if live.rooms else around,
            )
            for live in batch
        ]
        await self._persist(
            lambda careful: self._take(outcomes, around, live=True, careful=careful)
        )

    def _unwrapped(self, stanza: Element, around: Surroundings) -> Outcome:
        try:
            return unwrap(stanza, around)
        except Exception as e:  # noqa: BLE001 - a mistake of ours must not stop all that comes
            self.discarded[FAILED] += 1
            log.warning("a message was left out: %s", type(e).__name__)
            return Discarded(Why.MALFORMED)

    async def keep(self, outcomes: Sequence[Outcome], place: Place | None, keeper: str) -> None:
        """Keep a page of an archive, and with the last of it how far it was read."""
        around, rest = self._surroundings(), deque(outcomes)
        while True:
            some = [rest.popleft() for _ in range(min(self._at_once, len(rest)))]
            upto = place if not rest else None
            await self._persist(functools.partial(self._take_page, some, around, upto, keeper))
            if not rest:
                return

    def _take_page(
        self,
        outcomes: Sequence[Outcome],
        around: Surroundings,
        place: Place | None,
        keeper: str,
        careful: bool,  # noqa: FBT001 - what `_persist` adds
    ) -> Taken:
        taken = self._take(outcomes, around, live=False, careful=careful)
        if place is not None:
            self._trails.pop(keeper, None)
            self._history.set_value(f"{ARCHIVE}{keeper}", bytes(place))
        return taken

    def place(self, keeper: str) -> Place | None:
        """How far the archive of somebody was read, None where it never was."""
        kept = self._history.value(f"{ARCHIVE}{keeper}")
        return None if kept is None else Place.parse(kept)

    async def _persist(self, work: Callable[[bool], Taken]) -> None:
        """Do it until the disk takes it; nothing behind it is done before.

        A mistake of ours must not become somebody's means to stop all that comes: then it is done
        again, carefully, and what fails is left out.
        """
        tries, careful = 0, False
        while True:
            committing = asyncio.ensure_future(
                self._committer.commit(functools.partial(work, careful))
            )
            committing.add_done_callback(self._handle_taken)
            try:
                # who is cancelled meanwhile does not keep it from being told
                _ = await asyncio.shield(committing)
            except LocalError as e:
                self._disk_failed(e)
                await asyncio.sleep(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)])
                tries += 1
            except Exception as e:  # the outermost loop of what comes in
                if careful:
                    raise
                log.error("what came could not be entered: %s", type(e).__name__)  # noqa: TRY400 - its words may be a message's
                careful = True
            else:
                return

    def _handle_taken(self, committed: asyncio.Future[Taken]) -> None:
        if not committed.cancelled() and committed.exception() is None:
            self._handle(committed.result())

    def _take(
        self, outcomes: Sequence[Outcome], around: Surroundings, *, live: bool, careful: bool
    ) -> Taken:
        """Inside a transaction: decrypt and enter, one after the other."""
        taken, began = Taken(), loop_now()
        for outcome in outcomes:
            match outcome:
                case Discarded(why=why, detail=detail):
                    self.discarded[why] += 1
                    log.info("a message was discarded: %s %s", why.value, detail)
                case Notice():
                    pass  # who has to see to it did
                case Unwrapped():
                    taken.messages += 1
                    enter = self._enter_alone if careful else self._enter
                    enter(outcome, taken, around.now)
                    # what lay somewhere stands before what was read of the archive
                    if live and outcome.archive_id and not outcome.delayed:
                        self._move_place(outcome, around)
        spent = loop_now() - began
        if spent > MOST_SECONDS:
            self._at_once = max(1, self._at_once // 4)
        elif spent < MOST_SECONDS / 2 and len(outcomes) == self._at_once:
            self._at_once = min(MOST_AT_ONCE, 2 * self._at_once)
        return taken

    def _enter_alone(self, found: Unwrapped, taken: Taken, now: float) -> None:
        entered = Taken()
        try:
            with self._history.transaction():
                self._enter(found, entered, now)
        except LocalError:
            raise
        except Exception as e:  # noqa: BLE001 - whatever it is, it is this message's alone
            self.discarded[FAILED] += 1
            log.warning("a message was left out: %s", type(e).__name__)
        else:
            taken.arrivals += entered.arrivals
            taken.news += entered.news

    def _enter(self, found: Unwrapped, taken: Taken, now: float) -> None:
        arrivals = self._read(found, now)
        taken.arrivals += arrivals
        for arrival in arrivals:
            plaintext = self._plaintext(arrival.conversation)
            taken.news += self._ledger.enter(arrival, plaintext=plaintext)

    def _move_place(self, found: Unwrapped, around: Surroundings) -> None:
        """What came live need not be fetched from the archive again, but for the last of it.

        A server may deliver a message, and an earlier one later or, should it stop, never.
        """
        keeper = jid_of(found.conversation).bare if found.room else around.own.bare
        if not self._read_to_end.get(keeper):
            return
        place, trail = Place(found.archive_id, found.sent), self._trails.setdefault(keeper, deque())
        if len(trail) < 2 and self.place(keeper) is None:
            self._history.set_value(f"{ARCHIVE}{keeper}", bytes(place))
        if not trail or place.sent - trail[-1].sent >= 1.0:  # so there are not many
            trail.append(place)
        passed = None
        while trail and trail[0].sent <= around.now - AGAIN_SECONDS:
            passed = trail.popleft()
        if passed is not None:
            self._history.set_value(f"{ARCHIVE}{keeper}", bytes(passed))
