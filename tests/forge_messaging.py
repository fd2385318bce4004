"""What writes for one account, composed around doubles as a test wishes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

from securecall.address import Address
from securecall.chat.committer import Committer
from securecall.chat.ledger import Ledger
from securecall.dispatch import Dispatch
from securecall.messaging import Messaging
from securecall.readers import Readers


@dataclass
class OurRooms:
    """Rooms as a test says they are; without members nothing is one."""

    belong: tuple[Address, ...] | None = None  # to every room
    familiar: tuple[Address, ...] | None = None  # to our user; the same, if not said
    outside: set[Address] = field(default_factory=set)  # those that we are not in
    reasons: dict[Address, str] = field(default_factory=dict)  # of those that do not want us

    def members(self, _address):
        return self.belong

    def known(self, _address):
        return self.belong if self.familiar is None else self.familiar

    def is_outside(self, address):
        return address in self.outside

    def closed(self, address):
        return self.reasons.get(address, "")


def composed(
    own, session, history, omemo, devices, rooms=None, *, tell=lambda _: None, new=lambda _: None
):
    """The three of an account: `messaging`, `dispatch`, `readers`."""
    committer = None if history is None else Committer(history, undone=lambda: None)
    ledger = None if history is None else Ledger(history, own)
    rooms = rooms or OurRooms()
    readers = Readers(own, omemo, devices, rooms, first_used=lambda *_: None, new_device=new)
    dispatch = Dispatch(
        own, session, history, readers, rooms, committer=committer, ledger=ledger, tell=tell
    )
    messaging = Messaging(
        own,
        history,
        omemo,
        readers,
        dispatch,
        rooms,
        SimpleNamespace(),
        committer=committer,
        ledger=ledger,
        folder=None,
    )
    return SimpleNamespace(messaging=messaging, dispatch=dispatch, readers=readers)
