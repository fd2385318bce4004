"""The lab server's proxy, without I/O (RFC 3261 16, RFC 5626 5): who may send, where it goes.

Everything travels on connections that clients made, never on one the server makes. Each INVITE
gets two Record-Route values, one for the connection of either side; in a later request the last
of ours says where it goes, whichever side it comes from and whatever connection it comes by.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from securecall.sip import transaction
from securecall.sip.deadlines import Deadlines
from securecall.sip.grammar import SipError, Uri
from securecall.sip.message import Request, Response
from securecall.sip.output import Send
from securecall.sip.transaction import ClientTransaction, ServerTransaction, State
from securecall.testing.authentication import Authenticator, Unproven
from securecall.testing.forking import Branch, Fork, Target
from securecall.testing.hops import FlowTokens, forwarded_headers, loop_mark, with_source
from securecall.testing.location import Binding
from securecall.testing.registrar import EXTENSIONS, Registrar, require_extensions
from securecall.testing.reply import build_reply

MOST_REQUESTS: Final = 256  # open at a time on one connection; one more is answered with 503
_ALLOW: Final = "REGISTER, INVITE, ACK, CANCEL, BYE, OPTIONS"
_BEGIN_DIALOGS: Final = frozenset({"INVITE", "SUBSCRIBE", "REFER"})

Key = tuple[int, str, str, str, int, str]


class Proxy:
    """Registrar and proxy of one domain.

    Attributes:
        here: "host:port" of our Via and Record-Route.
        refuse: Status new calls are refused with, 0 for none; for tests.
    """

    def __init__(
        self,
        registrar: Registrar,
        authenticator: Authenticator,
        *,
        here: str,
        random_token: Callable[[], str],
    ) -> None:
        """Draw tags and branches from `random_token`.

        Args:
            registrar: Of the same domain.
            authenticator: The same as the registrar's.
            here: "host:port" as listened on.
            random_token: Returns at least 16 unguessable hexadecimal digits.
        """
        self.here = here
        self.refuse = 0
        self._registrar = registrar
        self._authenticator = authenticator
        self._random_token = random_token
        self._tokens = FlowTokens(random_token().encode())
        self._flows: set[int] = set()
        self._forks: dict[Key, Fork] = {}
        self._branches: dict[str, Branch] = {}
        self._deadlines: Deadlines[Fork] = Deadlines()

    @property
    def deadline(self) -> float | None:
        """When `expire` is due, None for never."""
        return self._deadlines.earliest

    @property
    def open_requests(self) -> int:
        """How many requests are not done with."""
        return len(self._forks)

    def opened(self, flow: int) -> None:
        """A connection was made; its number was never used before."""
        self._flows.add(flow)

    def receive(
        self, message: Request | Response, *, flow: int, now: float, source: str = ""
    ) -> list[Send]:
        """Take one message.

        Args:
            message: What came; it may be invalid.
            flow: The connection it came by.
            now: Monotonic seconds.
            source: "ip:port" it came from, put into its Via.
        """
        try:
            message.require_valid()
            if isinstance(message, Response):
                return self._response(message, flow=flow, now=now)
            return self._request(with_source(message, source), flow=flow, now=now)
        except SipError as e:
            if isinstance(message, Response) or message.method == "ACK":
                return []
            return [Send(flow, self._reply(message, e.status, *e.fields))]

    def lost(self, flow: int, *, now: float) -> list[Send]:
        """A connection is gone: what was registered, asked or awaited on it ends."""
        self._flows.discard(flow)
        self._registrar.location.lost(flow)
        self._authenticator.forget_flow(flow)
        out: list[Send] = []
        for fork in tuple(self._forks.values()):
            if fork.origin == flow:
                fork.server.terminate()
                out += fork.cancel(now=now)
            for branch in tuple(fork.branches):
                if branch.target.flow == flow and branch.final is None:
                    out += self._flow_failed(branch, now=now)
            self._settle(fork)
        return [send for send in out if send.flow in self._flows]

    def expire(self, *, now: float) -> list[Send]:
        """Perform everything due by now."""
        out: list[Send] = []
        for fork in self._deadlines.pop_due(now):
            _ = fork.server.expire(now=now)
            for branch in tuple(fork.branches):
                out += self._expire_branch(branch, now=now)
            self._settle(fork)
        return out

    # -- requests ---------------------------------------------------------------------------------

    def _request(self, request: Request, *, flow: int, now: float) -> list[Send]:
        key = _key(request, flow)
        fork = self._forks.get(key)
        if request.method == "ACK":
            return self._acknowledge(request, fork, now=now)
        if request.method == "CANCEL":
            return self._cancel(request, flow, now=now)
        if request.method == "REGISTER":
            return [Send(flow, self._registrar.receive(request, flow=flow, now=now))]
        if fork is not None:
            again = fork.server.receive(request, now=now)
            return [Send(flow, o.message) for o in again if isinstance(o, transaction.Transmit)]
        if sum(f.origin == flow for f in self._forks.values()) >= MOST_REQUESTS:
            raise SipError("too many requests at once", status=503)
        server = ServerTransaction(request)
        fork = Fork(server, flow, random_token=self._random_token)
        self._forks[key] = fork
        out = self._begin(request, fork, now=now)
        self._settle(fork)
        return out

    def _begin(self, request: Request, fork: Fork, *, now: float) -> list[Send]:
        """Find where a new request goes and send it there, or answer it."""
        try:
            self._require_forwardable(request)
            if request.method == "OPTIONS" and self._is_here(request.uri) and not request.uri.user:
                supported = ", ".join(sorted(EXTENSIONS))
                return fork.answer(200, now=now, more=(("Allow", _ALLOW), ("Supported", supported)))
            routes, last = self._routes(request)
            if last is None:
                self._require_sender(request, flow=fork.origin, now=now)
                targets = self._located(request.uri, now=now)
            else:
                targets = self._of_token(last, request.uri, now=now)
        except Unproven as e:
            challenges = self._authenticator.challenges(stale=e.stale, now=now)
            more = tuple(("Proxy-Authenticate", challenge) for challenge in challenges)
            return fork.answer(407, now=now, more=more)
        except SipError as e:
            return fork.answer(e.status, now=now, more=e.fields)
        out = fork.answer(100, now=now) if request.method == "INVITE" else []
        begins = request.method in _BEGIN_DIALOGS and last is None
        for target in targets:
            out.append(self._forward(fork, target, routes, record=begins, now=now))
        return out

    def _require_forwardable(self, request: Request) -> None:
        if request.uri.scheme not in ("sip", "sips"):
            raise SipError("only sip addresses are served here", status=416)
        if request.headers.first("max-forwards") == "0":
            raise SipError("too many hops", rule="RFC 3261 16.3", status=483)
        ours = loop_mark(request)
        for via in request.vias:
            if f"{via.host}:{via.port}" == self.here and via.branch.endswith(ours):
                raise SipError("it was here before", rule="RFC 3261 16.3", status=482)
        require_extensions(request, "proxy-require")

    def _routes(self, request: Request) -> tuple[tuple[str, ...], str | None]:
        """Take our own values off Route; return the rest, and the token of the last of ours."""
        routes = request.addresses("route")
        last: str | None = None
        while routes and self._is_here(routes[0].uri):
            last = routes.pop(0).uri.user or last
        return tuple(f"<{r.uri.text}>{r.tail}" for r in routes), last

    def _require_sender(self, request: Request, *, flow: int, now: float) -> None:
        """Only people of the domain send from here, and only in their own name."""
        user = self._authenticator.require_user(request, "proxy-authorization", flow=flow, now=now)
        sender = request.from_.uri
        if (sender.user, sender.host) != (user, self._registrar.domain):
            raise SipError("not your address", rule="RFC 3261 22.3", status=403)
        if self.refuse:
            raise SipError("told to refuse", status=self.refuse)

    def _located(self, uri: Uri, *, now: float) -> list[Target]:
        """Where a user of ours can be reached."""
        if not self._is_here(uri):
            raise SipError("this server serves one domain", status=403)
        location = self._registrar.location
        user, instance = uri.user, uri.param("gr")
        if instance == "":
            owner = location.owner(user)
            if owner is None:
                raise SipError("no such temporary address", rule="RFC 5627 5", status=404)
            user, instance = owner
        if user not in self._authenticator.users:
            raise SipError("no such user", status=404)
        found = location.of(user, now=now)
        if instance is not None:
            found = [b for b in found if b.instance == instance]
        if not found:
            raise SipError("nobody is registered", status=480)
        return _targets(found)

    def _of_token(self, token: str, uri: Uri, *, now: float) -> list[Target]:
        flow = self._tokens.flow_of(token)
        if flow in self._flows:
            return [Target(uri=self._contact_on(flow, uri, now=now), flow=flow)]
        if self._is_here(uri):  # a GRUU, or an address of record as Contact: found where it is now
            return self._located(uri, now=now)
        raise SipError("the connection is gone", rule="RFC 5626 5.3", status=430)

    def _contact_on(self, flow: int, uri: Uri, *, now: float) -> Uri:
        """What a GRUU stands for on a connection; any other address is left as it is."""
        instance = uri.param("gr")
        if instance is None or not self._is_here(uri):
            return uri
        location = self._registrar.location
        user, instance = (uri.user, instance) if instance else location.owner(uri.user) or ("", "")
        known = [b for b in location.of(user, now=now) if b.flow == flow]
        return next((b.contact.uri for b in known if b.instance == instance), uri)

    def _forward(
        self, fork: Fork, target: Target, routes: tuple[str, ...], *, record: bool, now: float
    ) -> Send:
        request = fork.server.request
        name = f"z9hG4bK{self._random_token()}{loop_mark(request)}"
        records = (self._record(fork.origin), self._record(target.flow)) if record else ()
        headers = forwarded_headers(
            request,
            via=f"SIP/2.0/TLS {self.here};branch={name}",
            routes=(*target.routes, *routes),
            records=records,
        )
        copy = Request(request.method, target.uri.text, headers, request.body)
        branch = Branch(target, ClientTransaction(copy, now=now), fork, now=now)
        fork.branches.append(branch)
        self._branches[name] = branch
        return Send(target.flow, copy)

    def _acknowledge(self, request: Request, fork: Fork | None, *, now: float) -> list[Send]:
        """The ACK of a failure ends here; the ACK of a 2xx goes on, without a transaction."""
        if fork is not None and fork.server.state is not State.ACCEPTED:
            _ = fork.server.receive(request, now=now)
            self._settle(fork)
            return []
        self._require_forwardable(request)
        routes, last = self._routes(request)
        if last is None:
            raise SipError("an ACK without its route", rule="RFC 3261 16.6")
        target = self._of_token(last, request.uri, now=now)[0]
        via = f"SIP/2.0/TLS {self.here};branch=z9hG4bK{self._random_token()}{loop_mark(request)}"
        headers = forwarded_headers(request, via=via, routes=routes, records=())
        return [Send(target.flow, Request("ACK", target.uri.text, headers, request.body))]

    def _cancel(self, request: Request, flow: int, *, now: float) -> list[Send]:
        fork = self._forks.get((*_key(request, flow)[:5], "INVITE"))
        if fork is None:
            raise SipError("nothing to cancel", rule="RFC 3261 16.10", status=481)
        out = [Send(flow, self._reply(request, 200)), *fork.cancel(now=now)]
        self._settle(fork)
        return out

    # -- responses --------------------------------------------------------------------------------

    def _response(self, response: Response, *, flow: int, now: float) -> list[Send]:
        branch = self._branches.get(response.via.branch)
        if branch is None or branch.target.flow != flow or len(response.vias) < 2:
            return []
        if response.cseq.method != branch.client.request.method:
            return []  # of a CANCEL of ours
        if response.status == 430 and branch.target.others:
            out = [
                Send(flow, o.message)
                for o in branch.client.receive(response, now=now)
                if isinstance(o, transaction.Transmit)
            ]
            out += self._flow_failed(branch, now=now)
        else:
            out = branch.fork.receive(branch, response, now=now)
        self._settle(branch.fork)
        return out

    def _flow_failed(self, branch: Branch, *, now: float) -> list[Send]:
        """Try the next flow of the same instance, if there is one (RFC 5626 5.3)."""
        fork = branch.fork
        alive = [other for other in branch.target.others if other.flow in self._flows]
        if not alive or branch.cancelled:
            return fork.fail(branch, 480, now=now)
        branch.client.terminate()
        fork.branches.remove(branch)
        del self._branches[branch.client.request.via.branch]
        first = alive[0]
        target = Target(
            uri=first.uri, flow=first.flow, routes=first.routes, others=tuple(alive[1:])
        )
        begins = fork.server.request.method in _BEGIN_DIALOGS
        return [self._forward(fork, target, (), record=begins, now=now)]

    def _expire_branch(self, branch: Branch, *, now: float) -> list[Send]:
        timed_out = any(isinstance(o, transaction.TimedOut) for o in branch.client.expire(now=now))
        if not timed_out and (branch.deadline is None or now < branch.deadline):
            return []
        if timed_out or branch.cancelled:
            return branch.fork.fail(branch, 487 if branch.cancelled else 408, now=now)
        out = branch.cancel(now=now)  # it rang too long: timer C
        return out or branch.fork.fail(branch, 408, now=now)

    # -- what all the above need ------------------------------------------------------------------

    def _settle(self, fork: Fork) -> None:
        """Forget what is over, and say when the rest is due."""
        for branch in fork.branches:
            if branch.client.state is State.TERMINATED:
                _ = self._branches.pop(branch.client.request.via.branch, None)
        running = [b for b in fork.branches if b.client.state is not State.TERMINATED]
        if fork.server.state is State.TERMINATED and not running:
            self._deadlines.set(fork, None)
            _ = self._forks.pop(_key(fork.server.request, fork.origin), None)
            return
        due = [fork.server.deadline]
        for branch in running:
            due += [branch.client.deadline, branch.deadline]
        moments = [moment for moment in due if moment is not None]
        self._deadlines.set(fork, min(moments) if moments else None)

    def _reply(self, request: Request, status: int, *fields: tuple[str, str]) -> Response:
        return build_reply(request, status, tag=self._random_token(), more=fields)

    def _is_here(self, uri: Uri) -> bool:
        if uri.scheme not in ("sip", "sips"):
            return False
        host, _, port = self.here.rpartition(":")
        if uri.host == self._registrar.domain:
            return True
        return uri.host == host and uri.port in (0, int(port))

    def _record(self, flow: int) -> str:
        return f"<sip:{self._tokens.make(flow)}@{self.here};transport=tls;lr>"


def _key(request: Request, flow: int) -> Key:
    """What names a server transaction, with the connection it came by (RFC 3261 17.2.3)."""
    method = "INVITE" if request.method == "ACK" else request.method
    via, cseq = request.via, request.cseq
    return (flow, via.branch, via.sent_by, request.call_id, cseq.number, method)


def _targets(bindings: list[Binding]) -> list[Target]:
    """One target for each contact, but one for all flows of an instance (RFC 5626 6)."""
    grouped: dict[tuple[str, str], list[Target]] = {}
    for binding in reversed(bindings):  # the latest first
        group = (binding.key[0], "" if binding.outbound else binding.key[1])
        target = Target(uri=binding.contact.uri, flow=binding.flow, routes=binding.path)
        grouped.setdefault(group, []).append(target)
    return [
        Target(uri=first.uri, flow=first.flow, routes=first.routes, others=tuple(rest))
        for first, *rest in grouped.values()
    ]
