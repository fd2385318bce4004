"""Two agents on one ordered connection, with a clock and a hand in between."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from securecall.calls.signaling import Answered, Ended, Signal
from securecall.errors import EndReason, ProtocolError
from securecall.media.description import Description, Direction, Fingerprint
from securecall.sip.agent import Agent
from securecall.sip.message import Request, Response, build_message, parse_message
from securecall.sip.output import Dropped, Finished, Output, Rang, Send, Told
from securecall.sip.sdp import parse_description
from securecall.sip.session import Session

FLOW = 1


def sdp(port: int = 4000, *, fingerprint: str = "00:11", direction: str = "sendrecv") -> bytes:
    return (
        f"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio {port} UDP/TLS/RTP/SAVPF 0\r\n"
        f"c=IN IP4 192.0.2.1\r\na=setup:actpass\r\na=fingerprint:sha-256 {fingerprint}\r\n"
        f"a={direction}\r\n"
    ).encode()


OFFER = parse_description(sdp(4000))
ANSWER = parse_description(sdp(5000, fingerprint="22:33"))


def directed(description: Description, direction: Direction) -> Description:
    (media,) = description.media
    return replace(description, media=(replace(media, direction=direction),))


def rekeyed(description: Description) -> Description:
    """The same place, other keys."""
    (media,) = description.media
    other = (Fingerprint("sha-256", b"\xee\xee"),)
    media = replace(media, fingerprints=other)
    return replace(description, media=(media,), all_fingerprints=other)


@dataclass
class End:
    """One agent, and all that came of it."""

    agent: Agent
    inbox: deque[bytes] = field(default_factory=deque)
    heard: list[Signal] = field(default_factory=list)
    sent: list[Request | Response] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    finished: list[Session] = field(default_factory=list)

    @property
    def session(self) -> Session:
        return self.sessions[-1]

    def requests(self) -> list[str]:
        return [m.method for m in self.sent if isinstance(m, Request)]

    def statuses(self, method: str) -> list[int]:
        return [m.status for m in self.sent if isinstance(m, Response) and m.cseq.method == method]

    def last(self, method: str) -> Request:
        return [m for m in self.sent if isinstance(m, Request) and m.method == method][-1]

    def take(self) -> list[Signal]:
        heard, self.heard = self.heard, []
        return heard

    def forget(self) -> None:
        self.sent.clear()
        self.heard.clear()


# sees each message on its way, and says what arrives: the same, another, or nothing
Hand = Callable[[Request | Response], Request | Response | None]


class Wire:
    """Alice calls, Bob is called; nothing is reordered within one direction, as over TLS."""

    def __init__(self, *, seed: int = 1) -> None:
        chance = random.Random(seed)
        self.alice = End(Agent(random_token=lambda: f"{chance.getrandbits(96):024x}"))
        self.bob = End(Agent(random_token=lambda: f"{chance.getrandbits(96):024x}"))
        self.now = 0.0
        self.hand: Hand = lambda message: message
        self.up = True

    def other(self, end: End) -> End:
        return self.bob if end is self.alice else self.alice

    def dial(self, offer: Description = OFFER) -> None:
        session, outputs = self.alice.agent.invite(
            target="sip:bob@example.com",
            from_uri="sip:alice@example.com",
            offer=offer,
            flow=FLOW,
            direct=True,
            now=self.now,
        )
        self.alice.sessions.append(session)
        self._carry_out(self.alice, outputs)

    def say(self, end: End, signal: Signal, *, session: Session | None = None) -> None:
        session = session if session is not None else end.session
        self._carry_out(end, end.agent.perform(session, signal, now=self.now))

    def deliver(self, end: End) -> bool:
        """Hand one message to an end; False if none is on its way."""
        if not end.inbox:
            return False
        try:
            message = parse_message(end.inbox.popleft())
        except ProtocolError:
            return True  # as good as lost
        outputs = end.agent.receive(message, flow=FLOW, direct=True, now=self.now)
        self._carry_out(end, outputs)
        return True

    def settle(self) -> None:
        """Deliver until nothing is on its way."""
        while self.deliver(self.bob) or self.deliver(self.alice):
            pass

    def advance(self, seconds: float, *, settle: bool = True) -> None:
        """Let time pass, and everything happen at its moment."""
        until = self.now + seconds
        while True:
            if settle:
                self.settle()
            times = [e.agent.deadline for e in (self.alice, self.bob)]
            due = min((t for t in times if t is not None), default=until + 1)
            if due > until:
                break
            self.now = max(self.now, due)
            for end in (self.alice, self.bob):
                self._carry_out(end, end.agent.expire(now=self.now))
        self.now = until

    def lose(self) -> None:
        self.up = False
        for end in (self.alice, self.bob):
            end.inbox.clear()
            self._carry_out(end, end.agent.lost(FLOW, now=self.now))

    def connect(self) -> None:
        """A call that stands."""
        self.dial()
        self.settle()
        self.say(self.bob, Answered(ANSWER))
        self.settle()
        assert self.alice.take() == [Answered(ANSWER)]
        self.alice.forget()
        self.bob.forget()

    def require_over(self) -> None:
        """Both ends have ended, and nothing is left of it."""
        self.advance(400.0)
        for end in (self.alice, self.bob):
            assert end.agent.deadline is None
            assert set(end.finished) == set(end.sessions)
            assert len(end.finished) == len(end.sessions)
            assert end.agent.lost(FLOW, now=self.now) == ()

    def hang_up(self) -> None:
        """End the call as an application does, and see that nothing is left."""
        self.say(self.alice, Ended(EndReason.HUNG_UP))
        self.require_over()

    def _carry_out(self, end: End, outputs: tuple[Output, ...]) -> None:
        for output in outputs:
            if isinstance(output, Send):
                end.sent.append(output.message)
                arrives = self.hand(output.message)
                if arrives is not None and self.up:
                    self.other(end).inbox.append(build_message(arrives))
            elif isinstance(output, Told):
                assert output.session in end.sessions
                end.heard.append(output.signal)
            elif isinstance(output, Rang):
                end.sessions.append(output.session)
            elif isinstance(output, Finished):
                end.finished.append(output.session)
            elif isinstance(output, Dropped):
                end.dropped.append(output.why)


def edited(message: Request | Response, **fields: str | None) -> Request | Response:
    """A copy with other fields; an underscore stands for a hyphen, None removes."""
    headers = message.headers.copy()
    for name, value in fields.items():
        key = name.replace("_", "-").lower()
        headers.remove(key)
        if value is not None:
            headers.add(key, value)
    if isinstance(message, Request):
        return Request(message.method, message.target, headers, message.body)
    return Response(message.status, message.reason, headers, message.body)


def reliable(message: Request | Response) -> Request | Response:
    """A hand that makes a call insist on reliable provisional responses."""
    if isinstance(message, Request) and message.method == "INVITE" and not message.to.tag:
        return edited(message, Require="100rel")
    return message
