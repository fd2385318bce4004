"""No option of the command asks for less without saying danger, or leaves a secret lying open."""

from __future__ import annotations

from pathlib import Path

import pytest

from securecall.cli import calling, passphrase
from securecall.cli.options import parser
from securecall.errors import UsageError
from securecall.policy import IpPrivacy, Policy, floor_for
from securecall.qr import write_private
from securecall.secret import Secret


@pytest.mark.parametrize("command", [["call", "sip:bob@example.com"], ["answer"]])
@pytest.mark.parametrize("level", ["HOP_BY_HOP", "OPPORTUNISTIC", "E2EE", "VERIFIED"])
def test_requiring_a_level_leaves_the_policy_as_strict_as_without(command, level):
    policy = calling._policy(parser().parse_args([*command, "--require", level]))
    assert policy == Policy()
    floor = floor_for(policy, contact_floor=False, pinned=False, direct=False)
    assert floor.identity


def test_danger_is_said_by_its_name_and_not_together_with_a_requirement():
    plain = ["call", "sip:bob@example.com", "--danger-plain-dtls"]
    assert calling._policy(parser().parse_args(plain)).danger_plain_dtls
    with pytest.raises(UsageError):
        calling._policy(parser().parse_args([*plain, "--require", "E2EE"]))


@pytest.mark.parametrize("before", [None, 0o644, 0o666])
def test_a_ticket_is_written_for_our_eyes_only_whatever_file_was_there(tmp_path, before):
    file = tmp_path / "ticket"
    if before is not None:
        file.write_text("x" * 100)
        file.chmod(before)
    write_private(file, b"securecall:1:secret\n")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == "securecall:1:secret\n"


@pytest.mark.parametrize("command", [["call", "bob@clinic.example"], ["answer"]])
def test_hiding_is_for_everybody_and_relays_are_asked_as_whom_they_know(command, tmp_path):
    password = tmp_path / "password"
    password.write_text("of the relay")
    args = [*command, "--relay", "turn:r.example", "--relay", "turns:r.example:443", "--hide"]
    who = ["--relay-user", "alice", "--relay-password-file", str(password)]
    read = parser().parse_args([*args, *who])
    assert calling._policy(read).ip_privacy is IpPrivacy.RELAY
    udp, tls = calling._relays(read)
    assert (udp.port, udp.tls, tls.port, tls.tls) == (3478, False, 443, True)
    assert udp.username == tls.username == "alice"
    assert "of the relay" not in repr(udp)
    with pytest.raises(UsageError, match="--relay-user"):
        calling._relays(parser().parse_args(args))
    assert calling._policy(parser().parse_args(command)).ip_privacy is IpPrivacy.STRANGERS
    with pytest.raises(UsageError, match="turn:HOST"):
        parser().parse_args([*command, "--relay", "stun:r.example"])


@pytest.mark.parametrize(
    ("entries", "taken"), [("ab bb cc cc", "cc"), ("ab bb cc cd dd de", ""), ("a a", "a")]
)
def test_a_passphrase_is_chosen_by_typing_the_same_twice(monkeypatch, capsys, entries, taken):
    typed = [Secret(entry) for entry in entries.split()]
    monkeypatch.setattr(passphrase.Secret, "prompt", lambda _: typed.pop(0))
    monkeypatch.setattr(passphrase.sys.stdin, "isatty", lambda: True)
    if taken:
        chosen = passphrase.obtain(file=None, keyring=False, home=Path(), new=True)
        assert chosen == Secret(taken)
    else:
        with pytest.raises(UsageError, match="differ"):
            passphrase.obtain(file=None, keyring=False, home=Path(), new=True)
    assert capsys.readouterr().err.count("differ") == len(entries.split()) // 2 - bool(taken)
    assert not typed
