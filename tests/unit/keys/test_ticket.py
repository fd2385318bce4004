from __future__ import annotations

import copy
import pickle

import pytest

from securecall.address import parse_address
from securecall.errors import LocalError, ProtocolError, TicketRefused, UsageError
from securecall.keys.encoding import build_base64url, length_prefixed
from securecall.keys.ticket import Ticket, build_ticket, parse_ticket, proof
from securecall.keys.ticket_desk import MAX_OUTSTANDING, TicketDesk
from securecall.secret import Secret
from tests.forge_statement import NOW, root_key

ROOT = root_key()
SECRET = bytes(range(32))
URIS = ("tls:[2001:db8::1]:5061", "tls:host.example:443", "sip:a@a.example", "xmpp:a@x.example")
BIND = b"b" * 64


def ticket(**changes: object) -> Ticket:
    arguments = {
        "uris": URIS,
        "root_fp": ROOT.fingerprint,
        "secret": Secret(SECRET),
        "expiry": NOW + 100,
    }
    return Ticket(**(arguments | changes))


class Shelf:
    """A store in memory that can be full."""

    def __init__(self) -> None:
        self.tickets = {}
        self.full = False

    def save_ticket(self, ticket):
        if self.full:
            raise LocalError("the disk is full")
        self.tickets[ticket.id] = ticket

    def delete_ticket(self, ticket_id):
        self.tickets.pop(ticket_id, None)


def desk_with_ticket(expiry: int = NOW + 100):
    shelf = Shelf()
    desk = TicketDesk(shelf)
    made = desk.issue(URIS, root_fp=ROOT.fingerprint, expiry=expiry, unix=NOW)
    return desk, shelf, made


def show(desk, presented, *, root=2, bind=BIND, unix=NOW, role=1):
    return desk.require_proof(
        presented, bind=bind, role=role, root_fp=root_key(root).fingerprint, unix=unix
    )


@pytest.mark.reveals("a ticket's text carries its secret by design")
def test_a_ticket_is_read_back_bare_and_from_a_link():
    for link in ("", "https://call.example/t", "securecall://open"):
        found = parse_ticket(build_ticket(ticket(), link=link), unix=NOW)
        assert (found.uris, found.root_fp, found.expiry) == (URIS, ROOT.fingerprint, NOW + 100)
        assert found.secret == Secret(SECRET)
        assert found.id == ticket().id


def test_targets_name_the_address_to_hold_the_peer_to():
    key = parse_address("key:" + ROOT.fingerprint.hex())
    first, second, third, fourth = ticket().targets
    assert (first.address, first.direct) == (key, ("2001:db8::1", 5061))
    assert (second.address, second.direct) == (key, ("host.example", 443))
    assert (third.address, third.direct) == (parse_address("sip:a@a.example"), None)
    assert fourth.address == parse_address("xmpp:a@x.example")


def raw(*uris: bytes, count: int | None = None, tail: bytes | None = None) -> str:
    rest = ROOT.fingerprint + SECRET + (NOW + 9).to_bytes(8, "big") if tail is None else tail
    data = bytes([len(uris) if count is None else count])
    return "securecall:1:" + build_base64url(data + b"".join(map(length_prefixed, uris)) + rest)


GOOD = b"tls:host.example:443"
MALFORMED = {
    "empty": "",
    "other prefix": "securecall:2:AAAA",
    "no data": "securecall:1:",
    "padded": raw(GOOD) + "=",
    "white space inside": raw(GOOD)[:40] + " " + raw(GOOD)[40:],
    "no address": raw(),
    "nine addresses": raw(*(b"tls:h%d.example:1" % n for n in range(9))),
    "count too high": raw(GOOD, count=2),
    "count too low": raw(GOOD, b"sip:a@a.example", count=1),
    "address twice": raw(GOOD, GOOD),
    "address empty": raw(b""),
    "address over 512 bytes": raw(b"tls:" + b"a" * 600 + b":1"),
    "address not UTF-8": raw(b"tls:\xff:1"),
    "trailing byte": raw(GOOD, tail=ROOT.fingerprint + SECRET + bytes(9)),
    "cut off": raw(GOOD, tail=ROOT.fingerprint + SECRET + bytes(7)),
    "expiry over 2^53": raw(GOOD, tail=ROOT.fingerprint + SECRET + b"\xff" * 8),
    "port missing": raw(b"tls:host.example"),
    "port 0": raw(b"tls:host.example:0"),
    "port 65536": raw(b"tls:host.example:65536"),
    "host missing": raw(b"tls::443"),
    "host upper case": raw(b"tls:HOST.example:443"),
    "host with slash": raw(b"tls:a/b:443"),
    "IPv6 without brackets": raw(b"tls:2001:db8::1:443"),
    "IPv6 wrong": raw(b"tls:[2001:db8::g]:443"),
    "IPv4 wrong": raw(b"tls:192.0.2.999:443"),
    "tel": raw(b"tel:+441632960000"),
    "http": raw(b"http://host.example/"),
    "sip not canonical": raw(b"sip:a@A.example"),
    "sips": raw(b"sips:a@a.example"),
    "too long": "securecall:1:" + "A" * 9000,
    "link without ticket": "https://call.example/#other",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_ticket_is_refused_and_not_repeated(name):
    with pytest.raises(ProtocolError) as caught:
        parse_ticket(MALFORMED[name], unix=NOW)
    assert caught.value.rule == "ticket"
    assert not MALFORMED[name] or MALFORMED[name][13:] not in str(caught.value) or name == "no data"


def test_an_expired_ticket_is_refused_by_its_holder():
    text = raw(GOOD)
    assert parse_ticket(text, unix=NOW + 9).expiry == NOW + 9
    with pytest.raises(TicketRefused):
        parse_ticket(text, unix=NOW + 10)


def test_building_a_ticket_that_nobody_reads_is_our_own_mistake():
    for wrong in (
        {"uris": ()},
        {"uris": URIS * 3},
        {"uris": ("http://a",)},
        {"root_fp": b"short"},
        {"secret": Secret(b"short")},
        {"expiry": 2**60},
    ):
        with pytest.raises(UsageError):
            build_ticket(ticket(**wrong))
    with pytest.raises(UsageError):
        build_ticket(ticket(), link="https://a#b")


def test_a_ticket_does_not_print_copy_or_pickle():
    made = ticket()
    assert SECRET.hex() not in repr(made)
    assert repr(SECRET)[2:-1] not in repr(made)
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(UsageError):
            way(made)


def test_the_first_bearer_comes_in_and_may_come_again():
    desk, shelf, made = desk_with_ticket()
    assert show(desk, proof(made.secret, BIND, 1)) == made.id
    assert shelf.tickets[made.id].bearer == root_key(2).fingerprint
    assert show(desk, proof(made.secret, b"c" * 64, 1), bind=b"c" * 64) == made.id


def test_a_desk_opened_again_still_knows_the_bearer():
    desk, shelf, made = desk_with_ticket()
    show(desk, proof(made.secret, BIND, 1))
    again = TicketDesk(shelf, shelf.tickets.values())
    assert show(again, proof(made.secret, BIND, 1)) == made.id
    with pytest.raises(TicketRefused):
        show(again, proof(made.secret, BIND, 1), root=3)


def test_a_bearer_that_could_not_be_stored_was_not_accepted():
    desk, shelf, made = desk_with_ticket()
    shelf.full = True
    with pytest.raises(LocalError):
        show(desk, proof(made.secret, BIND, 1))
    shelf.full = False
    assert show(desk, proof(made.secret, BIND, 1), root=3) == made.id


def test_a_ticket_that_could_not_be_stored_is_not_valid():
    shelf = Shelf()
    shelf.full = True
    desk = TicketDesk(shelf)
    with pytest.raises(LocalError):
        desk.issue(URIS, root_fp=ROOT.fingerprint, expiry=NOW + 1, unix=NOW)
    assert desk.outstanding(NOW) == ()


def test_at_most_64_tickets_are_outstanding_and_expired_ones_make_room():
    desk = TicketDesk(Shelf())
    for _ in range(MAX_OUTSTANDING):
        desk.issue(URIS, root_fp=ROOT.fingerprint, expiry=NOW + 1, unix=NOW)
    with pytest.raises(UsageError):
        desk.issue(URIS, root_fp=ROOT.fingerprint, expiry=NOW + 1, unix=NOW)
    desk.issue(URIS, root_fp=ROOT.fingerprint, expiry=NOW + 9, unix=NOW + 2)
    assert len(desk.outstanding(NOW + 2)) == 1


def test_all_64_can_be_shown():
    desk = TicketDesk(Shelf())
    made = [
        desk.issue(URIS, root_fp=ROOT.fingerprint, expiry=NOW + 1, unix=NOW)
        for _ in range(MAX_OUTSTANDING)
    ]
    for item in (made[0], made[31], made[63]):
        assert show(desk, proof(item.secret, BIND, 1)) == item.id


def test_a_withdrawn_ticket_is_worthless():
    desk, shelf, made = desk_with_ticket()
    desk.withdraw(made.id)
    desk.withdraw(made.id)
    assert not shelf.tickets
    with pytest.raises(TicketRefused):
        show(desk, proof(made.secret, BIND, 1))


def test_a_ticket_stands_alone_unless_a_link_is_wanted():
    bare = build_ticket(ticket())
    assert bare.startswith("securecall:1:")
    assert build_ticket(ticket(), link="https://a.example/call").startswith(
        "https://a.example/call#securecall:1:"
    )


def test_a_ticket_that_would_be_over_already_is_not_made():
    shelf = Shelf()
    desk = TicketDesk(shelf)
    with pytest.raises(UsageError, match="over before"):
        desk.issue(URIS, root_fp=ROOT.fingerprint, expiry=NOW - 1, unix=NOW)
    assert not shelf.tickets
    last = desk.issue(URIS, root_fp=ROOT.fingerprint, expiry=NOW, unix=NOW)
    assert show(desk, proof(last.secret, BIND, 1)) == last.id


@pytest.mark.parametrize("size", [0, 63, 65])
def test_a_ticket_is_tied_to_nothing_but_a_whole_fingerprint(size):
    # One of b"" would leave the ticket free, for whoever comes next.
    desk, shelf, made = desk_with_ticket()
    right = proof(made.secret, BIND, 1)
    with pytest.raises(UsageError):
        desk.require_proof(right, bind=BIND, role=1, root_fp=bytes(size), unix=NOW)
    assert shelf.tickets[made.id].bearer == b""
    assert show(desk, right) == made.id
