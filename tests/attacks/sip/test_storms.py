"""A peer, or who sits in between, tries to have us send without end."""

from __future__ import annotations

import pytest

from securecall.calls.signaling import Answered, Deferred, Offered, Refused
from securecall.media.description import Direction
from securecall.sip import session_timer
from securecall.sip.changes import MOST_TRIES
from securecall.sip.headers import Headers
from securecall.sip.message import Request, Response
from securecall.sip.registration import Registration, RegistrationState
from tests.sip_wire import ANSWER, OFFER, Wire, directed, edited


def refreshes_of_ten_minutes() -> int:
    wire = Wire()
    wire.hand = lambda m: (
        edited(m, Session_Expires="1;refresher=uac") if isinstance(m, Response) else m
    )
    wire.connect()
    wire.advance(600.0)
    return wire.alice.requests().count("UPDATE")


def test_an_interval_of_a_second_makes_no_storm_of_refreshes():
    assert refreshes_of_ten_minutes() == 600 // 45


def test_control_without_a_least_interval_it_does(monkeypatch):
    monkeypatch.setattr(session_timer, "LEAST", 1)
    assert refreshes_of_ten_minutes() > 1000


@pytest.mark.parametrize("allow", ["INVITE, ACK, BYE, CANCEL", "UPDATE"])
def test_a_least_interval_that_grows_with_every_refresh_is_followed_once_each(allow):
    wire = Wire()
    least = 1800

    def hand(message):
        nonlocal least
        if isinstance(message, Request) and message.to.tag and message.method != "ACK":
            return edited(message, Session_Expires="1", Supported="timer", Allow=allow)
        if isinstance(message, Response) and message.status == 422:
            least += 1
            return edited(message, Min_SE=str(least))
        return edited(message, Allow=allow)

    wire.hand = hand
    wire.connect()
    wire.advance(1700.0)
    refreshes = [m for m in wire.alice.requests() if m in ("UPDATE", "INVITE")]
    assert 2 <= len(refreshes) <= 12  # twice at each of the few moments that halve what is left
    wire.advance(200.0)
    assert wire.alice.requests()[-1] == "BYE"
    wire.require_over()


def test_an_offer_that_always_meets_another_is_given_up():
    wire = Wire()
    wire.connect()

    def hand(message):
        if isinstance(message, Response) and message.cseq.method == "INVITE":
            return Response(491, "Request Pending", message.headers)
        return message

    wire.hand = hand
    wire.say(wire.alice, Offered(directed(OFFER, Direction.SENDONLY)))
    for _ in range(20):
        wire.settle()
        if wire.bob.heard:
            wire.bob.heard.clear()
            wire.say(wire.bob, Answered(ANSWER))
            wire.settle()
        wire.advance(2.0)
    assert wire.alice.take() == [Deferred()] * (MOST_TRIES - 1) + [Refused(491)]
    assert wire.alice.requests().count("INVITE") == MOST_TRIES


def registration() -> Registration:
    return Registration(contact="sip:us@x.invalid", instance="", now=0.0)


def said(status: int, *fields: tuple[str, str]) -> Response:
    return Response(status, "x", Headers(fields))


def test_a_registrar_that_always_wants_a_little_longer_is_asked_ever_less_often():
    asking = registration()
    now, tries = 0.0, 0
    while now < 600.0 and tries < 1000:
        fields = asking.fields()
        tries += 1
        longer = str(int(fields.first("expires") or "0") + 1)
        asking.receive(said(423, ("Min-Expires", longer)), now=now, chance=0.5)
        if tries == 1:
            assert asking.due == now  # control: once it is told at once what it wants
        now = asking.due or 0.0
    assert tries <= 20


def test_a_server_that_registers_us_and_hangs_up_is_asked_ever_less_often():
    asking = registration()
    now, tries = 0.0, 0
    while now < 600.0 and tries < 1000:
        _ = asking.fields()
        tries += 1
        asking.receive(said(200), now=now, chance=0.5)
        asking.lost(now=now)
        assert asking.state is RegistrationState.CONNECTING
        now = asking.due or 0.0
    assert tries <= 20


def test_control_a_connection_that_held_is_replaced_at_once():
    asking = registration()
    for now in (0.0, 60.0, 120.0):
        _ = asking.fields()
        asking.receive(said(200), now=now, chance=0.5)
        asking.lost(now=now + 59.0)
        assert asking.due == now + 59.0
