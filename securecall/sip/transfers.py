"""Transfers of one call: REFER both ways, and the NOTIFYs that tell what came of it (RFC 3515).

Nothing here places a call, or changes one: what the peer asks for is told to the call model, which
answers for a person. One question of the peer's is open at a time, and few are asked at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from securecall.calls.signaling import TransferProgress, TransferRequested, TransferStep
from securecall.errors import EndReason
from securecall.sip.capabilities import ALLOW, SUPPORTED
from securecall.sip.grammar import SipError, parse_number, parse_value
from securecall.sip.headers import Headers
from securecall.sip.host import Host, SessionState, ignore
from securecall.sip.message import Response
from securecall.sip.outcome import REFUSALS, reason_of
from securecall.sip.refer import (
    build_fragment,
    build_refer_to,
    notify_fields,
    read_fragment,
    read_refer_to,
)
from securecall.sip.transaction import ClientTransaction, ServerTransaction

TRANSFER_SECONDS: Final = 200  # one that nobody decides, or tells the end of
MOST_ASKED: Final = 16  # transfers that one call is asked for; further ones are refused unheard
_LARGEST: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class _Theirs:
    """A REFER of the peer's.

    Attributes:
        server: Carries it.
        number: Its CSeq, which names it.
        told: The peer wishes to hear what comes of it (RFC 4488).
        until: When nobody waits any more.
        accepted: It was answered with 2xx.
    """

    server: ServerTransaction
    number: int
    told: bool
    until: float
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class _Ours:
    """A REFER of ours: the CSeq it was first sent with, and when we stop waiting."""

    number: int
    until: float


class Transfers:
    """The transfers of one call."""

    def __init__(self, host: Host) -> None:
        """Begin with none."""
        self._host = host
        self._ours: _Ours | None = None
        self._theirs: _Theirs | None = None
        self._asked = 0

    @property
    def pending(self) -> ServerTransaction | None:
        """The REFER of the peer's that waits for the call model."""
        return self._theirs.server if self._theirs is not None else None

    @property
    def deadline(self) -> float | None:
        """When `expire` is due, None for never."""
        if self._host.state is not SessionState.CONFIRMED:
            return None
        return min((t.until for t in (self._ours, self._theirs) if t is not None), default=None)

    # -- the peer's -----------------------------------------------------------------------------

    def receive_refer(self, server: ServerTransaction, *, now: float) -> None:
        """Take a REFER: tell the call model, which accepts or refuses to think about it.

        Raises:
            SipError: it is refused unheard.
        """
        if self._host.state is not SessionState.CONFIRMED or self._asked >= MOST_ASKED:
            raise SipError("no transfer is followed now", status=603)
        if self._theirs is not None:
            raise SipError("one transfer at a time", status=491)
        asked = read_refer_to(server.request)
        self._asked += 1
        if asked.address is None:
            self._host.tell(TransferRequested(asked.text))
            raise SipError("only people's addresses can be called", status=603)
        told = (server.request.headers.first("refer-sub") or "true").strip().lower() != "false"
        number = server.request.cseq.number
        self._theirs = _Theirs(server, number, told, now + TRANSFER_SECONDS)
        self._host.tell(
            TransferRequested(asked.text, asked.address, replaces=asked.replaces, number=number)
        )

    def progress(self, progress: TransferProgress, *, now: float) -> None:
        """The call model tells what comes of what the peer asked for; of anything else nothing."""
        theirs = self._theirs
        if theirs is None or progress.number != theirs.number:
            return
        status = _status_of(progress)
        if not theirs.accepted:
            if status >= 300:
                self._theirs = None
                self._host.respond(theirs.server, status, now=now)
                return
            fields = () if theirs.told else (("Refer-Sub", "false"),)
            contact = (("Contact", self._host.contact),)
            self._host.respond(theirs.server, 200, now=now, fields=(*contact, *fields))
        over = status >= 200
        self._theirs = None if over else replace(theirs, accepted=True)
        if theirs.told:
            seconds = 0 if over else max(1, int(theirs.until - now))
            self._notify(theirs.number, status, seconds=seconds, now=now)

    def _notify(self, number: int, status: int, *, seconds: int, now: float) -> None:
        host = self._host
        if host.dialog is None or host.state is not SessionState.CONFIRMED:
            return
        more = notify_fields(number, seconds=seconds)
        more.add("Contact", host.contact)
        request = host.dialog.request("NOTIFY", via=host.via(), more=more)
        request.body = build_fragment(status)
        _ = host.ask(request, ignore, now=now)

    # -- ours -----------------------------------------------------------------------------------

    def ask(self, wish: TransferRequested, *, now: float) -> None:
        """Ask the peer to call somebody else."""
        host = self._host
        if host.dialog is None or wish.address is None:
            return
        fields = (
            ("Refer-To", build_refer_to(str(wish.address), wish.replaces)),
            ("Contact", host.contact),
            ("Allow", ALLOW),
            ("Supported", SUPPORTED),
        )
        request = host.dialog.request("REFER", via=host.via(), more=Headers(fields))
        self._ours = ours = _Ours(request.cseq.number, now + TRANSFER_SECONDS)
        _ = host.ask(request, partial(self._refer_response, ours), now=now)

    def _refer_response(
        self, ours: _Ours, _client: ClientTransaction, response: Response | None, _now: float
    ) -> None:
        if ours is not self._ours or (response is not None and response.status < 300):
            return  # accepted: what comes of it comes by NOTIFY
        status = 408 if response is None else response.status
        self._over(status)

    def receive_notify(self, server: ServerTransaction, *, now: float) -> None:
        """Take what the peer says came of our REFER.

        Raises:
            SipError: it is of something else, or malformed.
        """
        request, host = server.request, self._host
        event, params = parse_value(request.headers.first("event") or "", "Event")
        if event != "refer":
            raise SipError("no such event is subscribed to", status=489)
        if self._ours is None or host.dialog is None:
            raise SipError("no transfer of ours is under way", status=481)
        if "id" in params:  # one that was sent anew, with credentials, has a later number
            number = parse_number(params["id"], "id", most=_LARGEST)
            if not self._ours.number <= number <= host.dialog.local_cseq:
                raise SipError("no such transfer is under way", status=481)
        state, _ = parse_value(
            request.headers.first("subscription-state") or "", "Subscription-State"
        )
        status = read_fragment(request)
        host.respond(server, 200, now=now)
        if status >= 200:
            self._over(status)
        elif state == "terminated":
            self._over(0)  # it does not say what came of it
        else:
            host.tell(TransferProgress(step_of(status)))

    def _over(self, status: int) -> None:
        self._ours = None
        self._host.tell(outcome_of(status))

    def expire(self, *, now: float) -> None:
        """Perform what is due by now."""
        if self._host.state is not SessionState.CONFIRMED:
            return
        if self._ours is not None and now >= self._ours.until:
            self._over(408)
        if self._theirs is not None and now >= self._theirs.until:
            number = self._theirs.number
            late = TransferProgress(TransferStep.FAILED, EndReason.NO_ANSWER, number=number)
            self.progress(late, now=now)


def step_of(status: int) -> TransferStep:
    """How far a call came that was not answered yet."""
    return TransferStep.RINGING if status == 180 else TransferStep.TRYING


def outcome_of(status: int) -> TransferProgress:
    """What came of a call, by the last that was told of it; 0 for nothing."""
    if 200 <= status < 300:
        return TransferProgress(TransferStep.ANSWERED, status=status)
    reason = reason_of(status) if status >= 300 else EndReason.NO_ANSWER
    return TransferProgress(TransferStep.FAILED, reason, status=status)


def _status_of(progress: TransferProgress) -> int:
    match progress.step:
        case TransferStep.TRYING:
            return 100
        case TransferStep.RINGING:
            return 180
        case TransferStep.ANSWERED:
            return 200
        case TransferStep.FAILED:
            return REFUSALS[progress.reason or EndReason.DECLINED]
