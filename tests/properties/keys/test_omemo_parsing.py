"""Any bytes to the parsers of OMEMO's keys: read, or refused with the one error they promise."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import (
    AlreadyOpened,
    BundleInvalid,
    CannotOpen,
    ProtocolError,
    StoreCorrupt,
)
from securecall.keys.omemo_devices import DeviceBook
from securecall.keys.omemo_legacy import OmemoLegacy
from securecall.keys.omemo_prekeys import OwnKeys
from securecall.keys.omemo_scheme import Payload
from securecall.keys.omemo_session import Session
from securecall.keys.omemo_two import OmemoTwo
from securecall.keys.omemo_values import MAX_ID, OMEMO, OMEMO_LEGACY, Bundle, Sealed
from securecall.keys.protobuf import MAX_SIZE, build_protobuf, parse_protobuf
from securecall.testing.omemo_world import Person, World

SCHEMES = {OMEMO: OmemoTwo(), OMEMO_LEGACY: OmemoLegacy()}
EACH = pytest.mark.parametrize("namespace", list(SCHEMES))
KINDS = {1: int, 2: int, 3: bytes, 4: bytes}
FIELDS = st.fixed_dictionaries(
    {
        1: st.integers(0, 2**32 - 1),
        2: st.integers(0, 2**32 - 1),
        3: st.binary(max_size=100),
        4: st.binary(max_size=100),
    }
)


@given(FIELDS)
def test_protobuf_reads_what_it_wrote(fields):
    assert parse_protobuf(build_protobuf(fields), KINDS) == fields


@given(st.binary(max_size=MAX_SIZE + 10))
def test_protobuf_reads_or_refuses(data):
    try:
        found = parse_protobuf(data, KINDS)
    except ProtocolError:
        return
    assert set(found) <= set(KINDS)


@EACH
@given(data=st.binary(max_size=600), kex=st.booleans())
def test_keys_are_read_or_refused(namespace, data, kex):
    with suppress(ProtocolError):
        SCHEMES[namespace].parse_key(data, kex=kex)


@cache
def opened_world(namespace: str) -> tuple[Person, Person, tuple[Sealed, ...]]:
    """Two people, and messages of every kind between them, of which none was opened."""

    async def meet():
        world = World()
        alice = await world.person("alice@a.example", namespaces=(namespace,))
        bob = await world.person("bob@b.example", namespaces=(namespace,))
        (opening,) = await alice.write(b"opening", bob.jid)
        other = await world.person("bob@b.example", namespaces=(namespace,), store=bob.store)
        other.omemo.open_sealed(opening, alice.jid)
        (back,) = await other.write(b"back", alice.jid)
        alice.omemo.open_sealed(back, bob.jid)
        (plain,) = await alice.write(b"plain", bob.jid)
        fresh = await world.person("carol@c.example", namespaces=(namespace,))
        (new,) = await fresh.write(b"new", bob.jid)
        return other, fresh, (plain, new)

    return asyncio.run(meet())


@EACH
@given(data=st.data())
def test_a_changed_bit_anywhere_never_opens_and_changes_nothing(namespace, data):
    bob, _, messages = opened_world(namespace)
    which = data.draw(st.integers(0, 1))
    sealed = messages[which]
    key = sealed.keys[0]
    place = data.draw(st.integers(0, len(key.data) * 8 - 1))
    changed = bytearray(key.data)
    changed[place // 8] ^= 1 << place % 8
    kept = dict(bob.store.kept)
    sender = ("alice@a.example", "carol@c.example")[which]
    forged = replace(sealed, keys=(replace(key, data=bytes(changed)),))
    try:
        opened = bob.omemo.open_sealed(forged, sender)
    except (ProtocolError, AlreadyOpened, CannotOpen):
        assert bob.store.kept == kept
        return
    # What the MAC does not cover and nobody reads: libsignal's registration id, version nibble.
    assert opened.plaintext in (b"plain", b"new")
    assert namespace == OMEMO_LEGACY or which == 1
    bob.store.kept = kept


@EACH
@given(material=st.binary(max_size=70), iv=st.binary(max_size=20), data=st.binary(max_size=100))
def test_payloads_are_opened_or_refused(namespace, material, iv, data):
    with pytest.raises(CannotOpen):
        SCHEMES[namespace].open_payload(Payload(material=material, iv=iv, data=data))


@EACH
@given(plaintext=st.binary(max_size=2000))
def test_payloads_come_back(namespace, plaintext):
    scheme = SCHEMES[namespace]
    assert scheme.open_payload(scheme.seal_payload(plaintext)) == plaintext


@EACH
@given(key=st.binary(min_size=32, max_size=32), prekey=st.binary(min_size=32, max_size=32),
       signature=st.binary(min_size=64, max_size=64))  # fmt: skip
def test_bundles_of_any_bytes_are_refused(namespace, key, prekey, signature):
    bundle = Bundle(
        namespace=namespace,
        jid="bob@b.example",
        id=1,
        identity_key=key,
        signed_prekey_id=1,
        signed_prekey=prekey,
        signature=signature,
        prekeys={1: prekey},
    )
    own = OwnKeys.create(SCHEMES[namespace], bytes(31) + b"\x40", unix=0)
    with pytest.raises((BundleInvalid, ProtocolError)):
        Session.begin(SCHEMES[namespace], own, bundle, b"secret", sender=1)


@EACH
@given(st.binary(max_size=600))
def test_kept_bytes_are_read_or_called_corrupt(namespace, data):
    for parse in (
        lambda: Session.parse(data, SCHEMES[namespace], bytes(32)),
        lambda: OwnKeys.parse(data, SCHEMES[namespace], bytes(32)),
        lambda: DeviceBook.parse(data, "bob@b.example"),
    ):
        with suppress(StoreCorrupt):
            parse()


@given(st.dictionaries(st.integers(1, MAX_ID), st.text(max_size=80), max_size=130))
def test_device_books_come_back(devices):
    book = DeviceBook("bob@b.example")
    book.update(OMEMO, devices)
    again = DeviceBook.parse(book.build(), "bob@b.example")
    assert again.active(OMEMO) == book.active(OMEMO)
    assert again.build() == book.build()
    assert len(book.active(OMEMO)) <= 100
