from __future__ import annotations

import io
import json
import sys

import pytest

from securecall.cli import commands, failures, keys_command
from securecall.cli.main import main, run
from securecall.cli.options import parser


@pytest.fixture
def passphrase(tmp_path):
    path = tmp_path / "passphrase"
    path.write_text("correct horse\n")
    return path


@pytest.mark.parametrize(
    "wrong",
    [
        ["fly"],
        ["answer", "--port", "x"],
        ["ticket", "--minutes", "soon"],
        ["answer", "--port", "70000"],
        ["ticket", "--minutes", "0"],
        ["call"],
        ["call", "bob", "--seconds", "-3"],
        ["sound", "--listen", "nan"],
        ["calls", "--count", "0"],
        ["call", "bob", "--server", "nowhere:x"],
        ["call", "bob", "--require", "NONE"],
        ["init", "--passphrase", "on the command line"],
    ],
    ids=" ".join,
)
def test_wrong_usage_leaves_with_2_and_says_so_as_any_error(wrong, capsys):
    assert run(wrong) == 2
    out, err = capsys.readouterr()
    what, where = err.splitlines()
    assert out == ""
    assert what.startswith("securecall: ")
    assert where.strip().startswith("See: securecall")
    assert "invalid _" not in err
    assert run([*wrong, "--json"]) == 2
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["exit_code"] == 2


def test_whoever_types_the_name_alone_reads_what_there_is(capsys):
    assert run([]) == 2
    assert "see what securecall does, in less than a minute" in capsys.readouterr().out


def test_no_option_takes_a_passphrase():
    texts = parser().format_help()
    assert "PASSPHRASE" not in texts.replace("--passphrase-file", "")


def test_without_keys_one_line_says_what_and_one_what_to_do(tmp_path, passphrase, capsys):
    home = tmp_path / "nobody"
    code = run(["contacts", "--home", str(home), "--passphrase-file", str(passphrase)])
    out, err = capsys.readouterr()
    assert code == 7
    assert out == ""
    assert len(err.splitlines()) == 2
    assert f"securecall init --home {home}" in err
    assert "Traceback" not in err


def test_with_json_an_error_is_an_event_on_standard_output(tmp_path, passphrase, capsys):
    home = tmp_path / "nobody"
    run(["contacts", "--json", "--home", str(home), "--passphrase-file", str(passphrase)])
    out, err = capsys.readouterr()
    event = json.loads(out)
    assert (event["type"], event["kind"], event["exit_code"]) == ("error", "NoIdentity", 7)
    assert err == ""


def test_a_passphrase_is_never_asked_for_without_a_terminal(tmp_path, capsys):
    assert run(["init", "--home", str(tmp_path / "new")]) == 2
    assert "--passphrase-file" in capsys.readouterr().err


def test_init_twice_keeps_the_keys_and_another_passphrase_does_not_open_them(
    tmp_path, passphrase, capsys
):
    home = ["--home", str(tmp_path / "home"), "--json"]
    assert run(["init", *home, "--passphrase-file", str(passphrase)]) == 0
    assert run(["init", *home, "--passphrase-file", str(passphrase)]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["created"], second["created"]) == (True, False)
    assert first["root"] == second["root"]
    other = tmp_path / "other"
    other.write_text("wrong")
    assert run(["init", *home, "--passphrase-file", str(other)]) == 7
    assert json.loads(capsys.readouterr().out)["kind"] == "WrongPassphrase"


def test_what_is_no_ticket_leaves_with_4_and_what_is_no_address_with_2(
    tmp_path, passphrase, capsys
):
    home = ["--home", str(tmp_path / "home"), "--passphrase-file", str(passphrase)]
    assert run(["init", *home]) == 0
    assert run(["call", "securecall:1:AAAA", *home]) == 4
    assert "begins with securecall:1:" in capsys.readouterr().err
    assert run(["call", "bob@192.0.2.1", *home]) == 2
    assert run(["call", f"@{tmp_path / 'absent'}", *home]) == 7
    assert run(["verify", "sip:bob@clinic.example", *home]) == 2


@pytest.mark.parametrize(
    ("command", "error", "says"),
    [
        (["ticket", "--qr", "--port", "0"], "Unsupported", 'pip install "securecall[qr]"'),
        (["ticket", "--png", "code.png", "--port", "0"], "Unsupported", "securecall[qr]"),
        (["ticket", "--svg", "code.pdf", "--port", "0"], "UsageError", ".png or a .svg"),
        (["ticket", "--svg", "no/folder/code.svg", "--port", "0"], "LocalError", "code.svg"),
        (["ticket", "--out", "no/folder/ticket", "--port", "0"], "LocalError", "ticket"),
        (["keys", "succeed", "--qr"], "Unsupported", "securecall[qr]"),
    ],
)
def test_a_picture_that_cannot_be_made_is_said_before_anything_is_done(
    tmp_path, passphrase, capsys, monkeypatch, command, error, says
):
    home = ["--home", str(tmp_path / "home"), "--passphrase-file", str(passphrase)]
    assert run(["init", *home]) == 0
    monkeypatch.chdir(tmp_path)
    if error == "Unsupported":
        monkeypatch.setitem(sys.modules, "segno", None)
    done = []
    for module in (commands, keys_command):
        monkeypatch.setattr(module, "open_home", lambda *_: done.append("opened"))
    assert run([*command, *home]) == getattr(failures, {"LocalError": "LOCAL"}.get(error, "USAGE"))
    assert says in capsys.readouterr().err
    assert done == []


def test_a_program_that_reads_json_draws_no_code_and_needs_nothing_for_it(
    tmp_path, passphrase, capsys, monkeypatch
):
    home = ["--home", str(tmp_path / "home"), "--passphrase-file", str(passphrase), "--json"]
    assert run(["init", *home]) == 0
    monkeypatch.setitem(sys.modules, "segno", None)
    assert run(["ticket", "--qr", "--host", "127.0.0.1", "--port", "0", *home]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[1])["type"] == "ticket"


def test_who_starts_it_without_streams_gets_the_exit_code(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(SystemExit) as left:
        main(["attack", "run", "Z9"])
    assert left.value.code == 2
    sys.stdout.close()
    sys.stderr.close()


def test_a_terminal_with_few_letters_shows_help_with_others(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    with pytest.raises(SystemExit) as left:
        main(["attack", "--help"])
    assert left.value.code == 0
    sys.stdout.flush()
    assert b"A1, D6, ? or all" in written.getvalue()


@pytest.mark.parametrize(
    ("wrong", "see"),
    [
        (["attack", "run", "Z9"], "securecall attack --help"),
        (["org", "create", "no domain"], "securecall org create --help"),
        (["verify"], "securecall verify --help"),
    ],
)
def test_advice_names_the_help_of_the_command_that_was_run(wrong, see, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    assert run(wrong) == 2
    assert capsys.readouterr().err.splitlines()[-1].strip() == f"See: {see}"
