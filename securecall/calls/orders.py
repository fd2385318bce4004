"""What the machine of a call orders its shell to do."""

from __future__ import annotations

from dataclasses import dataclass

from securecall.calls.negotiation import Agreement
from securecall.calls.sdes import SdesKeys
from securecall.calls.signaling import Signal, TransferProgress, TransferRequested
from securecall.calls.text_lines import TextAgreement
from securecall.calls.video_lines import VideoAgreement
from securecall.errors import EndReason, SecurecallError
from securecall.media.description import Direction, LocalIce
from securecall.policy import Gate, SecurityState


@dataclass(frozen=True, slots=True)
class Send:
    """Hand this signal to the leg."""

    signal: Signal


@dataclass(frozen=True, slots=True)
class StartMedia:
    """Connect to the peer and run DTLS and the identity handshake; the gate stays closed."""

    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Regather:
    """Gather candidates anew, and give them to `CallMachine.regathered`; what works goes on."""


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Find another way to the same peer, by what was gathered anew; keys and gate stay."""

    agreement: Agreement


@dataclass(frozen=True, slots=True)
class CheckAlso:
    """Further candidates of the peer's, of the generation that was agreed on; more may follow."""

    ice: LocalIce


@dataclass(frozen=True, slots=True)
class AwaitKeys:
    """The leg's engine makes keys and carries the sound; the gate stays closed until it has."""


@dataclass(frozen=True, slots=True)
class SetGate:
    """Let media pass, or not, in both directions alike."""

    gate: Gate


@dataclass(frozen=True, slots=True)
class SetDirection:
    """One of the two put the other on hold or took it back (RFC 3264 8.4)."""

    direction: Direction


@dataclass(frozen=True, slots=True)
class PeerHolds:
    """The peer put us on hold, or took us back."""

    on: bool


@dataclass(frozen=True, slots=True)
class SetCompanions:
    """What the peer takes beside the codec is another: digits, copies (their numbers, or None)."""

    events: int | None
    red: int | None


@dataclass(frozen=True, slots=True)
class Rekey:
    """A gateway brought new keys: what is sent and heard from now on is locked with these."""

    keys: SdesKeys


@dataclass(frozen=True, slots=True)
class SetVideo:
    """These pictures there are from now on, and no other."""

    video: tuple[VideoAgreement, ...]


@dataclass(frozen=True, slots=True)
class PicturesAgreed:
    """What there is to be seen in mid-call is other than before; `SetVideo` came first.

    Attributes:
        shown: What both ends agreed on: "slides" for a screen, "" for a camera.
        seen: What of that the peer may send now; nothing while one of the two is on hold.
    """

    shown: frozenset[str]
    seen: frozenset[str]


@dataclass(frozen=True, slots=True)
class SetText:
    """Text flows like this from now on, or there is none."""

    text: TextAgreement | None


@dataclass(frozen=True, slots=True)
class VideoAsked:
    """The peer wishes to show a picture that nobody here asked for; it was refused.

    Attributes:
        content: "slides" for a screen, "" for a camera.
    """

    content: str


@dataclass(frozen=True, slots=True)
class Secured:
    """The call's security was computed anew."""

    state: SecurityState


@dataclass(frozen=True, slots=True)
class PeerRings:
    """The callee's device alerts a person."""


@dataclass(frozen=True, slots=True)
class TransferAsked:
    """Someone asks us to call another target; nothing was done about it.

    Attributes:
        request: What is asked for; its number is 0 if whoever asked was refused, or left.
    """

    request: TransferRequested


@dataclass(frozen=True, slots=True)
class TransferTold:
    """The peer says what came of the transfer that we asked it for."""

    progress: TransferProgress


@dataclass(frozen=True, slots=True)
class DigitHeard:
    """The peer pressed a key, by signalling."""

    digit: str


@dataclass(frozen=True, slots=True)
class DigitTold:
    """The peer took a digit of ours by signalling, or takes none that way."""

    taken: bool


@dataclass(frozen=True, slots=True)
class ChangeRefused:
    """A change in mid-call was refused, and why; the call goes on as it was."""

    why: str


@dataclass(frozen=True, slots=True)
class Discard:
    """An input that fits no row; nothing happened."""

    why: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The call is over.

    Attributes:
        reason: How it ended.
        error: What to raise at whoever still waits; None after an orderly conversation.
    """

    reason: EndReason
    error: SecurecallError | None


Output = (
    Send
    | StartMedia
    | Regather
    | Reconnect
    | CheckAlso
    | AwaitKeys
    | SetGate
    | SetCompanions
    | SetDirection
    | PeerHolds
    | Rekey
    | SetVideo
    | PicturesAgreed
    | SetText
    | VideoAsked
    | Secured
    | PeerRings
    | TransferAsked
    | TransferTold
    | DigitHeard
    | DigitTold
    | ChangeRefused
    | Discard
    | Finish
)
