"""The guard that watches the other tests is itself watched here."""

from __future__ import annotations

import base64
import logging

import pytest

from securecall.chat.message import Text
from securecall.secret import Secret
from tests.guard import CANARY, SecretGuard


@pytest.fixture
def guard():
    guard = SecretGuard()
    guard.watch(CANARY)
    return guard


@pytest.mark.parametrize(
    "text",
    [
        CANARY.decode(),
        f"key={CANARY.hex()}",
        f"key={CANARY.hex().upper()}",
        f"key={CANARY.hex(':')}",
        f"key={base64.b64encode(CANARY).decode()}",
        f"key={base64.urlsafe_b64encode(CANARY).rstrip(b'=').decode()}",
        f"key={CANARY!r}",
    ],
)
def test_a_secret_is_found_in_every_usual_spelling(guard, text):
    guard.look_at(f"before {text} after", where="here")
    assert guard.found() == [f"a secret of {len(CANARY)} bytes was printed: here"]


def test_an_innocent_text_is_let_through(guard):
    guard.look_at("call 17 from 'sip:alice@clinic.example' ended: hung-up", where="here")
    assert guard.found() == []


def test_a_secret_in_the_arguments_of_a_log_record_is_found(guard):
    record = logging.LogRecord("x", logging.DEBUG, "f.py", 1, "key %r", (CANARY,), None)
    guard.emit(record)
    assert len(guard.found()) == 1


@pytest.mark.parametrize(
    ("name", "leaks"), [("securecall.chat", 1), ("somebody.else", 0)], ids=["ours", "not ours"]
)
def test_what_somebody_wrote_is_found_in_our_logs(guard, name, leaks):
    guard.watch_text("the biopsy was benign")
    message = "message %r from alice"
    guard.emit(logging.LogRecord(name, 10, "f.py", 1, message, ("the biopsy was benign",), None))
    assert len(guard.found()) == leaks


@pytest.mark.reveals("the leak is the point")
def test_every_text_made_in_a_test_is_watched_without_being_asked():
    Text(body="the biopsy was benign")
    logging.getLogger("securecall.test").debug("sent: the biopsy was benign")
    (guard,) = [h for h in logging.getLogger().handlers if isinstance(h, SecretGuard)]
    assert len(guard.found()) == 1


@pytest.mark.reveals("the leak is the point")
def test_every_secret_made_in_a_test_is_watched_without_being_asked():
    Secret(bytes(range(40, 72)))
    logging.getLogger("securecall.test").debug("%s", bytes(range(40, 72)).hex())
    guards = [h for h in logging.getLogger().handlers if isinstance(h, SecretGuard)]
    assert len(guards) == 1
    assert len(guards[0].found()) == 1  # taken out here, so that this test itself may pass


def test_the_repr_of_a_secret_is_no_leak(guard, canary, caplog):
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("securecall.test").debug("%r %s", canary, canary)
    guard.look_at(caplog.text, where="log")
    assert guard.found() == []
