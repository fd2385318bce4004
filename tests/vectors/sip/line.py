"""One connection to a user agent, without sockets: bytes in, what is answered out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from securecall.calls import orders
from securecall.calls.machine import CallMachine, State
from securecall.calls.negotiation import LocalMedia
from securecall.media.description import Fingerprint
from securecall.policy import Policy, floor_for
from securecall.sip.agent import Agent
from securecall.sip.message import Request, Response, build_message
from securecall.sip.output import Dropped, Output, Rang, Send
from securecall.sip.session import Session
from securecall.sip.stream import MessageStream

LOCAL = LocalMedia(
    fingerprint=Fingerprint("sha-256", bytes(32)),
    host="192.0.2.9",
    port=4000,
    codecs=("opus", "PCMU", "PCMA"),
)
FLOOR = floor_for(Policy(), contact_floor=False, pinned=False, direct=True)


class Line:
    """A user agent and one connection to it; it takes every call it can take.

    Attributes:
        verdicts: What became of each message in turn: its final status, "drop", or
            "absorbed" for a repetition that needs no answer.
        answers: The responses, as they are on the wire.
    """

    def __init__(
        self, agent: Agent | None = None, *, flow: int = 1, local: LocalMedia = LOCAL
    ) -> None:
        """Use an agent of its own, or one that others use; answer calls with `local`."""
        count = itertools.count(1)
        self.agent = agent or Agent(random_token=lambda: f"{next(count):024x}")
        self.verdicts: list[str] = []
        self.answers: list[Response] = []
        self._flow = flow
        self._local = local
        self._stream = MessageStream()

    @property
    def end(self) -> str:
        """ "closed" once it cannot be read further, "waits" in the middle of a message, or ""."""
        if self._stream.failure is not None:
            return "closed"
        return "" if self._stream.idle else "waits"

    @property
    def verdict(self) -> str:
        """All of it in one line, such as "405 400 closed"."""
        return " ".join([*self.verdicts, *([self.end] if self.end else [])])

    def hear(self, pieces: Iterable[bytes]) -> str:
        """Take bytes as they arrive, as the connection would; returns the verdict."""
        for piece in pieces:
            if self._stream.failure is not None:
                break
            for message in self._stream.feed(piece):
                self._take(message)
        return self.verdict

    def _take(self, message: Request | Response) -> None:
        outputs = self.agent.receive(message, flow=self._flow, direct=True, now=1.0)
        answered = list(self._responses(outputs))
        for output in outputs:
            if isinstance(output, Rang):
                answered += self._decide(output.session)
        self.answers += answered
        final = [str(a.status) for a in answered if a.status >= 200]
        assert len(final) <= 1
        dropped = any(isinstance(o, Dropped) for o in outputs)
        self.verdicts += final or ["drop" if dropped else "absorbed"]

    def _decide(self, session: Session) -> Iterable[Response]:
        machine = CallMachine(Policy(), FLOOR, outgoing=False)
        ordered = machine.invited(session.offer, now=1.0)
        if machine.state is State.ALERTING:
            ordered += machine.accept(self._local, now=1.0)
        for order in ordered:
            if isinstance(order, orders.Send):
                yield from self._responses(self.agent.perform(session, order.signal, now=1.0))

    def _responses(self, outputs: tuple[Output, ...]) -> Iterable[Response]:
        for output in outputs:
            if isinstance(output, Send) and isinstance(output.message, Response):
                # what is answered must be fit to be written and, where it can be, read
                _ = build_message(output.message)
                yield output.message


def options(number: int = 0) -> bytes:
    """A request everybody can answer."""
    return (
        "OPTIONS sip:a@b.example SIP/2.0\r\n"
        f"Via: SIP/2.0/TLS c.example;branch=z9hG4bKok{number}\r\n"
        f"From: <sip:c@c.example>;tag=1\r\nTo: <sip:a@b.example>\r\nCall-ID: ok{number}\r\n"
        "CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def alive(agent: Agent) -> bool:
    """Whether the agent answers somebody who comes next, by another connection."""
    return Line(agent, flow=2).hear([options()]) == "200"


def bytewise(data: bytes) -> Iterable[bytes]:
    """One byte at a time."""
    return (data[i : i + 1] for i in range(len(data)))
