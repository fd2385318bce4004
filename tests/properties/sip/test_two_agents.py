"""For every order of acts, deliveries, timeouts and losses: two agents end, and leave nothing."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from securecall.calls.signaling import Answered, Ended, Offered, Refused, Ringing, Signal
from securecall.errors import EndReason
from securecall.media.description import Description, Direction
from securecall.sip.message import Request, Response
from tests.properties.sip.test_parsers import mutated
from tests.sip_wire import ANSWER, OFFER, End, Wire, directed, edited, rekeyed

DESCRIPTIONS = (
    OFFER,
    ANSWER,
    directed(OFFER, Direction.SENDONLY),
    directed(ANSWER, Direction.INACTIVE),
    rekeyed(OFFER),
)
SIGNALS: tuple[Signal, ...] = (
    Ringing(),
    Refused(488),
    *(Answered(d) for d in DESCRIPTIONS),
    *(Offered(d) for d in DESCRIPTIONS),
)
REASONS = (EndReason.HUNG_UP, EndReason.BUSY, EndReason.SECURITY, EndReason.CANCELLED)
# what somebody in between does to messages, each in its own way
HANDS = {
    "nothing": {},
    "insists on 100rel": {"Require": "100rel"},
    "asks for short sessions": {"Session_Expires": "90;refresher=uas"},
    "asks for too short ones": {"Session_Expires": "1"},
    "knows no UPDATE": {"Allow": "INVITE, ACK, BYE, CANCEL"},
    "knows no timers": {"Session_Expires": None, "Supported": None, "Min_SE": None},
}
SWAPS = (
    (b"INVITE", b"UPDATE"),
    (b"UPDATE", b"INVITE"),
    (b"BYE", b"INFO"),
    (b"ACK", b"PRACK"),
    (b"SIP/2.0 200 OK", b"SIP/2.0 183 Session Progress\r\nRequire: 100rel\r\nRSeq: 1"),
    (b"SIP/2.0 200 OK", b"SIP/2.0 491 Request Pending"),
    (b"SIP/2.0 200 OK", b"SIP/2.0 422 Small\r\nMin-SE: 5000"),
    (b"SIP/2.0 180", b"SIP/2.0 200"),
    (b"SIP/2.0 100 Trying", b"SIP/2.0 199 Gone"),
    (b";tag=", b";tag=x"),
    (b"Contact: <sip:", b"Contact: <sip:other@there>, <sip:"),
    (b"Content-Type: application/sdp", b"Content-Type: multipart/mixed;boundary=b"),
    (b"Session-Expires: ", b"Session-Expires: x"),
)
ENDS = st.sampled_from(["alice", "bob"])


class TwoAgents(RuleBasedStateMachine):
    """Everything that can happen on one connection, in any order."""

    @initialize(
        seed=st.integers(0, 2**32), hand=st.sampled_from(sorted(HANDS)), stands=st.booleans()
    )
    def begin(self, seed: int, hand: str, stands: bool) -> None:
        self.wire = Wire(seed=seed)
        self.offerless = False
        fields = HANDS[hand]

        def change(message: Request | Response) -> Request | Response:
            if isinstance(message, Request) and message.method == "INVITE":
                message = edited(message, **fields)
                if self.offerless and message.to.tag:
                    message = edited(message, Content_Type=None)
                    message.body = b""
            return message

        self.wire.hand = change
        self.wire.dial()
        if stands:
            self.answer()

    def end(self, name: str) -> End:
        return self.wire.alice if name == "alice" else self.wire.bob

    @rule(name=ENDS, count=st.integers(1, 4))
    def deliver(self, name: str, count: int) -> None:
        for _ in range(count):
            _ = self.wire.deliver(self.end(name))

    @rule()
    def settle(self) -> None:
        self.wire.settle()

    @rule(name=ENDS, signal=st.sampled_from(SIGNALS), which=st.integers(0, 3))
    def say(self, name: str, signal: Signal, which: int) -> None:
        end = self.end(name)
        if end.sessions:
            self.wire.say(end, signal, session=end.sessions[which % len(end.sessions)])

    @rule(name=ENDS, description=st.sampled_from(DESCRIPTIONS), both=st.booleans())
    def change(self, name: str, description: Description, both: bool) -> None:
        """One end changes the call, or both at once."""
        for end in (self.wire.alice, self.wire.bob) if both else (self.end(name),):
            if end.sessions:
                self.wire.say(end, Offered(description))

    @rule(name=ENDS, accept=st.booleans(), settle=st.booleans())
    def judge(self, name: str, accept: bool, settle: bool) -> None:
        """What a call model does with an offer."""
        end = self.end(name)
        if settle:
            self.wire.settle()
        if end.heard and isinstance(end.heard[-1], Offered):
            self.wire.say(end, Answered(ANSWER) if accept else Refused(488))

    @rule()
    def answer(self) -> None:
        """So that many runs get past the beginning."""
        if self.wire.bob.sessions:
            self.wire.say(self.wire.bob, Answered(ANSWER))
            self.wire.settle()

    @rule(name=ENDS, reason=st.sampled_from(REASONS), die=st.integers(0, 2))
    def stop(self, name: str, reason: EndReason, die: int) -> None:
        end = self.end(name)
        if end.sessions and die == 0:
            self.wire.say(end, Ended(reason))

    @rule(seconds=st.sampled_from([0.5, 2.1, 4.0]), settle=st.booleans())
    def wait(self, seconds: float, settle: bool) -> None:
        self.wire.advance(seconds, settle=settle)

    @rule(seconds=st.sampled_from([33.0, 50.0, 200.0, 901.0]), settle=st.booleans())
    def wait_long(self, seconds: float, settle: bool) -> None:
        self.wire.advance(seconds, settle=settle)

    @rule(offerless=st.booleans())
    def pbx(self, offerless: bool) -> None:
        self.offerless = offerless

    @rule(name=ENDS)
    def swallow(self, name: str) -> None:
        """Somebody in between loses a message."""
        inbox = self.end(name).inbox
        if inbox:
            inbox.popleft()

    @rule(name=ENDS)
    def repeat(self, name: str) -> None:
        """Somebody in between says something twice."""
        inbox = self.end(name).inbox
        if inbox:
            inbox.append(inbox[0])

    @rule(name=ENDS, seed=st.integers(0, 2**32))
    def garble(self, name: str, seed: int) -> None:
        """Somebody in between alters bytes."""
        inbox = self.end(name).inbox
        if inbox:
            (inbox[-1],) = mutated([inbox[-1]], 1, seed)

    @rule(name=ENDS, swaps=st.sampled_from(SWAPS), at=st.integers(0, 9))
    def forge(self, name: str, swaps: tuple[bytes, bytes], at: int) -> None:
        """Somebody in between makes another message of one."""
        inbox = self.end(name).inbox
        if inbox:
            at %= len(inbox)
            inbox[at] = inbox[at].replace(*swaps)

    @rule(die=st.integers(0, 5))
    def lose(self, die: int) -> None:
        if die == 0:
            self.wire.lose()
            self.wire.up = True  # and a new connection takes its number

    @rule()
    def dial(self) -> None:
        if len(self.wire.alice.sessions) < 4:
            self.wire.dial()

    def teardown(self) -> None:
        if not hasattr(self, "wire"):
            return
        for end in (self.wire.alice, self.wire.bob):
            for session in list(end.sessions):
                self.wire.say(end, Ended(EndReason.HUNG_UP), session=session)
        self.wire.settle()
        # calls that were on their way here ring only now
        for session in list(self.wire.bob.sessions):
            self.wire.say(self.wire.bob, Ended(EndReason.HUNG_UP), session=session)
        self.wire.require_over()
        for end in (self.wire.alice, self.wire.bob):
            # the call model hears of an end at most once for each call
            assert sum(isinstance(s, Ended) for s in end.heard) <= len(end.sessions)


TwoAgents.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTwoAgents = TwoAgents.TestCase
