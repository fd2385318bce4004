"""For all damage on the way: the handshake completes alike at both ends, or fails closed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securecall.secret import Secret
from tests.pairs.keys.link import Link, Person, make_pair

ALICE, BOB = Person.named("alice"), Person.named("bob")
FATES = st.lists(
    st.sampled_from(["pass", "lose", "twice", "late", "flip", "cut", "swap"]), max_size=40
)


def require_alike(alice, bob, link):
    assert link.now <= 25.0
    for end in (alice, bob):
        assert end.complete or end.over
    if alice.complete and bob.complete:
        a, b = alice.complete.result, bob.complete.result
        assert a.sas_secret == b.sas_secret
        assert a.bind == b.bind
        assert a.peer.root_fp == BOB.root.fingerprint
        assert b.peer.root_fp == ALICE.root.fingerprint


@settings(max_examples=60)
@given(FATES, st.integers(0, 2**32), st.booleans())
def test_damaged_datagrams_never_lead_to_disagreement(fates, seed, caller_is_client):
    alice, bob = make_pair(ALICE, BOB, caller_is_client=caller_is_client)
    numbers = {True: 0, False: 0}

    def fate(number, up, data):
        what = fates[number] if number < len(fates) else "pass"
        return {"lose": (), "twice": (0.0, 0.4), "late": (0.3,)}.get(what, (0.0,))

    def change(up, data):
        number = numbers[up]
        numbers[up] += 1
        what = fates[2 * number + up] if 2 * number + up < len(fates) else "pass"
        if what == "flip":
            position = seed % len(data)
            return (
                data[:position] + bytes([data[position] ^ (1 + seed % 255)]) + data[position + 1 :]
            )
        if what == "cut":
            return data[: seed % len(data)]
        if what == "swap":
            middle = seed % len(data)
            return data[middle:] + data[:middle]
        return data

    require_alike(alice, bob, Link(alice, bob, fate=fate, change=change).run())


@settings(max_examples=40)
@given(st.integers(0, 30), st.binary(min_size=1, max_size=1100), st.booleans(), st.booleans())
def test_any_record_injected_into_the_association_ends_it_or_changes_nothing(
    place, record, caller_is_client, carriage
):
    """Whoever holds the DTLS keys can say anything there; it must never confuse an end."""
    alice, bob = make_pair(ALICE, BOB, caller_is_client=caller_is_client)
    honest = alice._perform
    count = []

    def perform(outputs, now):
        sent = honest(outputs, now)
        count.append(1)
        if len(count) == place and alice.established and not alice.over:
            data = (b"\x5c\x01\0\0" + record)[:1000] if carriage else record
            sent += [o.data for o in alice.dtls.send(data)]
        return sent

    alice._perform = perform
    require_alike(alice, bob, Link(alice, bob).run())


@pytest.mark.parametrize("size", [8193, 20000, 65535])
def test_huge_datagrams_are_ignored(size):
    alice, bob = make_pair(ALICE, BOB, caller_is_client=True)
    alice.start(0.0)
    for first in (20, 22, 23, 63):
        assert bob.receive(bytes([first]) + b"\xfe\xfd" + b"x" * (size - 3), 0.0) == []
    assert bob.dtls.begun is None


def test_the_outer_exporter_is_wiped_at_completion():
    alice, bob = make_pair(ALICE, BOB, caller_is_client=True)
    Link(alice, bob).run()
    for end in (alice, bob):
        assert isinstance(end.established.outer_exporter, Secret)
        assert len(end.established.outer_exporter) == 0
