"""PJSIP's half on the event loop, without PJSIP: a thread with an endpoint of the test's on it."""

from __future__ import annotations

import asyncio
import sys
import threading
import types
from pathlib import Path

import pytest

from securecall.address import parse_address
from securecall.calls.carried import sound
from securecall.calls.signaling import (
    Answered,
    Ended,
    Offered,
    Refused,
    Ringing,
    Route,
    TransferProgress,
    TransferRequested,
    TransferStep,
)
from securecall.errors import (
    CertificateError,
    ConnectFailed,
    EndReason,
    LocalError,
    LoginRefused,
    Reason,
    RegistrationFailed,
    SecurityError,
    Unsupported,
    UsageError,
)
from securecall.media.description import Direction, Keying
from securecall.media.statistics import AudioStatistics
from securecall.pjsua import leg as leg_under_test
from securecall.pjsua import signaling as under_test
from securecall.pjsua import told
from securecall.pjsua.rings import Rings
from securecall.pjsua.signaling import PjsuaSignaling
from securecall.sip.connections import SipServer
from securecall.sip.message import parse_message
from securecall.sip.registration import RegistrationState

ALICE, BOB = parse_address("sip:alice@clinic.example"), parse_address("sip:bob@clinic.example")
CAROL = parse_address("sip:carol@clinic.example")
INVITE = parse_message(
    b"INVITE sip:alice@clinic.example SIP/2.0\r\n"
    b"Via: SIP/2.0/TLS proxy.example;branch=z9hG4bKp\r\n"
    b"Via: SIP/2.0/TLS 10.0.0.2;branch=z9hG4bKb\r\n"
    b"Record-Route: <sip:edge.example;lr>\r\n"
    b"From: <sip:bob@clinic.example>;tag=b\r\nTo: <sip:alice@clinic.example>\r\n"
    b"Call-ID: c\r\nCSeq: 1 INVITE\r\nContact: <sip:bob@10.0.0.2>\r\n"
    b"Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


class Endpoint:
    """Does nothing, and takes down what it is to do."""

    status, reason, fault = 200, "OK", ""
    made: Endpoint

    @classmethod
    def open(cls, settings, numbers, tell):
        made = cls.made = cls()
        made.settings, made.numbers, made.tell, made.done = settings, numbers, tell, []
        made.thread = threading.get_ident()
        if made.fault:
            tell(told.Disconnected(made.fault))
        if settings.domain:
            tell(told.Registered(made.status, made.reason, 300))
        return made

    def turn(self):
        threading.Event().wait(0.001)

    def close(self):
        self.done.append("close")

    def dial(self, number, uri, rings, replaces):
        assert threading.get_ident() == self.thread
        self.done.append(("dial", number, uri, replaces))
        return "name"

    def __getattr__(self, verb):
        return lambda *args, **more: self.done.append((verb, *args, *more.values()))


@pytest.fixture
def endpoint(monkeypatch):
    kind = type("Made", (Endpoint,), {})
    monkeypatch.setattr(under_test, "_import_endpoint", lambda: kind)
    monkeypatch.setattr(leg_under_test, "CLOSE_SECONDS", 0.05)
    return kind


def opening(told_states, *, register=True, **changes):
    how = {
        "local": ALICE,
        "server": SipServer(host="sip.clinic.example", port=0, name="sip.clinic.example"),
        "authorities": Path(__file__),
        "login": None,
        "keying": Keying.SDES,
        "register": register,
        "watcher": lambda state, error: told_states.append(state),
    }
    return PjsuaSignaling.open(**{**how, **changes})


def run(scenario, states=None, **changes):
    async def main():
        signaling = await opening([] if states is None else states, **changes)
        try:
            return await scenario(signaling)
        finally:
            await signaling.close()

    return asyncio.run(asyncio.wait_for(main(), 10))


async def settled():
    """Let the thread and the loop do what they have to."""
    for _ in range(20):
        await asyncio.sleep(0.002)


def test_it_registers_and_takes_leave(endpoint):
    states = []

    async def scenario(signaling):
        assert endpoint.made.settings.proxy == "sip.clinic.example:5061"
        assert signaling.registration is RegistrationState.REGISTERED

    run(scenario, states)
    assert states == [RegistrationState.REGISTERED, RegistrationState.ENDED]
    assert endpoint.made.done == ["close"]


@pytest.mark.parametrize(
    ("status", "fault", "error"),
    [
        (503, "The server identity does not match", CertificateError),
        (401, "", LoginRefused),
        (403, "", LoginRefused),
        (503, "", ConnectFailed),
        (500, "", RegistrationFailed),
    ],
)
def test_what_the_registrar_says_becomes_a_typed_error_and_frees_the_place(
    endpoint, status, fault, error
):
    endpoint.status, endpoint.fault = status, fault
    for _ in range(2):
        with pytest.raises(error):
            run(None)
        assert endpoint.made.done == ["close"]


def test_what_cannot_be_meant_is_refused_before_pjsip_starts(endpoint, monkeypatch):
    other = SipServer(host="sip.clinic.example", port=5061, name="clinic.example")
    with pytest.raises(Unsupported, match="server_name"):
        run(None, server=other)
    with pytest.raises(LocalError):
        run(None, authorities=Path("/nowhere.pem"))


def test_without_pjsua2_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pjsua2", None)
    for name in ("endpoint", "binding"):
        monkeypatch.delitem(sys.modules, f"securecall.pjsua.{name}", raising=False)
    with pytest.raises(Unsupported, match=r"securecall\[pjsua2\]"):
        run(None)


def test_a_second_account_is_told_who_has_it(endpoint):
    async def scenario(signaling):
        with pytest.raises(UsageError, match=r"alice@clinic\.example"):
            await opening([])

    run(scenario)


@pytest.mark.parametrize(
    ("said", "comes"),
    [
        ((202, False), (TransferStep.TRYING, None)),
        ((180, False), (TransferStep.RINGING, None)),
        ((200, True), (TransferStep.ANSWERED, None)),
        ((100, True), (TransferStep.FAILED, EndReason.NO_ANSWER)),  # it will say nothing more
        ((486, False), (TransferStep.FAILED, EndReason.BUSY)),
        ((603, True), (TransferStep.FAILED, EndReason.DECLINED)),
    ],
)
def test_a_peer_is_sent_on_and_what_it_says_of_that_is_told(endpoint, said, comes):
    async def scenario(signaling):
        leg = await signaling.dial(Route(BOB), sound())
        made, heard = endpoint.made, []
        leg.listen(heard.append)
        number = made.done[0][1]
        carol = parse_address("sip:carol@clinic.example")
        leg.send(TransferRequested(str(carol), carol, replaces="a@b;to-tag=1;from-tag=2"))
        await settled()
        place = "<sip:carol@clinic.example?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2>"
        assert made.done[-1] == ("transfer", number, place)
        made.tell(told.SentOn(number, *said))
        await settled()
        step, reason = comes
        assert heard == [TransferProgress(step, reason, status=said[0])]

    run(scenario)


def test_a_call_of_ours_from_its_beginning_to_its_end(endpoint):
    async def scenario(signaling):
        leg = await signaling.dial(Route(BOB), sound())
        made, heard, digits = endpoint.made, [], []
        leg.listen(heard.append)
        leg.hear_digits(digits.append)
        number = made.done[0][1]
        assert (leg.call_id, made.done[0][2]) == ("name", "sip:bob@clinic.example")
        for event in (
            told.Connected("10.0.0.9:5061", "TLSv1.2 X"),
            told.Alerting(number),
            told.Replied(number, 407, ""),
            told.Sounding(number, Direction.SENDRECV, "AES_CM_128_HMAC_SHA1_80"),
            told.Taken(number),
            told.Pressed(number, "5"),
            told.Measured(number, AudioStatistics(packets_sent=9, packets_received=8), True),
            told.Measured(number, AudioStatistics(packets_sent=1, packets_received=1), False),
            told.Sounding(number, Direction.RECVONLY, "AES_CM_128_HMAC_SHA1_80"),
            told.Transferred(number, "sip:carol@clinic.example"),
        ):
            made.tell(event)
        assert await leg.keyed() == "AES_CM_128_HMAC_SHA1_80"
        await settled()
        assert digits == ["5"]
        sound_of = leg.carrier
        counted = sound_of.statistics()
        assert (counted.packets_sent, counted.packets_received, leg.carrier.digits) == (
            10,
            9,
            False,
        )
        leg.send(Offered(sound(Direction.SENDONLY)))
        await settled()
        for status in (407, 200):
            made.tell(told.Replied(number, status, ""))
        await settled()
        leg.send(Offered(sound()))
        await settled()
        made.tell(told.Replied(number, 488, ""))
        made.tell(told.Ended(number, 200, "Normal call clearing"))
        await settled()
        await leg.closed()
        held = Offered(sound(Direction.SENDONLY))
        assert heard == [
            Ringing(), Answered(sound()), held, TransferRequested(str(CAROL), CAROL),
            Answered(sound()), Refused(488), Ended(EndReason.HUNG_UP, 200, "Normal call clearing"),
        ]  # fmt: skip
        assert ("change", number, True) in made.done and ("change", number, False) in made.done
        assert leg.path.verified_name == "sip.clinic.example"
        assert leg.path.remote == "10.0.0.9:5061"

    run(scenario)


def test_a_call_that_comes_in_is_read_by_our_own_grammar(endpoint):
    async def scenario(signaling):
        legs, made = [], endpoint.made
        signaling.on_incoming(legs.append)
        made.tell(told.Rang(7, "c", Rings(), INVITE))
        await settled()
        (leg,) = legs
        assert (leg.remote, leg.path.hops, leg.telephone) == (BOB, ("edge.example",), False)
        leg.send(Ringing())
        leg.send(Answered(sound()))
        leg.send(Answered(sound()))
        leg.send(Ended(EndReason.HUNG_UP))
        await settled()
        assert made.done == [
            ("answer", 7, 180), ("answer", 7, 200), ("hang_up", 7, 0),
        ]  # fmt: skip

    run(scenario)


def test_nobody_listens_or_breaks_and_the_caller_is_told(endpoint):
    async def scenario(signaling):
        made = endpoint.made
        made.tell(told.Rang(1, "c", Rings(), INVITE))
        await settled()

        def breaks(leg):
            raise ValueError("the application")

        signaling.on_incoming(breaks)
        made.tell(told.Rang(2, "c", Rings(), INVITE))
        await settled()
        assert made.done == [("hang_up", 1, 480), ("hang_up", 2, 480)]

    run(scenario)


def test_sound_that_is_not_protected_ends_the_call(endpoint):
    async def scenario(signaling):
        made, error = endpoint.made, SecurityError("no SRTP", reason=Reason.NO_ENCRYPTION)
        leg, later = [await signaling.dial(Route(BOB), sound()) for _ in range(2)]
        first, second = (entry[1] for entry in made.done)
        heard = []
        later.listen(heard.append)
        made.tell(told.Unprotected(first, error))
        with pytest.raises(SecurityError):
            await leg.keyed()
        made.tell(told.Sounding(second, Direction.SENDRECV, "AES_CM_128_HMAC_SHA1_80"))
        made.tell(told.Unprotected(second, error))
        await settled()
        assert heard == [Ended(EndReason.SECURITY)]
        assert ("hang_up", second, 0) in made.done

    run(scenario)


def test_what_is_closed_calls_nobody_and_a_loop_that_is_gone_ends_the_thread(endpoint):
    async def scenario(signaling):
        with pytest.raises(UsageError):
            await signaling.dial(Route(BOB, direct=("127.0.0.1", 5061)), sound())
        await signaling.close()
        with pytest.raises(UsageError):
            await signaling.dial(Route(BOB), sound())

    run(scenario)
    loop = asyncio.new_event_loop()
    signaling = loop.run_until_complete(opening([], register=False))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    endpoint.made.tell(told.Registered(200, "OK", 300))
    signaling._engine.end().result(5)
    assert endpoint.made.done == ["close"]


WISHES = {
    "sip:carol@clinic.example": TransferRequested(str(CAROL), CAROL),
    '"C" <sip:carol@clinic.example?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2>': TransferRequested(
        "sip:carol@clinic.example?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2",
        CAROL,
        replaces="a@b;to-tag=1;from-tag=2",
    ),
    "<sip:carol@clinic.example?Subject=x>": TransferRequested("sip:carol@clinic.example?Subject=x"),
    "<sip:carol@clinic.example:5061>": TransferRequested("sip:carol@clinic.example:5061"),
    "tel:+441632960000": TransferRequested("tel:+441632960000"),
    "<nobody": TransferRequested("<nobody"),
}


def test_a_wish_of_the_peer_s_is_told_as_with_our_own_engine_and_few_are_heard(endpoint):
    async def scenario(signaling):
        leg = await signaling.dial(Route(BOB), sound())
        made, heard = endpoint.made, []
        leg.listen(heard.append)
        number = made.done[0][1]
        for wish in [*WISHES, *WISHES, *WISHES]:
            made.tell(told.Transferred(number, wish))
        await settled()
        assert heard[: len(WISHES)] == list(WISHES.values())
        assert len(heard) == 16
        assert len(made.done) == 1  # nobody was called

    run(scenario)


ANSWER = (
    "SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS 10.0.0.2;branch=z9hG4bKb\r\n"
    "From: <sip:one@clinic.example>;tag=one\r\nTo: <sip:two@clinic.example>;tag=two\r\n"
    "Call-ID: c@d\r\nCSeq: 1 INVITE\r\nContact: <sip:two@10.0.0.2>\r\n"
    "Content-Length: 0\r\n\r\n"
)


def test_a_call_has_a_name_for_a_third_person_while_it_lasts(endpoint):
    """Of both ends by which the one that is asked knows it (RFC 3891 3)."""

    async def scenario(signaling):
        legs, made = [], endpoint.made
        signaling.on_incoming(legs.append)
        ours = await signaling.dial(Route(BOB, replaces="a@b;to-tag=1;from-tag=2"), sound())
        _, number, uri, replaces = made.done[0]
        assert (uri, replaces) == (str(BOB), "a@b;to-tag=1;from-tag=2")
        made.tell(told.Rang(70, "c", Rings(), INVITE))
        await settled()
        (theirs,) = legs
        assert ours.replaces == theirs.replaces == ""
        made.tell(told.Replied(number, 200, ANSWER))
        made.tell(told.Accepted(70, ANSWER))
        await settled()
        assert ours.replaces == "c@d;to-tag=two;from-tag=one"
        assert theirs.replaces == "c@d;to-tag=one;from-tag=two"
        made.tell(told.Ended(number, 200, ""))
        made.tell(told.Ended(70, 200, ""))
        await settled()
        assert ours.replaces == theirs.replaces == ""

    run(scenario)


def test_where_pjsip_fails_the_account_is_said_to_be_over(endpoint):
    states = []

    async def scenario(signaling):
        def breaks():
            raise RuntimeError("a bug of ours")

        endpoint.made.turn = breaks
        _ = await asyncio.wait_for(asyncio.wrap_future(signaling._engine.ended), 5)
        await settled()
        with pytest.raises(UsageError):
            await signaling.dial(Route(BOB), sound())

    run(scenario, states)
    assert states == [RegistrationState.REGISTERED, RegistrationState.ENDED]


def test_a_binding_that_is_too_old_is_said_to_be(monkeypatch):
    monkeypatch.setitem(sys.modules, "pjsua2", types.ModuleType("pjsua2"))
    for name in ("endpoint", "binding"):
        monkeypatch.delitem(sys.modules, f"securecall.pjsua.{name}", raising=False)
    with pytest.raises(Unsupported, match=r"2\.15"):
        run(None)
