"""The command line: every command, and what it takes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from securecall import __version__
from securecall.cli.failures import Misused
from securecall.cli.keys_options import (
    Commands,
    add_code,
    add_command,
    add_keys,
    add_lock,
    add_organisation,
    add_verify,
)

DEFAULT_HOME = "~/.securecall"
_MODES = ("proxy", "gateway", "gateway-dtls")
_LEVELS = ("HOP_BY_HOP", "OPPORTUNISTIC", "E2EE", "VERIFIED")
_EPILOGUE = """\
Begin with:  securecall demo        (one minute, no account, no microphone)
Then:        securecall init        make your keys
             securecall ticket      invite a friend      securecall answer   wait for the call
Your friend: securecall call @FILE  with your ticket
By phone:    securecall call tel:+431234567 --account SIP --provider-mode gateway
Write:       securecall chat bob@clinic.example --account alice@clinic.example
Your keys:   securecall keys show   devices, recovery words, withdrawal
In trouble:  securecall doctor ADDRESS   what is wrong with an account, and what to do
Afterwards:  securecall report verify FILE   is this report of a call true?
Exit codes: 0 fine, 1 an attack succeeded (attack), 2 usage, 3 network, 4 protocol, 5 security,
6 call failed, 7 this machine, 8 a report that not both ends signed."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong as every other error is said, and not all the options before it."""

    def error(self, message: str) -> NoReturn:
        raise Misused(message, self.prog)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; it raises `Misused`."""
    top: argparse.ArgumentParser = _Parser(
        prog="securecall",
        description="Calls and messages nobody in between can listen to or read.",
        epilog=_EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # --passphrase must not pass for --passphrase-file
    )
    top.add_argument("--version", action="version", version=f"securecall {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="one JSON object per line")
    common.add_argument("--debug", action="store_true", help="log, and show tracebacks")
    home = argparse.ArgumentParser(add_help=False)
    home.add_argument("--home", default=DEFAULT_HOME, help="folder of your keys (%(default)s)")
    home.add_argument("--passphrase-file", type=Path, metavar="FILE", help="read it from here")
    home.add_argument("--keyring", action="store_true", help="the key lies in the keyring")
    home.add_argument(
        "--token", nargs=2, metavar=("MODULE", "LABEL"), help="the key lies in this PKCS#11 token"
    )
    home.add_argument("--pin-file", type=Path, metavar="FILE", help="its PIN is here")
    home.add_argument("--root-key", metavar="NAME", help="your root key lies in the token, as this")
    home.set_defaults(pin=None)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, does: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return add_command(commands, (common, *parents), name, does)

    init = add("init", "make your keys", home)
    init.add_argument(
        "--claim", action="append", default=[], metavar="ADDRESS", help="an address of yours"
    )
    add_lock(init)
    _add_place(add("ticket", "invite one person to call you", home))
    _add_call(add("call", "call somebody", home))
    _add_answer(add("answer", "wait for calls", home))
    _add_calls(add("calls", "list the calls there were, and those you missed", home))
    _add_sound(add("sound", "list microphones and loudspeakers, and try one"))
    verify = add("verify", "compare keys with a contact, once for all calls", home)
    add_verify(verify)
    again = argparse.ArgumentParser(add_help=False)  # what stood before the second word still holds
    for option in ("--json", "--debug"):
        again.add_argument(option, action="store_true", default=argparse.SUPPRESS)
    add_keys(add("keys", "look after your keys and devices, and back them up"), again, home)
    contacts = add("contacts", "list the people you know", home)
    contacts.add_argument(
        "--add",
        nargs=2,
        metavar=("CONTACT", "ADDRESS"),
        help="they told you this address of theirs",
    )
    contacts.add_argument("--forget", metavar="CONTACT", help="drop this contact's key")
    _add_people(contacts)
    add_organisation(commands, common, home)
    _add_chat(add("chat", "write with somebody", home))
    _add_sending(add("send-file", "send a file, encrypted", home), voice=False)
    _add_sending(add("voice-message", "send a spoken message, encrypted", home), voice=True)
    _add_inbox(add("inbox", "show what nobody read yet", home))
    _ = add("forget-chats", "delete all conversations here, as when they are damaged", home)
    _add_report(commands, common)
    doctor = add("doctor", "find out why an account does not work")
    doctor.add_argument("account", metavar="SIP", help="your SIP address, alice@clinic.example")
    _add_server(doctor)
    demo = add("demo", "see what securecall does, in less than a minute")
    demo.add_argument("--fast", action="store_true", help="shorter calls and no pauses, for tests")
    demo.add_argument("--keep", type=Path, metavar="DIR", help="where to leave the recordings")
    _add_lab(add("lab", "run servers for calls and chat on this computer to play and test with"))
    _add_attack(add("attack", "see attacks succeed elsewhere and fail here"))
    return top


def _add_attack(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "what", choices=("list", "run"), metavar="list|run", help="list the threats, or run some"
    )
    command.add_argument("names", nargs="*", default=[], metavar="NAME", help="A1, D6, … or all")
    command.add_argument("--table", action="store_true", help="only the table at the end")


def _add_place(command: argparse.ArgumentParser) -> None:
    command.add_argument("--host", default="", help="address your friend connects to")
    command.add_argument("--port", type=_port, default=5061, help="port to wait on (%(default)s)")
    command.add_argument(
        "--minutes", type=_minutes, default=7 * 1440, help="valid for so long (7 days)"
    )
    command.add_argument("--out", type=Path, metavar="FILE", help="write the ticket here as well")
    add_code(command)


def _add_talk(command: argparse.ArgumentParser) -> None:
    command.add_argument("--play", type=Path, metavar="FILE", help="send this WAV file")
    command.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="record the other side, but not of a call begun from this one: sound, or with .webm, "
        ".mkv, .mp4 pictures as well",
    )
    command.add_argument(
        "--video", default="", metavar="WHAT", help="show the camera, the screen, test or a film"
    )
    command.add_argument("--watch", action="store_true", help="take pictures without showing any")
    command.add_argument(
        "--text", action="store_true", help="have text in the call: lines you type are sent"
    )
    command.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="keep the report of the call, here or in a folder",
    )
    command.add_argument("--seconds", type=_seconds, help="hang up after so long")
    command.add_argument("--mic", action="store_true", help="use microphone and speaker")
    command.add_argument("--speaker", action="store_true", help="use the speaker, if there is one")
    devices = command.add_argument_group("with --mic (their names: securecall sound)")
    devices.add_argument("--microphone", default="", metavar="NAME", help="this one")
    devices.add_argument("--loudspeaker", default="", metavar="NAME", help="this one")
    voice = devices.add_mutually_exclusive_group()
    voice.add_argument("--raw", action="store_true", help="leave echo and noise as they are")
    voice.add_argument("--gain", action="store_true", help="bring your voice to an even loudness")
    command.add_argument("--require", choices=_LEVELS, help="talk at this level or not at all")
    command.add_argument(
        "--confirm", choices=("ask", "never"), default="ask", help="compare words (%(default)s)"
    )
    account = command.add_argument_group("with a SIP account")
    account.add_argument("--account", default="", metavar="SIP", help="your SIP address")
    _add_server(account)
    way = command.add_argument_group("through networks that let nothing through")
    way.add_argument(
        "--relay", action="append", default=[], type=_relay, metavar="URI",
        help="ask this relay (turn:HOST or turns:HOST:443); may be repeated",
    )  # fmt: skip
    way.add_argument("--relay-user", default="", help="the name the relays know you by")
    way.add_argument("--relay-password-file", type=Path, metavar="FILE", help="for the relays")
    way.add_argument("--hide", action="store_true", help="show nobody another address than theirs")
    account.add_argument(
        "--provider-mode", choices=_MODES, default="proxy",
        help="gateway: to the phone network, which can hear the call, as your provider can",
    )  # fmt: skip
    account.add_argument(
        "--engine", choices=("native", "pjsua2"), default="native",
        help="pjsua2: PJSIP carries the sound; your provider can hear the call",
    )  # fmt: skip
    account.add_argument(
        "--danger-plain-dtls", action="store_true",
        help="talk without proof of identity: the server can listen",
    )  # fmt: skip


def _add_sound(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--listen", type=_seconds, nargs="?", const=10.0, metavar="SECONDS",
        help="show how loud the microphone hears you, for %(const)g seconds",
    )  # fmt: skip
    command.add_argument("--microphone", default="", metavar="NAME", help="listen to this one")


def _add_server(command: argparse._ActionsContainer) -> None:
    command.add_argument("--password-file", type=Path, metavar="FILE", help="its password is here")
    command.add_argument("--no-password", action="store_true", help="its server asks for none")
    command.add_argument("--user", default="", help="the name its server knows you by")
    command.add_argument("--server", type=_server, metavar="HOST[:PORT]", help="its server")
    command.add_argument("--server-name", default="", help="name the server must prove")
    command.add_argument("--authorities", type=Path, metavar="PEM", help="trust these for it")


def _add_call(command: argparse.ArgumentParser) -> None:
    command.add_argument("target", help="a ticket, @FILE or - with a ticket, or an address")
    command.add_argument(
        "--scanned", action="store_true", help="you scanned the ticket from the other's screen"
    )
    _add_talk(command)


def _add_answer(command: argparse.ArgumentParser) -> None:
    _add_place(command)
    _add_talk(command)
    command.add_argument("--ticket", action="store_true", help="make a ticket first")
    command.add_argument("--once", action="store_true", help="end after one call")
    command.add_argument("--auto-accept", action="store_true", help="take calls without asking")
    command.add_argument(
        "--listen", type=_place, metavar="HOST:PORT", help="where the server calls"
    )
    command.add_argument("--certificate", type=Path, metavar="PEM", help="for --listen")
    command.add_argument("--key", type=Path, metavar="PEM", help="for --listen")


def _add_calls(command: argparse.ArgumentParser) -> None:
    command.add_argument("--missed", action="store_true", help="those alone that nobody took")
    command.add_argument("--count", type=_count, default=20, help="so many (%(default)s)")
    one = command.add_mutually_exclusive_group()
    one.add_argument("--forget", type=int, nargs="+", metavar="NUMBER", help="forget these")
    one.add_argument("--clear", action="store_true", help="forget all")
    one.add_argument(
        "--keep",
        type=int,
        nargs=2,
        metavar=("CALLS", "DAYS"),
        help="remember so many calls, for so many days (500 365); 0 0 remembers none",
    )


def _add_account(command: argparse._ActionsContainer, *, required: bool = True) -> None:
    """An account of XMPP, as `_add_server` is one of SIP."""
    command.add_argument(
        "--account", default="", required=required, metavar="XMPP", help="your XMPP address"
    )
    command.add_argument("--password-file", type=Path, metavar="FILE", help="its password is here")
    command.add_argument("--server", type=_server, metavar="HOST[:PORT]", help="its server")
    command.add_argument("--server-name", default="", help="name the server must prove")
    command.add_argument("--authorities", type=Path, metavar="PEM", help="trust these for it")
    command.set_defaults(no_password=False)


def _add_people(command: argparse.ArgumentParser) -> None:
    account = command.add_argument_group("people you write with (needs --account)")
    _add_account(account, required=False)
    one = account.add_mutually_exclusive_group()
    for name, does in (
        ("invite", "ask this person to be a contact"),
        ("accept", "say yes to somebody who asks"),
        ("decline", "say no"),
        ("remove", "drop this contact"),
        ("block", "hear nothing from there"),
        ("unblock", "hear from there again"),
        ("devices", "list the devices that messages to this person are encrypted for"),
    ):
        one.add_argument(f"--{name}", metavar="ADDRESS", help=does)
    for name, does in (("trust", "encrypt for this device"), ("distrust", "never encrypt for it")):
        one.add_argument(f"--{name}", nargs=2, metavar=("ADDRESS", "DIGITS"), help=does)
    account.add_argument("--compared", action="store_true", help="you compared the fingerprint")


def _add_chat(command: argparse.ArgumentParser) -> None:
    command.add_argument("target", metavar="ADDRESS", help="with whom: bob@clinic.example")
    command.add_argument("--plain", action="store_true", help="lines instead of the whole screen")
    _add_account(command)


def _add_sending(command: argparse.ArgumentParser, *, voice: bool) -> None:
    command.add_argument("target", metavar="ADDRESS", help="to whom: bob@clinic.example")
    if voice:
        how = command.add_mutually_exclusive_group()
        how.add_argument("--seconds", type=_count, default=60, help="record so long (%(default)s)")
        how.add_argument("--file", type=Path, metavar="WAV", help="send this instead")
    else:
        command.add_argument("file", type=Path, metavar="FILE")
        command.add_argument("--text", default="", help="said after it")
    command.add_argument("--expires", metavar="TIME", help="deleted on both sides after 7d, 12h, …")
    _add_account(command)


def _add_inbox(command: argparse.ArgumentParser) -> None:
    command.add_argument("--save", type=Path, metavar="FOLDER", help="save the files in here")
    command.add_argument("--keep-unread", action="store_true", help="do not mark it as read")
    _add_account(command)


def _add_report(commands: Commands, common: argparse.ArgumentParser) -> None:
    does = "show who could have listened to a call, or check the report of one"
    report = add_command(commands, (), "report", does)
    acts = report.add_subparsers(dest="act", required=True, metavar="show|verify")
    show = add_command(acts, (common,), "show", "one page in plain words")
    show.add_argument("--html", type=Path, metavar="OUT", help="write the page as HTML instead")
    verify = add_command(
        acts,
        (common,),
        "verify",
        "what is proved, missing or false in it",
        epilog="Exit codes: 0 both ends signed and nothing was changed; 5 it was changed or is not "
        "true; 8 nothing is false, but a signature is missing; 4 no report; 7 no such file.",
    )
    for act in (show, verify):
        act.add_argument("file", type=Path, metavar="FILE", help="from securecall call --report")


def _add_lab(command: argparse.ArgumentParser) -> None:
    command.add_argument("--port", type=_port, default=0, help="port to serve on (a free one)")
    command.add_argument("--host", default="127.0.0.1", help="loopback address (%(default)s)")
    command.add_argument("--domain", default="lab.test", help="of the addresses (%(default)s)")
    command.add_argument(
        "--user", action="append", default=[], metavar="NAME[:PASSWORD]",
        help="one more person beside alice and bob, or a password of your choice for them",
    )  # fmt: skip
    command.add_argument(
        "--digest", action="append", choices=("SHA-512-256", "SHA-256", "MD5"),
        help="ask for passwords this way alone; some old phones know MD5 and give up at others",
    )  # fmt: skip
    command.add_argument("--keep", type=Path, metavar="DIR", help="work here and leave it")
    command.add_argument("--kamailio", action="store_true", help="start Kamailio, too")
    command.add_argument(
        "--prosody", action=argparse.BooleanOptionalAction,
        help="serve chat, too, with Prosody (default: where it is installed)",
    )  # fmt: skip
    command.add_argument(
        "--danger-lan", action="store_true", help="let other machines reach this server"
    )


def _port(text: str) -> int:
    port = int(text) if text.isdecimal() else -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("a port is 0 to 65535")
    return port


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes <= 366 * 1440:
        raise argparse.ArgumentTypeError("a ticket is valid for more than nothing, at most a year")
    return minutes


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e7:
        raise argparse.ArgumentTypeError("it takes a number of seconds above 0")
    return seconds


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 10**7:
        raise argparse.ArgumentTypeError("it takes a whole number above 0")
    return int(text)


def _server(text: str) -> str:
    from securecall.account import parse_server
    from securecall.errors import UsageError

    try:
        _ = parse_server(text)
    except UsageError as e:
        raise argparse.ArgumentTypeError(str(e)) from e
    return text


def _relay(text: str) -> str:
    from securecall.errors import UsageError
    from securecall.transport.turn import parse_turn_uri

    try:
        _ = parse_turn_uri(text)
    except UsageError as e:
        raise argparse.ArgumentTypeError(str(e)) from e
    return text


def _place(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal():
        raise argparse.ArgumentTypeError("write HOST:PORT")
    return host.strip("[]"), _port(port)
