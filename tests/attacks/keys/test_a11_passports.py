"""A11, A7: PASSporTs beyond the trials of `passports.py`: altered, replayed, of a stolen key."""

from __future__ import annotations

import pytest

from securecall.address import parse_address
from securecall.errors import AddressNotOwned, IdentityMismatch, ProtocolError, SecurityError
from securecall.keys import passport as p
from securecall.keys.statement import parse_statement
from securecall.own_identity import OwnIdentity
from securecall.secret import Secret
from securecall.store.backup import restore, write_backup
from securecall.store.sqlite import Store
from securecall.store.vault import MINIMUM_COST
from securecall.testing.attacks import passports
from securecall.testing.attacks.passports import ALICE, ALL, BOB, NOW, ONE, TWO, changed, forged

KEY = p.PassportKey.generate()
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def judged(token, *, keys=(KEY.public,), **said):
    return passports.judged(token, *keys, **said)


@pytest.mark.parametrize("answer", ["rotate", "succeed", "restore"])
def test_a_stolen_key_signs_for_nobody_once_its_owner_answered(tmp_path, answer):
    def listed(identity):
        statement = parse_statement(identity.statement, unix=NOW + 60)
        return [device.p256 for device in statement.devices if device.p256]

    secret = Secret("x")
    store = Store.create(tmp_path / "alice", secret, cost=MINIMUM_COST)
    alice = OwnIdentity(store, unix=lambda: NOW)
    stolen = forged(alice.passport_key())
    judged(stolen, keys=listed(alice))  # the control: until then it is hers
    write_backup(store, tmp_path / "saved", secret, cost=MINIMUM_COST)
    if answer == "restore":
        store.close()
        restore(
            tmp_path / "saved",
            tmp_path / "again",
            backup_passphrase=secret,
            passphrase=secret,
            cost=MINIMUM_COST,
        )
        store = Store.open(tmp_path / "again", secret)
        alice = OwnIdentity(store, unix=lambda: NOW)
    else:
        getattr(alice, answer)()
    own = forged(alice.passport_key())
    with pytest.raises(AddressNotOwned):
        judged(stolen, keys=listed(alice))
    judged(own, keys=listed(alice))
    store.close()


def test_control_the_honest_one_is_taken():
    token = p.build_passport(
        KEY, kind=p.REQUEST, orig=ALICE, dest=BOB, digests=(TWO, ONE, ONE), unix=NOW
    )
    judged(token)
    judged(token, unix=NOW + 60)
    judged(forged(KEY))
    answer = p.build_passport(
        KEY, kind=p.RESPONSE, orig=ALICE, dest=BOB, digests=(ONE, TWO), unix=NOW
    )
    judged(answer, kind=p.RESPONSE)


@pytest.mark.parametrize("name", ALL)
def test_a_forged_one_is_refused(name):
    with pytest.raises((ProtocolError, SecurityError)):
        judged(forged(KEY, *ALL[name]))


def test_every_refusal_has_words_of_its_own():
    words = set()
    for forgery in ("mky a subset", "mky unsorted", "alg none", "iat quoted", "an unknown type"):
        with pytest.raises((ProtocolError, SecurityError)) as refused:
            judged(forged(KEY, *ALL[forgery]))
        words.add(str(refused.value))
    assert len(words) == 5


def test_the_compact_form_is_refused():
    with pytest.raises(ProtocolError, match="full form"):
        p.parse_passport(f"..{forged(KEY).rpartition('.')[2]}")


@pytest.mark.parametrize("place", range(0, 64, 7))
def test_no_bit_of_the_signature_can_change(place):
    head, _, signature = forged(KEY).rpartition(".")
    raw = bytearray(p.parse_base64url(signature))
    raw[place] ^= 1
    with pytest.raises(AddressNotOwned):
        judged(f"{head}.{p.build_base64url(bytes(raw))}")


def test_another_persons_key_proves_nothing():
    with pytest.raises(AddressNotOwned):
        judged(forged(p.PassportKey.generate()))
    with pytest.raises(AddressNotOwned):
        judged(forged(KEY), keys=())


def test_other_certificates_than_the_signed_ones_are_refused():
    with pytest.raises(IdentityMismatch):
        judged(forged(KEY), digests=(ONE, ("sha-256", bytes(32))))


def test_a7_a_second_time_is_refused_also_under_the_twin_of_its_signature():
    replays = p.Replays()
    token = forged(KEY)
    replays.require_new(judged(token), unix=NOW)
    with pytest.raises(SecurityError, match="before"):
        replays.require_new(judged(token), unix=NOW + 59)
    head, _, signature = token.rpartition(".")
    raw = p.parse_base64url(signature)
    twin = raw[:32] + (ORDER - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    twisted = judged(f"{head}.{p.build_base64url(twin)}")  # the control: it verifies
    assert twisted.signature != raw
    with pytest.raises(SecurityError, match="before"):
        replays.require_new(twisted, unix=NOW + 59)
    other = forged(KEY, None, changed(iat=NOW + 1))
    replays.require_new(judged(other), unix=NOW)
    assert len(replays) == 2


def test_what_is_remembered_is_bounded_and_forgotten_when_it_is_stale_anyway(monkeypatch):
    monkeypatch.setattr(p, "MOST_REMEMBERED", 3)
    replays = p.Replays()
    for n in range(3):
        replays.require_new(judged(forged(KEY, None, changed(iat=NOW + n))), unix=NOW)
    fourth = judged(forged(KEY, None, changed(iat=NOW + 9)))
    with pytest.raises(SecurityError, match="too many"):
        replays.require_new(fourth, unix=NOW)
    replays.require_new(fourth, unix=NOW + p.REMEMBERED_SECONDS)
    assert len(replays) == 1
    assert p.REMEMBERED_SECONDS > 2 * p.FRESH_SECONDS  # no gap between the two


def test_only_sip_addresses_can_be_named():
    with pytest.raises(p.UsageError):
        p.build_passport(
            KEY,
            kind=p.REQUEST,
            orig=parse_address("xmpp:a@example.com"),
            dest=BOB,
            digests=(ONE,),
            unix=NOW,
        )
