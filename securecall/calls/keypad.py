"""The keys of a telephone in one call: digits that we press, and those of the other end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from securecall.calls import orders
from securecall.calls.machine import CallMachine
from securecall.calls.sound import Sound
from securecall.errors import Unsupported, UsageError
from securecall.media.frames import TICK
from securecall.rtp.events import pressable

MOST_UNREAD: Final = 64
"""Digits that an application has not read; of more the oldest are lost."""

_PAUSE: Final = 0.25  # seconds between digits by signalling


class Keypad:
    """Digits both ways: in the sound, or by signalling where the other end takes none there."""

    def __init__(
        self,
        machine: CallMachine,
        sound: Sound,
        perform: Callable[[tuple[orders.Output, ...]], None],
        heard: Callable[[str], None],
        over: asyncio.Event,
    ) -> None:
        """Begin with nothing pressed.

        Args:
            machine: Of the call.
            sound: Its sound.
            perform: Performs orders.
            heard: Told each digit of the other end.
            over: Set once the call is over.
        """
        self._machine = machine
        self._sound = sound
        self._perform = perform
        self._heard = heard
        self._over = over
        self._followers: list[asyncio.Queue[str]] = []
        self._answer: asyncio.Future[bool] | None = None

    async def press(self, digits: str) -> None:
        """Send digits; see `Call.press`."""
        if self._sound.takes_digits is False:
            await self._press_by_signalling(digits)
            return
        self._sound.press(digits)
        while self._sound.pressing and not self._over.is_set():  # noqa: ASYNC110 - the clock sends them, and tells nobody
            await asyncio.sleep(TICK)
        if self._sound.held:
            raise UsageError("the other end was put on hold before all digits were sent")

    async def _press_by_signalling(self, digits: str) -> None:
        if self._answer is not None:
            raise UsageError("digits are on their way already; wait for them")
        for digit in pressable(digits):
            outputs = self._machine.press(digit)
            self._answer = told = asyncio.get_running_loop().create_future()
            try:
                self._perform(outputs)
                taken = await told
            finally:
                self._answer = None
            if self._over.is_set():
                return
            if not taken:
                raise Unsupported("the other end takes no digits: not in the sound, nor by INFO")
            await asyncio.sleep(_PAUSE)

    def told(self, *, taken: bool) -> None:
        """The other end says whether it took the digit that went by signalling."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(taken)

    def digits(self) -> AsyncIterator[str]:
        """Yield what the other end presses from now on, until `close`."""
        pressed: asyncio.Queue[str] = asyncio.Queue()
        self._followers.append(pressed)
        if self._over.is_set():
            pressed.put_nowait("")

        async def following() -> AsyncIterator[str]:
            try:
                while digit := await pressed.get():  # "" ends it
                    yield digit
            finally:
                self._followers.remove(pressed)

        return following()

    def heard(self, digit: str) -> None:
        """The other end pressed a digit."""
        for pressed in self._followers:
            if pressed.qsize() >= MOST_UNREAD:
                _ = pressed.get_nowait()
            pressed.put_nowait(digit)
        self._heard(digit)

    def close(self) -> None:
        """The call is over."""
        self.told(taken=False)
        for pressed in self._followers:
            pressed.put_nowait("")
