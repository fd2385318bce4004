"""The history of calls: what is kept of one, and what goes."""

from __future__ import annotations

from dataclasses import replace

import pytest

import securecall as sc
from securecall.call_history import MOST_CALLS, CallHistory, PastCall
from securecall.errors import EndReason, LocalError, UsageError
from securecall.policy import SecurityLevel
from securecall.store.lock import MINIMUM_COST
from securecall.store.sqlite import FILE, Store

NOW = 1_800_000_000
DAY = 86_400
PAST = PastCall(
    number=0,
    began=NOW,
    talked=12.3,
    outgoing=True,
    peer="bob@example.com",
    address="sip:bob@example.com",
    ended=EndReason.HUNG_UP,
    level=SecurityLevel.E2EE,
    known=True,
)
MISSED = replace(PAST, outgoing=False, talked=0.0, ended=EndReason.CANCELLED, known=False)
PASSPHRASE = sc.Secret("correct horse")


class World:
    def __init__(self, folder):
        self.folder, self.now = folder, NOW
        self.store = Store.create(folder, PASSPHRASE, device_id="d", cost=MINIMUM_COST)
        self.history = CallHistory(self.store, lambda: self.now)

    def again(self):
        self.store.close()
        self.store = Store.open(self.folder, PASSPHRASE)
        self.history = CallHistory(self.store, lambda: self.now)
        return self.history

    def numbers(self):
        return [past.number for past in self.history.calls()]


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path / "home")
    yield world
    world.store.close()


def test_what_was_noted_is_there_after_a_restart_the_newest_first(world):
    world.history.note(PAST)
    world.history.note(MISSED)
    assert world.again().calls() == (replace(MISSED, number=2), replace(PAST, number=1))


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({}, True),
        ({"ended": EndReason.NO_ANSWER}, True),
        ({"ended": EndReason.BUSY}, True),
        ({"ended": EndReason.DECLINED}, False),
        ({"ended": EndReason.SECURITY}, False),
        ({"outgoing": True}, False),
        ({"talked": 0.1}, False),
    ],
)
def test_missed_is_what_nobody_here_took_or_refused(change, missed):
    assert replace(MISSED, **change).missed is missed


def test_what_is_too_old_or_too_many_goes_and_numbers_do_not_come_again(world):
    world.history.keep(calls=3, days=10)
    for at in range(5):
        world.history.note(replace(PAST, began=NOW + at * DAY))
    assert world.numbers() == [5, 4, 3]
    world.now = NOW + 13 * DAY
    assert world.numbers() == [5]
    assert [row.number for row in world.store.calls()] == [5]  # not only out of sight
    world.history.note(replace(PAST, began=world.now))
    assert world.numbers() == [6, 5]


def test_strangers_crowd_out_nobody(world):
    world.history.keep(calls=10, days=10)
    for _ in range(6):
        world.history.note(PAST)
    for _ in range(50):
        world.history.note(MISSED)
    kept = world.history.calls()
    assert [p.known for p in kept] == [False] * 2 + [True] * 6
    world.history.note(replace(MISSED, known=True))  # somebody we know
    assert [p.known for p in world.history.calls()] == [True, False, False] + [True] * 6


def test_who_calls_again_and_again_has_nothing_read_again(world, monkeypatch):
    """Each call that is refused is remembered on the loop that carries sound."""
    for _ in range(3):
        world.history.note(PAST)
    read = []
    rows = world.store._rows
    really = rows.read_all
    monkeypatch.setattr(rows, "read_all", lambda table: read.append(table) or really(table))
    for _ in range(5):
        world.history.note(MISSED)
    assert read == []
    assert world.numbers() == [8, 7, 6, 5, 4, 3, 2, 1]
    assert read != []  # the control: whoever asks reads


def test_what_the_disk_refuses_is_looked_up_again(world, monkeypatch):
    world.history.note(PAST)

    def refuse(*_args, **_options):
        raise LocalError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(world.store, "append_call", refuse)
        with pytest.raises(LocalError):
            world.history.note(PAST)
    world.history.note(MISSED)
    assert world.numbers() == [2, 1]


def test_control_without_a_share_of_their_own_they_would(world, monkeypatch):
    monkeypatch.setattr("securecall.call_history._STRANGERS", 1)
    world.history.keep(calls=10, days=10)
    for _ in range(6):
        world.history.note(PAST)
    for _ in range(50):
        world.history.note(MISSED)
    assert not any(p.known for p in world.history.calls())


def test_nothing_is_remembered_where_that_is_wished(world):
    world.history.note(PAST)
    world.history.keep(calls=0, days=0)
    world.history.note(PAST)
    assert (world.numbers(), world.store.calls(), world.history.kept) == ([], (), (0, 0))


def test_calls_are_forgotten_one_by_one_or_all(world):
    for _ in range(4):
        world.history.note(PAST)
    world.history.forget([1, 3])
    assert world.numbers() == [4, 2]
    with pytest.raises(UsageError, match="number 3"):
        world.history.forget([2, 3])
    assert world.numbers() == [4, 2]
    world.history.clear()
    assert world.numbers() == []


@pytest.mark.parametrize("wish", [(-1, 5), (MOST_CALLS + 1, 5), (5, -1), (5, 10**6)])
def test_a_wish_that_cannot_be_meant_is_refused(world, wish):
    with pytest.raises(UsageError):
        world.history.keep(calls=wish[0], days=wish[1])
    assert world.history.kept == (500, 365)


def test_the_file_shows_neither_with_whom_nor_how_long_the_name_is(world):
    sizes = []
    for user in ("bo", "barbara.longest.of.names"):
        world.history.clear()
        world.history.note(replace(PAST, peer=f"{user}@example.com", address=f"sip:{user}@x.de"))
        sizes.append({len(row.data) for row in world.store.calls()})
    world.store.close()
    everything = b"".join(p.read_bytes() for p in world.folder.iterdir() if p.is_file())
    assert (world.folder / FILE).stat().st_size
    for name in (b"barbara", b"example.com", b"hung"):
        assert name not in everything
    assert sizes[0] == sizes[1]
