"""When a statement of ours says what is so, and until when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securecall.address import parse_address
from securecall.keys.household import Household
from securecall.keys.passport import PassportKey
from securecall.keys.this_device import ROTATION_SECONDS, STATEMENT_SECONDS, ThisDevice
from tests.forge_statement import DAY, NOW, device_key, root_key

ROOT, NOBODY = root_key(1), Household()
PHONE = ThisDevice(
    device=device_key(2, "phone"),
    since=NOW,
    claimed=(parse_address("sip:alice@a.example"),),
    omemo=(),
    passport=PassportKey.generate(),
)
SAID = PHONE.signed(ROOT, NOBODY, seq=NOW * 1000, unix=NOW)
OTHERWISE = {
    "no key for PASSporTs": replace(PHONE, passport=None),
    "another address": replace(PHONE, claimed=(parse_address("sip:alice@b.example"),)),
    "another name": replace(PHONE, device=device_key(2, "desk")),
}


def test_a_key_is_due_a_month_before_its_year_is_over():
    assert ROTATION_SECONDS == 335 * DAY
    assert not PHONE.rotation_due(unix=NOW + ROTATION_SECONDS)
    assert PHONE.rotation_due(unix=NOW + ROTATION_SECONDS + 1)
    assert not replace(PHONE, since=0).rotation_due(unix=NOW)


def test_what_was_signed_is_said_for_half_of_its_life():
    half = NOW + STATEMENT_SECONDS // 2
    assert PHONE.is_said_in(SAID, NOBODY, unix=half) is True
    assert PHONE.is_said_in(SAID, NOBODY, unix=half + 1) is False
    # nobody knows how old the key is
    assert replace(PHONE, since=0).is_said_in(SAID, NOBODY, unix=NOW) is False


def test_a_device_without_the_root_asks_when_a_quarter_is_left():
    quarter = SAID.exp - STATEMENT_SECONDS // 4
    assert not PHONE.is_missing_in(SAID, unix=quarter)
    assert PHONE.is_missing_in(SAID, unix=quarter + 1)


@pytest.mark.parametrize("this", OTHERWISE.values(), ids=OTHERWISE)
def test_a_device_that_is_otherwise_is_not_what_is_said(this):
    assert this.is_missing_in(SAID, unix=NOW)
    assert this.is_said_in(SAID, NOBODY, unix=NOW) is False


def test_withdrawn_devices_have_to_be_said():
    assert not PHONE.is_said_in(SAID, replace(NOBODY, revoked=("desk",)), unix=NOW)


def test_its_keys_are_not_shown():
    assert "key" not in repr(PHONE).lower()
