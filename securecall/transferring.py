"""What the other end asks for when it hands us over: a person's choice, and what came of it."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Protocol

from securecall.calls import orders
from securecall.calls.call import Call
from securecall.calls.signaling import TransferProgress, TransferRequested, TransferStep
from securecall.errors import EndReason
from securecall.policy import Gate, Policy, SecurityLevel

if TYPE_CHECKING:
    from securecall.account import Account
    from securecall.media.endpoints import AudioSource
    from securecall.media.video.endpoints import VideoSource


class Place(Protocol):
    """Calls whom a transfer names; `placing` does."""

    def __call__(
        self,
        asked: TransferRequested,
        *,
        audio: AudioSource | None,
        video: VideoSource | bool | None,
        text: bool,
        require: SecurityLevel | None,
        policy: Policy | None,
        account: Account | None,
        by_gateway: bool,
    ) -> Call:
        """Prepare a new call, held to what is known of whom it leads to.

        `by_gateway`: whoever asks did so in a call that a telephone gateway takes part in.
        """
        ...


class AskedTransfer:
    """One request, and the call that came of it; satisfies `events.TransferAnswer`."""

    def __init__(
        self,
        place: Place,
        call: Call,
        asked: TransferRequested,
        followed: MutableMapping[Call, AskedTransfer],
    ) -> None:
        """Wait for a person.

        Args:
            place: Makes the new call.
            call: The one that was asked.
            asked: For what.
            followed: Where the new call is entered, to be observed until it is answered or over.
        """
        self._place = place
        self._call = call
        self._asked = asked
        self._followed = followed

    def accept(
        self,
        *,
        audio: AudioSource | None,
        video: VideoSource | bool | None,
        text: bool,
        require: SecurityLevel | None,
        policy: Policy | None,
        account: Account | None,
    ) -> Call:
        """Call whom they name; the old call stays as it is."""
        new = self._place(
            self._asked,
            audio=audio,
            video=video,
            text=text,
            require=require,
            policy=policy,
            account=account,
            by_gateway=self._call.gateway,
        )
        if self._asked.number:
            self._followed[new] = self
        return new

    def decline(self) -> None:
        """Say that nobody will be called."""
        self._tell(TransferStep.FAILED, EndReason.DECLINED)

    def observe(self, new: Call, output: orders.Output) -> None:
        """Tell whoever asked how far the new call came: that alone, and nothing about it."""
        match output:
            case orders.PeerRings():
                self._tell(TransferStep.RINGING)
            case orders.SetGate(gate=Gate.OPEN):
                del self._followed[new]
                self._tell(TransferStep.ANSWERED)
            case orders.Finish(reason=reason):
                del self._followed[new]
                self._tell(TransferStep.FAILED, reason)
            case _:
                pass

    def _tell(self, step: TransferStep, reason: EndReason | None = None) -> None:
        if self._asked.number:
            self._call.tell_transfer(TransferProgress(step, reason, number=self._asked.number))
