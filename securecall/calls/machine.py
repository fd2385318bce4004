"""The life of one call as a machine without I/O: signals, acts and evidence in, orders out.

Nothing of ours is sent, opened or rendered before the machine orders it. `StartMedia` is ordered
only once an answer was taken or given, `SetGate` opens only on evidence that satisfies the floor,
and after `Finish` nothing is ordered any more.
"""

from __future__ import annotations

import enum
from dataclasses import replace
from typing import Final

from securecall.address import Address
from securecall.calls.endings import failure, reason_of
from securecall.calls.exchange import Exchange, Step
from securecall.calls.negotiation import (
    Agreement,
    LocalMedia,
    build_answer,
    build_offer,
    read_answer,
    require_acceptable_offer,
)
from securecall.calls.orders import (
    DigitHeard,
    DigitTold,
    Discard,
    Finish,
    Output,
    PeerRings,
    Rekey,
    Secured,
    Send,
    SetGate,
    StartMedia,
    TransferAsked,
    TransferTold,
)
from securecall.calls.signaling import (
    Answered,
    Deferred,
    DigitAnswered,
    DigitPressed,
    DigitsWelcome,
    Ended,
    Offered,
    Refused,
    Ringing,
    Signal,
    TransferProgress,
    TransferRequested,
    TransferStep,
    Trickled,
)
from securecall.calls.video_lines import LocalVideo
from securecall.errors import (
    EndReason,
    IdentityMismatch,
    Incompatible,
    NoAnswer,
    PeerVanished,
    Reason,
    SecurecallError,
    SecurityError,
    Unsupported,
    UsageError,
)
from securecall.media.description import Description, LocalIce
from securecall.media.sdes import CryptoLine
from securecall.policy import (
    UNSECURED,
    Facts,
    Floor,
    Gate,
    Policy,
    SecurityLevel,
    SecurityState,
    decide,
    require_level,
    require_reachable,
    security_state,
)


class State(enum.Enum):
    """Where a call is in its life."""

    DIALLING = "dialling"
    RINGING = "ringing"
    ALERTING = "alerting"
    CONNECTING = "connecting"
    VERIFYING = "verifying"
    ACTIVE = "active"
    ENDED = "ended"


class Input(enum.Enum):
    """What can happen to a call, as the table of moves names it."""

    PEER_RINGS = enum.auto()
    ANSWER = enum.auto()
    ACCEPT = enum.auto()
    EVIDENCE_OPEN = enum.auto()
    EVIDENCE_VERIFY = enum.auto()
    CONFIRM = enum.auto()
    OVER = enum.auto()


NEXT: Final = {
    (State.DIALLING, Input.PEER_RINGS): State.RINGING,
    (State.RINGING, Input.PEER_RINGS): State.RINGING,
    (State.DIALLING, Input.ANSWER): State.CONNECTING,
    (State.RINGING, Input.ANSWER): State.CONNECTING,
    (State.ALERTING, Input.ACCEPT): State.CONNECTING,
    (State.CONNECTING, Input.EVIDENCE_OPEN): State.ACTIVE,
    (State.CONNECTING, Input.EVIDENCE_VERIFY): State.VERIFYING,
    (State.VERIFYING, Input.CONFIRM): State.ACTIVE,
    (State.ACTIVE, Input.CONFIRM): State.ACTIVE,
    (State.DIALLING, Input.OVER): State.ENDED,
    (State.RINGING, Input.OVER): State.ENDED,
    (State.ALERTING, Input.OVER): State.ENDED,
    (State.CONNECTING, Input.OVER): State.ENDED,
    (State.VERIFYING, Input.OVER): State.ENDED,
    (State.ACTIVE, Input.OVER): State.ENDED,
}


class CallMachine:
    """One call, from invitation to end.

    Attributes:
        state: Where it is.
        security: The last computed snapshot.
        deadline: When `expire` wants to be called, monotonic seconds; None for never.
    """

    def __init__(self, policy: Policy, floor: Floor, *, outgoing: bool) -> None:
        """Prepare; `dial` or `invited` begins."""
        self.state = State.DIALLING if outgoing else State.ALERTING
        self.security = UNSECURED
        self.deadline: float | None = None
        self._policy = policy
        self._floor = floor
        self._facts: Facts | None = None
        self._offer: Description | None = None
        self._exchange = Exchange()

    # -- beginnings ---------------------------------------------------------------------------

    def dial(self, local: LocalMedia, *, now: float) -> Description:
        """Begin an outgoing call; returns the offer to send.

        Raises:
            DowngradeError, PolicyRefused: a telephone gateway would be too little for it.
        """
        if self.state is not State.DIALLING or self._offer is not None:
            raise UsageError("this call was dialled before")
        self.require_reachable()
        if local.crypto and not self._floor.sdes:
            raise UsageError("keys in the description are for telephone gateways alone")
        self._offer = build_offer(local)
        self.deadline = now + self._policy.ring_seconds
        return self._offer

    def invited(self, offer: Description | None, *, now: float) -> tuple[Output, ...]:
        """Begin an incoming call; refuses at once what could never be accepted."""
        self.deadline = now + self._policy.ring_seconds
        if offer is None:
            return self._end(Incompatible("an invitation without an offer"), EndReason.INCOMPATIBLE)
        try:
            require_reachable(self._floor)
            require_acceptable_offer(
                offer, require_mux=self._floor.identity, gateway=self._floor.sdes
            )
        except SecurecallError as e:
            return self._end(e)
        self._offer = offer
        return (Send(Ringing()),)

    def require_reachable(self) -> None:
        """Refuse a call through a telephone gateway that could never be what it has to be.

        Raises:
            DowngradeError, PolicyRefused: of the kind that fits.
        """
        require_reachable(self._floor)

    @property
    def gateway(self) -> bool:
        """Whether a telephone gateway takes part."""
        return self._floor.gateway

    def through_gateway(self) -> None:
        """A telephone gateway takes part, as signalling says; nothing takes that back."""
        self._floor = replace(self._floor, gateway=True)

    def raise_minimum(self, minimum: SecurityLevel) -> None:
        """Ask more of this call than its floor did; never less, and nothing once it is over.

        Raises:
            UsageError: it is no level, or the evidence was already judged.
        """
        require_level(minimum)
        if self.state is State.ENDED:
            return
        if self._facts is not None:
            raise UsageError("the call is connected; its minimum is fixed")
        if minimum > self._floor.minimum:
            identity = self._floor.identity or minimum > SecurityLevel.HOP_BY_HOP
            self._floor = replace(self._floor, minimum=minimum, identity=identity)

    # -- what the peer says -------------------------------------------------------------------

    def receive(self, signal: Signal, *, now: float) -> tuple[Output, ...]:  # noqa: C901 - a table of signals, one line each
        """Take one signal of the leg."""
        if self.state is State.ENDED:
            return (Discard(f"{type(signal).__name__} after the end"),)
        match signal:
            case Ringing():
                return self._peer_rings()
            case Answered(description=description, final=True):
                return self._answered(description, now=now)
            case Answered():
                return (Discard("an answer in an early dialog never starts media"),)
            case Offered(description=description, answers=answers):
                return self._changed(description, answers=answers)
            case Deferred() if self._exchange.proposal is not None:
                self._exchange = self._exchange.deferred()
                return ()
            case Refused() if self._exchange.changing:
                return self._after(self._exchange.refused())
            case TransferRequested() | TransferProgress() | DigitPressed() | DigitAnswered():
                return self._in_a_call(signal)
            case Ended(reason=reason, text=text):
                return self._peer_ended(reason, text)
            case Trickled():
                return (self._exchange.trickled(signal),)
            case Deferred() | Refused() | DigitsWelcome():
                return (Discard(f"{type(signal).__name__} in {self.state.name}"),)

    def _peer_rings(self) -> tuple[Output, ...]:
        if not self._enter(Input.PEER_RINGS):
            return (Discard(f"Ringing in {self.state.name}"),)
        return (PeerRings(),)

    def _answered(self, answer: Description, *, now: float) -> tuple[Output, ...]:
        if self._exchange.proposal is not None:
            return self._change_answered(answer)
        if (self.state, Input.ANSWER) not in NEXT or self._offer is None:
            return (Discard(f"Answered in {self.state.name}"),)
        try:
            agreement = read_answer(self._offer, answer, require_mux=self._floor.identity)
        except SecurecallError as e:
            return self._end(e)
        self._enter(Input.ANSWER)
        return self._connect(self._offer, agreement, now=now)

    def _connect(
        self, ours: Description, agreement: Agreement, *, now: float
    ) -> tuple[Output, ...]:
        self.deadline = now + self._policy.connect_seconds
        return (StartMedia(agreement), *self._after(self._exchange.begun(ours, agreement)))

    def _changed(self, offer: Description, *, answers: bool) -> tuple[Output, ...]:
        """A re-INVITE, or UPDATE."""
        return self._after(self._exchange.offered(offer, answers=answers, movable=self.movable))

    def _change_answered(self, answer: Description) -> tuple[Output, ...]:
        asked, self._exchange = self._exchange, self._exchange.settled()
        try:
            return self._after(asked.answered(answer))
        except SecurityError as e:
            return self._end(e)

    def regathered(self, ice: LocalIce | None) -> tuple[Output, ...]:
        """What `Regather` came to, see `Exchange.regathered`."""
        if self.state is State.ENDED:
            return (Discard("candidates that nobody waits for"),)
        return self._after(self._exchange.regathered(ice))

    def gathered(self, ice: LocalIce) -> tuple[Output, ...]:
        """More candidates of ours were found, see `Exchange.gathered`."""
        if self.state is State.ENDED:
            return (Discard("candidates after the end"),)
        return self._after(self._exchange.gathered(ice))

    @property
    def trickles(self) -> bool:
        """Whether the peer takes candidates that are found later."""
        return self._exchange.trickles

    def _after(self, step: Step) -> tuple[Output, ...]:
        """Keep the exchange after a step of it; new keys of a gateway come under a closed gate."""
        self._exchange, outputs = step
        return tuple(
            done
            for output in outputs
            for done in (self._rekeyed(output) if isinstance(output, Rekey) else (output,))
        )

    def _rekeyed(self, order: Rekey) -> tuple[Output, ...]:
        """New keys of a gateway, under a closed gate, judged as the first ones were."""
        if self._facts is None:
            return (order,)
        self._facts = replace(self._facts, srtp_profile=order.keys.profile)
        return (SetGate(Gate.CLOSED), order, *self._evaluate(Input.EVIDENCE_OPEN))

    def _in_a_call(
        self, signal: TransferRequested | TransferProgress | DigitPressed | DigitAnswered
    ) -> tuple[Output, ...]:
        match signal:
            case TransferRequested() | TransferProgress():
                return self._transferred(signal)
            case DigitAnswered(taken=taken):
                return (DigitTold(taken),)
            case DigitPressed(digit=digit):
                if self._digits_by_signalling and not self._exchange.holding:
                    return (DigitHeard(digit),)
                return (Discard("a digit by signalling, which anybody on the way could press"),)

    @property
    def _digits_by_signalling(self) -> bool:
        """The call is open, servers can hear it anyhow, and it has no way for digits of its own."""
        agreed = self._exchange.agreed
        within = agreed is None or agreed.events is not None
        hearable = self.security.level is SecurityLevel.HOP_BY_HOP
        return self.state is State.ACTIVE and hearable and not within

    def press(self, digit: str) -> tuple[Output, ...]:
        """Send a digit by signalling, where that tells nobody more than the call does.

        Raises:
            Unsupported: there is proof of identity, and a server on the way would read the digit.
            UsageError: there is no call in progress, or the peer is on hold.
        """
        if self.state is not State.ACTIVE or self._exchange.holding:
            raise UsageError("digits are sent in a call in progress that is not on hold")
        if not self._digits_by_signalling:
            raise Unsupported(
                "the other end takes no digits within the sound (RFC 4733); by signalling every "
                "server on the way could read them, which is done in calls alone that they can hear"
            )
        return (Send(DigitPressed(digit)),)

    def _transferred(self, request: TransferRequested | TransferProgress) -> tuple[Output, ...]:
        """Only a peer that has proved what this call's policy asks is listened to.

        And even then nothing happens by itself: a person is asked, and makes a new call.
        """
        if isinstance(request, TransferProgress):
            return (TransferTold(request),)
        if not request.number:
            return (TransferAsked(request),)
        if self.state is not State.ACTIVE:
            refusal = TransferProgress(
                TransferStep.FAILED, EndReason.DECLINED, number=request.number
            )
            return (Send(refusal), TransferAsked(replace(request, number=0)))
        thinking = TransferProgress(TransferStep.TRYING, number=request.number)
        return (Send(thinking), TransferAsked(request))

    def _peer_ended(self, reason: EndReason, text: str) -> tuple[Output, ...]:
        if self.state is State.CONNECTING and reason is EndReason.HUNG_UP:
            reason = EndReason.SECURITY  # whoever hangs up on a handshake has refused it
        talking = self.state is State.ACTIVE
        orderly = talking and reason is EndReason.HUNG_UP
        error = None if orderly else failure(reason, text, talking=talking)
        self._enter(Input.OVER)
        return (SetGate(Gate.CLOSED), Finish(reason, error))

    # -- what the user does -------------------------------------------------------------------

    def accept(self, local: LocalMedia, *, now: float) -> tuple[Output, ...]:
        """The user takes the call.

        Raises:
            UsageError: there is no call to take.
        """
        if (self.state, Input.ACCEPT) not in NEXT or self._offer is None:
            raise UsageError(f"this call cannot be accepted: it is {self.state.value}")
        try:
            self.require_reachable()
            crypto = local.crypto if self._floor.sdes else ()
            local = replace(local, crypto=crypto)
            answer, agreement = build_answer(self._offer, local, require_mux=self._floor.identity)
        except SecurecallError as e:
            return self._end(e)
        self._enter(Input.ACCEPT)
        return (Send(Answered(answer)), *self._connect(answer, agreement, now=now))

    def hang_up(self, reason: EndReason = EndReason.HUNG_UP) -> tuple[Output, ...]:
        """End the call in any state: declines before acceptance, cancels before the answer."""
        if self.state is State.ENDED:
            return ()
        if self.state is State.ALERTING and reason is EndReason.HUNG_UP:
            reason = EndReason.DECLINED
        if self.state in (State.DIALLING, State.RINGING) and reason is EndReason.HUNG_UP:
            reason = EndReason.CANCELLED
        talking = self.state is State.ACTIVE
        error = None if reason is EndReason.HUNG_UP else failure(reason, talking=talking)
        self._enter(Input.OVER)
        return (SetGate(Gate.CLOSED), Send(Ended(reason)), Finish(reason, error))

    def change(
        self, *, hold: bool | None = None, add: LocalVideo | None = None, drop: str = ""
    ) -> tuple[Output, ...]:
        """Ask the peer for a change; what comes of it are `SetDirection`, `SetVideo`, or a refusal.

        Args:
            hold: Put the peer on hold, or take it back; None leaves it. Whom we hold stays so until
                it answered that we take it back, whatever it offers or refuses meanwhile.
            add: A picture to show.
            drop: The mid of a picture that ends; "" for none.

        Raises:
            UsageError: there is no call in progress, a change is under way already, or there is no
                room for another picture.
        """
        if self.state is not State.ACTIVE:
            raise UsageError("only a call in progress can be changed")
        return self._after(self._exchange.asked(hold=hold, add=add, drop=drop))

    def keep_held(self) -> None:
        """Hold the peer from now on, whatever is under way; `change` tells it.

        Raises:
            UsageError: there is no call in progress.
        """
        if self.state is not State.ACTIVE:
            raise UsageError("only a call in progress can be changed")
        self._exchange = self._exchange.kept_held()

    def restart(self, ice: LocalIce) -> tuple[Output, ...]:
        """Ask the peer to find another way with us; what comes of it is `Reconnect`, or a refusal.

        Raises:
            UsageError: there is no call in progress that ICE found a way for, or a change is
                under way already.
        """
        if not self.movable:
            raise UsageError("there is no way that could be changed")
        return self._after(self._exchange.asked(ice=ice))

    @property
    def movable(self) -> bool:
        """Whether another way can be looked for: the call has its keys, and ICE found the first."""
        return self.state in (State.ACTIVE, State.VERIFYING) and self._exchange.movable

    def transfer(self, address: Address, *, replaces: str = "") -> tuple[Output, ...]:
        """Ask the peer to call somebody else; what it says comes as `TransferTold`.

        Args:
            address: Whom.
            replaces: Names the call whose place that one is to take, "" for none.

        Raises:
            UsageError: there is no call in progress.
        """
        if self.state is not State.ACTIVE:
            raise UsageError("only a call in progress can be transferred")
        return (Send(TransferRequested(str(address), address, replaces=replaces)),)

    def tell_transfer(self, progress: TransferProgress) -> tuple[Output, ...]:
        """Tell the peer what comes of the transfer that it asked us for, if it is still here."""
        return (Send(progress),) if self.state is State.ACTIVE else ()

    @property
    def changing(self) -> bool:
        """Whether a change waits: one of ours for an answer, or one of theirs for a way of ours."""
        return self._exchange.changing

    @property
    def held(self) -> bool:
        """Whether the peer put us on hold."""
        return self._exchange.held

    def welcome(self, pictures: tuple[LocalVideo, ...]) -> None:
        """Take these pictures if the peer adds some; none is taken otherwise."""
        self._exchange = replace(self._exchange, welcome=pictures)

    @property
    def wants_keys(self) -> bool:
        """Whether a gateway could bring new keys, and none of ours are at hand for that."""
        return self._floor.sdes and self.state is State.ACTIVE and not self._exchange.fresh

    def require_text(self) -> None:
        """Refuse text where the call can carry none, see `CarriedMachine`."""

    def bring(self, fresh: tuple[CryptoLine, ...]) -> None:
        """Have these keys at hand if the gateway of this call brings new ones."""
        if self.wants_keys:
            self._exchange = replace(self._exchange, fresh=fresh)

    def confirm_sas(self) -> tuple[Output, ...]:
        """The user compared the words and they were the same.

        Raises:
            UsageError: there is nothing to confirm: no identity handshake, or the call is over.
        """
        self._facts = replace(self._comparable("confirm"), sas_confirmed=True)
        return self._evaluate(Input.CONFIRM)

    def deny_sas(self) -> tuple[Output, ...]:
        """The words differ: somebody may be in between, and the call ends at once.

        Raises:
            UsageError: there were no words to compare.
        """
        self._facts = replace(self._comparable("compare"), sas_confirmed=False, sas_denied=True)
        self.security = self._judged(self._facts)
        error = IdentityMismatch(
            "the words differ, so somebody may sit in between; nothing more was said. Call again, "
            "and if they differ again, meet or use another way to reach this person"
        )
        return (SetGate(Gate.CLOSED), Secured(self.security), *self._end(error))

    def _comparable(self, verb: str) -> Facts:
        facts = self._facts
        if (self.state, Input.CONFIRM) not in NEXT or facts is None or not facts.words:
            raise UsageError(f"there are no words to {verb} in this call")
        return facts

    # -- what the media found -----------------------------------------------------------------

    def secured(self, facts: Facts, *, now: float) -> tuple[Output, ...]:
        """DTLS and, where it ran, the identity handshake are complete."""
        if self.state is not State.CONNECTING:
            return (Discard(f"evidence in {self.state.name}"),)
        self._facts = replace(facts, gateway=facts.gateway or self._floor.gateway)
        outputs = self._evaluate(None)
        verifying = SetGate(Gate.VERIFYING) in outputs
        self.deadline = now + self._policy.verifying_seconds if verifying else None
        return (*outputs, Send(DigitsWelcome())) if self._digits_by_signalling else outputs

    def media_failed(self, error: SecurecallError) -> tuple[Output, ...]:
        """The media path, DTLS, the handshake or the integrity of frames failed: fatal."""
        if self.state is State.ENDED:
            return ()
        return self._end(error)

    def expire(self, *, now: float) -> tuple[Output, ...]:
        """The deadline passed."""
        if self.deadline is None or now < self.deadline:
            return ()
        if self.state in (State.DIALLING, State.RINGING, State.ALERTING):
            return self._end(NoAnswer("nobody answered"), EndReason.NO_ANSWER)
        if self.state is State.VERIFYING:
            return self._end(
                SecurityError(
                    "the words were not compared in time; call again and read them to each other",
                    reason=Reason.VERIFYING_TIMEOUT,
                )
            )
        return self._end(
            PeerVanished("the media connection did not come about in time"),
            EndReason.PEER_VANISHED,
        )

    # -- the inside ---------------------------------------------------------------------------

    def _evaluate(self, move: Input | None) -> tuple[Output, ...]:
        if self._facts is None:  # invariant of ours: callers set it
            raise UsageError("no evidence")
        state = self._judged(self._facts)
        try:
            gate = decide(state, self._floor)
        except SecurityError as e:
            self.security = state
            return (Secured(state), *self._end(e))
        self.security = state
        if move is None:
            move = Input.EVIDENCE_OPEN if gate is Gate.OPEN else Input.EVIDENCE_VERIFY
        if gate is Gate.OPEN:
            self._enter(move)
            self.deadline = None
        elif move is Input.EVIDENCE_VERIFY:
            self._enter(move)
        return (Secured(state), SetGate(gate))

    def _judged(self, facts: Facts) -> SecurityState:
        """What the facts amount to, and what offer and answer leave to be said."""
        state = security_state(facts)
        agreed = self._exchange.agreed
        said = agreed.warnings if agreed is not None else ()
        return replace(state, warnings=(*state.warnings, *said))

    def _end(self, error: SecurecallError, reason: EndReason | None = None) -> tuple[Output, ...]:
        if reason is None:
            reason = reason_of(error)
        self._enter(Input.OVER)
        return (SetGate(Gate.CLOSED), Send(Ended(reason)), Finish(reason, error))

    def _enter(self, move: Input) -> bool:
        after = NEXT.get((self.state, move))
        if after is None:
            return False
        self.state = after
        if after is State.ENDED:
            self.deadline = None
        return True
