"""Transactions: every row of the tables, and that nothing else moves them."""

from __future__ import annotations

import itertools

import pytest

from securecall.errors import UsageError
from securecall.sip.headers import Headers
from securecall.sip.message import Request, Response
from securecall.sip.transaction import (
    INVITE_CLIENT,
    INVITE_SERVER,
    REQUEST_CLIENT,
    REQUEST_SERVER,
    ClientTransaction,
    Discard,
    Input,
    ServerTransaction,
    State,
    TimedOut,
)

STATUS = {Input.PROVISIONAL: 180, Input.SUCCESS: 200, Input.FAILURE: 486}
FIELDS = (
    ("Via", "SIP/2.0/TLS a;branch=z9hG4bK1"),
    ("From", "<sip:a@b>;tag=1"),
    ("To", "<sip:a@b>;tag=2"),
    ("Call-ID", "c"),
)


def request(method: str) -> Request:
    return Request(method, "sip:a@b", Headers((*FIELDS, ("CSeq", f"1 {method}"))))


def response(kind: Input) -> Response:
    return Response(STATUS[kind], "x", Headers((*FIELDS, ("CSeq", "1 X"))))


def play(transaction, inputs, *, method: str):
    for kind in inputs:
        if kind is Input.DEADLINE:
            if transaction.deadline is None:
                return None
            transaction.expire(now=transaction.deadline)
        elif kind in STATUS:
            if isinstance(transaction, ClientTransaction):
                transaction.receive(response(kind), now=1.0)
            else:
                try:
                    transaction.respond(response(kind), now=1.0)
                except UsageError:
                    return None
        else:
            transaction.receive(request("ACK" if kind is Input.ACK else method), now=1.0)
    return transaction.state


@pytest.mark.parametrize(
    ("table", "method", "start"),
    [
        (INVITE_CLIENT, "INVITE", State.CALLING),
        (REQUEST_CLIENT, "BYE", State.TRYING),
        (INVITE_SERVER, "INVITE", State.PROCEEDING),
        (REQUEST_SERVER, "BYE", State.TRYING),
    ],
)
def test_every_sequence_moves_by_the_table_alone(table, method, start):
    client = table in (INVITE_CLIENT, REQUEST_CLIENT)
    kinds = [k for k in Input if k not in ((Input.ACK, Input.REPEAT) if client else ())]
    reached = set()
    for inputs in (i for n in range(5) for i in itertools.product(kinds, repeat=n)):
        expected = start
        for kind in inputs:
            expected = table.get((expected, kind), expected)
        held = (
            ClientTransaction(request(method), now=0.0)
            if client
            else ServerTransaction(request(method))
        )
        got = play(held, inputs, method=method)
        if got is not None:
            assert got is expected, inputs
            reached.add(got)
    assert reached == {start} | {after for (_, _), after in table.items()}


def test_times():
    invite = ClientTransaction(request("INVITE"), now=0.0)
    assert invite.deadline == 32.0
    assert invite.expire(now=31.0) == ()
    assert invite.expire(now=32.0) == (TimedOut(),)
    invite = ClientTransaction(request("INVITE"), now=0.0)
    invite.receive(response(Input.PROVISIONAL), now=1.0)
    assert invite.deadline is None
    invite.receive(response(Input.SUCCESS), now=2.0)
    assert invite.deadline == 34.0  # timer M
    assert invite.expire(now=34.0) == ()
    bye = ClientTransaction(request("BYE"), now=0.0)
    bye.receive(response(Input.PROVISIONAL), now=1.0)
    assert bye.deadline == 32.0
    refused = ServerTransaction(request("INVITE"))
    refused.respond(response(Input.FAILURE), now=0.0)
    assert refused.expire(now=32.0) == (TimedOut(),)  # timer H


def test_what_fits_no_row_is_discarded_and_what_we_misuse_raises():
    bye = ClientTransaction(request("BYE"), now=0.0)
    bye.receive(response(Input.SUCCESS), now=1.0)
    (discarded,) = bye.receive(response(Input.SUCCESS), now=1.0)
    assert isinstance(discarded, Discard)
    server = ServerTransaction(request("BYE"))
    server.respond(response(Input.SUCCESS), now=1.0)
    with pytest.raises(UsageError):
        server.respond(response(Input.FAILURE), now=1.0)
