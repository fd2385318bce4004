"""One call over SIP, as the call model holds it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from securecall.address import Address
from securecall.calls.signaling import (
    Ended,
    IncomingLeg,
    Signal,
    SignalBuffer,
    SignalingPath,
    SignalSink,
)
from securecall.errors import EndReason
from securecall.logs import logger
from securecall.media.description import Description
from securecall.sip.connections import Connection
from securecall.sip.identity import of_the_telephone_network
from securecall.sip.naming import is_telephone
from securecall.sip.session import Session

if TYPE_CHECKING:
    from securecall.sip.signaling import SipSignaling

log = logger(__name__)


class SipLeg:
    """One call over SIP; satisfies `Leg` and `IncomingLeg`.

    Attributes:
        call_id: The Call-ID.
        outgoing: We began it.
        local: Our address as signalled.
        remote: The dialled address, or the From (a claim); ANONYMOUS where that is no address.
    """

    def __init__(
        self,
        signaling: SipSignaling,
        session: Session,
        connection: Connection,
        *,
        local: Address,
        remote: Address,
    ) -> None:
        """Made by `SipSignaling`."""
        self.call_id = session.invite.call_id
        self.outgoing = session.outgoing
        self.local = local
        self.remote = remote
        self._signaling = signaling
        self._session = session
        self._connection = connection
        self._buffer = SignalBuffer()
        self._closed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<SipLeg {'to' if self.outgoing else 'from'} {self._connection.remote}>"

    @property
    def offer(self) -> Description | None:
        """The first offer of an incoming call."""
        return self._session.offer

    @property
    def identity(self) -> tuple[str, ...]:
        """Values of Identity that came with it; unread."""
        return tuple(self._session.invite.headers.all("identity"))

    @property
    def telephone(self) -> bool:
        """Whether it came out of the telephone network, as From or Identity says."""
        caller = self._session.invite.from_.uri
        return is_telephone(caller) or of_the_telephone_network(self.identity)

    @property
    def replaced(self) -> SipLeg | None:
        """The call whose place an incoming one asks to take."""
        return self._signaling.leg_of(self._session.replaced)

    @property
    def replaces(self) -> str:
        """Names this call to its other end, for a third person."""
        return self._session.replaces

    @property
    def path(self) -> SignalingPath:
        """What is known so far of the way taken."""
        connection = self._connection
        return SignalingPath(
            protocol="SIP",
            transport=connection.transport,
            direct=connection.direct,
            verified_name=connection.verified_name,
            hops=self._session.hops,
            remote=connection.remote,
        )

    def listen(self, sink: SignalSink) -> None:
        """Deliver signals to `sink` from now on; those that came before are delivered first."""
        self._buffer.listen(sink)

    def send(self, signal: Signal) -> None:
        """Queue a signal for the peer."""
        self._signaling.perform(self._session, signal)

    async def closed(self) -> None:
        """Return when nothing is left to send or to wait for."""
        _ = await self._closed.wait()

    def uses(self, flow: int) -> bool:
        """Whether the call lives on the connection of that number."""
        return self._session.flow == flow and not self._session.idle

    def deliver(self, signal: Signal) -> None:
        """Called by the adapter."""
        try:
            self._buffer.deliver(signal)
        except Exception:  # a call that fails must not take its connection along
            log.exception("the listener of %r failed", self)

    def finish(self) -> None:
        """Called by the adapter."""
        self._closed.set()


def ring(leg: IncomingLeg, sink: Callable[[IncomingLeg], None] | None) -> None:
    """Have somebody handle a call that came in; without anybody, or where they fail, it ends."""
    if sink is None:
        leg.send(Ended(EndReason.UNREACHABLE))
        return
    try:
        sink(leg)
    except Exception:  # one call's handler must not end the others
        log.exception("handling a call failed")
        leg.send(Ended(EndReason.LOCAL))
