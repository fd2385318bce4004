from __future__ import annotations

import pytest

import securecall as sc
from securecall.contacts import Contacts
from securecall.errors import (
    IdentityMismatch,
    NotPrimary,
    ProtocolError,
    Reason,
    Revoked,
    StatementFull,
    StatementInvalid,
)
from securecall.events import OwnChange, OwnKeysChanged
from securecall.keys.device import DeviceKey
from securecall.keys.enrolment import (
    build_invitation,
    build_request_text,
    build_statement_text,
    parse_invitation,
    parse_request,
    parse_request_text,
    parse_statement_text,
)
from securecall.keys.identity import RootKey
from securecall.keys.phrase import parse_phrase
from securecall.keys.statement import (
    MAX_REMEMBERED,
    OmemoKey,
    build_statement,
    parse_statement,
)
from securecall.keys.statement_content import DEVICE_LIFETIME, MAX_REVOKED
from securecall.keys.this_device import ROTATION_SECONDS, STATEMENT_SECONDS
from securecall.own_identity import OwnIdentity
from securecall.store.sqlite import Store
from securecall.store.vault import MINIMUM_COST
from tests.forge_statement import DAY, NOW

PASSPHRASE = sc.Secret("correct horse battery staple")
DESK, PHONE = sc.parse_address("sip:alice@a.example"), sc.parse_address("sip:phone@a.example")


class Clock:
    def __init__(self):
        self.now = float(NOW)

    def __call__(self):
        return self.now


class House:
    """Devices of one person, on one clock."""

    def __init__(self, folder):
        self.folder, self.clock, self.stores, self.told = folder, Clock(), [], []

    def device(self, name, root=None, *, folder=""):
        place = self.folder / (folder or name)
        store = Store.create(place, PASSPHRASE, root=root, device_id=name, cost=MINIMUM_COST)
        self.stores.append(store)
        identity = OwnIdentity(store, unix=self.clock)
        identity.watch(self.told.append)
        return identity

    def again(self, identity):
        """The same device after a restart."""
        return OwnIdentity(identity._store, unix=self.clock)

    def second(self, desk, name="phone"):
        """Another device, enrolled."""
        phone = self.device(name, RootKey.known(desk.root_public))
        phone.take(desk.enrol(phone.request()))
        return phone

    def read(self, identity):
        return parse_statement(identity.statement, unix=int(self.clock.now))


@pytest.fixture
def house(tmp_path):
    found = House(tmp_path)
    yield found
    for store in found.stores:
        store.close()


@pytest.fixture
def desk(house):
    return house.device("desk")


# -- one device ------------------------------------------------------------------------------------


def test_a_statement_is_renewed_long_before_it_expires_and_numbers_only_grow(house, desk):
    seen = [house.read(desk)]
    for _ in range(40):
        house.clock.now += DAY
        statement = house.read(desk)
        assert statement.exp - house.clock.now >= STATEMENT_SECONDS // 2
        if statement.seq != seen[-1].seq:
            assert statement.seq > seen[-1].seq
            seen.append(statement)
    assert 4 <= len(seen) <= 7
    assert house.read(house.again(desk)).seq == seen[-1].seq


def test_a_device_gets_a_new_key_in_time_and_keeps_its_name(house, desk):
    first = house.read(desk).device("desk")
    assert first.not_after == NOW + DEVICE_LIFETIME
    house.clock.now += ROTATION_SECONDS - DAY
    assert house.read(desk).device("desk") == first  # though the statement is another
    house.clock.now += 2 * DAY
    after = house.read(desk).device("desk")
    assert (after.id, after.public) == ("desk", desk.device.public)
    assert after.public != first.public
    assert after.not_after == int(house.clock.now) + DEVICE_LIFETIME
    assert house.told == [OwnKeysChanged(OwnChange.ROTATED, "desk")]
    assert house.read(house.again(desk)).device("desk") == after


def test_the_words_of_a_root_make_it_again_elsewhere(house, desk):
    words = desk.phrase()
    house.clock.now += 60
    again = house.device("laptop", RootKey.from_seed(parse_phrase(words)))
    assert again.root_fp == desk.root_fp
    assert again.device.public != desk.device.public
    assert house.read(again).seq > house.read(desk).seq
    assert [d.id for d in house.read(again).devices] == ["laptop"]


def test_a_restored_root_keeps_the_devices_and_withdrawals_it_is_told_of(house, desk):
    house.second(desk, "phone")
    house.second(desk, "lost")
    house.clock.now += 1
    desk.revoke("lost")
    house.clock.now += 1
    laptop = house.device("laptop", RootKey.from_seed(parse_phrase(desk.phrase())))
    house.clock.now += 1
    desk.own_address(DESK)
    assert laptop.take(desk.statement)
    found = house.read(laptop)
    assert {d.id for d in found.devices} == {"laptop", "desk", "phone"}
    assert found.revoked == ("lost",)
    assert DESK in found.addresses
    # and the two that hold the root agree at once, without an end of signing
    assert desk.take(laptop.statement)
    assert not laptop.take(desk.statement)
    assert house.read(desk) == house.read(laptop)


# -- several devices -------------------------------------------------------------------------------


def test_a_second_device_is_listed_after_both_showed_the_same_words(house, desk):
    phone = house.device(
        "phone", RootKey.known(parse_invitation(build_invitation(desk.root_public)))
    )
    assert phone.request_due
    with pytest.raises(sc.UsageError, match="not enrolled"):
        _ = phone.statement
    text = build_request_text(phone.request())
    asked = parse_request_text(f" {text[:70]}\n{text[70:]}\n")
    request = desk.read_request(asked)
    assert request.words == parse_request(phone.request()).words
    assert len(set(request.words)) > 4
    back = build_statement_text(desk.enrol(asked))
    assert phone.take(parse_statement_text(back))
    assert not phone.request_due
    assert phone.statement == desk.statement
    assert [(d.id, d.here) for d in phone.devices] == [("phone", True), ("desk", False)]
    with pytest.raises(NotPrimary):
        phone.phrase()
    with pytest.raises(NotPrimary):
        phone.revoke("desk")
    with pytest.raises(NotPrimary):
        phone.succeed()
    assert house.again(phone).statement == desk.statement


def test_what_a_second_device_needs_is_asked_for_and_signed(house, desk):
    phone = house.second(desk)
    house.told.clear()
    key = OmemoKey(namespace="urn:xmpp:omemo:2", id=7, identity_key=b"k" * 32)
    phone.own_address(PHONE)
    phone.own_omemo([key])
    assert set(house.told) == {OwnKeysChanged(OwnChange.REQUEST_DUE, "phone")}
    assert phone.request_due
    phone.take(desk.enrol(phone.request()))
    found = house.read(desk)
    assert found.device("phone").omemo == (key,)
    assert PHONE in found.addresses
    assert PHONE in desk.addresses
    assert not phone.request_due
    # it is still there when the first device renews its statement by itself
    house.clock.now += STATEMENT_SECONDS
    assert house.read(desk).device("phone").omemo == (key,)


def test_the_passport_key_of_a_second_device_is_asked_for_as_well(house, desk):
    phone = house.second(desk)
    key = phone.passport_key()
    assert phone.request_due
    phone.take(desk.enrol(phone.request()))
    assert house.read(desk).device("phone").p256 == key.public
    assert not phone.request_due
    house.clock.now += STATEMENT_SECONDS  # and stays, where the other one signs again
    desk.passport_key()
    listed = house.read(desk)
    assert listed.device("phone").p256 == key.public
    assert listed.device("desk").p256 == desk.passport_key().public
    assert house.read(house.again(desk)) == listed


@pytest.mark.parametrize("act", ["rotate", "succeed", "time"])
def test_the_passport_key_is_replaced_with_the_device_key(house, desk, act):
    before = desk.passport_key()
    house.clock.now += 1 if act != "time" else ROTATION_SECONDS + DAY
    if act != "time":
        getattr(desk, act)()
    listed = house.read(desk).device("desk").p256
    after = desk.passport_key()
    assert listed == after.public != before.public
    assert house.again(desk).passport_key().public == after.public
    assert house.read(desk).device("desk").p256 == after.public


def test_the_passport_key_of_a_second_device_is_replaced_with_its_device_key(house, desk):
    phone = house.second(desk)
    before = phone.passport_key()
    phone.take(desk.enrol(phone.request()))
    house.clock.now += ROTATION_SECONDS + DAY
    asked = phone.request()
    assert phone.passport_key() is before  # until the other one has signed for it
    again = house.again(phone)
    granted = desk.enrol(again.request())  # and asking twice makes no third one
    assert parse_request(asked).device.p256 == parse_request(again.request()).device.p256
    again.take(granted)
    after = again.passport_key()
    assert after.public != before.public
    assert house.read(desk).device("phone").p256 == after.public
    assert not again.request_due
    assert house.again(again).passport_key().public == after.public
    assert again._store.setting("own-next-passport-key") is None


def test_a_device_that_takes_the_root_in_mid_rotation_keeps_no_key_over(house, desk):
    phone = house.second(desk)
    phone.passport_key()
    phone.take(desk.enrol(phone.request()))
    house.clock.now += ROTATION_SECONDS + DAY
    asked = parse_request(phone.request()).device
    phone.hold_root(desk.phrase())
    listed = house.read(phone).device("phone")
    assert listed.p256 == phone.passport_key().public != asked.p256
    assert phone._store.setting("own-next-passport-key") is None


def test_a_device_that_never_signed_calls_gets_no_passport_key(house, desk):
    house.clock.now += 1
    desk.rotate()
    assert house.read(desk).device("desk").p256 == b""


@pytest.mark.parametrize("key", ["passport", "omemo"])
def test_a_statement_that_cannot_stand_beside_this_device_changes_nothing(house, desk, key):
    phone = house.second(desk)
    omemo = OmemoKey(namespace="urn:xmpp:omemo:2", id=7, identity_key=b"k" * 32)
    if key == "passport":
        desk.passport_key()
    else:
        desk.own_omemo([omemo])
    kept, told = desk.statement, len(house.told)
    other = build_statement(  # a copy of this device under another name
        desk._store.root, seq=house.read(desk).seq + 1, iat=NOW, exp=NOW + DAY,
        addresses=[desk.key_address], devices=[DeviceKey.generate("copy")], revoked=["phone"],
        passports={"copy": desk.passport_key()} if key == "passport" else {},
        omemo={"copy": [omemo]} if key == "omemo" else {},
    )  # fmt: skip
    house.clock.now += 1
    with pytest.raises(StatementInvalid):
        desk.take(other)
    # but what it withdraws: that is for ever, and our root signed it
    after = house.read(desk)
    assert [d.id for d in after.devices] == ["desk"]
    assert after.revoked == desk.revoked == ("phone",)
    assert after.raw != kept
    assert house.told[told:] == [OwnKeysChanged(OwnChange.REVOKED, "phone")]
    phone.take(after.raw)
    assert phone.withdrawn


def test_a_second_device_changes_its_key_with_the_old_one_as_witness(house, desk):
    phone = house.second(desk)
    before = phone.device.public
    house.clock.now += ROTATION_SECONDS + DAY
    assert phone.request_due
    request = phone.request()
    assert phone.request() != b""
    assert phone.device.public == before  # until the root vouches for the new one
    phone.take(desk.enrol(request))
    assert phone.device.public != before
    assert house.read(phone).device("phone").public == phone.device.public
    assert OwnKeysChanged(OwnChange.ROTATED, "phone") in house.told


def test_a_withdrawn_device_is_told_and_does_nothing_more(house, desk):
    phone = house.second(desk)
    house.told.clear()
    assert phone.take(desk.revoke("phone"))
    assert house.told == [
        OwnKeysChanged(OwnChange.REVOKED, "phone"),
        OwnKeysChanged(OwnChange.WITHDRAWN, "phone"),
    ]
    for act in (lambda: phone.statement, phone.request, lambda: house.again(phone).statement):
        with pytest.raises(Revoked):
            act()
    # for ever: whatever is signed later, and whoever asks under that name
    house.clock.now += 400 * DAY
    assert "phone" in house.read(desk).revoked
    again = house.device("phone", RootKey.known(desk.root_public), folder="again")
    with pytest.raises(Revoked):
        desk.enrol(again.request())


def test_a_withdrawn_device_that_holds_the_root_signs_no_more(house, desk):
    phone = house.second(desk)
    phone.hold_root(desk.phrase())
    house.clock.now += 1
    phone.take(desk.revoke("phone"))
    seq = phone._store.seq
    house.clock.now += STATEMENT_SECONDS
    assert house.again(phone).withdrawn
    assert phone._store.seq == seq


def test_a_device_does_not_withdraw_itself_or_nobody(desk):
    for name in ("desk", "nobody", ""):
        with pytest.raises(sc.UsageError):
            desk.revoke(name)


def test_the_root_can_be_handed_to_a_second_device(house, desk):
    phone = house.second(desk)
    with pytest.raises(IdentityMismatch):
        phone.hold_root(house.device("other").phrase())
    phone.hold_root(desk.phrase())
    assert phone.holds_root
    assert house.again(phone).holds_root
    house.clock.now += 1
    phone.own_address(PHONE)
    assert desk.take(phone.statement)
    assert {d.id for d in desk.devices} == {"desk", "phone"}
    # what the other one lets in, a thief of the root perhaps, this one is told of
    tablet = house.device("tablet", RootKey.known(desk.root_public))
    house.clock.now += 1
    signed = phone.enrol(tablet.request())
    house.told.clear()
    assert desk.take(signed)
    assert house.told == [OwnKeysChanged(OwnChange.ENROLLED, "tablet")]


# -- the root is replaced --------------------------------------------------------------------------


def test_a_root_is_replaced_and_other_devices_join_the_new_one(house, desk):
    phone, old = house.second(desk), desk.root_fp
    words = desk.phrase().reveal()
    house.clock.now += 1
    statement = parse_statement(desk.succeed(), unix=int(house.clock.now))
    assert statement.root_fp == desk.root_fp != old
    assert [(s.old, s.new) for s in statement.successions] == [(old, desk.root_fp)]
    assert desk.phrase().reveal() != words
    assert [d.id for d in statement.devices] == ["desk"]
    assert desk.key_address in statement.addresses
    assert house.read(house.again(desk)) == statement
    assert phone.take(statement.raw)
    assert phone.root_fp == desk.root_fp
    assert phone.request_due
    with pytest.raises(sc.UsageError):
        _ = phone.statement
    phone.take(desk.enrol(phone.request()))
    assert phone.statement == desk.statement
    assert OwnKeysChanged(OwnChange.SUCCEEDED) in house.told


def test_only_the_last_successions_are_carried(house, desk):
    for _ in range(6):
        house.clock.now += 1
        desk.succeed()
    assert desk.successions == len(house.read(desk).successions) == 4


def test_tickets_made_for_the_old_root_are_void(tmp_path):
    contacts = Contacts(Store.create(tmp_path / "a", PASSPHRASE, cost=MINIMUM_COST))
    contacts.issue_ticket(uris=("tls:192.0.2.1:5061",), valid_seconds=600)
    assert contacts.has_open_tickets()
    contacts.succeed()
    assert not contacts.has_open_tickets()
    assert contacts.store.tickets() == ()
    contacts.store.close()


# -- what is refused -------------------------------------------------------------------------------


def test_a_statement_that_is_not_for_this_device_changes_nothing(house, desk):
    phone = house.device("phone", RootKey.known(desk.root_public))
    other = house.device("other")
    with pytest.raises(IdentityMismatch):
        phone.take(other.statement)
    with pytest.raises(IdentityMismatch):  # which does not list it
        phone.take(desk.statement)
    with pytest.raises(sc.SecurityError):
        phone.take(b"{}")
    old = desk.statement
    phone.take(desk.enrol(phone.request()))
    kept = phone.statement
    with pytest.raises(sc.SecurityError) as caught:
        phone.take(old)
    assert caught.value.reason is Reason.ROLLBACK
    assert phone.statement == kept


def test_a_device_that_holds_the_root_follows_no_other(house, desk):
    laptop = house.device("laptop", RootKey.from_seed(parse_phrase(desk.phrase())))
    house.clock.now += 1
    desk.succeed()
    with pytest.raises(IdentityMismatch, match="somebody else has your root"):
        laptop.take(desk.statement)


def test_two_statements_of_ours_under_one_number_are_told_and_narrowed(house, desk):
    house.second(desk)
    own = house.read(desk)
    forged = build_statement(
        desk._store.root, seq=own.seq, iat=own.iat, exp=own.exp, addresses=own.addresses,
        devices=[desk.device], revoked=["x"], not_after=own.device("desk").not_after,
    )  # fmt: skip
    house.told.clear()
    assert desk.take(forged)
    assert house.told[-1] == OwnKeysChanged(OwnChange.FORK)
    after = house.read(desk)
    assert after.seq > own.seq
    assert [d.id for d in after.devices] == ["desk"]
    assert after.revoked == ("x",)


@pytest.mark.parametrize("text", ["", "securecall:join:1:", "securecall:join:1:AAAA", "x" * 500])
def test_what_is_no_invitation_is_refused(text):
    with pytest.raises(ProtocolError):
        parse_invitation(text)


# -- more withdrawals than a statement holds -------------------------------------------------------


def crowded(house, desk, *names):
    """A statement of our root that withdraws these, as another holder of it might sign."""
    seen, root = house.read(desk), desk._store.root
    return build_statement(
        root, seq=seen.seq + 1, iat=int(house.clock.now), exp=int(house.clock.now) + DAY,
        addresses=[desk.key_address], devices=[DeviceKey.generate("other")], revoked=names,
    )  # fmt: skip


def filled(house, desk):
    """As many as a statement holds."""
    desk.take(crowded(house, desk, *(f"lost-{n}" for n in range(MAX_REVOKED))))
    desk.revoke("other") if len(desk.revoked) < MAX_REVOKED else None
    assert len(house.read(desk).revoked) == MAX_REVOKED


def test_a_full_statement_says_so_and_a_successor_has_room(house, desk):
    filled(house, desk)
    phone = house.second(desk)
    with pytest.raises(StatementFull, match="succeed"):
        desk.revoke("phone")
    desk.succeed()
    assert house.read(desk).revoked == ()
    assert phone.take(desk.statement)
    for each in (desk, house.again(desk), phone, house.again(phone)):  # for ever, all the same
        assert set(each.revoked) == {f"lost-{n}" for n in range(MAX_REVOKED)}
    back = house.device("lost-0", RootKey.known(desk.root_public))
    with pytest.raises(Revoked):
        desk.enrol(back.request())
    desk.enrol(phone.request())
    desk.revoke("phone")
    assert house.read(desk).revoked == ("phone",)


def test_withdrawals_that_no_statement_can_say_count_here_until_a_successor_is_made(house, desk):
    filled(house, desk)
    phone = house.second(desk)
    listed = house.read(desk)
    late = crowded(house, desk, "phone")
    with pytest.raises(StatementInvalid, match="no room"):
        desk.take(late)
    for each in (desk, house.again(desk)):  # which opens
        assert "phone" in each.revoked
        assert each.known.device("desk")
        with pytest.raises(Revoked):
            each.known.device("phone")
        with pytest.raises(StatementFull, match="succeed"):
            _ = each.statement
    assert house.read(phone) == listed
    desk.succeed()
    assert [device.id for device in house.read(desk).devices] == ["desk"]
    assert "phone" in desk.revoked


def test_there_is_an_end_to_what_a_thief_of_the_root_can_have_us_remember(house, desk):
    phone = house.second(desk)
    for start in range(0, MAX_REMEMBERED, MAX_REVOKED):
        house.clock.now += 1
        raw = build_statement(
            desk._store.root, seq=int(house.clock.now * 1000), iat=int(house.clock.now),
            exp=int(house.clock.now) + DAY, addresses=[desk.key_address], devices=[phone.device],
            revoked=[f"{n:x>64}" for n in range(start, start + MAX_REVOKED)],
        )  # fmt: skip
        phone.take(raw)
    house.clock.now += 1
    last = build_statement(
        desk._store.root, seq=int(house.clock.now * 1000), iat=int(house.clock.now),
        exp=int(house.clock.now) + DAY, addresses=[desk.key_address], devices=[phone.device],
        revoked=["one-more"],
    )  # fmt: skip
    with pytest.raises(StatementInvalid, match="more devices than anybody has"):
        phone.take(last)
    assert len(house.again(phone).revoked) == MAX_REMEMBERED
