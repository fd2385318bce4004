from __future__ import annotations

import pytest

import securecall as sc
from securecall.contacts import Contacts
from securecall.errors import IdentityMismatch, PhraseInvalid
from securecall.keys.enrolment import build_invitation
from securecall.restoring import join_identity, restore_from_phrase
from securecall.store.sqlite import Store
from tests.forge_store import cheap

PASSPHRASE = sc.Secret("correct horse battery staple")


@pytest.fixture(autouse=True)
def _cheap_stores(monkeypatch):
    cheap(monkeypatch)


@pytest.fixture
def opened(tmp_path):
    """Opens the home of a device."""
    stores: list[Store] = []

    def open_home(name: str, *, create: bool = False) -> Contacts:
        opener = Store.create if create else Store.open
        stores.append(opener(tmp_path / name, PASSPHRASE))
        return Contacts(stores[-1])

    yield open_home
    for store in stores:
        store.close()


def test_words_and_the_last_statement_bring_everything_of_an_identity_back(tmp_path, opened):
    desk = opened("desk", create=True)
    request = join_identity(
        tmp_path / "phone",
        passphrase=PASSPHRASE,
        invitation=build_invitation(desk.identity.root_public),
        device_id="phone",
    )
    desk.identity.enrol(request)
    desk.own_address(sc.parse_address("sip:alice@a.example"))
    restore_from_phrase(
        tmp_path / "new",
        passphrase=PASSPHRASE,
        phrase=desk.identity.phrase(),
        statement=desk.statement,
        device_id="new",
    )
    new = opened("new")
    assert new.root_fp == desk.root_fp
    assert {d.id for d in new.identity.devices} == {"new", "phone", desk.device.id}
    assert new.identity.known.seq > desk.identity.known.seq
    assert set(new.addresses) == set(desk.addresses)
    phone = opened("phone")
    assert phone.identity.take(new.statement)


def test_nothing_is_made_of_wrong_words_or_another_persons_statement(tmp_path, opened):
    desk, other = opened("desk", create=True), opened("other", create=True)
    home = tmp_path / "new"
    with pytest.raises(PhraseInvalid):
        restore_from_phrase(home, passphrase=PASSPHRASE, phrase=sc.Secret("zoo " * 24))
    for statement, error in ((other.statement, IdentityMismatch), (b"{}", sc.SecurityError)):
        with pytest.raises(error):
            restore_from_phrase(
                home,
                passphrase=PASSPHRASE,
                phrase=desk.identity.phrase(),
                statement=statement,
            )
    with pytest.raises(sc.ProtocolError):
        join_identity(home, passphrase=PASSPHRASE, invitation="securecall:join:1:AAAA")
    assert not home.exists()
    with pytest.raises(sc.LocalError):  # nor over a home there is
        restore_from_phrase(
            tmp_path / "other", passphrase=PASSPHRASE, phrase=desk.identity.phrase()
        )
