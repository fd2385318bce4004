"""A stolen phone, a member taken out: what was sealed for them before, and has not left yet.

The control of each sends what it wrote, as most clients do: whoever was barred reads it.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from xml.etree.ElementTree import fromstring

import pytest

from securecall.chat.message import Delivery, Displayed, Text
from securecall.keys.omemo_trust import Sighting
from securecall.keys.omemo_values import OMEMO, DeviceTrust
from securecall.readers import Readers
from securecall.testing.omemo_world import BOTH, ONLY_LEGACY, ONLY_TWO, World
from tests.unit.test_messaging import ALICE, BOB, Bench, settled

pytestmark = [pytest.mark.attack, pytest.mark.usefixtures("at_once")]
GUARDED = pytest.mark.parametrize("guarded", [True, False])


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr("securecall.dispatch.PATIENCE", 0.0)


@pytest.fixture(autouse=True)
def guard(request, monkeypatch):
    if not getattr(request.node, "callspec", None) or request.node.callspec.params["guarded"]:
        return
    monkeypatch.setattr(Readers, "withheld", lambda _, parcel: (parcel.stanza, True))


class Scene:
    def __init__(self, members=None):
        self.world, self.barred, self.known = World(), set(), members
        self.members = members

    async def begin(self, namespaces=BOTH):
        self.alice = await self.world.person(ALICE.short)
        self.phone, self.tablet = [
            await self.world.person(BOB.short, namespaces=namespaces) for _ in range(2)
        ]
        devices = SimpleNamespace(
            trust_of=self._trust_of, notice=lambda *_: Sighting.KNOWN, wrote_to=lambda _: None
        )
        self.bench = Bench(omemo=self.alice.omemo, devices=devices)
        self.bench.rooms.members = lambda _: self.members
        self.bench.rooms.known = lambda _: self.known
        return self.bench

    def _trust_of(self, device):
        return DeviceTrust.DISTRUSTED if device.id in self.barred else DeviceTrust.TRUSTED

    @property
    def readers(self):
        """Of what went out last."""
        return {
            int(key.get("rid"))
            for key in fromstring(self.bench.session.sent[-1]).iter()
            if key.get("rid")
        }

    async def write(self):
        _ = await self.bench.messaging.write(BOB, Text(body="secret"), plain=False)


def run(body):
    asyncio.run(body())


@GUARDED
def test_what_the_server_had_not_taken_is_not_sent_again_to_who_was_barred_meanwhile(guarded):
    async def body():
        scene = Scene()
        bench = await scene.begin()
        bench.dispatch.release()
        await scene.write()  # into a connection that is gone, though nobody noticed yet
        await bench.messaging.tell(BOB, Displayed(id="m1"))
        assert scene.readers == {scene.phone.id, scene.tablet.id}
        scene.barred = {scene.tablet.id}
        bench.session.sent.clear()
        bench.session.resume()
        assert len(bench.session.sent) == 2
        assert (scene.tablet.id not in scene.readers) is guarded
        if not guarded:
            return
        scene.barred.add(scene.phone.id)
        bench.session.sent.clear()
        bench.session.resume()
        await settled()
        assert bench.session.sent == []
        (message,) = bench.history.messages(BOB)
        assert message.delivery is Delivery.FAILED
        assert bench.history.parcels() == ()
        scene.barred.clear()  # and nothing is stuck behind it
        await scene.write()
        assert scene.readers == {scene.phone.id, scene.tablet.id}

    run(body)


@GUARDED
def test_a_device_that_learned_omemo_2_meanwhile_is_barred_under_both(guarded):
    async def body():
        scene = Scene()
        bench = await scene.begin(ONLY_LEGACY)
        await scene.write()  # there is no connection yet
        tablet = scene.tablet
        again = await scene.world.person(
            BOB.short, namespaces=BOTH, store=tablet.store
        )  # an update of its application
        await scene.alice.omemo.devices_changed(
            OMEMO, BOB.short, scene.world.server.lists[OMEMO, BOB.short]
        )
        _ = await scene.alice.omemo.prepare([BOB.short])
        assert again.id == tablet.id
        scene.barred = {tablet.id}
        bench.dispatch.release()
        assert (tablet.id not in scene.readers) is guarded

    run(body)


@GUARDED
def test_who_was_barred_before_we_are_in_the_room_again_reads_nothing(guarded):
    """After a restart a room's members are not known yet: legacy OMEMO does not say whose key."""

    async def body():
        scene = Scene(members=(BOB,))
        bench = await scene.begin(ONLY_LEGACY)
        await scene.write()
        scene.members = ()
        scene.barred = {scene.tablet.id}
        bench.dispatch.release()
        assert (scene.tablet.id not in scene.readers) is guarded

    run(body)


@GUARDED
@pytest.mark.parametrize("namespaces", [ONLY_TWO, ONLY_LEGACY], ids=["two", "legacy"])
def test_who_was_taken_out_of_a_room_is_not_sent_what_waited(namespaces, guarded):
    async def body():
        scene = Scene(members=(BOB,))
        bench = await scene.begin(namespaces)
        await scene.write()
        scene.members = scene.known = ()
        bench.dispatch.release()
        assert bool(bench.session.sent) is not guarded
        await settled()
        failed = bench.history.messages(BOB)[0].delivery is Delivery.FAILED
        assert failed is guarded

    run(body)
