"""Our side of a SIPp scenario: the SIP agent of the library, and a person who plays along.

What the person does is read off the scenario: it answers where SIPp waits for a 200, refuses where
SIPp waits for that refusal, and hangs up, offers a change or gives up where SIPp waits for the
BYE, INVITE or CANCEL. What is said about media is said by the call model's own negotiation, so
that an offer or an answer without keys is refused as in any call.
"""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass, field, replace
from typing import Final

from securecall.calls.changes import answer_change, same_association
from securecall.calls.negotiation import (
    Agreement,
    LocalMedia,
    build_answer,
    build_offer,
    read_answer,
)
from securecall.calls.signaling import (
    Answered,
    Ended,
    Leg,
    Offered,
    Refused,
    Ringing,
    Signal,
    TransferProgress,
    TransferRequested,
    TransferStep,
)
from securecall.errors import EndReason, SecurecallError
from securecall.media.description import Description, Direction, Fingerprint
from securecall.sip.leg import SipLeg
from securecall.sip.outcome import REFUSALS, reason_of
from tests.interop.sipp_scenarios import Scenario

SETTLE: Final = 0.25  # seconds a person waits before the next act, so that an ACK arrives first
PATIENCE: Final = 8.0
OWN: Final = Fingerprint("sha-256", bytes(range(32, 64)))
_REASONS: Final = {
    486: EndReason.BUSY,
    488: EndReason.INCOMPATIBLE,
    **{status: reason for reason, status in REFUSALS.items() if status not in (486, 488)},
}


class Act(enum.Enum):
    """Something a person does of their own accord."""

    HANG_UP = "hang up"
    CHANGE = "propose a change"
    GIVE_UP = "give up"


@dataclass(frozen=True)
class Cue:
    """When to act: after so many offers and answers heard.

    Attributes:
        direction: Of the change, None to leave it.
    """

    act: Act
    after: int
    direction: Direction | None = None


@dataclass(frozen=True)
class Plan:
    """What a person does in one scenario.

    Attributes:
        calls: They call, SIPp answers.
        rings: Their phone says that it rings.
        answer: 200 takes the call, a failure refuses it, 0 lets it ring.
        hesitates: They let it ring before they answer.
        cues: What follows.
        codecs: What they can talk with.
    """

    calls: bool = False
    rings: bool = False
    answer: int = 0
    hesitates: bool = False
    cues: tuple[Cue, ...] = ()
    codecs: tuple[str, ...] = ("opus", "pcmu", "pcma")


def plan(scenario: Scenario) -> Plan:
    """Read off a scenario what it waits for."""
    steps = [s for s in scenario.steps if s.kind in ("send", "recv")]
    calls = bool(steps) and steps[0].kind == "recv"
    answer, rings, heard = 0, False, 0
    cues: list[Cue] = []
    asked = challenged = begun = False
    for step in steps:
        if step.kind == "send" and step.status in (401, 407):
            challenged = True
        if step.kind == "send" and step.method in ("INVITE", "UPDATE"):
            heard += int(begun and bool(step.body))
            asked, begun = not begun, True
        elif step.kind == "recv" and step.method == "INVITE":
            if begun and not challenged:
                wanted = next((d for d in Direction if f"a={d.value}" in step.actions), None)
                cues.append(Cue(Act.CHANGE, heard, wanted))
                heard += 1
            begun, challenged = True, False
        elif step.kind == "recv" and step.status == 180 and asked:
            rings = True
        elif step.kind == "recv" and step.status >= 200 and asked and not step.optional:
            answer, asked = step.status, False
        elif step.kind == "send" and step.method == "CANCEL":
            asked = False
        elif step.kind == "send" and step.status == 200 and calls and not heard:
            heard = 1
        elif step.kind == "recv" and step.method in ("BYE", "CANCEL"):
            act = Act.HANG_UP if step.method == "BYE" else Act.GIVE_UP
            cues.append(Cue(act, heard))
    hesitates = any(step.kind == "send" and step.method == "PRACK" for step in steps)
    return Plan(calls, rings, answer, hesitates, tuple(cues))


def expected_end(scenario: Scenario) -> EndReason | None:
    """How a call ends for us by what SIPp does, None where it is not SIPp that ends it."""
    confirmed, end = False, None
    for step in scenario.steps:
        if step.kind == "recv" and step.method in ("CANCEL", "BYE"):
            return None
        if step.kind == "recv" and step.status == 200:
            confirmed = True
        elif step.kind != "send":
            continue
        elif step.status == 200 and step.body:
            confirmed = True
        elif step.status >= 300 and step.status not in (401, 407) and not confirmed:
            end = reason_of(step.status)
        elif step.method == "CANCEL":
            end = EndReason.CANCELLED
        elif step.method == "BYE" and confirmed:
            end = EndReason.HUNG_UP
    return end


@dataclass
class Person:
    """One end of a call.

    Attributes:
        plan: What they do.
        heard: Every signal, in order.
        end: How it ended for them, None while it has not.
        error: What their call model found wrong, None for nothing.
    """

    plan: Plan
    heard: list[Signal] = field(default_factory=list)
    end: Ended | None = None
    error: SecurecallError | None = None
    leg: Leg | None = None
    _exchanges: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _ours: Description | None = None
    _agreement: Agreement | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def agreed(self) -> bool:
        """Offer and answer were made and taken."""
        return self._agreement is not None

    @property
    def local(self) -> LocalMedia:
        """What they bring."""
        return LocalMedia(
            fingerprint=OWN, host="127.0.0.1", port=40_000, codecs=self.plan.codecs, cname="a"
        )

    def first_offer(self) -> Description:
        """What they call with."""
        self._ours = build_offer(self.local)
        return self._ours

    def called(self, leg: Leg) -> None:
        """Take the leg of a call of theirs."""
        self._take(leg)

    def rung(self, leg: SipLeg) -> None:
        """Somebody calls."""
        if self.leg is not None:
            leg.send(Ended(EndReason.BUSY))
            return
        if self.plan.rings:
            leg.send(Ringing())
        self._take(leg)
        if self.plan.hesitates:
            asyncio.get_running_loop().call_later(2 * SETTLE, self._answer, leg)
        else:
            self._answer(leg)

    def _answer(self, leg: SipLeg) -> None:
        if self.plan.answer >= 300 and self.plan.answer != 488:
            leg.send(Ended(_REASONS.get(self.plan.answer, EndReason.DECLINED)))
        elif self.plan.answer:
            self._accept(leg, leg.offer)

    async def closed(self) -> None:
        """Stop acting."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take(self, leg: Leg) -> None:
        self.leg = leg
        leg.listen(self._hear)
        if self.plan.cues:
            self._tasks.append(asyncio.get_running_loop().create_task(self._act(leg)))

    def _accept(self, leg: Leg, offer: Description | None) -> None:
        try:
            if offer is None:
                leg.send(Offered(self.first_offer()))
                return
            self._ours, self._agreement = build_answer(offer, self.local)
        except SecurecallError as e:
            self._refuse(leg, e)
        else:
            leg.send(Answered(self._ours))

    def _refuse(self, leg: Leg, error: SecurecallError) -> None:
        self.error = error
        leg.send(Ended(EndReason.INCOMPATIBLE))

    async def _act(self, leg: Leg) -> None:
        for cue in self.plan.cues:
            while self._exchanges < cue.after:
                self._news.clear()
                await self._news.wait()
            await asyncio.sleep(SETTLE)
            if cue.act is Act.CHANGE:
                if self._ours is not None:
                    self._ours = _directed(self._ours, cue.direction)
                    leg.send(Offered(self._ours))
            else:
                reason = EndReason.HUNG_UP if cue.act is Act.HANG_UP else EndReason.CANCELLED
                leg.send(Ended(reason))

    def _hear(self, signal: Signal) -> None:
        self.heard.append(signal)
        if isinstance(signal, Ended):
            self.end = signal
        elif isinstance(signal, Offered):
            self._judge(signal.description)
        elif isinstance(signal, Answered):
            self._read(signal)
        elif isinstance(signal, TransferRequested) and signal.number and self.leg is not None:
            self.leg.send(TransferProgress(TransferStep.FAILED, number=signal.number))
        self._exchanges += isinstance(signal, Offered | Refused) or (
            isinstance(signal, Answered) and signal.final
        )
        self._news.set()

    def _read(self, signal: Answered) -> None:
        if self.leg is None or self._ours is None or self._agreement is not None:
            return
        try:
            agreement = read_answer(self._ours, signal.description)
        except SecurecallError as e:
            self._refuse(self.leg, e)
            return
        if signal.final:
            self._agreement = agreement

    def _judge(self, offer: Description) -> None:
        if self.leg is None:
            return
        if self._agreement is None or self._ours is None:
            self.leg.send(Refused(491))
            return
        try:
            if not same_association(self._agreement, offer):
                self.leg.send(Refused(488))
                return
            self._ours, self._agreement = answer_change(self._ours, offer, self._agreement)
        except SecurecallError:
            self.leg.send(Refused(488))
        else:
            self.leg.send(Answered(self._ours))


def _directed(ours: Description, direction: Direction | None) -> Description:
    if direction is None:
        return ours
    audio = ours.audio
    media = tuple(replace(m, direction=direction) if m is audio else m for m in ours.media)
    return replace(ours, media=media)
