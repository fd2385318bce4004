from __future__ import annotations

import functools

import pytest

from tests.pairs.cli.command import Command, here


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Makes commands of three people with keys: people("alice", "call", ...)."""
    folder = tmp_path_factory.mktemp("people")
    passphrase = folder / "passphrase"
    passphrase.write_text("correct horse\n")

    def command(name, *arguments, way=Command):
        return way(*arguments, home=folder / name, passphrase=passphrase)

    for name in ("alice", "bob", "carol"):
        code, (made,) = command(name, "init", way=here)
        assert (code, made["type"]) == (0, "identity")
    return command


@pytest.fixture
def told(people):
    """Runs one in this process, where nobody waits for another: exit code, events."""
    return functools.partial(people, way=here)
