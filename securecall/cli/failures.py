"""What went wrong, in one line, what to do about it, in another, and the exit code for programs."""

from __future__ import annotations

from securecall.errors import (
    CallFailed,
    ConnectFailed,
    DeviceError,
    EndReason,
    HistoryCorrupt,
    ListenFailed,
    LocalError,
    NameNotFound,
    NetworkError,
    NoDevices,
    ProtocolError,
    Reason,
    RoomClosed,
    SecurityError,
    StoreBusy,
    StoreCorrupt,
    Unsupported,
    UsageError,
    WrongPassphrase,
    one_line,
)

OK, USAGE, NETWORK, PROTOCOL, SECURITY, CALL_FAILED, LOCAL, INTERRUPTED = 0, 2, 3, 4, 5, 6, 7, 130
UNPROVED = 8  # a report in which nothing is false, but which not both ends signed

_CODES = (
    (UsageError, USAGE),
    (NetworkError, NETWORK),
    (ProtocolError, PROTOCOL),
    (SecurityError, SECURITY),
    (CallFailed, CALL_FAILED),
    (LocalError, LOCAL),
)
_SECURITY_HINTS = {
    Reason.IDENTITY_CHANGED: (
        "Ask them, another way, about a new device; then: securecall contacts --forget ADDRESS"
    ),
    Reason.SELF_IDENTITY: (
        "Call somebody else. If you did, a server led the call to you: use another, or a ticket."
    ),
    Reason.TICKET_REFUSED: "Ask for a new ticket: one ticket is good for one person and one time.",
    Reason.BINDING_MISMATCH: "Somebody sits between you two. Use another network, or a ticket.",
    Reason.FINGERPRINT_MISMATCH: "Somebody sits between you two. Use another network, or a ticket.",
    Reason.IDENTITY_MISSING: "Ask the other person to call with securecall, or use a ticket.",
    Reason.DOWNGRADE: "Do not talk on a weaker call. Use another network, or a ticket.",
    Reason.BELOW_POLICY: "Compare the words of a call once, or ask for less with --require.",
    Reason.CERTIFICATE: "Check --server-name and --authorities; somebody may be pretending.",
    Reason.LOGIN: "Check --account, --user and the password; too many tries may lock the account.",
    Reason.DEVICE_UNTRUSTED: (
        "Ask them, another way, which devices are theirs; then: securecall contacts --trust"
    ),
    Reason.VERIFYING_TIMEOUT: "Call again and compare the words while you talk.",
    Reason.INTEGRITY: "Believe none of it. Go by what you wrote down yourself, or call again.",
}
_END_HINTS = {
    EndReason.BUSY: "Try again later.",
    EndReason.DECLINED: "They do not want to talk now.",
    EndReason.NO_ANSWER: "Try again later.",
    EndReason.UNREACHABLE: "Ask if they are waiting for the call: securecall answer",
    EndReason.NOT_FOUND: "Check the address.",
    EndReason.PEER_VANISHED: "Call again; the network or the other program stopped.",
}


class Misused(UsageError):
    """The arguments make no sense.

    Attributes:
        command: What to ask for help about.
    """

    def __init__(self, message: str, command: str) -> None:
        """Say what is wrong with them."""
        super().__init__(message)
        self.command = command


class NoIdentity(LocalError):
    """The folder holds no identity yet.

    Attributes:
        make: The command that makes one.
    """

    def __init__(self, message: str, make: str) -> None:
        """Say where."""
        super().__init__(message)
        self.make = make


class Overloaded(LocalError):
    """This machine is too busy for what was asked."""


_ADDRESS = "canonical address"
_RULE_HINTS = {
    "ticket": "Copy the whole ticket: it begins with securecall:1:",
    "device request": "Copy the whole text, or read it from a file: @FILE",
    "organisation code": "Copy the whole code, or read it from a file: @FILE",
    "verification code": "Copy the whole code, or scan it again.",
    "listener report": "This is no report of securecall, or one of a version not known here.",
    _ADDRESS: "Write an address such as sip:bob@clinic.example, or use a ticket.",
}
_HINTS = (
    (
        NoDevices,
        "Check the address; ask them to start their chat program once, with OMEMO encryption on.",
    ),
    (RoomClosed, "Ask who runs the room to let you in again, and join it then."),
    (NameNotFound, "Check the address, and whether this machine is online."),
    (ConnectFailed, "Check that the other side is listening: host, port, firewall."),
    (NetworkError, "Check the network and try again."),
    (WrongPassphrase, "Try again; without the passphrase nobody can open the keys."),
    (DeviceError, "Check the file or the device."),
    (Overloaded, "Try again when it has less to do."),
    (StoreBusy, "Another securecall uses these keys: end it, or use another --home."),
    (HistoryCorrupt, "Restore a backup into a new --home, or begin anew: securecall forget-chats"),
    (StoreCorrupt, "Take a backup, or another copy of it. Nothing was used or changed."),
    (ListenFailed, "Another program may hold that port: choose one with --port."),
    (LocalError, "Check that file or folder, and its permissions."),
    (Unsupported, "Install what it names, or leave out the option that needs it."),
)
_STOP = "Do not go on. Reach this person another way and compare keys."
_BUG = "This is a bug in securecall. Run it again with --debug and report what it prints."


def exit_code(error: BaseException) -> int:
    """Return the exit code that stands for an error; 1 for one that is a bug of ours."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, ProtocolError) and error.rule == _ADDRESS:
        return USAGE  # of what was typed: within what others send it breaks a rule of that
    return next((code for kind, code in _CODES if isinstance(error, kind)), 1)


def what_happened(error: BaseException) -> str:
    """Return one line that cannot act on a terminal."""
    line = one_line(error)
    if isinstance(error, ProtocolError) and error.rule in _RULE_HINTS:  # a name of ours, no RFC's
        line = line.removesuffix(f" [{error.rule}]")
    return line


def what_to_do(error: BaseException, command: str = "securecall") -> str:
    """Return one line of advice; `command` is what was run, as its help is asked for."""
    match error:
        case SecurityError():
            return _SECURITY_HINTS.get(error.reason, _STOP)
        case CallFailed():
            return _END_HINTS.get(error.reason, "Call again.")
        case ProtocolError():
            return _RULE_HINTS.get(error.rule, "The other side breaks a rule; tell its maker.")
        case NoIdentity():
            return f"Make one: {error.make}"
        case Misused():
            return f"See: {error.command} --help"
        case _:
            bug = f"See: {command} --help" if isinstance(error, UsageError) else _BUG
            return next((hint for kind, hint in _HINTS if isinstance(error, kind)), bug)


def fields(error: Exception, command: str = "securecall") -> dict[str, object]:
    """Return the error as plain values, for `--json`; `command` as for `what_to_do`."""
    reason = getattr(error, "reason", None)
    return {
        "kind": type(error).__name__,
        "reason": reason.value if isinstance(reason, (Reason, EndReason)) else "",
        "message": what_happened(error),
        "advice": what_to_do(error, command),
        "exit_code": exit_code(error),
    }
