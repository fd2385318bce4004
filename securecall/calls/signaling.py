"""The seam: what a call tells a signalling protocol, and what it is told.

A protocol adapter (SIP over TLS, later XMPP Jingle) satisfies `Signaling` structurally. Signals
are delivered by plain callbacks, in order, on the event loop's thread; no adapter calls back from
inside `Leg.send`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from securecall.address import Address
from securecall.errors import EndReason
from securecall.media.description import Description, LocalIce


@dataclass(frozen=True, slots=True)
class Ringing:
    """The callee's device is alerting a person."""


@dataclass(frozen=True, slots=True)
class Offered:
    """An offer: the first one, or a change in mid-call.

    Attributes:
        answers: It came as the answer to a repetition of ours, and cannot be refused.
    """

    description: Description
    answers: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to the last offer.

    Attributes:
        final: False for an answer in a provisional response (an early dialog), which never
            starts DTLS.
        identity: Values of Identity that go, or came, with it; unread.
        telephone: It came out of the telephone network, as signalling says.
    """

    description: Description
    final: bool = True
    identity: tuple[str, ...] = field(default=(), repr=False)
    telephone: bool = False


@dataclass(frozen=True, slots=True)
class Trickled:
    """Candidates that were found after the description that names their generation (RFC 8840).

    Attributes:
        mid: Of the m-line that all others are bundled with.
        ice: The generation, and all candidates of it there are so far: those that were told before
            come first, in their order.
    """

    mid: str
    ice: LocalIce


@dataclass(frozen=True, slots=True)
class Refused:
    """The last mid-call offer was refused by the peer, or is refused by us; the call goes on."""

    status: int = 488


@dataclass(frozen=True, slots=True)
class Deferred:
    """Our last mid-call offer met one of the peer's, and is made again by itself a little later.

    Until then an offer of the peer's is judged as if there were none of ours; what we offer anew
    takes the place of what waits, and `Refused` takes it back.
    """


@dataclass(frozen=True, slots=True)
class TransferRequested:
    """One end, or something in between, asks the other to call someone else.

    Nobody ever does so by itself.

    Attributes:
        target: As it was asked for; from the peer, so untrusted.
        address: Whom to call, None where the target is nobody's address.
        replaces: Names the call whose place the new one is to take, "" for none; opaque.
        number: Names the request, in what is told about it; 0 where nobody waits to be told.
    """

    target: str
    address: Address | None = None
    replaces: str = field(default="", repr=False)
    number: int = 0


class TransferStep(enum.Enum):
    """How far the call came that somebody was asked to place."""

    TRYING = "trying"
    RINGING = "ringing"
    ANSWERED = "answered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """What comes of a request for a transfer; a claim of whoever was asked.

    Attributes:
        step: How far it came; nothing follows ANSWERED and FAILED.
        reason: Why it failed.
        number: Of the peer's request; 0 for ours.
        status: The protocol's own number, 0 where there is none.
    """

    step: TransferStep
    reason: EndReason | None = None
    number: int = 0
    status: int = 0


@dataclass(frozen=True, slots=True)
class DigitPressed:
    """A key of the telephone, by signalling: every server on the way can read and make it.

    Attributes:
        digit: Of 0 to 9, * and #, A to D.
        milliseconds: How long it is held.
    """

    digit: str
    milliseconds: int = 160


@dataclass(frozen=True, slots=True)
class DigitAnswered:
    """The peer took a digit by signalling, or takes none that way."""

    taken: bool


@dataclass(frozen=True, slots=True)
class DigitsWelcome:
    """We take digits by signalling from now on; never said of a call that has proof of identity."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The call is over, or is to end.

    Attributes:
        reason: Ours, typed.
        status: The protocol's own number (a SIP status), 0 where there is none.
        text: For people; from the peer, so untrusted.
    """

    reason: EndReason
    status: int = 0
    text: str = ""


Signal = (
    Ringing
    | Offered
    | Answered
    | Deferred
    | Trickled
    | Refused
    | TransferRequested
    | TransferProgress
    | DigitPressed
    | DigitAnswered
    | DigitsWelcome
    | Ended
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalingPath:
    """What is known of the way the signalling took; facts for the listener report.

    Attributes:
        protocol: "SIP".
        transport: e.g. "TLSv1.3 TLS_AES_256_GCM_SHA384".
        direct: A connection straight to the peer with no server in between (ticket or direct
            account): its certificate proves nothing, identity evidence is mandatory.
        verified_name: The name the next hop's certificate was verified for, "" if direct.
        hops: Hosts named by Via and Record-Route besides the next hop; claims, not proofs.
        remote: "ip:port" of the next hop.
    """

    protocol: str
    transport: str
    direct: bool
    verified_name: str = ""
    hops: tuple[str, ...] = ()
    remote: str = ""


SignalSink = Callable[[Signal], None]


class Leg(Protocol):
    """One call in one protocol: an INVITE dialog, a Jingle session.

    Attributes:
        call_id: Stable name of this call on the wire; safe to log.
        outgoing: We began it.
        local: Our address as signalled (ANONYMOUS where we have none).
        remote: The dialled address (outgoing), or the From (incoming; a claim).
    """

    call_id: str
    outgoing: bool
    local: Address
    remote: Address

    @property
    def path(self) -> SignalingPath:
        """What is known so far of the way taken."""
        ...

    @property
    def replaces(self) -> str:
        """Names this call to its other end, for a third person who is to take our place in it."""
        ...

    def listen(self, sink: SignalSink) -> None:
        """Deliver signals to `sink` from now on; those that came before are delivered first."""
        ...

    def send(self, signal: Signal) -> None:
        """Queue a signal for the peer. After `Ended` was sent or received, sends nothing.

        Of a call that came in: `Ringing`, then `Answered` accepts, or `Ended` refuses (its reason
        picks the status).
        """
        ...

    async def closed(self) -> None:
        """Return when the last transaction of this leg is over and nothing is left to send."""
        ...


class IncomingLeg(Leg, Protocol):
    """A leg the peer began."""

    @property
    def offer(self) -> Description | None:
        """The first offer, None for an offerless invitation."""
        ...

    @property
    def identity(self) -> tuple[str, ...]:
        """Values of Identity that came with it; unread."""
        ...

    @property
    def telephone(self) -> bool:
        """Whether it came out of the telephone network, as signalling says."""
        ...

    @property
    def replaced(self) -> Leg | None:
        """The call whose place it asks to take; nothing is done about that."""
        ...


@dataclass(frozen=True, slots=True)
class Route:
    """Where to dial.

    Attributes:
        target: The address to ask for.
        direct: (host, port) to connect straight to, from a ticket or an explicit direct account;
            None goes through the account's verified server.
        identity: Value of Identity for the offer, "" for none.
        replaces: Names the call whose place this one is to take at its other end, "" for none.
    """

    target: Address
    direct: tuple[str, int] | None = None
    identity: str = field(default="", repr=False)
    replaces: str = field(default="", repr=False)


class Signaling(Protocol):
    """One account on one protocol."""

    async def dial(self, route: Route, offer: Description) -> Leg:
        """Begin a call.

        Raises:
            ConnectFailed: the next hop cannot be reached.
            CertificateError: the next hop could not prove its name.
        """
        ...

    def on_incoming(self, sink: Callable[[IncomingLeg], None]) -> None:
        """Deliver calls that come in to `sink`."""
        ...

    async def close(self) -> None:
        """End every leg, close every connection."""
        ...


@dataclass(slots=True)
class SignalBuffer:
    """Holds signals until somebody listens; what every adapter needs for `Leg.listen`."""

    _sink: SignalSink | None = None
    _held: list[Signal] = field(default_factory=list)

    def listen(self, sink: SignalSink) -> None:
        """Deliver what was held, then everything at once."""
        self._sink = sink
        held, self._held = self._held, []
        for signal in held:
            sink(signal)

    def deliver(self, signal: Signal) -> None:
        """Hand one signal on, or keep it."""
        if self._sink is None:
            self._held.append(signal)
        else:
            self._sink(signal)
