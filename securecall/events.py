"""Everything an application can be told about calls and conversations, as frozen values."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from securecall.address import Address
from securecall.calls.signaling import TransferStep
from securecall.chat.conversation import Recipient
from securecall.chat.message import Activity, Message
from securecall.errors import DeviceLost, EndReason, LocalError, SecurecallError, UsageError
from securecall.media.quality import Quality
from securecall.policy import Policy, SecurityLevel, SecurityState
from securecall.sip.registration import RegistrationState

if TYPE_CHECKING:
    from securecall.account import Account
    from securecall.calls.call import Call
    from securecall.media.endpoints import AudioSource
    from securecall.media.video.endpoints import VideoSource
    from securecall.people import IdentityNews
    from securecall.rooms import RoomFailed, RoomNews
    from securecall.xmpp.blocking import BlockChange
    from securecall.xmpp.presence import Presence, PresenceRefused, SubscriptionAsk
    from securecall.xmpp.room_grammar import Invitation
    from securecall.xmpp.roster import RosterChange
    from securecall.xmpp.session import SessionState


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
class HoldChanged:
    """The other end put us on hold, or took us back; `Call.on_hold` is about the other way.

    Attributes:
        held: Nothing of ours is heard or seen there from now on; what they play is heard here.
    """

    call: Call
    held: bool


@dataclass(frozen=True, slots=True)
class PeerRecords:
    """The other end says, for the first time in this call, that it records; under its own keys.

    Who does not say so may record all the same.
    """

    call: Call


@dataclass(frozen=True, slots=True)
class PicturesChanged:
    """Pictures came into a call in progress, or left it, whoever of the two wished so.

    A camera that shows nothing for a while is not told: no picture comes then.

    Attributes:
        shown: What both ends agreed on: `CAMERA`, `SCREEN`.
        seen: What of that they may send now; nothing while one of the two is on hold.
    """

    call: Call
    shown: frozenset[str]
    seen: frozenset[str]


@dataclass(frozen=True, slots=True)
class PictureAsked:
    """The peer wished to show a picture that we did not ask for; it was refused.

    `call.video.add` shows one, or asks for theirs.

    Attributes:
        what: `CAMERA` or `SCREEN`.
    """

    call: Call
    what: str


@dataclass(frozen=True, slots=True)
class TransferRequested:
    """Someone asks us to call another address; nothing happens unless the application does so.

    The other end of the call asks (REFER), or something in between; or whom we called is said to be
    elsewhere (3xx), and that call is over.

    Attributes:
        target: What was asked for, as it came.
        address: Whom to call, None where that is nobody's address: then it was refused.
        waits: Whoever asked waits to be told what comes of it, for three minutes at most.
        replaces: Whoever is to be called talks with the other end, and would give that call up for
            the new one (an attended transfer).
    """

    call: Call
    target: str
    address: Address | None = None
    waits: bool = False
    replaces: bool = False
    _answer: TransferAnswer | None = field(default=None, repr=False, compare=False)

    def accept(
        self,
        *,
        audio: AudioSource | None = None,
        video: VideoSource | bool | None = None,
        text: bool = False,
        require: SecurityLevel | None = None,
        policy: Policy | None = None,
        account: Account | None = None,
    ) -> Call:
        """Call whom they name: a new call, held to what is known of that person; see `Client.call`.

        The old call stays as it is, and whoever asked is told how far the new one came. When that
        is answered they usually hang up.

        Raises:
            PolicyRefused: that would lead out of a call without a telephone gateway into one with,
                and `account` does not name it.
            UsageError: they named nobody, or nothing of ours can reach that address.
        """
        if self._answer is None or self.address is None:
            raise UsageError(f"{self.target[:80]!r} names nobody who could be called")
        return self._answer.accept(
            audio=audio, video=video, text=text, require=require, policy=policy, account=account
        )

    def decline(self) -> None:
        """Say that nobody will be called; where nobody waits to be told, nothing happens."""
        if self._answer is not None:
            self._answer.decline()


class TransferAnswer(Protocol):
    """What an application may do about a request to call somebody else; see above."""

    def accept(
        self,
        *,
        audio: AudioSource | None,
        video: VideoSource | bool | None,
        text: bool,
        require: SecurityLevel | None,
        policy: Policy | None,
        account: Account | None,
    ) -> Call:
        """Call them."""
        ...

    def decline(self) -> None:
        """Do not."""
        ...


@dataclass(frozen=True, slots=True)
class TransferProgressed:
    """The other end says how far its call to whom we sent it has come; a claim of theirs."""

    call: Call
    step: TransferStep


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
class DigitPressed:
    """The other end pressed a key of its telephone; see `Call.digits`."""

    call: Call
    digit: str


@dataclass(frozen=True, slots=True)
class QualityChanged:
    """The other end sounds better or worse than it did, or nothing comes of it any more.

    Judged over five seconds; `call.statistics()` has the numbers behind it.
    """

    call: Call
    quality: Quality


@dataclass(frozen=True, slots=True)
class SoundFailed:
    """A microphone, speaker, camera or file failed and was taken out; the call goes on without it.

    Attributes:
        error: What it raised.
    """

    call: Call
    error: Exception


@dataclass(frozen=True, slots=True)
class SoundDeviceLost:
    """A microphone or speaker was unplugged; the default one took its place and the call goes on.

    Attributes:
        error: Names the device.
    """

    call: Call
    error: DeviceLost


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


class KeysChange(enum.StrEnum):
    """What happened to the keys of somebody we know."""

    DEVICES = "devices"  # they have other devices than before
    REVOKED = "revoked"  # they withdrew a device, or their root: calls with it end
    SUCCEEDED = "succeeded"  # another root followed theirs, by the word of both; compare again
    FORK = "fork"  # two statements under one number: somebody else may sign with their root
    ROLLBACK = "rollback"  # somebody showed an older statement of theirs; it was refused


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactKeysChanged:
    """The keys of somebody we know changed, or somebody tried to change them.

    Attributes:
        addresses: Theirs, as far as they are bound to that root.
        root_fp: Their root now.
        change: What happened; FORK and ROLLBACK deserve a warning, SUCCEEDED a notice.
        added: Devices that are new.
        revoked: Devices that were withdrawn, for ever.
        omemo: OMEMO device ids of those, and of others that are not listed any more.
    """

    addresses: tuple[Address, ...]
    root_fp: bytes = field(repr=False)
    change: KeysChange
    added: tuple[str, ...] = ()
    revoked: tuple[str, ...] = ()
    omemo: tuple[int, ...] = ()


class OwnChange(enum.StrEnum):
    """What happened to our own keys."""

    ENROLLED = "enrolled"  # the root vouches for another device, or for something new of one
    ROTATED = "rotated"  # this device has a new key
    REVOKED = "revoked"  # another device was withdrawn
    WITHDRAWN = "withdrawn"  # this very device was: nothing works from here any more
    SUCCEEDED = "succeeded"  # we have another root; our other devices have to join it
    REQUEST_DUE = "request-due"  # this device needs the one that holds the root
    FORK = "fork"  # somebody signs with our root under a number of ours


@dataclass(frozen=True, slots=True)
class OwnKeysChanged:
    """Our own keys changed.

    Attributes:
        change: How; WITHDRAWN and FORK deserve a warning, REQUEST_DUE an act.
        device: Which device it is about.
        omemo: OMEMO device ids of one that was withdrawn.
    """

    change: OwnChange
    device: str = ""
    omemo: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GuessesWarning:
    """Many handshakes towards one address failed late: someone may be guessing call words."""

    address: str
    failures: int


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A message is new here: somebody wrote it, or another device of ours did."""

    message: Message


@dataclass(frozen=True, slots=True)
class MessageChanged:
    """A message was corrected or reacted to, or one of ours got further on its way."""

    message: Message


@dataclass(frozen=True, slots=True)
class MessageExpired:
    """A message was deleted here, because its time, or its conversation's, was over."""

    message: Message


@dataclass(frozen=True, slots=True)
class MessageIgnored:
    """Something was said that must not change anything; the conversation shows nothing of it.

    Or a correction or reaction of our own will not be sent to a room any more, and is only here.

    Attributes:
        conversation: Where.
        why: In plain words.
    """

    conversation: Address
    why: str


@dataclass(frozen=True, slots=True)
class ConversationRead:
    """Another device of ours showed everything up to this message."""

    message: Message


@dataclass(frozen=True, slots=True)
class TypingChanged:
    """Somebody writes, or stopped."""

    conversation: Address
    sender: Address
    activity: Activity


@dataclass(frozen=True, slots=True)
class DevicesTrusted:
    """We wrote to somebody for the first time: the devices they had are trusted from now on.

    Nobody compared anything yet; later devices get nothing before a person decided.
    """

    address: Address
    devices: tuple[Recipient, ...]


@dataclass(frozen=True, slots=True)
class NewDevice:
    """Somebody has a device that was not there before; it receives nothing until you decide."""

    address: Address
    device: Recipient


@dataclass(frozen=True, slots=True)
class PresenceChanged:
    """Somebody came, went, or says something else about being there.

    Attributes:
        address: Whose.
        presence: Of the connection to write to, None when they are not there.
    """

    address: Address
    presence: Presence | None


@dataclass(frozen=True, slots=True)
class ContactRequested:
    """Somebody asks to see when we are there; answer with `Client.accept_contact` or decline.

    Attributes:
        address: Who.
        text: What they say to it.
    """

    address: Address
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PeopleChanged:
    """Something else about the people of an account changed: roster, block list, an identity."""

    account: Address
    change: RosterChange | SubscriptionAsk | PresenceRefused | BlockChange | IdentityNews


@dataclass(frozen=True, slots=True)
class RoomChanged:
    """Something happened in a room, we left it, or somebody wants us in one."""

    account: Address
    news: RoomNews | RoomFailed | Invitation


@dataclass(frozen=True, slots=True)
class ChatStateChanged:
    """Where the connection of an XMPP account stands.

    Attributes:
        account: Our address there.
        state: CONNECTING is tried again by itself; REFUSED waits for a person.
        error: Why it is not online, None while it is.
    """

    account: Address
    state: SessionState
    error: Exception | None


@dataclass(frozen=True, slots=True)
class KeepingFailed:
    """Something could not be kept.

    A message that came in is tried again, and nothing is acknowledged meanwhile; a call that is
    over is missing in the history.
    """

    error: LocalError


Event = (
    CallRinging
    | CallSecured
    | CallChangeRefused
    | HoldChanged
    | PeerRecords
    | PictureAsked
    | PicturesChanged
    | DigitPressed
    | QualityChanged
    | TransferRequested
    | TransferProgressed
    | CallEnded
    | CallMissed
    | ContactKeysChanged
    | OwnKeysChanged
    | GuessesWarning
    | PlaintextReceived
    | RegistrationChanged
    | SoundDeviceLost
    | SoundFailed
    | MessageReceived
    | MessageChanged
    | MessageExpired
    | MessageIgnored
    | ConversationRead
    | TypingChanged
    | DevicesTrusted
    | NewDevice
    | PresenceChanged
    | ContactRequested
    | PeopleChanged
    | RoomChanged
    | ChatStateChanged
    | KeepingFailed
)
