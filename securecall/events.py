"""Everything an application can be told about calls, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from securecall.address import Address
from securecall.errors import EndReason, SecurecallError
from securecall.policy import SecurityState
from securecall.sip.registration import RegistrationState

if TYPE_CHECKING:
    from securecall.calls.call import Call


@dataclass(frozen=True, slots=True)
class CallRinging:
    """The callee's device alerts a person."""

    call: Call


@dataclass(frozen=True, slots=True)
class CallSecured:
    """The call's protection was computed, at the start or after the words were confirmed."""

    call: Call
    security: SecurityState


@dataclass(frozen=True, slots=True)
class CallChangeRefused:
    """Something asked to change the call in a way that was refused; the call goes on as it was."""

    call: Call
    why: str


@dataclass(frozen=True, slots=True)
class TransferRequested:
    """Someone asks us to call another address; nothing happens unless the application calls it."""

    call: Call
    target: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The call is over.

    Attributes:
        reason: How.
        error: What went wrong, None after an orderly conversation.
    """

    call: Call
    reason: EndReason
    error: SecurecallError | None


@dataclass(frozen=True, slots=True)
class SoundFailed:
    """A microphone, speaker or file of ours failed and was taken out; the call goes on without it.

    Attributes:
        error: What it raised.
    """

    call: Call
    error: Exception


@dataclass(frozen=True, slots=True)
class CallMissed:
    """Somebody called and was not answered, or was refused before it rang."""

    caller: str
    why: str


@dataclass(frozen=True, slots=True)
class RegistrationChanged:
    """An account is reachable from now on, or is not any more.

    Attributes:
        address: Ours.
        state: CONNECTING is tried again by itself; REFUSED waits for a person.
        error: Why it is not registered, None if it is.
    """

    address: Address
    state: RegistrationState
    error: SecurecallError | None


@dataclass(frozen=True, slots=True)
class PlaintextReceived:
    """A text message of SIP came: any server on the way could read it, and could have written it.

    Attributes:
        account: The address of ours it came to.
        sender: A claim, by nothing proved.
        text: As it came, without control characters.
    """

    account: Address
    sender: Address
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class GuessesWarning:
    """Many handshakes towards one address failed late: someone may be guessing call words."""

    address: str
    failures: int


Event = (
    CallRinging
    | CallSecured
    | CallChangeRefused
    | TransferRequested
    | CallEnded
    | CallMissed
    | GuessesWarning
    | PlaintextReceived
    | RegistrationChanged
    | SoundFailed
)
