"""Fingerprints of calls over XMPP that OMEMO proves: written, read, and refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from xml.etree.ElementTree import Element, SubElement, fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import (
    DowngradeError,
    IdentityMismatch,
    ProtocolError,
    Reason,
    SecurecallError,
    SecurityError,
)
from securecall.keys.omemo_values import OMEMO_LEGACY, DeviceTrust
from securecall.media.description import Fingerprint
from securecall.policy import SecurityLevel
from securecall.testing.attacks.jingle import _ALICE as ALICE
from securecall.testing.attacks.jingle import _BOB as BOB
from securecall.testing.attacks.jingle import _ICE as ICE
from securecall.testing.attacks.jingle import Scene
from securecall.xmpp.call_fingerprint import DTLS, NAMESPACE, CallFingerprints, build_proceed
from securecall.xmpp.omemo import build_encrypted

DIGESTS = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
OURS = Fingerprint("sha-256", bytes(range(32)))
TEXT = OURS.value.hex(":").upper()


def answer(device_id):
    message = Element("{jabber:client}message")
    message.append(build_proceed("call", device_id))
    return message


def transport_of(*elements):
    transport = Element(ICE)
    transport.extend(elements)
    return transport


def plain(value=TEXT, **attributes):
    attributes = {"hash": "sha-256", "setup": "active"} | attributes
    element = Element(f"{{{DTLS}}}fingerprint", {k: v for k, v in attributes.items() if v})
    element.text = value
    return element


def unasked(*arguments):
    raise AssertionError("OMEMO was asked")


def nobody(*, floor=False):
    return CallFingerprints(
        BOB, devices=lambda jid: (), trust=unasked, seal=unasked, open_sealed=unasked, floor=floor
    )


@pytest.mark.parametrize(("algorithm", "length"), DIGESTS.items())
@pytest.mark.parametrize("trust", [DeviceTrust.TRUSTED, DeviceTrust.VERIFIED])
def test_a_fingerprint_is_read_by_the_device_it_was_written_for_and_by_no_other(
    algorithm, length, trust
):
    async def main():
        scene = await Scene.begin()
        scene.alice.trust.otherwise = trust
        theirs = Fingerprint(algorithm, bytes(range(length)))
        caller = await scene.call(scene.alice, BOB, floor=True)
        device = caller.answered(answer(scene.phone.id))
        assert (device.id, device.namespace) == (scene.phone.id, OMEMO_LEGACY)
        offer = caller.write(OURS, setup="actpass")
        assert offer.attrib == {"hash": "sha-256", "setup": "actpass"}
        assert TEXT not in "".join(offer.itertext())

        callee = await scene.call(scene.phone, ALICE, floor=True)
        heard = callee.read(transport_of(offer))
        assert (heard.fingerprint, heard.setup) == (OURS, "actpass")
        assert (heard.device.id, heard.level) == (scene.alice.id, SecurityLevel.E2EE)
        tablet = await scene.call(scene.tablet, ALICE, floor=True)
        with pytest.raises(SecurecallError):
            tablet.read(transport_of(offer))

        reply = caller.read(transport_of(callee.write(theirs, setup="passive")))
        assert reply.fingerprint == theirs
        assert reply.level is SecurityLevel[{"trusted": "E2EE", "verified": "VERIFIED"}[trust]]
        again = caller.read(transport_of(callee.write(theirs, setup="passive")))
        assert again.device == reply.device  # another content of the same call

    asyncio.run(main())


def test_trust_counts_at_the_moment_it_is_needed():
    async def main():
        scene = await Scene.begin()
        caller = await scene.call(scene.alice, BOB, floor=True)
        _ = caller.answered(answer(scene.phone.id))
        scene.alice.trust.otherwise = DeviceTrust.DISTRUSTED
        said = transport_of(*await scene.said_by(scene.phone))
        for act in (
            lambda: caller.write(OURS, setup="actpass"),
            lambda: caller.read(said),
        ):
            with pytest.raises(SecurityError) as refused:
                act()
            assert refused.value.reason is Reason.DEVICE_UNTRUSTED
        scene.alice.trust.otherwise = DeviceTrust.TRUSTED
        assert caller.write(OURS, setup="actpass").tag == f"{{{NAMESPACE}}}fingerprint"

    asyncio.run(main())


def test_what_would_be_encrypted_for_more_than_one_is_not_written():
    async def main():
        scene = await Scene.begin()
        caller = await scene.call(scene.alice, BOB, floor=True)
        _ = caller.answered(answer(scene.phone.id))
        both = scene.alice.omemo.seal({OMEMO_LEGACY: b"x"}, scene.recipients.of(OMEMO_LEGACY))[0]
        assert len(both.keys) > 1
        for wrong in (both, replace(both, keys=())):
            caller._seal = lambda text, device, wrong=wrong: wrong
            with pytest.raises(SecurityError, match="for others"):
                caller.write(OURS, setup="actpass")

    asyncio.run(main())


@pytest.mark.parametrize("text", ["", "AA:BB", TEXT + "\n", "Ä" * 95])
def test_what_is_encrypted_has_to_be_a_fingerprint(text):
    async def main():
        scene = await Scene.begin()
        callee = await scene.call(scene.phone, ALICE, floor=False)
        _ = callee.answered(answer(scene.alice.id))
        element = callee.write(OURS, setup="active")
        sealed = callee._seal(text.encode(), callee._device)
        element[:] = [build_encrypted(sealed)]
        caller = await scene.call(scene.alice, BOB, floor=True)
        with pytest.raises(ProtocolError):
            caller.read(transport_of(element))

    asyncio.run(main())


@pytest.mark.parametrize(
    "element",
    [
        plain(hash="sha-1", value="AA:" * 19 + "AA"), plain(hash=""), plain(setup=""),
        plain(setup="holdconn"), plain("AA"), plain(OURS.value.hex(":") + ":00"), plain(""),
        plain(OURS.value.hex()), plain(" " + OURS.value.hex(":")), plain("Ä" * 95),
        fromstring(f"<fingerprint xmlns='{NAMESPACE}' hash='sha-256' setup='active'/>"),
    ],
)  # fmt: skip
def test_what_is_no_fingerprint_is_refused(element):
    with pytest.raises(ProtocolError):
        nobody().read(transport_of(element))


def test_a_transport_has_one_fingerprint():
    with pytest.raises(SecurityError) as refused:
        nobody().read(transport_of())
    assert refused.value.reason is Reason.NO_ENCRYPTION
    with pytest.raises(ProtocolError):
        nobody().read(transport_of(plain(), plain()))
    read = nobody().read(transport_of(Element("{urn:x}other"), plain()))
    assert (read.fingerprint, read.device, read.level) == (OURS, None, SecurityLevel.OPPORTUNISTIC)
    with pytest.raises(DowngradeError):
        nobody(floor=True).read(transport_of(plain()))


@pytest.mark.parametrize(
    "number", ["", "0", "-1", "01", "x", "2147483648", "9" * 30, "1 ", "\u0661"]
)
def test_an_impossible_device_answers_nothing(number):
    with pytest.raises(ProtocolError):
        nobody().answered(answer(number))


def test_one_device_answers_and_one_time():
    message = answer(7)
    SubElement(message[0], f"{{{NAMESPACE}}}device", {"id": "8"})
    with pytest.raises(ProtocolError):
        nobody().answered(message)
    message = answer(7)
    message.append(build_proceed("call", 7))
    with pytest.raises(ProtocolError):
        nobody().answered(message)
    with pytest.raises(ProtocolError):
        nobody().answered(Element("{jabber:client}message"))
    beside = Element("{jabber:client}message")  # where it stood in a talk of 2021
    SubElement(beside, "{urn:xmpp:jingle-message:0}proceed")
    SubElement(beside, f"{{{NAMESPACE}}}device", {"id": "8"})
    assert nobody().answered(beside) is None
    with pytest.raises(DowngradeError):
        nobody(floor=True).answered(beside)


def test_another_device_of_theirs_is_not_taken_in_its_place():
    async def main():
        scene = await Scene.begin()
        caller = await scene.call(scene.alice, BOB, floor=False)
        _ = caller.read(await scene.said_by(scene.phone))
        with pytest.raises(IdentityMismatch) as refused:
            caller.read(await scene.said_by(scene.tablet))
        assert refused.value.reason is Reason.DEVICE_MISMATCH
        assert caller.read(await scene.said_by(scene.phone)).device.id == scene.phone.id

    asyncio.run(main())


NAMES = st.sampled_from(
    [f"{{{NAMESPACE}}}{n}" for n in ("device", "fingerprint")]
    + [f"{{{DTLS}}}fingerprint", "{urn:xmpp:jingle-message:0}proceed"]
    + [f"{{{OMEMO_LEGACY}}}{n}" for n in ("encrypted", "header", "key", "iv", "payload")]
)
WORDS = st.one_of(
    st.sampled_from(["", "7", "sha-256", "active", "AA==", OURS.value.hex(":")]),
    st.text(max_size=20),
)


@st.composite
def trees(draw, depth=4):
    keys = st.sampled_from(["id", "hash", "setup", "sid", "rid", "prekey"])
    element = Element(draw(NAMES), draw(st.dictionaries(keys, WORDS, max_size=3)))
    element.text = draw(WORDS)
    if depth:
        element.extend(draw(st.lists(trees(depth=depth - 1), max_size=3)))
    return element


@given(tree=trees(), floor=st.booleans())
def test_whatever_comes_is_read_or_refused_by_a_typed_error(tree, floor):
    def cannot(sealed, jid):
        raise SecurityError("no session")

    call = CallFingerprints(
        BOB,
        devices=lambda jid: (),
        trust=unasked,
        seal=unasked,
        open_sealed=cannot,
        floor=floor,
    )
    outer = transport_of(tree)
    for act in (call.read, call.answered):
        try:
            got = act(outer)
        except SecurecallError:
            continue
        assert not floor
        assert got is None or got.device is None
