"""H7: a ticket stolen, moved, retried, outlived.

The control is a desk that only asks whether the secret is right.
"""

from __future__ import annotations

import contextlib
import hmac

import pytest

from securecall.errors import TicketRefused
from securecall.keys.ticket import proof
from securecall.keys.ticket_desk import OutstandingTicket, TicketDesk
from securecall.secret import Secret
from tests.forge_statement import NOW, root_key

LEG, OTHER_LEG = b"a" * 64, b"b" * 64
BEARER, THIEF = root_key(2).fingerprint, root_key(3).fingerprint


class Shelf:
    def __init__(self) -> None:
        self.tickets: dict[str, OutstandingTicket] = {}

    def save_ticket(self, ticket):
        self.tickets[ticket.id] = ticket

    def delete_ticket(self, ticket_id):
        self.tickets.pop(ticket_id, None)


@pytest.fixture
def desk():
    return TicketDesk(Shelf())


@pytest.fixture
def ticket(desk):
    return desk.issue(
        ["tls:a.example:1"], root_fp=root_key(1).fingerprint, expiry=NOW + 60, unix=NOW
    )


def show(desk, presented, *, root=BEARER, bind=LEG, unix=NOW, role=1):
    return desk.require_proof(presented, bind=bind, role=role, root_fp=root, unix=unix)


def naive(ticket, presented: bytes, *, bind: bytes = LEG) -> bool:
    return hmac.compare_digest(proof(ticket.secret, bind, 1), presented)


def refused(desk, *arguments, **more) -> str:
    with pytest.raises(TicketRefused) as caught:
        show(desk, *arguments, **more)
    return f"{caught.value!r} {caught.value.reason} {caught.value.__cause__}"


def test_a_ticket_stolen_after_use_is_worthless_and_the_bearer_is_not_locked_out(desk, ticket):
    show(desk, proof(ticket.secret, LEG, 1))
    refused(desk, proof(ticket.secret, OTHER_LEG, 1), root=THIEF, bind=OTHER_LEG)
    # the bearer, whose first answer was lost, comes again
    assert show(desk, proof(ticket.secret, OTHER_LEG, 1), bind=OTHER_LEG) == ticket.id
    # control
    assert naive(ticket, proof(ticket.secret, OTHER_LEG, 1), bind=OTHER_LEG)


def test_a_proof_moved_to_another_leg_is_worthless(desk, ticket):
    seen = proof(ticket.secret, LEG, 1)
    refused(desk, seen, root=THIEF, bind=OTHER_LEG)
    # and it did not use the ticket up
    assert show(desk, seen) == ticket.id
    # control: a proof without the leg in it is good anywhere
    assert naive(ticket, seen)


def test_the_callees_role_makes_another_proof(desk, ticket):
    refused(desk, proof(ticket.secret, LEG, 2))


def test_every_refusal_is_the_same(desk, ticket):
    late = desk.issue(["tls:a.example:1"], root_fp=root_key(1).fingerprint, expiry=NOW, unix=NOW)
    gone = desk.issue(
        ["tls:a.example:1"], root_fp=root_key(1).fingerprint, expiry=NOW + 60, unix=NOW
    )
    desk.withdraw(gone.id)
    show(desk, proof(ticket.secret, LEG, 1))
    said = {
        refused(desk, proof(ticket.secret, LEG, 1), root=THIEF),
        refused(desk, proof(late.secret, LEG, 1), unix=NOW + 1),
        refused(desk, proof(gone.secret, LEG, 1)),
        refused(desk, proof(Secret(b"guess" * 8), LEG, 1)),
        refused(desk, bytes(64)),
        refused(desk, b""),
        refused(desk, proof(ticket.secret, LEG, 1)[:-1]),
        refused(desk, proof(ticket.secret, LEG, 1) + b"\0"),
        refused(TicketDesk(Shelf()), proof(ticket.secret, LEG, 1)),
    }
    assert len(said) == 1


def test_every_secret_is_tried_whoever_comes(desk, monkeypatch):
    from securecall.keys import ticket_desk

    tickets = [
        desk.issue(["tls:a.example:1"], root_fp=BEARER, expiry=NOW + 60, unix=NOW) for _ in range(3)
    ]
    tried: list[int] = []

    def counting(secret, bind, role):
        tried.append(1)
        return proof(secret, bind, role)

    monkeypatch.setattr(ticket_desk, "proof", counting)
    counts = set()
    for presented in (*(proof(item.secret, LEG, 1) for item in tickets), bytes(64)):
        tried.clear()
        with contextlib.suppress(TicketRefused):
            show(desk, presented)
        counts.add(len(tried))
    assert counts == {64}


def test_nobody_is_let_in_by_the_stand_in_for_missing_tickets():
    assert "not valid" in refused(TicketDesk(Shelf()), proof(Secret(bytes(32)), LEG, 1))
