from __future__ import annotations

import pytest

from tests.pairs.cli.command import Command


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Makes commands of three people with keys: people("alice", "call", ...)."""
    folder = tmp_path_factory.mktemp("people")
    passphrase = folder / "passphrase"
    passphrase.write_text("correct horse\n")

    def command(name, *arguments):
        return Command(*arguments, home=folder / name, passphrase=passphrase)

    for name in ("alice", "bob", "carol"):
        with command(name, "init") as made:
            made.wait_for("identity")
            assert made.finish() == 0
    return command
