"""A call that is ringing here, as an application sees it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from securecall.address import Address
from securecall.calls.call import Call
from securecall.calls.machine import State
from securecall.errors import EndReason, SecurecallError, UsageError
from securecall.media.endpoints import AudioSource
from securecall.policy import SecurityLevel

if TYPE_CHECKING:  # PyAV is an extra
    from securecall.media.video.endpoints import VideoSource


class IncomingCall:
    """Somebody calls; nothing of ours is opened until `accept`.

    Attributes:
        caller: The address they signalled; a claim until the call is connected.
        security_floor: The level this call will at least have if it connects at all.
        known: We have a pinned key for that address.
        called: Which address of ours they called.
        waiting: We are in a call already.
        replaces: The call of ours whose place they ask to take (an attended transfer): whoever we
            talk with there wishes to hand us over. Nothing is done about it unless we `accept` so.
    """

    def __init__(
        self,
        call: Call,
        caller: Address,
        security_floor: SecurityLevel,
        *,
        known: bool,
        called: Address,
        waiting: bool,
        replaces: Call | None = None,
    ) -> None:
        """Made by the client."""
        self.caller = caller
        self.security_floor = security_floor
        self.known = known
        self.called = called
        self.waiting = waiting
        self.replaces = replaces
        self._call = call

    def __repr__(self) -> str:
        return f"<IncomingCall from {self.caller.short}>"

    @property
    def shows(self) -> bool:
        """The caller wishes to show a picture, too; a claim of theirs."""
        return self._call.is_shown_to_us

    @property
    def writes(self) -> bool:
        """The caller wishes to write in the call, too (real-time text); a claim of theirs."""
        return self._call.is_written_to_us

    def accept(
        self,
        *,
        audio: AudioSource | None = None,
        video: VideoSource | bool | None = None,
        text: bool = False,
        require: SecurityLevel | None = None,
        replace: bool = False,
    ) -> Call:
        """Take the call; enter the returned call's block to begin.

        Args:
            audio: What to send.
            video: What to show, or True to see the caller without being seen (yet). Without it
                the call has no picture, whatever the caller wishes.
            text: Have real-time text if the caller wishes it, too: see `Call.text`.
            require: Raise this call's minimum above the policy's.
            replace: Hang up the call that this one `replaces` as soon as this one has passed all
                that its own policy asks; before that, and if it does not, nothing changes.

        Raises:
            UsageError: it replaces none.
        """
        if replace:
            if self.replaces is None:
                raise UsageError("this call asks to take no other's place")
            self._call.supersede(self.replaces)
        self._call.prepare(audio=audio, video=video, text=text, require=require)
        return self._call

    async def decline(self) -> None:
        """Refuse the call."""
        await self._call.refuse(EndReason.DECLINED)

    async def busy(self) -> None:
        """Say that we are in another call."""
        await self._call.refuse(EndReason.BUSY)

    async def gone(self) -> None:
        """Wait for the end of the call; of one that nobody took: until the caller gives up."""
        with suppress(SecurecallError):
            _ = await self._call.ended()

    @property
    def over(self) -> bool:
        """The caller gave up, or the call was taken or refused."""
        return self._call.state is not State.ALERTING
