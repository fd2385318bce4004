"""Calls whose signalling carries the sound as well: another engine describes, keys and sends it.

The seam for such engines, beside `calls.signaling`: a leg that also has sound. Policy, gate and
report are those of every call. What the engine negotiates is its own affair, so descriptions say
no more here than that there is sound, and which way it flows; and since it runs no identity
handshake, nothing proves who answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast

from securecall.calls.connection import MediaConnection
from securecall.calls.exchange import Proposal
from securecall.calls.machine import NEXT, CallMachine, Input, State
from securecall.calls.negotiation import LocalMedia
from securecall.calls.orders import AwaitKeys, Discard, Output, Send, SetDirection
from securecall.calls.signaling import Answered, Leg, Ringing
from securecall.calls.video_lines import LocalVideo
from securecall.errors import PolicyRefused, SecurecallError, Unsupported, UsageError
from securecall.media.carried import CarriedSession, Carrier
from securecall.media.description import (
    Description,
    Direction,
    Fingerprint,
    Keying,
    Kind,
    MediaDescription,
    mirrored,
)
from securecall.policy import Facts, Floor, IpPrivacy, Policy, decide, security_state

NOTHING: Final = LocalMedia(fingerprint=Fingerprint("", b""), host="", port=0, codecs=())


@dataclass(frozen=True, slots=True)
class Engine:
    """Who carries the sound of an account's calls.

    Attributes:
        name: For people and reports.
        keying: How it makes keys.
    """

    name: str
    keying: Keying

    @property
    def facts(self) -> Facts:
        """What is known of every call of it before it begins: the most it can reach."""
        return Facts(keying=self.keying, engine=self.name)


class CarryingLeg(Leg, Protocol):
    """A leg that has the sound of its call, too."""

    @property
    def carrier(self) -> Carrier:
        """The sound."""
        ...

    def hear_digits(self, sink: Callable[[str], None]) -> None:
        """Tell each digit that the peer presses."""
        ...

    async def keyed(self) -> str:
        """Wait until the engine has keys, and return the SRTP profile.

        Raises:
            SecurityError: the sound is not protected, or nothing says that it is.
        """
        ...


def sound(direction: Direction = Direction.SENDRECV) -> Description:
    """Describe that there is sound, flowing this way; the rest is the engine's affair."""
    line = MediaDescription(
        kind=Kind.AUDIO, media="audio", protocol="", port=9, direction=direction
    )
    return Description(media=(line,))


class CarriedMachine(CallMachine):
    """The life of a call whose offers and answers the engine makes."""

    def __init__(self, policy: Policy, floor: Floor, *, outgoing: bool, engine: Engine) -> None:
        """Prepare; see `CallMachine`."""
        super().__init__(policy, floor, outgoing=outgoing)
        self._engine = engine

    def require_reachable(self) -> None:
        """Refuse before anything is sent what could never be reached.

        Raises:
            PolicyRefused: our address is to be hidden, and the engine shows it.
            SecurityError: of the kind the same call would end with once it had keys.
        """
        if self._policy.ip_privacy is IpPrivacy.RELAY:
            raise PolicyRefused(
                f"{self._engine.name} shows the other end our IP address, which this policy hides "
                "(ip_privacy)"
            )
        _ = decide(security_state(self._engine.facts), self._floor)

    def dial(self, local: LocalMedia, *, now: float) -> Description:
        """Begin an outgoing call; returns what is to be sent.

        Raises:
            SecurityError: the call can never reach what it has to.
        """
        if self.state is not State.DIALLING or self._offer is not None:
            raise UsageError("this call was dialled before")
        self.require_reachable()
        self._offer = sound()
        self.deadline = now + self._policy.ring_seconds
        return self._offer

    def invited(self, offer: Description | None, *, now: float) -> tuple[Output, ...]:
        """Begin an incoming call; refuses at once what could never be accepted."""
        self.deadline = now + self._policy.ring_seconds
        try:
            self.require_reachable()
        except SecurecallError as e:
            return self._end(e)
        self._offer = sound()
        return (Send(Ringing()),)

    def accept(self, local: LocalMedia, *, now: float) -> tuple[Output, ...]:
        """The user takes the call.

        Raises:
            UsageError: there is no call to take.
        """
        if (self.state, Input.ACCEPT) not in NEXT or self._offer is None:
            raise UsageError(f"this call cannot be accepted: it is {self.state.value}")
        try:
            self.require_reachable()  # more may be required of it by now
        except SecurecallError as e:
            return self._end(e)
        _ = self._enter(Input.ACCEPT)
        return (Send(Answered(sound())), *self._await_keys(now=now))

    def change(
        self, *, hold: bool | None = None, add: LocalVideo | None = None, drop: str = ""
    ) -> tuple[Output, ...]:
        """Ask the peer to be on hold, or no more.

        Raises:
            Unsupported: it is about pictures.
            UsageError: there is no call in progress, or a change is under way already.
        """
        if add is not None or drop:
            raise Unsupported(f"{self._engine.name} carries sound alone")
        if self.state is not State.ACTIVE:
            raise UsageError("only a call in progress can be changed")
        offer = sound(Direction.SENDONLY if hold else Direction.SENDRECV)
        return self._after(self._exchange.proposed(Proposal(offer)))

    def welcome(self, pictures: tuple[LocalVideo, ...]) -> None:
        """Take no pictures.

        Raises:
            Unsupported: some are wished.
        """
        if pictures:
            raise Unsupported(f"{self._engine.name} carries sound alone")

    def require_text(self) -> None:
        """Refuse text.

        Raises:
            Unsupported: always.
        """
        raise Unsupported(f"{self._engine.name} carries sound alone")

    def _answered(self, answer: Description, *, now: float) -> tuple[Output, ...]:
        proposal = self._exchange.proposal
        if proposal is not None:
            self._exchange = self._exchange.settled()
            return (SetDirection(_direction(proposal.offer)),)
        if not self._enter(Input.ANSWER):
            return (Discard(f"Answered in {self.state.name}"),)
        return self._await_keys(now=now)

    def _await_keys(self, *, now: float) -> tuple[Output, ...]:
        self.deadline = now + self._policy.connect_seconds
        return (AwaitKeys(),)

    def _changed(self, offer: Description, *, answers: bool) -> tuple[Output, ...]:
        """The engine took a change of the peer's: a hold, or its end."""
        direction = mirrored(_direction(offer))
        return (SetDirection(direction), *self._after(self._exchange.directed(direction)))


def _direction(description: Description) -> Direction:
    audio = description.audio
    return Direction.INACTIVE if audio is None else audio.direction


class CarriedConnection(MediaConnection):
    """The media half of a call whose leg carries its sound."""

    _leg: CarryingLeg | None = None

    def follow(self, leg: Leg) -> None:
        """Take the sound of this leg."""
        self._leg = cast("CarryingLeg", leg)  # an account's engine makes no others
        self._leg.hear_digits(self.sound.digit)

    async def open(self, *, ice: bool, trickle: bool = False) -> LocalMedia:
        """Open nothing: the engine does."""
        return NOTHING

    async def await_keys(self) -> None:
        """Wait for the engine's keys; `events` tells how it went."""
        leg = self._leg
        if leg is None or self._closed:
            return
        try:
            profile = await leg.keyed()
            if not self._closed:
                session = CarriedSession(self._clock, leg.carrier, self._events.sound_failed)
                self._begin(session, None, profile, Direction.SENDRECV)
                self._arm()
        except SecurecallError as e:
            self._events.failed(e)
