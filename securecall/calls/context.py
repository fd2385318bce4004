"""What one call has to know of the world: policy, identity, and whom to tell what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from securecall.calls import orders
from securecall.calls.carried import Engine
from securecall.calls.link import LinkIdentity
from securecall.keys.handshake import HandshakeResult
from securecall.media.description import Description
from securecall.media.engine import Clock
from securecall.media.quality import Quality
from securecall.policy import Floor, IdentityEvidence, Policy, SecurityState
from securecall.transport.turn import IceHelpers, no_helpers

if TYPE_CHECKING:
    from securecall.calls.call import Call


class Voucher(Protocol):
    """Who signs what we describe in signalling, and holds the peer to what it signed."""

    def sign(self, description: Description) -> str:
        """Return the value of Identity for a description of ours."""
        ...

    def receive(self, values: tuple[str, ...], description: Description) -> None:
        """Take the values of Identity that came with a description.

        Raises:
            ProtocolError, SecurityError: they are not what they should be; the call ends.
        """
        ...


def _nobody(call: Call, digit: str) -> None:
    """Hears no digit."""


def _nobody_cares(call: Call, quality: Quality) -> None:
    """Asks how it sounds."""


def _nobody_minds(call: Call) -> None:
    """Hears that the peer records."""


def _no_evidence() -> IdentityEvidence | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """What a call needs to know of the world; composed by the client.

    Attributes:
        policy, floor: What the call must reach.
        peer: The peer's address for people.
        identity: Ours, None in the danger mode without identity.
        evidence: Joins what the handshake proved with what we know of that key.
        observe: Told every order of the machine after it was performed.
        sound_failed: Told when a source or sink raised and was taken out.
        secured: Told when policy accepted the evidence, before the gate opens; may still refuse.
        confirmed: Told when the user confirmed the words.
        guess_burned: Told when a handshake failed after its nonces.
        clock: The process's media clock.
        towards: The host we face, to pick our own address; "" for anywhere.
        ticket: How the ticket travelled, "" without one.
        helpers: Says what helps to find a path, when one is looked for.
        approved: The call runs under the fips profile, over an active FIPS provider.
        voucher: Signs and checks descriptions, None where that is not wished.
        unaided: The evidence there is where no identity handshake ran.
        pressed: Told each digit that the peer presses.
        engine: Carries the sound, too; None where we do.
        quality: Told how the peer sounds from now on, where that has changed.
        peer_records: Told when the peer says, for the first time, that it records.
        acquainted: The peer may learn our IP address, as far as the policy leaves that open.
        sdes: Our description carries keys for a telephone gateway; the floor has to allow it.
    """

    policy: Policy
    floor: Floor
    peer: str
    identity: LinkIdentity | None
    evidence: Callable[[HandshakeResult], IdentityEvidence]
    secured: Callable[[HandshakeResult, SecurityState], None]
    confirmed: Callable[[HandshakeResult], None]
    guess_burned: Callable[[], None]
    clock: Clock
    towards: str
    observe: Callable[[Call, orders.Output], None]
    sound_failed: Callable[[Call, Exception], None]
    ticket: str = ""
    helpers: Callable[[], Awaitable[IceHelpers]] = no_helpers
    approved: bool = False
    voucher: Voucher | None = None
    unaided: Callable[[], IdentityEvidence | None] = _no_evidence
    pressed: Callable[[Call, str], None] = _nobody
    quality: Callable[[Call, Quality], None] = _nobody_cares
    peer_records: Callable[[Call], None] = _nobody_minds
    acquainted: bool = False
    sdes: bool = False
    engine: Engine | None = None
