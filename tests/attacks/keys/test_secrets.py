"""K3: key bytes in repr, copies, pickles and exceptions.

The control is an ordinary dataclass, which gives them away in all four.
"""

from __future__ import annotations

import copy
import pickle
import traceback
from dataclasses import dataclass

import pytest

from securecall.errors import UsageError
from securecall.keys.device import DeviceKey
from securecall.keys.identity import RootKey
from securecall.keys.ticket import Ticket
from securecall.keys.ticket_desk import OutstandingTicket
from securecall.secret import Secret
from tests.guard import spellings

SEED = bytes(range(100, 132))
HOLDERS = {
    "root": lambda: RootKey.from_seed(Secret(SEED)),
    "device": lambda: DeviceKey.from_seed("d", Secret(SEED)),
    "ticket": lambda: Ticket(
        uris=("tls:a.example:1",), root_fp=bytes(64), secret=Secret(SEED), expiry=1
    ),
    "outstanding": lambda: OutstandingTicket(id="x", secret=Secret(SEED), expiry=1),
}


@dataclass
class Ordinary:
    seed: bytes


def leaks(text: str) -> bool:
    return any(spelling in text for spelling in spellings(SEED))


@pytest.mark.parametrize("name", HOLDERS)
def test_holders_of_keys_do_not_show_them(name):
    holder = HOLDERS[name]()
    for text in (repr(holder), str(holder), f"{holder}", f"{[holder]!r}"):
        assert not leaks(text)
    try:
        raise ValueError(holder)
    except ValueError:
        assert not leaks(traceback.format_exc())


@pytest.mark.parametrize("name", HOLDERS)
@pytest.mark.parametrize(
    "way", [copy.copy, copy.deepcopy, pickle.dumps, lambda x: pickle.dumps([x])]
)
def test_holders_of_keys_are_neither_copied_nor_pickled(name, way):
    with pytest.raises(UsageError):
        way(HOLDERS[name]())


def test_control_an_ordinary_dataclass_gives_them_away():
    holder = Ordinary(SEED)
    assert leaks(repr(holder))
    assert SEED in pickle.dumps(holder)
    assert copy.copy(holder).seed == SEED


def test_what_is_hashed_or_compared_is_not_the_key():
    assert RootKey.from_seed(Secret(SEED)) != RootKey.from_seed(Secret(SEED))
    with pytest.raises(UsageError):
        RootKey.from_seed(Secret(SEED[:31]))
    with pytest.raises(UsageError):
        DeviceKey.from_seed("", Secret(SEED))
