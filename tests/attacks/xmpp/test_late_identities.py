"""A server tells us unasked who somebody is whom our user added when they had no identity.

Then our user meant whoever publishes one, but not for ever: who was met in between is known by
that. The control takes the server's word whenever it comes.
"""

from __future__ import annotations

import asyncio

import pytest

from securecall.devices import Devices
from securecall.keys.omemo_values import DeviceTrust
from securecall.keys.trust import Act, How, TrustState
from securecall.people import People
from tests.forge_devices import BOB, identity_key, own_statement
from tests.forge_statement import root_key
from tests.unit.test_people import Scene

pytestmark = pytest.mark.attack

GENUINE, SERVERS = 1, 66
ROOT = 2


@pytest.fixture
def scene(tmp_path):
    made = Scene(tmp_path)
    asyncio.run(made.people.fresh())
    assert asyncio.run(made.people.add(BOB)) is None
    yield made
    made.contacts.store.close()


@pytest.fixture(params=[True, False], ids=["guarded", "control"])
def guarded(request, monkeypatch):
    if not request.param:  # as it was
        monkeypatch.setattr(People, "is_awaited", lambda self, address: True)
    return request.param


def state(scene, number):
    return scene.contacts.book.state(BOB, root_key(number).fingerprint)


def test_after_our_user_wrote_it_pins_nothing(scene, guarded):
    devices = Devices(scene.contacts)
    devices.first_use(BOB, [identity_key(GENUINE)])
    scene.event(own_statement(ROOT, omemo=(SERVERS,)))
    assert (state(scene, ROOT) is TrustState.PINNED) is not guarded
    if guarded:
        assert devices.device_trust(BOB, identity_key(GENUINE)) is DeviceTrust.TRUSTED
        assert devices.device_trust(BOB, identity_key(SERVERS)) is DeviceTrust.UNDECIDED


def test_after_they_were_met_otherwise_it_begins_no_conflict(scene, guarded):
    """A conflict blocks: calls and messages end until our user has asked the person."""
    known = root_key(ROOT).fingerprint
    scene.contacts.apply(scene.contacts.event(Act.PIN, BOB, known, How.FIRST_CALL))
    scene.event(own_statement(3))
    after = TrustState.PINNED if guarded else TrustState.CHANGED
    assert state(scene, ROOT) is after


def test_before_that_it_is_what_our_user_meant(scene):
    assert scene.people.is_awaited(BOB)
    scene.event(own_statement(ROOT))
    assert state(scene, ROOT) is TrustState.PINNED
    assert not scene.people.is_awaited(BOB)
