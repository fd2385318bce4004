"""What an account has open: transactions and calls, found by name, by connection, by deadline.

Every look-up is one of a dict, and what is done is found without looking at the rest: whoever
works on an item touches it, and `settle` looks at the touched ones alone. So the work one message
causes does not grow with what is open.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from securecall.sip.deadlines import Deadlines
from securecall.sip.dialog import CallName
from securecall.sip.host import SessionState
from securecall.sip.message import Request
from securecall.sip.session import Session
from securecall.sip.transaction import ClientTransaction, ServerTransaction, State

# connection, branch, sent-by, method (RFC 3261 17.2.3)
ServerKey = tuple[int, str, str, str]


@dataclass(slots=True, eq=False)
class Client:
    """A request of ours, and whose it is.

    Attributes:
        transaction: Carries it.
        flow: The connection it went by.
        session: The call it belongs to, None for one outside of calls.
        asked: What was asked for first, before it was sent again with credentials.
        name: What it shares with others outside of calls, None for one alone.
        answered: How many challenges were answered on the way.
    """

    transaction: ClientTransaction
    flow: int
    session: Session | None
    asked: Request
    name: CallName | None = None
    answered: int = 0


@dataclass(slots=True, eq=False)
class Server:
    """A request of a peer's, and which call it belongs to."""

    transaction: ServerTransaction
    key: ServerKey
    session: Session | None = None

    @property
    def flow(self) -> int:
        """The connection it came by."""
        return self.key[0]


@dataclass(slots=True)
class _Flow:
    """What is open on one connection; dicts keep the order."""

    clients: dict[Client, None] = field(default_factory=dict)
    servers: dict[Server, None] = field(default_factory=dict)
    sessions: dict[Session, None] = field(default_factory=dict)
    unanswered: set[Session] = field(default_factory=set)

    @property
    def empty(self) -> bool:
        return not (self.clients or self.servers or self.sessions)


class Ledger:
    """The open transactions and calls of one account."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._clients: dict[tuple[str, str], Client] = {}
        self._servers: dict[ServerKey, Server] = {}
        self._of: dict[ServerTransaction, Server] = {}
        self._sessions: dict[Session, None] = {}
        self._live: set[Session] = set()
        self._by_tag: dict[str, Session] = {}
        self._by_invite: dict[tuple[str, str, int], Session] = {}
        self._held: dict[Session, set[Client | Server]] = {}
        self._flows: dict[int, _Flow] = {}
        self._deadlines = Deadlines[Client | Server | Session]()
        self._touched: dict[Client | Server | Session, None] = {}

    # -- what is open -----------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """The earliest of all deadlines."""
        return self._deadlines.earliest

    @property
    def calls(self) -> int:
        """How many calls are open; one that was refused and waits for its ACK is not."""
        return len(self._live)

    @property
    def requests(self) -> int:
        """How many requests of peers are open."""
        return len(self._servers)

    def requests_of(self, flow: int) -> int:
        """How many requests of the peer are open on a connection."""
        held = self._flows.get(flow)
        return len(held.servers) if held is not None else 0

    def unanswered_of(self, flow: int) -> int:
        """How many calls ring that came by a connection."""
        held = self._flows.get(flow)
        return len(held.unanswered) if held is not None else 0

    def client(self, branch: str, method: str) -> Client | None:
        """The request of ours that a response names."""
        return self._clients.get((branch, method))

    def server(self, key: ServerKey) -> Server | None:
        """The request of a peer's that goes by this name."""
        return self._servers.get(key)

    def server_of(self, transaction: ServerTransaction) -> Server | None:
        """The entry of a transaction, None once it is over."""
        return self._of.get(transaction)

    def session_of(self, request: Request, flow: int) -> Session | None:
        """The call whose dialog a request names; ours is the tag that finds it, we drew it."""
        return self.session_named(request.call_id, request.to.tag, request.from_.tag, flow=flow)

    def session_named(
        self, call_id: str, local_tag: str, remote_tag: str, *, flow: int
    ) -> Session | None:
        """The call that goes by these three, where one connection may speak of it."""
        session = self._by_tag.get(local_tag)
        dialog = None if session is None else session.dialog_of(remote_tag)
        if session is None or dialog is None or dialog.call_id != call_id:
            return None
        return session if session.flow == flow or not session.direct else None

    def merged(self, invite: Request) -> bool:
        """Whether the same INVITE came by another way (RFC 3261 8.2.2.2)."""
        return _name(invite) in self._by_invite

    # -- changes ----------------------------------------------------------------------------------

    def add_client(self, client: Client) -> None:
        """Open a request of ours."""
        request = client.transaction.request
        self._clients[(request.via.branch, request.method)] = client
        self._flow(client.flow).clients[client] = None
        self._hold(client)

    def add_server(self, server: Server) -> None:
        """Open a request of a peer's; a repeated CANCEL takes the place of the first."""
        before = self._servers.get(server.key)
        if before is not None:
            before.transaction.terminate()
            self._forget(before)
        self._servers[server.key] = server
        self._of[server.transaction] = server
        self._flow(server.flow).servers[server] = None
        self._hold(server)

    def add_session(self, session: Session) -> None:
        """Open a call."""
        self._sessions[session] = None
        self._live.add(session)
        self._by_tag[session.local_tag] = session
        if not session.outgoing:
            self._by_invite[_name(session.invite)] = session
        if session.flow is not None:
            self._flow(session.flow).sessions[session] = None
        self.touch(session)

    def join(self, server: Server, session: Session) -> None:
        """Find that a request belongs to a call."""
        server.session = session
        self._hold(server)

    def touch(self, item: Client | Server | Session) -> None:
        """Have `settle` look at an item, at its call, and at all that call's transactions."""
        self._touched[item] = None
        if not isinstance(item, Session) and item.session is not None:
            self._touched[item.session] = None

    def pop_due(self, now: float) -> list[Client | Server | Session]:
        """Everything due by now; touched."""
        due: list[Client | Server | Session] = self._deadlines.pop_due(now)
        for item in due:
            self.touch(item)
        return due

    def pop_flow(self, flow: int) -> list[Client | Server | Session]:
        """Everything open on a connection that is gone; touched."""
        held = self._flows.get(flow)
        if held is None:
            return []
        items: list[Client | Server | Session] = [*held.clients, *held.servers, *held.sessions]
        for item in items:
            self.touch(item)
        return items

    def move(self, old: int, new: int) -> list[Client]:
        """Everything of one connection goes on by another; returns our requests among it."""
        held = self._flows.pop(old, None)
        if held is None:
            return []
        to = self._flow(new)
        for client in held.clients:
            client.flow = new
        for server in held.servers:
            if self._servers.get(server.key) is server:  # not one that another way repeated
                del self._servers[server.key]
            server.key = (new, *server.key[1:])
            self._servers[server.key] = server
        for session in held.sessions:
            session.flow = new
        to.clients.update(held.clients)
        to.servers.update(held.servers)
        to.sessions.update(held.sessions)
        to.unanswered |= held.unanswered
        return list(held.clients)

    def settle(self) -> list[Session]:
        """Let go of what is over among the touched; returns the calls of which nothing is left."""
        touched, self._touched = self._touched, {}
        over = []
        for item in touched:
            if not isinstance(item, Session):
                self._review(item)
                continue
            held = self._held.get(item, ())
            for transaction in tuple(held):
                self._review(transaction)
            if item not in self._sessions:
                continue
            if item.idle and not any(_waits(h.transaction) for h in self._held.get(item, ())):
                self._forget_session(item)
                over.append(item)
            else:
                self._review_session(item)
        return over

    def _review(self, item: Client | Server) -> None:
        if item.transaction.state is State.TERMINATED:
            self._forget(item)
        else:
            self._deadlines.set(item, item.transaction.deadline)

    def _review_session(self, session: Session) -> None:
        self._deadlines.set(session, session.deadline)
        if session.idle:
            self._live.discard(session)
        if session.flow is None:
            return
        unanswered = self._flow(session.flow).unanswered
        if session.state is SessionState.ALERTING:
            unanswered.add(session)
        else:
            unanswered.discard(session)

    def _hold(self, item: Client | Server) -> None:
        if item.session is not None:
            self._held.setdefault(item.session, set()).add(item)
        self.touch(item)

    def _forget(self, item: Client | Server) -> None:
        if isinstance(item, Client):
            request = item.transaction.request
            _ = self._clients.pop((request.via.branch, request.method), None)
            _ = self._flow(item.flow).clients.pop(item, None)
        else:
            if self._servers.get(item.key) is item:
                del self._servers[item.key]
            _ = self._of.pop(item.transaction, None)
            _ = self._flow(item.flow).servers.pop(item, None)
        self._deadlines.set(item, None)
        if item.session is not None and item.session in self._held:
            held = self._held[item.session]
            held.discard(item)
            if not held:
                del self._held[item.session]
        self._tidy(item.flow)

    def _forget_session(self, session: Session) -> None:
        del self._sessions[session]
        self._live.discard(session)
        _ = self._by_tag.pop(session.local_tag, None)
        if not session.outgoing:
            _ = self._by_invite.pop(_name(session.invite), None)
        self._deadlines.set(session, None)
        if session.flow is not None:
            flow = self._flow(session.flow)
            _ = flow.sessions.pop(session, None)
            flow.unanswered.discard(session)
            self._tidy(session.flow)

    def _flow(self, number: int) -> _Flow:
        return self._flows.setdefault(number, _Flow())

    def _tidy(self, number: int) -> None:
        held = self._flows.get(number)
        if held is not None and held.empty:
            del self._flows[number]


def _name(invite: Request) -> tuple[str, str, int]:
    return invite.call_id, invite.from_.tag, invite.cseq.number


def _waits(held: ClientTransaction | ServerTransaction) -> bool:
    """Whether something is still to come; what only absorbs repetitions keeps nobody waiting."""
    if held.state in (State.CALLING, State.TRYING, State.PROCEEDING):
        return True
    invited = isinstance(held, ServerTransaction) and held.request.method == "INVITE"
    return invited and held.state is State.COMPLETED
