"""Calls that ring here: who may ring, and the order in which they are taken."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol
from weakref import WeakSet

from securecall.account import Account
from securecall.address import ANONYMOUS
from securecall.announcing import Announcer
from securecall.calling import Calling
from securecall.calls.call import Call
from securecall.calls.incoming import IncomingCall
from securecall.calls.machine import State
from securecall.calls.signaling import Ended, IncomingLeg
from securecall.contacts import Contacts
from securecall.errors import EndReason
from securecall.policy import Policy

MOST_RINGING: Final = 5  # calls of strangers at one time, and as many of people we know


class Wishes(Protocol):
    """What our user wishes at this moment; the client."""

    policy: Policy
    do_not_disturb: bool


class Ringing:
    """Lets calls ring, or tells them that we are busy, until somebody takes them."""

    def __init__(self, wishes: Wishes) -> None:
        """Begin with none."""
        self._wishes = wishes
        self._waiting: asyncio.Queue[IncomingCall] = asyncio.Queue()
        self._known_callers: WeakSet[Call] = WeakSet()

    async def next_call(self) -> IncomingCall:
        """Wait for the next call that is still ringing."""
        while True:
            ring = await self._waiting.get()
            if not ring.over:
                return ring

    def take(
        self,
        leg: IncomingLeg,
        account: Account,
        *,
        contacts: Contacts,
        calling: Calling,
        announcer: Announcer,
    ) -> None:
        """A call came in under this account of ours: let it ring, or refuse it."""
        known = leg.remote != ANONYMOUS and contacts.is_pinned(leg.remote)
        replaced = leg.replaced
        replaces = next((c for c in announcer.calls if replaced and c.goes_by(replaced)), None)
        why = self._why_busy(announcer.calls, known=known, replaces=replaces)
        if why:
            leg.send(Ended(EndReason.BUSY))
            announcer.missed(leg, why, known=known)
            return
        context = calling.answering(leg, account, self._wishes.policy, known=known)
        waiting = bool(announcer.calls)
        call = Call(context, Call.begin_incoming, outgoing=False)
        announcer.calls.add(call)
        if known:
            self._known_callers.add(call)
        call.attach(leg)
        if call.state is State.ALERTING:
            self._queue(
                IncomingCall(
                    call,
                    leg.remote,
                    context.floor.minimum,
                    known=known,
                    called=account.address,
                    waiting=waiting,
                    replaces=replaces,
                )
            )

    def _why_busy(self, calls: set[Call], *, known: bool, replaces: Call | None) -> str:
        """Why nobody may ring now, "" if somebody may; strangers use up nobody else's room."""
        policy = self._wishes.policy
        alike = (call for call in calls if (call in self._known_callers) is known)
        ringing = sum(1 for call in alike if call.state is State.ALERTING)
        if self._wishes.do_not_disturb:
            return "do not disturb"
        if len(calls) >= policy.max_calls or ringing >= MOST_RINGING:
            return "too many calls at once"
        if calls - {replaces} and not policy.call_waiting:
            return "in another call"
        return ""

    def _queue(self, ring: IncomingCall) -> None:
        """Keep a call for `next_call`, but none that gave up: nobody may be looking for hours."""
        waiting = [self._waiting.get_nowait() for _ in range(self._waiting.qsize())]
        for each in (*(before for before in waiting if not before.over), ring):
            self._waiting.put_nowait(each)
