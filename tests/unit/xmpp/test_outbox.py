"""Whom a message is sealed for, and what stands beside it, where devices have different OMEMOs."""

from __future__ import annotations

import asyncio

import pytest

from securecall.address import parse_address
from securecall.chat.message import Activity, Delivered, Displayed, Protection, Reaction, Typing
from securecall.errors import Unsupported
from securecall.testing.omemo_world import BOTH, ONLY_LEGACY, ONLY_TWO, World
from securecall.xmpp.outbox import Outbox

ALICE, BOB = "alice@a.example", "bob@b.example"
SIGNALS = [Delivered(id="m1"), Displayed(id="m1"), Typing(activity=Activity.COMPOSING)]


async def stanza(said, *, own=(), theirs):
    """What alice says to bob; each has these devices."""
    world = World()
    alice = await world.person(ALICE)
    for namespaces in own:
        _ = await world.person(ALICE, namespaces=namespaces)
    for namespaces in theirs:
        _ = await world.person(BOB, namespaces=namespaces)
    for namespace in BOTH:
        listed = world.server.lists[namespace, ALICE]
        await alice.omemo.devices_changed(namespace, ALICE, listed)
    recipients = await alice.omemo.prepare([BOB])
    return Outbox(alice.omemo).build(
        parse_address(f"xmpp:{BOB}"), said, recipients, name="n", now=world.now, padding=""
    )


def sealed(found):
    return [
        protection
        for protection in (Protection.OMEMO, Protection.OMEMO_LEGACY)
        if found.find(f"{{{protection.value}}}encrypted") is not None
    ]


def names(found):
    return {child.tag.rpartition("}")[2] for child in found}


@pytest.mark.parametrize("said", SIGNALS)
def test_a_signal_is_sealed_where_all_their_devices_can_open_it(said):
    found = asyncio.run(stanza(said, own=[ONLY_LEGACY], theirs=[BOTH, ONLY_TWO]))
    assert sealed(found) == [Protection.OMEMO]
    assert not names(found) & {"received", "displayed", "composing"}


@pytest.mark.parametrize("said", SIGNALS)
@pytest.mark.parametrize("own", [[], [BOTH]])
@pytest.mark.parametrize("theirs", [[ONLY_LEGACY], [BOTH, ONLY_LEGACY]])
def test_a_signal_stands_in_the_clear_for_those_who_cannot(said, own, theirs):
    found = asyncio.run(stanza(said, own=own, theirs=theirs))
    assert sealed(found) == ([Protection.OMEMO] if BOTH in [*own, *theirs] else [])
    assert len(names(found) & {"received", "displayed", "composing"}) == 1


def test_a_reaction_goes_to_the_devices_that_hide_it():
    said = Reaction(to="m1", emojis=frozenset("\N{THUMBS UP SIGN}"))
    for own, theirs in (([ONLY_LEGACY], [BOTH]), ([], [BOTH, ONLY_LEGACY])):
        found = asyncio.run(stanza(said, own=own, theirs=theirs))
        assert sealed(found) == [Protection.OMEMO]
        assert "reactions" not in names(found)


def test_a_reaction_is_refused_where_somebody_could_not_be_told():
    said = Reaction(to="m1", emojis=frozenset("\N{THUMBS UP SIGN}"))
    for own in ([], [BOTH]):
        with pytest.raises(Unsupported):
            _ = asyncio.run(stanza(said, own=own, theirs=[ONLY_LEGACY]))
