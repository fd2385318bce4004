"""One call of PJSIP's, as the call model holds it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from securecall.address import ANONYMOUS, Address
from securecall.calls.carried import sound
from securecall.calls.signaling import (
    Answered,
    Ended,
    Leg,
    Offered,
    Refused,
    Ringing,
    Signal,
    SignalBuffer,
    SignalingPath,
    SignalSink,
    TransferProgress,
    TransferRequested,
)
from securecall.errors import CallFailed, EndReason, ProtocolError
from securecall.logs import logger
from securecall.media.description import Description, Direction, mirrored
from securecall.pjsua import told
from securecall.pjsua.rings import Rings
from securecall.pjsua.sound import PjsuaSound
from securecall.sip.grammar import parse_name_addr
from securecall.sip.identity import of_the_telephone_network
from securecall.sip.message import Request, Response, parse_message
from securecall.sip.naming import claimed_address, is_telephone, uri_of
from securecall.sip.outcome import REFUSALS, reason_of
from securecall.sip.refer import Replaces, build_refer_to, whom
from securecall.sip.transfers import MOST_ASKED, outcome_of, step_of

if TYPE_CHECKING:  # pjsua2 is an extra
    from securecall.pjsua.endpoint import PjsuaEndpoint
    from securecall.pjsua.signaling import PjsuaSignaling

log = logger(__name__)

CLOSE_SECONDS: Final = 4.0
"""How long a call that was hung up may take to be over at the other end as well."""

_CHALLENGES: Final = (401, 407)


class PjsuaLeg:
    """One call of PJSIP's; satisfies `IncomingLeg` and `CarryingLeg`.

    Attributes:
        call_id, outgoing, local, remote, identity, telephone: As of every leg.
        carrier: The sound.
    """

    identity: tuple[str, ...] = ()
    replaced: Leg | None = None  # PJSIP refuses whoever asks for the place of another

    def __init__(
        self,
        signaling: PjsuaSignaling,
        number: int,
        rings: Rings,
        name: str = "",
        *,
        local: Address,
        remote: Address = ANONYMOUS,
        invite: Request | None = None,
    ) -> None:
        """Made by `PjsuaSignaling`, of somebody's `invite` or to call `remote`."""
        self.call_id = name
        self.outgoing = invite is None
        self.local, self.remote = local, remote
        self._hops: tuple[str, ...] = ()
        self.telephone = False
        if invite is not None:
            self.remote, self._hops = claimed_address(invite.from_), invite.hops
            vouched = tuple(invite.headers.all("identity"))
            self.telephone = is_telephone(invite.from_.uri) or of_the_telephone_network(vouched)
        self._signaling = signaling
        self._number = number
        self.carrier = PjsuaSound(number, rings, self._order)
        self._buffer = SignalBuffer()
        self._keys: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._keys.add_done_callback(_seen)
        self._over = asyncio.Event()
        self._taken = False
        self._names = ""
        self._wishes = 0
        self._asked: Direction | None = None  # a change of ours that waits
        self._challenged = False
        self._direction = Direction.SENDRECV
        self._on_digit: Callable[[str], None] | None = None

    def __repr__(self) -> str:
        return f"<PjsuaLeg {'to' if self.outgoing else 'from'} {self.remote.short}>"

    # -- Leg --------------------------------------------------------------------------------------

    @property
    def path(self) -> SignalingPath:
        """What is known so far of the way taken."""
        connection = self._signaling.connection
        return SignalingPath(
            protocol="SIP",
            transport=connection.cipher,
            direct=False,
            verified_name=self._signaling.server_name,
            hops=self._hops,
            remote=connection.remote,
        )

    @property
    def offer(self) -> Description | None:
        """That there is sound: what of it is PJSIP's affair."""
        return sound()

    @property
    def replaces(self) -> str:
        """Names this call to its other end, "" while there is none (RFC 3891 3)."""
        return "" if self._over.is_set() else self._names

    def listen(self, sink: SignalSink) -> None:
        """Deliver signals to `sink` from now on; those that came before are delivered first."""
        self._buffer.listen(sink)

    def send(self, signal: Signal) -> None:
        """Queue a signal for the peer."""
        number = self._number
        match signal:
            case Ringing():
                self._order(lambda it: it.answer(number, 180))
            case Answered() if not self._taken and not self.outgoing:
                self._taken = True
                self._order(lambda it: it.answer(number, 200))
            case Offered(description=description) if (audio := description.audio) is not None:
                self._asked, self._challenged = audio.direction, False
                hold = audio.direction is not Direction.SENDRECV
                self._order(lambda it: it.change(number, hold=hold))
            case TransferRequested(address=Address() as address, replaces=replaces):
                uri = build_refer_to(uri_of(address, self._signaling.server_name), replaces)
                self._order(lambda it: it.transfer(number, uri))
            case Ended(reason=reason):
                refusal = REFUSALS[reason] if not (self.outgoing or self._taken) else 0
                self._order(lambda it: it.hang_up(number, refusal))
            case _:
                log.debug("%r has no way to say %r", self, signal)

    async def closed(self) -> None:
        """Return when the call is over at both ends, or the other does not say so in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                _ = await self._over.wait()

    async def keyed(self) -> str:
        """Wait until PJSIP has keys, and return the SRTP profile.

        Raises:
            SecurityError: the sound is not protected.
        """
        return await asyncio.shield(self._keys)

    def hear_digits(self, sink: Callable[[str], None]) -> None:
        """Tell each digit that the peer presses."""
        self._on_digit = sink

    # -- from the thread --------------------------------------------------------------------------

    def receive(self, event: told.Told) -> None:
        """Take what PJSIP tells of this call; the adapter calls this."""
        try:
            self._take(event)
        except Exception:  # a call that fails must not take the account along
            log.exception("%r failed", self)

    def _take(self, event: told.Told) -> None:
        match event:
            case told.Alerting():
                self._buffer.deliver(Ringing())
            case told.Taken() if self.outgoing and not self._taken:
                self._taken = True
                self._buffer.deliver(Answered(sound()))
            case told.Replied(status=status, message=message):
                self._replied(status, message)
            case told.Accepted(message=message):
                self._named(_response(message))
            case told.Transferred(target=target) if self._wishes < MOST_ASKED:
                self._wishes += 1
                self._buffer.deliver(_wish(target))
            case told.SentOn(status=status, final=final):
                self._sent_on(status, final=final)
            case told.Ended():
                self._ended(event)
            case _:
                self._take_of_sound(event)

    def _sent_on(self, status: int, *, final: bool) -> None:
        """Tell what comes of a transfer of ours; one that ends without an answer has failed."""
        over = final or status >= 300
        progress = outcome_of(status) if over else TransferProgress(step_of(status), status=status)
        self._buffer.deliver(progress)

    def _take_of_sound(self, event: told.Told) -> None:
        match event:
            case told.Sounding():
                self._sounding(event)
            case told.Measured():
                self.carrier.measured(event)
            case told.Pressed(digit=digit) if self._on_digit is not None:
                self._on_digit(digit)
            case told.Unprotected(error=error) if not self._keys.done():
                self._keys.set_exception(error)
            case told.Unprotected():
                self._order(lambda it: it.hang_up(self._number, 0))
                self._buffer.deliver(Ended(EndReason.SECURITY))
            case _:
                pass

    def _sounding(self, event: told.Sounding) -> None:
        if not self._keys.done():
            self._keys.set_result(event.profile)
        changed, self._direction = event.direction is not self._direction, event.direction
        if changed and self._asked is None:
            self._buffer.deliver(Offered(sound(mirrored(event.direction))))

    def _named(self, answer: Response | None) -> None:
        """Take the answer that began the call: what passed it on, and how both ends know it."""
        if answer is None:
            return
        theirs, ours = answer.to.tag, answer.from_.tag
        if not self.outgoing:
            theirs, ours = ours, theirs
        self._names = str(Replaces(answer.call_id, theirs, ours))

    def _replied(self, status: int, message: str) -> None:
        answer = _response(message)
        if answer is not None and not self._hops:
            self._hops = answer.hops
        if 200 <= status < 300:
            self._named(answer)
        if self._asked is None:
            return
        if status in _CHALLENGES and not self._challenged:
            self._challenged = True  # PJSIP asks again, with the password
            return
        self._asked = None
        answered = 200 <= status < 300
        self._buffer.deliver(Answered(sound()) if answered else Refused(status))

    def _ended(self, event: told.Ended) -> None:
        self._over.set()
        if not self._keys.done():
            self._keys.set_exception(CallFailed("the call is over"))
        answered = event.status < 300
        reason = EndReason.HUNG_UP if answered else reason_of(event.status)
        if answered and not self._taken:
            reason = EndReason.CANCELLED
        self._buffer.deliver(Ended(reason, event.status, event.reason))

    def _order(self, work: Callable[[PjsuaEndpoint], None]) -> None:
        _ = self._signaling.order(work)


def _seen(keys: asyncio.Future[str]) -> None:
    """Whoever waited for keys was told; nobody may have."""
    if not keys.cancelled():
        _ = keys.exception()


def _response(message: str) -> Response | None:
    """Read an answer, None where our grammar takes it for none: PJSIP is laxer."""
    try:
        found = parse_message(message.encode("utf-8", "surrogateescape"))
    except ProtocolError:
        return None
    return found if isinstance(found, Response) else None


def _wish(target: str) -> TransferRequested:
    """Read whom the peer would have us call, as with our own engine; nobody waits to be told."""
    try:
        text, address, replaces = whom(parse_name_addr(target, "Refer-To"))
    except ProtocolError:
        return TransferRequested(target[:256])
    return TransferRequested(text, address, replaces=replaces)
