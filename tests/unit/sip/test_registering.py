"""The shell around a registration: what it asks of the server, and what it tells."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest

from securecall.errors import (
    CertificateError,
    ConnectFailed,
    LoginRefused,
    RegistrationFailed,
    UsageError,
)
from securecall.sip.headers import Headers
from securecall.sip.message import Request, Response
from securecall.sip.output import Replied
from securecall.sip.registering import Registering
from securecall.sip.registration import Registration, RegistrationState

REQUEST = Request("REGISTER", "sip:a.example", Headers())


class Connection:
    def __init__(self):
        self.closing = False

    def abort(self):
        self.closing = True


class Flow:
    def __init__(self):
        self.connection = Connection()


class Server:
    """A registrar that says what a test tells it: a status, None for silence, or an error."""

    def __init__(self, *answers):
        self.answers = deque(answers)
        self.asked = []
        self.flows = []
        self.bound = []
        self.shunned = []
        self.servers = 1
        self.news = asyncio.Event()

    async def reach(self):
        if self.answers and isinstance(self.answers[0], Exception):
            raise self.answers.popleft()
        if not self.flows or self.flows[-1].connection.closing:
            self.flows.append(Flow())
        return self.flows[-1]

    async def register(self, flow, fields):
        self.asked.append(fields)
        answer = self.answers.popleft() if self.answers else 200
        if isinstance(answer, asyncio.Event):  # silence, for ever
            await answer.wait()
        if answer is None:
            return Replied(REQUEST, None)
        fields = (("Min-Expires", "900"),) if answer == 423 else ()
        return Replied(REQUEST, Response(answer, "x", Headers(fields)))

    def shun(self, flow):
        self.shunned.append(flow)
        if len(self.shunned) < self.servers:
            flow.connection.abort()
            return True
        return False

    def granted(self, flow, granted):
        self.bound.append(flow)
        self.news.set()

    async def until(self, count):
        """Wait until the address was bound so often."""
        while len(self.bound) < count:
            self.news.clear()
            await self.news.wait()


def run(scenario, *answers, servers=1):
    async def main():
        server, told = Server(*answers), []
        server.servers = servers
        loop = asyncio.get_running_loop()
        registration = Registration(contact="sip:t@x.invalid", instance="", now=loop.time())
        registering = Registering(
            server, registration, watcher=lambda state, error: told.append((state, error))
        )
        async with asyncio.timeout(20):
            await scenario(registering, server, told)
            await registering.end()
        return server, told

    return asyncio.run(main())


def test_a_success_is_told_and_taken_leave_of():
    async def scenario(registering, server, told):
        await registering.first()
        assert registering.state is RegistrationState.REGISTERED

    server, told = run(scenario, 200, 200)
    assert [state for state, _ in told] == [RegistrationState.REGISTERED, RegistrationState.ENDED]
    assert [fields.first("expires") for fields in server.asked] == ["600", "0"]
    assert len(server.bound) == 1


def test_an_interval_too_brief_is_no_failure():
    async def scenario(registering, server, told):
        await registering.first()

    server, _ = run(scenario, 423, 200)
    assert [fields.first("expires") for fields in server.asked[:2]] == ["600", "900"]


@pytest.mark.parametrize(
    ("answer", "error", "state"),
    [
        (ConnectFailed("x"), ConnectFailed, RegistrationState.CONNECTING),
        (CertificateError("x"), CertificateError, RegistrationState.REFUSED),
        (503, RegistrationFailed, RegistrationState.CONNECTING),
        (None, RegistrationFailed, RegistrationState.CONNECTING),
        (403, LoginRefused, RegistrationState.REFUSED),
        (401, LoginRefused, RegistrationState.REFUSED),
        (404, RegistrationFailed, RegistrationState.REFUSED),
    ],
)
def test_the_first_failure_is_raised_and_only_what_a_person_must_mend_is_final(
    answer, error, state
):
    async def scenario(registering, server, told):
        with pytest.raises(error):
            await registering.first()
        assert registering.state is state

    run(scenario, answer)


def test_a_server_that_stays_silent_is_reached_anew():
    async def scenario(registering, server, told):
        with pytest.raises(RegistrationFailed):
            await registering.first()
        await server.until(1)
        assert [flow.connection.closing for flow in server.flows] == [True, False]

    run(scenario, None, 200)


@pytest.mark.parametrize("answer", [503, None])
def test_a_server_that_cannot_do_it_now_is_left_for_the_next(answer):
    async def scenario(registering, server, told):
        await registering.first()
        assert registering.state is RegistrationState.REGISTERED
        assert [flow.connection.closing for flow in server.flows] == [True, False]

    run(scenario, answer, 200, servers=2)


def test_where_none_can_do_it_now_that_is_told():
    async def scenario(registering, server, told):
        with pytest.raises(RegistrationFailed):
            await registering.first()
        assert len(server.asked) == 2

    run(scenario, 503, 503, servers=2)


def test_a_lost_connection_is_told_and_registered_again():
    async def scenario(registering, server, told):
        await registering.first()
        server.flows[-1].connection.abort()
        registering.lost()
        await server.until(2)
        await asyncio.sleep(0)

    _, told = run(scenario)
    assert [state for state, _ in told] == [
        RegistrationState.REGISTERED,
        RegistrationState.CONNECTING,
        RegistrationState.REGISTERED,
        RegistrationState.ENDED,
    ]


def test_nobody_who_was_refused_says_goodbye():
    async def scenario(registering, server, told):
        with pytest.raises(LoginRefused):
            await registering.first()

    server, _ = run(scenario, 403)
    assert len(server.asked) == 1


def test_a_bug_of_ours_is_raised_and_leaves_nobody_waiting():
    async def scenario(registering, server, told):
        with pytest.raises(ZeroDivisionError):
            await registering.first()

    run(scenario, ZeroDivisionError())


def test_whoever_waits_while_the_account_is_closed_is_told():
    async def scenario(registering, server, told):
        waiting = asyncio.ensure_future(registering.first())
        await asyncio.sleep(0)
        await registering.end()
        with pytest.raises(UsageError):
            await waiting

    run(scenario, asyncio.Event())
