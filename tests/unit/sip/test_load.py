"""Many calls one after the other by one connection, in no time: none is refused, nothing stays."""

from __future__ import annotations

from securecall.calls.signaling import Answered
from securecall.sip.message import Request, Response
from securecall.sip.output import Finished, Output, Rang, Send
from securecall.sip.uas import SERVER
from tests.unit.sip.test_agent import OFFER, agent, incoming

RATE, SECONDS, HELD = 50, 20, 1.0


def test_fifty_calls_a_second_are_all_taken_and_leave_nothing():
    a = agent()
    outputs: list[Output] = []

    def give(message: Request | Response, now: float) -> tuple[Output, ...]:
        if a.deadline is not None and a.deadline <= now:
            outputs.extend(a.expire(now=now))
        came = a.receive(message, flow=1, direct=False, now=now, quota=SERVER)
        outputs.extend(came)
        return came

    def named(method: str, number: int, **changes: object) -> Request:
        names = {"from": f"<sip:bob@example.com>;tag=b{number}"}
        return incoming(method, branch=f"z9hG4bK{method}{number}", **names, **changes)

    tos: dict[int, str] = {}
    for tick in range(int(RATE * (SECONDS + HELD))):
        now = 1 + tick / RATE
        if tick < RATE * SECONDS:
            (rang,) = (o for o in give(named("INVITE", tick), now) if isinstance(o, Rang))
            taken = a.perform(rang.session, Answered(OFFER), now=now)
            outputs.extend(taken)
            (ok,) = (o.message for o in taken if isinstance(o, Send))
            tos[tick] = ok.need("to")
            give(named("ACK", tick, to=tos[tick], body=b""), now)
        ends = tick - int(RATE * HELD)
        if ends >= 0:
            give(named("BYE", ends, to=tos[ends], cseq="8", body=b""), now)

    said = [o.message for o in outputs if isinstance(o, Send)]
    assert {m.status for m in said if isinstance(m, Response)} == {100, 200}
    assert sum(isinstance(o, Finished) for o in outputs) == RATE * SECONDS
    # what absorbs repetitions goes by itself (RFC 6026: timer L), and then nothing is left
    assert not [o for o in a.expire(now=200.0) if isinstance(o, Send)]
    assert a.deadline is None
