"""Two ends of the identity handshake agree, over DTLS, whatever the link does."""

import pytest

from securecall.keys.handshake import CallRole
from tests.pairs.keys.link import Link, Person, lossy, make_pair

ALICE, BOB = Person.named("alice"), Person.named("bob")
ROLES = pytest.mark.parametrize("caller_is_client", [False, True])


def require_agreement(alice, bob):
    assert alice.failed is None
    assert bob.failed is None
    a, b = alice.complete.result, bob.complete.result
    assert a.peer.root_fp == BOB.root.fingerprint
    assert b.peer.root_fp == ALICE.root.fingerprint
    assert (a.peer.own_address, b.peer.own_address) == (BOB.address, ALICE.address)
    assert a.sas_secret == b.sas_secret
    assert len(a.sas_secret) == 8
    assert (a.bind, a.identity_hashes, a.group) == (b.bind, b.identity_hashes, "X25519MLKEM768")
    keys = set()
    for role in CallRole:
        for stream in range(8):
            assert a.sframe_key(role, stream) == b.sframe_key(role, stream)
            keys.add(a.sframe_key(role, stream).reveal())
    assert len(keys) == 16


@ROLES
def test_both_ends_agree_on_keys_words_and_each_other(caller_is_client):
    alice, bob = make_pair(ALICE, BOB, caller_is_client=caller_is_client)
    Link(alice, bob).run()
    require_agreement(alice, bob)


@ROLES
@pytest.mark.parametrize("number", range(22))
def test_the_loss_of_any_one_datagram_is_survived(caller_is_client, number):
    alice, bob = make_pair(ALICE, BOB, caller_is_client=caller_is_client)
    Link(alice, bob, fate=lambda n, up, data: () if n == number else (0.0,)).run()
    require_agreement(alice, bob)


@ROLES
@pytest.mark.parametrize("loss", [0.05, 0.2])
@pytest.mark.parametrize("seed", range(5))
def test_random_loss_and_reordering_are_survived(caller_is_client, loss, seed):
    alice, bob = make_pair(ALICE, BOB, caller_is_client=caller_is_client)
    Link(alice, bob, fate=lossy(seed, loss, jitter=0.02)).run()
    require_agreement(alice, bob)


def test_every_datagram_twice_changes_nothing():
    alice, bob = make_pair(ALICE, BOB, caller_is_client=True)
    Link(alice, bob, fate=lambda n, up, data: (0.0, 0.05)).run()
    require_agreement(alice, bob)


@ROLES
def test_a_dead_link_ends_both_within_fifteen_seconds(caller_is_client):
    alice, bob = make_pair(ALICE, BOB, caller_is_client=caller_is_client)
    link = Link(alice, bob, fate=lambda n, up, data: (0.0,) if n < 6 else ()).run()
    assert alice.failed is not None
    assert bob.failed is not None
    assert link.now <= 15.1
