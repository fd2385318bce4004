"""Metrics of calls for OpenTelemetry, without anything that says whose: its door (extra `otel`).

What leaves are numbers with attributes out of closed lists: direction, codec, how it ended, how
well it was protected, how it sounded. No address, name, key, host or identifier of a call, person,
device or server is among them: a collector at a third party learns how calls are, and not whose.
Metrics alone: a trace would tie the events of one call together, and so would an identifier.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Final

from securecall.errors import Unsupported
from securecall.events import CallEnded, CallMissed, Event, QualityChanged

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

SCOPE: Final = "securecall"
"""Name of the instrumentation."""

_CODECS: Final = frozenset({"opus", "g722", "pcmu", "pcma", "vp8", "h264"})

Attributes = dict[str, str]


class CallMetrics:
    """Turns events into metrics; one for each process is enough."""

    def __init__(self, meter: Meter | None = None) -> None:
        """Make the instruments.

        Args:
            meter: Where they belong; that of the global provider if None.

        Raises:
            Unsupported: the extra is not installed.
        """
        meter = _global_meter() if meter is None else meter
        self._calls = meter.create_counter(
            "securecall.calls", "{call}", "Calls that ended, by how, and by how they were protected"
        )
        self._missed = meter.create_counter(
            "securecall.calls.missed", "{call}", "Calls that came in and were not answered"
        )
        self._changes = meter.create_counter(
            "securecall.call.quality", "{change}", "Times a call came to sound so"
        )
        self._mos = meter.create_histogram(
            "securecall.call.mos", "1", "Mean opinion score of a call, estimated (G.107)"
        )
        self._loss = meter.create_histogram(
            "securecall.call.loss", "1", "Share of packets that were not there in time"
        )
        self._jitter = meter.create_histogram(
            "securecall.call.jitter", "s", "Interarrival jitter (RFC 3550)"
        )
        self._round_trip = meter.create_histogram(
            "securecall.call.round_trip", "s", "Round trip of media, by RTCP"
        )
        self._seconds = meter.create_histogram(
            "securecall.call.duration", "s", "Sound played in a call"
        )
        self._freezes = meter.create_counter(
            "securecall.call.freezes", "{freeze}", "Times a picture stood still for what was lost"
        )

    def take(self, event: Event) -> None:
        """Count an event; what is not about how calls go is passed over."""
        match event:
            case CallEnded():
                self._ended(event)
            case CallMissed():
                self._missed.add(1)
            case QualityChanged(quality=quality):
                self._changes.add(1, {"quality": quality.value})
            case _:
                pass

    def _ended(self, event: CallEnded) -> None:
        call = event.call
        direction = {"direction": "outgoing" if call.outgoing else "incoming"}
        protection = call.security.level.name.lower()
        self._calls.add(1, {**direction, "reason": event.reason.value, "protection": protection})
        numbers = call.statistics()
        if numbers is None:
            return
        about: Attributes = {**direction, "codec": _codec(numbers.codec)}
        if numbers.mos is not None:
            self._mos.record(numbers.mos, about)
            expected = numbers.packets_received + numbers.lost - numbers.late
            self._loss.record(max(0, numbers.lost) / expected, about)
            self._jitter.record(numbers.jitter_ms / 1000, about)
        if numbers.rtt_ms is not None:
            self._round_trip.record(numbers.rtt_ms / 1000, about)
        self._seconds.record(numbers.received_seconds, about)
        for picture in numbers.pictures:
            self._freezes.add(picture.freezes, {"codec": _codec(picture.codec_received)})


async def export(events: AsyncIterable[Event], *, meter: Meter | None = None) -> None:
    """Count `client.events()` until they end; to be run as a task beside the client's work.

    Raises:
        Unsupported: the extra is not installed.
    """
    metrics = CallMetrics(meter)
    async for event in events:
        metrics.take(event)


def _codec(name: str) -> str:
    """A name of our own list: what a peer calls something does not get through."""
    return name.lower() if name.lower() in _CODECS else "other"


def _global_meter() -> Meter:
    try:
        from opentelemetry.metrics import get_meter
    except ImportError as e:
        raise Unsupported('metrics need OpenTelemetry: pip install "securecall[otel]"') from e
    return get_meter(SCOPE)
