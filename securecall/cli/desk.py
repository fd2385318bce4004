"""What is entered while people talk: orders that begin with a slash, to hand over above all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

from securecall.address import Address
from securecall.calls.call import Call
from securecall.calls.machine import State
from securecall.cli.commands import find
from securecall.cli.failures import what_happened
from securecall.cli.orders import Form, Order, parse_order
from securecall.cli.output import Output, security_fields
from securecall.client import Client, IncomingCall
from securecall.errors import ChangeRefused, NotTransferred, SecurecallError, UsageError
from securecall.events import TransferProgressed, TransferRequested
from securecall.media.endpoints import AudioSource
from securecall.policy import SecurityLevel

if TYPE_CHECKING:  # PyAV is an extra
    from securecall.media.video.endpoints import VideoSource

ORDERS: Final[Mapping[str, Form]] = {
    "help": Form("", "show this"),
    "consult": Form("WHO", "call somebody else meanwhile, unrecorded; then /hangup", text="must"),
    "transfer": Form("[WHO]", "send them to somebody; after /consult: connect the two", text="may"),
    "accept": Form("", "call whom they send you to, or take the call that is handed to you"),
    "decline": Form("", "do not"),
    "hold": Form("", "put them on hold: nothing moves, and they are told"),
    "resume": Form("", "take them back"),
    "mute": Form("", "send silence, which they are not told; once more ends that"),
    "press": Form("DIGITS", "press keys of a telephone", text="must"),
    "hangup": Form("", "end this call"),
}  # fmt: skip


class Make(Protocol):
    """Makes a call that sends this and shows that."""

    def __call__(self, audio: AudioSource | None, *, video: VideoSource | bool | None) -> Call:
        """Make it."""
        ...


_TELLING_SECONDS: Final = 3.0  # that a hold is told in, and what else is to be done waits

Talk = Callable[[Make, Callable[[], Awaitable[None]]], Awaitable[None]]
"""Makes a call, does something, and leads the call to its end."""


class Board:
    """What all conversations at one terminal share; open it while people talk.

    Attributes:
        front: Whom we talk to; what is entered is for that conversation.
    """

    def __init__(
        self,
        client: Client,
        output: Output,
        *,
        text: bool = False,
        require: SecurityLevel | None = None,
        takes_all: bool = False,
    ) -> None:
        """Begin with nobody.

        Args:
            client: Makes calls.
            output: Tells, and hears what is entered.
            text: Calls have text.
            require: What each call has to reach.
            takes_all: Whoever is handed to us is taken without asking.
        """
        self.client, self.output = client, output
        self.text, self.require, self.takes_all = text, require, takes_all
        self.front: Desk | None = None
        self.hears = output.hears or text
        self._work: set[asyncio.Task[None]] = set()
        self._entry = ExitStack()

    async def __aenter__(self) -> Self:
        """Hear what is entered, and who is handed to us."""
        self.begin(self._watch())
        if self.hears:
            self._entry.enter_context(self.output.entry())
            self.begin(self._serve())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave nothing of it behind."""
        work = tuple(self._work)
        for task in work:
            _ = task.cancel()
        _ = await asyncio.gather(*work, return_exceptions=True)
        self._entry.close()

    def begin(self, work: Coroutine[object, object, None]) -> None:
        """Do this meanwhile, and no longer than people talk."""
        task = asyncio.ensure_future(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    def enter(self, line: str) -> None:
        """Take a line that was entered."""
        if self.front is not None:
            self.front.enter(line)

    def call(
        self, who: str, audio: AudioSource | None, *, video: VideoSource | bool | None = None
    ) -> Call:
        """Call somebody, as this command calls.

        Raises:
            ProtocolError, UsageError: nobody can be called so.
        """
        target = named(self.client, who)
        return self.client.call(
            target, audio=audio, video=video, text=self.text, require=self.require
        )

    async def _serve(self) -> None:
        while (line := await self.output.line()) is not None:
            self.enter(line)
        self.hears = False  # what is asked now, nobody can answer
        if self.front is not None:
            await self.front.decline()

    async def _watch(self) -> None:
        while True:
            ring = await self.client.next_call()
            desk = self.front
            if desk is None or ring.replaces is not desk.call or not desk.offer_call(ring):
                await ring.decline()


class Desk:
    """One conversation.

    Attributes:
        call: With whom.
        here: It is in front, and no other that was begun from here.
        lines: Text to be sent.
    """

    def __init__(self, board: Board, call: Call, talk: Talk) -> None:
        """Put it in front; `talk` leads another one."""
        self.call, self.here = call, asyncio.Event()
        self.lines: asyncio.Queue[str] = asyncio.Queue()
        self._board, self._output, self._talk = board, board.output, talk
        self._behind, board.front = board.front, self
        self._asked: TransferRequested | IncomingCall | None = None
        self._handed = asyncio.Event()  # or nobody is being handed over
        self._handed.set()
        self.here.set()

    async def close(self) -> None:
        """It is over: whoever asked for something is told no, and what was in front before is."""
        self._board.front = self._behind
        await self.decline()

    async def settled(self) -> None:
        """The call is over: wait for what was begun from here, another conversation above all."""
        front = self._board.front
        if front is not None and not self.here.is_set():
            they, other = self.call.peer, front.call.peer
            self._note(f"{they} is gone; you are with {other} now.")
            _ = await self.here.wait()
        _ = await self._handed.wait()

    @property
    def idle(self) -> bool:
        """Nothing that was begun from here is under way; what they ask for keeps nobody here."""
        return self.here.is_set() and self._handed.is_set()

    def enter(self, line: str) -> None:
        """Take a line: an order, or text."""
        try:
            order = parse_order(line, ORDERS)
        except UsageError as e:
            self._note(f"{e}.")
            return
        if order.name == "help":
            self._help()
        elif order.name != "say":
            self._board.begin(self._obey(order))
        elif self.call.text.agreed:
            self.lines.put_nowait(order.text)
        elif order.text:
            self._note("This call has no text, for which both sides give --text. Orders: /help")

    def offer(self, request: TransferRequested) -> bool:
        """Tell that they send us to somebody else, if that is to be answered here."""
        if not self._open_to(request):
            return False
        self._output.tell(
            "transfer", target=request.target, address=str(request.address), asked=True
        )
        return True

    def offer_call(self, ring: IncomingCall) -> bool:
        """The same of a call that is to take the place of this one."""
        board = self._board
        if not self._open_to(ring):
            return False
        self._output.tell("incoming", **ring_fields(ring, board.require), replaces=self.call.peer)
        if board.takes_all:
            board.begin(self._obey(Order("accept")))
        return True

    def _open_to(self, asked: TransferRequested | IncomingCall) -> bool:
        waits = isinstance(self._asked, TransferRequested) or (
            self._asked is not None and not self._asked.over
        )
        takes = self._board.takes_all and isinstance(asked, IncomingCall)
        if waits or not self.here.is_set() or not (self._board.hears or takes):
            return False
        self._asked = asked
        return True

    async def decline(self) -> None:
        """Say no to whoever asked for something."""
        asked, self._asked = self._asked, None
        if isinstance(asked, TransferRequested):
            asked.decline()
        elif asked is not None:
            await asked.decline()

    async def _obey(self, order: Order) -> None:
        try:
            match order.name:
                case "transfer":
                    await self._transfer(order.text)
                case "consult":
                    await self._aside(partial(self._board.call, order.text))
                case "accept":
                    await self._accept()
                case "decline":
                    self._require_asked()
                    await self.decline()
                case "hold":
                    _ = await self._hold()
                    self._note("They are on hold. /resume takes them back.")
                case "resume":
                    await self._resume()
                case "mute":
                    self.call.mute(muted=not self.call.muted)
                    self._note("You are muted." if self.call.muted else "They hear you again.")
                case "press":
                    await self.call.press(order.text)
                case _:  # "hangup"
                    await self.call.hang_up()
        except SecurecallError as e:
            self._note(f"{what_happened(e)}.")

    def _help(self) -> None:
        self._output.tell(
            "orders",
            orders=[
                {"order": f"/{name} {form.usage}".rstrip(), "does": form.does}
                for name, form in ORDERS.items()
            ],
        )

    async def _transfer(self, who: str) -> None:
        """Send them on, or connect them with whom we talked to before."""
        behind = self._behind
        moved, to = self.call, named(self._board.client, who) if who else self.call
        if not who and behind is not None and behind.call.state is State.ACTIVE:
            moved = behind.call
        elif not who:
            raise UsageError("write: /transfer WHO, or talk to them first: /consult WHO")
        if not self._handed.is_set():
            raise UsageError("one after the other: what comes of the transfer is not known yet")
        self._handed.clear()
        try:
            await self._hand_over(moved, to, who or self.call.peer)
        finally:
            self._handed.set()

    async def _hand_over(self, moved: Call, to: str | Address | Call, name: str) -> None:
        self._output.tell("handing_over", peer=moved.peer, to=name, step="asked")
        why = ""
        try:
            await moved.transfer(to)
        except NotTransferred as e:
            why = e.reason.value
        self._output.tell("handed_over", peer=moved.peer, to=name, done=not why, reason=why)

    async def _accept(self) -> None:
        asked, board = self._require_asked(), self._board

        def make(audio: AudioSource | None, *, video: VideoSource | bool | None) -> Call:
            text, require = board.text, board.require
            if isinstance(asked, IncomingCall):
                call = asked.accept(
                    audio=audio, video=video, text=text, require=require, replace=True
                )
            else:
                call = asked.accept(audio=audio, video=video, text=text, require=require)
            self._asked = None
            return call

        try:
            await self._aside(make, hold=isinstance(asked, TransferRequested))
        finally:
            await self.decline()  # where it did not come to that

    def _require_asked(self) -> TransferRequested | IncomingCall:
        if self._asked is None or (isinstance(self._asked, IncomingCall) and self._asked.over):
            self._asked = None
            raise UsageError("nobody asks for anything now")
        return self._asked

    async def _aside(self, make: Make, *, hold: bool = True) -> None:
        """Talk to somebody else, and come back."""
        if not self.here.is_set():
            raise UsageError("one after the other: you are calling somebody already")
        self.here.clear()
        held = False

        async def step_back() -> None:
            nonlocal held
            held = hold and await self._hold()

        try:
            await self._talk(make, step_back)
        finally:
            self.here.set()
        try:
            if held and self.call.state is State.ACTIVE:
                await self.call.resume()
        finally:
            self._back()

    async def _resume(self) -> None:
        if not self.call.on_hold:
            raise UsageError("they are not on hold")
        await self.call.resume()
        self._note("They hear you again.")

    async def _hold(self) -> bool:
        if self.call.on_hold:
            return False
        holding = asyncio.ensure_future(self.call.hold())
        _ = await asyncio.wait((holding,), timeout=_TELLING_SECONDS)
        if holding.done():
            self._held(holding)
        else:  # it counts already, and they may leave us waiting for ever
            self._note("They do not say that they know; nothing of yours is sent to them.")
            holding.add_done_callback(lambda told: told.cancelled() or told.exception())
        return True

    def _held(self, told: asyncio.Future[None]) -> None:
        try:
            told.result()
        except ChangeRefused as e:
            self._note(f"They are not put on hold ({e}); nothing of yours is sent meanwhile.")

    def _back(self) -> None:
        """Show again what the call is that we are back in."""
        call = self.call
        if call.state is not State.ACTIVE:
            return
        self._output.tell("state", state="connected", peer=call.peer)
        self._output.tell("security", **security_fields(call.security))
        try:
            words = call.sas
        except UsageError:
            return
        self._output.tell("words", words=list(words.words), digits=words.digits)

    def _note(self, text: str) -> None:
        self._output.tell("note", text=text)


def named(client: Client, who: str) -> str | Address:
    """Whom an argument means: a key of the contacts, or as it is written."""
    return find(client, who).address if who.startswith("key:") else who


def ring_fields(ring: IncomingCall, require: SecurityLevel | None) -> dict[str, object]:
    """A call that rings, for `incoming`."""
    return {
        "caller": str(ring.caller),
        "known": ring.known,
        "shows": ring.shows,
        "writes": ring.writes,
        "floor": max(ring.security_floor, require or SecurityLevel.NONE).name,
    }


def tell_of_transfer(event: TransferRequested | TransferProgressed, board: Board) -> None:
    """They wish to send us to somebody else, or say how far they are whom we sent on."""
    output, desk = board.output, board.front
    if isinstance(event, TransferProgressed):
        output.tell("handing_over", peer=event.call.peer, to="", step=event.step.value)
        return
    if (
        event.address is None
        or desk is None
        or desk.call is not event.call
        or not desk.offer(event)
    ):
        event.decline()
        address = str(event.address) if event.address is not None else ""
        output.tell("transfer", target=event.target, address=address, asked=False)
