from __future__ import annotations

import time

import pytest

from securecall.address import Address, Scheme, parse_address
from securecall.directory import Directory, Published
from securecall.errors import IdentityChanged, Reason, Revoked, SecurityError, UsageError
from securecall.events import ContactKeysChanged, KeysChange
from securecall.keys.statement import OmemoKey, build_statement, parse_statement
from securecall.keys.succession import build_succession
from securecall.keys.trust import Act, How, TrustState
from tests.forge_devices import BOB, NS, contacts_at, identity_key
from tests.forge_statement import DAY, device_key, root_key

SEQ = int(time.time()) * 1000 - 5000
OLD, NEW = root_key(2), root_key(3)
SIP = parse_address("sip:bob@b.example")


@pytest.fixture
def contacts(tmp_path):
    found = contacts_at(tmp_path / "alice")
    yield found
    found.store.close()


@pytest.fixture
def told(contacts):
    events: list[ContactKeysChanged] = []
    contacts.statements.watch(events.append)
    return events


def said(*devices: str, root=OLD, later=0, addresses=(BOB, SIP), keys=0, **changes) -> bytes:
    """A statement of Bob's with these devices, each with an OMEMO device of its number."""
    unix = int(time.time())
    numbers = {name: 10 + len(name) for name in devices}
    return build_statement(
        root,
        seq=SEQ + later,
        iat=unix,
        exp=unix + 7 * DAY,
        addresses=addresses,
        devices=[device_key(number + keys, name) for name, number in numbers.items()],
        omemo={
            name: [OmemoKey(namespace=NS, id=number, identity_key=identity_key(number))]
            for name, number in numbers.items()
        },
        **changes,
    )


def changes(told):
    return [event.change for event in told]


def test_what_is_news_is_told_and_what_is_not_is_not(contacts, told):
    directory = Directory(contacts)
    directory.learn(BOB, said("desk"))
    assert told == []
    directory.notice(BOB, said("desk", later=1))
    assert told == []  # renewed, as every week
    directory.notice(BOB, said("desk", "phone", later=2))
    assert (told[-1].change, told[-1].added) == (KeysChange.DEVICES, ("phone",))
    directory.notice(BOB, said("desk", "phone", later=3, keys=40))
    assert (told[-1].change, told[-1].added) == (KeysChange.DEVICES, ())
    directory.notice(BOB, said("desk", later=4, revoked=("phone",)))
    assert told[-1] == ContactKeysChanged(
        addresses=(BOB,),
        root_fp=OLD.fingerprint,
        change=KeysChange.REVOKED,
        revoked=("phone",),
        omemo=(15,),
    )
    directory.notice(BOB, said("desk", later=4, revoked=("phone", "x")))
    assert changes(told)[-1] is KeysChange.FORK
    with pytest.raises(SecurityError):
        directory.notice(BOB, said("desk", later=1))
    assert changes(told)[-1] is KeysChange.ROLLBACK
    assert len(told) == 5


def test_an_older_statement_counts_for_nothing_beside_the_newer_one(contacts, told):
    Directory(contacts).learn(BOB, said("desk", "phone", later=9))

    def shown(raw, name):
        seen = parse_statement(raw, unix=int(time.time()))
        return contacts.statements.shown_by(seen.device(name), seen)

    # the same device: the newer statement is what it is held to
    assert {d.id for d in shown(said("phone"), "phone").devices} == {"desk", "phone"}
    # one that the newer does not know, or knows by another key
    for raw, name in ((said("tablet"), "tablet"), (said("phone", keys=40), "phone")):
        with pytest.raises(SecurityError) as caught:
            shown(raw, name)
        assert caught.value.reason is Reason.ROLLBACK
    Directory(contacts).notice(BOB, said("desk", later=10, revoked=("phone",)))
    with pytest.raises(Revoked):
        shown(said("phone"), "phone")


def succession() -> bytes:
    return build_succession(OLD, NEW, iat=int(time.time()))


def pinned(contacts):
    Directory(contacts).learn(BOB, said("desk"))
    contacts.add_address(BOB, SIP)
    contacts.verify(BOB, How.DIGITS, root_fp=OLD.fingerprint)


@pytest.mark.parametrize("way", ["learn", "notice", "file"])
def test_a_successor_takes_over_every_address_by_whatever_way_it_is_heard_of(contacts, told, way):
    pinned(contacts)
    raw = said("desk", root=NEW, later=1, successions=[succession()])
    directory = Directory(contacts)
    match way:
        case "learn":
            assert directory.learn(BOB, raw).state is TrustState.PINNED
        case "notice":
            assert directory.notice(BOB, raw) is Published.SUCCESSOR
        case _:
            contacts.take_statement(raw)
    for address in (BOB, SIP):
        found = contacts.find(address)
        assert (found.root_fp, found.state, found.how) == (
            NEW.fingerprint,
            TrustState.PINNED,
            "succession",
        )
    assert contacts.statements.known(NEW.fingerprint).raw == raw
    assert KeysChange.SUCCEEDED in changes(told)
    with pytest.raises(Revoked):
        directory.learn(BOB, said("desk", later=2))
    with pytest.raises(Revoked):
        contacts.take_statement(said("desk", later=2))


def test_without_the_old_signature_it_is_a_conflict_as_ever(contacts, told):
    pinned(contacts)
    directory = Directory(contacts)
    assert directory.notice(BOB, said("desk", root=NEW)) is Published.OTHER_KEY
    with pytest.raises(IdentityChanged):
        directory.learn(BOB, said("desk", root=NEW))
    assert contacts.find(BOB).state is TrustState.CHANGED
    with pytest.raises(UsageError):
        contacts.take_statement(said("desk", root=root_key(9)))
    assert told == []


def test_where_a_key_was_reached_its_successor_is_called(contacts):
    old, new = (Address(Scheme.KEY, root.fingerprint.hex()) for root in (OLD, NEW))
    contacts.apply(contacts.event(Act.PIN, old, OLD.fingerprint, How.LINK))
    contacts.remember_place(old, ("192.0.2.7", 5061))
    raw = said("desk", root=NEW, addresses=(new,), successions=[succession()])
    contacts.take_statement(raw)
    assert contacts.place_of(new) == ("192.0.2.7", 5061)
    assert contacts.find(new).state is TrustState.PINNED
    assert contacts.find(new).addresses == (old, new)


def test_one_comparison_covers_every_address_of_the_card_with_that_key(contacts):
    Directory(contacts).learn(BOB, said("desk"))
    contacts.add_address(BOB, SIP)
    other = parse_address("sip:bob@elsewhere.example")  # which the key does not claim
    contacts.add_address(BOB, other)
    contacts.verify(BOB, How.QR, root_fp=OLD.fingerprint)
    assert [contacts.find(a).state for a in (BOB, SIP, other)] == [
        TrustState.VERIFIED,
        TrustState.VERIFIED,
        TrustState.UNKNOWN,
    ]
