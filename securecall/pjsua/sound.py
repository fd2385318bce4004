"""The sound of one call of PJSIP's, as our audio stream needs it: PCM, digits, counters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Final

from securecall.media.statistics import AudioStatistics
from securecall.pjsua import told
from securecall.pjsua.rings import RATE, Rings

if TYPE_CHECKING:  # pjsua2 is an extra
    from securecall.pjsua.endpoint import PjsuaEndpoint

Order = Callable[[Callable[["PjsuaEndpoint"], None]], None]
"""Has something done on PJSIP's thread."""

_COUNTS: Final = tuple(f.name for f in fields(AudioStatistics) if f.type == "int")


class PjsuaSound:
    """Satisfies `Carrier`.

    Attributes:
        rate: As of every carrier.
        digits: The peer takes digits.
    """

    rate = RATE

    def __init__(self, number: int, rings: Rings, order: Order) -> None:
        """Made by the leg."""
        self._number = number
        self._rings = rings
        self._order = order
        self._before = AudioStatistics()  # of streams before this one: each hold begins another
        self._latest = AudioStatistics()
        self.digits = True

    @property
    def starved(self) -> int:
        """Frames the bridge asked for in vain."""
        return self._rings.starved

    @property
    def dropped(self) -> int:
        """Frames that found no room."""
        return self._rings.dropped

    def send(self, pcm: bytes) -> None:
        """Send 20 ms."""
        self._rings.send(pcm)

    def take(self) -> bytes | None:
        """Take 20 ms of the peer's, None where there are none."""
        return self._rings.take()

    def let_through(self, *, passing: bool) -> None:
        """Connect PJSIP's stream with the rings, or part them."""
        if not passing:
            self._rings.clear()
        self._order(lambda it: it.let_through(self._number, passing=passing))

    def press(self, digit: str) -> None:
        """Send a digit."""
        self._order(lambda it: it.press(self._number, digit))

    def statistics(self) -> AudioStatistics:
        """What PJSIP counted; a quarter of a second old at most."""
        return _sum(self._before, self._latest)

    def measured(self, event: told.Measured) -> None:
        """Take what PJSIP counted of the stream that there is now."""
        now, latest = event.statistics, self._latest
        if (now.packets_sent, now.packets_received) < (latest.packets_sent, 0) or (
            now.packets_received < latest.packets_received
        ):
            self._before = _sum(self._before, latest)
        self._latest, self.digits = now, event.digits


def _sum(before: AudioStatistics, now: AudioStatistics) -> AudioStatistics:
    """Add up what was counted; of what was measured the newest stands."""
    added = {name: getattr(before, name) + getattr(now, name) for name in _COUNTS}
    return replace(now, **added)
