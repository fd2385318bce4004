"""One request forwarded to several places, and the one answer made of theirs (RFC 3261 16.7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from securecall.sip import transaction
from securecall.sip.dialog import build_cancel
from securecall.sip.grammar import Fields, Uri
from securecall.sip.message import Response
from securecall.sip.output import Send
from securecall.sip.transaction import NOBODY_ANSWERED, ClientTransaction, ServerTransaction, State
from securecall.testing.hops import without_top_via
from securecall.testing.reply import build_reply

TIMER_C: Final = 180.0  # RFC 3261 16.6, seconds a phone may ring
# of the client failures, those that tell the caller what to do go before others (16.7)
_PREFERRED: Final = (401, 407, 415, 420, 484)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where one copy of a request goes.

    Attributes:
        uri: Its Request-URI.
        flow: The connection.
        routes: Put before its other Route fields.
        others: Further flows of the same instance, tried one after another when this one fails.
    """

    uri: Uri
    flow: int
    routes: tuple[str, ...] = ()
    others: tuple[Target, ...] = ()


class Branch:
    """One copy of a request.

    Attributes:
        target: Where it went.
        client: Its transaction.
        fork: What it is a part of.
        final: Its answer, None before.
        cancelled: A CANCEL is wanted; it is sent once a provisional answer came (9.1).
        deadline: When it is given up (timer C), None for never.
    """

    __slots__ = ("_told", "cancelled", "client", "deadline", "final", "fork", "target")

    def __init__(
        self, target: Target, client: ClientTransaction, fork: Fork, *, now: float
    ) -> None:
        """Begin; the caller sends the request."""
        self.target = target
        self.client = client
        self.fork = fork
        self.final: Response | None = None
        self.cancelled = False
        invite = client.request.method == "INVITE"
        self.deadline: float | None = now + TIMER_C if invite else None
        self._told = False

    def cancel(self, *, now: float) -> list[Send]:
        """Ask for its end, now or once that is allowed."""
        if self.final is not None or self.client.request.method != "INVITE":
            return []
        self.cancelled = True
        if self._told or not self.client.provisional:
            return []
        self._told = True
        self.deadline = now + NOBODY_ANSWERED
        return [Send(self.target.flow, build_cancel(self.client.request))]


class Fork:
    """A request that came, and its branches.

    Attributes:
        server: The transaction of who sent it.
        origin: The connection it came by.
        branches: Where it was forwarded.
    """

    def __init__(
        self, server: ServerTransaction, origin: int, *, random_token: Callable[[], str]
    ) -> None:
        """Begin without branches."""
        self.server = server
        self.origin = origin
        self.branches: list[Branch] = []
        self._random_token = random_token

    def answer(self, status: int, *, now: float, more: Fields = ()) -> list[Send]:
        """Answer it ourselves."""
        tag = self._random_token()
        return self._respond(build_reply(self.server.request, status, tag=tag, more=more), now=now)

    def receive(self, branch: Branch, response: Response, *, now: float) -> list[Send]:
        """Take a response to one branch."""
        out: list[Send] = []
        for output in branch.client.receive(response, now=now):
            if isinstance(output, transaction.Transmit):
                out.append(Send(branch.target.flow, output.message))
            elif isinstance(output, transaction.Deliver):
                out += self._take(branch, response, now=now)
        return out

    def fail(self, branch: Branch, status: int, *, now: float) -> list[Send]:
        """End a branch nobody answers, as if it had been answered with this status."""
        branch.client.terminate()
        if branch.final is not None:
            return []
        reply = build_reply(branch.client.request, status, tag=self._random_token())
        return self._finish(branch, reply, now=now)

    def cancel(self, *, now: float) -> list[Send]:
        """Cancel every branch that has no answer yet."""
        return [send for branch in self.branches for send in branch.cancel(now=now)]

    def _take(self, branch: Branch, response: Response, *, now: float) -> list[Send]:
        if response.status >= 300:
            return self._finish(branch, response, now=now)
        if response.status >= 200:
            return self._succeed(branch, response, now=now)
        out: list[Send] = []
        if branch.deadline is not None and not branch.cancelled:
            branch.deadline = now + TIMER_C
        if response.status > 100 and not self.server.answered:
            out += self._respond(without_top_via(response), now=now)
        return out + (branch.cancel(now=now) if branch.cancelled else [])

    def _succeed(self, branch: Branch, response: Response, *, now: float) -> list[Send]:
        """Pass every 2xx on, and cancel the others after the first."""
        branch.final = response
        branch.deadline = None
        out = []
        state = self.server.state
        if not self.server.answered or state is State.ACCEPTED:
            out = self._respond(without_top_via(response), now=now)
        return out + self.cancel(now=now)

    def _finish(self, branch: Branch, response: Response, *, now: float) -> list[Send]:
        branch.final = response
        branch.deadline = None
        out = self.cancel(now=now) if response.status >= 600 else []
        finals = [b.final for b in self.branches if b.final is not None]
        if len(finals) < len(self.branches) or self.server.answered:
            return out
        return out + self._respond(without_top_via(self._aggregate(finals)), now=now)

    def _aggregate(self, finals: list[Response]) -> Response:
        """The best failure, with the challenges of all (16.7 steps 6 and 7)."""
        best = min(finals, key=_rank)
        headers = best.headers.copy()
        status, reason = best.status, best.reason
        if status == 503:
            status, reason = 500, "Server Internal Error"  # 503 is for the next hop alone
        if status in (401, 407):
            for other in finals:
                if other is not best and other.status in (401, 407):
                    for name in ("WWW-Authenticate", "Proxy-Authenticate"):
                        for value in other.headers.all(name.lower()):
                            headers.add(name, value)
        return Response(status, reason, headers, best.body)

    def _respond(self, response: Response, *, now: float) -> list[Send]:
        if self.server.state is State.TERMINATED:
            return []
        return [
            Send(self.origin, output.message)
            for output in self.server.respond(response, now=now)
            if isinstance(output, transaction.Transmit)
        ]


def _rank(response: Response) -> tuple[int, int, int]:
    """6xx first, then the lowest class, then what helps the caller, then the lowest status."""
    status = response.status
    preferred = 0 if status in _PREFERRED else 1
    return (0 if status >= 600 else status // 100, preferred, status)
