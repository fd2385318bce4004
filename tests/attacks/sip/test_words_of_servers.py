"""What a server says in its answers is shown to people, and may not act on their terminals."""

from __future__ import annotations

import asyncio

import pytest

from securecall.account import open_account
from securecall.cli import failures
from securecall.errors import ConnectFailed, RegistrationFailed
from securecall.sip.message import build_message
from securecall.testing.authority import Authority
from tests.registrar import DOMAIN, Registrar, reply, site

pytestmark = pytest.mark.attack
CLEAR = "\x1b]0;mallory\x07\x1b[2J"


async def refusal(folder, phrase: str) -> RegistrationFailed:
    authority = Authority.make(folder)
    registrar = Registrar(says=lambda r: build_message(reply(r, 503, reason=phrase)))
    async with site(authority.pem, authority.issue(DOMAIN), registrar) as at:
        with pytest.raises(RegistrationFailed) as refused:
            _ = await open_account(
                at.sign_in(server=("127.0.0.1", at.port), register=True),
                instance="urn:uuid:00000000-0000-4000-8000-000000000000",
                watcher=lambda *_: None,
            )
    return refused.value


def test_a_phrase_of_the_registrar_cannot_act_on_a_terminal(tmp_path):
    assert "Sleeping" in str(asyncio.run(refusal(tmp_path / "control", "Sleeping")))
    error = asyncio.run(refusal(tmp_path / "attack", CLEAR))
    assert "mallory" in str(error)  # it came through
    assert str(error).isprintable()


def test_the_command_shows_no_control_characters_of_any_error():
    error = ConnectFailed(f"somebody said {CLEAR}\nsecurecall: all is well")
    assert not str(error).isprintable()  # control
    assert failures.what_happened(error).isprintable()
