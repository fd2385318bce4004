"""Metrics of calls: what is counted, and that nothing in them says whose calls they were."""

from __future__ import annotations

import asyncio
import builtins
from types import SimpleNamespace

import pytest

from securecall import telemetry
from securecall.errors import EndReason, Unsupported
from securecall.events import CallEnded, CallMissed, CallRinging, QualityChanged
from securecall.media.quality import Quality
from securecall.media.statistics import AudioStatistics
from securecall.media.video.statistics import VideoStatistics
from securecall.policy import SecurityLevel

PRIVATE = ("alice@clinic.example", "+43 660 1234567", "device-7f3a", "203.0.113.9", "kiosk-codec")


def a_call(**changes):
    numbers = {
        "packets_received": 900,
        "lost": 100,
        "received_seconds": 20.0,
        "jitter_ms": 12.0,
        "rtt_ms": 80.0,
        "codec": "opus",
        "pictures": (VideoStatistics(codec_received="VP8", freezes=3),),
    } | changes
    return SimpleNamespace(
        outgoing=True,
        peer=PRIVATE[0],
        id=PRIVATE[2],
        host=PRIVATE[3],
        security=SimpleNamespace(level=SecurityLevel.VERIFIED),
        statistics=lambda: AudioStatistics(**numbers),
    )


@pytest.fixture
def reader():
    pytest.importorskip("opentelemetry.sdk", reason="no SDK of OpenTelemetry here")
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    return InMemoryMetricReader()


@pytest.fixture
def metrics(reader):
    from opentelemetry.sdk.metrics import MeterProvider

    provider = MeterProvider(metric_readers=[reader])
    yield telemetry.CallMetrics(provider.get_meter(telemetry.SCOPE))
    provider.shutdown()


def points(reader):
    """Name -> list of (attributes, point)."""
    found = {}
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                found[metric.name] = [(dict(p.attributes), p) for p in metric.data.data_points]
    return found


def test_a_call_that_ended_leaves_its_numbers(metrics, reader):
    metrics.take(CallEnded(a_call(), EndReason.HUNG_UP, None))
    found = points(reader)
    ((attributes, point),) = found["securecall.calls"]
    assert attributes == {
        "direction": "outgoing",
        "reason": "hung-up",
        "protection": "verified",
    }
    assert point.value == 1
    assert found["securecall.call.loss"][0][1].sum == pytest.approx(0.1)
    assert found["securecall.call.jitter"][0][1].sum == pytest.approx(0.012)
    assert found["securecall.call.round_trip"][0][1].sum == pytest.approx(0.08)
    assert 1 < found["securecall.call.mos"][0][1].sum < 4.4
    assert found["securecall.call.freezes"][0][1].value == 3


def test_a_call_without_media_leaves_that_it_was(metrics, reader):
    call = a_call()
    call.statistics = lambda: None
    metrics.take(CallEnded(call, EndReason.BUSY, None))
    metrics.take(CallEnded(a_call(packets_received=0, lost=0), EndReason.HUNG_UP, None))
    assert sum(p.value for _, p in points(reader)["securecall.calls"]) == 2
    assert "securecall.call.mos" not in points(reader)


def test_nothing_says_whose_calls_they_were(metrics, reader):
    missed = CallMissed(caller=PRIVATE[0], why=f"{PRIVATE[1]} is a stranger")
    for event in (
        CallRinging(a_call()),
        QualityChanged(a_call(), Quality.POOR),
        CallEnded(a_call(codec=PRIVATE[4]), EndReason.HUNG_UP, None),
        missed,
    ):
        metrics.take(event)
    data = reader.get_metrics_data().to_json()
    assert [word for word in PRIVATE if word in data] == []
    assert '"other"' in data
    assert "securecall.calls.missed" in data
    metrics._missed.add(1, {"caller": missed.caller})  # the control: the scan would find one
    assert PRIVATE[0] in reader.get_metrics_data().to_json()


def test_events_are_counted_until_they_end(reader):
    from opentelemetry.sdk.metrics import MeterProvider

    provider = MeterProvider(metric_readers=[reader])

    async def events():
        for quality in (Quality.FAIR, Quality.POOR, Quality.FAIR):
            yield QualityChanged(a_call(), quality)

    asyncio.run(telemetry.export(events(), meter=provider.get_meter(telemetry.SCOPE)))
    counted = {a["quality"]: p.value for a, p in points(reader)["securecall.call.quality"]}
    assert counted == {"fair": 2, "poor": 1}
    provider.shutdown()


def test_without_the_extra_the_error_names_it(monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(Unsupported, match="securecall\\[otel\\]"):
        telemetry.CallMetrics()
