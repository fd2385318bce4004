"""A2, A4, A5, A6: what a server does to the fingerprints of a call over XMPP that OMEMO proves.

At the level of the functions that read and write them: the calls themselves are not built yet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from securecall.errors import SecurecallError
from securecall.keys.omemo_values import OMEMO_LEGACY, Device, DeviceTrust, Recipients, Sealed
from securecall.media.description import Fingerprint
from securecall.policy import SecurityLevel
from securecall.testing.attacks.outcome import Attack, Outcome, control, named, ours
from securecall.testing.omemo_world import ONLY_LEGACY, Person, World
from securecall.xmpp.call_fingerprint import (
    DTLS,
    NAMESPACE,
    PROCEED,
    CallFingerprints,
    build_proceed,
)
from securecall.xmpp.omemo import parse_encrypted

_ALICE, _BOB = "alice@a.example", "bob@b.example"
_ICE: Final = "{urn:xmpp:jingle:transports:ice-udp:1}transport"
_REAL = Fingerprint("sha-256", bytes(range(32)))
_HERS = Fingerprint("sha-256", bytes([0xEE]) * 32)


@dataclass
class Scene:
    """Alice, two devices of Bob's that she trusts, and one that the server put on his list."""

    alice: Person
    phone: Person
    tablet: Person
    hers: Person
    recipients: Recipients

    @classmethod
    async def begin(cls) -> Scene:
        """Everybody has keys, and Alice looked Bob's up."""
        world = World()
        people = [
            await world.person(jid, namespaces=ONLY_LEGACY)
            for jid in (_ALICE, _BOB, _BOB, "mallory@m.example")
        ]
        alice, phone, tablet, hers = people
        bundle = world.server.bundles[OMEMO_LEGACY, hers.jid, hers.id]
        world.server.bundles[OMEMO_LEGACY, _BOB, hers.id] = replace(bundle, jid=_BOB)
        world.server.lists[OMEMO_LEGACY, _BOB] = dict.fromkeys((p.id for p in people[1:]), "")
        recipients = await alice.omemo.prepare([_BOB])
        for his in (phone, tablet):
            _ = await his.omemo.prepare([_ALICE])
        (own,) = hers.omemo.own.values()
        alice.trust.by_fingerprint[own.fingerprint] = DeviceTrust.UNDECIDED
        return cls(alice, phone, tablet, hers, recipients)

    async def call(self, who: Person, peer: str, *, floor: bool) -> CallFingerprints:
        """One end of a call between them."""
        recipients = await who.omemo.prepare([peer])

        def seal(text: bytes, device: Device) -> Sealed:
            alone = replace(recipients, devices=(device,))
            (sealed,) = who.omemo.seal({OMEMO_LEGACY: text}, alone)
            return sealed

        return CallFingerprints(
            peer,
            devices=who.omemo.devices,
            trust=who.trust,
            seal=seal,
            open_sealed=who.omemo.open_sealed,
            floor=floor,
        )

    async def said_by(self, who: Person) -> Element:
        """The transport of a session-accept by a device of Bob's, encrypted for Alice."""
        call = await self.call(who, _ALICE, floor=False)
        _ = call.answered(_proceed(self.alice.id))
        transport = Element(_ICE)
        transport.append(call.write(_REAL, setup="active"))
        return transport

    def forgiving(self, transport: Element, peer: str = _BOB) -> Fingerprint:
        """What clients do that take the first fingerprint they find, and warn of the rest."""
        for element in transport:
            if element.tag == f"{{{DTLS}}}fingerprint":
                return Fingerprint("sha-256", bytes.fromhex((element.text or "").replace(":", "")))
        (encrypted,) = transport.iter(f"{{{OMEMO_LEGACY}}}encrypted")
        opened = self.alice.omemo.open_sealed(parse_encrypted(encrypted), peer)
        text = (opened.plaintext or b"").decode()
        return Fingerprint("sha-256", bytes.fromhex(text.replace(":", "")))


def _proceed(device_id: int | None) -> Element:
    message = Element("{jabber:client}message", {"type": "chat"})
    if device_id is None:
        SubElement(message, PROCEED, {"id": "call"})
    else:
        message.append(build_proceed("call", device_id))
    return message


def _plain() -> Element:
    element = Element(f"{{{DTLS}}}fingerprint", {"hash": "sha-256", "setup": "active"})
    element.text = _HERS.value.hex(":").upper()
    return element


def _stripped(transport: Element) -> None:
    for element in transport.findall(f"{{{NAMESPACE}}}fingerprint"):
        transport.remove(element)
    transport.append(_plain())


def _beside(transport: Element) -> None:
    transport.insert(0, _plain())


def _refused(outcome: Outcome, act: Callable[[], object], wanted: str) -> None:
    try:
        _ = act()
    except SecurecallError as e:
        outcome.refusals += (named(e),)
        outcome.demand(named(e) == wanted, f"refused as {named(e)}")
    else:
        outcome.problems.append("nothing was refused")


# -- A2 -------------------------------------------------------------------------------------------


async def _first_one_taken(_folder: Path) -> Outcome:
    """Both ways of putting hers there work where the first fingerprint counts."""
    outcome = Outcome(got="her fingerprint is taken for Bob's")
    scene = await Scene.begin()
    for change in (_stripped, _beside):
        transport = await scene.said_by(scene.phone)
        change(transport)
        outcome.demand(scene.forgiving(transport) == _HERS, "Bob's own was taken")
    return outcome


async def _with_floor(_folder: Path) -> Outcome:
    """Alice called Bob with a proof before, and asks for it."""
    outcome = Outcome()
    scene = await Scene.begin()
    for change, wanted in (
        (_stripped, "DowngradeError: downgrade"),
        (_beside, "ProtocolError: XEP-0320 2"),
    ):
        transport = await scene.said_by(scene.phone)
        change(transport)
        call = await scene.call(scene.alice, _BOB, floor=True)
        _refused(outcome, partial(call.read, transport), wanted)
    transport = await scene.said_by(scene.phone)
    read = (await scene.call(scene.alice, _BOB, floor=True)).read(transport)
    outcome.demand((read.fingerprint, read.level) == (_REAL, SecurityLevel.E2EE), "Bob's is not")
    return outcome


async def _without_floor(_folder: Path) -> Outcome:
    """Nothing is known of Bob: the call goes on, and nobody says that it is end to end."""
    scene = await Scene.begin()
    transport = await scene.said_by(scene.phone)
    _stripped(transport)
    read = (await scene.call(scene.alice, _BOB, floor=False)).read(transport)
    outcome = Outcome(level=read.level, got="a call that says it is not proved")
    outcome.demand(read.level is SecurityLevel.OPPORTUNISTIC, f"it claims {read.level.name}")
    outcome.demand(read.device is None, "it names a device")
    return outcome


async def _in_mid_call(_folder: Path) -> Outcome:
    """Bob's device proved itself once; a later transport without a proof ends the call."""
    outcome = Outcome()
    scene = await Scene.begin()
    call = await scene.call(scene.alice, _BOB, floor=False)
    _ = call.read(await scene.said_by(scene.phone))
    later = await scene.said_by(scene.phone)
    _stripped(later)
    _refused(outcome, lambda: call.read(later), "DowngradeError: downgrade")
    return outcome


A2: Final[Attack] = (
    control("the first fingerprint counts", _first_one_taken),
    ours("a contact with a floor", _with_floor),
    ours("a contact without one", _without_floor),
    ours("after it was proved once", _in_mid_call),
)

# -- A4 -------------------------------------------------------------------------------------------


async def _falls_back(_folder: Path) -> Outcome:
    """Without a name there is nobody to encrypt for, and many then send it in the clear."""
    outcome = Outcome(got="Alice's fingerprint in the clear, to be exchanged")
    scene = await Scene.begin()
    call = await scene.call(scene.alice, _BOB, floor=False)
    outcome.demand(call.answered(_proceed(None)) is None, "somebody is named")
    element = call.write(_REAL, setup="actpass")
    outcome.demand(element.tag == f"{{{DTLS}}}fingerprint", "it is encrypted")
    return outcome


async def _nobody_named(_folder: Path) -> Outcome:
    """A contact with a floor has to name its device; nothing is written before."""
    outcome = Outcome()
    scene = await Scene.begin()
    call = await scene.call(scene.alice, _BOB, floor=True)
    downgrade = "DowngradeError: downgrade"
    _refused(outcome, lambda: call.answered(_proceed(None)), downgrade)
    _refused(outcome, lambda: call.write(_REAL, setup="actpass"), downgrade)
    return outcome


A4: Final[Attack] = (
    control("in the clear where nobody is named", _falls_back),
    ours("a contact with a floor", _nobody_named),
)

# -- A5, for calls --------------------------------------------------------------------------------


async def _blind(_folder: Path) -> Outcome:
    """Who trusts every device of a list encrypts for the one that the server put there."""
    outcome = Outcome(got="Alice's fingerprint, encrypted for her device")
    scene = await Scene.begin()
    scene.alice.trust.by_fingerprint.clear()
    call = await scene.call(scene.alice, _BOB, floor=True)
    _ = call.answered(_proceed(scene.hers.id))
    element = call.write(_REAL, setup="actpass")
    sealed = parse_encrypted(element[0])
    opened = scene.hers.omemo.open_sealed(sealed, _ALICE)
    outcome.demand(opened.plaintext == _REAL.value.hex(":").upper().encode(), "she cannot read it")
    return outcome


async def _undecided(_folder: Path) -> Outcome:
    """Nobody decided to trust it."""
    outcome = Outcome()
    scene = await Scene.begin()
    call = await scene.call(scene.alice, _BOB, floor=True)
    untrusted = "SecurityError: device-untrusted"
    for number in (scene.hers.id, scene.hers.id % 1000 + 7):
        _refused(outcome, partial(call.answered, _proceed(number)), untrusted)
    _refused(outcome, lambda: call.write(_REAL, setup="actpass"), "DowngradeError: downgrade")
    return outcome


A5_CALLS: Final[Attack] = (
    control("blind trust, in a call", _blind),
    ours("named to answer a call", _undecided),
)

# -- A6 -------------------------------------------------------------------------------------------


async def _warned(_folder: Path) -> Outcome:
    """Any device of the list may answer, where the difference is only warned of."""
    outcome = Outcome(got="another device's fingerprint is taken")
    scene = await Scene.begin()
    transport = await scene.said_by(scene.tablet)
    outcome.demand(scene.forgiving(transport) == _REAL, "it is refused")
    return outcome


async def _another(_folder: Path) -> Outcome:
    """His phone answered, and his tablet, which Alice trusts as well, sends the session-accept."""
    outcome = Outcome()
    scene = await Scene.begin()
    call = await scene.call(scene.alice, _BOB, floor=True)
    _ = call.answered(_proceed(scene.phone.id))
    mismatch = "IdentityMismatch: device-mismatch"
    transport = await scene.said_by(scene.tablet)
    _refused(outcome, lambda: call.read(transport), mismatch)
    _refused(outcome, lambda: call.answered(_proceed(scene.tablet.id)), mismatch)
    read = call.read(await scene.said_by(scene.phone))
    outcome.demand(read.level is SecurityLevel.E2EE, "his phone is refused, too")
    return outcome


A6: Final[Attack] = (
    control("warned of alone", _warned),
    ours("the phone was to answer", _another),
)
