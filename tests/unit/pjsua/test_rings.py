"""The rings between PJSIP's bridge and our clock."""

from __future__ import annotations

from securecall.pjsua.rings import FRAME_BYTES, Rings


def test_frames_come_out_in_order_and_what_is_missing_is_counted():
    rings = Rings()
    for value in (b"1", b"2"):
        rings.send(value)
        rings.keep(value)
    assert (rings.fetch(), rings.fetch(), rings.fetch()) == (b"1", b"2", None)
    assert (rings.take(), rings.take(), rings.take()) == (b"1", b"2", None)
    assert (rings.starved, rings.dropped) == (1, 0)


def test_a_full_ring_loses_its_oldest_frame_and_counts_it():
    rings = Rings()
    for number in range(40):
        rings.send(b"%d" % number)
        rings.keep(b"%d" % number)
    assert (rings.fetch(), rings.take()) == (b"30", b"15")  # 200 and 500 ms are kept
    assert rings.dropped == 30 + 15
    rings.clear()
    assert (rings.fetch(), rings.take()) == (None, None)


def test_a_frame_is_20_ms_of_16_khz():
    assert FRAME_BYTES == 640
