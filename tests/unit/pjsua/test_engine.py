"""The one thread of PJSIP, without PJSIP: who may have it, and that it ends in order."""

from __future__ import annotations

import threading
import weakref

import pytest

from securecall.errors import LocalError, UsageError
from securecall.pjsua.engine import Engine


class Living:
    """Takes down on which threads it was made, turned and closed."""

    def __init__(self, *, breaks=False):
        self.made = threading.get_ident()
        self.turned = threading.Event()
        self.closed = None
        self.breaks = breaks

    def turn(self):
        assert threading.get_ident() == self.made
        self.turned.set()
        if self.breaks:
            raise RuntimeError("a bug of ours")

    def close(self):
        self.closed = threading.get_ident()


def fails():
    raise UsageError("no such build")


def test_everything_happens_on_its_thread_and_the_place_is_free_afterwards():
    engine = Engine("alice@clinic.example")
    living = engine.begin(Living).result(5)
    assert engine.do(threading.get_ident).result(5) == living.made != threading.get_ident()
    with pytest.raises(ValueError, match="of the work"):
        engine.do(lambda: int("of the work")).result(5)
    engine.close()
    assert living.closed == living.made
    assert engine.do(threading.get_ident).cancelled()
    engine.close()  # again
    Engine("bob@clinic.example").begin(Living).result(5)
    with pytest.raises(UsageError, match="bob@clinic"):
        Engine("carol@clinic.example")


@pytest.fixture(autouse=True)
def _ended(monkeypatch):
    """Ends whatever a test began."""
    begun = []
    begin = Engine.begin
    monkeypatch.setattr(Engine, "begin", lambda self, b: (begun.append(self), begin(self, b))[1])
    yield
    for engine in begun:
        engine.close()


def test_who_cannot_be_made_leaves_the_place_free():
    with pytest.raises(UsageError, match="no such build"):
        Engine("alice").begin(fails).result(5)
    Engine._owning.acquire()
    Engine._owning.release()
    second = Engine("bob")
    assert second.begin(Living).result(5)


def test_what_breaks_is_closed_on_its_thread(caplog):
    engine = Engine("alice")
    living = engine.begin(lambda: Living(breaks=True)).result(5)
    engine.end().result(5)
    assert living.closed == living.made
    assert "a bug of ours" in caplog.text


def test_an_error_keeps_nothing_alive_that_belongs_to_the_thread():
    class OfPjsip:
        pass

    kept = []

    def breaks():
        held = OfPjsip()
        kept.append(weakref.ref(held))
        try:
            raise ValueError(held.__class__.__name__)
        except ValueError as e:
            raise UsageError("too many") from e

    engine = Engine("alice")
    engine.begin(Living).result(5)
    error = engine.do(breaks).exception(5)
    assert engine.do(lambda: kept[0]()).result(5) is None
    assert isinstance(error, UsageError)
    assert isinstance(error.__cause__, ValueError)


def test_work_that_comes_as_the_thread_ends_is_cancelled_and_not_forgotten():
    engine = Engine("alice")
    late = []

    class Last(Living):
        def close(self):
            late.append(engine.do(threading.get_ident))
            super().close()

    engine.begin(Last).result(5)
    engine.close()
    (work,) = late
    assert work.cancelled()


def test_where_no_thread_can_be_had_the_place_is_free(monkeypatch):
    def refuses(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuses)
        with pytest.raises(LocalError, match="new thread"):
            Engine("alice").begin(Living).result(5)
    assert Engine("bob").begin(Living).result(5)
