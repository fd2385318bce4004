"""R2 for text: none is shown before the gate is open, and none that the peer did not type."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from securecall.calls.call_text import STEP, STREAM
from securecall.calls.pictures import STREAM_OF
from securecall.errors import UsageError
from securecall.media.description import Direction, Gate
from securecall.rtp.packet import rtp_header
from securecall.rtp.red import Block, RedPayload, build_red
from securecall.rtp.sframe import SframeSender, rtp_metadata
from tests.typists import MID, RED, T140, HandClock, Typist, agreement, frames, path

TYPED = build_red(
    RedPayload(T140, b"evil", (Block(T140, 600, b""), Block(T140, 300, b""))), keep_empty=True
)


def run(scenario):
    asyncio.run(scenario())


def ends(**options):
    clock = HandClock()
    return clock, Typist(1, clock, **options), Typist(2, clock, **options)


async def typed(clock, typist, text):
    task = typist.type(text)
    await asyncio.sleep(0)
    clock.run(1.0)
    await task
    sent, typist.sent[:] = list(typist.sent), []
    return sent


def test_text_has_a_stream_of_its_own_beside_sound_and_pictures():
    assert len({0, STREAM, *STREAM_OF.values()}) == 4
    assert 0 <= STREAM <= 7


@pytest.mark.parametrize("gate", [Gate.CLOSED, Gate.VERIFYING])
def test_before_the_gate_is_open_nothing_leaves_and_nothing_is_shown(gate):
    async def main():
        clock, a, b = ends()
        a.text.gate = gate
        with pytest.raises(UsageError):
            await a.text.send("early")
        clock.run(2.0)
        assert a.sent == []
        a.hear(await typed(clock, b, "forward"))
        clock.run(2.0)
        assert a.read() == ""
        assert a.text.statistics().gated == 3
        a.text.gate = Gate.OPEN  # what came before shows nothing afterwards
        clock.run(2.0)
        assert (a.read(), a.sent) == ("", [])
        a.hear(await typed(clock, b, "now"))  # the control
        b.hear(await typed(clock, a, "late"))
        assert (a.read(), b.read()) == ("now", "late")

    run(main)


def test_what_was_typed_under_one_verdict_leaves_under_no_other():
    async def main():
        clock, a, b = ends()
        waiting = a.type("x" * 500)
        await asyncio.sleep(0)
        clock.run(0.5)
        b.hear(a.sent)
        assert b.read().startswith("xxx")
        a.sent.clear()
        a.text.gate = Gate.CLOSED
        with pytest.raises(UsageError):
            await waiting
        a.text.gate = Gate.OPEN
        clock.run(3.0)
        assert a.sent == []
        b.hear(await typed(clock, a, "y"))
        assert b.read() == "y"

    run(main)


def relayed(payload, *, number=RED, ssrc=2, sequence=500, keys=2):
    """A packet of a relay that holds the keys of SRTP, and not those of SFrame."""
    return path(keys).protect(rtp_header(number, sequence, 9, ssrc) + payload)


def sealed(payload, *, kid=STREAM, mid=MID, number=RED, key=None):
    return SframeSender(key or frames(2), kid).seal_rtp(payload, rtp_metadata(number, mid))


FOREIGN = {
    "in clear": TYPED,
    "nothing": b"",
    "under another key": sealed(TYPED, key=frames(1)),
    "of another line": sealed(TYPED, mid="0"),
    "of the sound": sealed(TYPED, mid="0", number=111, kid=0),
    "under another number": sealed(TYPED, number=T140),
    "altered": sealed(TYPED)[:-1] + b"\0",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_was_not_sealed_for_this_line_shows_nothing(name):
    async def main():
        clock, a, _ = ends()
        a.hear([relayed(FOREIGN[name])])
        clock.run(2.0)
        assert a.read() == ""
        assert a.text.statistics().refused == 1
        a.hear([relayed(sealed(TYPED), sequence=501)])  # the control
        assert a.read() == "evil"

    run(main)


def test_the_relay_has_its_way_where_there_is_no_end_to_end_layer():
    """The control of the whole: a call that is HOP_BY_HOP, and is called that."""
    _, a, _ = ends(sframe=False)
    a.hear([relayed(TYPED)])
    assert a.read() == "evil"


def test_a_packet_again_or_from_elsewhere_shows_nothing():
    async def main():
        clock, a, b = ends()
        packets = await typed(clock, b, "once")
        a.hear([*packets, *packets])
        assert a.read() == "once"
        inner = sealed(TYPED, kid=7)
        after = int.from_bytes(packets[-1][2:4]) + 10
        a.hear([relayed(inner, sequence=after)])
        assert a.read() == ""  # beyond a gap
        a.hear([relayed(inner, sequence=after + 1)])  # sealed once, and sent under two numbers
        clock.run(2.0)
        assert a.read() == "\ufffdevil"
        assert a.text.statistics().refused == 1
        a.hear([relayed(sealed(TYPED, kid=6), ssrc=77), relayed(sealed(TYPED, kid=5), keys=1)])
        clock.run(2.0)
        assert a.read() == ""

    run(main)


def test_on_hold_nothing_moves():
    async def main():
        clock, a, b = ends()
        packets = await typed(clock, b, "held")
        a.text.agree(agreement(1, direction=Direction.INACTIVE))
        a.hear(packets)
        assert a.read() == ""
        with pytest.raises(UsageError):
            await a.text.send("x")
        a.text.agree(agreement(1))
        a.hear(await typed(clock, b, "y"))
        assert a.read().endswith("y")
        a.text.hold(on=True)  # whatever was agreed
        a.hear(await typed(clock, b, "z"))
        assert a.read() == ""
        with pytest.raises(UsageError):
            await a.text.send("x")

    run(main)


def test_a_peer_that_floods_or_drives_the_terminal_gets_text_shown_and_no_more():
    _, a, _ = ends()
    for number in range(100):
        data = b"\x1b[2J\x07" + b"x" * 500
        a.hear([relayed(sealed_at(number, data), sequence=number)])
    shown = a.read()
    assert set(shown) == {"x"}
    assert len(shown) <= 10_000
    assert a.text.statistics().dropped > 0


_SENDERS = {}


def sealed_at(number, data):
    sender = _SENDERS.setdefault("flood", SframeSender(frames(2), 7))
    return sender.seal_rtp(build_red(RedPayload(T140, data)), rtp_metadata(RED, MID))


def test_sizes_and_times_of_packets_do_not_tell_which_keys_are_pressed():
    async def main():
        clock, a, _ = ends()
        sizes, times = set(), []
        for word in ("a", "zz", "\b\b\b", "\u00e9\u00e8"):
            await asyncio.sleep(0)
            task = a.type(word)
            await asyncio.sleep(0)
            before = len(a.sent)
            while len(a.sent) < before + 1:
                clock.run(0.02)
            times.append(clock.time)
            await task
        sizes = {len(datagram) for datagram in a.sent}
        assert sizes == {12 + STEP + 16}
        assert {round(b - a, 2) for a, b in pairwise(times)} == {0.3}

    run(main)


def test_without_text_on_both_sides_nothing_is_taken_for_text_and_none_leaves():
    async def main():
        clock, a, b = ends()
        packets = await typed(clock, b, "x")
        a.text.agree(None)
        assert not a.text.agreed
        assert not any(a.text.takes(packet) for packet in packets)
        a.text.receive(packets[0])
        with pytest.raises(UsageError, match="text=True"):
            await a.text.send("x")
        clock.run(1.0)
        assert (a.sent, a.read()) == ([], "")

    run(main)


def test_after_the_end_nothing_is_sent_or_shown():
    async def main():
        clock, a, b = ends()
        packets = await typed(clock, b, "late")
        a.text.close()
        a.text.close()
        a.hear(packets)
        clock.run(1.0)
        assert (a.sent, a.read()) == ([], "")
        assert clock.driven == [b.text]
        with pytest.raises(StopAsyncIteration):
            await anext(a.text)
        a.text.gate = Gate.OPEN
        with pytest.raises(UsageError):
            await a.text.send("x")

    run(main)


@pytest.mark.parametrize("held", [True, False], ids=["ours", "control"])
def test_what_waited_for_a_lost_packet_when_a_hold_came_is_not_shown_after_it(held):
    async def main():
        clock, a, b = ends()
        first = await typed(clock, b, "before ")
        _ = await typed(clock, b, "and lost, copies and all ")
        waits = await typed(clock, b, "what waits")
        a.hear(first)
        a.hear(waits)
        assert a.read() == "before "
        a.text.hold(on=held)
        a.text.hold(on=False)
        clock.run(3.0)
        assert ("what waits" in a.read()) is not held
        a.hear(await typed(clock, b, "after"))
        assert a.read() == "after"

    run(main)
