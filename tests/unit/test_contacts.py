"""What our own statement says of this device's PASSporT key."""

from __future__ import annotations

import time

import pytest

from securecall.contacts import Contacts
from securecall.keys.statement import parse_statement
from securecall.secret import Secret
from securecall.store.sqlite import Store
from securecall.store.vault import MINIMUM_COST


@pytest.fixture
def reopened(tmp_path):
    """Opens the same store again and again."""
    Store.create(tmp_path, Secret("a passphrase"), cost=MINIMUM_COST).close()
    opened = []

    def again():
        if opened:
            opened[-1].close()
        opened.append(Store.open(tmp_path, Secret("a passphrase")))
        return Contacts(opened[-1])

    yield again
    opened[-1].close()


def listed(contacts):
    statement = parse_statement(contacts.statement, unix=int(time.time()))
    return statement.seq, [device.p256 for device in statement.devices]


def test_a_passport_key_is_made_once_and_listed_only_when_it_is_wanted(reopened):
    contacts = reopened()
    first, keys = listed(contacts)
    assert keys == [b""]
    key = contacts.passport_key()
    second, keys = listed(contacts)
    assert keys == [key.public]
    assert second > first
    contacts = reopened()
    assert contacts.passport_key().public == key.public
    assert listed(contacts) == (second, [key.public])  # nothing was said anew
    contacts = reopened()  # a run that signs nothing does not take the key back
    assert listed(contacts) == (second, [key.public])
