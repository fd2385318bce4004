"""A dialog: two tags, a route set, two counters and a target (RFC 3261 12)."""

from __future__ import annotations

from dataclasses import dataclass

from securecall.sip.grammar import Fields, SipError, parse_uri
from securecall.sip.headers import Headers
from securecall.sip.message import Message, Request, Response

_LARGEST_CSEQ = 2**31 - 1


@dataclass(slots=True, kw_only=True)
class Dialog:
    """One peer's half of a call, as both ends count it.

    Attributes:
        call_id: The same in every message of the call.
        local: Our From or To value, with our tag.
        remote: The peer's, with its tag.
        local_tag: Ours.
        remote_tag: The peer's, "" from an RFC 2543 peer.
        local_cseq: Of our last request.
        remote_cseq: Of the peer's last request, -1 before the first.
        target: Where our requests are to arrive: the peer's last Contact.
        routes: Route values, in the order they are to be visited.
    """

    call_id: str
    local: str
    remote: str
    local_tag: str
    remote_tag: str
    local_cseq: int
    remote_cseq: int
    target: str
    routes: tuple[str, ...]

    @classmethod
    def of_caller(cls, request: Request, response: Response) -> Dialog:
        """Made by a response with a To tag to our INVITE (12.1.2).

        Raises:
            SipError: a 2xx names no usable Contact.
        """
        return cls(
            call_id=request.call_id,
            local=request.need("from"),
            remote=response.need("to"),
            local_tag=request.from_.tag,
            remote_tag=response.to.tag,
            local_cseq=request.cseq.number,
            remote_cseq=-1,
            target=target_of(response) or request.target,
            routes=tuple(_route(a.uri.text) for a in reversed(response.addresses("record-route"))),
        )

    @classmethod
    def of_callee(cls, request: Request, *, tag: str) -> Dialog:
        """Made by our answer to an INVITE (12.1.1).

        Raises:
            SipError: the INVITE names no usable Contact.
        """
        target = target_of(request)
        if target is None:
            raise SipError("Contact is missing", rule="RFC 3261 8.1.1.8")
        return cls(
            call_id=request.call_id,
            local=f"{request.need('to')};tag={tag}",
            remote=request.need("from"),
            local_tag=tag,
            remote_tag=request.from_.tag,
            local_cseq=0,
            remote_cseq=request.cseq.number,
            target=target,
            routes=tuple(_route(a.uri.text) for a in request.addresses("record-route")),
        )

    def request(
        self, method: str, *, via: str, cseq: int | None = None, more: Headers | None = None
    ) -> Request:
        """Write a request within the dialog (12.2.1.1).

        Args:
            method: ACK takes the INVITE's number by `cseq`; all others count on.
            via: Our Via, with a fresh branch.
            cseq: A number to use instead of the next.
            more: Further fields.
        """
        if cseq is None:
            cseq = self.next_number()
        target, routes = self.target, self.routes
        if routes and parse_uri(routes[0][1:-1]).param("lr") is None:
            # a strict router takes the Request-URI for itself
            target, routes = routes[0][1:-1], (*routes[1:], f"<{target}>")
        headers = Headers((("Via", via), ("Max-Forwards", "70")))
        for route in routes:
            headers.add("Route", route)
        headers.add("From", self.local)
        headers.add("To", self.remote)
        headers.add("Call-ID", self.call_id)
        headers.add("CSeq", f"{cseq} {method}")
        for name, value in more.items() if more is not None else ():
            headers.add(name, value)
        return Request(method, target, headers)

    def next_number(self) -> int:
        """The number of our next request; counts."""
        self.local_cseq = self.local_cseq % _LARGEST_CSEQ + 1
        return self.local_cseq

    def require_order(self, request: Request) -> None:
        """Refuse a request older than one we have seen, and count it otherwise (12.2.2).

        Raises:
            SipError: it is out of order; answered with 500.
        """
        if request.method == "ACK":
            return
        if request.cseq.number <= self.remote_cseq:
            raise SipError("CSeq goes backwards", rule="RFC 3261 12.2.2", status=500)
        self.remote_cseq = request.cseq.number

    def refresh(self, message: Message) -> None:
        """Take the Contact of a re-INVITE or UPDATE that got its 2xx, or of that 2xx (12.2).

        Raises:
            SipError: there are several Contacts, or it is none of SIP.
        """
        self.target = target_of(message) or self.target

    def count(self, number: int) -> None:
        """Know that a request of ours with this number left by another way."""
        self.local_cseq = max(self.local_cseq, number)


@dataclass(slots=True, kw_only=True)
class CallName:
    """What requests that belong together share, outside of calls (RFC 3261 10.2).

    Attributes:
        tag: Of From.
        call_id: The Call-ID.
        cseq: The number of the last request.
    """

    tag: str
    call_id: str
    cseq: int

    def next_cseq(self) -> int:
        """Count on."""
        self.cseq += 1
        return self.cseq


def build_cancel(invite: Request) -> Request:
    """Write the CANCEL of an INVITE of ours: same Via, same route, same number (RFC 3261 9.1)."""
    headers = Headers((("Via", invite.headers.all("via")[0]), ("Max-Forwards", "70")))
    for route in invite.headers.all("route"):
        headers.add("Route", route)
    for name in ("from", "to", "call-id"):
        headers.add(name, invite.need(name))
    headers.add("CSeq", f"{invite.cseq.number} CANCEL")
    return Request("CANCEL", invite.target, headers)


def repeat_request(request: Request, *, via: str, number: int = 0, fields: Fields = ()) -> Request:
    """Write a request of ours once more (8.1.3.5).

    Args:
        request: As it was sent.
        via: Our Via, with a fresh branch.
        number: Of a request within a dialog, its next; else one more than before.
        fields: To replace or add.
    """
    number = number or request.cseq.number % _LARGEST_CSEQ + 1
    headers = request.headers.copy()
    headers.replace("Via", via)
    headers.replace("CSeq", f"{number} {request.method}")
    for name, value in fields:
        headers.replace(name, value)
    return Request(request.method, request.target, headers, request.body)


def target_of(message: Message) -> str | None:
    """Where a message's sender wants to be reached, None if it does not say.

    Raises:
        SipError: there are several Contacts, or it is none of SIP.
    """
    contacts = message.contacts
    if not contacts:
        return None
    if len(contacts) > 1 or contacts[0].uri.scheme not in ("sip", "sips"):
        raise SipError("one sip Contact is needed", rule="RFC 3261 8.1.1.8")
    return contacts[0].uri.text


def _route(uri: str) -> str:
    return f"<{uri}>"
