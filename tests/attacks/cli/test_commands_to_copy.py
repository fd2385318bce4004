"""Whoever hands us over, or calls, has an address that acts in the shell of who copies a command.

An address may hold `$(…)`, backquotes and `&`, and the command prints it in lines to copy.
"""

from __future__ import annotations

import io
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from securecall.address import parse_address
from securecall.cli.output import PeopleOutput
from securecall.cli.terminal import Terminal

pytestmark = [
    pytest.mark.attack,
    pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell"),
]

MARKER = "obeyed"
ADDRESSES = {
    "runs what is in brackets": "sip:$(touch$IFS$9obeyed)@evil.example",
    "the same with a space": "sip:$(touch%20obeyed)@evil.example",
    "backquotes": "sip:`touch%20obeyed`@evil.example",
    "another command beside it": "sip:x&touch%20obeyed&@evil.example",
    "behind a quote": "sip:'%7Ctouch%20obeyed%7C'@evil.example",
    "an option": "sip:--report=obeyed%20x@evil.example",
}


def obeyed(line, folder):
    """Whether a shell does anything but call the command, as one argument each."""
    harmless = "securecall() { case $# in 2) ;; 4) ;; *) touch obeyed;; esac; "
    harmless += 'for a in "$@"; do case $a in --add) ;; -*) touch obeyed;; esac; done; }'
    subprocess.run(["sh", "-c", f"{harmless}\n{line}\nwait\n"], cwd=folder, check=False, timeout=10)
    return (folder / MARKER).exists()


def printed(kind, **fields):
    out = io.StringIO()
    PeopleOutput(Terminal(out, {"COLUMNS": "400"})).tell(kind, **fields)
    (line,) = [x.strip() for x in out.getvalue().splitlines() if x.startswith("  securecall ")]
    return line


@pytest.mark.parametrize("text", ADDRESSES.values(), ids=ADDRESSES)
def test_an_address_to_call_instead_is_one_argument(text, tmp_path):
    address = parse_address(text)
    line = printed("transfer", target=text, address=str(address), asked=False)
    assert not obeyed(line, tmp_path)
    assert shlex.split(line)[:2] == ["securecall", "call"]
    assert parse_address(shlex.split(line)[2]) == address


@pytest.mark.parametrize("text", ADDRESSES.values(), ids=ADDRESSES)
def test_an_address_to_bind_to_a_key_is_one_argument(text, tmp_path):
    address = parse_address(text)
    line = printed("unbound", address=str(address), key="key:0123456789abcdef")
    assert not obeyed(line, tmp_path)
    assert parse_address(shlex.split(line)[4]) == address


@pytest.mark.parametrize("text", ADDRESSES.values(), ids=ADDRESSES)
def test_control_as_it_is_it_acts(text, tmp_path):
    quote = "'" * text.startswith("sip:'")  # which ends the quotes that a naive command puts
    address = parse_address(text)
    as_it_is = f"{quote}{address.user}@{address.host}{quote}"
    assert obeyed(f"securecall call {as_it_is}", tmp_path)


def test_an_ordinary_address_is_printed_as_it_is():
    line = printed("transfer", target="x", address="sip:carol@example.com", asked=False)
    assert line == "securecall call sip:carol@example.com"


def others_see(pid):
    """What any user of the machine reads in the list of processes."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_a_ticket_is_in_no_command_that_is_told_to_a_friend():
    ticket = "securecall:1:AAAA"
    out = io.StringIO()
    PeopleOutput(Terminal(out, {})).tell("ticket", ticket=ticket, host="h", port=1, picture="")
    (told,) = [line for line in out.getvalue().splitlines() if line.startswith("    securecall")]
    assert "securecall:" not in told
    assert told.split()[:3] == ["securecall", "call", "-"]
    waits = [sys.executable, "-c", "print(1, flush=True); input()"]
    for words, seen in (((*waits, "call", "-"), False), ((*waits, "call", ticket), True)):
        pipe = subprocess.PIPE
        with subprocess.Popen(words, stdin=pipe, stdout=pipe) as process:  # the last: the control
            process.stdout.readline()
            assert (ticket in others_see(process.pid)) is seen
            process.communicate(b"\n")
