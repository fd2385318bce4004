"""The exception tree; its first level says who must act.

========================  =====================================================
`UsageError`              the calling code: a wrong argument or a wrong moment
`NetworkError`            nobody: try again later
`ProtocolError`           the implementer of the peer; `rule` names what it broke
`SecurityError`           a person; never retried automatically
`CallFailed`              the caller's user: the call ended without a conversation
`LocalError`              the operator of this machine: disk, passphrase, device
========================  =====================================================

Anything else that escapes from the library is a bug in it.
"""

from __future__ import annotations

import enum


class SecurecallError(Exception):
    """Base of every exception this library raises on purpose."""


class UsageError(SecurecallError):
    """The calling code asked for something that cannot be meant."""


class Unsupported(UsageError):
    """What was asked for exists, but not in this build or on this platform."""


class PhraseInvalid(UsageError):
    """The words typed are no recovery phrase; what they were, no error says.

    Attributes:
        places: Which words are wrong, from 1; empty where that cannot be told.
    """

    def __init__(self, message: str, *, places: tuple[int, ...] = ()) -> None:
        """Say what is wrong, without any of the words."""
        super().__init__(message)
        self.places = places


class NotPrimary(UsageError):
    """Only a device that holds the root key can do this; this one does not."""


class StatementFull(UsageError):
    """Our identity statement has no room for what it has to say; a new root begins an empty one.

    `OwnIdentity.succeed` makes it (`securecall keys succeed`): what was withdrawn stays so.
    """


class NetworkError(SecurecallError):
    """The network or the other machine did not answer; a retry may help."""


class ConnectFailed(NetworkError):
    """No connection could be made to the given address."""


class RegistrationFailed(NetworkError):
    """The server is there, but does not register us now.

    Attributes:
        status: What it answered (a SIP status), 408 for nothing.
    """

    def __init__(self, message: str, *, status: int) -> None:
        """Say what the server answered."""
        super().__init__(message)
        self.status = status


class MessageFailed(NetworkError):
    """A text message was not taken by the server, or by whom it was for.

    Attributes:
        status: What was answered (a SIP status), 408 for nothing.
    """

    def __init__(self, message: str, *, status: int) -> None:
        """Say what was answered."""
        super().__init__(message)
        self.status = status


class NoDevices(NetworkError):
    """Somebody has published no OMEMO device, or none whose keys can be fetched."""


class RoomClosed(NetworkError):
    """A room takes nothing of ours: we were put out of it, or there is none any more.

    Nothing was kept, and what was written before and waited is marked as failed. Who is let in
    again joins again: `Client.join_room`.
    """


class TransferFailed(NetworkError):
    """A web server did not take or give a file.

    Attributes:
        status: What it answered (RFC 9110 15), 408 for nothing.
    """

    def __init__(self, message: str, *, status: int) -> None:
        """Say what it answered."""
        super().__init__(message)
        self.status = status


class XmppRefused(NetworkError):
    """An XMPP server or contact answered a request with an error, or ended the stream with one.

    Attributes:
        condition: The defined condition (RFC 6120 8.3.3, 4.9.3), e.g. "item-not-found".
        text: What it said beside that, as a stranger's words.
    """

    def __init__(self, condition: str, text: str = "") -> None:
        """Say what was answered."""
        super().__init__(f"refused: {condition}" + (f" ({text!r})" if text else ""))
        self.condition = condition
        self.text = text


class NameNotFound(ConnectFailed):
    """The host name does not exist, or its owner offers no such service there."""


class ProtocolError(SecurecallError):
    """The peer broke a rule of the protocol.

    Attributes:
        rule: The rule, named by document and section, e.g. "RFC 3261 8.1.1".
    """

    def __init__(self, message: str, *, rule: str = "") -> None:
        """Say what was wrong and which rule forbids it."""
        super().__init__(f"{message} [{rule}]" if rule else message)
        self.rule = rule


class AlreadyOpened(ProtocolError):
    """An encrypted message came a second time; it was opened before, and is not opened again."""


class CannotOpen(ProtocolError):
    """An encrypted message cannot be opened: no session, a broken one, a key long deleted."""


class NotForUs(ProtocolError):
    """An encrypted message holds no key for this device."""


class Reason(enum.StrEnum):
    """Why a protection ended a call or refused an act; stable names for programs."""

    IDENTITY_MISMATCH = "identity-mismatch"
    IDENTITY_CHANGED = "identity-changed"
    IDENTITY_MISSING = "identity-missing"
    ADDRESS_NOT_OWNED = "address-not-owned"
    SELF_IDENTITY = "self-identity"
    STATEMENT_INVALID = "statement-invalid"
    ROLLBACK = "rollback"
    REVOKED = "revoked"
    DISTRUSTED = "distrusted"
    FINGERPRINT_MISMATCH = "fingerprint-mismatch"
    BINDING_MISMATCH = "binding-mismatch"
    COMMIT_MISMATCH = "commit-mismatch"
    HANDSHAKE_FAILED = "handshake-failed"
    HANDSHAKE_TIMEOUT = "handshake-timeout"
    TICKET_REFUSED = "ticket-refused"
    DOWNGRADE = "downgrade"
    BELOW_POLICY = "below-policy"
    NO_ENCRYPTION = "no-encryption"
    WEAK_SUITE = "weak-suite"
    CERTIFICATE = "certificate"
    INTEGRITY = "integrity"
    VERIFYING_TIMEOUT = "verifying-timeout"
    REPLAYED = "replayed"
    LOGIN = "login"
    DEVICE_UNTRUSTED = "device-untrusted"
    DEVICE_CHANGED = "device-changed"
    DEVICE_MISMATCH = "device-mismatch"
    BUNDLE_INVALID = "bundle-invalid"


class SecurityError(SecurecallError):
    """A protection refused to go on; a person has to decide what that means.

    Attributes:
        reason: The stable name of the cause.
    """

    default = Reason.HANDSHAKE_FAILED

    def __init__(self, message: str, *, reason: Reason | None = None) -> None:
        """Say what was refused, why, and what the person can do."""
        super().__init__(message)
        self.reason = reason if reason is not None else self.default


class PolicyRefused(SecurityError):
    """The call's level stayed below what its policy asks for."""

    default = Reason.BELOW_POLICY


class DowngradeError(SecurityError):
    """A contact once reached end-to-end encrypted was offered with less."""

    default = Reason.DOWNGRADE


class IdentityMismatch(SecurityError):
    """The proof the peer gave does not fit this call or this connection."""

    default = Reason.IDENTITY_MISMATCH


class IdentityChanged(SecurityError):
    """The contact answers with another root key than the one pinned."""

    default = Reason.IDENTITY_CHANGED


class StatementInvalid(SecurityError):
    """An identity statement breaks a rule, or its signatures do not hold."""

    default = Reason.STATEMENT_INVALID


class AddressNotOwned(SecurityError):
    """The peer proved a key that has no right to the address of this call."""

    default = Reason.ADDRESS_NOT_OWNED


class RoomNotPrivate(SecurityError):
    """A chat room is not what a private room is: for members only, who see who is there."""

    default = Reason.BELOW_POLICY


class Revoked(SecurityError):
    """The device or the root key was withdrawn, or its time is over."""

    default = Reason.REVOKED


class TicketRefused(SecurityError):
    """The ticket is unknown, used by someone else, or expired; one answer for all."""

    default = Reason.TICKET_REFUSED


class FileNotIntact(SecurityError):
    """A file is not, bit for bit, what its sender described; nothing of it was released."""

    default = Reason.INTEGRITY


class CertificateError(SecurityError):
    """A server's TLS certificate does not prove the name that was asked for.

    Attributes:
        code: What OpenSSL found wrong (X509_V_ERR_*), 62 where it is the name; 0 if not known.
        fault: The same in words, without the rest of the message.
        remedy: Who can do what about it.
    """

    default = Reason.CERTIFICATE

    def __init__(self, message: str, *, code: int = 0, fault: str = "", remedy: str = "") -> None:
        """Say what is wrong with the certificate."""
        super().__init__(message)
        self.code = code
        self.fault = fault
        self.remedy = remedy


class LoginRefused(SecurityError):
    """A server did not take our user and password, or asked for them in a way we refuse."""

    default = Reason.LOGIN


class UntrustedDevices(SecurityError):
    """Nothing can be sent to somebody none of whose devices is trusted.

    Attributes:
        devices: (bare JID, device id, fingerprint) of those somebody has to decide about.
    """

    default = Reason.DEVICE_UNTRUSTED

    def __init__(self, message: str, *, devices: tuple[tuple[str, int, str], ...] = ()) -> None:
        """Say whose devices they are."""
        super().__init__(message)
        self.devices = devices


class DeviceKeyChanged(SecurityError):
    """An OMEMO device answers with another identity key than the one it is known by.

    Attributes:
        identity_key: The one it shows.
    """

    default = Reason.DEVICE_CHANGED

    def __init__(self, message: str, *, identity_key: bytes) -> None:
        """Say whose device it is."""
        super().__init__(message)
        self.identity_key = identity_key


class BundleInvalid(SecurityError):
    """The published keys of an OMEMO device are not signed by its identity key."""

    default = Reason.BUNDLE_INVALID


class EnvelopeMismatch(SecurityError):
    """A decrypted message was made for another sender, receiver or time than it came with."""

    default = Reason.INTEGRITY


class EndReason(enum.StrEnum):
    """How a call ended; stable names for programs."""

    HUNG_UP = "hung-up"
    BUSY = "busy"
    DECLINED = "declined"
    NO_ANSWER = "no-answer"
    CANCELLED = "cancelled"
    NOT_FOUND = "not-found"
    UNREACHABLE = "unreachable"
    PEER_VANISHED = "peer-vanished"
    INCOMPATIBLE = "incompatible"
    SECURITY = "security"
    PROTOCOL = "protocol"
    LOCAL = "local"


class CallFailed(SecurecallError):
    """The call ended before a conversation was possible, or broke off.

    Attributes:
        reason: How it ended.
    """

    default = EndReason.PROTOCOL

    def __init__(self, message: str = "", *, reason: EndReason | None = None) -> None:
        """Say how the call ended."""
        self.reason = reason if reason is not None else self.default
        super().__init__(message or f"the call ended: {self.reason.value}")


class Busy(CallFailed):
    """The callee is in another call."""

    default = EndReason.BUSY


class Declined(CallFailed):
    """The callee refused the call."""

    default = EndReason.DECLINED


class NoAnswer(CallFailed):
    """Nobody answered in time."""

    default = EndReason.NO_ANSWER


class Cancelled(CallFailed):
    """The caller gave up before an answer."""

    default = EndReason.CANCELLED


class Unreachable(CallFailed):
    """No way leads to the callee: unknown address, no route, not online."""

    default = EndReason.UNREACHABLE


class NotTransferred(CallFailed):
    """The other end's call to whom we sent it did not come about; ours goes on, if it still can.

    The reason is what the other end claims of it: busy, declined, no answer and so on.
    """

    default = EndReason.DECLINED


class PeerVanished(CallFailed):
    """The peer stopped answering in the middle of the call."""

    default = EndReason.PEER_VANISHED


class Incompatible(CallFailed):
    """The two ends share no codec, transport or medium."""

    default = EndReason.INCOMPATIBLE


class ChangeRefused(NetworkError):
    """The other end does not take a change of the call; the call goes on as it was."""


class LocalError(SecurecallError):
    """Something on this machine failed: disk, permission, device, passphrase."""


class WrongPassphrase(LocalError):
    """The key store does not open with this passphrase."""


class StoreBusy(LocalError):
    """Another process has the key store or the history open; it ends with that process."""


class StoreCorrupt(LocalError):
    """The key store was damaged or altered; nothing of it was used."""


class HistoryCorrupt(StoreCorrupt):
    """The conversations cannot be read: their file is damaged, altered, older than it was, or gone.

    Keys, contacts and calls lie in another file and are whole. A backup that is restored brings
    messages back; `Client.forget_conversations` gives them up, and chat begins anew.
    """


class FipsError(LocalError):
    """A self-test of the fips profile failed: this process offers nothing any more."""


class ListenFailed(LocalError):
    """The address and port calls were to come in on cannot be used."""


class DeviceError(LocalError):
    """A microphone, speaker or file could not be used."""


class DeviceLost(DeviceError):
    """A sound device went away; the default one takes its place, and the call goes on.

    Attributes:
        device: The one that is gone, by the name it was chosen by.
    """

    def __init__(self, message: str, *, device: str) -> None:
        """Say which."""
        super().__init__(message)
        self.device = device


def one_line(error: BaseException) -> str:
    """Return what an error says, unable to act on a terminal: some words may be a server's."""
    line = " ".join(str(error).split())
    return "".join(c if c.isprintable() else "?" for c in line) or type(error).__name__
