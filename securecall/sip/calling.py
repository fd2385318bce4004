"""The caller's half of a call's beginning: INVITE, early dialogs, CANCEL (RFC 3261 9.1, 13.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from securecall.calls.signaling import Answered, Ended, Ringing, TransferRequested
from securecall.errors import EndReason
from securecall.sip.body import read_description
from securecall.sip.descriptions import glare
from securecall.sip.dialog import Dialog, build_cancel, repeat_request, target_of
from securecall.sip.grammar import SipError
from securecall.sip.host import Host, SessionState, accept, ignore, read_answer
from securecall.sip.identity import of_the_telephone_network
from securecall.sip.limits import MOST_FORKS
from securecall.sip.message import Request, Response
from securecall.sip.outcome import reason_of
from securecall.sip.refer import whom
from securecall.sip.reliable import Receiver, build_prack, reliable_number
from securecall.sip.session_timer import NO_TIMER
from securecall.sip.transaction import NOBODY_ANSWERED, ClientTransaction, ServerTransaction

RINGING_SECONDS: Final = 180.0  # an outgoing call nobody answers ends


@dataclass(slots=True, eq=False)
class _Fork:
    """An early dialog.

    Attributes:
        over: 199 or BYE ended it.
    """

    dialog: Dialog
    receiver: Receiver = field(default_factory=Receiver)
    over: bool = False


class Calling:
    """What an outgoing call does until a dialog is confirmed.

    Attributes:
        client: Carries the INVITE.
        deadline: When `expire` is due, None for never.
    """

    def __init__(self, host: Host, *, now: float) -> None:
        """Begin; `invited` follows."""
        self.client: ClientTransaction | None = None
        self.deadline: float | None = now + RINGING_SECONDS
        self._host = host
        self._forks: dict[str, _Fork] = {}  # by the peer's tag
        self._acks: dict[str, Request] = {}  # of each 2xx, likewise
        self._cancel_sent = False
        self._asked_again = False

    def dialog_of(self, tag: str) -> Dialog | None:
        """The early dialog with a peer's tag."""
        fork = self._forks.get(tag)
        return None if fork is None or fork.over else fork.dialog

    def leave(self, tag: str) -> None:
        """One early dialog is over; the others, and the INVITE, go on."""
        fork = self._forks.get(tag)
        if fork is not None:
            fork.over = True

    def receive_early(self, server: ServerTransaction, *, now: float) -> None:
        """Take an INVITE or UPDATE within an early dialog; nothing is changed before the answer.

        Raises:
            SipError: it brings an offer.
        """
        request = server.request
        fork = self._forks.get(request.from_.tag)
        target = target_of(request)
        if request.method == "INVITE" or fork is None:
            raise glare()
        if read_description(request) is None:
            fork.dialog.target = target or fork.dialog.target
            accept(self._host, server, NO_TIMER, now=now)
        elif fork.receiver.answer is None:
            raise glare()  # ours waits for its answer (RFC 3311 5.2)
        else:
            raise SipError("a change before the call is connected", status=488)

    def restarted(self, client: ClientTransaction) -> None:
        """The INVITE was sent again by another transaction: what the first began is over."""
        self.client = client
        self._host.invite = client.request
        self._forks.clear()

    # -- giving up ----------------------------------------------------------------------------

    def cancel(self, *, now: float) -> None:
        """Give up; CANCEL leaves once there was a provisional response (9.1)."""
        self._host.state = SessionState.CANCELLING
        if self.client is None or self.client.deadline is None:
            self.deadline = now + NOBODY_ANSWERED
        else:
            self.deadline = self.client.deadline
        if self.client is not None and self.client.provisional:
            self._send_cancel(now=now)

    def _send_cancel(self, *, now: float) -> None:
        self._cancel_sent = True
        self.deadline = now + NOBODY_ANSWERED  # RFC 3261 9.1: wait no longer for the 487
        _ = self._host.ask(build_cancel(self._host.invite), ignore, now=now)

    def expire(self, *, now: float) -> None:
        """Perform what is due by now."""
        if self.deadline is None or now < self.deadline:
            return
        self.deadline = None
        if self._host.state is SessionState.INVITING:
            self._host.tell(Ended(EndReason.NO_ANSWER, 408))
            self.cancel(now=now)
        elif self._host.state is SessionState.CANCELLING:
            if self.client is not None:
                self.client.terminate()
            self._host.over()

    # -- responses ----------------------------------------------------------------------------

    def receive(self, client: ClientTransaction, response: Response | None, now: float) -> None:
        """Take a response to the INVITE, or None for nobody answered."""
        if response is None:
            self._host.failed(Ended(EndReason.UNREACHABLE, 408))
        elif response.status < 200:
            self._provisional(response, now=now)
        elif response.status < 300:
            self._success(response, now=now)
        else:
            self._failure(client, response, now=now)

    def _failure(self, client: ClientTransaction, response: Response, *, now: float) -> None:
        status = response.status
        if status == 422 and self._ask_again(client, response, now=now):
            return
        if 300 <= status < 400:
            for contact in response.contacts[:1]:
                led = whom(contact)
                self._host.tell(TransferRequested(led.text, led.address))
        self._host.failed(Ended(reason_of(status), status, response.reason[:80]))

    def _ask_again(self, client: ClientTransaction, response: Response, *, now: float) -> bool:
        """Send the INVITE with a longer session interval, once (RFC 4028 7.3)."""
        host = self._host
        if self._asked_again or host.state is not SessionState.INVITING:
            return False
        if not host.timer.raise_least(response):
            return False
        self._asked_again = True
        request = repeat_request(client.request, via=host.via(), fields=host.timer.first_fields())
        self.restarted(host.ask(request, self.receive, now=now))
        return True

    def _provisional(self, response: Response, *, now: float) -> None:
        if self._host.state is SessionState.CANCELLING:
            if self.client is not None and self.client.provisional and not self._cancel_sent:
                self._send_cancel(now=now)
            return
        if self._host.state is not SessionState.INVITING:
            return
        number = reliable_number(response)
        fork = self._fork(response)
        if fork is not None and fork.over:
            return
        if number is not None:
            if fork is None or not fork.receiver.take(number):
                return  # repeated, out of order, or of no dialog (RFC 3262 4)
            prack = build_prack(fork.dialog, response, number, via=self._host.via())
            # if nobody takes it, the INVITE fails as well, and that is what counts
            _ = self._host.ask(prack, ignore, now=now)
        self._early(fork, response, reliable=number is not None)

    def _fork(self, response: Response) -> _Fork | None:
        tag = response.to.tag
        if not tag or response.status == 100:
            return None
        fork = self._forks.get(tag)
        if fork is None:
            if len(self._forks) >= MOST_FORKS:
                raise SipError("too many early dialogs", rule="RFC 3261 12.1")
            fork = self._forks[tag] = _Fork(Dialog.of_caller(self._host.invite, response))
        return fork

    def _early(self, fork: _Fork | None, response: Response, *, reliable: bool) -> None:
        if response.status == 199:  # RFC 6228 4
            if fork is not None:
                fork.over = True
            return
        if response.status == 180:
            self._host.tell(Ringing())
        try:
            description = read_description(response)
        except SipError:
            return  # the answer that counts is still to come
        if description is None:
            return
        if fork is not None and reliable and fork.receiver.answer is None:
            fork.receiver.answer = description
        self._host.tell(Answered(description, final=False))

    def _success(self, response: Response, *, now: float) -> None:
        host = self._host
        tag = response.to.tag
        known = self._acks.get(tag)
        if known is not None:
            host.acknowledge(known)  # its ACK was lost (13.2.2.4)
            return
        if len(self._acks) >= MOST_FORKS:
            return
        try:
            dialog = self._confirmed(tag, response)
            hops = response.hops
        except SipError as e:
            if host.state is SessionState.INVITING:  # there is no way to acknowledge this one
                host.failed(Ended(EndReason.PROTOCOL, 0, str(e)))
            raise
        ack = dialog.request("ACK", via=host.via(), cseq=host.invite.cseq.number)
        self._acks[tag] = ack
        host.acknowledge(ack)
        if host.state is SessionState.INVITING:
            host.dialog = dialog
            host.hops = hops
            host.state = SessionState.CONFIRMED
            self.deadline = None
            host.learn(response)
            host.timer.accepted(response, now=now)
            self._answered(tag, response, now=now)
        elif host.state is SessionState.CANCELLING:
            # the answer crossed our CANCEL
            host.dialog = dialog
            self.deadline = None
            host.hang_up(now=now)
        else:
            # another fork answered, too: the first one wins
            bye = dialog.request("BYE", via=host.via())
            _ = host.ask(bye, ignore, now=now)

    def _confirmed(self, tag: str, response: Response) -> Dialog:
        """The dialog anew, as the 2xx makes it; only the counters go on (13.2.2.4)."""
        dialog = Dialog.of_caller(self._host.invite, response)
        fork = self._forks.get(tag)
        if fork is not None:
            dialog.count(fork.dialog.local_cseq)
            dialog.remote_cseq = fork.dialog.remote_cseq
        return dialog

    def _answered(self, tag: str, response: Response, *, now: float) -> None:
        fork = self._forks.get(tag)
        early = fork.receiver.answer if fork is not None else None
        description = read_answer(response, self._host, now=now, early=early)
        if description is not None:
            self._host.descriptions.theirs = description
            identity = tuple(response.headers.all("identity"))
            telephone = of_the_telephone_network(identity)
            self._host.tell(Answered(description, identity=identity, telephone=telephone))
